"""Pseudo-labels for networks that sharpen clusters: Lloyd's algorithm, seeded and cancellable."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext

Floats = NDArray[np.floating[Any]]
Codes = NDArray[np.intp]

_STARTS = 4


def k_means(
    x: Floats, count: int, rng: np.random.Generator, ctx: JobContext, rounds: int = 30
) -> tuple[Codes, Floats]:
    """Cluster rows by k-means with spread starts (Arthur and Vassilvitskii 2007, SODA).

    Parameters
    ----------
    x
        (n, d) values.
    count
        Number of clusters; no more than there are rows.
    rng
        Draws the starts.
    rounds
        Most rounds of each start.

    Returns
    -------
    labels
        (n,) cluster of each row, of the best of four starts.
    centres
        (k, d) their means.
    """
    x = np.asarray(x, np.float64)
    square = np.einsum("ij,ij->i", x, x)
    best: tuple[float, Codes, Floats] | None = None
    for _ in range(_STARTS):
        centres = _spread(x, square, min(count, len(x)), rng, ctx)
        labels = np.full(len(x), -1)
        for _ in range(rounds):
            ctx.step()
            distance = square[:, None] - 2 * x @ centres.T + (centres**2).sum(axis=1)
            nearest = distance.argmin(axis=1)
            if (nearest == labels).all():
                break
            labels = nearest
            centres = _means(x, labels, centres)
        cost = float(distance[np.arange(len(x)), labels].sum())
        if best is None or cost < best[0]:
            best = cost, labels, centres
    assert best is not None
    return best[1], best[2]


def _spread(
    x: Floats, square: Floats, count: int, rng: np.random.Generator, ctx: JobContext
) -> Floats:
    """Start centres drawn with probability proportional to the squared distance to the others."""
    chosen = [int(rng.integers(len(x)))]
    far = np.full(len(x), np.inf)
    while len(chosen) < count:
        ctx.step()
        new = x[chosen[-1]]
        far = np.minimum(far, np.maximum(square - 2 * x @ new + new @ new, 0.0))
        total = far.sum()
        p = far / total if total > 0 else None
        chosen.append(int(rng.choice(len(x), p=p)))
    return x[chosen]


def _means(x: Floats, labels: Codes, before: Floats) -> Floats:
    """Means of the clusters; an empty one keeps its centre."""
    from scipy import sparse

    n, k = len(x), len(before)
    sums = sparse.csr_array((np.ones(n), (labels, np.arange(n))), shape=(k, n)) @ x
    sizes = np.bincount(labels, minlength=k)[:, None]
    return np.asarray(np.where(sizes > 0, sums / np.maximum(sizes, 1), before))


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
