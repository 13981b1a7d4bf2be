"""A displacement field on a regular grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np

from napari_stomics.core._transform import Affine, InverseTransform, Points, Transform

_ANCHORS_PER_AXIS = 64


@dataclass(frozen=True, eq=False)
class DisplacementField(Transform):
    """A map ``p + u(p)`` with displacements u given on a regular grid.

    Beyond the grid the displacement of the nearest point of its edge is used,
    so the map is continuous everywhere and a pure shift along each axis far
    outside. Linear interpolation is continuous, cubic (a spline through the
    nodes) has continuous derivatives inside the grid.

    Parameters
    ----------
    displacements
        (ny, nx, 2) displacements (dx, dy) in um; row j, column i belong to the
        point ``origin + (i, j) * spacing``.
    origin
        (2,) position (x, y) of node (0, 0), um.
    spacing
        (2,) distance between nodes (along x, along y), um.
    interpolation
        ``"linear"`` or ``"cubic"`` (at least four nodes along each axis).
    """

    displacements: Points
    origin: Points
    spacing: Points
    interpolation: Literal["linear", "cubic"] = "linear"
    kind: ClassVar[str] = "displacement_field"

    def __post_init__(self) -> None:
        for name in ("displacements", "origin", "spacing"):
            array = np.array(getattr(self, name), dtype=np.float64)
            if not np.isfinite(array).all():
                raise ValueError(f"{name} of a displacement field must be finite")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if self.interpolation not in ("linear", "cubic"):
            raise ValueError(f"unknown interpolation {self.interpolation!r}")
        nodes = 2 if self.interpolation == "linear" else 4
        shape = self.displacements.shape
        if len(shape) != 3 or shape[2] != 2 or min(shape[:2]) < nodes:
            raise ValueError(
                f"displacements must be (ny, nx, 2) with at least {nodes} nodes along each "
                f"axis, got {shape}"
            )
        if self.origin.shape != (2,) or self.spacing.shape != (2,) or self.spacing.min() <= 0:
            raise ValueError("origin and spacing must be pairs (x, y), the spacing positive")

    def apply(self, points: Points) -> Points:
        """Map (n, 2) points (x, y)."""
        points = np.asarray(points, dtype=np.float64)
        column, row = self._grid_coordinates(points)
        if self.interpolation == "linear":
            return points + self._linear(column, row)[0]
        return points + np.column_stack([s.ev(row, column) for s in self._splines])

    def jacobian(self, points: Points) -> Points:
        """(n, 2, 2) derivatives; one-sided where the field has a kink."""
        points = np.asarray(points, dtype=np.float64)
        column, row = self._grid_coordinates(points)
        if self.interpolation == "linear":
            _, along_x, along_y = self._linear(column, row)
        else:
            along_x = np.column_stack([s.ev(row, column, dy=1) for s in self._splines])
            along_y = np.column_stack([s.ev(row, column, dx=1) for s in self._splines])
        last = np.array(self.displacements.shape[1::-1]) - 1
        place = (points - self.origin) / self.spacing
        inside = (place >= 0) & (place <= last)
        out = np.empty((len(points), 2, 2))
        out[:, :, 0] = along_x * (inside[:, :1] / self.spacing[0])
        out[:, :, 1] = along_y * (inside[:, 1:] / self.spacing[1])
        out += np.eye(2)
        return out

    def _grid_coordinates(self, points: Points) -> tuple[Points, Points]:
        """Return column and row of each point, held at the edge of the grid."""
        place = (points - self.origin) / self.spacing
        rows, columns = self.displacements.shape[:2]
        return np.clip(place[:, 0], 0, columns - 1), np.clip(place[:, 1], 0, rows - 1)

    def _linear(self, column: Points, row: Points) -> tuple[Points, Points, Points]:
        """Return the bilinear displacement and its derivatives by column and row."""
        rows, columns = self.displacements.shape[:2]
        # NaN has no cell: it is looked up in the first and comes out as NaN again.
        i = np.clip(np.nan_to_num(column).astype(np.intp), 0, columns - 2)
        j = np.clip(np.nan_to_num(row).astype(np.intp), 0, rows - 2)
        s, t = (column - i)[:, None], (row - j)[:, None]
        u = self.displacements
        a, b, c, d = u[j, i], u[j, i + 1], u[j + 1, i], u[j + 1, i + 1]
        value = (1 - t) * ((1 - s) * a + s * b) + t * ((1 - s) * c + s * d)
        along_column = (1 - t) * (b - a) + t * (d - c)
        along_row = (1 - s) * (c - a) + s * (d - b)
        return value, along_column, along_row

    @cached_property
    def _splines(self) -> tuple[Any, Any]:
        from scipy.interpolate import RectBivariateSpline

        rows, columns = (np.arange(n, dtype=float) for n in self.displacements.shape[:2])
        first, second = (
            RectBivariateSpline(rows, columns, self.displacements[:, :, k], s=0) for k in range(2)
        )
        return first, second

    def inverse(self) -> Transform:
        """Return the numeric inverse."""
        return InverseTransform(self)

    def linear_part(self) -> Affine:
        """Return the shift by the mean displacement."""
        matrix = np.eye(3)
        matrix[:2, 2] = self.displacements.mean(axis=(0, 1))
        return Affine(matrix)

    def anchors(self) -> Points:
        """(m, 2) nodes of the grid, thinned where there are many."""
        rows, columns = (
            np.unique(np.linspace(0, n - 1, min(n, _ANCHORS_PER_AXIS)).astype(int))
            for n in self.displacements.shape[:2]
        )
        place = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
        return np.asarray(self.origin + place * self.spacing)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, read back by :func:`transform_from_dict`."""
        return {
            "kind": self.kind,
            "displacements": self.displacements.tolist(),
            "origin": self.origin.tolist(),
            "spacing": self.spacing.tolist(),
            "interpolation": self.interpolation,
        }
