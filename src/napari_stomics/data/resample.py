"""Warp an image lazily: each output tile reads only the source pixels that it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.transforms import Affine, Transform

TILE = 1024
"""Edge of an output tile in pixels."""

MAX_ERROR_PX = 0.1
"""How far the interpolated inverse may be from the exact one, in source pixels."""

_FIRST_STEP = 32
_LAST_STEP = 4
_GROWTH_LIMIT = 25.0


@dataclass(frozen=True)
class Grid:
    """The pixels of an output image.

    Attributes
    ----------
    origin
        (x, y) um of the corner of the first pixel.
    pixel
        (x, y) um per pixel.
    shape
        (rows, columns).
    """

    origin: tuple[float, float]
    pixel: tuple[float, float]
    shape: tuple[int, int]

    def to_um(self) -> Affine:
        """Map from pixel positions (x, y), centres at half-integers, to micrometres."""
        matrix = np.diag([*self.pixel, 1.0])
        matrix[:2, 2] = self.origin
        return Affine(matrix)

    def level(self, rows: int, columns: int) -> Grid:
        """The same extent with other numbers of pixels."""
        height, width = self.shape
        pixel = (self.pixel[0] * width / columns, self.pixel[1] * height / rows)
        return Grid(self.origin, pixel, (rows, columns))


def output_grid(shape: tuple[int, int], to_um: Affine, transform: Transform) -> Grid:
    """Return the grid that holds a warped image at about its own resolution.

    Parameters
    ----------
    shape
        (rows, columns) of the source image.
    to_um
        Map from source pixels to source micrometres.
    transform
        Map from source to target micrometres.

    Raises
    ------
    UserError
        If the map spreads the image over a far larger area than its own.
    """
    rows, columns = shape
    x, y = np.linspace(0, columns, 129), np.linspace(0, rows, 129)
    inside = to_um.apply(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
    mapped = transform.apply(inside)
    mapped = mapped[np.isfinite(mapped).all(axis=1)]
    scales = np.sqrt(np.abs(transform.jacobian_determinant(inside[::17])))
    scales = scales[np.isfinite(scales)]
    scale = float(np.median(scales)) if len(scales) else 0.0
    own = float(np.sqrt(abs(np.linalg.det(to_um.matrix[:2, :2]))))
    if not len(mapped) or not scale * own > 0:
        raise UserError(
            "The registration cannot be applied to the image: it has no valid positions there.",
            "Check the registration's landmarks, or use a stiffer model.",
        )
    pixel = own * scale
    low: NDArray[Any] = np.floor(mapped.min(axis=0) / pixel) * pixel
    size = np.maximum(np.ceil((mapped.max(axis=0) - low) / pixel), 1)
    if float(size.prod()) > _GROWTH_LIMIT * rows * columns + TILE**2:
        raise UserError(
            f"The warped image would have {size[0]:.0f} x {size[1]:.0f} pixels, far more than the "
            f"{columns} x {rows} of the original.",
            "The registration stretches it wildly: check the landmarks, or use a stiffer model.",
        )
    return Grid((float(low[0]), float(low[1])), (pixel, pixel), (int(size[1]), int(size[0])))


def warp_array(
    source: Any,
    to_um: Affine,
    transform: Transform,
    grid: Grid,
    *,
    order: int = 1,
    fill: float = 0,
) -> Any:
    """Warp an image onto a grid, as a dask array that is computed tile by tile.

    Parameters
    ----------
    source
        Dask array (y, x) or (y, x, channel).
    to_um
        Map from source pixels to source micrometres.
    transform
        Map from source to target micrometres.
    grid
        The output pixels in target micrometres.
    order
        0 nearest pixel (labels), 1 linear.
    fill
        Value where the source has no pixels.

    Returns
    -------
    dask array
        (y, x) or (y, x, channel), of the source's dtype.
    """
    import dask.array as da

    tiles = tuple(
        tuple(min(TILE, size - low) for low in range(0, size, TILE)) for size in grid.shape
    )
    chunks = (*tiles, *((size,) for size in source.shape[2:]))
    puller = _Puller(source, to_um, transform, grid, order, fill)
    meta = np.empty((0,) * source.ndim, dtype=source.dtype)
    return da.map_blocks(puller, chunks=chunks, dtype=source.dtype, meta=meta)


class _Puller:
    """Makes one output tile; keeps the source out of dask's sight, so that it is not read whole."""

    def __init__(
        self,
        source: Any,
        to_um: Affine,
        transform: Transform,
        grid: Grid,
        order: int,
        fill: float,
    ) -> None:
        self.source = source
        self.to_pixels = to_um.inverse()
        self.transform = transform
        self.grid = grid
        self.order = order
        self.fill = fill

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        matrix = self.to_pixels.matrix.tolist()
        what = (self.grid, self.order, self.fill, self.transform.to_dict(), matrix)
        return (type(self).__name__, self.source.name, repr(what))

    def __call__(self, block_info: Any = None) -> NDArray[Any]:
        (top, bottom), (left, right) = block_info[None]["array-location"][:2]
        rows, columns = self.source.shape[:2]
        # Array indices: pixel centres lie at half-integers.
        at = self.positions(top, bottom, left, right) - 0.5
        x, y = at[..., 0], at[..., 1]
        with np.errstate(invalid="ignore"):
            inside = (x >= -0.5) & (x <= columns - 0.5) & (y >= -0.5) & (y <= rows - 0.5)
        out = np.full((*inside.shape, *self.source.shape[2:]), self.fill, dtype=self.source.dtype)
        if not inside.any():
            return out
        y_low, y_high = _span(y[inside], rows)
        x_low, x_high = _span(x[inside], columns)
        piece = self.source[y_low:y_high, x_low:x_high].compute(scheduler="synchronous")
        where = np.stack([y[inside] - y_low, x[inside] - x_low])
        out[inside] = self._sample(np.asarray(piece), where)
        return out

    def _sample(self, piece: NDArray[Any], where: NDArray[Any]) -> NDArray[Any]:
        from scipy.ndimage import map_coordinates

        if self.order == 0:
            limits = np.array(piece.shape[:2])[:, None] - 1
            row, column = np.clip(np.rint(where).astype(np.intp), 0, limits)
            return np.asarray(piece[row, column])
        if piece.ndim == 2:
            return np.asarray(map_coordinates(piece, where, order=1, mode="nearest"))
        planes = [
            map_coordinates(piece[..., c], where, order=1, mode="nearest")
            for c in range(piece.shape[2])
        ]
        return np.stack(planes, axis=-1)

    def positions(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.float64]:
        """(rows, columns, 2) source pixel positions (x, y) of a tile's pixel centres.

        The map is inverted on a lattice and interpolated between its nodes. The
        lattice is refined until the error in the middle of its cells, where it
        is largest, is below half of :data:`MAX_ERROR_PX`.
        """
        y, x = np.arange(top, bottom) + 0.5, np.arange(left, right) + 0.5
        step = _FIRST_STEP
        while True:
            y_nodes, x_nodes = _nodes(y, step), _nodes(x, step)
            nodes = self._exact(y_nodes, x_nodes)
            y_mid, x_mid = (y_nodes[1:] + y_nodes[:-1]) / 2, (x_nodes[1:] + x_nodes[:-1]) / 2
            gap = self._exact(y_mid, x_mid) - _between(nodes, y_nodes, x_nodes, y_mid, x_mid)
            worst = float(np.nanmax(np.hypot(gap[..., 0], gap[..., 1]), initial=0.0))
            whole = bool(np.isfinite(gap).all())
            if (worst < MAX_ERROR_PX / 2 and whole) or step <= 1:
                break
            if worst < MAX_ERROR_PX / 2 and step <= _LAST_STEP:
                break  # what remains is the edge of where the map can be inverted
            step //= 2
        return _between(nodes, y_nodes, x_nodes, y, x)

    def _exact(self, y: NDArray[Any], x: NDArray[Any]) -> NDArray[np.float64]:
        grid = np.stack(np.meshgrid(x, y), axis=-1)
        target = self.grid.to_um().apply(grid.reshape(-1, 2))
        source: Any = self.to_pixels.apply(self.transform.inverse().apply(target))
        return np.asarray(source).reshape(grid.shape)


def _nodes(centres: NDArray[Any], step: int) -> NDArray[np.float64]:
    count = max(int(np.ceil((len(centres) - 1) / step)), 1) + 1
    return np.linspace(centres[0], max(centres[-1], centres[0] + 1e-6), count)


def _between(
    nodes: Any,
    y_nodes: NDArray[Any],
    x_nodes: NDArray[Any],
    y: NDArray[Any],
    x: NDArray[Any],
) -> NDArray[np.float64]:
    """Interpolate values on a lattice linearly, first along x, then along y."""
    for axis, (at, known) in ((1, (x, x_nodes)), (0, (y, y_nodes))):
        position = (at - known[0]) / (known[1] - known[0])
        low = np.clip(position.astype(np.intp), 0, len(known) - 2)
        share = np.expand_dims(position - low, (2, 1 - axis)).astype(np.float64)
        nodes = np.take(nodes, low, axis) * (1 - share) + np.take(nodes, low + 1, axis) * share
    return np.asarray(nodes, dtype=np.float64)


def _span(values: NDArray[Any], size: int) -> tuple[int, int]:
    low = max(int(np.floor(values.min())) - 1, 0)
    return low, min(int(np.ceil(values.max())) + 2, size)
