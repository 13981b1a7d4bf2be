"""Coarse rasters of section images, read from the level that suffices.

A raster lies in the section's own frame, axis-aligned in micrometres, whatever
the pixel frame of the image was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import SectionImage
from napari_stomics.core.jobs import JobContext

Array = NDArray[np.float32]
Matrix = NDArray[Any]

NUCLEAR_NAMES = ("dapi", "hoechst", "nuclei", "nuclear", "dna", "haematoxylin", "hematoxylin")
"""Channel names that show nuclei, the one thing that all stains share."""

MAX_PIXELS = 25_000_000
"""A level larger than this is read thinned, in bands, rather than whole."""


@dataclass(frozen=True)
class Raster:
    """Tissue features of one section on a regular grid of micrometres.

    Attributes
    ----------
    features
        (channel, y, x) float32: tissue (0 to 1) and density (about 0 to 1);
        both are 0 on bare glass.
    valid
        (y, x) float32, 1 where the image covers the grid and 0 outside it.
    origin
        (x, y) of the grid's corner, in micrometres.
    spacing
        Micrometres per grid cell.
    """

    features: Array
    valid: Array
    origin: tuple[float, float]
    spacing: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.valid.shape[0]), int(self.valid.shape[1])

    @property
    def to_um(self) -> NDArray[np.float64]:
        """(3, 3) map of (column, row) indices, centres at integers, to (x, y) um."""
        s, (x, y) = self.spacing, self.origin
        return np.array([[s, 0.0, x + s / 2], [0.0, s, y + s / 2], [0.0, 0.0, 1.0]])


def extent_um(image: SectionImage) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest (x, y) in micrometres that the image covers."""
    height, width = image.levels[0].shape[:2]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=float)
    points = image.to_um.apply(corners)
    return points.min(axis=0), points.max(axis=0)


def check_image(image: SectionImage) -> None:
    """Refuse what cannot be registered: no pixels, no area, no finite frame."""
    shape = image.levels[0].shape if image.levels else ()
    if len(shape) not in (2, 3) or min(shape[:2]) < 16:
        raise UserError(
            f"The image of section {image.section!r} has the shape {tuple(shape)}: "
            "too small to be registered.",
            "Choose an image of at least 16 x 16 pixels, or place landmarks by hand.",
        )
    if abs(np.linalg.det(image.to_um.matrix[:2, :2])) < 1e-12:
        raise UserError(
            f"The pixel size of section {image.section!r} is zero.",
            "Set the pixel size of its image in micrometres.",
        )


def _pick_level(image: SectionImage, spacing: float) -> tuple[Any, Matrix]:
    """Coarsest level whose pixels are no larger than ``spacing``, and its (3, 3) map to um."""
    full_h, full_w = image.levels[0].shape[:2]
    base = image.to_um.matrix
    pixel = float(np.sqrt(abs(np.linalg.det(base[:2, :2]))))
    chosen, scale = image.levels[0], (1.0, 1.0)
    for level in image.levels[1:]:
        sx, sy = full_w / level.shape[1], full_h / level.shape[0]
        if pixel * max(sx, sy) > spacing * 1.001:
            break
        chosen, scale = level, (sx, sy)
    return chosen, base @ np.diag([scale[0], scale[1], 1.0])


def _read(level: Any, window: tuple[slice, slice], thin: int, ctx: JobContext) -> Array:
    """Read a window of a level, every ``thin``-th pixel, in bands that can be cancelled."""
    rows, columns = window
    chunks = getattr(level, "chunks", None)
    band = max(int(max(chunks[0])), 256) if chunks else 2048
    band = max(band // thin, 1) * thin
    parts = []
    for start in range(rows.start, rows.stop, band):
        ctx.step(None, "Reading the image")
        part = level[
            start : min(start + band, rows.stop) : thin, columns.start : columns.stop : thin
        ]
        if hasattr(part, "compute"):
            part = part.compute(scheduler="synchronous")
        parts.append(np.asarray(part, dtype=np.float32))
    pixels = np.concatenate(parts)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _block_mean(pixels: Array, factor: int) -> Array:
    """Mean over ``factor`` x ``factor`` blocks; an incomplete last block is dropped."""
    if factor <= 1:
        return pixels
    h, w = pixels.shape[0] // factor, pixels.shape[1] // factor
    view = pixels[: h * factor, : w * factor]
    return view.reshape(h, factor, w, factor, -1).mean(axis=(1, 3))


def read_pixels(
    image: SectionImage,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    spacing: float,
    channels: tuple[int, ...],
    ctx: JobContext,
) -> tuple[Array, Array]:
    """Sample the image on the grid of ``spacing`` um that spans ``low`` to ``high``.

    Returns
    -------
    pixels
        (y, x, channel) float32.
    valid
        (y, x) float32, 1 where the image covers the grid.
    """
    from scipy import ndimage

    level, matrix = _pick_level(image, spacing)
    box = np.array([[low[0], low[1]], [high[0], low[1]], [low[0], high[1]], [high[0], high[1]]])
    inverse = np.linalg.inv(matrix)
    corners = box @ inverse[:2, :2].T + inverse[:2, 2]
    first = np.clip(np.floor(corners.min(axis=0)).astype(int) - 2, 0, None)
    last = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 2, level.shape[1::-1])
    pixel = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    factor = max(int(spacing / pixel + 1e-6), 1)
    thin = 1
    while np.prod((last - first) / thin) > MAX_PIXELS and thin < factor:
        thin += 1
    window = (slice(int(first[1]), int(last[1])), slice(int(first[0]), int(last[0])))
    data = _read(level, window, thin, ctx)[..., list(channels)]
    data = np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0)
    factor = max(factor // thin, 1)
    data = _block_mean(data, factor)
    step = factor * thin
    shape = np.maximum(np.round((high - low) / spacing).astype(int), 1)[::-1]
    # Grid index (row, column) -> um -> pixel of the level -> index in ``data``.
    grid = np.array(
        [[spacing, 0, low[0] + spacing / 2], [0, spacing, low[1] + spacing / 2], [0, 0, 1]]
    )
    shift = np.array(
        [[1 / step, 0, -first[0] / step - 0.5], [0, 1 / step, -first[1] / step - 0.5], [0, 0, 1]]
    )
    full = shift @ inverse @ grid
    swap = full[:2, :2][::-1, ::-1]
    offset = full[:2, 2][::-1]
    ctx.step(None, "Reading the image")
    out = np.stack(
        [
            ndimage.affine_transform(
                data[..., c], swap, offset, output_shape=tuple(shape), order=1, mode="nearest"
            )
            for c in range(data.shape[2])
        ],
        axis=-1,
    )
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    y = swap[0, 0] * rows + swap[0, 1] * columns + offset[0]
    x = swap[1, 0] * rows + swap[1, 1] * columns + offset[1]
    inside = (y >= -0.5) & (y <= data.shape[0] - 0.5) & (x >= -0.5) & (x <= data.shape[1] - 0.5)
    return out.astype(np.float32), inside.astype(np.float32)


def choose_channels(image: SectionImage) -> tuple[int, ...]:
    """Channels to read: the nuclear ones where they are named, else all."""
    shape = image.levels[0].shape
    count = shape[2] if len(shape) == 3 else 1
    names = [str(name).lower() for name in image.channels[:count]]
    nuclear = tuple(i for i, n in enumerate(names) if any(key in n for key in NUCLEAR_NAMES))
    if nuclear:
        return nuclear
    if count == 4 and set(names[:3]) <= {"r", "g", "b", "red", "green", "blue"}:
        return (0, 1, 2)
    return tuple(range(count))
