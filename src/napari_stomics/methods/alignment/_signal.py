"""Few, telling dimensions for the search of the pose.

A component that varies smoothly within both sections tells places apart; one
whose value at a spot says nothing of its neighbours is noise. Each is weighted
by that correlation with its neighbours, as Moran's I does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows32 = NDArray[np.float32]

DIMENSIONS = 12
_NEIGHBOURS = 6
_SAMPLE = 20_000  # spots asked for their neighbours


def search_rows(
    blocks: list[tuple[Rows32, Rows32, float]], positions: tuple[NDArray[Any], NDArray[Any]]
) -> tuple[Rows32, Rows32]:
    """(n, r), (m, r) rows of at most :data:`DIMENSIONS` smooth dimensions, of length <= 1.

    Parameters
    ----------
    blocks
        Components of source and target of each kind of feature, and the kind's weight.
    positions
        (n, 2), (m, 2) of the spots.
    """
    parts: list[tuple[Rows32, Rows32, float]] = []
    for a, b, weight in blocks:
        smooth = np.minimum(smoothness(a, positions[0]), smoothness(b, positions[1]))
        smooth = np.clip(smooth, 0.0, 1.0)
        spread = np.sqrt((a.var(axis=0) + b.var(axis=0)) / 2)
        # Components keep their spread: it is what they tell beyond the noise.
        value = smooth * spread
        length = np.sqrt(max(float((value**2).sum()), 1e-30))
        parts += [
            (a[:, c], b[:, c], weight * float(smooth[c] * spread[c]) / length)
            for c in range(a.shape[1])
        ]
    best = sorted(parts, key=lambda part: -part[2])[:DIMENSIONS]
    out = []
    for side in (0, 1):
        x = np.stack(
            [np.asarray(p[side]) / max(float(np.std(p[side])), 1e-12) * p[2] for p in best], 1
        )
        out.append(_bounded(x.astype(np.float32)))
    return out[0], out[1]


def _bounded(x: Rows32) -> Rows32:
    """Rows of length 1, but for those far shorter than most, which say little."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    usual = float(np.median(length[length > 0])) if (length > 0).any() else 1.0
    return np.asarray(x / np.maximum(length, 0.3 * usual), np.float32)


def smoothness(x: Rows32, positions: NDArray[Any]) -> NDArray[np.float64]:
    """(k,) correlation of each column with its mean over the nearest neighbours."""
    from scipy.spatial import cKDTree

    n = len(positions)
    asked = np.arange(n)
    if n > _SAMPLE:
        asked = np.random.default_rng(0).permutation(n)[:_SAMPLE]
    k = min(_NEIGHBOURS, n - 1)
    near: Any = cKDTree(positions).query(positions[asked], k=k + 1)[1]
    own, around = x[asked].astype(np.float64), x[near[:, 1:]].mean(axis=1, dtype=np.float64)
    own -= own.mean(axis=0)
    around -= around.mean(axis=0)
    scale = np.sqrt((own**2).sum(axis=0) * (around**2).sum(axis=0))
    return np.asarray((own * around).sum(axis=0) / np.where(scale > 0, scale, 1.0))
