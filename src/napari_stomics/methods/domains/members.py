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
from napari_stomics.methods.domains.gaussian import Mixture, fit_spatial, posterior, ward_cuts
from napari_stomics.methods.domains.split_merge import split_and_merge

Floats = NDArray[np.floating[Any]]
Codes = NDArray[np.intp]

DIMENSIONS = (0, 2, 4, 7)
"""Leading components beyond the number of domains that the runs look at."""
SMOOTHING = (0, 1)
"""Further steps in space before clustering."""
WHITENING = (0.0, 0.5, 1.0)
"""Powers of the components' standard deviations that Ward's distances are divided by."""

_STARTS = 6
_SPOTS = 2000
_TREE = 1000
_LARGE = 20_000
_PARTITION = 0.51


@dataclass(frozen=True)
class Setting:
    """One run: leading components, level of smoothing, seed."""

    dimensions: int
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

    They go round all combinations of components and smoothing, each with its own
    seed for the samples that it starts from.
    """
    grid = [
        (min(max(k + more, 2), width), level)
        for more in sorted(DIMENSIONS, key=lambda more: abs(more - DIMENSIONS[1]))
        for level in range(len(SMOOTHING))
    ]
    seeds = np.random.default_rng(seed).integers(0, 2**31, count)
    return [Setting(*grid[i % len(grid)], int(seeds[i])) for i in range(count)]


def run_member(
    space: Space,
    k: int,
    setting: Setting,
    prior: float,
    spherical: bool,
    ctx: JobContext | None = None,
    start: Codes | None = None,
    starts: int = _STARTS,
) -> tuple[Floats, bool]:
    """Run one clustering.

    From Ward's clusters of several samples, each brought to a good optimum by
    :func:`~.split_merge.split_and_merge`, the likeliest for all spots is taken: which
    optimum is reached then hangs little on the sample.

    Parameters
    ----------
    start
        (n,) codes to start from instead.
    starts
        How many starts are tried.

    Returns
    -------
    probabilities
        (n, k).
    converged
        Whether it settled.
    """
    ctx = ctx or JobContext()
    x = space.levels[setting.level][:, : setting.dimensions]
    rng = np.random.default_rng(setting.seed)
    field: dict[str, Any] = {"near": space.near, "prior": prior, "spherical": spherical}
    few = len(x) > _LARGE
    if start is not None and not few:
        begun: Any = start
    else:
        begun = likeliest_start(x, k, rng, ctx, spherical, starts, start).posterior(x)
    most = 5 if few else 200
    model, soft = fit_spatial(x, begun, ctx, iterations=most, **field)
    if len(np.unique(soft.argmax(axis=1))) < k:
        # The prior wiped a small domain out: better a ragged one than none.
        model, soft = fit_spatial(x, begun, ctx, iterations=most, spherical=spherical)
    return soft, model.converged


def likeliest_start(
    x: Floats,
    k: int,
    rng: np.random.Generator,
    ctx: JobContext,
    spherical: bool = False,
    starts: int = _STARTS,
    start: Codes | None = None,
) -> Mixture:
    """Mixture of samples, without regard to space, under which all spots are likeliest."""
    best, highest = None, -np.inf
    sd = np.maximum(x.std(axis=0), 1e-12)
    # Samples differ even where all spots would fit.
    most = min(_SPOTS, max(int(0.7 * len(x)), min(3 * k, len(x))))
    for i in range(starts):
        ctx.step()
        some = np.sort(rng.permutation(len(x))[:most])
        codes = None if start is None else start[some]
        if codes is None or len(np.unique(codes)) < k:
            white = x[some] / sd ** WHITENING[(i + 1) % len(WHITENING)]
            codes = ward_cuts(white, (k,), _TREE, int(rng.integers(2**31)))[k]
        model = split_and_merge(x[some], codes, ctx, spherical=spherical)
        likelihood = posterior(x, model.weights, model.means, model.covariance)[1]
        if best is None or likelihood > highest:
            best, highest = model, likelihood
    assert best is not None
    return best


def consensus(members: list[Floats], k: int, seed: int = 0) -> tuple[Floats, Floats]:
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
    labels = np.column_stack([m.argmax(axis=1) for m in members])
    patterns, codes = np.unique(labels, axis=0, return_inverse=True)
    if len(patterns) > k:
        codes = _clustered(np.eye(k)[labels].reshape(len(labels), -1), k, seed)
    hard = np.eye(k)[codes.ravel()]
    total, agree = np.zeros(hard.shape), np.zeros(hard.shape)
    for member in members:
        own = np.eye(k)[member.argmax(axis=1)]
        table = own.T @ hard
        share = table / np.maximum(table.sum(axis=1, keepdims=True), 1e-12)
        total += member @ share
        agree += np.eye(k)[share.argmax(axis=1)][member.argmax(axis=1)]
    total /= total.sum(axis=1, keepdims=True)
    if len(np.unique(total.argmax(axis=1))) < len(np.unique(codes)):
        # Where the runs agree little, a mean of posteriors can leave a domain without a spot.
        total = _PARTITION * hard + (1 - _PARTITION) * total
    rows = np.arange(len(hard))
    return total, agree[rows, total.argmax(axis=1)] / len(members)


def _clustered(indicators: Floats, k: int, seed: int) -> Codes:
    """(n,) k-means, from Ward's clusters, of the leading components of the runs' indicators."""
    from sklearn.cluster import KMeans

    indicators = indicators - indicators.mean(axis=0)
    values, vectors = np.linalg.eigh(indicators.T @ indicators)
    x = indicators @ vectors[:, ::-1][:, : min(2 * k, int((values > 1e-9).sum()))]
    start = ward_cuts(x, (k,), _TREE, seed)[k]
    centres = np.stack([x[start == c].mean(axis=0) for c in range(k)])
    return np.asarray(KMeans(k, init=centres, n_init=1).fit_predict(x), np.intp)
