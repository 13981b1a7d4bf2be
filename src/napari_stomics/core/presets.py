"""Presets: published systems as named points in a method's space of choices."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError, create_model

from napari_stomics.core.errors import UserError

if TYPE_CHECKING:
    from napari_stomics.core.registry import MethodSpec


@dataclass(frozen=True)
class Preset:
    """A published system: a method of ours with other defaults.

    It stands in the registry beside the methods, so it has a form, a command
    line, a recipe and a record like them; every parameter stays open.

    Attributes
    ----------
    name
        Name within the task of its method.
    method
        ``task/name`` of the method that runs it.
    title
        Human name.
    summary
        What the system does, and where ours differs from it.
    reference
        The paper.
    params
        Parameters that differ from the method's defaults.
    """

    name: str
    method: str
    title: str
    summary: str
    reference: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """``task/name``, as a step writes it."""
        return f"{self.method.split('/')[0]}/{self.name}"

    def spec(self, method: MethodSpec) -> MethodSpec:
        """Return the declaration of the preset, made from that of its method.

        Raises
        ------
        UserError
            If the method has no such parameter or refuses a value.
        """
        base = method.params
        unknown = [name for name in self.params if name not in base.model_fields]
        try:
            base.model_validate(self.params)
        except ValidationError as error:
            reason = f"no parameter {', '.join(unknown)}" if unknown else error.errors()[0]["msg"]
            raise UserError(
                f"The preset {self.key!r} does not fit the method {self.method!r}: {reason}.",
                "Update the package that provides it.",
            ) from error
        fields: dict[str, Any] = {}
        for name, value in self.params.items():
            info = deepcopy(base.model_fields[name])
            info.default = value
            fields[name] = (info.annotation, info)
        title = "".join(part.capitalize() for part in self.name.split("-"))
        params = create_model(f"{title}Params", __base__=base, __doc__=self.summary, **fields)
        return replace(
            method,
            name=self.name,
            title=self.title,
            summary=self.summary,
            reference=self.reference,
            params=params,
        )
