"""Levels for images that come without: made lazily, block by block."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1024
"""Edge of a dask block in pixels: a few tiles, so that a whole slide has some thousand blocks."""
SMALL = 2048
"""An image whose longest edge is below this needs no further level."""


class Overview:
    """The coarsest level of an image without a pyramid, computed once, on first use.

    Parameters
    ----------
    finer
        Dask array (y, x, channel) to be reduced by block means.
    factor
        Reduction.
    """

    def __init__(self, finer: Any, factor: int) -> None:
        self._finer = finer
        self._factor = factor
        self._lock = threading.Lock()
        self._array: NDArray[Any] | None = None
        self.shape = (*(s // factor for s in finer.shape[:2]), finer.shape[2])
        self.dtype = finer.dtype
        self.ndim = 3

    def __getitem__(self, key: Any) -> NDArray[Any]:
        with self._lock:
            if self._array is None:
                self._array = np.asarray(reduced(self._finer, self._factor).compute())
        return self._array[key]


def reduced(array: Any, factor: int) -> Any:
    """Means over blocks of ``factor`` by ``factor`` pixels, lazily; the remainder is cut off."""
    import dask.array as da

    ny, nx = (s // factor * factor for s in array.shape[:2])
    coarse = da.coarsen(
        np.mean, array[:ny, :nx].astype(np.float32), {0: factor, 1: factor}, trim_excess=True
    )
    if np.issubdtype(array.dtype, np.integer):
        coarse = da.rint(coarse)
    return coarse.astype(array.dtype)


def with_overview(array: Any) -> list[Any]:
    """Return a pyramid (y, x, channel) for a lazy image that has only one level.

    Middle levels are means computed when they are looked at. The last one,
    which a viewer asks for first and again and again, is kept once computed.
    """
    import dask.array as da

    levels = [array]
    longest = max(array.shape[:2])
    factor = 4
    while longest // factor > SMALL:
        levels.append(reduced(_blocks(array, factor), factor))
        factor *= 4
    if longest > SMALL:
        factor = 2 ** int(np.ceil(np.log2(longest / (SMALL // 2))))
        parts, start = [], 0
        for depth in array.chunks[2]:
            last = Overview(_blocks(array[..., start : start + depth], factor), factor)
            meta = np.empty((0, 0, 0), dtype=last.dtype)
            parts.append(da.from_array(last, chunks=last.shape, name=False, meta=meta))
            start += depth
        levels.append(da.concatenate(parts, axis=2))
    return levels


def _blocks(array: Any, factor: int) -> Any:
    """Blocks of some thousand pixels that hold whole groups of ``factor`` pixels."""
    edge = max(1, 4 * BLOCK // factor) * factor
    return array.rechunk({0: edge, 1: edge})
