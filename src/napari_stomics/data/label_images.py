"""Cells that are given as a label image."""

from __future__ import annotations

from typing import Any

import numpy as np


def centroids(array: Any) -> tuple[Any, Any, Any, Any]:
    """Label, x, y and area in pixels of every label in it, read one chunk at a time."""
    import dask.array as da
    import pandas as pd

    array = array if hasattr(array, "dask") else da.from_array(array)
    sums: list[Any] = []
    tops = np.cumsum([0, *array.chunks[0]])
    lefts = np.cumsum([0, *array.chunks[1]])
    for i in range(array.numblocks[0]):
        for j in range(array.numblocks[1]):
            block = np.asarray(array.blocks[i, j])
            rows, columns = np.nonzero(block)
            ids, where = np.unique(block[rows, columns], return_inverse=True)
            weights = (columns + lefts[j] + 0.5, rows + tops[i] + 0.5, np.ones(len(rows)))
            x, y, n = (np.bincount(where, w, minlength=len(ids)) for w in weights)
            sums.append(pd.DataFrame({"x": x, "y": y, "n": n}, index=ids))
    total = pd.concat(sums).groupby(level=0).sum()
    n = total["n"].to_numpy()
    return total.index.to_numpy(), total["x"].to_numpy() / n, total["y"].to_numpy() / n, n
