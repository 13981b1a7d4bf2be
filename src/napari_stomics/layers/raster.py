"""Spots painted tile by tile, for sections with more spots than markers can be drawn.

A pyramid whose levels are computed when napari asks for a window: drawing a
million markers takes seconds per frame on a software renderer, drawing the
window of an image does not depend on their number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FINEST = 16
"""Pixels across a spot on the finest level."""
_COARSEST = 1024
_KEEP = 4_000_000
"""A level of at most this many pixels is painted once and kept."""


@dataclass(frozen=True)
class Painted:
    """Colours that a :class:`SpotRaster` may take at once.

    Attributes
    ----------
    colours
        (n, 4) uint8 RGBA, in the raster's own order.
    levels
        Whole levels with these colours, by their factor.
    """

    colours: NDArray[np.uint8]
    levels: dict[int, Any] = field(default_factory=dict)


class SpotRaster:
    """Discs in true size and their colours, as the levels of an RGBA pyramid.

    Parameters
    ----------
    coordinates
        (n, 2) centres (x, y) in micrometres.
    diameter
        Diameter in micrometres, one for all.
    colours
        (n, 4) uint8 RGBA.

    Attributes
    ----------
    levels
        Array-likes (y, x, 4), the finest first.
    pixel_size
        Micrometres per pixel of the finest level.
    origin
        (x, y) um of the corner of the first pixel.
    """

    def __init__(
        self, coordinates: NDArray[Any], diameter: float, colours: NDArray[np.uint8]
    ) -> None:
        xy = np.asarray(coordinates, dtype=np.float64)
        self.order = np.argsort(xy[:, 1], kind="stable")
        self._x, self._y = xy[self.order, 0], xy[self.order, 1]
        self.radius = diameter / 2
        self.pixel_size = diameter / _FINEST
        self.origin = xy.min(axis=0) - diameter
        extent = xy.max(axis=0) + diameter - self.origin
        self._colours = colours[self.order]
        self.version = 0
        halvings = max(0, int(np.ceil(np.log2(extent.max() / self.pixel_size / _COARSEST))))
        # Rounded up to whole pixels of the coarsest level, so that each level is exactly half.
        coarse = np.ceil(extent / (self.pixel_size * 2**halvings)).astype(int)
        self.levels = [
            SpotLevel(self, 2**k, tuple(int(s) * 2 ** (halvings - k) for s in coarse[::-1]))
            for k in range(halvings + 1)
        ]

    @property
    def coordinates(self) -> NDArray[np.float64]:
        """(n, 2) centres (x, y), in the order they were given."""
        return np.column_stack([self._x, self._y])[np.argsort(self.order)]

    @property
    def colours(self) -> NDArray[np.uint8]:
        """(n, 4) RGBA, in the order they were given."""
        return self._colours[np.argsort(self.order)]

    def set_colours(self, colours: NDArray[np.uint8]) -> None:
        """Take other colours, (n, 4) uint8 in the order of the coordinates; refresh the layer."""
        self.take(Painted(colours[self.order]))

    def painted(self, colours: NDArray[np.uint8]) -> Painted:
        """Paint the levels in use with other colours, in any thread; :meth:`take` shows them."""
        own = colours[self.order]
        levels = {
            level.factor: self._paint(own, level.factor, (0, level.shape[0]), (0, level.shape[1]))
            for level in self.levels
            if level.is_kept
        }
        return Painted(own, levels)

    def take(self, painted: Painted) -> None:
        """Take the colours of :meth:`painted`; refresh the layer."""
        self._colours = painted.colours
        self.version += 1
        for level in self.levels:
            level.keep(painted.levels.get(level.factor))

    def paint(self, factor: int, rows: tuple[int, int], columns: tuple[int, int]) -> Any:
        """Return the RGBA window (rows, columns) of the level with pixels ``factor`` times larger.

        Discs under a pixel are averaged, so that colours stay true from afar.
        """
        return self._paint(self._colours, factor, rows, columns)

    def _paint(
        self,
        every: NDArray[np.uint8],
        factor: int,
        rows: tuple[int, int],
        columns: tuple[int, int],
    ) -> Any:
        pixel = self.pixel_size * factor
        shape = (rows[1] - rows[0], columns[1] - columns[0])
        y0, x0 = self.origin[1] + rows[0] * pixel, self.origin[0] + columns[0] * pixel
        first, last = np.searchsorted(
            self._y, (y0 - self.radius, y0 + shape[0] * pixel + self.radius)
        )
        x, y = self._x[first:last], self._y[first:last]
        inside = (x > x0 - self.radius) & (x < x0 + shape[1] * pixel + self.radius)
        across = (x[inside] - x0) / pixel
        down = (y[inside] - y0) / pixel
        colours = every[first:last][inside]
        if self.radius < pixel:
            return _mean_colours(down, across, colours, shape)
        return _discs(down, across, self.radius / pixel, colours, shape)


class SpotLevel:
    """One level of a :class:`SpotRaster`: what napari needs of an array."""

    ndim = 3
    dtype = np.dtype(np.uint8)

    def __init__(self, raster: SpotRaster, factor: int, shape: tuple[int, ...]) -> None:
        self.raster = raster
        self.factor = factor
        self.shape = (*shape, 4)
        self.size = int(np.prod(self.shape))
        self._kept: tuple[int, Any] | None = None

    @property
    def is_kept(self) -> bool:
        """Whether the whole level is at hand in the colours of now."""
        return self._kept is not None and self._kept[0] == self.raster.version

    def keep(self, whole: Any | None) -> None:
        """Keep the level as painted in the colours of now; None forgets what was kept."""
        self._kept = None if whole is None else (self.raster.version, whole)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(self[:], dtype=dtype)

    def __getitem__(self, key: Any) -> Any:
        rows, columns, rest = window_of(key, self.shape)
        window = self._window((rows.start, rows.stop), (columns.start, columns.stop))
        return window[:: rows.step, :: columns.step][(slice(None), slice(None), *rest)]

    def _window(self, rows: tuple[int, int], columns: tuple[int, int]) -> Any:
        if self.shape[0] * self.shape[1] > _KEEP:
            return self.raster.paint(self.factor, rows, columns)
        if self._kept is None or not self.is_kept:
            self.keep(self.raster.paint(self.factor, (0, self.shape[0]), (0, self.shape[1])))
        assert self._kept is not None
        return self._kept[1][slice(*rows), slice(*columns)]


def window_of(key: Any, shape: tuple[int, ...]) -> tuple[slice, slice, tuple[Any, ...]]:
    """Return an index of an array-like as slices of rows and columns, and what follows."""
    parts: list[Any] = [k for k in (key if isinstance(key, tuple) else (key,)) if k is not Ellipsis]
    parts += [slice(None)] * (2 - len(parts))
    return _as_slice(parts[0], shape[0]), _as_slice(parts[1], shape[1]), tuple(parts[2:])


def _as_slice(key: Any, length: int) -> slice:
    if isinstance(key, slice):
        start, stop, step = key.indices(length)
        return slice(start, max(start, stop), step)
    index = int(key) % length
    return slice(index, index + 1, 1)


def _mean_colours(down: Any, across: Any, colours: Any, shape: tuple[int, int]) -> Any:
    out = np.zeros((*shape, 4), np.uint8)
    row, column = np.floor(down).astype(np.int64), np.floor(across).astype(np.int64)
    ok = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    flat, weights = (row * shape[1] + column)[ok], colours[ok]
    count = np.bincount(flat, minlength=shape[0] * shape[1])
    filled = count > 0
    flat_out = out.reshape(-1, 4)
    for channel in range(4):
        total = np.bincount(flat, weights[:, channel], minlength=len(count))
        flat_out[filled, channel] = total[filled] / count[filled]
    return out


def _discs(down: Any, across: Any, radius: float, colours: Any, shape: tuple[int, int]) -> Any:
    reach = int(np.ceil(radius))
    # A margin takes what overhangs the window, so that no index needs a check.
    inner = 2 * reach + 1
    out = np.zeros((shape[0] + 2 * inner, shape[1] + 2 * inner, 4), np.uint8)
    row, column = np.floor(down).astype(np.int64), np.floor(across).astype(np.int64)
    width = out.shape[1]
    flat_out = out.reshape(-1, 4)
    base = (row + inner) * width + column + inner
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            far = (row + dy + 0.5 - down) ** 2 + (column + dx + 0.5 - across) ** 2
            hit = far <= radius**2
            flat_out[base[hit] + dy * width + dx] = colours[hit]
    return out[inner : inner + shape[0], inner : inner + shape[1]]
