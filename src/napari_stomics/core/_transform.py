"""What every map of the plane offers, the affine map, and the numeric inverse."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError

Points = NDArray[np.floating[Any]]

_ROWS_AT_A_TIME = 65_536
_ITERATIONS = 60
_HALVINGS = 12
_ACCURACY = 1e-7  # um in the source: the last Newton step that is still accepted
_NEIGHBOURS = 4  # grid starts tried where the first start fails


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
    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, read back by :func:`transform_from_dict`."""

    def jacobian(self, points: Points) -> Points:
        """(n, 2, 2) derivatives; ``[i, a, b]`` is that of output a by input b at point i."""
        points = np.asarray(points, dtype=np.float64)
        # Central differences: the cube root of the machine precision balances
        # the truncation of the series against the rounding of the values.
        size = float(np.abs(points[np.isfinite(points)]).max(initial=1.0))
        step = 6e-6 * max(size, 1.0)
        out = np.empty((len(points), 2, 2))
        for axis in range(2):
            shift = np.zeros(2)
            shift[axis] = step
            ahead, behind = self.apply(points + shift), self.apply(points - shift)
            out[:, :, axis] = (ahead - behind) / (2 * step)
        return out

    def jacobian_determinant(self, points: Points) -> Points:
        """(n,) local area factor at the points; negative where a warp folds or mirrors."""
        jacobian = self.jacobian(points)
        product = jacobian[:, 0, 0] * jacobian[:, 1, 1]
        return np.asarray(product - jacobian[:, 0, 1] * jacobian[:, 1, 0])

    def linear_part(self) -> Affine:
        """Return the affine map that this one departs from, mirrored where it mirrors."""
        return Affine.identity()

    def anchors(self) -> Points:
        """(m, 2) points spread over the map's domain, where an inverse may start its search."""
        return np.zeros((0, 2))


@dataclass(frozen=True, eq=False)
class Affine(Transform):
    """An affine map.

    Parameters
    ----------
    matrix
        (3, 3) homogeneous matrix acting on column vectors (x, y, 1); its last
        row is (0, 0, 1).
    """

    matrix: Points
    kind: ClassVar[str] = "affine"

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
            raise ValueError(f"an affine map needs a finite (3, 3) matrix, got {matrix.shape}")
        if not np.array_equal(matrix[2], [0, 0, 1]):
            raise ValueError(f"the last row of an affine map is (0, 0, 1), got {matrix[2]}")
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
        """Return the inverse map.

        Raises
        ------
        UserError
            If the map is flat: it squeezes the plane onto a line or a point.
        """
        linear = self.matrix[:2, :2]
        sizes = np.linalg.svd(linear, compute_uv=False)
        if not sizes[1] > 1e-12 * sizes[0]:
            raise UserError(
                "This affine map has no inverse: it squeezes the section onto a line.",
                "Check the landmarks or the numbers that it was made from.",
            )
        matrix = np.eye(3)
        matrix[:2, :2] = np.linalg.inv(linear)
        matrix[:2, 2] = -matrix[:2, :2] @ self.matrix[:2, 2]
        return Affine(matrix)

    def jacobian(self, points: Points) -> Points:
        """(n, 2, 2) derivatives, the same everywhere."""
        return np.broadcast_to(self.matrix[:2, :2], (len(points), 2, 2)).copy()

    def linear_part(self) -> Affine:
        """Return the map itself."""
        return self

    def then(self, other: Affine) -> Affine:
        """Return the map that applies this one first and ``other`` after it."""
        matrix = other.matrix @ self.matrix
        matrix[2] = (0, 0, 1)
        return Affine(matrix)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, read back by :func:`transform_from_dict`."""
        return {"kind": self.kind, "matrix": self.matrix.tolist()}


@dataclass(frozen=True, eq=False)
class InverseTransform(Transform):
    """The numeric inverse of a non-rigid map, by damped Newton iteration.

    Each point starts from the inverse of the forward map's affine part and,
    where that fails, from the anchors whose images lie nearest. A point is
    accepted once the last Newton step is below 1e-7 um; where the forward map
    does not reach a point, or folds there, the answer is NaN. Under a fold
    several points share one image and any of them may be returned.

    Parameters
    ----------
    forward
        The map to be inverted.
    """

    forward: Transform
    kind: ClassVar[str] = "inverse"

    def apply(self, points: Points) -> Points:
        """Map (n, 2) points (x, y); rows of NaN where the search does not converge."""
        points = np.asarray(points, dtype=np.float64)
        out = np.full(points.shape, np.nan)
        start = self.forward.linear_part().inverse()
        for low in range(0, len(points), _ROWS_AT_A_TIME):
            rows = slice(low, low + _ROWS_AT_A_TIME)
            out[rows] = _newton(self.forward, points[rows], start.apply(points[rows]))
        lost = np.flatnonzero(np.isnan(out[:, 0]) & np.isfinite(points).all(axis=1))
        if len(lost):
            out[lost] = self._from_anchors(points[lost])
        return out

    def _from_anchors(self, points: Points) -> Points:
        from scipy.spatial import cKDTree

        out = np.full(points.shape, np.nan)
        anchors = self.forward.anchors()
        if not len(anchors):
            return out
        count = min(_NEIGHBOURS, len(anchors))
        _, nearest = cKDTree(self.forward.apply(anchors)).query(points, k=count)
        nearest = np.asarray(nearest).reshape(len(points), count)
        for rank in range(count):
            lost = np.flatnonzero(np.isnan(out[:, 0]))
            if not len(lost):
                break
            out[lost] = _newton(self.forward, points[lost], anchors[nearest[lost, rank]])
        return out

    def inverse(self) -> Transform:
        """Return the forward map itself."""
        return self.forward

    def jacobian(self, points: Points) -> Points:
        """(n, 2, 2) derivatives: the inverse matrices of the forward map's."""
        inside = self.apply(points)
        found = np.isfinite(inside).all(axis=1)
        out = np.full((len(inside), 2, 2), np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            out[found] = _inverse_2x2(self.forward.jacobian(inside[found]))
        return out

    def linear_part(self) -> Affine:
        """Return the inverse of the forward map's affine part."""
        return self.forward.linear_part().inverse()

    def anchors(self) -> Points:
        """(m, 2) images of the forward map's anchors."""
        return self.forward.apply(self.forward.anchors())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, read back by :func:`transform_from_dict`."""
        return {"kind": self.kind, "forward": self.forward.to_dict()}


def _inverse_2x2(matrices: Points) -> Points:
    a, b, c, d = matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 0], matrices[:, 1, 1]
    adjugate = np.stack([np.stack([d, -b], -1), np.stack([-c, a], -1)], -2)
    return np.asarray(adjugate / (a * d - b * c)[:, None, None])


def _newton(forward: Transform, targets: Points, start: Points) -> Points:
    """(n, 2) solutions of ``forward(x) = target``; NaN where there is none near the start."""
    x = np.array(start, dtype=np.float64)
    gap = forward.apply(x) - targets
    last_step = np.full(len(x), np.inf)
    floor = 1e-15 * float(np.abs(targets[np.isfinite(targets)]).max(initial=1.0))
    active = np.flatnonzero(np.isfinite(gap).all(axis=1))
    with np.errstate(all="ignore"):
        for _ in range(_ITERATIONS):
            if not len(active):
                break
            step = np.einsum("nab,nb->na", _inverse_2x2(forward.jacobian(x[active])), -gap[active])
            length = np.linalg.norm(step, axis=1)
            good = np.isfinite(length)
            active, step, length = active[good], step[good], length[good]
            last_step[active] = length
            moved = _damped(forward, targets, x, gap, active, step)
            # A point stops when it no longer improves or its step is rounding noise.
            active = active[moved & (length > max(1e-10, floor))]
    x[last_step > _ACCURACY] = np.nan
    return x


def _damped(
    forward: Transform,
    targets: Points,
    x: Points,
    gap: Points,
    active: NDArray[np.intp],
    step: Points,
) -> NDArray[np.bool_]:
    """Move the active points along their steps, halved until the gap shrinks; say which moved."""
    before = np.linalg.norm(gap[active], axis=1)
    moved = np.zeros(len(active), dtype=bool)
    scale = 1.0
    for _ in range(_HALVINGS):
        todo = np.flatnonzero(~moved)
        if not len(todo):
            break
        trial = x[active[todo]] + scale * step[todo]
        trial_gap = forward.apply(trial) - targets[active[todo]]
        size = np.linalg.norm(trial_gap, axis=1)
        better = size < before[todo] * (1 - 1e-4 * scale)
        rows = active[todo[better]]
        x[rows], gap[rows] = trial[better], trial_gap[better]
        moved[todo[better]] = True
        scale /= 2
    return moved
