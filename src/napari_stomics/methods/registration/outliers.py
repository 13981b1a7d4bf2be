"""Which landmark pairs disagree with the others.

A least-squares fit bends towards a wrong pair, so its residuals hide it. The
search here starts from the half of the pairs that agree best, found by fits to
many smallest subsets (least trimmed squares, Rousseeuw & Van Driessen 2006,
Data Min. Knowl. Disc. 12:29), and takes in the others one step at a time as
long as they agree (Hadi & Simonoff 1993, JASA 88:1264).

A pair is an outlier where its error, set against the scatter of the pairs taken
in, has a probability below that of a Gaussian error of ``threshold`` standard
deviations. The probability is that of an F distribution with the pairs' own
degrees of freedom, so that few pairs need strong evidence.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from math import comb, exp

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core._thin_plate import ThinPlateSystem
from napari_stomics.core.transforms import Points, ThinPlateSpline
from napari_stomics.methods.registration.estimate import (
    Complex,
    Fit,
    Mask,
    as_complex,
    fit_spline,
    linear_design,
    spline_deleted,
)

_SUBSETS = 250
_STARTS = 3
_CONCENTRATIONS = 3
_FINEST = 1e-3  # share of the section's radius below which no pair is called wrong
_CLEARLY_MIRRORED = 0.5  # ratio of root mean squared errors
_YIELDING = 1e-3  # stiffness of a spline that follows the bend of a region
_FORETOLD = 0.4  # share of its error that may be left where the neighbours explain a pair
_REGION = 3  # pairs that make a region
_SEED = 20


def find_outliers(
    source: Points,
    target: Points,
    model: str,
    threshold: float,
    mirrored: bool,
    spline: Fit | None = None,
) -> Mask:
    """(n,) flags of the pairs that disagree with the others.

    With fewer than four pairs none can be told from the rest, and none is flagged.

    Parameters
    ----------
    source, target
        (n, 2) pairs (x, y) in um.
    model
        ``rigid``, ``similarity``, ``affine`` or ``tps``: a spline forgives what
        its neighbours share.
    threshold
        Standard deviations, see the module.
    mirrored
        Whether a rigid or similarity map mirrors the source.
    spline
        The spline of automatic stiffness through all pairs, where at hand.
    """
    z, w = _centred(source), _centred(target)
    if len(z) < 4:
        return np.zeros(len(z), dtype=bool)
    design = _design(z, model, mirrored)
    inliers = _grow(design, w, _best_half(design, w), threshold)
    if model == "tps" and inliers.sum() >= 6:
        inliers = inliers | _shared(design, z, w, inliers)
        if spline is None or not inliers.all():
            spline = fit_spline(source[inliers], target[inliers], None)
        return _spline_outliers(source, target, inliers, spline, threshold)
    return ~inliers


def choose_mirror(source: Points, target: Points) -> bool:
    """Whether the pairs clearly say that the section is mirrored.

    Robust to wrong pairs: the better half of the pairs is asked. Two pairs, or
    pairs on one line, fit both ways and count as not mirrored.
    """
    z, w = _centred(source), _centred(target)
    if len(z) < 3:
        return False
    left = []
    for mirrored in (False, True):
        design = linear_design(z, "similarity", mirrored)
        half = _best_half(design, w) if len(z) > 3 else np.ones(len(z), dtype=bool)
        left.append(_scatter(design, w, half))
    floor = _floor(w) ** 2
    return bool(left[1] + floor < _CLEARLY_MIRRORED**2 * left[0])


def _centred(points: Points) -> Complex:
    z = as_complex(points)
    return np.asarray(z - z.mean())


def _design(z: Complex, model: str, mirrored: bool) -> Complex:
    # Five pairs hold an affine map too loosely to tell a wrong one.
    linear = "similarity" if model in ("rigid", "similarity") or len(z) < 6 else "affine"
    if linear == "similarity":
        return _scaled(linear_design(z, linear, mirrored))
    return _scaled(linear_design(z, linear, False))


def _scaled(design: Complex) -> Complex:
    size = float(np.abs(design[:, 1]).mean()) or 1.0
    out = design.copy()
    out[:, 1:] /= size
    return out


def _floor(w: Complex) -> float:
    return _FINEST * float(np.sqrt((np.abs(w) ** 2).mean()))


def _least_squares(design: Complex, w: Complex) -> tuple[Complex, Complex]:
    """Return the coefficients and the inverse of the normal matrix."""
    normal = design.conj().T @ design
    # A trace of ridge keeps members on one line from being an error.
    normal = np.linalg.inv(normal + 1e-12 * np.trace(normal).real * np.eye(len(normal)))
    return normal @ (design.conj().T @ w), normal


def _scatter(design: Complex, w: Complex, members: Mask) -> float:
    """Squared error per degree of freedom of a fit to the members."""
    coefficients, _ = _least_squares(design[members], w[members])
    freedom = max(int(members.sum()) - design.shape[1], 1)
    return float((np.abs(w[members] - design[members] @ coefficients) ** 2).sum() / freedom)


@lru_cache(maxsize=256)
def _subsets(n: int, p: int) -> NDArray[np.intp]:
    if comb(n, p) <= _SUBSETS:
        return np.array(list(combinations(range(n), p)), dtype=np.intp)
    rng = np.random.default_rng(_SEED)
    return np.argsort(rng.random((_SUBSETS, n)), axis=1)[:, :p]


def _best_half(design: Complex, w: Complex) -> Mask:
    """(n,) the pairs of the half with the least scatter."""
    n, p = design.shape
    half = max(p + 1, n // 2 + 1)
    chosen = _subsets(n, p)
    corners = design[chosen]
    # Corners nearly on one line hold no map.
    size = np.abs(np.linalg.det(corners))
    usable = size > 1e-6 * max(float(size.max()), 1e-12)
    coefficients = np.linalg.solve(corners[usable], w[chosen[usable]][:, :, None])[:, :, 0]
    squared = np.abs(w[None] - coefficients @ design.T) ** 2
    trimmed = np.partition(squared, half - 1, axis=1)[:, :half].sum(axis=1)
    best: tuple[float, Mask] = (np.inf, np.ones(n, dtype=bool))
    for row in np.argsort(trimmed, kind="stable")[:_STARTS]:
        members = _smallest(squared[row], half)
        for _ in range(_CONCENTRATIONS):
            fitted, _ = _least_squares(design[members], w[members])
            members = _smallest(np.abs(w - design @ fitted) ** 2, half)
        scatter = _scatter(design, w, members)
        if scatter < best[0]:
            best = (scatter, members)
    return best[1]


def _smallest(values: Points, count: int) -> Mask:
    out = np.zeros(len(values), dtype=bool)
    out[np.argsort(values, kind="stable")[:count]] = True
    return out


def _grow(design: Complex, w: Complex, members: Mask, threshold: float) -> Mask:
    """(n,) the pairs that agree, from a half that does."""
    n, p = design.shape
    floor = _floor(w) ** 2
    limit = exp(-(threshold**2) / 2)
    while True:
        count = int(members.sum())
        fitted, normal = _least_squares(design[members], w[members])
        squared = np.abs(w - design @ fitted) ** 2
        leverage = np.einsum("np,pq,nq->n", design, normal, design.conj()).real
        freedom = 2 * (count - p)
        # The scatter of the better part of a sample is below that of the whole.
        variance = squared[members].sum() / freedom / _truncation(count / n) + floor
        spread = np.where(members, np.maximum(1 - leverage, 1e-6), 1 + leverage)
        scaled = squared / spread / variance
        agree = (1 + scaled / freedom) ** (-freedom / 2) >= limit
        joining = agree & ~members
        if not joining.any():
            return members
        wanted = min(count + max(1, n // 10), count + int(joining.sum()))
        order = np.where(members | joining, scaled, np.inf)
        members = _smallest(order, wanted)


def _shared(design: Complex, z: Complex, w: Complex, inliers: Mask) -> Mask:
    """(n,) pairs off the affine map by an error that the pairs around them foretell.

    A bend of one region throws all of its pairs off an affine map, and each is
    foretold by the others; a pair placed wrong stands alone.
    """
    if inliers.all():
        return np.zeros(len(z), dtype=bool)
    fitted, _ = _least_squares(design[inliers], w[inliers])
    off = np.abs(w - design @ fitted)
    points = np.column_stack([z.real, z.imag])
    group = ~inliers
    while group.sum() >= _REGION:
        used = inliers | group
        alone = np.zeros(len(z))
        system = ThinPlateSystem(points[used])
        alone[used] = np.abs(spline_deleted(system, w[used], _YIELDING))
        foretold = group & (alone < _FORETOLD * off)
        if foretold.sum() == group.sum():
            return group
        group = foretold
    return np.zeros(len(z), dtype=bool)


def _truncation(share: float) -> float:
    """Mean squared Gaussian error in the plane below its quantile, over that of all."""
    if share >= 1:
        return 1.0
    return 1 + (1 - share) * float(np.log(1 - share)) / share


def _spline_outliers(
    source: Points, target: Points, inliers: Mask, fit: Fit, threshold: float
) -> Mask:
    """(n,) flags, judged by a spline through the inliers of the affine search.

    The spline is the mean of a Gaussian process (Wahba 1990), which also gives
    the variance of each error: that of a pair left out is ``1 / B_ii``, that of
    a new point follows from the bordered system.
    """
    spline, system = fit.transform, fit.system
    assert isinstance(spline, ThinPlateSpline)
    assert system is not None
    stiffness = min(spline.stiffness, 1e6)
    weights, _ = system.solve(target[inliers], stiffness)
    precision = system.basis / (system.eigenvalues + system.penalty(stiffness)) @ system.basis.T
    count = int(inliers.sum())
    freedom = 2 * (count - 3)
    # The weights sum to zero: centring changes nothing but the rounding.
    energy = float((weights * (target[inliers] - target[inliers].mean(axis=0))).sum())
    diagonal = np.maximum(np.diag(precision), 1e-300)
    scaled = np.empty(len(source))
    scaled[inliers] = (weights**2).sum(axis=1) / diagonal
    if not inliers.all():
        error = spline.apply(source[~inliers]) - target[~inliers]
        scaled[~inliers] = (error**2).sum(axis=1) / system.variance(source[~inliers], stiffness)
    floor = _floor(_centred(target)) ** 2 * float(np.median(diagonal))
    # Each member is set against the scatter of the others, a new one against all.
    rest = np.where(inliers, freedom - 2, freedom)
    scatter = (energy - np.where(inliers, scaled, 0.0)) / rest + floor
    chance = (1 + scaled / (rest * np.maximum(scatter, 1e-300))) ** (-rest / 2)
    return np.asarray(chance < exp(-(threshold**2) / 2))
