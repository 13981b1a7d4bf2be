"""The thin-plate spline with stiffness, and its linear system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from napari_stomics.core._transform import Affine, InverseTransform, Points, Transform
from napari_stomics.core.errors import UserError

_KERNEL_ELEMENTS = 1_000_000  # kernel values held at once
_TINY = 1e-300  # makes 0 log 0 come out as 0


class ThinPlateSystem:
    """The equations of the spline for given control points, solved for any stiffness at once.

    The kernel matrix K, restricted to the values that no affine map explains,
    is decomposed once. With ``B = basis @ diag(1 / (eigenvalues + l)) @ basis.T``
    and ``l = n * stiffness`` the spline's weights are ``B @ values``.

    Parameters
    ----------
    control
        (n, 2) control points, at least three and not on one line.

    Attributes
    ----------
    centre, scale
        Centroid of the control points and their root mean squared distance
        from it, um.
    polynomial
        (n, 3) columns 1, x, y in units of ``scale`` from the centre.
    basis
        (n, n - 3) orthonormal directions, orthogonal to ``polynomial``.
    eigenvalues
        (n - 3,) of the kernel along them, all positive.
    """

    def __init__(self, control: Points) -> None:
        control = np.asarray(control, dtype=np.float64)
        self.centre = control.mean(axis=0)
        self.scale = float(np.sqrt(((control - self.centre) ** 2).sum(axis=1).mean()))
        self.unit = (control - self.centre) / self.scale if self.scale > 0 else control * 0.0
        self.polynomial = np.column_stack([np.ones(len(control)), self.unit])
        self.kernel = _kernel(_squared(self.unit, self.unit))
        full, triangle = np.linalg.qr(self.polynomial, mode="complete")
        diagonal = np.abs(np.diagonal(triangle))
        if len(control) < 3 or diagonal.min() < 1e-9 * diagonal.max():
            raise UserError(
                "A thin-plate spline needs at least three control points off one line.",
                "Add a point away from the line through the others.",
            )
        null = full[:, 3:]
        self.eigenvalues, vectors = np.linalg.eigh(null.T @ self.kernel @ null)
        self.basis = null @ vectors

    def penalty(self, stiffness: float) -> float:
        """Return what a stiffness adds to the kernel's diagonal."""
        return len(self.polynomial) * stiffness

    def solve(self, values: Points, stiffness: float) -> tuple[Points, Points]:
        """Return the (n, 2) weights and the (3, 2) polynomial coefficients.

        Raises
        ------
        UserError
            If control points coincide and nothing softens the fit.
        """
        values = np.asarray(values, dtype=np.float64)
        if np.isinf(stiffness):
            weights = np.zeros_like(values)
            rest = values
        else:
            penalty = self.penalty(stiffness)
            damped = self.eigenvalues + penalty
            if len(damped) and damped.min() <= 1e-13 * max(damped.max(), 1.0):
                raise UserError(
                    "Two control points of the spline coincide.",
                    "Move one of them, or give the spline some stiffness.",
                )
            weights = self.basis @ ((self.basis.T @ values) / damped[:, None])
            rest = values - self.kernel @ weights - penalty * weights
        coefficients = np.linalg.lstsq(self.polynomial, rest, rcond=None)[0]
        return weights, coefficients

    def variance(self, points: Points, stiffness: float) -> Points:
        """(m,) variance of a new observation at each point, the spline seen as a Gaussian process.

        In units of the process; that of a control point left out is
        ``1 / B_ii`` on the same scale (Wahba 1990, Spline Models).

        Parameters
        ----------
        points
            (m, 2) points (x, y), um.
        stiffness
            A finite stiffness.
        """
        unit = (np.asarray(points, dtype=np.float64) - self.centre) / self.scale
        penalty = self.penalty(stiffness)
        cross = _kernel(_squared(unit, self.unit))
        size = len(self.polynomial)
        bordered = np.zeros((size + 3, size + 3))
        bordered[:size, :size] = self.kernel + penalty * np.eye(size)
        bordered[:size, size:] = self.polynomial
        bordered[size:, :size] = self.polynomial.T
        right = np.column_stack([cross, np.ones(len(unit)), unit])
        solved = np.linalg.solve(bordered, right.T)
        return np.asarray(penalty - (right * solved.T).sum(axis=1))


@dataclass(frozen=True, eq=False)
class ThinPlateSpline(Transform):
    r"""A thin-plate spline (Duchon 1977; Bookstein 1989, IEEE TPAMI 11:567).

    ``f(p) = A p + b + sum_i weights_i U(|p - control_i| / scale)`` with
    ``U(r) = r^2 log r``. Far from the control points it is affine up to a slow
    logarithmic growth.

    With *stiffness* s the fit minimises

    ``mean |target_i - f(source_i)|^2 + s scale^2 E(f) / (8 pi)``,

    where E is the bending energy, the integral of the squared second
    derivatives (a pure number), and ``scale`` the root mean squared distance of
    the control points from their centroid. Hence s has no unit and means the
    same in any coordinates: 0 passes through every point, about 0.001 smooths
    over neighbouring points, above 1 only bends of the whole section are left,
    and infinity is the affine least-squares fit.

    Parameters
    ----------
    control
        (k, 2) control points in the source, um.
    weights
        (k, 2) weights of the bends, um.
    matrix
        (3, 3) affine part.
    scale
        Unit of length of the kernel, um.
    stiffness
        The stiffness of the fit, kept for the record.
    """

    control: Points
    weights: Points
    matrix: Points
    scale: float
    stiffness: float = 0.0
    kind: ClassVar[str] = "thin_plate_spline"

    def __post_init__(self) -> None:
        for name in ("control", "weights", "matrix"):
            array = np.array(getattr(self, name), dtype=np.float64)
            if not np.isfinite(array).all():
                raise ValueError(f"{name} of a thin-plate spline must be finite")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if self.control.ndim != 2 or self.control.shape[1] != 2:
            raise ValueError(f"control points must be (k, 2), got {self.control.shape}")
        if self.weights.shape != self.control.shape:
            raise ValueError(f"weights must be {self.control.shape}, got {self.weights.shape}")
        if not (np.isfinite(self.scale) and self.scale > 0 and self.stiffness >= 0):
            raise ValueError("scale must be positive and stiffness not negative")
        Affine(self.matrix)

    @classmethod
    def fit(
        cls,
        source: Points,
        target: Points,
        stiffness: float = 0.0,
        system: ThinPlateSystem | None = None,
    ) -> ThinPlateSpline:
        """Fit the spline that carries source points to target points.

        Parameters
        ----------
        source, target
            (n, 2) corresponding points (x, y) in um.
        stiffness
            0 (exact) to infinity (affine), see the class.
        system
            The decomposed equations of the source points, where at hand.

        Raises
        ------
        UserError
            If the source points lie on one line or coincide.
        """
        system = system or ThinPlateSystem(source)
        weights, coefficients = system.solve(target, stiffness)
        matrix = np.eye(3)
        matrix[:2, :2] = coefficients[1:].T / system.scale
        matrix[:2, 2] = coefficients[0] - matrix[:2, :2] @ system.centre
        control = np.asarray(source, dtype=np.float64)
        return cls(control, weights, matrix, system.scale, float(stiffness))

    def apply(self, points: Points) -> Points:
        """Map (n, 2) points (x, y), a chunk at a time."""
        points = np.asarray(points, dtype=np.float64)
        out = points @ self.matrix[:2, :2].T + self.matrix[:2, 2]
        if self.weights.any():
            for rows in self._chunks(len(points)):
                unit = _squared(points[rows] / self.scale, self.control / self.scale)
                out[rows] += _kernel(unit) @ self.weights
        return out

    def jacobian(self, points: Points) -> Points:
        """(n, 2, 2) exact derivatives."""
        points = np.asarray(points, dtype=np.float64)
        out = np.broadcast_to(self.matrix[:2, :2], (len(points), 2, 2)).copy()
        if self.weights.any():
            for rows in self._chunks(len(points)):
                x = points[rows, None, 0] / self.scale - self.control[None, :, 0] / self.scale
                y = points[rows, None, 1] / self.scale - self.control[None, :, 1] / self.scale
                slope = np.log(x * x + y * y + _TINY) + 1
                out[rows, :, 0] += (slope * x) @ self.weights / self.scale
                out[rows, :, 1] += (slope * y) @ self.weights / self.scale
        return out

    def _chunks(self, count: int) -> list[slice]:
        rows = max(1, _KERNEL_ELEMENTS // max(1, len(self.control)))
        return [slice(low, low + rows) for low in range(0, count, rows)]

    def inverse(self) -> Transform:
        """Return the numeric inverse."""
        return InverseTransform(self)

    def linear_part(self) -> Affine:
        """Return the affine least-squares fit to the images of the control points."""
        design = np.column_stack([np.ones(len(self.control)), self.control])
        fitted = np.linalg.lstsq(design, self.apply(self.control), rcond=None)[0]
        matrix = np.eye(3)
        matrix[:2, :2], matrix[:2, 2] = fitted[1:].T, fitted[0]
        return Affine(matrix)

    def anchors(self) -> Points:
        """(m, 2) control points and a grid over twice their extent."""
        low, high = self.control.min(axis=0), self.control.max(axis=0)
        margin = (high - low) / 2
        axes = [np.linspace(low[i] - margin[i], high[i] + margin[i], 33) for i in range(2)]
        grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
        return np.concatenate([self.control, grid])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; an infinite stiffness is written as None."""
        return {
            "kind": self.kind,
            "control": self.control.tolist(),
            "weights": self.weights.tolist(),
            "matrix": self.matrix.tolist(),
            "scale": float(self.scale),
            "stiffness": float(self.stiffness) if np.isfinite(self.stiffness) else None,
        }


def _squared(left: Points, right: Points) -> Points:
    """(n, k) squared distances, by differences: no cancellation near the control points."""
    x = left[:, None, 0] - right[None, :, 0]
    y = left[:, None, 1] - right[None, :, 1]
    return np.asarray(x * x + y * y)


def _kernel(squared: Points) -> Points:
    """``r^2 log r`` of squared distances."""
    return np.asarray(0.5 * squared * np.log(squared + _TINY))
