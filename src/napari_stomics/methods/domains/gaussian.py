"""A mixture of Gaussians with one covariance for all, started from Ward's clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext

Floats = NDArray[np.floating[Any]]
Codes = NDArray[np.intp]

_ROWS_AT_A_TIME = 100_000
_RIDGE = 1e-6
_SETTLED = 2e-3
_FIELD_STEPS = 2


@dataclass(frozen=True)
class Mixture:
    """A fitted mixture.

    Attributes
    ----------
    weights
        (k,) shares.
    means
        (k, d) centres.
    covariance
        (d, d) covariance of every component.
    log_likelihood
        Mean log-likelihood per spot it was fitted on.
    converged
        Whether the log-likelihood settled.
    """

    weights: Floats
    means: Floats
    covariance: Floats
    log_likelihood: float
    converged: bool

    def bic(self, n: int) -> float:
        """Bayesian information criterion on n spots: lower is better (Schwarz 1978)."""
        k, d = self.means.shape
        free = k * d + d * (d + 1) / 2 + k - 1
        return float(-2 * n * self.log_likelihood + free * np.log(n))

    def posterior(self, x: Floats) -> Floats:
        """(n, k) probability of each component."""
        return posterior(x, self.weights, self.means, self.covariance)[0]


def posterior(
    x: Floats, weights: Floats, means: Floats, covariance: Floats
) -> tuple[Floats, float]:
    """Posterior of every component, (n, k), and the mean log-likelihood."""
    root = np.linalg.cholesky(covariance)
    # Whitening turns the common covariance into plain distances: one product per block.
    inverse = np.linalg.inv(root).T
    centres = means @ inverse
    constant = np.log(weights) - 0.5 * (centres**2).sum(axis=1)
    offset = -0.5 * x.shape[1] * np.log(2 * np.pi) - np.log(np.diag(root)).sum()
    out = np.empty((len(x), len(weights)))
    total = 0.0
    for low in range(0, len(x), _ROWS_AT_A_TIME):
        rows = slice(low, low + _ROWS_AT_A_TIME)
        white = x[rows] @ inverse
        logs = white @ centres.T + constant
        top = logs.max(axis=1, keepdims=True)
        np.exp(logs - top, out=out[rows])
        sums = out[rows].sum(axis=1, keepdims=True)
        out[rows] /= sums
        total += float((np.log(sums) + top).sum() - 0.5 * np.einsum("ij,ij->", white, white))
    return out, total / len(x) + offset


def fit_spatial(
    x: Floats,
    start: Codes | Floats,
    ctx: JobContext | None = None,
    *,
    near: Any = None,
    prior: float = 0.0,
    iterations: int = 200,
    spherical: bool = False,
) -> tuple[Mixture, Floats]:
    """Fit the mixture by expectation-maximisation (Fraley and Raftery 2002, JASA 97:611).

    Parameters
    ----------
    x
        (n, d) float64 values.
    start
        (n,) component of every spot from 0 without gaps, or (n, k) probabilities.
    near
        (n, n) row-normalised neighbours in space, for the prior.
    prior
        How much likelier a spot is of the domain of its neighbours: the weight of their
        mean posterior in its log-probability, a Potts field in mean-field
        approximation (Besag 1986, J R Stat Soc B 48:259). 0: none.
    spherical
        Whether the common covariance is that of a ball, as in k-means.

    Returns
    -------
    mixture
        The parameters.
    probabilities
        (n, k) posterior with the prior.
    """
    ctx = ctx or JobContext()
    soft: Any = np.eye(int(start.max()) + 1)[start] if start.ndim == 1 else start
    second = x.T @ x / len(x)
    ridge = _RIDGE * np.trace(second) / x.shape[1] + 1e-12
    settled, likelihood = False, -np.inf
    for _ in range(iterations):
        ctx.step()
        weights, means, covariance = _moments(x, soft, second, ridge, spherical)
        now, likelihood = posterior(x, weights, means, covariance)
        if prior > 0 and near is not None:
            now = with_neighbours(now, soft, near, prior)
        moved = float(np.abs(now - soft).mean()) * soft.shape[1]
        soft = now
        if moved < _SETTLED:
            settled = True
            break
    return Mixture(weights, means, covariance, likelihood, settled), soft


def fit_mixture(
    x: Floats, start: Codes | Floats, ctx: JobContext | None = None, iterations: int = 200
) -> Mixture:
    """Fit the mixture without regard to space; see :func:`fit_spatial`."""
    return fit_spatial(x, start, ctx, iterations=iterations)[0]


def with_neighbours(likely: Floats, before: Floats, near: Any, prior: float) -> Floats:
    """(n, k) probabilities after some mean-field steps of the spatial prior."""
    logs = np.log(likely + 1e-300)
    for _ in range(_FIELD_STEPS):
        now = logs + prior * (near @ before)
        now -= now.max(axis=1, keepdims=True)
        np.exp(now, out=now)
        now /= now.sum(axis=1, keepdims=True)
        before = now
    return before


def _moments(
    x: Floats, soft: Floats, second: Floats, ridge: float, spherical: bool
) -> tuple[Floats, Floats, Floats]:
    sizes = soft.sum(axis=0) + 1e-10
    means = (soft.T @ x) / sizes[:, None]
    weights = sizes / sizes.sum()
    covariance = second - (weights[:, None] * means).T @ means
    if spherical:
        covariance = np.eye(x.shape[1]) * (np.trace(covariance) / x.shape[1])
    return weights, means, covariance + ridge * np.eye(x.shape[1])


def ward_cuts(
    x: Floats, counts: tuple[int, ...], most: int = 5_000, seed: int = 0
) -> dict[int, Codes]:
    """Ward's clusters for several numbers of clusters, from one tree (Ward 1963).

    Beyond ``most`` spots the tree is built on a sample, and the others join the
    cluster of the nearest centre.

    Returns
    -------
    Per number the (n,) codes, from 0 without gaps.
    """
    from scipy.cluster.hierarchy import cut_tree, linkage

    n = len(x)
    some = np.arange(n)
    if n > most:
        some = np.sort(np.random.default_rng(seed).permutation(n)[:most])
    tree = linkage(x[some], "ward")
    cuts = cut_tree(tree, n_clusters=list(counts))
    out = {}
    for i, k in enumerate(counts):
        codes = np.asarray(cuts[:, i], np.intp)
        if n > most:
            means = np.stack([x[some][codes == c].mean(axis=0) for c in range(k)])
            codes = nearest_centre(x, means)
        out[k] = codes
    return out


def nearest_centre(x: Floats, means: Floats) -> Codes:
    """(n,) index of the nearest of some centres."""
    out = np.empty(len(x), np.intp)
    half = 0.5 * (means**2).sum(axis=1)
    for low in range(0, len(x), _ROWS_AT_A_TIME):
        rows = slice(low, low + _ROWS_AT_A_TIME)
        out[rows] = (x[rows] @ means.T - half).argmax(axis=1)
    return out
