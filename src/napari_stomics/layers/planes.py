"""Windows of an image as seen in another frame, and with a part of it cut away.

Napari clips points but not images, and shows a turned image only as a whole.
To swipe or to checker two sections an image is therefore read through a
:class:`Plane`: a lazy level in the target's axes, resampled where the image is
turned, with alpha or zeros where it is cut.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.transforms import Affine
from napari_stomics.layers.kept import kept
from napari_stomics.layers.raster import window_of

TILE = 512
_TILES_KEPT = 40

Mask = Callable[[NDArray[Any], NDArray[Any], float], NDArray[np.bool_]]
"""From world x (w,) and y (h,) in um, and the size of a pixel, to what stays, (h, w)."""


@dataclass
class Swipe:
    """Keep one side of a line.

    Attributes
    ----------
    line
        Position in um along x (vertical line) or y (horizontal line).
    vertical
        Whether the line is vertical.
    after
        Keep what lies to the right of it or below it, rather than before it.
    """

    line: float
    vertical: bool
    after: bool

    def __call__(self, x: NDArray[Any], y: NDArray[Any], pixel: float = 0.0) -> NDArray[np.bool_]:
        """Return what stays, (h, w); the lower side keeps one pixel more, so that no seam shows."""
        along = x[None, :] if self.vertical else y[:, None]
        keep = along >= self.line if self.after else along < self.line + pixel
        return np.broadcast_to(keep, (len(y), len(x)))


@dataclass
class Checker:
    """Keep every other square.

    Attributes
    ----------
    size
        Side of a square in um.
    origin
        (x, y) um of a corner.
    odd
        Which squares.
    """

    size: float
    origin: tuple[float, float]
    odd: bool

    def __call__(self, x: NDArray[Any], y: NDArray[Any], pixel: float = 0.0) -> NDArray[np.bool_]:
        """Return what stays, (h, w); even squares keep one pixel more, so that no seam shows."""
        if self.odd or not pixel:
            return self._squares(x, y)
        wide = self._squares(x - pixel, y) | self._squares(x + pixel, y)
        return wide | self._squares(x, y - pixel) | self._squares(x, y + pixel)

    def _squares(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
        return self._parity(x, 0)[None, :] ^ self._parity(y, 1)[:, None] ^ self.odd ^ True

    def at(self, points: NDArray[Any]) -> NDArray[np.bool_]:
        """(n,) whether points (x, y) stay."""
        return self._parity(points[:, 0], 0) ^ self._parity(points[:, 1], 1) ^ self.odd ^ True

    def _parity(self, values: NDArray[Any], axis: int) -> NDArray[np.bool_]:
        return (np.floor((values - self.origin[axis]) / self.size).astype(np.int64) % 2).astype(
            bool
        )


@dataclass(frozen=True)
class Grid:
    """Axes of a plane's finest level in the world.

    Attributes
    ----------
    origin
        (x, y) um of the corner of the first pixel.
    pixel
        (x, y) um of a pixel.
    shape
        (rows, columns).
    """

    origin: tuple[float, float]
    pixel: tuple[float, float]
    shape: tuple[int, int]


class Plane:
    """One level of an image in the world's axes, cut by a mask; lazy, tiles are kept.

    Parameters
    ----------
    levels
        Arrays (y, x) or (y, x, channel) of the image, the finest first.
    to_world
        Carries (x, y) pixel positions of ``levels[0]``, with centres at
        half-integers, to the world's micrometres.
    grid
        Axes of this plane's finest level.
    factor
        How many pixels of the finest level make one of this level.
    mask
        What stays; it may change between reads.
    nearest
        Do not interpolate: the image holds labels.
    """

    def __init__(
        self,
        levels: Sequence[Any],
        to_world: Affine,
        grid: Grid,
        factor: int,
        mask: Mask,
        nearest: bool = False,
    ) -> None:
        self.pixel = (grid.pixel[0] * factor, grid.pixel[1] * factor)
        self.origin = grid.origin
        self.mask = mask
        # On coarser levels the image read is finer than the pixels drawn: picking is enough.
        self.nearest = nearest or factor > 1
        rows, columns = (-(-n // factor) for n in grid.shape)
        self._source, scale = _nearest_level(levels, to_world, min(self.pixel))
        # From this plane's pixel positions to those of the level that is read.
        plane_to_world = Affine(
            np.array(
                [[self.pixel[0], 0, self.origin[0]], [0, self.pixel[1], self.origin[1]], [0, 0, 1]]
            )
        )
        shrink = Affine(np.diag([1 / scale[0], 1 / scale[1], 1.0]))
        self._to_source = plane_to_world.then(to_world.inverse()).then(shrink)
        self.colour = self._source.ndim == 3
        self.dtype = np.dtype(self._source.dtype)
        self.shape = (rows, columns, 4) if self.colour else (rows, columns)
        self.ndim = len(self.shape)
        self.size = int(np.prod(self.shape))
        self._tiles: OrderedDict[tuple[int, int], Any] = OrderedDict()

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(self[:], dtype=dtype)

    def __getitem__(self, key: Any) -> Any:
        rows, columns, rest = window_of(key, self.shape)
        window = self._window(rows.start, rows.stop, columns.start, columns.stop)
        x = self.origin[0] + (np.arange(columns.start, columns.stop) + 0.5) * self.pixel[0]
        y = self.origin[1] + (np.arange(rows.start, rows.stop) + 0.5) * self.pixel[1]
        keep = self.mask(x, y, max(self.pixel))
        if self.colour:
            window[..., 3] = np.where(keep, window[..., 3], 0)
        else:
            window[~keep] = 0
        return window[:: rows.step, :: columns.step][(slice(None), slice(None), *rest)]

    def _window(self, top: int, bottom: int, left: int, right: int) -> Any:
        out = np.zeros((bottom - top, right - left, *self.shape[2:]), self.dtype)
        for row in range(top // TILE, -(-bottom // TILE)):
            for column in range(left // TILE, -(-right // TILE)):
                tile = self._tile(row, column)
                y0, x0 = row * TILE, column * TILE
                y1, x1 = min(bottom, y0 + TILE), min(right, x0 + TILE)
                y_first, x_first = max(top, y0), max(left, x0)
                out[y_first - top : y1 - top, x_first - left : x1 - left] = tile[
                    y_first - y0 : y1 - y0, x_first - x0 : x1 - x0
                ]
        return out

    def _tile(self, row: int, column: int) -> Any:
        key = (row, column)
        if key in self._tiles:
            self._tiles.move_to_end(key)
            return self._tiles[key]
        tile = self._resampled(row * TILE, column * TILE)
        self._tiles[key] = tile
        while len(self._tiles) > _TILES_KEPT:
            self._tiles.popitem(last=False)
        return tile

    def _resampled(self, top: int, left: int) -> Any:
        out = np.zeros((TILE, TILE, *self.shape[2:]), self.dtype)
        corners = np.array(
            [[left, top], [left + TILE, top], [left, top + TILE], [left + TILE, top + TILE]]
        )
        there = self._to_source.apply(corners.astype(float))
        low = np.maximum(np.floor(there.min(axis=0)).astype(int) - 2, 0)
        height, width = self._source.shape[:2]
        high = np.minimum(np.ceil(there.max(axis=0)).astype(int) + 2, (width, height))
        if (high <= low).any():
            return out
        part = np.asarray(self._source[low[1] : high[1], low[0] : high[0]])
        rows, columns, inside = self._sample_at(top, left, low, (width, height))
        if not self.colour:
            out[...] = self._sampled(part, rows, columns)
            out[~inside] = 0
            return out
        count = min(part.shape[2], 4)
        if self.nearest:
            out[..., :count] = self._sampled(part[..., :count], rows, columns)
        else:
            for channel in range(count):
                out[..., channel] = self._sampled(part[..., channel], rows, columns)
        if count < 4:
            out[..., 3] = _opaque(self.dtype)
        out[~inside] = 0
        return out

    def _sample_at(
        self, top: int, left: int, low: NDArray[Any], size: tuple[int, int]
    ) -> tuple[Any, Any, Any]:
        """Indices into the part that is read (pixel centres on integers), and what lies within."""
        matrix = self._to_source.matrix
        j = np.arange(left, left + TILE) + 0.5
        i = np.arange(top, top + TILE) + 0.5
        x = matrix[0, 0] * j[None, :] + matrix[0, 1] * i[:, None] + matrix[0, 2]
        y = matrix[1, 0] * j[None, :] + matrix[1, 1] * i[:, None] + matrix[1, 2]
        inside = (x >= 0) & (y >= 0) & (x < size[0]) & (y < size[1])
        return y - 0.5 - low[1], x - 0.5 - low[0], inside

    def _sampled(self, part: Any, rows: Any, columns: Any) -> Any:
        if self.nearest:
            i = np.clip(np.rint(rows), 0, part.shape[0] - 1).astype(np.intp)
            j = np.clip(np.rint(columns), 0, part.shape[1] - 1).astype(np.intp)
            return part[i, j]
        from scipy.ndimage import map_coordinates

        return map_coordinates(part, [rows, columns], order=1, mode="nearest")


def _opaque(dtype: np.dtype[Any]) -> Any:
    return np.iinfo(dtype).max if dtype.kind in "ui" else 1


def _nearest_level(
    levels: Sequence[Any], to_world: Affine, wanted: float
) -> tuple[Any, tuple[float, float]]:
    """Return the coarsest level that is not coarser than wanted, and its (x, y) shrinkage."""
    own = float(np.sqrt(abs(np.linalg.det(to_world.matrix[:2, :2]))))
    finest = levels[0].shape
    chosen, scale = levels[0], (1.0, 1.0)
    for level in levels:
        fx, fy = finest[1] / level.shape[1], finest[0] / level.shape[0]
        if own * max(fx, fy) <= wanted * 1.01:
            chosen, scale = level, (fx, fy)
    return chosen, scale


def plane_levels(
    levels: Sequence[Any], to_world: Affine, mask: Mask, nearest: bool = False
) -> tuple[list[Plane], Grid]:
    """Return an image's pyramid in the world's axes, cut by a mask.

    Parameters
    ----------
    levels, to_world, mask, nearest
        See :class:`Plane`.

    Returns
    -------
    levels
        The planes, the finest first, at the pixel size of the finest level.
    grid
        Where they lie.
    """
    height, width = levels[0].shape[:2]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=float)
    box = to_world.apply(corners)
    low, high = box.min(axis=0), box.max(axis=0)
    pixel = float(np.sqrt(abs(np.linalg.det(to_world.matrix[:2, :2]))))
    halvings = max(0, int(np.ceil(np.log2(max(high - low) / pixel / 1024))))
    # Rounded up to whole pixels of the coarsest level, so that each level is exactly half.
    columns, rows = (
        int(np.ceil((high - low)[axis] / pixel / 2**halvings)) * 2**halvings for axis in (0, 1)
    )
    grid = Grid((float(low[0]), float(low[1])), (pixel, pixel), (rows, columns))
    sources = [kept(level) for level in levels]
    planes = [Plane(sources, to_world, grid, 2**k, mask, nearest) for k in range(halvings + 1)]
    return planes, grid
