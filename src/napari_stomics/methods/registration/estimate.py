"""Least-squares maps between landmark pairs, each with its leave-one-out errors in closed form.

In the plane every map here is linear in complex numbers. With a source point
z = x + iy and its partner w,

- a similarity is ``w = b + a z``, mirrored ``w = b + a conj(z)``,
- a rigid map is the same with ``|a| = 1``, and
- an affine map is ``w = b + a z + c conj(z)``.

The complex least-squares fit is the one of Umeyama (1991, IEEE TPAMI 13:376)
and of Kabsch (1976): the optimal rotation is the angle, the optimal scale the
length of ``a``. Leaving a pair out then costs a division, not a new fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core._thin_plate import ThinPlateSystem
from napari_stomics.core.transforms import Affine, Points, ThinPlateSpline, Transform

Complex = NDArray[np.complexfloating[Any, Any]]
Mask = NDArray[np.bool_]

STIFFNESSES = np.concatenate([[0.0], np.logspace(-4, 1, 16), [np.inf]])
"""Candidates for the automatic stiffness, from exact to affine."""

CLEAR_GAIN = 1.5
"""Standard errors by which bending must lower the error before the affine map is left."""

FEWEST_FOR_CHOICE = 6
"""Pairs below which the automatic stiffness is infinite: nothing is left to judge it by."""

_NOTHING_LEFT = 1e-8  # a leverage so near to one that the rest does not hold the pair


@dataclass(frozen=True)
class Fit:
    """A fitted map with the errors of its pairs.

    Attributes
    ----------
    transform
        The map.
    residuals
        (n,) complex errors left by the fit, um.
    leave_one_out
        (n,) complex errors at each pair when it is left out, um; NaN where the
        others do not determine the map.
    system
        The decomposed equations of a spline, so that they need not be made twice.
    """

    transform: Transform
    residuals: Complex
    leave_one_out: Complex
    system: ThinPlateSystem | None = None


def as_complex(points: Points) -> Complex:
    """(n, 2) points as (n,) complex numbers."""
    points = np.asarray(points, dtype=np.float64)
    return np.asarray(points[:, 0] + 1j * points[:, 1])


def linear_design(z: Complex, model: str, mirrored: bool) -> Complex:
    """(n, p) columns of a linear model: two of a similarity, three of an affine map."""
    if model == "affine":
        return np.column_stack([np.ones_like(z), z, z.conj()])
    return np.column_stack([np.ones_like(z), z.conj() if mirrored else z])


def matrix_of(b: complex, a: complex, c: complex) -> Affine:
    """Return the real form of ``w = b + a z + c conj(z)``."""
    matrix = np.eye(3)
    matrix[:2, :2] = [
        [(a + c).real, (c - a).imag],
        [(a + c).imag, (a - c).real],
    ]
    matrix[:2, 2] = b.real, b.imag
    return Affine(matrix)


def fit_linear(source: Points, target: Points, model: str, mirrored: bool = False) -> Fit:
    """Fit a rigid, similarity or affine map by least squares.

    Parameters
    ----------
    source, target
        (n, 2) pairs (x, y) in um.
    model
        ``rigid``, ``similarity`` or ``affine``.
    mirrored
        Whether a rigid or similarity map mirrors the source; an affine one
        finds out for itself.
    """
    z, w = as_complex(source), as_complex(target)
    centre_z, centre_w = z.mean(), w.mean()
    zc, wc = z - centre_z, w - centre_w
    if model == "affine":
        design = linear_design(zc, model, False)
        orthogonal, triangle = np.linalg.qr(design)
        b, a, c = np.linalg.solve(triangle, orthogonal.conj().T @ wc)
        residuals = wc - design @ np.array([b, a, c])
        leverage = (np.abs(orthogonal) ** 2).sum(axis=1)
        shift = b + centre_w - a * centre_z - c * centre_z.conjugate()
        return Fit(matrix_of(shift, a, c), residuals, _deleted(residuals, leverage))
    if mirrored:
        zc, centre_z = zc.conj(), centre_z.conjugate()
    spread = float((np.abs(zc) ** 2).sum())
    cross = complex((zc.conj() * wc).sum())
    a = cross / spread if model == "similarity" else cross / max(abs(cross), 1e-300)
    residuals = wc - a * zc
    if model == "similarity":
        leverage = 1 / len(z) + np.abs(zc) ** 2 / spread
        deleted = _deleted(residuals, leverage)
    else:
        deleted = _deleted_rigid(zc, wc, cross)
    shift = complex(centre_w - a * centre_z)
    map_ = matrix_of(shift, 0, a) if mirrored else matrix_of(shift, a, 0)
    return Fit(map_, residuals, deleted)


def _deleted(residuals: Complex, leverage: Points) -> Complex:
    """Leave-one-out errors of a linear fit: ``r / (1 - h)``."""
    slack = 1 - leverage
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(slack > _NOTHING_LEFT, residuals / slack, np.nan)


def _deleted_rigid(zc: Complex, wc: Complex, cross: complex) -> Complex:
    """Leave-one-out errors of a rigid fit, from the moments of the others."""
    n = len(zc)
    if n < 3:
        return np.full(n, np.nan + 0j)
    others = cross - zc.conj() * wc * (n / (n - 1))
    rotation = others / np.maximum(np.abs(others), 1e-300)
    # Without pair i the centroids move by -1/(n - 1) of its own offset.
    return (wc - rotation * zc) * (n / (n - 1))


def fit_spline(source: Points, target: Points, stiffness: float | None) -> Fit:
    """Fit a thin-plate spline; None chooses the stiffness on the pairs themselves.

    Leaving pair i out of a spline of fixed smoothing changes the error there to
    ``w_i / B_ii``, with B and the weights w of :class:`ThinPlateSystem` (for no
    smoothing this is Rippa 1999, Adv. Comput. Math. 11:193).

    With the stiffness chosen automatically the errors are those of the whole
    procedure: for each pair left out, the stiffness is chosen anew on the
    others, by their own leave-one-out errors (all in closed form, as leaving
    two pairs out is a 2 x 2 system).
    """
    system = ThinPlateSystem(source)
    w = as_complex(target)
    if stiffness is not None:
        deleted = spline_deleted(system, w, float(stiffness))
        chosen = float(stiffness)
    else:
        chosen, deleted = _choose_stiffness(system, w)
    spline = ThinPlateSpline.fit(source, target, chosen, system)
    residuals = w - as_complex(spline.apply(np.asarray(source, dtype=np.float64)))
    return Fit(spline, residuals, deleted, system)


def _filter(system: ThinPlateSystem, stiffness: float) -> Points:
    """(n, n) B up to a factor, which cancels in every error."""
    if np.isinf(stiffness):
        return np.asarray(system.basis @ system.basis.T)
    penalty = system.penalty(stiffness)
    gain = (system.eigenvalues.max(initial=0.0) + penalty) / (system.eigenvalues + penalty)
    return np.asarray((system.basis * gain) @ system.basis.T)


def spline_deleted(system: ThinPlateSystem, w: Complex, stiffness: float) -> Complex:
    """(n,) leave-one-out errors of a spline of given stiffness, in closed form."""
    b = _filter(system, stiffness)
    slack = np.diag(b)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(slack > _NOTHING_LEFT, (b @ w) / slack, np.nan)


def _choose_stiffness(system: ThinPlateSystem, w: Complex) -> tuple[float, Complex]:
    """Return the stiffness for all pairs and the errors of the nested procedure."""
    n = len(w)
    if n < FEWEST_FOR_CHOICE:
        return np.inf, spline_deleted(system, w, np.inf)
    one = np.empty((len(STIFFNESSES), n), dtype=complex)
    two = np.empty((len(STIFFNESSES), n, n))
    # Where the rest lies on one line it holds no map: such a pair tells nothing.
    affine = _filter(system, np.inf)
    alone = np.diag(affine) > _NOTHING_LEFT
    both = np.outer(np.diag(affine), np.diag(affine)) - affine**2 > _NOTHING_LEFT
    for index, stiffness in enumerate(STIFFNESSES):
        b = _filter(system, float(stiffness))
        weights = b @ w
        slack = np.diag(b)
        one[index] = weights / np.where(alone, slack, np.nan)
        # two[i, j]: the error at j when i and j are both left out.
        determinant = np.where(both, np.outer(slack, slack) - b * b, np.inf)
        two[index] = np.abs(np.outer(slack, weights) - b * weights[:, None]) / determinant
    chosen = _clearly_best(np.abs(one)[:, None, alone])[0]
    nested = _clearly_best(two, n - 1)
    return float(STIFFNESSES[chosen]), one[nested, np.arange(n)]


def _clearly_best(errors: Points, count: int | None = None) -> NDArray[np.intp]:
    """Index of the stiffness of least mean error; the last (affine) unless the gain is clear.

    On few noisy landmarks the least error is often found by chance, and a bent
    map then predicts worse than the affine one. It is taken only where the
    mean gain exceeds :data:`CLEAR_GAIN` of its standard errors.

    Parameters
    ----------
    errors
        (k, m, n) errors of k stiffnesses, for each of m questions.
    count
        How many of the n count, the others being 0; all by default.
    """
    count = errors.shape[2] if count is None else count
    best = errors.sum(axis=2).argmin(axis=0)
    gain = errors[-1] - errors[best, np.arange(errors.shape[1])]
    mean = gain.sum(axis=1) / count
    variance = np.maximum((gain**2).sum(axis=1) - count * mean**2, 0) / (count - 1)
    clear = mean > CLEAR_GAIN * np.sqrt(variance / count)
    return np.where(clear, best, len(errors) - 1)
