"""Better optima of a mixture: two components are merged and another is split."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.domains.gaussian import Mixture, fit_spatial

Floats = NDArray[np.floating[Any]]
Codes = NDArray[np.intp]

_ROUNDS = 5
_MERGED = 4
_SPLIT = 6
_SHORT = 5
_LONG = 40
_TRIED_LONG = 2
_LEAST = 8
_GAIN = 1e-3


def split_and_merge(
    x: Floats, start: Codes, ctx: JobContext | None = None, *, spherical: bool = False
) -> Mixture:
    """Fit a mixture, and leave an optimum for a better one that a move reaches.

    Expectation-maximisation ends with one component over two groups and two over
    another, and no step of it leads out. The nearest components are merged in turn, one
    of the widest is split across its longest axis, and the fit goes on from there;
    the likeliest is kept as long as it gains (split-and-merge EM, Ueda et al. 2000,
    Neural Comput 12:2109).

    Parameters
    ----------
    x
        (n, d) float64 values.
    start
        (n,) component of every spot from 0 without gaps.
    spherical
        Whether the common covariance is that of a ball.
    """
    ctx = ctx or JobContext()
    best, soft = fit_spatial(x, start, ctx, spherical=spherical, iterations=_LONG)
    for _ in range(_ROUNDS):
        tried = [
            fit_spatial(x, codes, ctx, spherical=spherical, iterations=_SHORT)
            for codes in _moves(x, best, np.asarray(soft.argmax(axis=1), np.intp))
        ]
        tried.sort(key=lambda found: -found[0].log_likelihood)
        ended = [
            fit_spatial(x, start, ctx, spherical=spherical, iterations=_LONG)
            for _, start in tried[:_TRIED_LONG]
        ]
        if not ended:
            break
        model, moved = max(ended, key=lambda found: found[0].log_likelihood)
        if model.log_likelihood < best.log_likelihood + _GAIN:
            break
        best, soft = model, moved
    return best


def _moves(x: Floats, model: Mixture, codes: Codes) -> list[Codes]:
    """Partitions in which two near components are one and a wide one is two."""
    root = np.linalg.inv(np.linalg.cholesky(model.covariance)).T
    white, centres = x @ root, model.means @ root
    k = len(centres)
    apart = ((centres[:, None] - centres[None]) ** 2).sum(axis=2)
    left, right = np.tril_indices(k, -1)
    nearest = np.argsort(apart[left, right], kind="stable")[:_MERGED]
    out = []
    for keep, gone in zip(right[nearest], left[nearest], strict=True):
        merged = np.where(codes == gone, keep, codes)
        halves = [_upper_half(white, merged, c) for c in range(k) if c != gone]
        halves.sort(key=lambda half: -half[0])
        for _, upper in halves[:_SPLIT]:
            moved = merged.copy()
            moved[upper] = gone
            if (np.bincount(moved, minlength=k) > 0).all():
                out.append(moved)
    return out


def _upper_half(white: Floats, codes: Codes, component: int) -> tuple[float, Codes]:
    """Scatter of a component along its longest axis, and the spots beyond the middle of it."""
    rows = np.flatnonzero(codes == component)
    if len(rows) < _LEAST:
        return 0.0, rows[:0]
    centred = white[rows] - white[rows].mean(axis=0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    return float(values[-1]), rows[centred @ axes[:, -1] > 0]
