"""Pictures of an alignment for its report, drawn without a window.

Coordinates are micrometres, (x, y) with y downwards as on the slide.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.plans import TransportPlan

SOURCE, TARGET = "#d55e00", "#0072b2"
"""Colours of the moving and the fixed section; told apart by the colour-blind too."""
_GREY = "#c8c8c8"
_SIDE = 4.4
_MANY_ARROWS = 2500
_LABEL_COLOURS = "tab20"

Floats = NDArray[np.floating[Any]]


def panel(title: str) -> tuple[Any, Any]:
    """Return a figure of one square panel and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_SIDE, _SIDE), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10, loc="left")
    return figure, axes


def png(figure: Any) -> str:
    """A figure as PNG in base64, to be put into a page."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def overlay(title: str, source: Floats, target: Floats, pitch: float) -> Any:
    """Two sections over each other."""
    figure, axes = panel(title)
    _frame(axes, np.vstack([source, target]))
    for points, colour in ((target, TARGET), (source, SOURCE)):
        axes.scatter(*points.T, s=_size(axes, pitch), c=colour, alpha=0.5, lw=0)
    return figure


def values(
    title: str,
    points: Floats,
    shown: Floats,
    pitch: float,
    limits: tuple[float, float] | None = None,
    colormap: str = "viridis",
) -> Any:
    """Spots coloured by a number; grey where it is missing."""
    figure, axes = panel(title)
    _frame(axes, points)
    known = np.isfinite(shown)
    size = _size(axes, pitch)
    axes.scatter(*points[~known].T, s=size, c=_GREY, lw=0)
    low, high = limits or value_range(shown)
    dots = axes.scatter(
        *points[known].T, s=size, c=shown[known], vmin=low, vmax=high, cmap=colormap, lw=0
    )
    figure.colorbar(dots, ax=axes, shrink=0.7)
    return figure


def value_range(*arrays: Floats) -> tuple[float, float]:
    """Percentiles 2 and 98 of the finite values of all arrays."""
    found = np.concatenate([a[np.isfinite(a)] for a in map(np.asarray, arrays)])
    if not len(found):
        return 0.0, 1.0
    low, high = np.percentile(found, (2, 98))
    return float(low), float(high if high > low else low + 1)


def labels(title: str, points: Floats, names: NDArray[Any], order: list[str], pitch: float) -> Any:
    """Spots coloured by label; grey where there is none."""
    import matplotlib

    figure, axes = panel(title)
    _frame(axes, points)
    size = _size(axes, pitch)
    axes.scatter(*points[names == ""].T, s=size, c=_GREY, lw=0)
    colours = matplotlib.colormaps[_LABEL_COLOURS](np.arange(20))
    for i, name in enumerate(order):
        rows = names == name
        axes.scatter(*points[rows].T, s=size, color=colours[i % len(colours)], lw=0, label=name)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(0, 0), ncols=2, frameon=False)
    return figure


def displacement(title: str, plan: TransportPlan, pitch: float) -> Any:
    """Arrows from where the pose puts each spot to where its mass lands."""
    figure, axes = panel(title)
    rows = np.flatnonzero(np.isfinite(plan.barycentres).all(axis=1))
    if len(rows) > _MANY_ARROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, _MANY_ARROWS, replace=False))
    start, shift = plan.source_coordinates[rows], plan.displacement[rows]
    _frame(axes, np.vstack([plan.source_coordinates, plan.barycentres[rows]]))
    length = np.linalg.norm(shift, axis=1) / pitch
    low, high = value_range(length)
    arrows = axes.quiver(
        *start.T, *shift.T, length, angles="xy", scale_units="xy", scale=1, cmap="plasma",
        width=0.004, clim=(min(low, 0.0), high),
    )  # fmt: skip
    figure.colorbar(arrows, ax=axes, shrink=0.7, label="pitches")
    return figure


def curves(title: str, plan: TransportPlan) -> Any:
    """Objective and deviation of the marginals per iteration."""
    figure, axes = panel(title)
    axes.plot(np.arange(1, len(plan.objective) + 1), plan.objective, color="k")
    axes.set_xlabel("iteration")
    axes.set_ylabel("objective")
    if len(plan.marginal_errors):
        other = axes.twinx()
        steps = np.arange(1, len(plan.marginal_errors) + 1)
        positive = (np.asarray(plan.marginal_errors) > 0).all()
        draw = other.semilogy if positive else other.plot
        draw(steps, plan.marginal_errors, color=SOURCE, ls="--")
        other.set_ylabel("deviation of the marginals", color=SOURCE)
    return figure


def regions(title: str, points: Floats, found: list[NDArray[Any]], pitch: float) -> Any:
    """Regions of spots, numbered."""
    figure, axes = panel(title)
    _frame(axes, points)
    axes.scatter(*points.T, s=_size(axes, pitch), c=_GREY, lw=0)
    for number, rows in enumerate(found, 1):
        axes.scatter(*points[rows].T, s=_size(axes, pitch), c=SOURCE, lw=0)
        box = {"boxstyle": "round,pad=.15", "fc": "white", "ec": "none", "alpha": 0.8}
        middle = points[rows].mean(axis=0)
        axes.annotate(str(number), middle, fontsize=11, weight="bold", ha="center", bbox=box)
    return figure


def _frame(axes: Any, points: Floats) -> None:
    """Equal axes with y downwards, no ticks, and a bar of a round length."""
    points = points[np.isfinite(points).all(axis=1)]
    low, high = points.min(axis=0), points.max(axis=0)
    span = float((high - low).max()) or 1.0
    room = 0.04 * span
    middle = (low + high) / 2
    half = span / 2 + room
    axes.set_xlim(middle[0] - half, middle[0] + half)
    axes.set_ylim(middle[1] + half, middle[1] - half)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    bar = _round_length(span / 5)
    x, y = middle[0] - half + room, middle[1] + half - room
    axes.plot([x, x + bar], [y, y], color="k", lw=2, solid_capstyle="butt")
    axes.text(x, y - room / 2, f"{bar:g} µm", fontsize=7, va="bottom")


def _round_length(length: float) -> float:
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length))


def _size(axes: Any, pitch: float) -> float:
    """Area of a marker in points squared that nearly fills the pitch."""
    low, high = axes.get_xlim()
    return float(max(0.3, (0.85 * pitch / (high - low) * _SIDE * 72 * 0.8) ** 2))
