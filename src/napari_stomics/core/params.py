"""Parameter models: one declaration builds the form, the recipe and the record."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Params(BaseModel):
    """Base of every method's parameters: frozen, and unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def param(
    default: Any,
    title: str,
    description: str,
    *,
    unit: str = "",
    step: float | None = None,
    log: bool = False,
    advanced: bool = False,
    **constraints: Any,
) -> Any:
    """Declare one parameter with what its form needs.

    Parameters
    ----------
    default
        The default value. ``None`` is allowed for an optional field and is
        shown as an unticked box, never as text.
    title
        Label in the form, in the field's standard terms.
    description
        Tooltip and documentation: what it does and when to change it.
    unit
        Unit shown behind the value, for instance ``"um"``.
    step
        Step of the spin box; None lets the form choose one.
    log
        Whether the value is stepped by factors (small regularisation constants).
    advanced
        Whether the form folds it away at first.
    **constraints
        Passed to :func:`pydantic.Field` (``ge``, ``gt``, ``le``, ``lt`` ...).
    """
    extra: Any = {"unit": unit, "step": step, "log": log, "advanced": advanced}
    return Field(
        default, title=title, description=description, json_schema_extra=extra, **constraints
    )
