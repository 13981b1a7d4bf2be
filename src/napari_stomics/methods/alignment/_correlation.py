"""Correlation of two rasters of spot features under every shift at once.

Positions without spots are unknown, not empty: a section may be cropped. So only
places where both rasters have spots count, each overlap is centred on its own
mean (Padfield 2012, IEEE Trans. Image Process. 21:2706), and a correlation is
worth what the overlap that bears it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

_LEAST_SHARE = 0.15  # overlap of the smaller section below which a pose is not considered
_LEAST_CELLS = 9


@dataclass(frozen=True)
class FeatureRaster:
    """Smoothed features of one section on a regular grid.

    Attributes
    ----------
    values
        (c, y, x) float32, 0 where there is no spot.
    mask
        (y, x) float32, 1 where there are spots.
    origin
        (x, y) of the centre of the first cell.
    spacing
        Distance between cells.
    """

    values: NDArray[np.float32]
    mask: NDArray[np.float32]
    origin: NDArray[np.float64]
    spacing: float

    @property
    def cells(self) -> float:
        """Number of cells with spots."""
        return float(self.mask.sum())


def rasterise(points: Floats, features: Floats, spacing: float, blur: float) -> FeatureRaster:
    """Average (n, c) features of (n, 2) points over cells, blurred by ``blur`` cells."""
    low = points.min(axis=0) - 2 * spacing
    width, height = (np.ceil(np.ptp(points, axis=0) / spacing).astype(int) + 5).tolist()
    weight, sums = splat(points, features, low, spacing, (height, width), blur)
    usual = float(np.quantile(weight[weight > 1e-6], 0.6)) if (weight > 1e-6).any() else 1.0
    mask = weight > 0.3 * usual
    values = np.where(mask, sums / np.maximum(weight, 1e-12), 0.0)
    return FeatureRaster(
        values.astype(np.float32), mask.astype(np.float32), np.asarray(low, np.float64), spacing
    )


def splat(
    points: Floats,
    features: Floats,
    low: Floats,
    spacing: float,
    shape: tuple[int, int],
    blur: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Blurred count (y, x) and sums (c, y, x) of features, shared between the four nearest cells.

    ``low`` is the (x, y) of the first cell's centre; all points must lie within the grid.
    """
    from scipy import ndimage

    height, width = shape
    place = (points - low) / spacing
    cell = np.clip(np.floor(place).astype(np.int64), 0, [width - 2, height - 2])
    part = np.clip(place - cell, 0.0, 1.0)
    count = features.shape[1]
    sums = np.zeros((count + 1, height * width))
    for dy in (0, 1):
        for dx in (0, 1):
            at = (cell[:, 1] + dy) * width + cell[:, 0] + dx
            share = np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1])
            sums[count] += np.bincount(at, share, height * width)
            for c in range(count):
                sums[c] += np.bincount(at, share * features[:, c], height * width)
    planes = sums.reshape(count + 1, height, width)
    planes = ndimage.gaussian_filter(planes, (0, blur, blur), mode="constant", truncate=3.0)
    return planes[count], planes[:count]


class Turner:
    """Turns a raster about a centre into a square grid that holds it at every angle.

    Parameters
    ----------
    raster
        What is turned.
    centre
        (x, y) that comes to lie in the middle of the square.
    scale
        Largest scale that is asked for.
    """

    def __init__(self, raster: FeatureRaster, centre: Floats, scale: float = 1.0) -> None:
        self.raster, self.centre = raster, np.asarray(centre, np.float64)
        rows, columns = np.nonzero(raster.mask)
        at = raster.origin + raster.spacing * np.stack([columns, rows], axis=1)
        reach = float(np.linalg.norm(at - self.centre, axis=1).max()) * scale / raster.spacing
        self.side = 2 * int(np.ceil(reach)) + 3
        half = (self.side - 1) / 2
        grid = np.arange(self.side) - half
        self._grid = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
        planes = np.concatenate([raster.values, raster.mask[None]])
        self._planes = np.ascontiguousarray(planes.reshape(len(planes), -1).T)

    def turn(self, matrix: Floats) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(c, s, s) values and (s, s) mask after the (2, 2) map ``matrix`` about the centre."""
        height, width = self.raster.mask.shape
        back = self._grid @ np.linalg.inv(matrix).T
        place = back + (self.centre - self.raster.origin) / self.raster.spacing
        inside = (place >= 0) & (place <= [width - 1.001, height - 1.001])
        held = np.flatnonzero(inside.all(axis=1))
        place = place[held]
        cell = place.astype(np.int64)
        part = (place - cell).astype(np.float32)
        first = cell[:, 1] * width + cell[:, 0]
        out = np.zeros((len(self._grid), self._planes.shape[1]), np.float32)
        x, y = part[:, :1], part[:, 1:]
        top = self._planes[first] * (1 - x) + self._planes[first + 1] * x
        below = self._planes[first + width] * (1 - x) + self._planes[first + width + 1] * x
        out[held] = top * (1 - y) + below * y
        mask = out[:, -1]
        keep = mask > 0.5
        # Values at the rim are diluted with the nothing outside.
        values = np.where(keep[:, None], out[:, :-1] / np.maximum(mask, 0.5)[:, None], 0.0)
        shape = (self.side, self.side)
        return values.T.reshape(-1, *shape), keep.astype(np.float32).reshape(shape)


class ShiftScores:
    """Scores of every shift of a moving raster over a fixed one.

    Parameters
    ----------
    fixed
        The fixed raster.
    side
        Cells along each side of the moving rasters.
    """

    def __init__(self, fixed: FeatureRaster, side: int) -> None:
        from scipy import fft

        self._fft = fft
        self.fixed, self.side = fixed, side
        self.full = tuple(n + side - 1 for n in fixed.mask.shape)
        self._size = tuple(fft.next_fast_len(n, real=True) for n in self.full)
        self._fixed = self._transform(fixed.values, fixed.mask)

    def _transform(self, values: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
        energy = (values**2).sum(axis=0)
        stack = np.concatenate([mask[None], energy[None], values]).astype(np.float32)
        return np.asarray(self._fft.rfft2(stack, self._size))

    def __call__(self, values: NDArray[Any], mask: NDArray[Any]) -> tuple[Floats, Floats]:
        """Score and share of the smaller section that is covered, for every shift.

        Entry (i, j) puts the moving grid's first cell at row ``i - side + 1``,
        column ``j - side + 1`` of the fixed grid. With no features the score is
        the intersection of the outlines over their union.
        """
        f, m = self._fixed, np.conj(self._transform(values, mask))
        count = len(values)
        products = [f[:1] * m[:1]]
        if count:
            cross = np.einsum("cyx,cyx->yx", f[2:], m[2:])[None]
            products += [f[1:2] * m[:1], f[:1] * m[1:2], cross, f[2:] * m[:1], m[2:] * f[:1]]
        maps = self._fft.irfft2(np.concatenate(products), self._size)
        shift = self.side - 1
        maps = np.roll(maps, (shift, shift), axis=(1, 2))[:, : self.full[0], : self.full[1]]
        n = np.round(maps[0])
        cells = (self.fixed.cells, float(mask.sum()))
        share = np.minimum(n / max(min(cells), 1.0), 1.0)
        if not count:
            return n / np.maximum(cells[0] + cells[1] - n, 1.0), share
        score = self._correlation(maps, np.maximum(n, 1.0), count)
        score = information(score, share)
        few = (share < _LEAST_SHARE) | (n < _LEAST_CELLS)
        return np.where(few, -1.0, score), share

    @staticmethod
    def _correlation(maps: Floats, n: Floats, count: int) -> Floats:
        fixed, moving = maps[4 : 4 + count], maps[4 + count : 4 + 2 * count]
        cross = maps[3] - (fixed * moving).sum(axis=0) / n
        power_fixed = np.maximum(maps[1] - (fixed**2).sum(axis=0) / n, 0.0)
        power_moving = np.maximum(maps[2] - (moving**2).sum(axis=0) / n, 0.0)
        # An overlap in which nothing varies bears no correlation.
        floor_fixed = 0.1 * n * float((power_fixed / n).max())
        floor_moving = 0.1 * n * float((power_moving / n).max())
        power = np.maximum(power_fixed, floor_fixed) * np.maximum(power_moving, floor_moving)
        return np.asarray(cross / np.sqrt(np.maximum(power, 1e-20)))


def information(correlation: Any, share: Any) -> Any:
    """Correlation that over the whole section would tell as much as this one over a share.

    Gaussian variables of correlation r tell ``-log(1 - r^2) / 2`` of each other
    per place, so a correlation over less tissue counts for less. Negative
    correlations tell nothing for a match.
    """
    squared = np.clip(correlation, 0.0, 0.9999) ** 2
    return np.sqrt(1 - (1 - squared) ** np.clip(share, 0.0, 1.0))
