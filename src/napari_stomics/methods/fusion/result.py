"""From the numbers of a fusion method to its result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.fusion import Embedding, FusionInputs
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.fusion.batch import BatchMethod, correct_batches

Floats = NDArray[np.floating[Any]]

_NEIGHBOURS = 15
_ROWS_AT_A_TIME = 1_000
_COMPARED = 20_000
"""Spots whose neighbours are compared between modalities; the others take their nearest one's."""


def finish(
    inputs: FusionInputs,
    values: Floats,
    names: Sequence[str],
    scores: Sequence[Floats],
    present: NDArray[np.bool_] | None = None,
    *,
    explained: Floats | None = None,
    batch: BatchMethod = "none",
    seed: int = 0,
    ctx: JobContext | None = None,
    **more: Any,
) -> Embedding:
    """Build the embedding with its sections and the disagreement of the modalities.

    Parameters
    ----------
    inputs
        What was fused.
    values
        (n, k) joint embedding.
    names
        Names of the fused modalities.
    scores
        (n, d) block of each modality, for the disagreement; empty: none is computed.
    present
        (n, m) whether a spot has a modality; all have them by default.
    explained
        (k,) share of the variance per component, where the method has such a measure.
    batch, seed
        Correction between sections (:func:`~.batch.correct_batches`) and its seed.
    ctx
        Asked while the modalities are compared.
    **more
        Further fields of :class:`~napari_stomics.core.fusion.Embedding`.
    """
    if batch != "none" and len(inputs.sections) > 1:
        values = correct_batches(values, inputs.of, batch, seed=seed)
        more["settings"] = {**more.get("settings", {}), "batch": batch}
    return Embedding(
        section=inputs.sections[0],
        ids=inputs.ids,
        values=np.asarray(values, np.float32),
        modalities=tuple(names),
        disagreement=disagreement(scores, present, inputs.n, ctx=ctx),
        explained_variance=np.zeros(0) if explained is None else np.asarray(explained),
        sections=inputs.sections,
        of=inputs.of,
        **more,
    )


def disagreement(
    blocks: Sequence[Floats],
    present: NDArray[np.bool_] | None = None,
    n: int = 0,
    k: int = _NEIGHBOURS,
    ctx: JobContext | None = None,
) -> Floats:
    """(n,) share of nearest neighbours that two modalities do not share, mean over their pairs.

    0 where all modalities agree on a spot's neighbours, 1 where they have none in
    common; NaN with a single modality and at spots that have fewer than two.
    Neighbours are sought among at most 20,000 spots, so that large sections
    stay within seconds.
    """
    n = len(blocks[0]) if blocks else n
    ctx = ctx or JobContext()
    total, pairs = np.zeros(n), np.zeros(n)
    for i in range(len(blocks)):
        for j in range(i + 1, len(blocks)):
            both = np.arange(n) if present is None else np.flatnonzero(present[:, [i, j]].all(1))
            near = min(k, min(len(both), _COMPARED) - 1)
            if near < 1:
                continue
            total[both] += _unshared(blocks[i][both], blocks[j][both], near, ctx)
            pairs[both] += 1
    return np.divide(total, pairs, out=np.full(n, np.nan), where=pairs > 0)


def _unshared(a: Floats, b: Floats, k: int, ctx: JobContext) -> Floats:
    n = len(a)
    some = np.arange(n)
    if n > _COMPARED:
        some = np.sort(np.random.default_rng(0).permutation(n)[:_COMPARED])
    found = []
    for block in (a, b):
        found.append(_nearest(block[some], k, ctx))
    shared = np.empty(len(some))
    for low in range(0, len(some), _ROWS_AT_A_TIME):
        ctx.step()
        left, right = (near[low : low + _ROWS_AT_A_TIME] for near in found)
        same = (left[:, :, None] == right[:, None, :]).any(axis=2)
        shared[low : low + _ROWS_AT_A_TIME] = same.mean(axis=1)
    if n == len(some):
        return np.asarray(1 - shared)
    from scipy.spatial import cKDTree

    nearest = cKDTree(a[some][:, :3]).query(a[:, :3])[1]
    return np.asarray(1 - shared[nearest])


def _nearest(x: Floats, k: int, ctx: JobContext) -> NDArray[np.intp]:
    """(n, k) nearest other rows of each."""
    from sklearn.neighbors import NearestNeighbors

    model = NearestNeighbors(n_neighbors=k + 1).fit(x)
    out = np.empty((len(x), k), np.intp)
    for low in range(0, len(x), _ROWS_AT_A_TIME):
        ctx.step()
        part = x[low : low + _ROWS_AT_A_TIME]
        near = model.kneighbors(part, return_distance=False)
        # Among equal rows the own one need not come first, nor be among these at all.
        own = near == np.arange(low, low + len(part))[:, None]
        own[~own.any(axis=1), -1] = True
        out[low : low + len(part)] = near[~own].reshape(len(part), k)
    return out
