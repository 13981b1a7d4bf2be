"""Simple, interpretable features of the H&E image under each spot."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import HistologySpots, SectionImage
from napari_stomics.core.jobs import JobContext

Floats = NDArray[np.floating[Any]]

CHANNELS = ("haematoxylin", "eosin", "density")
STATISTICS = ("mean", "sd", "p10", "p90", "gradient")
_PATCH_PIXELS = 24
"""Width in pixels to which the finest level needed must resolve a patch."""


def feature_names(scales: tuple[float, ...]) -> tuple[str, ...]:
    """Names of the features of :func:`he_features`, in order."""
    return tuple(
        f"{channel}_{statistic}_{scale:g}x"
        for scale in scales
        for channel in CHANNELS
        for statistic in STATISTICS
    )


def he_features(
    spots: HistologySpots, scales: tuple[float, ...], ctx: JobContext
) -> tuple[Floats, tuple[str, ...]]:
    """Stain statistics of the patch under each spot.

    Haematoxylin and eosin densities come from colour deconvolution (Ruifrok and
    Johnston 2001, Anal Quant Cytol Histol 23:291) and the optical density from
    the mean intensity; each is summarised over square patches.

    Parameters
    ----------
    spots
        Spots on their image.
    scales
        Patch widths in spot diameters.

    Returns
    -------
    features
        (n, f) float32. Where a patch leaves the image only its part inside counts.
    names
        (f,) names, see :func:`feature_names`.

    Raises
    ------
    UserError
        If the image has no three colour channels or no spot lies on it.
    """
    centres = spots.spots.coordinates
    pixels, to_pixels, um = _level(spots.image, spots.diameter)
    xy = to_pixels(centres)
    height, width = pixels.shape[:2]
    inside = (xy[:, 0] >= 0) & (xy[:, 0] < width) & (xy[:, 1] >= 0) & (xy[:, 1] < height)
    if not inside.any():
        raise UserError(
            f"No spot of section {spots.spots.section!r} lies on its image.",
            "Check the pixel size and the position of the image.",
        )
    planes = _stain_planes(pixels, ctx)
    columns = []
    for i, scale in enumerate(scales):
        ctx.step(0.5 + 0.5 * i / len(scales), f"Image features, {scale:g} spot diameters")
        half = max(0.5 * scale * spots.diameter / um, 0.5)
        for plane in planes:
            columns += _patch_statistics(plane, xy, half)
    return np.column_stack(columns).astype(np.float32), feature_names(scales)


def _level(image: SectionImage, diameter: float) -> tuple[NDArray[Any], Any, float]:
    """The coarsest level that still resolves a spot, its pixel map and its pixel size in um."""
    fine = float(np.sqrt(abs(np.linalg.det(image.to_um.matrix[:2, :2]))))
    chosen, factor = image.levels[0], 1.0
    for level in image.levels:
        zoom = image.levels[0].shape[1] / level.shape[1]
        if diameter / (fine * zoom) >= _PATCH_PIXELS:
            chosen, factor = level, zoom
    if chosen.shape[-1] < 3:
        raise UserError(
            f"The image of section {image.section!r} has {chosen.shape[-1]} channel(s), not "
            "the three colours of a stained section.",
            "Choose the H&E image of the section.",
        )
    inverse = image.to_um.inverse()
    return np.asarray(chosen[..., :3]), lambda xy: inverse.apply(xy) / factor, fine * factor


def _stain_planes(pixels: NDArray[Any], ctx: JobContext) -> list[Floats]:
    """Haematoxylin, eosin and optical density as float32 planes (y, x)."""
    from skimage.color import rgb2hed
    from skimage.util import img_as_float32

    ctx.step(0.1, "Separating stains")
    rgb = img_as_float32(pixels)
    hed = rgb2hed(rgb)
    ctx.step(0.4, "Separating stains")
    density = -np.log10(np.clip(rgb.mean(axis=-1), 1 / 255, 1.0))
    return [hed[..., 0].astype(np.float32), hed[..., 1].astype(np.float32), density]


def _patch_statistics(plane: Floats, xy: Floats, half: float) -> list[Floats]:
    height, width = plane.shape
    gradient = np.hypot(*np.gradient(plane))
    out = np.zeros((len(STATISTICS), len(xy)))
    for k, (x, y) in enumerate(xy):
        x0, x1 = int(max(x - half, 0)), int(min(x + half + 1, width))
        y0, y1 = int(max(y - half, 0)), int(min(y + half + 1, height))
        if x0 >= x1 or y0 >= y1:
            out[:, k] = np.nan
            continue
        patch = plane[y0:y1, x0:x1]
        low, high = np.quantile(patch, (0.1, 0.9))
        out[:, k] = patch.mean(), patch.std(), low, high, gradient[y0:y1, x0:x1].mean()
    missing = np.isnan(out)
    if missing.any():
        # A spot beside the image says nothing: the section's median is the neutral guess.
        out = np.where(missing, np.nanmedian(out, axis=1, keepdims=True), out)
    return list(out)
