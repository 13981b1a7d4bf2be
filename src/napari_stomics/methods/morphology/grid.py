"""An H&E image at the resolution at which its features are read, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import SectionImage
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import Affine

Floats = NDArray[np.floating[Any]]

_BAND = 256
"""Rows of working pixels that are read at a time."""


@dataclass(frozen=True)
class Tile:
    """A rectangle of working pixels: rows and columns, the last ones excluded."""

    rows: tuple[int, int]
    columns: tuple[int, int]


@dataclass(frozen=True)
class WorkingImage:
    """One level of an image, thinned by a whole factor; nothing is read before it is asked for.

    Attributes
    ----------
    level
        (y, x, channel) array, numpy or dask.
    factor
        Pixels of the level per working pixel and axis.
    shape
        Rows and columns of working pixels.
    pixel_size
        Micrometres per working pixel.
    to_um
        Carries (x, y) of working pixels, centres at half-integers, to micrometres.
    """

    level: Any
    factor: int
    shape: tuple[int, int]
    pixel_size: float
    to_um: Affine

    def read(self, tile: Tile, margin: int, ctx: JobContext) -> Floats:
        """Pixels of a tile and a margin round it, the border of the image repeated beyond it.

        Returns
        -------
        (y, x, 3) float32.
        """
        (top, bottom), (left, right) = tile.rows, tile.columns
        first = max(top - margin, 0), max(left - margin, 0)
        last = min(bottom + margin, self.shape[0]), min(right + margin, self.shape[1])
        f = self.factor
        parts = []
        for start in range(first[0], last[0], _BAND):
            ctx.step()
            end = min(start + _BAND, last[0])
            part = self.level[start * f : end * f, first[1] * f : last[1] * f, :3]
            if hasattr(part, "compute"):
                part = part.compute(scheduler="synchronous")
            parts.append(_block_mean(np.asarray(part), f))
        pixels = np.nan_to_num(np.concatenate(parts))
        missing = (
            (first[0] - (top - margin), bottom + margin - last[0]),
            (first[1] - (left - margin), right + margin - last[1]),
            (0, 0),
        )
        return np.pad(pixels, missing, mode="edge")

    def tiles(self, side: int) -> Iterator[Tile]:
        """Tiles of at most ``side`` working pixels, row by row."""
        for top in range(0, self.shape[0], side):
            for left in range(0, self.shape[1], side):
                yield Tile(
                    (top, min(top + side, self.shape[0])), (left, min(left + side, self.shape[1]))
                )


def working_image(image: SectionImage, pixel_size: float) -> WorkingImage:
    """Choose the level and the factor that come nearest to a pixel size from below.

    Parameters
    ----------
    image
        H&E with the channels red, green, blue first.
    pixel_size
        Micrometres per working pixel that are wanted; an image that is coarser is taken as
        it is.

    Raises
    ------
    UserError
        If the image has no three colours.
    """
    shape = image.levels[0].shape
    if len(shape) != 3 or shape[2] < 3:
        raise UserError(
            f"The image of section {image.section!r} has {shape[2] if len(shape) == 3 else 1} "
            "channel(s), not the three colours of a stained section.",
            "Choose the H&E image of the section.",
        )
    finest = float(np.sqrt(abs(np.linalg.det(image.to_um.matrix[:2, :2]))))
    if not np.isfinite(finest) or finest <= 0:
        raise UserError(
            f"The pixel size of section {image.section!r} is not known.",
            "Set the pixel size of its image in micrometres.",
        )
    chosen, zoom = image.levels[0], (1.0, 1.0)
    for level in image.levels[1:]:
        found = _ratio(shape[1], level.shape[1]), _ratio(shape[0], level.shape[0])
        if finest * max(found) > pixel_size * 1.001:
            break
        chosen, zoom = level, found
    size = finest * float(np.sqrt(zoom[0] * zoom[1]))
    factor = max(int(pixel_size / size + 1e-6), 1)
    factor = max(min(factor, chosen.shape[0] // 8, chosen.shape[1] // 8), 1)
    scale = Affine(np.diag([zoom[0] * factor, zoom[1] * factor, 1.0]))
    return WorkingImage(
        chosen,
        factor,
        (chosen.shape[0] // factor, chosen.shape[1] // factor),
        size * factor,
        scale.then(image.to_um),
    )


def _ratio(full: int, part: int) -> float:
    """Levels are made by whole factors, of which the last row and column may be cut off."""
    whole = round(full / part)
    return float(whole) if abs(part * whole - full) < whole else full / part


def _block_mean(pixels: NDArray[Any], factor: int) -> Floats:
    if factor == 1:
        return pixels.astype(np.float32)
    rows, columns = pixels.shape[0] // factor, pixels.shape[1] // factor
    blocks = pixels[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, -1)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))
