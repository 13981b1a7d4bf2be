"""From a plane to the points that are drawn: axes, borders, colours, arrows between two."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.plane import QUADRANTS, MorphologyPlane
from napari_stomics.docks.scatter_view import Cloud

Floats = NDArray[np.floating[Any]]

COLOURS = {
    "translation": "#4fc3f7",
    "integration": "#81c784",
    "noise": "#9e9e9e",
    "overestimation": "#ffb74d",
}
AXES = ("Times its null", "Values", "z over the null")
"""What the axes show. Over its own null every feature has the same border."""

BORDER_WORDS = {
    AXES[0]: "Dashed: 95 % of unrelated fields as smooth as the feature itself stay below.",
    AXES[1]: "Dashed: median over the features of their own spatial null (95 %), which decides "
    "the quadrant. Dotted: what permuted labels would give.",
    AXES[2]: "Dashed: 95 % of a normal distribution; the quadrant goes by the null itself.",
}
"""What the borders are, per choice of axes."""

_FLOOR = 1e-6


def cloud_of(plane: MorphologyPlane, axes: str, other: MorphologyPlane | None = None) -> Cloud:
    """Return what is drawn of a plane.

    Parameters
    ----------
    plane
        The plane.
    axes
        One of :data:`AXES`.
    other
        Another plane: arrows lead from where its features lie to where those of ``plane``
        do; where no names are shared, one arrow leads from the middle to the middle.
    """
    x, y = _places(plane, axes)
    corners = [(QUADRANTS[i], COLOURS[QUADRANTS[i]]) for i in (0, 1, 2, 3)]
    return Cloud(
        names=[str(name) for name in plane.features],
        x=x,
        y=y,
        colours=[COLOURS[str(q)] for q in plane.quadrant],
        # Smooth features are larger: noise has a Moran's I of 0.
        sizes=5 + 7 * np.clip(np.nan_to_num(plane.moran), 0, 1),
        titles=_titles(plane, axes),
        borders=_borders(plane, axes),
        corners=[(f"{name} ({plane.count(name)})", colour) for name, colour in corners],
        arrows=_arrows(plane, other, axes),
    )


def describe(plane: MorphologyPlane, name: str) -> str:
    """One feature in words."""
    row = [str(f) for f in plane.features].index(name)
    return (
        f"{name}: {plane.quadrant[row]}. Relevance {plane.relevance[row]:.3f} "
        f"(null {plane.relevance_null[row]:.3f}, z {plane.relevance_z[row]:.1f}); shares "
        f"{abs(plane.correlation[row]):.2f} with {plane.gene[row]} "
        f"(null {plane.shared_null[row]:.2f}, z {plane.shared_z[row]:.1f}); Moran's I "
        f"{plane.moran[row]:.2f}."
    )


def _places(plane: MorphologyPlane, axes: str) -> tuple[Floats, Floats]:
    if axes == AXES[0]:
        pairs = (plane.shared, plane.shared_null), (plane.relevance, plane.relevance_null)
        x, y = (value / np.maximum(null, _FLOOR) for value, null in pairs)
        return x, y
    if axes == AXES[2]:
        return plane.shared_z, plane.relevance_z
    return plane.shared, plane.relevance


def _titles(plane: MorphologyPlane, axes: str) -> tuple[str, str]:
    note = {AXES[0]: " / its null", AXES[2]: ", z over null"}.get(axes, "")
    return f"largest |r| with {plane.other}{note}", f"relevance to {plane.label_name}{note}"


def _borders(plane: MorphologyPlane, axes: str) -> list[tuple[int, float, bool]]:
    if axes == AXES[0]:
        return [(0, 1.0, True), (1, 1.0, True)]
    if axes == AXES[2]:
        return [(0, 1.645, True), (1, 1.645, True)]
    return [
        (0, float(np.median(plane.shared_null)), True),
        (1, float(np.median(plane.relevance_null)), True),
        (0, plane.shared_floor, False),
        (1, plane.relevance_floor, False),
    ]


def _arrows(plane: MorphologyPlane, other: MorphologyPlane | None, axes: str) -> Floats:
    if other is None:
        return np.zeros((0, 4))
    end, start = (np.column_stack(_places(p, axes)) for p in (plane, other))
    at = {str(name): i for i, name in enumerate(other.features)}
    shared = [(at[str(n)], i) for i, n in enumerate(plane.features) if str(n) in at]
    if not shared:
        return np.concatenate([np.median(start, axis=0), np.median(end, axis=0)])[None]
    first, last = np.array(shared).T
    return np.hstack([start[first], end[last]])
