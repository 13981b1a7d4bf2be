"""Runs of a clustering under neighbouring settings, and the consensus of them.

A single run sits in one of several optima of nearly the same height, and a neighbouring
setting finds another; what most of them agree on stays where it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.domains.gaussian import (
    fit_spatial,
    nearest_centre,
    ward_cuts,
)

Floats = NDArray[np.floating[Any]]
Codes = NDArray[np.intp]

DIMENSIONS = (0, 2, 4, 7, 11)
"""Leading components beyond the number of domains that the runs look at."""
WHITENING = (0.0, 0.5, 1.0)
"""Powers of the components' standard deviations that Ward's distances are divided by."""
SMOOTHING = (0, 1)
"""Further steps in space before clustering."""
ALL = len(DIMENSIONS) * len(WHITENING) * len(SMOOTHING)

_TREE = 2500
_LARGE = 20_000
_LLOYD = 100


@dataclass(frozen=True)
class Setting:
    """One run: components, whitening of Ward's distances, level of smoothing, seed."""

    dimensions: int
    whitening: float
    level: int
    seed: int


@dataclass(frozen=True)
class Space:
    """The embedding with its neighbours in space.

    Attributes
    ----------
    levels
        The (n, d) float64 components after each entry of :data:`SMOOTHING`.
    near
        (n, n) row-normalised neighbours, without the spot itself.
    """

    levels: tuple[Floats, ...]
    near: Any

    @property
    def n(self) -> int:
        """Number of spots."""
        return len(self.levels[0])


def settings(k: int, width: int, count: int, seed: int) -> list[Setting]:
    """Return the runs that make up a consensus of ``count``, the most central one first.

    All combinations where ``count`` covers them; else a draw by the seed. Each
    has its own sample for Ward's tree.
    """
    rng = np.random.default_rng(seed)
    seeds = rng.integers(0, 2**31, ALL)
    grid = [
        Setting(min(max(k + more, 2), width), power, steps, 0)
        for more in DIMENSIONS
        for power in WHITENING
        for steps in range(len(SMOOTHING))
    ]
    central = grid.index(Setting(min(k + 2, width), 0.5, 0, 0))
    order = [central, *(i for i in rng.permutation(len(grid)) if i != central)]
    chosen = order[: min(count, ALL)]
    return [
        Setting(grid[i].dimensions, grid[i].whitening, grid[i].level, int(seeds[i])) for i in chosen
    ]


def run_member(
    space: Space,
    k: int,
    setting: Setting,
    prior: float,
    spherical: bool,
    ctx: JobContext | None = None,
    start: Codes | None = None,
) -> tuple[Floats, float, bool]:
    """Run one clustering.

    Parameters
    ----------
    start
        (n,) codes to start from instead of Ward's clusters.

    Returns
    -------
    probabilities
        (n, k).
    bic
        Bayesian information criterion of the mixture without the spatial prior.
    converged
        Whether it settled.
    """
    ctx = ctx or JobContext()
    x = space.levels[setting.level][:, : setting.dimensions]
    n = len(x)
    if start is None:
        # The sample differs between runs in half of the spots even where all would fit.
        most = min(_TREE, max(int(0.7 * n), 3 * k))
        white = x / np.maximum(x.std(axis=0), 1e-12) ** setting.whitening
        start = ward_cuts(white, (k,), most, setting.seed)[k]
        ctx.step()
    soft: Any = start
    if n > _LARGE:
        some = np.sort(np.random.default_rng(setting.seed).permutation(n)[:_LARGE])
        _, codes = np.unique(start[some], return_inverse=True)
        if codes.max() + 1 == k:
            model, _ = fit_spatial(x[some], codes, ctx, spherical=spherical, iterations=40)
            soft = model.posterior(x)
    model, soft = fit_spatial(
        x, soft, ctx, near=space.near, prior=prior, spherical=spherical,
        iterations=200 if n <= _LARGE else 5,
    )  # fmt: skip
    return soft, model.bic(n), model.converged


def consensus(
    members: list[Floats], k: int, seed: int = 0, start: Codes | None = None
) -> tuple[Floats, Floats]:
    """Domains that several runs agree on.

    The runs' labels stand side by side as indicators; their ``2 k`` leading components
    are clustered by k-means from Ward's clusters. A spot's probability of a
    domain is the mean over the runs of their posteriors, each carried over by the
    share of the run's cluster that lies in the domain.

    Returns
    -------
    probabilities
        (n, k); its largest entry is the domain.
    agree
        (n,) share of the runs that put the spot there; NaN of a single run.
    """
    if len(members) == 1:
        return members[0], np.full(len(members[0]), np.nan)
    indicators = np.hstack([np.eye(k)[m.argmax(axis=1)] for m in members])
    indicators -= indicators.mean(axis=0)
    values, vectors = np.linalg.eigh(indicators.T @ indicators)
    x = indicators @ vectors[:, ::-1][:, : min(2 * k, int((values > 1e-9).sum()))]
    codes = lloyd(x, ward_cuts(x, (k,), _TREE, seed)[k] if start is None else start, k)
    hard = np.eye(k)[codes]
    total, agree = np.zeros((len(x), k)), np.zeros((len(x), k))
    for member in members:
        own = np.eye(k)[member.argmax(axis=1)]
        table = own.T @ hard
        share = table / np.maximum(table.sum(axis=1, keepdims=True), 1e-12)
        total += member @ share
        agree += np.eye(k)[share.argmax(axis=1)][member.argmax(axis=1)]
    total /= total.sum(axis=1, keepdims=True)
    rows = np.arange(len(x))
    return total, agree[rows, total.argmax(axis=1)] / len(members)


def lloyd(x: Floats, codes: Codes, k: int) -> Codes:
    """(n,) k-means from a partition (Lloyd 1982); a cluster that empties keeps its centre."""
    means = np.zeros((k, x.shape[1]))
    for _ in range(_LLOYD):
        sizes = np.bincount(codes, minlength=k)
        sums = np.eye(k)[codes].T @ x
        means = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], means)
        now = nearest_centre(x, means)
        if np.array_equal(now, codes):
            break
        codes = now
    return codes
