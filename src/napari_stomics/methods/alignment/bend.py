"""A smooth displacement fitted to matches, guarded against folds.

The displacement lives on a regular grid and minimises

``sum_i w_i |u(x_i) - d_i|^2 + density * length^4 * integral |second derivatives of u|^2``,

the bending energy of a thin-plate spline (Duchon 1977) with matches of density
one per unit of area averaged over about ``length``; beyond the tissue it goes
on linearly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.transforms import DisplacementField, Transform

Floats = NDArray[np.floating[Any]]

_NODES = 90  # along the longer side at most
_LEAST_AREA = 0.15  # of the Jacobian determinant over the tissue
_STIFFER = 1.35  # factor on the length while the field folds
_ATTEMPTS = 12


@dataclass(frozen=True, eq=False)
class Grid:
    """Nodes over a section, with a margin.

    Attributes
    ----------
    origin
        (2,) position (x, y) of node (0, 0).
    spacing
        Distance between nodes along both axes.
    shape
        Numbers of nodes (ny, nx).
    """

    origin: Floats
    spacing: float
    shape: tuple[int, int]

    @classmethod
    def over(cls, points: Floats, spacing: float) -> Grid:
        """Cover the points, with nodes no closer than ``spacing``."""
        points = points[np.isfinite(points).all(axis=1)]
        low, high = points.min(axis=0), points.max(axis=0)
        spacing = max(spacing, float((high - low).max()) / _NODES)
        cells = np.ceil((high - low) / spacing).astype(int) + 2
        origin = (low + high) / 2 - cells * spacing / 2
        return cls(origin, spacing, (int(cells[1]) + 1, int(cells[0]) + 1))

    def nodes(self) -> Floats:
        """(nodes, 2) positions (x, y), row by row."""
        rows, columns = self.shape
        at = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
        return np.asarray(self.origin + self.spacing * at)

    def weights(self, points: Floats) -> Any:
        """(n, nodes) CSR matrix of bilinear interpolation; nodes row by row."""
        from scipy import sparse

        rows, columns = self.shape
        place = (points - self.origin) / self.spacing
        i = np.clip(place[:, 0].astype(np.intp), 0, columns - 2)
        j = np.clip(place[:, 1].astype(np.intp), 0, rows - 2)
        s, t = np.clip(place[:, 0] - i, 0, 1), np.clip(place[:, 1] - j, 0, 1)
        at = j * columns + i
        nodes = np.stack([at, at + 1, at + columns, at + columns + 1], axis=1)
        share = np.stack([(1 - s) * (1 - t), s * (1 - t), (1 - s) * t, s * t], axis=1)
        indptr = np.arange(0, 4 * len(points) + 1, 4)
        shape = (len(points), rows * columns)
        out: Any = sparse.csr_matrix((share.ravel(), nodes.ravel(), indptr), shape=shape)
        return out

    def bending(self) -> Any:
        """(nodes, nodes) matrix of the bending energy of a field on the grid."""
        from scipy import sparse

        rows, columns = self.shape
        one = [sparse.eye(k, format="csr") for k in (rows, columns)]
        first = [sparse.diags([-1.0, 1.0], [0, 1], shape=(k - 1, k)) for k in (rows, columns)]
        second = [
            sparse.diags([1.0, -2.0, 1.0], [0, 1, 2], shape=(k - 2, k)) for k in (rows, columns)
        ]
        along_x = sparse.kron(one[0], second[1])
        along_y = sparse.kron(second[0], one[1])
        across = sparse.kron(first[0], first[1])
        energy = along_x.T @ along_x + along_y.T @ along_y + 2.0 * (across.T @ across)
        out: Any = (energy / self.spacing**2).tocsc()
        return out

    def field(self, values: Floats, scale: float = 1.0) -> DisplacementField:
        """Return the field with (nodes, 2) displacements; ``scale`` turns units into um."""
        rows, columns = self.shape
        return DisplacementField(
            values.reshape(rows, columns, 2) * scale,
            self.origin * scale,
            np.full(2, self.spacing * scale),
            "cubic" if min(self.shape) >= 4 else "linear",
        )


@dataclass(frozen=True, eq=False)
class Bend:
    """A fitted displacement.

    Attributes
    ----------
    grid
        Where it is given.
    values
        (nodes, 2) displacements in the units of the grid.
    length
        Length over which matches were averaged; longer than asked for where the
        field would have folded.
    """

    grid: Grid
    values: Floats
    length: float

    def apply(self, points: Floats) -> Floats:
        """(n, 2) displaced points."""
        return np.asarray(self.grid.field(self.values).apply(points))


def fit_bend(
    points: Floats,
    shifts: Floats,
    weights: Floats,
    *,
    length: float,
    density: float = 1.0,
    spacing: float | None = None,
) -> Bend:
    """Fit a smooth displacement that does not fold over the points.

    Parameters
    ----------
    points
        (n, 2) positions.
    shifts
        (n, 2) displacement seen at each; ignored where the weight is 0.
    weights
        (n,) how much each counts.
    length
        Length over which matches are averaged.
    density
        Total weight per unit of area: what a weight is to be compared with.
    spacing
        Between the nodes; half the length by default.

    Returns
    -------
    Bend
        Stiffer than asked for, if it would fold otherwise.
    """
    from scipy import sparse
    from scipy.sparse.linalg import splu

    grid = Grid.over(points, spacing or length / 2)
    used = weights > 0
    basis = grid.weights(points[used])
    weighted = basis.T @ sparse.diags(weights[used])
    normal, right = (weighted @ basis).tocsc(), weighted @ shifts[used]
    energy = grid.bending()
    # A trace of a membrane keeps the system regular where matches lie on a line.
    anchor = 1e-9 * max(float(normal.diagonal().max(initial=0.0)), 1e-12)
    normal = normal + anchor * sparse.eye(normal.shape[0], format="csc")
    for _ in range(_ATTEMPTS):
        system = normal + (density * length**4) * energy
        values = np.asarray(splu(system.tocsc()).solve(right))
        bend = Bend(grid, values, length)
        if least_area(grid.field(values), points) > _LEAST_AREA:
            return bend
        length *= _STIFFER
    return Bend(grid, np.zeros_like(values), np.inf)


def least_area(transform: Transform, points: Floats) -> float:
    """Smallest Jacobian determinant at the points, relative to the affine part's sign."""
    sound = points[np.isfinite(points).all(axis=1)]
    sign = np.sign(np.linalg.det(transform.linear_part().matrix[:2, :2])) or 1.0
    return float((sign * transform.jacobian_determinant(sound)).min())


def fold_fraction(transform: Transform, points: Floats) -> float:
    """Share of the points where the map turns the tissue inside out."""
    sound = points[np.isfinite(points).all(axis=1)]
    sign = np.sign(np.linalg.det(transform.linear_part().matrix[:2, :2])) or 1.0
    return float((sign * transform.jacobian_determinant(sound) <= 0).mean())
