"""Pseudo-labels for networks that sharpen clusters, and triplets of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext

Floats = NDArray[np.floating[Any]]
Codes = NDArray[np.intp]

_STARTS = 4
_ROUNDS = 30


def k_means(x: Floats, count: int, seed: int, ctx: JobContext) -> tuple[Codes, Floats]:
    """Cluster rows by k-means, the best of a few starts.

    Parameters
    ----------
    x
        (n, d) values.
    count
        Number of clusters; no more than there are different rows.
    seed
        Seed of the starts.
    ctx
        Asked before each start.

    Returns
    -------
    labels
        (n,) cluster of each row.
    centres
        (k, d) their means.
    """
    from sklearn.cluster import KMeans

    x = np.asarray(x, np.float64)
    count = min(count, len(np.unique(x, axis=0)))
    best: Any = None
    # One start at a time, so that a cancelled job ends between them.
    for start in range(_STARTS):
        ctx.step()
        found = KMeans(count, n_init=1, max_iter=_ROUNDS, random_state=seed + start).fit(x)
        if best is None or found.inertia_ < best.inertia_:
            best = found
    return np.asarray(best.labels_, np.intp), np.asarray(best.cluster_centers_)


def triplets(
    labels: Codes, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Draw for every row one of the same label and one of another.

    Rows of labels that stand alone, or of the only label, are left out.

    Returns
    -------
    anchors, positives, negatives
        (t,) rows each.
    """
    n = len(labels)
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    place = np.empty(n, np.intp)
    place[order] = np.arange(n)
    size, start = sizes[labels], starts[labels]
    usable = np.flatnonzero((size > 1) & (size < n))
    size, start = size[usable], start[usable]
    # A step of 1 ... size - 1 within the label's run of the order never meets the row itself.
    step = 1 + (rng.random(len(usable)) * (size - 1)).astype(np.intp)
    positive = start + (place[usable] - start + step) % size
    beyond = (rng.random(len(usable)) * (n - size)).astype(np.intp)
    negative = (start + size + beyond) % n
    return usable, order[positive], order[negative]
