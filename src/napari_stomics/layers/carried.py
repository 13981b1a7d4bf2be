"""Paint what was carried across sections: beside the measured, with the residual and the spread."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.carried import HELD_OUT, SEEN, Aggregation, CarriedValues
from napari_stomics.layers.colour import auto_limits
from napari_stomics.layers.easel import Easel
from napari_stomics.layers.valued import Values

DIVERGING = "coolwarm"
"""Its middle is neutral: no residual; neither end is a colour of H&E."""

_NOTES = {SEEN: "seen by the plan", HELD_OUT: "held out"}


def paint_values(easel: Easel, result: CarriedValues, gene: str | None = None) -> None:
    """One gene or column carried over, beside it the measured one and the residual.

    Carried and measured values share their limits; the residual (measured less
    carried) is centred on 0.
    """
    names = [str(name) for name in result.names]
    column = _column(names, gene or easel.option("gene"), _best(result.pearson, result.values))
    name = names[column]
    carried = _numbers(result.values[:, column])
    measured = None if result.measured is None else _numbers(result.measured[:, column])
    if measured is not None and not np.isfinite(measured).any():
        measured = None
    together = carried if measured is None else np.concatenate([carried, measured])
    limits = auto_limits(together, (1, 99))
    score = result.pearson[column]
    notes = [f"r = {score:.2f}"] if np.isfinite(score) else []
    notes += filter(None, [_NOTES.get(str(result.status[column])), str(result.scales[column])])
    # The list of layers cuts the middle of a long name: what tells them apart comes first.
    title = f"{name} carried from {result.source} ({', '.join(notes)})"

    def put(part: str, values: NDArray[Any], title: str, **how: Any) -> None:
        limits, colormap = how.get("limits"), how.get("colormap", "viridis")
        easel.spots(
            part,
            result.target,
            result.target_ids,
            Values(name, values, limits, colormap),
            title,
            visible=how.get("visible", False),
            options={"gene": name},
        )

    put("carried", carried, title, limits=limits, visible=True)
    if measured is not None:
        residual = measured - carried
        high = max(abs(v) for v in auto_limits(residual, (1, 99)))
        put("measured", measured, f"{name} measured", limits=limits)
        title, around = f"{name} residual: measured less carried", (-high, high)
        put("residual", residual, title, limits=around, colormap=DIVERGING)
    put("sd", _numbers(result.sd[:, column]), f"{name} spread among partners", colormap="plasma")
    put("partners", _numbers(result.partners), "Partners, effective number", colormap="magma")


def paint_aggregation(easel: Easel, result: Aggregation, gene: str | None = None) -> None:
    """One feature gathered on the spots, with the share that is covered and the spread."""
    names = [str(name) for name in result.features]
    column = _column(names, gene or easel.option("gene"), _largest(result.values))
    name = names[column]
    note = ", not finer than there" if result.finer else ""
    title = f"{name} {result.statistic} by area, from {result.source}{note}"
    more = {"gene": name}
    reached = result.reached

    def put(part: str, values: NDArray[Any], title: str, colormap: str, **how: Any) -> None:
        # What nothing reaches is a gap, not a zero.
        shown = Values(name, np.where(reached, values, np.nan), how.get("limits"), colormap)
        easel.spots(
            part, result.target, result.target_ids, shown, title,
            visible=how.get("visible", False), options=more,
        )  # fmt: skip

    put("aggregated", _of_column(result.values, column), title, "viridis", visible=True)
    if result.sd is not None:
        spread = _of_column(result.sd, column)
        put("sd", spread, f"{name} spread among contributors", "plasma")
    if np.isfinite(result.covered).any():
        covered = np.asarray(result.covered, np.float64)
        put("covered", covered, "Covered share of the area", "magma", limits=(0.0, 1.0))
    count = np.asarray(result.contributors, np.float64)
    put("contributors", count, "Contributors, effective number", "magma")


def _column(names: list[str], wanted: Any, otherwise: int) -> int:
    return names.index(wanted) if wanted in names else otherwise


def _best(pearson: NDArray[Any], values: NDArray[Any]) -> int:
    """The best of what can be judged; without any the one that varies most."""
    if np.isfinite(pearson).any():
        return int(np.nanargmax(pearson))
    spread = np.where(np.isfinite(values), values, 0).var(axis=0)
    return int(np.argmax(spread))


def _largest(values: Any) -> int:
    return int(np.argmax(np.asarray(values.sum(axis=0)).ravel()))


def _of_column(values: Any, column: int) -> NDArray[np.float64]:
    found = values[:, [column]]
    return _numbers(found.toarray() if hasattr(found, "toarray") else found).ravel()


def _numbers(values: Any) -> NDArray[np.float64]:
    return np.asarray(values, np.float64)
