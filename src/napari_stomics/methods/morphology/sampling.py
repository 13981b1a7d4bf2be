"""What is learnt of a section before its tiles are read: stains, and what tissue looks like."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import SectionImage
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.morphology import Stains
from napari_stomics.methods.morphology.grid import Tile, WorkingImage
from napari_stomics.methods.morphology.nuclei import FEWEST_PIXELS, strengths_of
from napari_stomics.methods.morphology.planes import Look, folds_seen, look_at
from napari_stomics.methods.morphology.stains import FIXED, estimate_stains, optical_density
from napari_stomics.methods.registration.segment import blob_threshold
from napari_stomics.methods.registration.tissue import Overview, survey

Floats = NDArray[np.floating[Any]]

_SIDE = 512
_SAMPLES = 12
_PIXELS = 20_000
"""Pixels of each sample that stains are learnt from."""


def brightfield(image: SectionImage, ctx: JobContext) -> Overview:
    """Look at the whole section.

    Raises
    ------
    UserError
        If it is blank, or no brightfield image.
    """
    view = survey(image, ctx)
    if not view.look.bright:
        raise UserError(
            f"The image of section {image.section!r} has a dark background: it is not H&E.",
            "Choose the H&E image of the section.",
        )
    return view


def supported(view: Overview, work: WorkingImage, xy: Floats) -> NDArray[np.bool_]:
    """(n,) whether places (x, y) in working pixels lie on tissue, as the overview has it."""
    raster = view.support
    at = (work.to_um.apply(xy) - np.array(raster.origin)) / raster.spacing
    column, row = np.clip(np.floor(at).astype(int), 0, np.array(raster.shape[::-1]) - 1).T
    return np.asarray(raster.features[0][row, column] > 0.05)


def learn(
    view: Overview,
    work: WorkingImage,
    estimate: bool,
    nucleus: float,
    ctx: JobContext,
) -> Look:
    """Learn stains, the thresholds of folds and of nuclei from tiles spread over the tissue.

    Parameters
    ----------
    view
        Overview of the section.
    work
        The image as it will be read.
    estimate
        Whether the stains are estimated; else they are the fixed ones.
    nucleus
        Usual diameter of a nucleus, um.
    ctx
        Progress and cancellation.
    """
    chosen = _samples(view, work)
    background, void = np.asarray(view.look.background, np.float64), max(view.look.void, -1.0)
    pixels = []
    for i, tile in enumerate(chosen):
        ctx.step(0.5 * i / len(chosen), "Learning the stains")
        pixels.append(work.read(tile, 0, ctx))
    step = [max(p.shape[0] * p.shape[1] // _PIXELS, 1) for p in pixels]
    sample = np.concatenate([p.reshape(-1, 3)[::s] for p, s in zip(pixels, step, strict=True)])
    sample = sample[sample.max(axis=1) > void]
    density = optical_density(sample, background)
    stains = estimate_stains(density, background)
    if estimate and not stains.estimated:
        ctx.warn(
            "The two stains could not be told apart in this section; the fixed colours of "
            "haematoxylin and eosin are used."
        )
    if not estimate:
        fixed = FIXED / np.linalg.norm(FIXED, axis=1, keepdims=True)
        stains = Stains(fixed, stains.strengths, background, False)
    tissue = 0.8 * view.look.threshold * view.look.unit
    return _thresholds(pixels, Look(stains, void, tissue), work, nucleus, ctx)


def _samples(view: Overview, work: WorkingImage) -> list[Tile]:
    tiles = list(work.tiles(_SIDE))
    centres = np.array([[np.mean(t.columns), np.mean(t.rows)] for t in tiles])
    on = [tile for tile, yes in zip(tiles, supported(view, work, centres), strict=True) if yes]
    on = on or tiles
    rows = np.unique(np.linspace(0, len(on) - 1, min(_SAMPLES, len(on))).astype(int))
    return [on[i] for i in rows]


def _thresholds(
    pixels: list[Floats], look: Look, work: WorkingImage, nucleus: float, ctx: JobContext
) -> Look:
    from dataclasses import replace

    from scipy import ndimage

    width = nucleus / work.pixel_size
    dark, contrast, strengths = [], [], []
    for i, part in enumerate(pixels):
        ctx.step(0.5 + 0.5 * i / len(pixels), "Learning what nuclei look like")
        tile = look_at(part, look.stains, look.void)
        tissue = (ndimage.gaussian_filter(tile.density, 2.0) > look.tissue) & (tile.valid > 0)
        seen = folds_seen(tile, work.pixel_size)
        dark.append(seen[0][tissue])
        contrast.append(seen[1][tissue])
        if width >= FEWEST_PIXELS:
            strengths.append(strengths_of(tile.amounts[..., 0], tile.valid, width))
    middle, spread = _robust(np.concatenate(dark))
    limit, scatter = _robust(np.concatenate(contrast))
    return replace(
        look,
        # Two layers of tissue absorb about twice as much as one.
        fold_density=max(1.6 * middle, middle + 3 * spread),
        fold_contrast=limit + 2 * scatter,
        nucleus=blob_threshold(np.concatenate(strengths)) if strengths else float("nan"),
    )


def _robust(values: Floats) -> tuple[float, float]:
    if not len(values):
        return float("inf"), 0.0
    middle = float(np.median(values))
    return middle, 1.4826 * float(np.median(np.abs(values - middle)))
