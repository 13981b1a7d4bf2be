"""Images that follow a bending map, resampled window by window as they are looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.transforms import Affine, Transform
from napari_stomics.layers.raster import window_of
from napari_stomics.layers.tags import own, set_tag, tag

if TYPE_CHECKING:
    from napari.layers import Layer

_CELLS = 64
"""Cells of the lattice along the longer side: a smooth map is nearly linear within one."""
_ROWS = 512
_IMAGES = ("image", "labels")


class Bend:
    """From where in an image the pixels come that are drawn in the frame of its linear part.

    The image keeps its place and its shape; what the map does beyond its linear
    part is a field of shifts on a lattice, found by inverting the map once.

    Parameters
    ----------
    transform
        Carries the section's micrometres to the target's.
    to_um
        Carries (x, y) pixels of the finest level to the section's micrometres.
    size
        (width, height) of the finest level in pixels.
    """

    def __init__(self, transform: Transform, to_um: Affine, size: tuple[int, int]) -> None:
        cells = np.maximum(1, np.round(_CELLS * np.array(size) / max(size))).astype(int)
        self.step = np.array(size) / cells
        x, y = (np.arange(n + 1) * s for n, s in zip(cells, self.step, strict=True))
        at = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        drawn = transform.linear_part().apply(to_um.apply(at))
        source = to_um.inverse().apply(transform.inverse().apply(drawn))
        self.shift = (source - at).reshape(len(y), len(x), 2)

    def sources(self, x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Pixels of the finest level that are drawn at the crossings of columns x and rows y."""
        from scipy.ndimage import map_coordinates

        rows, columns = np.meshgrid(y / self.step[1], x / self.step[0], indexing="ij")
        moved = [
            map_coordinates(self.shift[..., axis], [rows, columns], order=1, mode="nearest")
            for axis in (0, 1)
        ]
        return x[None, :] + moved[0], y[:, None] + moved[1]


class BentLevel:
    """One level of an image through a bend; lazy, of the same shape and type.

    Parameters
    ----------
    level
        Array (y, x) or (y, x, channel).
    bend
        The bend.
    factor
        (x, y) pixels of the finest level per pixel of this one.
    nearest
        Do not interpolate: the image holds labels.
    """

    def __init__(self, level: Any, bend: Bend, factor: tuple[float, float], nearest: bool) -> None:
        self.level = level
        self._bend = bend
        self._factor = factor
        self._nearest = nearest
        self.shape = tuple(int(n) for n in level.shape)
        self.dtype = np.dtype(level.dtype)
        self.ndim = len(self.shape)
        self.size = int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(self[:], dtype=dtype)

    def __getitem__(self, key: Any) -> Any:
        rows, columns, rest = window_of(key, self.shape)
        blocks = [
            self._window(top, min(top + _ROWS, rows.stop), columns.start, columns.stop)
            for top in range(rows.start, rows.stop, _ROWS)
        ]
        width = max(columns.stop - columns.start, 0)
        empty = np.zeros((0, width, *self.shape[2:]), self.dtype)
        window = np.concatenate(blocks) if blocks else empty
        return window[:: rows.step, :: columns.step][(slice(None), slice(None), *rest)]

    def _window(self, top: int, bottom: int, left: int, right: int) -> Any:
        fx, fy = self._factor
        x, y = self._bend.sources(
            (np.arange(left, right) + 0.5) * fx, (np.arange(top, bottom) + 0.5) * fy
        )
        x, y = x / fx, y / fy
        height, width = self.shape[:2]
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        out = np.zeros((bottom - top, right - left, *self.shape[2:]), self.dtype)
        if not inside.any():
            return out
        low = np.maximum(np.floor([x[inside].min(), y[inside].min()]).astype(int) - 1, 0)
        high = np.ceil([x[inside].max(), y[inside].max()]).astype(int) + 2
        part = np.asarray(self.level[low[1] : high[1], low[0] : high[0]])
        at = [
            np.where(inside, y - 0.5 - low[1], 0.0),
            np.where(inside, x - 0.5 - low[0], 0.0),
        ]
        planes = part if part.ndim == 3 else part[..., None]
        for channel in range(planes.shape[2]):
            target = out[..., channel] if out.ndim == 3 else out
            target[...] = np.where(inside, self._sampled(planes[..., channel], at), 0)
        return out

    def _sampled(self, plane: Any, at: list[NDArray[Any]]) -> Any:
        from scipy.ndimage import map_coordinates

        return map_coordinates(plane, at, order=0 if self._nearest else 1, mode="nearest")


def bend(layer: Layer, transform: Transform) -> bool:
    """Draw an image layer through a map that is not linear; say whether it is an image.

    The layer's place, shape and style stay; see :class:`Bend`.
    """
    if tag(layer).get("role") not in _IMAGES:
        return False
    levels = straight_levels(layer)
    height, width = levels[0].shape[:2]
    field = Bend(transform, own(layer), (width, height))
    nearest = tag(layer)["role"] == "labels"
    bent = [
        BentLevel(level, field, (width / level.shape[1], height / level.shape[0]), nearest)
        for level in levels
    ]
    set_tag(layer, straight=levels)
    layer.data = bent if len(bent) > 1 else bent[0]
    return True


def straighten(layer: Layer) -> None:
    """Draw an image layer as it was before :func:`bend`."""
    if tag(layer).get("role") in _IMAGES and tag(layer).get("straight") is not None:
        levels = tag(layer)["straight"]
        set_tag(layer, straight=None)
        layer.data = levels if len(levels) > 1 else levels[0]


def straight_levels(layer: Layer) -> list[Any]:
    """Levels of an image layer as they are in the study, the finest first."""
    kept = tag(layer).get("straight")
    if kept is not None:
        return list(kept)
    return list(layer.data) if layer.multiscale else [layer.data]
