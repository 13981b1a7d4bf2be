"""A run in words: its figures, what it read, how it came about."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_stomics.data.schema import RunRecord

_UNITS = {"_um": " (µm)", "_s": " (s)", "_px": " (pixels)"}
_NAMES = {"ari": "ARI", "nmi": "NMI", "rmse": "RMSE", "pearson": "Pearson", "p90": "90 %"}


def is_converged(run: RunRecord) -> bool:
    """Whether the computation reached its stopping rule."""
    return run.summary.get("converged", True) is not False


def result_html(run: RunRecord) -> str:
    """A run as a page: what must be known first, figures, inputs, parameters, provenance.

    Parameters
    ----------
    run
        The record of a run.
    """
    parts = []
    if not is_converged(run):
        reason = run.summary.get("reason")
        why = f" It stopped because: {html.escape(str(reason))}." if reason else ""
        parts.append(
            "<p><b>⚠ Not converged.</b> The computation stopped before its stopping rule "
            f"was reached; read these numbers with care.{why}</p>"
        )
    parts.append(_table(run.summary))
    for title, values in (
        ("Read", run.step.get("inputs", {})),
        ("Parameters", run.step.get("params", {})),
        ("Made", _made(run)),
    ):
        parts.append(f"<p><b>{title}</b></p>{_table(values)}")
    return "".join(parts)


def figures_text(summary: dict[str, Any]) -> str:
    """Figures as lines of text."""
    return "\n".join(f"{title(name)}: {words(value)}" for name, value in summary.items())


def title(name: str) -> str:
    """A field's name as a person reads it, with its unit."""
    name = "_".join(_NAMES.get(part, part) for part in name.split("_"))
    for ending, unit in _UNITS.items():
        if name.endswith(ending):
            return name.removesuffix(ending).replace("_", " ") + unit
    return name.replace("_", " ")


def words(value: Any) -> str:
    """A plain JSON value in words."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "not available"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        if len(value) > 12:
            return f"{', '.join(words(v) for v in value[:10])} … ({len(value):,} in all)"
        return ", ".join(words(v) for v in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{k}: {words(v)}" for k, v in value.items()) or "none"
    return str(value)


def _made(run: RunRecord) -> dict[str, Any]:
    return {
        "method": run.step.get("method", ""),
        "started": run.started,
        "seconds": run.seconds,
        "versions": run.versions,
        "hash of the inputs": run.inputs_hash[:16],
    }


def _table(values: dict[str, Any]) -> str:
    rows = [
        f"<tr><td style='padding-right:8px'>{html.escape(title(name))}</td>"
        f"<td>{html.escape(words(value))}</td></tr>"
        for name, value in values.items()
    ]
    return f"<table>{''.join(rows)}</table>"
