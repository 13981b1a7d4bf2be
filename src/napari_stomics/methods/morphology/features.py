"""H&E to interpretable features: per spot, as dense maps, and where not to trust them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import HistologySpots
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.morphology import DenseMaps, MorphologyFeatures
from napari_stomics.core.params import Params, param
from napari_stomics.core.registry import method
from napari_stomics.core.transforms import Affine
from napari_stomics.methods.morphology.grid import Tile, WorkingImage, working_image
from napari_stomics.methods.morphology.nuclei import FEWEST_PIXELS, nucleus_planes, shapes_of
from napari_stomics.methods.morphology.patches import PatchSums, features_of, summed_area
from napari_stomics.methods.morphology.planes import (
    Look,
    look_at,
    margin_of,
    planes_of,
    texture_scales,
)
from napari_stomics.methods.morphology.sampling import brightfield, learn, supported
from napari_stomics.methods.registration.tissue import Overview

Floats = NDArray[np.floating[Any]]

TILE = 1024
"""Side of a tile in working pixels; memory is bounded by one of them and its planes."""

_MOST_CELLS = 150_000
"""Cells of the dense maps on tissue."""


class FeatureParams(Params):
    """What is read from the image."""

    scales: tuple[float, ...] = param(
        (1.0, 2.0, 4.0),
        "Patches",
        "Widths of the square patches round each spot that are summed up, the smallest first.",
        unit="spot diameters",
    )
    pixel_size: float = param(
        1.0,
        "Pixel size",
        "Resolution at which the image is read; finer shows more of the nuclei and takes longer.",
        unit="um",
        gt=0.05,
        le=50,
    )
    stains: Literal["of the section", "fixed"] = param(
        "of the section",
        "Stains",
        "Estimate the colours of haematoxylin and eosin in the section, which evens out "
        "differences of staining, or use fixed ones.",
    )
    nucleus: float = param(
        8.0, "Nucleus", "Usual diameter of a nucleus.", unit="um", gt=1, le=60, advanced=True
    )
    texture: tuple[float, ...] = param(
        (2.0, 4.0, 8.0, 16.0),
        "Texture",
        "Scales of texture; those finer than the pixels are left out.",
        unit="um",
        advanced=True,
    )
    maps: bool = param(True, "Dense maps", "Make maps of the features beside the spots' values.")
    map_step: float | None = param(
        None,
        "Step of the maps",
        "Distance of their cells; by default a quarter of a spot.",
        unit="um",
        gt=0,
        advanced=True,
    )
    least_tissue: float = param(
        0.2, "Least tissue", "Share below which a spot is background.", ge=0, le=1, advanced=True
    )
    most_pen: float = param(
        0.25, "Most pen", "Share of pen from which a spot is flagged.", ge=0, le=1, advanced=True
    )
    most_fold: float = param(
        0.3, "Most folds", "Share of folds from which a spot is flagged.", ge=0, le=1, advanced=True
    )
    blur: float = param(
        4.0,
        "Blur",
        "Robust standard deviations less sharp than the section's median from which a spot "
        "is flagged.",
        gt=0,
        advanced=True,
    )


@method(
    task="morphology",
    name="features",
    title="Features of the H&E image",
    summary="Stains, texture and nuclei under each spot and as dense maps, with flags where the "
    "image is blurred, bare, folded or written on.",
    params=FeatureParams,
    inputs=HistologySpots,
    result=MorphologyFeatures,
    reference="Macenko et al. 2009, ISBI, p. 1107; Haralick et al. 1973, IEEE Trans SMC 3:610; "
    "Ojala et al. 2002, IEEE TPAMI 24:971; Kothari et al. 2013, J Pathol Inform 4:22",
)
def morphology_features(
    inputs: HistologySpots, params: FeatureParams, ctx: JobContext
) -> MorphologyFeatures:
    """Read the image tile by tile and sum it up under each spot.

    Raises
    ------
    UserError
        If no spot lies on the image, or it is no H&E image.
    """
    scales = tuple(sorted(set(params.scales)))
    if not scales or scales[0] <= 0:
        raise UserError("No width of patches is given.", "Give one or more, 1 for instance.")
    work = working_image(inputs.image, params.pixel_size)
    centres = work.to_um.inverse().apply(np.asarray(inputs.spots.coordinates, np.float64))
    on = ((centres >= 0) & (centres < np.array(work.shape[::-1]))).all(axis=1)
    if not on.any():
        raise UserError(
            f"No spot of section {inputs.spots.section!r} lies on its image.",
            "Check the pixel size and the position of the image.",
        )
    view = brightfield(inputs.image, ctx)
    look = learn(view, work, params.stains != "fixed", params.nucleus, ctx.part(0.0, 0.1))
    if params.nucleus / work.pixel_size < FEWEST_PIXELS:
        ctx.warn(
            f"A pixel is {work.pixel_size:.2g} um: nuclei of {params.nucleus:g} um cannot be told "
            "apart, so their features are left out."
        )
    radius = 0.5 * inputs.diameter / work.pixel_size
    gathered = [PatchSums(centres, scale * radius, work.shape) for scale in scales]
    grid, step, shape = _grid(view, work, inputs.diameter, params)
    gathered.append(PatchSums(grid, scales[0] * radius, work.shape))
    nuclei = gather(work, look, params, gathered, ctx.part(0.1, 1.0))
    features, values = _per_spot(scales, gathered[:-1], work.pixel_size)
    flags, measures = _flags(gathered[0], params)
    return MorphologyFeatures(
        section=inputs.spots.section,
        ids=inputs.spots.ids,
        features=np.array(features, object),
        values=values,
        flags=flags,
        measures=measures,
        maps=_maps(gathered[-1], grid, step, shape, work),
        stains=look.stains,
        nuclei=nuclei,
        pixel_size=work.pixel_size,
        settings={"scales": list(scales)},
    )


def gather(
    work: WorkingImage,
    look: Look,
    params: FeatureParams,
    patches: list[PatchSums],
    ctx: JobContext,
    side: int = TILE,
) -> int:
    """Sum all planes over all patches, tile by tile.

    Returns
    -------
    int
        How many nuclei were found; -1 where they cannot be told apart.
    """
    size = work.pixel_size
    scales = texture_scales(params.texture, size) or (size,)
    margin = margin_of(scales, size, params.nucleus)
    tiles = list(work.tiles(side))
    resolved = np.isfinite(look.nucleus)
    found = 0 if resolved else -1
    for i, tile in enumerate(tiles):
        ctx.step(i / len(tiles), f"Image features (tile {i + 1} of {len(tiles)})")
        here = [sums for sums in patches if sums.start(tile)]
        if not here:
            continue
        pixels = look_at(work.read(tile, margin, ctx), look.stains, look.void)

        def add(name: str, plane: Floats, here: list[PatchSums] = here) -> None:
            summed = summed_area(plane)
            for sums in here:
                sums.add(name, summed)

        for name, plane in planes_of(pixels, look, scales, size):
            ctx.step()
            add(name, plane[margin:-margin, margin:-margin] * _valid(pixels.valid, margin))
        if resolved:
            stain = pixels.amounts[..., 0]
            shapes = shapes_of(stain, pixels.valid, params.nucleus, size, look.nucleus, ctx)
            shapes.centres[:] -= margin
            found += _within(shapes.centres, tile)
            for name, plane in nucleus_planes(shapes, _size(tile)):
                ctx.step()
                add(name, plane)
    return found


def _valid(valid: Floats, margin: int) -> Floats:
    return valid[margin:-margin, margin:-margin]


def _size(tile: Tile) -> tuple[int, int]:
    return tile.rows[1] - tile.rows[0], tile.columns[1] - tile.columns[0]


def _within(centres: Floats, tile: Tile) -> int:
    at = np.floor(centres + 0.5)
    return int(((at >= 0) & (at < np.array(_size(tile)))).all(axis=1).sum())


def _per_spot(
    scales: tuple[float, ...], gathered: list[PatchSums], pixel_size: float
) -> tuple[list[str], Floats]:
    names, columns = [], []
    for scale, sums in zip(scales, gathered, strict=True):
        for name, values in features_of(sums.sums, pixel_size).items():
            names.append(f"{name}_{scale:g}x")
            columns.append(values)
    table = np.column_stack(columns)
    missing = ~np.isfinite(table)
    # What a patch cannot tell is the section's median there: the neutral guess.
    some = np.where((~missing).any(axis=0), table, 0)
    middle = np.nanmedian(np.where(np.isfinite(some), some, np.nan), axis=0)
    return names, np.where(missing, middle, table).astype(np.float32)


def _flags(
    sums: PatchSums, params: FeatureParams
) -> tuple[dict[str, NDArray[np.bool_]], dict[str, Floats]]:
    s = sums.sums
    valid = np.where(s["valid"] > 0, s["valid"], np.nan)
    covered = s["valid"] / sums.area
    tissue = np.nan_to_num(s["tissue"] / valid)
    pen = np.nan_to_num(s["pen"] / valid)
    fold = np.nan_to_num(s["fold"] / np.where(s["tissue"] > 0, s["tissue"], np.nan))
    off = covered < 0.5
    bare = ~off & (tissue < params.least_tissue)
    judged = ~off & ~bare
    tiny = 1e-12 * np.maximum(s["valid"], 1)
    sharp = np.log10((s["fine"] + tiny) / (s["coarse"] + tiny))
    z = np.full(len(sharp), np.nan)
    if judged.sum() > 2:
        middle = np.median(sharp[judged])
        spread = 1.4826 * np.median(np.abs(sharp[judged] - middle))
        z[judged] = (sharp[judged] - middle) / max(float(spread), 0.03)
    flags = {
        "off_image": off,
        "background": bare,
        "blur": judged & (np.nan_to_num(z) < -params.blur),
        "pen": ~off & (pen > params.most_pen),
        "fold": judged & (fold > params.most_fold),
    }
    measures = {"covered": covered, "tissue": tissue, "pen": pen, "fold": fold, "sharpness": z}
    return flags, measures


def _grid(
    view: Overview, work: WorkingImage, diameter: float, params: FeatureParams
) -> tuple[Floats, float, tuple[int, int]]:
    """Centres (x, y) of the maps' cells on tissue, their distance in working pixels, the shape."""
    if not params.maps:
        return np.zeros((0, 2)), 1.0, (0, 0)
    tissue = float((view.support.features[0] > 0.05).sum()) * view.support.spacing**2
    fewest = np.sqrt(tissue / _MOST_CELLS) / work.pixel_size
    wanted = (params.map_step or diameter / 4) / work.pixel_size
    step = float(max(wanted, fewest, 1.0))
    shape = tuple(max(int(np.ceil(n / step)), 1) for n in work.shape)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    centres = (np.column_stack([columns.ravel(), rows.ravel()]) + 0.5) * step
    return centres[supported(view, work, centres)], step, (shape[0], shape[1])


def _maps(
    sums: PatchSums, grid: Floats, step: float, shape: tuple[int, int], work: WorkingImage
) -> DenseMaps:
    if not len(grid) or not sums.sums:
        return DenseMaps((), np.zeros((0, 0, 0), np.float32), Affine.identity())
    to_um = Affine(np.diag([step, step, 1.0])).then(work.to_um)
    found = features_of(sums.sums, work.pixel_size)
    column, row = np.floor(grid / step).astype(int).T
    values = np.full((len(found), *shape), np.nan, np.float32)
    for i, name in enumerate(found):
        values[i, row, column] = found[name]
    return DenseMaps(tuple(found), values, to_um)
