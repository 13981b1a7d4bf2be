"""What a map does, as a warped grid and as a magnitude: to be looked at."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.transforms import Affine, Points, Transform
from napari_stomics.methods.registration.estimate import fit_linear
from napari_stomics.metrics.registration import Extent, grid_points

_SEGMENTS = 8  # per cell of the grid, so that bends look smooth
_MOST_LINES = 500


def warp_grid(transform: Transform, extent: Extent, spacing: float) -> list[NDArray[np.float64]]:
    """Carry the lines of a regular grid over the source into the target.

    Parameters
    ----------
    transform
        Carries source um to target um.
    extent
        (x_min, y_min, x_max, y_max) of the source, um.
    spacing
        Distance between lines, um.

    Returns
    -------
    list of ndarray
        Polylines (k, 2) of (x, y) in target um, first those of constant x, then
        those of constant y. The grid is centred on the extent and includes its
        rim where the spacing divides it.
    """
    x_min, y_min, x_max, y_max = extent
    if not (spacing > 0 and x_max > x_min and y_max > y_min):
        raise UserError(
            f"No grid fits an extent of {extent} at a spacing of {spacing} um.",
            "Choose a positive spacing and an extent that is not empty.",
        )
    if max(x_max - x_min, y_max - y_min) / spacing > _MOST_LINES:
        raise UserError(
            f"A grid with lines every {spacing:g} um would have more than {_MOST_LINES} lines.",
            f"Choose at least {max(x_max - x_min, y_max - y_min) / _MOST_LINES:g} um.",
        )
    columns, rows = _ticks(x_min, x_max, spacing), _ticks(y_min, y_max, spacing)
    along_x = np.linspace(x_min, x_max, len(columns) * _SEGMENTS + 1)
    along_y = np.linspace(y_min, y_max, len(rows) * _SEGMENTS + 1)
    lines = [np.column_stack([np.full_like(along_y, x), along_y]) for x in columns]
    lines += [np.column_stack([along_x, np.full_like(along_x, y)]) for y in rows]
    carried = transform.apply(np.concatenate(lines))
    ends = np.cumsum([len(line) for line in lines])[:-1]
    return [np.asarray(line, dtype=np.float64) for line in np.split(carried, ends)]


def _ticks(low: float, high: float, spacing: float) -> NDArray[np.float64]:
    count = int(np.floor((high - low) / spacing * (1 + 1e-12)))
    first = (low + high - count * spacing) / 2
    return np.asarray(first + spacing * np.arange(count + 1), dtype=np.float64)


def displacement_magnitude(
    transform: Transform,
    extent: Extent,
    shape: tuple[int, int],
    relative_to: Literal["rigid", "similarity", "affine"] | None = "similarity",
) -> NDArray[np.float64]:
    """How far the map moves the source, at the centres of a grid of cells.

    Parameters
    ----------
    transform
        Carries source um to target um.
    extent
        (x_min, y_min, x_max, y_max) of the source, um.
    shape
        Cells (ny, nx).
    relative_to
        The move is measured against the map's own best rigid, similarity
        (default) or affine fit over the grid, mirrored where the map mirrors,
        so that bends show and the pose does not; None measures it against
        staying where it is.

    Returns
    -------
    ndarray
        (ny, nx) distances in target um, axes (y, x); NaN where the map gives
        no answer.
    """
    points = grid_points(extent, shape)
    carried = transform.apply(points)
    base = Affine.identity() if relative_to is None else _best(points, carried, relative_to)
    return np.asarray(np.linalg.norm(carried - base.apply(points), axis=1).reshape(shape))


def _best(points: Points, carried: Points, model: str) -> Transform:
    known = np.isfinite(carried).all(axis=1)
    if known.sum() < 3:
        return Affine.identity()
    points, carried = points[known], carried[known]
    if model == "affine":
        return fit_linear(points, carried, model).transform
    both = [fit_linear(points, carried, model, mirrored) for mirrored in (False, True)]
    return min(both, key=lambda fit: float((np.abs(fit.residuals) ** 2).sum())).transform
