"""The embedding that is clustered, its neighbours in space, and other ways to cluster it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.cache import ContentCache, content_key
from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import EmbeddingInputs
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.domains.members import SMOOTHING, Space
from napari_stomics.methods.fusion.blocks import joint_components
from napari_stomics.methods.fusion.graph import coordinate_graph, diffuse, walk

Floats = NDArray[np.floating[Any]]
Codes = NDArray[np.intp]

_GRAPHS: ContentCache[Any] = ContentCache(4)
_WIDEST = 60
_NEAREST = 15
_SEARCHES = 20


def check_embedding(inputs: EmbeddingInputs) -> None:
    """Refuse an embedding that cannot be clustered.

    Raises
    ------
    UserError
        If it is empty, constant, or not finite.
    """
    values = np.asarray(inputs.values)
    if values.ndim != 2 or 0 in values.shape:
        raise UserError("The embedding is empty.", "Fuse the section's modalities first.")
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise UserError(
            f"{int(bad.sum())} spots have NaN or infinite values in the embedding.",
            "Fuse the modalities again: spots that lack one keep a place there.",
        )
    if not (np.ptp(values, axis=0) > 0).any():
        raise UserError(
            "The embedding is the same for all spots.",
            "Fuse modalities that vary between the spots.",
        )


def space_of(
    inputs: EmbeddingInputs, neighbours: int, smoothing: int = 0, levels: int = len(SMOOTHING)
) -> Space:
    """Return components of the embedding, smoothed by some steps and by the steps that follow.

    Components are ordered by variance; constant ones are left out.
    """
    graph = graph_of(inputs, neighbours)
    values = np.asarray(inputs.values, np.float32)
    scores, explained, _ = joint_components(values, min(_WIDEST, values.shape[1]))
    x: Floats = scores[:, explained > 1e-9].astype(np.float64)
    step = walk(graph)
    found = []
    done = 0
    for more in SMOOTHING[:levels]:
        if neighbours:
            x = diffuse(step, x, smoothing + more - done)
        done = smoothing + more
        found.append(x)
    return Space(tuple(found), walk(graph, 1e-9) if neighbours else None)


def graph_of(inputs: EmbeddingInputs, neighbours: int) -> Any:
    """Spatial graph of the spots, within their sections; kept by its content."""
    key = content_key(inputs.coordinates, inputs.of, neighbours)
    return _GRAPHS.get(key, lambda: coordinate_graph(inputs.coordinates, inputs.of, neighbours))


def majority(codes: Codes, near: Any, k: int) -> Codes:
    """(n,) codes after one vote of each spot with its neighbours; ties keep the spot's own."""
    votes = np.asarray(near @ np.eye(k)[codes]) * 6 + 1.001 * np.eye(k)[codes]
    return np.asarray(votes.argmax(axis=1), np.intp)


def leiden(x: Floats, k: int, seed: int, ctx: JobContext) -> Floats:
    """Communities of the graph of nearest neighbours (Traag et al. 2019, Sci Rep 9:5233).

    The resolution is searched for ``k`` communities; where it skips that number,
    the smallest are joined with the one they touch most, or the count stays below.

    Returns
    -------
    (n, k') probabilities: the share of a spot's neighbours in each community.

    Raises
    ------
    UserError
        If the packages ``leidenalg`` and ``igraph`` are not installed.
    """
    try:
        import igraph  # type: ignore[import-not-found, unused-ignore]
        import leidenalg  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise UserError(
            "Leiden needs the packages leidenalg and igraph, which are not installed.",
            "Install them (pip install leidenalg igraph), or choose the mixture or k-means.",
        ) from error
    from scipy import sparse
    from sklearn.neighbors import kneighbors_graph

    near = sparse.coo_array(kneighbors_graph(x, min(_NEAREST, len(x) - 1)))
    graph = igraph.Graph(len(x), np.column_stack([near.row, near.col]).tolist())

    def split(resolution: float) -> Codes:
        ctx.step()
        found = leidenalg.find_partition(
            graph, leidenalg.RBConfigurationVertexPartition, seed=seed,
            resolution_parameter=resolution,
        )  # fmt: skip
        return np.asarray(found.membership, np.intp)

    codes = _search(split, k)
    own = np.eye(int(codes.max()) + 1)[codes]
    around = sparse.csr_array(near) @ own
    return join_smallest(own + np.asarray(around), k)


def _search(split: Any, k: int) -> Codes:
    """Bisect the resolution for k communities; the least number above k where k is skipped."""
    low, high = 0.01, 4.0
    best = split(high)
    for _ in range(_SEARCHES):
        middle = float(np.sqrt(low * high))
        codes = split(middle)
        count = int(codes.max()) + 1
        if count >= k:
            best, high = codes, middle
        else:
            low = middle
        if count == k:
            break
    return np.asarray(best, np.intp)


def join_smallest(counts: Floats, k: int) -> Floats:
    """(n, k) probabilities from (n, c) counts, the smallest groups joined until k are left."""
    counts = counts.copy()
    while counts.shape[1] > k:
        codes = counts.argmax(axis=1)
        sizes = np.bincount(codes, minlength=counts.shape[1])
        small = int(sizes.argmin())
        touch = counts[codes == small].sum(axis=0)
        touch[small] = -1
        counts[:, int(touch.argmax())] += counts[:, small]
        counts = np.delete(counts, small, axis=1)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


__all__ = [
    "check_embedding",
    "graph_of",
    "join_smallest",
    "leiden",
    "majority",
    "space_of",
]
