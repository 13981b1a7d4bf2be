"""Where the tissue is and how dense it is: what survives a change of stain.

Density is optical density in brightfield and signal above the background in
fluorescence or a density raster, in units of the section's own dense tissue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import SectionImage
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.registration.raster import (
    Array,
    Raster,
    check_image,
    choose_channels,
    extent_um,
    read_pixels,
)

OVERVIEW_CELLS = 256
"""Cells along the longer side of the overview on which the appearance is learnt."""

PHOTOGRAPH = {"r", "g", "b", "a", "red", "green", "blue", "alpha"}
"""Channel names of a colour picture, which is more often brightfield than not."""


@dataclass(frozen=True)
class Appearance:
    """How an image shows tissue: learnt once on its overview.

    Attributes
    ----------
    bright
        Whether the background is bright (brightfield) rather than dark.
    background
        (channel,) value of the bare background.
    void
        Pixels up to this value are black padding and count as background.
    unit
        Density of the denser tissue, which becomes 1.
    threshold
        Density, in that unit, from which a smoothed pixel is tissue.
    channels
        Which channels are read.
    """

    bright: bool
    background: NDArray[np.float64]
    void: float
    unit: float
    threshold: float
    channels: tuple[int, ...]


def _flatness(grey: Array) -> Array:
    """Local contrast of a grey image: small on bare background."""
    from scipy import ndimage

    mean = ndimage.uniform_filter(grey, 5)
    square = ndimage.uniform_filter(grey * grey, 5)
    return np.sqrt(np.maximum(square - mean * mean, 0.0))


def _otsu(values: NDArray[Any]) -> float:
    """Threshold that best parts the values in two classes (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    weight = np.cumsum(counts)
    total = np.cumsum(counts * centres)
    other = weight[-1] - weight
    with np.errstate(divide="ignore", invalid="ignore"):
        between = weight * other * (total / weight - (total[-1] - total) / other) ** 2
    return float(centres[int(np.nanargmax(between[:-1]))])


def _raw_density(
    pixels: Array, bright: bool, background: NDArray[np.float64], void: float
) -> Array:
    """Density before scaling: optical density (bright) or signal above background (dark)."""
    back = background.astype(np.float32)
    if bright:
        floor = np.maximum(back * 0.02, 1e-6)
        density = np.log(back / np.maximum(pixels, floor))
        absorbed = np.maximum(density, 0.0).mean(axis=-1)
        return np.where(pixels.max(axis=-1) > void, absorbed, 0.0).astype(np.float32)
    signal = np.maximum(pixels - back, 0.0)
    return np.sqrt(signal).mean(axis=-1)


def learn_appearance(
    image: SectionImage, pixels: Array, valid: Array, channels: tuple[int, ...]
) -> Appearance:
    """Find the background of an image and the density that its tissue reaches.

    Raises
    ------
    UserError
        If the image is blank, so that there is nothing to register.
    """
    from scipy import ndimage

    ok = valid > 0
    values = pixels[ok]
    low, high = np.percentile(values, [0.5, 99.5], axis=0)
    if float((high - low).max()) <= 1e-6 * max(float(np.abs(high).max()), 1.0):
        raise _blank(image)
    grey = ((pixels - low) / np.maximum(high - low, 1e-9)).mean(axis=-1)
    contrast = _flatness(grey)[ok]
    photograph = {str(n).lower() for n in image.channels} <= PHOTOGRAPH
    bright, void = _polarity(values, grey[ok], contrast, 0.3 if photograph else 0.5)
    side = ((grey[ok] > 0.5) == bright) & (values.max(axis=-1) > void)
    flat = side & (contrast <= np.quantile(contrast[side], 0.25)) if side.any() else ~side
    background = np.median(values[flat], axis=0)
    density = _raw_density(pixels, bright, background.astype(np.float64), void)
    smooth = ndimage.gaussian_filter(density * valid, 1.5)
    threshold = _otsu(smooth[ok])
    inside = ok & (smooth > threshold)
    if inside.sum() < 20:
        raise _blank(image)
    unit = float(np.percentile(density[inside], 90))
    return Appearance(bright, background, void, unit, threshold / unit, channels)


def _polarity(values: Array, grey: Array, contrast: Array, darkest: float) -> tuple[bool, float]:
    """Whether the background is bright, and the value up to which a pixel is black padding.

    Stained tissue seldom absorbs 70 % of the light over a whole coarse pixel,
    so a photograph without pixels below ``darkest`` is brightfield. One whose dark pixels
    are all but black, with nothing between them and the rest, is brightfield
    that was masked or padded with black. Otherwise the flattest pixels, which
    are background, decide.
    """
    relative = values.mean(axis=-1) / max(float(np.percentile(values.mean(axis=-1), 99.5)), 1e-9)
    if values.min() < 0:
        return False, -np.inf
    if np.percentile(relative, 5) > darkest:
        return True, -np.inf
    padding = relative < 0.04
    rest = relative[~padding]
    padded = values.shape[1] == 3 and padding.mean() > 0.02 and len(rest) > 100
    if padded and np.percentile(rest, 3) > 0.2:
        return True, 0.08 * float(np.percentile(values, 99.5))
    flat = contrast <= np.quantile(contrast, 0.25)
    return bool(np.median(grey[flat]) > 0.5), -np.inf


def _blank(image: SectionImage) -> UserError:
    return UserError(
        f"No tissue was found in the image of section {image.section!r}.",
        "Check that the right image was chosen and is not blank, or place landmarks by hand.",
    )


def density_of(pixels: Array, valid: Array, look: Appearance) -> Array:
    """(y, x) tissue density, 0 on background and about 1 in dense tissue."""
    density = _raw_density(pixels, look.bright, look.background, look.void) / look.unit
    return (np.clip(density, 0.0, 1.5) * valid).astype(np.float32)


def dense_mask(density: Array, valid: Array, threshold: float) -> NDArray[np.bool_]:
    """(y, x) dense tissue: the outline of a section, or a lesion in loose tissue."""
    from scipy import ndimage

    radius = max(round(0.006 * max(density.shape)), 1)
    smooth = ndimage.gaussian_filter(density, radius)
    return _large((smooth > threshold * 0.8) & (valid > 0), 0.05)


def support_weight(density: Array, valid: Array, threshold: float, texture: float = 0.1) -> Array:
    """(y, x) weight in [0, 1] of the ground on which density is to be believed.

    Loose tissue (lung) is thin on the average but textured; a smear of eosin is
    the reverse, so either density or texture counts. What an opening by 2 % of
    the image removes altogether - fiducial frames, rims of bubbles, dust,
    strokes of a pen - does not. The edge is soft and lies outside the tissue:
    a ragged one would be matched in its own right.
    """
    from scipy import ndimage

    radius = max(round(0.015 * max(density.shape)), 1)
    smooth = ndimage.gaussian_filter(density, max(radius / 2, 0.7))
    rough = ndimage.gaussian_filter(_flatness(density), max(radius, 1.0))
    mask = ((smooth > threshold * 0.8) | (rough > texture)) & (valid > 0)
    pad = 6 * radius
    core = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] > 1.4 * radius
    if core.any():
        mask &= ndimage.distance_transform_edt(~core) <= 2 * radius
    mask = _large(mask, 0.1)
    if not mask.any() or mask.sum() > 0.6 * (valid > 0).sum():
        return np.ones_like(density)
    # Outside the image nothing is known: continue it there, or the closing opens the border.
    padded = np.pad(mask, pad, mode="edge")
    grown = ndimage.distance_transform_edt(~padded) <= 6 * radius
    closed = ndimage.distance_transform_edt(grown) > 4.5 * radius
    soft = ndimage.gaussian_filter(closed.astype(np.float32), radius)
    return soft[pad:-pad, pad:-pad]


def _large(mask: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """Components of at least ``share`` of the largest one's area."""
    from scipy import ndimage

    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= max(share * sizes.max(), 1))[labels]


@dataclass(frozen=True)
class Overview:
    """One look at a whole section: how it shows tissue, and where.

    Attributes
    ----------
    image
        The image.
    look
        Its appearance.
    support
        Raster with one feature, the weight of :func:`support_weight`.
    low, high
        Corners (x, y) in um of the box round the tissue, with a margin.
    """

    image: SectionImage
    look: Appearance
    support: Raster
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def survey(image: SectionImage, ctx: JobContext) -> Overview:
    """Look at the whole section on a coarse level.

    Raises
    ------
    UserError
        If the image is too small or blank.
    """
    check_image(image)
    low, high = extent_um(image)
    spacing = float((high - low).max()) / OVERVIEW_CELLS
    channels = choose_channels(image)
    pixels, valid = read_pixels(image, low, high, spacing, channels, ctx)
    look = learn_appearance(image, pixels, valid, channels)
    density = density_of(pixels, valid, look)
    support = support_weight(density, valid, look.threshold)
    origin = (float(low[0]), float(low[1]))
    rows, columns = np.nonzero((support > 0.5) & (valid > 0))
    first = np.array([columns.min(), rows.min()])
    last = np.array([columns.max(), rows.max()]) + 1
    margin = 0.15 * (last - first).max()
    box = low + spacing * (first - margin), low + spacing * (last + margin)
    raster = Raster(support[None], valid, origin, spacing)
    return Overview(image, look, raster, np.maximum(box[0], low), np.minimum(box[1], high))


def tissue_raster(view: Overview, spacing: float, fine: bool, ctx: JobContext) -> Raster:
    """Features of the tissue's box on a grid of ``spacing`` um.

    Features are the dense tissue (0 to 1) and its density (0 to 1), both blurred
    by one cell, and with ``fine`` the local structure (about unit variance).
    """
    from scipy import ndimage

    high = view.low + spacing * np.maximum(np.floor((view.high - view.low) / spacing), 1)
    pixels, valid = read_pixels(view.image, view.low, high, spacing, view.look.channels, ctx)
    density = density_of(pixels, valid, view.look)
    weight = _resampled(view.support, view.low, spacing, density.shape)
    dense = dense_mask(density, valid, view.look.threshold)
    dense = dense & (weight > 0.1)
    density = np.minimum(density, 1.0) * weight
    features = [ndimage.gaussian_filter(p.astype(np.float32), 1.0) for p in (dense, density)]
    if fine:
        features.append(_structure(density, valid * weight, max(density.shape) / 128))
    origin = (float(view.low[0]), float(view.low[1]))
    return Raster(np.stack(features).astype(np.float32), valid, origin, spacing)


def _resampled(
    raster: Raster, low: NDArray[np.float64], spacing: float, shape: tuple[int, ...]
) -> Array:
    """First feature of a raster on another grid of micrometres."""
    from scipy import ndimage

    factor = spacing / raster.spacing
    offset = [
        (low[axis] - raster.origin[axis]) / raster.spacing + factor / 2 - 0.5 for axis in (1, 0)
    ]
    return ndimage.affine_transform(
        raster.features[0], [factor, factor], offset, output_shape=shape, order=1, mode="nearest"
    )


def _structure(density: Array, weight: Array, unit: float) -> Array:
    """Density less its local mean, over its local deviation: edges and layers within the tissue.

    It tells a pose from its mirror image where the outlines agree, and evens
    out stains that colour one layer more than another.
    """
    from scipy import ndimage

    wide = 4 * unit
    ground = ndimage.gaussian_filter(weight, wide) + 1e-3
    mean = ndimage.gaussian_filter(density * weight, wide) / ground
    detail = ndimage.gaussian_filter((density - mean) * weight, unit)
    ground = ndimage.gaussian_filter(weight, 2 * wide) + 1e-3
    spread = np.sqrt(ndimage.gaussian_filter(detail**2 * weight, 2 * wide) / ground)
    structure: Array = (detail / (spread + 0.03) * weight).astype(np.float32)
    return structure
