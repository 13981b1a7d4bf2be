"""What is read of a pyramid before it is looked at: small levels, once, and their contrast."""

from __future__ import annotations

from typing import Any

import numpy as np

_READ_WHOLE = 4_000_000
_READ_AT_ONCE = 16_000_000


class KeptLevel:
    """An array that is read as a whole when it is first needed, and kept.

    The coarse levels of an image that has no pyramid on disk are made from all
    of its pixels: without this they would be made anew for every window.

    Parameters
    ----------
    array
        The lazy array.
    """

    def __init__(self, array: Any) -> None:
        self._array = array
        self._read = False
        self.shape = tuple(int(n) for n in array.shape)
        self.dtype = np.dtype(array.dtype)
        self.ndim = len(self.shape)
        self.size = int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(self[:], dtype=dtype)

    def __getitem__(self, key: Any) -> Any:
        if not self._read:
            self._array = np.asarray(self._array)
            self._read = True
        return self._array[key]


def kept(level: Any) -> Any:
    """Return a small lazy array as one that is read once, any other as it is."""
    if isinstance(level, np.ndarray | KeptLevel) or not hasattr(level, "dask"):
        return level
    return KeptLevel(level) if level.shape[0] * level.shape[1] <= _READ_WHOLE else level


def contrast_of(coarsest: Any) -> list[tuple[float, float]]:
    """Robust contrast limits per channel from the coarsest level, or the middle of a huge one.

    Parameters
    ----------
    coarsest
        Array (y, x, channel), lazy or not.
    """
    height, width = coarsest.shape[:2]
    if height * width > _READ_AT_ONCE:
        top, left = max(0, height // 2 - 512), max(0, width // 2 - 512)
        coarsest = coarsest[top : top + 1024, left : left + 1024]
    values = np.asarray(coarsest)
    limits = []
    for channel in range(values.shape[2]):
        low, high = np.percentile(values[..., channel], (0.5, 99.8)) if values.size else (0, 1)
        limits.append((float(low), float(high if high > low else low + 1)))
    return limits
