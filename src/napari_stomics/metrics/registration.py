"""How well a map carries one section onto another, on points that were not fitted.

All errors are distances in the target's frame. Micrometres are the unit; a
pixel size turns them into pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.transforms import Points, Transform

Extent = tuple[float, float, float, float]
"""(x_min, y_min, x_max, y_max) in um."""

_WORSE_ORDER = 0.9


@dataclass(frozen=True)
class ErrorSummary:
    """Key figures of a set of errors.

    Attributes
    ----------
    count
        How many finite errors there are.
    median_um, p90_um, max_um
        Median, 90th percentile and maximum, um; NaN without any.
    pixel_size
        Micrometres per pixel, NaN if unknown.
    """

    count: int
    median_um: float
    p90_um: float
    max_um: float
    pixel_size: float = float("nan")

    @property
    def median_px(self) -> float:
        """Median in pixels."""
        return self.median_um / self.pixel_size

    @property
    def p90_px(self) -> float:
        """90th percentile in pixels."""
        return self.p90_um / self.pixel_size


def target_registration_error(
    transform: Transform, source: Points, target: Points
) -> NDArray[np.float64]:
    """Distance of each carried source landmark from its partner.

    The target registration error proper (Fitzpatrick et al. 1998, IEEE TMI
    17:694) where the landmarks were not used to fit the map; on the landmarks
    of the fit it is the smaller fiducial registration error.

    Parameters
    ----------
    transform
        Carries source um to target um.
    source, target
        (n, 2) corresponding points (x, y) in um.

    Returns
    -------
    ndarray
        (n,) errors in um; NaN where the map gives no answer.
    """
    source, target = np.asarray(source, float), np.asarray(target, float)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2:
        raise ValueError(f"(n, 2) pairs are needed, got {source.shape} and {target.shape}")
    return np.asarray(np.linalg.norm(transform.apply(source) - target, axis=1))


def relative_registration_error(errors: Points, extent: Extent) -> NDArray[np.float64]:
    """Errors over the diagonal of the target (Borovec et al. 2020, IEEE TMI 39:3042)."""
    x_min, y_min, x_max, y_max = extent
    return np.asarray(np.asarray(errors, float) / np.hypot(x_max - x_min, y_max - y_min))


def summarise_errors(errors: Points, pixel_size: float | None = None) -> ErrorSummary:
    """Median, 90th percentile and maximum of the finite errors.

    Parameters
    ----------
    errors
        (n,) distances in um.
    pixel_size
        Micrometres per pixel of the image in which pixels are counted.
    """
    errors = np.asarray(errors, float)
    finite = errors[np.isfinite(errors)]
    size = float("nan") if pixel_size is None else float(pixel_size)
    if not len(finite):
        return ErrorSummary(0, float("nan"), float("nan"), float("nan"), size)
    return ErrorSummary(
        count=len(finite),
        median_um=float(np.median(finite)),
        p90_um=float(np.quantile(finite, _WORSE_ORDER)),
        max_um=float(finite.max()),
        pixel_size=size,
    )


def extent_of(points: Points, margin: float = 0.1) -> Extent:
    """Bounding box of (n, 2) points, enlarged on each side by a share of its size."""
    points = np.asarray(points, float)
    low, high = points.min(axis=0), points.max(axis=0)
    room = margin * (high - low)
    (x_min, y_min), (x_max, y_max) = low - room, high + room
    return float(x_min), float(y_min), float(x_max), float(y_max)


def grid_points(extent: Extent, shape: tuple[int, int]) -> NDArray[np.float64]:
    """(ny * nx, 2) centres (x, y) of the cells of a grid (ny, nx) over an extent, row by row."""
    x_min, y_min, x_max, y_max = extent
    ny, nx = shape
    x = x_min + (np.arange(nx) + 0.5) * ((x_max - x_min) / nx)
    y = y_min + (np.arange(ny) + 0.5) * ((y_max - y_min) / ny)
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def fold_fraction(
    transform: Transform,
    extent: Extent,
    shape: tuple[int, int] = (32, 32),
    mirrored: bool | None = None,
) -> float:
    """Share of an extent where the map folds: the Jacobian determinant has the wrong sign.

    Parameters
    ----------
    transform
        The map.
    extent
        (x_min, y_min, x_max, y_max) of the source, um; see :func:`extent_of`.
    shape
        Cells (ny, nx) at whose centres the determinant is taken.
    mirrored
        Whether the map as a whole mirrors the section, so that negative
        determinants are right; None asks the map's affine part.
    """
    if mirrored is None:
        mirrored = bool(np.linalg.det(transform.linear_part().matrix[:2, :2]) < 0)
    determinant = transform.jacobian_determinant(grid_points(extent, shape))
    sign = -1.0 if mirrored else 1.0
    # NaN, where a map gives no answer, counts as folded.
    return float(np.mean(~(sign * determinant > 0)))


def registration_report(
    transform: Transform,
    source: Points,
    target: Points,
    pixel_size: float | None = None,
    extent: Extent | None = None,
) -> dict[str, Any]:
    """Errors on landmarks and the fold fraction, in plain JSON types.

    Pixels are given only where the pixel size is known; the extent defaults to
    that of the source landmarks, a tenth wider on each side.
    """
    summary = summarise_errors(target_registration_error(transform, source, target), pixel_size)
    out: dict[str, Any] = {
        "landmarks": summary.count,
        "median_um": summary.median_um,
        "p90_um": summary.p90_um,
        "max_um": summary.max_um,
        "fold_fraction": fold_fraction(transform, extent or extent_of(source)),
    }
    if pixel_size is not None:
        out["median_px"] = summary.median_px
        out["p90_px"] = summary.p90_px
    return out
