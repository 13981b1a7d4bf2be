"""Few dimensions of all features for the search of the pose.

Leading components are kept with their spread. Weighing them by how smooth they
are in space as well was tried and found fewer poses: where counts are few, the
components that tell places apart are hardly smoother, spot by spot, than noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows32 = NDArray[np.float32]

DIMENSIONS = 12
_SHORT = 0.3  # of the usual length, below which a row is not drawn out to length 1


def search_rows(blocks: list[tuple[Rows32, Rows32, float]]) -> tuple[Rows32, Rows32]:
    """(n, r), (m, r) rows of at most :data:`DIMENSIONS` dimensions, of length <= 1.

    Parameters
    ----------
    blocks
        Components of source and target of each kind of feature, and the kind's weight.
    """
    parts: list[tuple[Rows32, Rows32, float]] = []
    for a, b, weight in blocks:
        variance = (a.var(axis=0) + b.var(axis=0)) / 2
        total = max(float(variance.sum()), 1e-30)
        parts += [
            (a[:, c], b[:, c], float(weight * np.sqrt(variance[c] / total)))
            for c in range(a.shape[1])
        ]
    best = sorted(parts, key=lambda part: -part[2])[:DIMENSIONS]
    return _side([(p[0], p[2]) for p in best]), _side([(p[1], p[2]) for p in best])


def _side(columns: list[tuple[Rows32, float]]) -> Rows32:
    """Columns of the spread asked for, as rows of length 1 but for those that say little."""
    scaled = [x * np.float32(spread / max(float(x.std()), 1e-12)) for x, spread in columns]
    rows = np.stack(scaled, axis=1)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    usual = float(np.median(length[length > 0])) if (length > 0).any() else 1.0
    return np.asarray(rows / np.maximum(length, _SHORT * usual), np.float32)
