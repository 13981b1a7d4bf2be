"""The weights, the graph and the spectrum of weighted nearest neighbours, on bare arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext

Array = NDArray[Any]
Floats = NDArray[np.floating[Any]]

_ROWS_AT_A_TIME = 300
_SMALL = 1e-4
_WIDEST = 200.0


class _Near:
    """Nearest neighbours within one modality.

    ``rows`` are the m spots that have it, ``at`` (n,) their place among these or -1,
    ``index`` (m, k) neighbours as spots, ``closest`` (m,) the distance to the first,
    ``width`` (m,) bandwidth of the kernel.
    """

    def __init__(self, scores: Floats, has: NDArray[np.bool_], k: int, ctx: JobContext) -> None:
        from sklearn.neighbors import NearestNeighbors

        self.scores = scores
        self.rows = np.flatnonzero(has)
        self.at = np.full(len(has), -1)
        self.at[self.rows] = np.arange(len(self.rows))
        model = NearestNeighbors(n_neighbors=min(k, len(self.rows) - 1)).fit(scores[self.rows])
        distance, index = _neighbours(model, scores[self.rows], ctx)
        self.model, self.closest = model, distance[:, 0]
        self.index = self.rows[index]
        self.width = _bandwidths(scores[self.rows], index, ctx)

    def kernel(self, place: Array, distance: Floats) -> Floats:
        """Affinity at a distance of the spots at some places: 1 at their first neighbour's."""
        first = self.closest[place]
        width = np.maximum(self.width[place] - first, 1e-12)
        return np.asarray(np.exp(-np.maximum(distance - first, 0) / width))


def _neighbours(model: Any, x: Floats, ctx: JobContext) -> tuple[Floats, Array]:
    """(m, k) distances and places of the nearest other rows that the model was fitted to."""
    m, k = len(x), model.n_neighbors
    distances, places = np.empty((m, k)), np.empty((m, k), np.intp)
    for low in range(0, m, _ROWS_AT_A_TIME):
        ctx.step()
        some = slice(low, min(low + _ROWS_AT_A_TIME, m))
        distance, near = model.kneighbors(x[some], n_neighbors=k + 1)
        own = near == np.arange(some.start, some.stop)[:, None]
        # Among equal rows the own one need not be found.
        own[~own.any(axis=1), -1] = True
        distances[some] = distance[~own].reshape(-1, k)
        places[some] = near[~own].reshape(-1, k)
    return distances, places


def _bandwidths(scores: Floats, index: Array, ctx: JobContext) -> Floats:
    """(m,) mean distance to the k spots that share the fewest neighbours, but some.

    Hao et al. 2021: of the spots whose neighbourhoods overlap with a spot's, those
    of least Jaccard index mark where its surroundings end. Of equal ones the
    farthest are taken.
    """
    from scipy import sparse

    m, k = index.shape
    own = np.hstack([np.arange(m)[:, None], index])
    links = sparse.csr_array(
        (np.ones(own.size, np.float32), own.ravel(), np.arange(0, own.size + 1, k + 1)),
        shape=(m, m),
    )
    back = links.T.tocsr()
    out = np.empty(m)
    for low in range(0, m, _ROWS_AT_A_TIME):
        ctx.step()
        shared = sparse.csr_array(links[low : low + _ROWS_AT_A_TIME] @ back)
        left = np.repeat(np.arange(shared.shape[0]), np.diff(shared.indptr))
        right = shared.indices
        other = right != left + low
        left, right = left[other], right[other]
        jaccard = shared.data[other] / (2 * (k + 1) - shared.data[other])
        distance = np.linalg.norm(scores[left + low] - scores[right], axis=1)
        order = np.lexsort((-distance, jaccard, left))
        left, distance = left[order], distance[order]
        counts = np.bincount(left, minlength=shared.shape[0])
        place = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
        some = place < k
        sums = np.bincount(left[some], distance[some], minlength=shared.shape[0])
        out[low : low + _ROWS_AT_A_TIME] = sums / np.maximum(np.minimum(counts, k), 1)
    return out


def modality_weights(
    scores: Sequence[Floats], present: NDArray[np.bool_], k: int, ctx: JobContext | None = None
) -> Floats:
    """(n, M) weight of each modality at each spot, rows summing to 1.

    A spot's values in a modality are predicted as the mean of its k nearest
    neighbours in that modality, and in each other one. The closer the first
    prediction is than the others, by a kernel of the spot's own bandwidth, the
    more weight the modality gets: ``softmax(within / (across + 1e-4))``, ``across``
    being the mean over the other modalities (Hao et al. 2021, Cell 184:3573).

    Parameters
    ----------
    scores
        Per modality (n, d) scores, rows of length 1.
    present
        (n, M) whether a spot has the modality: one that it lacks has weight 0 there. A
        spot that has none has equal weights.
    k
        Neighbours.
    """
    ctx = ctx or JobContext()
    near = []
    for m, block in enumerate(scores):
        ctx.step(0.7 * m / len(scores), "Neighbours within each modality")
        near.append(_Near(block, present[:, m], k, ctx))
    ratio = np.full(present.shape, -np.inf)
    for m, own in enumerate(near):
        ctx.step(0.7 + 0.3 * m / len(near), "Predicting each modality from the others")
        within = _predicted(own, own)
        across, known = np.zeros(len(own.rows)), np.zeros(len(own.rows))
        for o, other in enumerate(near):
            if o != m:
                found = _predicted(own, other)
                across += np.nan_to_num(found)
                known += np.isfinite(found)
        across = np.divide(across, known, out=np.zeros_like(across), where=known > 0)
        ratio[own.rows, m] = np.minimum(within / (across + _SMALL), _WIDEST)
    none = ~present.any(axis=1)
    ratio[none] = 0.0
    power = np.exp(ratio - ratio.max(axis=1, keepdims=True))
    return np.asarray(power / power.sum(axis=1, keepdims=True))


def _predicted(own: _Near, other: _Near) -> Floats:
    """Affinity of each spot to the mean of its neighbours in another modality; NaN without one."""
    out = np.full(len(own.rows), np.nan)
    place = other.at[own.rows]
    has = np.flatnonzero(place >= 0)
    neighbours = other.index[place[has]]
    usable = own.at[neighbours] >= 0
    count = usable.sum(axis=1)
    mean = np.zeros((len(has), own.scores.shape[1]))
    for j in range(neighbours.shape[1]):
        mean += np.where(usable[:, j, None], own.scores[neighbours[:, j]], 0.0)
    some = count > 0
    has, mean = has[some], mean[some] / count[some, None]
    distance = np.linalg.norm(own.scores[own.rows[has]] - mean, axis=1)
    out[has] = own.kernel(has, distance)
    return out


def joint_graph(
    scores: Sequence[Floats],
    present: NDArray[np.bool_],
    weights: Floats,
    k: int,
    candidates: int = 100,
    ctx: JobContext | None = None,
) -> Any:
    """(n, n) symmetric CSR affinity of each spot to its k nearest by weighted affinity.

    Candidates are the nearest spots in each modality; the affinity of two spots is
    the mean of that in the modalities that both have, by the first one's weights.
    """
    from scipy import sparse

    ctx = ctx or JobContext()
    n = len(present)
    near = []
    for m, block in enumerate(scores):
        ctx.step(0.6 * m / len(scores), "Candidates")
        near.append(_Near(block, present[:, m], max(k, 2), ctx))
    rows, columns, values = [], [], []
    for low in range(0, n, _ROWS_AT_A_TIME):
        ctx.step(0.6 + 0.4 * low / n, "Joint neighbours")
        some = np.arange(low, min(low + _ROWS_AT_A_TIME, n))
        left, right = _candidates(near, some, n, candidates)
        affinity, mass = np.zeros(len(left)), np.zeros(len(left))
        for m, own in enumerate(near):
            both = (own.at[left] >= 0) & (own.at[right] >= 0)
            a, b = left[both], right[both]
            distance = np.linalg.norm(own.scores[a] - own.scores[b], axis=1)
            affinity[both] += weights[a, m] * own.kernel(own.at[a], distance)
            mass[both] += weights[a, m]
        affinity = np.divide(affinity, mass, out=np.zeros_like(affinity), where=mass > 0)
        order = np.lexsort((right, -affinity, left))
        left, right, affinity = left[order], right[order], affinity[order]
        counts = np.bincount(left - low, minlength=len(some))
        place = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
        kept = place < k
        rows.append(left[kept])
        columns.append(right[kept])
        values.append(affinity[kept])
    graph = sparse.csr_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(n, n)
    )
    return sparse.csr_array((graph + graph.T) / 2)


def _candidates(near: list[_Near], some: Array, n: int, count: int) -> tuple[Array, Array]:
    """Pairs of each of some spots with its nearest ones in any modality, each pair once."""
    keys = []
    for own in near:
        here = some[own.at[some] >= 0]
        if not len(here):
            continue
        most = min(count + 1, len(own.rows))
        found = own.model.kneighbors(own.scores[here], n_neighbors=most, return_distance=False)
        left, right = np.repeat(here, most), own.rows[found.ravel()]
        keys.append((left * n + right)[left != right])
    every = np.unique(np.concatenate(keys)) if keys else np.zeros(0, np.intp)
    return every // n, every % n


def spectral_embedding(graph: Any, count: int, seed: int = 0) -> Floats:
    """(n, k) Laplacian eigenmap of a graph: smooth coordinates along it.

    The eigenvectors of the random walk's largest eigenvalues below the constant
    one (Belkin and Niyogi 2003), each times its eigenvalue, so that coordinates
    that vary faster count less. Spots without neighbours lie at 0.

    Parameters
    ----------
    graph
        (n, n) symmetric non-negative affinity.
    count
        Number of coordinates, below n - 1.
    seed
        Seed of the start of the eigenvalue solver.
    """
    from scipy import sparse
    from scipy.sparse.linalg import eigsh

    n = graph.shape[0]
    degrees = np.asarray(graph.sum(axis=1)).ravel()
    root = np.divide(1.0, np.sqrt(degrees), out=np.zeros(n), where=degrees > 0)
    scaled = sparse.diags_array(root) @ graph @ sparse.diags_array(root)
    start = np.random.default_rng(seed).random(n) + 0.5
    values, vectors = eigsh(sparse.csr_array(scaled), k=count + 1, which="LA", v0=start)
    order = np.argsort(-values, kind="stable")
    values, vectors = values[order], vectors[:, order]
    # With one component the first is constant; with more, all indicators are told apart.
    constant = np.sqrt(degrees)
    constant /= max(float(np.linalg.norm(constant)), 1e-12)
    trivial = int(np.argmax(np.abs(constant @ vectors)))
    if abs(float(constant @ vectors[:, trivial])) > 0.999:
        kept = np.delete(np.arange(count + 1), trivial)
    else:
        kept = np.arange(count)
    maps = vectors[:, kept] * root[:, None] * np.sqrt(degrees.sum())
    signs = np.sign(maps[np.abs(maps).argmax(axis=0), np.arange(count)])
    return np.asarray(maps * np.where(signs == 0, 1.0, signs) * np.clip(values[kept], 0, 1))
