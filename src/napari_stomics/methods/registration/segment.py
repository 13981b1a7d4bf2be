"""Nuclei of an image, tile by tile: stain, blobs, watershed, centroids.

Haematoxylin is separated from eosin by the absorbances of Ruifrok & Johnston, Anal.
Quant. Cytol. Histol. 23:291 (2001). Blobs are maxima of the scale-normalised Laplacian
of Gaussian (Lindeberg, Int. J. Comput. Vis. 30:79, 1998); a watershed from them divides
nuclei that touch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import SectionImage
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import Affine
from napari_stomics.methods.registration.raster import read_pixels
from napari_stomics.methods.registration.tissue import Overview, survey

Floats = NDArray[np.floating[Any]]
Place = NDArray[np.float64]

_TILE = 1024
_SAMPLES = 12
_SUPPORT = 0.05
_LEVEL = 0.25
"""Share of the threshold on blobs down to which a blob's ground reaches."""
_SIZES = 0.15, 4.0
"""Smallest and largest area of a nucleus, in those of a disc of the given diameter."""


@dataclass(frozen=True)
class Nuclei:
    """Nuclei found in an image.

    Attributes
    ----------
    centroids
        (n, 2) centres (x, y) in the image's micrometres.
    areas
        (n,) areas in um^2.
    tiles
        How many tiles with tissue were read.
    """

    centroids: Floats
    areas: Floats
    tiles: int


def find_nuclei(image: SectionImage, diameter: float, spacing: float, ctx: JobContext) -> Nuclei:
    """Find the nuclei of an H&E image, or of a nuclear stain.

    Memory is bounded by one tile, whatever the image.

    Parameters
    ----------
    image
        Brightfield with channels r, g, b, or fluorescence with a nuclear channel.
    diameter
        Usual diameter of a nucleus, um.
    spacing
        Pixel size at which it is read, um; no finer than the image makes sense.

    Raises
    ------
    UserError
        If there is no tissue, or nothing in it looks like a nucleus.
    """
    view = survey(image, ctx)
    finest = float(np.sqrt(abs(np.linalg.det(image.to_um.matrix[:2, :2]))))
    if finest > diameter / 3:
        raise UserError(
            f"A pixel of the image of {image.section!r} is {finest:.2g} um: nuclei of "
            f"{diameter:g} um cannot be told apart.",
            "Add the image at full resolution, or register by landmarks or tissue.",
        )
    spacing = max(spacing, finest)
    view = replace(view, image=_level_for(image, spacing))
    tiles = list(_tiles(view, spacing, diameter))
    chosen = np.linspace(0, len(tiles) - 1, min(_SAMPLES, len(tiles))).astype(int)
    strengths = []
    for i, index in enumerate(dict.fromkeys(chosen)):
        ctx.step(0.15 * i / len(chosen), "Learning what nuclei look like")
        response = _response(view, tiles[index], spacing, diameter, ctx)[0]
        strengths.append(blob_strengths(response, diameter / spacing))
    threshold = blob_threshold(np.concatenate(strengths)) if strengths else 0.0
    centres, areas = [], []
    for i, tile in enumerate(tiles):
        ctx.step(0.15 + 0.85 * i / len(tiles), f"Finding nuclei (tile {i + 1} of {len(tiles)})")
        found = _of_tile(view, tile, spacing, diameter, threshold, ctx)
        centres.append(found[0])
        areas.append(found[1])
    centroids = np.concatenate(centres) if centres else np.zeros((0, 2))
    if not len(centroids):
        raise UserError(
            f"No nuclei were found in the image of {image.section!r}.",
            "Check that it is H&E or a nuclear stain, its pixel size and the nucleus diameter.",
        )
    return Nuclei(centroids, np.concatenate(areas), len(tiles))


def _level_for(image: SectionImage, spacing: float) -> SectionImage:
    """Return the one level that is read: the coarsest whose pixels are no larger than wanted.

    Levels are made by whole factors, of which the last row and column may be cut off or
    half empty: taking the ratio of the sizes would stretch a centimetre by microns.
    """
    height, width = image.levels[0].shape[:2]
    pixel = float(np.sqrt(abs(np.linalg.det(image.to_um.matrix[:2, :2]))))
    chosen, factors = image.levels[0], (1.0, 1.0)
    for level in image.levels[1:]:
        found = _factor(width, level.shape[1]), _factor(height, level.shape[0])
        if pixel * max(found) > spacing * 1.001:
            break
        chosen, factors = level, found
    scale = Affine(np.diag([*factors, 1.0]))
    return replace(image, levels=(chosen,), to_um=scale.then(image.to_um))


def _factor(full: int, part: int) -> float:
    whole = round(full / part)
    return float(whole) if abs(part * whole - full) < whole else full / part


@dataclass(frozen=True)
class _Tile:
    """Core of a tile, and the window round it that is read, (x, y) um."""

    core: tuple[Place, Place]
    window: tuple[Place, Place]


def _tiles(view: Overview, spacing: float, diameter: float) -> Iterator[_Tile]:
    """Tiles whose core touches tissue, row by row."""
    side = _TILE * spacing
    margin = spacing * np.ceil(2.5 * diameter / spacing)
    count = np.maximum(np.ceil((view.high - view.low) / side), 1).astype(int)
    raster = view.support
    for row in range(count[1]):
        for column in range(count[0]):
            low = view.low + side * np.array([column, row])
            high = np.minimum(low + side, view.high)
            box = [(edge - np.array(raster.origin)) / raster.spacing for edge in (low, high)]
            first, last = np.floor(box[0]).astype(int), np.ceil(box[1]).astype(int)
            first = np.maximum(first, 0)
            part = raster.features[0][first[1] : last[1], first[0] : last[0]]
            if part.size and part.max() > _SUPPORT and (high - low).min() > 0:
                yield _Tile((low, high), (low - margin, high + margin))


def _response(
    view: Overview, tile: _Tile, spacing: float, diameter: float, ctx: JobContext
) -> tuple[Floats, Floats]:
    """Strength of blobs of the nucleus' size in a tile's window, and the window's corner."""
    low, high = tile.window
    pixels, valid = read_pixels(view.image, low, high, spacing, view.look.channels, ctx)
    ctx.step()
    return blob_response(_stain(view, pixels), valid, diameter / spacing), low


def _stain(view: Overview, pixels: Floats) -> Floats:
    """(y, x) amount of haematoxylin, or of the nuclear stain, about 0 to 1."""
    if not (view.look.bright and pixels.shape[-1] == 3):
        values = pixels.mean(axis=-1) - float(np.mean(view.look.background))
        values = values if not view.look.bright else -values
        high = float(np.percentile(values, 99.5))
        return np.asarray(np.clip(values / max(high, 1e-6), 0, 1.5), np.float32)
    from skimage.color import hed_from_rgb

    glass = np.maximum(view.look.background, 1.0)
    density = -np.log(np.maximum(pixels, 1.0) / glass)
    return np.asarray(density @ hed_from_rgb[:, 0], np.float32)


def blob_response(stain: Floats, valid: Floats, width: float) -> Floats:
    """(y, x) strength of blobs of a nucleus' size, 0 where the image ends.

    Parameters
    ----------
    stain
        (y, x) amount of the nuclear stain.
    valid
        (y, x) 1 where the image covers the grid.
    width
        Usual diameter of a nucleus, in pixels.
    """
    from scipy import ndimage

    # The Laplacian answers a disc most when its width is the radius over the root of two.
    sigma = width / 2 / np.sqrt(2)
    response = -(sigma**2) * ndimage.gaussian_laplace(stain * valid, sigma)
    # The border of what the image covers is an edge that no nucleus makes.
    covered = ndimage.minimum_filter(valid, int(2 * sigma) + 1)
    return np.asarray(response * covered, np.float32)


def blob_strengths(response: Floats, width: float) -> Floats:
    """Strengths at the maxima of a response, from which :func:`blob_threshold` learns."""
    return np.asarray(response[_peaks(response, width, 0.0)])


def _peaks(response: Floats, width: float, threshold: float) -> tuple[Any, Any]:
    """Rows and columns of the maxima above a threshold, a third of a nucleus apart at least."""
    from scipy import ndimage

    apart = max(round(0.35 * width), 1)
    highest = ndimage.maximum_filter(response, 2 * apart + 1)
    rows, columns = np.nonzero((response >= highest) & (response > max(threshold, 1e-4)))
    return rows, columns


def blob_threshold(strengths: Floats) -> float:
    """Strength where maxima of noise end and those of nuclei begin."""
    from skimage.filters import threshold_otsu

    if len(strengths) < 20 or np.ptp(strengths) <= 0:
        return 0.0
    return float(threshold_otsu(np.asarray(strengths)))


def divide(response: Floats, width: float, threshold: float) -> NDArray[np.int32]:
    """(y, x) labels of nuclei from 1 up, those that touch parted by a watershed; 0 is ground.

    Parameters
    ----------
    response
        See :func:`blob_response`.
    width
        Usual diameter of a nucleus, in pixels.
    threshold
        See :func:`blob_threshold`.
    """
    from skimage.segmentation import watershed

    rows, columns = _peaks(response, width, threshold)
    markers = np.zeros(response.shape, np.int32)
    markers[rows, columns] = np.arange(1, len(rows) + 1)
    return np.asarray(watershed(-response, markers, mask=response > _LEVEL * max(threshold, 1e-4)))


def usual_areas(width: float) -> tuple[float, float]:
    """Smallest and largest area of a nucleus of that usual diameter, in the square of its unit."""
    disc = np.pi * width**2 / 4
    return _SIZES[0] * disc, _SIZES[1] * disc


def _of_tile(
    view: Overview,
    tile: _Tile,
    spacing: float,
    diameter: float,
    threshold: float,
    ctx: JobContext,
) -> tuple[Floats, Floats]:
    """Centroids (x, y) um within the tile's core, and areas um^2."""
    from scipy import ndimage

    response, corner = _response(view, tile, spacing, diameter, ctx)
    ctx.step()
    labels = divide(response, diameter / spacing, threshold)
    count = int(labels.max(initial=0))
    if not count:
        return np.zeros((0, 2)), np.zeros(0)
    index = np.arange(1, count + 1)
    area = np.bincount(labels.ravel(), minlength=count + 1)[1:] * spacing**2
    centre = np.array(ndimage.center_of_mass(np.maximum(response, 0), labels, index))
    least, most = usual_areas(diameter)
    right = (area > least) & (area < most)
    xy = corner + spacing * (centre.reshape(-1, 2)[:, ::-1] + 0.5)
    # Each nucleus belongs to the one tile whose core holds its centroid.
    low, high = tile.core
    right &= ((xy >= low) & (xy < high)).all(axis=1)
    return np.asarray(xy[right]), np.asarray(area[right])
