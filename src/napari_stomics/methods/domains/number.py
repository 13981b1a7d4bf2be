"""How many domains: what the likelihood allows, and what comes out again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.fusion import DomainCurve
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.domains.gaussian import Mixture, fit_mixture, nearest_centre, ward_cuts
from napari_stomics.methods.domains.members import Space
from napari_stomics.methods.fusion.graph import morans_i
from napari_stomics.metrics.clustering import adjusted_rand_index

Floats = NDArray[np.floating[Any]]

_SPOTS = 3000
_REPEATS = 3
_DIMENSIONS = 12


def propose_number(
    space: Space, most: int, seed: int = 0, ctx: JobContext | None = None
) -> DomainCurve:
    """Try numbers of domains and propose one.

    Per number the mixture's BIC, with the number of spots brought down to that of
    independent ones (neighbours tell the same story twice), and the median
    adjusted Rand index of mixtures fitted to random halves of the spots and carried
    over to all. Proposed is the number of least BIC among those whose stability lies
    within its spread of the best (Fraley and Raftery 2002; Lange et al. 2004,
    Neural Comput 16:1299).
    """
    ctx = ctx or JobContext()
    x = space.levels[0][:, :_DIMENSIONS]
    n = len(x)
    rng = np.random.default_rng(seed)
    counts = tuple(range(2, max(2, min(most, n // 10)) + 1))
    halves = [rng.permutation(n)[: min(n // 2, _SPOTS)] for _ in range(2 * _REPEATS)]
    stability, bic = np.zeros(len(counts)), np.zeros(len(counts))
    fits: list[list[NDArray[np.intp]]] = [[] for _ in counts]
    for i, half in enumerate(halves):
        ctx.step(i / (2 * _REPEATS + 1), "Trying numbers of domains")
        cuts = ward_cuts(x[half] / x.std(axis=0) ** 0.5, counts, _SPOTS, seed)
        for j, k in enumerate(counts):
            model = fit_mixture(x[half], cuts[k], ctx, iterations=30)
            fits[j].append(model.posterior(x).argmax(axis=1))
    whole = np.sort(rng.permutation(n)[:_SPOTS])
    cuts = ward_cuts(x[whole] / x.std(axis=0) ** 0.5, counts, _SPOTS, seed)
    models = []
    for j, k in enumerate(counts):
        pairs = [adjusted_rand_index(*fits[j][2 * r : 2 * r + 2]) for r in range(_REPEATS)]
        stability[j] = float(np.median(pairs))
        start = nearest_centre(x, _means(x[whole], cuts[k], k)) if n > _SPOTS else cuts[k]
        models.append(fit_mixture(x, start, ctx, iterations=30))
    share = independent_share(x, space.near, models[-1])
    bic[:] = [model.bic(max(int(n * share), 2)) for model in models]
    good = stability >= stability.max() - 0.1
    proposed = counts[int(np.where(good, bic, np.inf).argmin())]
    return DomainCurve(np.array(counts, np.intp), bic, stability, int(proposed))


def independent_share(x: Floats, near: Any, model: Mixture) -> float:
    """Share of the spots that are independent of each other.

    What is left after the domains is correlated between neighbours by Moran's I, r;
    on a plane ``((1 - r) / (1 + r))^2`` of the spots then count, as for a process of
    first order along both axes (Griffith 2005, Ann Assoc Am Geogr 95:740).
    """
    if near is None:
        return 1.0
    rest = x - model.means[model.posterior(x).argmax(axis=1)]
    r = float(np.clip(np.average(morans_i(near, rest), weights=rest.var(axis=0)), 0, 0.999))
    return ((1 - r) / (1 + r)) ** 2


def _means(x: Floats, codes: NDArray[np.intp], k: int) -> Floats:
    return np.stack([x[codes == c].mean(axis=0) for c in range(k)])
