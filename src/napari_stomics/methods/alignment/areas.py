"""Areas that pixels, spots and cells of two sections have in common, exactly and sparsely.

A pixel is carried by its corners, a disc by its centre and the local Jacobian of
the map, which makes it an ellipse. Disc and polygon: the edges are cut at the circle and
summed as triangles and sectors (Green's theorem). Disc and disc: the lens of two
circular segments. Only an ellipse that meets a disc is not in closed form: it is
taken as a polygon of equal area with :data:`_SIDES` sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import Transform

Floats = NDArray[np.floating[Any]]
Shape = Literal["square", "disc", "point"]

_SIDES = 96
_PAIRS_AT_A_TIME = 200_000
_ELEMENTS_AT_A_TIME = 50_000
_SIMILAR = 1e-6  # relative difference of the two stretches below which a circle stays one
_UNIT_CORNERS = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])


@dataclass(frozen=True)
class Footprints:
    """What each element of a section covers, in the frame of the receiving section.

    Attributes
    ----------
    shape
        ``square`` (any quadrilateral after a map), ``disc`` (any ellipse) or ``point``.
    centres
        (n, 2) centres (x, y) um; NaN where the map does not reach.
    corners
        (n, 4, 2) corners (x, y) um relative to the centre; squares only.
    radii
        (n,) radii um in the element's own frame; discs only.
    jacobians
        (n, 2, 2) derivatives of the map at the centres; discs only.
    areas
        (n,) um^2; 0 for points.
    reach
        (n,) distance from the centre to the farthest point, um.
    """

    shape: Shape
    centres: Floats
    corners: Floats
    radii: Floats
    jacobians: Floats
    areas: Floats
    reach: Floats

    def __len__(self) -> int:
        return len(self.centres)

    @property
    def round(self) -> bool:
        """Whether all discs are still circles."""
        stretch = np.linalg.svd(self.jacobians, compute_uv=False)
        return bool((stretch[:, 0] - stretch[:, 1] <= _SIMILAR * stretch[:, 0]).all())

    def circles(self) -> Floats:
        """(n,) radii of discs of equal area."""
        return np.sqrt(self.areas / np.pi)

    def polygons(self, rows: NDArray[np.intp]) -> Floats:
        """(k, sides, 2) outlines relative to the centres; of an ellipse one of equal area."""
        if self.shape == "square":
            return np.asarray(self.corners[rows])
        angle = 2 * np.pi * np.arange(_SIDES) / _SIDES
        # A regular polygon of the circle's own area rather than the inscribed one.
        size = np.sqrt(2 * np.pi / (_SIDES * np.sin(2 * np.pi / _SIDES)))
        ring = size * np.column_stack([np.cos(angle), np.sin(angle)])
        scaled = self.jacobians[rows] * self.radii[rows, None, None]
        return np.asarray(np.einsum("kab,sb->ksa", scaled, ring))


def footprints(
    coordinates: Floats,
    shape: Shape,
    *,
    diameters: Floats,
    sides: Floats | None = None,
    transform: Transform | None = None,
) -> Footprints:
    """Lay elements out in the receiving section's frame.

    Parameters
    ----------
    coordinates
        (n, 2) centres (x, y) um in their own frame.
    shape
        What the elements are.
    diameters
        (n,) diameters um of discs.
    sides
        (2, 2) columns: the two sides (x, y) um of a pixel; ``diameters`` along
        the axes by default.
    transform
        Carries their frame to the receiving section's; the identity by default.
    """
    own = np.asarray(coordinates, np.float64)
    there = own if transform is None else np.asarray(transform.apply(own), np.float64)
    n = len(own)
    corners, jacobians = np.zeros((n, 0, 2)), np.zeros((n, 0, 0))
    radii = np.asarray(diameters, np.float64) / 2
    if shape == "square":
        if sides is None:
            offsets = diameters[:, None, None] * _UNIT_CORNERS
        else:
            offsets = np.broadcast_to(_UNIT_CORNERS @ np.asarray(sides).T, (n, 4, 2))
        corners = np.asarray(offsets, np.float64)
        if transform is not None:
            moved = transform.apply((own[:, None] + offsets).reshape(-1, 2))
            corners = np.asarray(moved).reshape(n, 4, 2) - there[:, None]
        areas = np.abs(_polygon_area(corners))
        reach = np.linalg.norm(corners, axis=2).max(axis=1)
    elif shape == "disc":
        jacobians = np.broadcast_to(np.eye(2), (n, 2, 2)).copy()
        if transform is not None:
            jacobians = np.asarray(transform.jacobian(own))
        lost = np.isnan(jacobians.sum(axis=(1, 2)))
        there = np.where(lost[:, None], np.nan, there)
        jacobians[lost] = np.eye(2)
        areas = np.pi * radii**2 * np.abs(np.linalg.det(jacobians))
        reach = radii * np.linalg.svd(jacobians, compute_uv=False)[:, 0]
    else:
        areas, reach = np.zeros(n), np.zeros(n)
    there = np.where(np.isfinite(areas)[:, None], there, np.nan)
    return Footprints(
        shape, there, corners, radii, jacobians, np.nan_to_num(areas), np.nan_to_num(reach)
    )


def shared_areas(giving: Footprints, receiving: Footprints, ctx: JobContext) -> Any:
    """(n_giving, n_receiving) CSR matrix of areas in common, um^2; a point within counts 1.

    Raises
    ------
    UserError
        If both sides are points.
    """
    from scipy import sparse
    from scipy.spatial import cKDTree

    if giving.shape == receiving.shape == "point":
        raise UserError(
            "Points have no area in common.", "Take one of the two sections as squares or discs."
        )
    shape = (len(giving), len(receiving))
    known = np.flatnonzero(np.isfinite(receiving.centres).all(axis=1))
    inside = np.flatnonzero(np.isfinite(giving.centres).all(axis=1))
    if not len(known) or not len(inside):
        return sparse.csr_array(shape)
    tree = cKDTree(receiving.centres[known])
    rows, columns, values = [], [], []
    for low in range(0, len(inside), _ELEMENTS_AT_A_TIME):
        ctx.step(low / len(inside), "Areas in common")
        some = inside[low : low + _ELEMENTS_AT_A_TIME]
        reach = float(giving.reach[some].max() + receiving.reach[known].max())
        near = cKDTree(giving.centres[some]).sparse_distance_matrix(
            tree, reach, output_type="coo_matrix"
        )
        i, j = some[near.row], known[near.col]
        touch = near.data <= giving.reach[i] + receiving.reach[j]
        i, j = i[touch], j[touch]
        for start in range(0, len(i), _PAIRS_AT_A_TIME):
            ctx.step(low / len(inside), "Areas in common")
            part = slice(start, start + _PAIRS_AT_A_TIME)
            area = _pair_areas(giving, receiving, i[part], j[part])
            kept = area > 0
            rows.append(i[part][kept])
            columns.append(j[part][kept])
            values.append(area[kept])
    if not rows:
        return sparse.csr_array(shape)
    entries = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array((np.concatenate(values), entries), shape=shape)


def square_lattice(coordinates: Floats, tolerance: float = 0.1) -> Floats | None:
    """(2, 2) columns: the sides (x, y) of the cells of a rectangular lattice; None if it is none.

    Parameters
    ----------
    coordinates
        (n, 2) positions; gaps do not matter, the lattice may be turned.
    tolerance
        How far a neighbour may lie from its place, in cells.
    """
    from scipy.spatial import cKDTree

    points = np.asarray(coordinates, np.float64)
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 9:
        return None
    some = points[:: max(1, len(points) // 5000)]
    distance, index = cKDTree(points).query(some, k=9)
    steps = points[np.asarray(index)[:, 1:]] - some[:, None]
    nearest = steps[:, 0]
    pitch = float(np.median(np.asarray(distance)[:, 1]))
    if pitch <= 0:
        return None
    first = nearest[np.argmin(np.abs(np.linalg.norm(nearest, axis=1) - pitch))]
    along = first / np.linalg.norm(first)
    across = np.array([-along[1], along[0]])
    u, v = steps @ along, np.abs(steps @ across)
    off = v[(v > 0.3 * pitch) & (np.abs(u) < 0.3 * pitch)]
    if len(off) < len(some) // 4:
        return None
    other = float(np.median(off[off < 1.5 * off.min()]))
    cells = np.stack([u / pitch, v / other], axis=-1)
    if (np.abs(cells - np.rint(cells)) < tolerance).all(axis=-1).mean() < 0.9:
        return None
    sides = np.column_stack([pitch * along, other * across])
    # The side that runs along x first, both towards positive coordinates.
    order = np.argsort(-np.abs(sides[0]))
    sides = sides[:, order]
    return np.asarray(sides * np.where(np.diag(sides) < 0, -1.0, 1.0))


def disc_disc_area(distance: Floats, a: Floats, b: Floats) -> Floats:
    """(n,) area common to two circles of radii a and b at a distance (all broadcast)."""
    d, a, b = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (distance, a, b)))
    small = np.minimum(a, b)
    with np.errstate(invalid="ignore", divide="ignore"):
        x = np.clip((d**2 + a**2 - b**2) / (2 * d * a), -1, 1)
        y = np.clip((d**2 + b**2 - a**2) / (2 * d * b), -1, 1)
    root = (-d + a + b) * (d + a - b) * (d - a + b) * (d + a + b)
    lens = a**2 * np.arccos(x) + b**2 * np.arccos(y) - 0.5 * np.sqrt(np.maximum(root, 0))
    within = d <= np.abs(a - b)
    return np.asarray(np.where(within, np.pi * small**2, np.where(d >= a + b, 0.0, lens)))


def disc_polygon_area(corners: Floats, radius: Floats) -> Floats:
    """(n,) area common to simple polygons and circles round the origin.

    Parameters
    ----------
    corners
        (n, k, 2) corners (x, y) in order, either way round.
    radius
        (n,) radii.
    """
    p = np.asarray(corners, np.float64)
    step = np.roll(p, -1, axis=1) - p
    r2 = np.broadcast_to(np.asarray(radius, np.float64) ** 2, len(p))[:, None]
    a = (step**2).sum(axis=2)
    b = (p * step).sum(axis=2)
    root = b**2 - a * ((p**2).sum(axis=2) - r2)
    hits = (root > 0) & (a > 0)
    half = np.sqrt(np.where(hits, root, 0.0))
    length = np.where(a > 0, a, 1.0)
    # An edge that misses the circle is cut at its nearest point, which changes nothing.
    enter = np.clip((-b - half) / length, 0, 1)
    leave = np.clip((-b + half) / length, 0, 1)
    first, second = p + enter[..., None] * step, p + leave[..., None] * step
    end = p + step
    sectors = _angle(p, first) + _angle(second, end)
    triangles = _cross(first, second)
    outside = ~hits
    sectors = np.where(outside, _angle(p, first) + _angle(first, end), sectors)
    triangles = np.where(outside, 0.0, triangles)
    return np.asarray(np.abs((0.5 * (r2 * sectors + triangles)).sum(axis=1)))


def _cross(u: Floats, v: Floats) -> Floats:
    return np.asarray(u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0])


def _angle(u: Floats, v: Floats) -> Floats:
    return np.asarray(np.arctan2(_cross(u, v), (u * v).sum(axis=-1)))


def _polygon_area(corners: Floats) -> Floats:
    return np.asarray(0.5 * _cross(corners, np.roll(corners, -1, axis=1)).sum(axis=1))


def _pair_areas(
    giving: Footprints, receiving: Footprints, i: NDArray[np.intp], j: NDArray[np.intp]
) -> Floats:
    """(k,) area common to the elements i and j of each pair."""
    offset = receiving.centres[j] - giving.centres[i]
    kinds = (giving.shape, receiving.shape)
    if "point" in kinds:
        if kinds[0] == "point":
            return _holds(receiving, j, -offset).astype(float)
        return _holds(giving, i, offset).astype(float)
    if kinds == ("disc", "disc"):
        if giving.round and receiving.round:
            distance = np.linalg.norm(offset, axis=1)
            return disc_disc_area(distance, giving.circles()[i], receiving.circles()[j])
        if receiving.round:
            return disc_polygon_area(giving.polygons(i) - offset[:, None], receiving.circles()[j])
        return _in_disc_frame(giving, i, receiving.polygons(j) + offset[:, None])
    if kinds == ("square", "disc"):
        return _in_disc_frame(receiving, j, giving.corners[i] - offset[:, None])
    if kinds == ("disc", "square"):
        return _in_disc_frame(giving, i, receiving.corners[j] + offset[:, None])
    import shapely

    here = shapely.polygons(giving.corners[i])
    there = shapely.polygons(receiving.corners[j] + offset[:, None])
    return np.asarray(shapely.area(shapely.intersection(here, there)))


def _in_disc_frame(discs: Footprints, rows: NDArray[np.intp], corners: Floats) -> Floats:
    """Area common to polygons and ellipses, seen where the ellipse is still the circle."""
    jacobian = discs.jacobians[rows]
    own = np.einsum("kab,ksb->ksa", np.linalg.inv(jacobian), corners)
    return disc_polygon_area(own, discs.radii[rows]) * np.abs(np.linalg.det(jacobian))


def _holds(shapes: Footprints, rows: NDArray[np.intp], offset: Floats) -> NDArray[np.bool_]:
    """(k,) whether elements hold points at an offset from their centres."""
    if shapes.shape == "disc":
        own = np.einsum("kab,kb->ka", np.linalg.inv(shapes.jacobians[rows]), offset)
        return np.asarray((own**2).sum(axis=1) <= shapes.radii[rows] ** 2)
    corners = shapes.corners[rows]
    side = _cross(np.roll(corners, -1, axis=1) - corners, offset[:, None] - corners)
    return np.asarray((side >= 0).all(axis=1) | (side <= 0).all(axis=1))
