"""How clearly the spots of a modality fall into groups."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.domains.gaussian import fit_mixture, ward_cuts
from napari_stomics.methods.fusion.graph import diffuse, region, walk

Floats = NDArray[np.floating[Any]]

_GROUPS = (3, 4, 5, 6)
_STEPS = (0, 1, 3)
_SPOTS = 2000
_LEAST_EVEN = 0.5


def clarity(scores: Floats, graph: Any, seed: int = 0, ctx: JobContext | None = None) -> float:
    """Return the share of the information in a group's name that a spot's values give.

    Mixtures of a few numbers of groups are fitted to the scores, as they are and after
    some steps in space, and what is clearest counts; per number the entropy of the
    posterior, as a share of that of the groups'
    sizes, is what stays open (the normalised entropy criterion, Celeux and Soromenho
    1996, J Classif 13:195). Domains with borders leave next to nothing open; smooth
    gradients can be cut anywhere, and noise everywhere, so that they leave more.

    Parameters
    ----------
    scores
        (m, d) component scores.
    graph
        (m, m) adjacency of the spots in space.

    Returns
    -------
    From 0, no groups, to 1.
    """
    ctx = ctx or JobContext()
    part = region(graph)
    if part is not None:
        scores, graph = scores[part], graph[part][:, part]
    rows = np.arange(len(scores))
    if len(rows) > _SPOTS:
        rows = np.sort(np.random.default_rng(seed).permutation(len(rows))[:_SPOTS])
    step, done, best = walk(graph), 0, 0.0
    for steps in _STEPS:
        scores, done = diffuse(step, scores, steps - done), steps
        best = max(best, _clarity_of(scores[rows].astype(np.float64), seed, ctx))
    return best


def _clarity_of(x: Floats, seed: int, ctx: JobContext) -> float:
    x = x - x.mean(axis=0)
    left, sizes, _ = np.linalg.svd(x, full_matrices=False)
    kept = sizes > 1e-6 * max(sizes[0], 1e-30)
    x = left[:, kept] * sizes[kept]
    counts = tuple(k for k in _GROUPS if 3 * k <= len(x))
    if not kept.any() or not counts:
        return 0.0
    cuts = ward_cuts(x[:, : max(counts)], counts, _SPOTS, seed)
    found = []
    for k in counts:
        ctx.step()
        leading = x[:, : k + 2]
        soft = fit_mixture(leading, cuts[k], ctx, iterations=60).posterior(leading)
        total = _entropy(soft.mean(axis=0))
        # Outliers make clear groups, of next to no information: that is no clarity.
        found.append((total - _entropy(soft)) / max(total, _LEAST_EVEN * np.log(k)))
    return float(np.clip(np.mean(found), 0.0, 1.0))


def _entropy(shares: Floats) -> float:
    logs = np.log(np.maximum(shares, 1e-300))
    return float(-(shares * logs).sum(axis=-1).mean())
