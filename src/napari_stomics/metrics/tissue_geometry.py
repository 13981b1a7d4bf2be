"""Neighbours, footprint and deformation of tissue that is known by its spots.

Positions are (x, y) in micrometres; couplings are sparse (n, m).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.transforms import Points, Transform

Floats = NDArray[np.floating[Any]]

_LONG_EDGE = 2.5
"""Edges of the triangulation longer than this times the median span a gap of the tissue."""
_FOOTPRINT = 0.75
"""A place belongs to the tissue within so many pitches of a spot: no hole in any grid."""
_PIXELS = 600


def triangles(coordinates: Points) -> NDArray[np.intp]:
    """(t, 3) spots at the corners of the Delaunay triangles within the tissue.

    Triangles across gaps, with an edge of more than 2.5 times the median
    length, are left out. Empty where the spots span no area.
    """
    from scipy.spatial import Delaunay, QhullError

    try:
        corners = np.asarray(Delaunay(coordinates).simplices, np.intp)
    except (QhullError, ValueError):
        return np.zeros((0, 3), np.intp)
    points = np.asarray(coordinates, float)[corners]
    length = np.linalg.norm(points - np.roll(points, 1, axis=1), axis=2)
    return np.asarray(corners[length.max(axis=1) <= _LONG_EDGE * np.median(length)])


def neighbour_edges(coordinates: Points) -> NDArray[np.intp]:
    """(e, 2) pairs of neighbouring spots: the edges of :func:`triangles`, each once."""
    corners = triangles(coordinates)
    if not len(corners):
        return np.zeros((0, 2), np.intp)
    edges = np.sort(corners[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    return np.unique(edges, axis=0)


def dice_of_tissue(first: Points, second: Points, pitches: tuple[float, float]) -> float:
    """Overlap of the footprints of two sets of spots in one frame: 2 |A & B| / (|A| + |B|).

    Parameters
    ----------
    first, second
        (n, 2), (m, 2) spots in the same frame; rows that are not finite are left out.
    pitches
        Distance between neighbouring spots of each in that frame, um.
    """
    from scipy.spatial import cKDTree

    sets = [p[np.isfinite(p).all(axis=1)] for p in (np.asarray(first), np.asarray(second))]
    if not all(len(p) for p in sets):
        return float("nan")
    low = np.min([p.min(axis=0) for p in sets], axis=0) - max(pitches)
    high = np.max([p.max(axis=0) for p in sets], axis=0) + max(pitches)
    pixel = max(min(pitches) / 3, float((high - low).max()) / _PIXELS)
    axes = [np.arange(a + pixel / 2, b, pixel) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    masks = []
    for points, pitch in zip(sets, pitches, strict=True):
        radius = max(_FOOTPRINT * pitch, pixel)
        distance, _ = cKDTree(points).query(grid, distance_upper_bound=radius)
        masks.append(np.isfinite(distance))
    total = masks[0].sum() + masks[1].sum()
    return float(2 * (masks[0] & masks[1]).sum() / total) if total else float("nan")


def tissue_points(coordinates: Points, pitch: float, at_most: int = 20_000) -> Points:
    """(k, 2) spots and the centres of their triangles: where a map has to behave."""
    corners = triangles(coordinates)
    points = np.vstack([coordinates, np.asarray(coordinates)[corners].mean(axis=1)])
    return np.asarray(points[:: max(1, len(points) // at_most)])


def fold_share(transform: Transform, points: Points) -> float:
    """Share of points where the map's determinant vanishes or has the wrong sign.

    Negative determinants are right for a map that mirrors the section. Points
    where the map gives no answer count as folded.
    """
    sign = float(np.sign(np.linalg.det(transform.linear_part().matrix[:2, :2])))
    return float(np.mean(~(sign * transform.jacobian_determinant(points) > 0)))


def principal_strain(transform: Transform, points: Points) -> Floats:
    """(n,) largest of the two |stretch - 1| of the map at each point; 0 is rigid."""
    stretch = np.full((len(points), 2), np.nan)
    jacobian = transform.jacobian(points)
    found = np.isfinite(jacobian).all(axis=(1, 2))
    stretch[found] = np.linalg.svd(jacobian[found], compute_uv=False)
    return np.asarray(np.abs(stretch - 1).max(axis=1))


def inverse_error(transform: Transform, points: Points) -> Floats:
    """(n,) distance of each point from where the map and its inverse bring it back to, um."""
    back = transform.inverse().apply(transform.apply(points))
    return np.asarray(np.linalg.norm(back - points, axis=1))


def turned_over(corners: NDArray[np.intp], before: Points, after: Points, mirrored: bool) -> float:
    """Share of triangles of neighbouring spots that a coupling turns over.

    Parameters
    ----------
    corners
        (t, 3) from :func:`triangles`.
    before, after
        (n, 2) positions, and where the coupling puts them; triangles with a
        corner that is not finite are left out.
    mirrored
        Whether the section as a whole is mirrored, so that turning over is right.
    """
    used = np.isfinite(np.asarray(after)[corners]).all(axis=(1, 2))
    if not used.any():
        return float("nan")
    signs = [np.sign(_areas(np.asarray(p, float)[corners[used]])) for p in (before, after)]
    return float(np.mean(signs[0] * signs[1] * (-1 if mirrored else 1) <= 0))


def _areas(points: Floats) -> Floats:
    a, b = points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def carry_points(
    points: Points, coordinates: Points, placed: Points, landed: Points, count: int = 12
) -> Points:
    """Carry any points by a linear pose and the mean displacement of the spots round them.

    Parameters
    ----------
    points
        (k, 2) source um.
    coordinates, placed, landed
        (n, 2) spots in the source's frame, under the linear pose, and where
        their mass lands; rows of NaN in ``landed`` are left out.
    count
        Nearest spots to average, with weights that fall with the distance.
    """
    from scipy.spatial import cKDTree

    known = np.isfinite(landed).all(axis=1)
    pose = linear_pose(coordinates, placed)
    if not known.any():
        return np.full((len(points), 2), np.nan)
    distance, index = cKDTree(coordinates[known]).query(points, k=min(count, int(known.sum())))
    distance = np.asarray(distance).reshape(len(points), -1)
    index = np.asarray(index).reshape(len(points), -1)
    width = np.maximum(np.median(distance, axis=1, keepdims=True), 1e-9)
    weight = np.exp(-0.5 * (distance / width) ** 2)
    shift = (landed - placed)[known][index]
    mean = (weight[..., None] * shift).sum(axis=1) / weight.sum(axis=1, keepdims=True)
    return np.asarray(np.column_stack([points, np.ones(len(points))]) @ pose + mean)


def linear_pose(coordinates: Points, placed: Points) -> Floats:
    """(3, 2) affine map of row vectors (x, y, 1) that carries the spots to their places."""
    design = np.column_stack([coordinates, np.ones(len(coordinates))])
    return np.asarray(np.linalg.lstsq(design, placed, rcond=None)[0])
