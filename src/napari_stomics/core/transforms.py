"""Maps of the plane, from one section's micrometres to another's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating[Any]]


class Transform(ABC):
    """A map of points (x, y) in micrometres; serialisable, so that it can be applied again."""

    kind: ClassVar[str]

    @abstractmethod
    def apply(self, points: Points) -> Points:
        """Map (n, 2) points (x, y)."""

    @abstractmethod
    def inverse(self) -> Transform:
        """Return the inverse map."""

    @abstractmethod
    def jacobian_determinant(self, points: Points) -> Points:
        """(n,) local area factor at the points; negative where a warp folds or mirrors."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, read back by :func:`transform_from_dict`."""


@dataclass(frozen=True, eq=False)
class Affine(Transform):
    """An affine map.

    Parameters
    ----------
    matrix
        (3, 3) homogeneous matrix acting on column vectors (x, y, 1).
    """

    matrix: NDArray[np.float64]
    kind: ClassVar[str] = "affine"

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
            raise ValueError(f"an affine map needs a finite (3, 3) matrix, got shape {matrix.shape}")
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def identity(cls) -> Affine:
        """The map that leaves every point where it is."""
        return cls(np.eye(3))

    def apply(self, points: Points) -> Points:
        """Map (n, 2) points (x, y)."""
        points = np.asarray(points, dtype=np.float64)
        return points @ self.matrix[:2, :2].T + self.matrix[:2, 2]

    def inverse(self) -> Affine:
        """Return the inverse map."""
        return Affine(np.linalg.inv(self.matrix))

    def jacobian_determinant(self, points: Points) -> Points:
        """(n,) local area factor, the same everywhere."""
        return np.full(len(points), np.linalg.det(self.matrix[:2, :2]))

    def then(self, other: Affine) -> Affine:
        """Return the map that applies this one first and ``other`` after it."""
        return Affine(other.matrix @ self.matrix)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, read back by :func:`transform_from_dict`."""
        return {"kind": self.kind, "matrix": self.matrix.tolist()}
