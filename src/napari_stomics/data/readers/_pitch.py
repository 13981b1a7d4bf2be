"""The scale of an array of spots: how many micrometres a pixel is, from the spots themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

VISIUM_PITCH_UM = 100.0
VISIUM_SPOT_UM = 55.0
_ROW_UM = VISIUM_PITCH_UM * np.sqrt(3) / 2


@dataclass(frozen=True)
class ArrayFit:
    """How the array lies on the pixels.

    Attributes
    ----------
    um_per_px
        Micrometres per pixel.
    turned
        Degrees by which the array's columns are turned against the pixels' x axis.
    mirrored
        Whether the array is a mirror image of what the pixels show.
    transposed
        Whether rows and columns had to be exchanged to fit.
    residual_um
        Root mean square distance between fitted and given positions.
    """

    um_per_px: float
    turned: float
    mirrored: bool
    transposed: bool
    residual_um: float

    @property
    def odd(self) -> str | None:
        """What is unusual about it, in words; None if nothing is."""
        found = []
        if self.transposed:
            found.append("its rows and columns are exchanged")
        if self.mirrored:
            found.append("it is mirrored")
        if abs(self.turned) > 15:
            found.append(f"it is turned by {self.turned:.0f} degrees")
        return " and ".join(found) or None


def is_hexagonal(row: NDArray[Any], col: NDArray[Any]) -> bool:
    """Whether array positions are those of Visium: whole numbers whose sum is even."""
    both = np.column_stack([row, col]).astype(np.float64)
    if len(both) < 3 or not np.isfinite(both).all():
        return False
    total = both.sum(axis=1)
    whole = np.array_equal(both, np.round(both))
    return bool(whole and (total % 2 == 0).all() and len(np.unique(both[:, 1] % 2)) == 2)


def fit_visium(row: NDArray[Any], col: NDArray[Any], xy: NDArray[Any]) -> ArrayFit | None:
    """Fit the hexagonal array of Visium (100 um from centre to centre) to pixels.

    The spot diameter that Space Ranger writes is not used: measured against the
    pitch it stands for 65 um in most versions and for 70 um in the first one,
    never for the 55 um of a spot.

    Parameters
    ----------
    row, col
        (n,) array positions.
    xy
        (n, 2) positions (x, y) in pixels.

    Returns
    -------
    ArrayFit or None
        None if there are too few spots, they lie in a line, or nothing fits.
    """
    um = np.column_stack([np.asarray(col, float) * 50.0, np.asarray(row, float) * _ROW_UM])
    straight = _fit(um, xy, transposed=False)
    if straight is not None and straight.residual_um < 0.1 * VISIUM_PITCH_UM:
        return straight
    exchanged = np.column_stack([np.asarray(row, float) * 50.0, np.asarray(col, float) * _ROW_UM])
    other = _fit(exchanged, xy, transposed=True)
    return other if other is not None and other.residual_um < 0.1 * VISIUM_PITCH_UM else None


def fit_square(
    row: NDArray[Any], col: NDArray[Any], xy: NDArray[Any], pitch_um: float
) -> ArrayFit | None:
    """Fit a square array with the given pitch to pixels; arguments as :func:`fit_visium`."""
    um = np.column_stack([np.asarray(col, float), np.asarray(row, float)]) * pitch_um
    fit = _fit(um, xy, transposed=False)
    return fit if fit is not None and fit.residual_um < 0.25 * pitch_um else None


def _fit(um: NDArray[Any], xy: NDArray[Any], transposed: bool) -> ArrayFit | None:
    """Least squares similarity, mirrored or not, from array micrometres to pixels."""
    xy = np.asarray(xy, dtype=np.float64)
    source, target = um - um.mean(axis=0), xy - xy.mean(axis=0)
    spread = np.linalg.svd(source, compute_uv=False)
    if len(um) < 3 or len(spread) < 2 or spread[1] < 1e-6 * max(spread[0], 1e-9):
        return None
    u, s, vt = np.linalg.svd(target.T @ source)
    rotation = u @ vt
    px_per_um = s.sum() / (source**2).sum()
    if px_per_um <= 0:
        return None
    left = target - px_per_um * source @ rotation.T
    mirrored = bool(np.linalg.det(rotation) < 0)
    return ArrayFit(
        um_per_px=float(1 / px_per_um),
        turned=float(np.degrees(np.arctan2(rotation[1, 0], rotation[0, 0]))),
        mirrored=mirrored,
        transposed=transposed,
        residual_um=float(np.sqrt((left**2).sum(axis=1).mean()) / px_per_um),
    )
