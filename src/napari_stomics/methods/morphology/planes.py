"""What is summed over a patch: one plane per quantity, from the stains of one tile.

A feature of a patch is made of sums over its pixels, so that it does not matter
how the image was cut into tiles. Texture is that of the haematoxylin: grey-level
co-occurrence (Haralick et al. 1973, IEEE Trans SMC 3:610), whose contrast and
homogeneity are plain means over pairs of pixels; local binary patterns (Ojala et
al. 2002, IEEE TPAMI 24:971); and the structure tensor (Foerstner and Guelch 1987).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.morphology import Stains
from napari_stomics.methods.morphology.stains import normalised_amounts, optical_density

Floats = NDArray[np.floating[Any]]
Planes = Iterator[tuple[str, Any]]

_LEVELS = 16
_AROUND = ((0, 1), (1, 0), (1, 1), (1, -1))
_PATTERNS = (
    ("edges", (3, 4, 5)),
    ("corners", (1, 2, 6, 7)),
    ("dots", (0,)),
)
"""Codes of uniform local binary patterns by the number of brighter neighbours of eight."""
_PEN_HUES = 75.0, 220.0
"""Degrees from yellow-green over green and cyan to blue: no stain of H&E lies there."""
_PEN_SATURATION = 0.3
_NARROW = 3.0
"""Pixels; up to here a blur is a true Gaussian."""
_SOFT = 10.0
"""Micrometres over which darkness and saturation are averaged before a fold is told."""


@dataclass(frozen=True)
class Look:
    """What is learnt from a sample of the section before its tiles are read.

    Attributes
    ----------
    stains
        Its stains.
    void
        Pixels up to this value show nothing: the background was masked with black.
    tissue
        Mean optical density from which a pixel is tissue.
    fold_density, fold_contrast
        Mean optical density, and saturation less brightness, above which averaged tissue
        is folded.
    nucleus
        Strength of a blob from which it is a nucleus; NaN where nuclei cannot be told apart.
    """

    stains: Stains
    void: float
    tissue: float
    fold_density: float = np.inf
    fold_contrast: float = np.inf
    nucleus: float = float("nan")


@dataclass(frozen=True)
class TilePixels:
    """The pixels of a tile with their margin, seen in several ways.

    Attributes
    ----------
    valid
        (y, x) 1 where the image shows something.
    light
        (y, x, 3) intensity over that of bare glass.
    amounts
        (y, x, 2) amounts of haematoxylin and eosin, as in the reference stain.
    density
        (y, x) mean optical density.
    """

    valid: Floats
    light: Floats
    amounts: Floats
    density: Floats


def look_at(pixels: Floats, stains: Stains, void: float) -> TilePixels:
    """See the pixels of a tile as light, stains and density."""
    valid = (brightest(pixels) > void).astype(np.float32)
    density = optical_density(pixels, stains.background) * valid[..., None]
    light = pixels / np.maximum(np.asarray(stains.background, np.float32), 1e-6)
    return TilePixels(valid, light, normalised_amounts(density, stains), _mean(density))


def margin_of(scales: tuple[float, ...], pixel_size: float, nucleus: float) -> int:
    """Pixels round a tile on which the planes within it depend."""
    widest = max([4 * max(scales, default=0.0), 4 * _SOFT, 2.5 * nucleus])
    return int(np.ceil(widest / pixel_size)) + 4


def texture_scales(wanted: tuple[float, ...], pixel_size: float) -> tuple[float, ...]:
    """Those of the scales (um) that the pixels resolve."""
    return tuple(scale for scale in sorted(set(wanted)) if scale >= 0.8 * pixel_size)


def planes_of(tile: TilePixels, look: Look, scales: tuple[float, ...], pixel_size: float) -> Planes:
    """Yield name and (y, x) plane of every quantity that is summed over patches.

    Parameters
    ----------
    tile
        Pixels of a tile with the margin of :func:`margin_of`.
    look
        What is known of the section.
    scales
        Scales of texture in um, see :func:`texture_scales`.
    pixel_size
        Micrometres per pixel.
    """
    yield "valid", tile.valid
    stains = (tile.amounts[..., 0], tile.amounts[..., 1], tile.density)
    for name, plane in zip(("haematoxylin", "eosin", "density"), stains, strict=True):
        yield name, plane
        yield f"{name}²", plane * plane
    yield from _texture(tile.amounts[..., 0], scales, pixel_size)
    yield from _sharpness(tile.density)
    yield from _suspects(tile, look, pixel_size)


def _texture(plane: Floats, scales: tuple[float, ...], pixel_size: float) -> Planes:
    grey = np.minimum(plane * (_LEVELS / 2.5), _LEVELS - 1).astype(np.int16).astype(np.float32)
    for scale in scales:
        sigma = scale / pixel_size
        smooth = smoothed(plane, sigma)
        gy, gx = np.gradient(smooth)
        yield f"gradient {scale:g}", np.hypot(gx, gy) * np.float32(sigma)
        if scale == scales[len(scales) // 2]:
            yield "tensor 0", gx * gx + gy * gy
            yield "tensor 1", gx * gx - gy * gy
            yield "tensor 2", 2 * gx * gy
        lag = max(round(sigma), 1)
        contrast, alike = np.zeros_like(plane), np.zeros_like(plane)
        for dy, dx in _AROUND:
            squared = np.square(grey - np.roll(grey, (-lag * dy, -lag * dx), (0, 1)))
            contrast += squared / len(_AROUND)
            alike += 1 / (1 + squared) / len(_AROUND)
        yield f"contrast {scale:g}", contrast
        yield f"homogeneity {scale:g}", alike
    scale = scales[min(1, len(scales) - 1)]
    yield from _patterns(grey, scale, max(round(scale / pixel_size), 1))


def _patterns(grey: Floats, scale: float, radius: int) -> Planes:
    from skimage.feature import local_binary_pattern

    codes = local_binary_pattern(grey.astype(np.uint8), 8, radius, "uniform").astype(np.uint8)
    for name, members in _PATTERNS:
        chosen = np.zeros(10, np.float32)
        chosen[list(members)] = 1
        yield f"{name} {scale:g}", chosen[codes]


def _sharpness(density: Floats) -> Planes:
    """Energy of the finest detail, and of the next coarser: what a lens out of focus parts."""
    from scipy import ndimage

    yield "fine", np.square(ndimage.laplace(density))
    coarse = smoothed(density, 1.5) - smoothed(density, 4.0)
    yield "coarse", np.square(coarse)


def _suspects(tile: TilePixels, look: Look, pixel_size: float) -> Planes:
    valid = tile.valid
    smooth = smoothed(tile.density, 2.0)
    tissue = ((smooth > look.tissue) & (valid > 0)).astype(np.float32)
    yield "tissue", tissue
    # Nuclei may look plain blue; a stroke of a pen does over more than a nucleus.
    soft = np.stack([smoothed(tile.light[..., i], _SOFT / pixel_size) for i in range(3)], axis=-1)
    yield "pen", (is_pen(soft) & (valid > 0)).astype(np.float32)
    dark, contrast = folds_seen(tile, pixel_size)
    folded = (dark > look.fold_density) & (contrast > look.fold_contrast)
    yield "fold", folded.astype(np.float32) * tissue


def is_pen(light: Floats) -> NDArray[np.bool_]:
    """(y, x) whether a pixel has a colour that no stain of H&E has: green, cyan, plain blue.

    Parameters
    ----------
    light
        (y, x, 3) intensity over that of bare glass.
    """
    high, low = brightest(light), darkest(light)
    spread = np.maximum(high - low, 1e-6)
    r, g, b = (light[..., i] for i in range(3))
    hue = np.where(
        high == r, (g - b) / spread, np.where(high == g, 2 + (b - r) / spread, 4 + (r - g) / spread)
    )
    degrees = np.mod(60 * hue, 360)
    saturated = spread > _PEN_SATURATION * np.maximum(high, 1e-6)
    coloured = (degrees > _PEN_HUES[0]) & (degrees < _PEN_HUES[1]) & saturated
    return np.asarray(coloured)


def folds_seen(tile: TilePixels, pixel_size: float) -> tuple[Floats, Floats]:
    """Local darkness, and saturation less brightness (Kothari et al. 2013), by which folds show."""
    sigma = _SOFT / pixel_size
    high, low = brightest(tile.light), darkest(tile.light)
    contrast = ((high - low) / np.maximum(high, 0.02) - high) * tile.valid
    ground = smoothed(tile.valid, sigma) + np.float32(1e-3)
    return smoothed(tile.density, sigma) / ground, smoothed(contrast, sigma) / ground


def smoothed(plane: Floats, sigma: float) -> Floats:
    """Blur by about a Gaussian; a wide one is three boxes, at a cost that does not grow."""
    from scipy import ndimage

    if sigma <= _NARROW:
        return np.asarray(ndimage.gaussian_filter(plane, sigma, truncate=3.0))
    width = 2 * round((np.sqrt(4 * sigma**2 + 1) - 1) / 2) + 1
    for _ in range(3):
        plane = ndimage.uniform_filter(plane, width)
    return plane


def brightest(pixels: Floats) -> Floats:
    """(y, x) largest of the three colours; NumPy's own maximum over a short axis is slow."""
    return np.maximum(np.maximum(pixels[..., 0], pixels[..., 1]), pixels[..., 2])


def darkest(pixels: Floats) -> Floats:
    """(y, x) smallest of the three colours."""
    return np.minimum(np.minimum(pixels[..., 0], pixels[..., 1]), pixels[..., 2])


def _mean(pixels: Floats) -> Floats:
    return (pixels[..., 0] + pixels[..., 1] + pixels[..., 2]) / np.float32(3)
