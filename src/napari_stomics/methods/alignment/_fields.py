"""Features of one section as a smooth field that can be read anywhere, with its slope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.methods.alignment._correlation import splat

Floats = NDArray[np.floating[Any]]

_LARGEST = 360  # cells along a side


@dataclass(frozen=True)
class Field:
    """Local means of features over a Gaussian, on a grid.

    Attributes
    ----------
    planes
        (y, x, c + 1) the means of c features, and last how much of the Gaussian
        was filled by spots: 1 inside tissue, about .5 at a straight rim, 0 outside.
    low
        (x, y) of the first cell's centre.
    spacing
        Distance between cells.
    """

    planes: NDArray[np.float32]
    low: Floats
    spacing: float

    @classmethod
    def of(cls, points: Floats, features: Floats, sigma: float, pitch: float) -> Field:
        """Smooth (n, c) features of (n, 2) points over ``sigma``, in the unit of the points."""
        extent = float(np.ptp(points, axis=0).max())
        spacing = max(min(sigma / 1.5, pitch), extent / _LARGEST)
        # Spots that lie apart must not leave holes between them.
        blur = max(sigma, 0.6 * pitch) / spacing
        margin = 3 * blur * spacing + 2 * spacing
        low = points.min(axis=0) - margin
        width, height = (np.ceil((np.ptp(points, axis=0) + 2 * margin) / spacing) + 2).astype(int)
        weight, sums = splat(points, features, low, spacing, (int(height), int(width)), blur)
        at = np.round((points - low) / spacing).astype(int)
        usual = float(np.quantile(weight[at[:, 1], at[:, 0]], 0.75))
        planes = np.concatenate(
            [sums / np.maximum(weight, 1e-3 * usual), np.minimum(weight / usual, 1.0)[None]]
        )
        return cls(np.ascontiguousarray(planes.transpose(1, 2, 0), np.float32), low, spacing)

    def read(self, points: Floats) -> tuple[Floats, Floats]:
        """(n, c) means and (n,) filling at any places; 0 beyond the grid."""
        value, _ = self._interpolate(points, slopes=False)
        return value[:, :-1], value[:, -1]

    def read_slopes(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        """Means (n, c), filling (n,) and the slopes (n, c, 2) of the means along x and y."""
        value, slope = self._interpolate(points, slopes=True)
        return value[:, :-1], value[:, -1], slope[:, :-1]

    def _interpolate(self, points: Floats, slopes: bool) -> tuple[Floats, Floats]:
        height, width, count = self.planes.shape
        place = np.asarray((points - self.low) / self.spacing)
        within = (place >= 0) & (place <= [width - 1.001, height - 1.001])
        inside = np.asarray(within.all(axis=1))
        cell = np.clip(place.astype(np.int64), 0, [width - 2, height - 2])
        part = np.asarray(np.clip(place - cell, 0.0, 1.0))
        flat = self.planes.reshape(-1, count)
        at = cell[:, 1] * width + cell[:, 0]
        x, y = part[:, :1], part[:, 1:]
        p00, p01, p10, p11 = flat[at], flat[at + 1], flat[at + width], flat[at + width + 1]
        value = (p00 * (1 - x) + p01 * x) * (1 - y) + (p10 * (1 - x) + p11 * x) * y
        value = value * inside[:, None]
        if not slopes:
            return value, np.zeros((0, 0, 2))
        along_x = (p01 - p00) * (1 - y) + (p11 - p10) * y
        along_y = (p10 - p00) * (1 - x) + (p11 - p01) * x
        slope = np.stack([along_x, along_y], axis=-1) / self.spacing
        return value, slope * inside[:, None, None]
