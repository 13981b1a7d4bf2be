"""Whether landmark pairs can hold a map, and if not, why and what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import LandmarkPairs
from napari_stomics.core.transforms import Points

FEWEST = {"rigid": 2, "similarity": 2, "affine": 3, "tps": 4}
"""Pairs that each model needs."""

TITLES = {
    "rigid": "rigid map",
    "similarity": "similarity",
    "affine": "affine map",
    "tps": "thin-plate spline",
}

_SAME = 1e-6  # distance over the extent of all points below which two are one
_LINE = 2e-3  # thickness over length below which points lie on one line
THIN = 5e-2
"""Thickness over length below which a map across the line is poorly held."""


def check_pairs(pairs: LandmarkPairs, model: str) -> None:
    """Refuse pairs that cannot hold the model.

    Raises
    ------
    UserError
        If arrays do not match, a coordinate is not finite, a name stands
        twice, there are too few pairs, points repeat, or all lie on one line
        where the model needs the plane.
    """
    _check_shapes(pairs)
    _check_finite(pairs)
    _check_names(pairs)
    fewest = FEWEST[model]
    count = len(pairs.names)
    if count < fewest:
        smaller = [TITLES[m] for m, need in FEWEST.items() if need <= count and need < fewest]
        hint = f"Add {fewest - count} more"
        hint += f", or choose a {smaller[-1]}." if smaller else "."
        raise UserError(
            f"A {TITLES[model]} needs {fewest} landmark pairs; "
            f"there {'is' if count == 1 else 'are'} {count}.",
            hint,
        )
    for section, points in _sides(pairs):
        _check_repeats(pairs, section, points)
        if FEWEST[model] > 2 and thickness(points) < _LINE:
            raise UserError(
                f"The landmarks in {section!r} lie on one line, which does not hold a "
                f"{TITLES[model]}.",
                "Add a pair away from that line, or choose a rigid map or a similarity.",
            )


def thickness(points: Points) -> float:
    """Extent of (n, 2) points across their main direction over that along it."""
    points = np.asarray(points, dtype=np.float64)
    sizes = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return float(sizes[-1] / sizes[0]) if len(sizes) > 1 and sizes[0] > 0 else 0.0


def select(pairs: LandmarkPairs, keep: NDArray[Any]) -> LandmarkPairs:
    """Return the pairs that a boolean mask keeps."""
    chosen = np.flatnonzero(keep)
    return replace(
        pairs,
        names=tuple(pairs.names[i] for i in chosen),
        source_points=np.asarray(pairs.source_points)[chosen],
        target_points=np.asarray(pairs.target_points)[chosen],
    )


def reverse(pairs: LandmarkPairs) -> LandmarkPairs:
    """Return the pairs with source and target exchanged."""
    return replace(
        pairs,
        source=pairs.target,
        target=pairs.source,
        source_points=pairs.target_points,
        target_points=pairs.source_points,
        source_pixel_size=pairs.target_pixel_size,
        target_pixel_size=pairs.source_pixel_size,
    )


def _sides(pairs: LandmarkPairs) -> tuple[tuple[str, Points], tuple[str, Points]]:
    return (
        (pairs.source, np.asarray(pairs.source_points, dtype=np.float64)),
        (pairs.target, np.asarray(pairs.target_points, dtype=np.float64)),
    )


def _check_shapes(pairs: LandmarkPairs) -> None:
    expected = (len(pairs.names), 2)
    for section, points in _sides(pairs):
        if points.shape != expected and not (points.size == 0 and not pairs.names):
            raise UserError(
                f"{len(pairs.names)} names come with landmarks of shape {points.shape} in "
                f"{section!r}; {expected} is needed.",
                "Give every pair one name and one (x, y) position in each section.",
            )


def _check_finite(pairs: LandmarkPairs) -> None:
    for section, points in _sides(pairs):
        bad = [n for n, p in zip(pairs.names, points, strict=False) if not np.isfinite(p).all()]
        if bad:
            raise UserError(
                f"{_listed(bad)} in {section!r} {'has' if len(bad) == 1 else 'have'} a position "
                "that is not a finite number.",
                "Place it again, or delete the pair.",
            )


def _check_names(pairs: LandmarkPairs) -> None:
    twice = sorted({name for name in pairs.names if pairs.names.count(name) > 1})
    if twice:
        raise UserError(
            f"The landmark name {_listed(twice)} stands for more than one pair.",
            "Rename or delete one of them.",
        )


def _check_repeats(pairs: LandmarkPairs, section: str, points: Points) -> None:
    extent = float(np.ptp(points, axis=0).max(initial=0.0))
    difference = points[:, None] - points[None]
    near = np.hypot(difference[:, :, 0], difference[:, :, 1]) <= _SAME * extent
    first, second = np.nonzero(np.triu(near, k=1))
    if len(first):
        both = [pairs.names[first[0]], pairs.names[second[0]]]
        raise UserError(
            f"{_listed(both)} are at the same place in {section!r}.",
            "Move one of them, or delete one of the two pairs.",
        )


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
