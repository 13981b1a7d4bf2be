"""An image laid on cells by its nuclei: H&E on Xenium-like cells to less than a micron."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import NucleiInputs
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import Params, param
from napari_stomics.core.registry import method
from napari_stomics.core.results import Candidate, Registration
from napari_stomics.core.transforms import Affine, Transform
from napari_stomics.methods.registration.estimate import fit_linear
from napari_stomics.methods.registration.points import (
    Agreement,
    Fit,
    agreement,
    align_locally,
    checkerboard,
    closest_points,
    mutual_pairs,
    spacing_of,
)
from napari_stomics.methods.registration.polish import Polisher
from napari_stomics.methods.registration.pose import Pose, distinct, search_poses
from napari_stomics.methods.registration.raster import Raster
from napari_stomics.methods.registration.segment import find_nuclei

Floats = NDArray[np.floating[Any]]

FEWEST = 100
"""Nuclei and cells below which a pattern could agree by chance."""

CLEARLY = 0.08
"""How much larger the share of cells found must be than under any wrong shift.

Cells that have nothing to do with the image reached 0 at most, and patterns of which half
was missing and a third strayed by 3 um .17 at least (simulated tissue of 5,000 nuclei)."""

PAIRS_KEPT = 1000
"""Pairs whose errors are kept with the result, evenly spread over all."""

_COARSE_CELLS, _FINE_CELLS = 96, 192
_POSES = 6


class NucleiParams(Params):
    """Parameters of the registration by nuclei."""

    model: Literal["rigid", "similarity", "affine"] = param(
        "affine", "Transform", "How far the image may be deformed."
    )
    diameter: float = param(
        8.0, "Nucleus diameter", "Usual diameter of a nucleus.", unit="um", ge=2, le=40, step=0.5
    )
    reach: float = param(
        60.0,
        "Coarse error",
        "How far the coarse registration may be wrong.",
        unit="um",
        ge=5,
        le=1000,
        step=5.0,
    )
    within: float = param(
        3.0,
        "Matched within",
        "Distance up to which a cell counts as matched to a nucleus, in the report.",
        unit="um",
        gt=0,
        le=20,
        step=0.5,
        advanced=True,
    )
    pixel: float = param(
        1.0,
        "Pixel size",
        "At which the image is read; finer costs time and gains little.",
        unit="um",
        ge=0.1,
        le=3,
        step=0.1,
        advanced=True,
    )


@method(
    task="registration",
    name="nuclei",
    title="Nuclei of the image on cells",
    summary="Finds the nuclei of an H&E or nuclear stain and lays them on the cells of another "
    "section, from a coarse registration or none; refuses where their patterns do not agree.",
    params=NucleiParams,
    inputs=NucleiInputs,
    result=Registration,
    reference="Besl & McKay 1992, IEEE TPAMI 14:239; Ruifrok & Johnston 2001, Anal Quant Cytol "
    "Histol 23:291",
)
def register_nuclei(inputs: NucleiInputs, params: NucleiParams, ctx: JobContext) -> Registration:
    """Register an image to cells by its nuclei.

    Returns
    -------
    Registration
        ``residuals`` are distances of matched pairs under the map fitted to all of them,
        ``leave_one_out`` those under the map fitted without the pair's half of the cells
        (white or black squares of a board); ``matched_share`` is of the half left out.

    Raises
    ------
    UserError
        If there are too few nuclei or cells, or their patterns do not agree.
    """
    cells = np.asarray(inputs.cells.coordinates, np.float64)
    nuclei = find_nuclei(inputs.image, params.diameter, params.pixel, ctx.part(0, 0.7)).centroids
    _check(inputs, nuclei, cells)
    starts = _starts(inputs, nuclei, cells, ctx.part(0.7, 0.8))
    tried = []
    for i, (start, reach) in enumerate(starts):
        part = ctx.part(0.8 + 0.12 * i / len(starts), 0.8 + 0.12 * (i + 1) / len(starts))
        coarse, agreeing, _ = align_locally(nuclei, cells, start, max(reach, params.reach), part)
        if agreeing:
            fit = closest_points(nuclei, cells, coarse, params.model, part)
            tried.append((coarse, fit, _judge(fit.transform, nuclei, cells, params.within)))
    if not tried:
        raise _nothing(inputs, None)
    tried.sort(key=lambda t: t[2].chance - t[2].share)
    coarse, fit, _ = tried[0]
    ctx.step(0.93, "Leaving half of the cells out")
    halves, told = _crosswise(coarse, nuclei, cells, params, ctx.part(0.93, 1.0))
    if told.share - told.runner_up < CLEARLY:
        raise _nothing(inputs, told)
    return _result(inputs, params, nuclei, cells, fit, halves, told, tried)


def _check(inputs: NucleiInputs, nuclei: Floats, cells: Floats) -> None:
    for count, what, section in (
        (len(nuclei), "nuclei", inputs.image.section),
        (len(cells), "cells", inputs.cells.section),
    ):
        if count < FEWEST:
            raise UserError(
                f"Section {section!r} shows {count} {what}: too few for a pattern.",
                f"At least {FEWEST} are needed; place landmarks by hand.",
            )


def _nothing(inputs: NucleiInputs, told: Agreement | None) -> UserError:
    figures = ""
    if told is not None:
        figures = (
            f" {told.share:.0%} of the cells have a nucleus near, under wrong shifts up to "
            f"{told.runner_up:.0%}."
        )
    return UserError(
        f"The nuclei of {inputs.image.section!r} and the cells of {inputs.cells.section!r} do "
        f"not lie in the same pattern.{figures}",
        "Check that both come from the same section of tissue, register them roughly by two "
        "or three landmarks, or allow a larger coarse error.",
    )


def _starts(
    inputs: NucleiInputs, nuclei: Floats, cells: Floats, ctx: JobContext
) -> list[tuple[Affine, float]]:
    """Coarse maps with how far they may be wrong, um."""
    if inputs.initial is not None:
        return [(_linear(inputs.initial, nuclei), 0.0)]
    extent = float(max(np.ptp(points, axis=0).max() for points in (nuclei, cells)))
    coarse = [_density(points, extent / _COARSE_CELLS) for points in (nuclei, cells)]
    some = nuclei[:: max(1, len(nuclei) // 1000)]
    size = 2 * float(some.std(axis=0).mean())
    found = search_poses(
        coarse[0],
        coarse[1],
        angles=np.arange(0.0, 360.0, 6.0),
        mirrors=(False, True),
        scales=(1.0,),
        per_angle=2,
        ctx=ctx,
    )
    found = distinct(found, some, 0.2 * size, _POSES)
    spacing = extent / _FINE_CELLS
    polisher = Polisher(_density(nuclei, spacing), _density(cells, spacing))
    sharp = [
        Pose(*polisher.climb(pose.matrix, "similarity", 15, ctx), pose.mirrored) for pose in found
    ]
    return [(Affine(p.matrix), 3 * spacing) for p in distinct(sharp, some, 0.1 * size, _POSES)]


def _linear(transform: Transform, points: Floats) -> Affine:
    """The affine map nearest to another one over the points."""
    there = np.asarray(transform.apply(points))
    known = np.isfinite(there).all(axis=1)
    if known.sum() < 3:
        raise UserError(
            "The stored registration does not reach the image.",
            "Register the two sections again, or start without it.",
        )
    found = fit_linear(points[known], there[known], "affine").transform
    assert isinstance(found, Affine)
    return found


def _density(points: Floats, spacing: float) -> Raster:
    """Raster of how dense points lie: tissue (0 to 1) and density (about 0 to 1)."""
    from scipy import ndimage

    low = points.min(axis=0) - 6 * spacing
    shape = np.ceil((np.ptp(points, axis=0) + 12 * spacing) / spacing).astype(int)[::-1]
    index = ((points - low) / spacing).astype(int)[:, ::-1]
    counts = np.zeros(tuple(shape), np.float32)
    np.add.at(counts, tuple(index.T), 1.0)
    smooth = ndimage.gaussian_filter(counts, 1.0)
    usual = float(np.percentile(smooth[counts > 0], 90))
    tissue = np.clip(ndimage.gaussian_filter(counts, 2.0) / (0.3 * usual), 0, 1)
    features = np.stack([tissue, np.minimum(smooth / usual, 1.5)]).astype(np.float32)
    valid = np.ones(tuple(shape), np.float32)
    return Raster(features, valid, (float(low[0]), float(low[1])), spacing)


def _judge(transform: Affine, nuclei: Floats, cells: Floats, within: float) -> Agreement:
    return agreement(transform.apply(nuclei), cells, within, spacing_of(cells))


def _crosswise(
    coarse: Affine, nuclei: Floats, cells: Floats, params: NucleiParams, ctx: JobContext
) -> tuple[tuple[Affine, Affine], Agreement]:
    """Maps fitted without the white and without the black cells, and how they find those."""
    white = checkerboard(cells)
    fits, told = [], []
    for left_out in (white, ~white):
        fit = closest_points(nuclei, cells[~left_out], coarse, params.model, ctx)
        fits.append(fit.transform)
        told.append(_judge(fit.transform, nuclei, cells[left_out], params.within))
    judged = np.array([t.judged for t in told], float)
    share = np.average([t.share for t in told], weights=judged) if judged.any() else 0.0
    # The better of the two wrong shifts counts: the comparison is not to flatter.
    worst = max(told, key=lambda t: t.runner_up)
    both = Agreement(
        float(share),
        float(np.mean([t.chance for t in told])),
        worst.runner_up,
        worst.shift,
        int(judged.sum()),
    )
    return (fits[0], fits[1]), both


def _result(
    inputs: NucleiInputs,
    params: NucleiParams,
    nuclei: Floats,
    cells: Floats,
    fit: Fit,
    halves: tuple[Affine, Affine],
    told: Agreement,
    tried: list[tuple[Affine, Fit, Agreement]],
) -> Registration:
    mine, theirs, residuals = mutual_pairs(fit.transform.apply(nuclei), cells, params.within)
    some = np.linspace(0, len(mine) - 1, min(PAIRS_KEPT, len(mine))).astype(int)
    mine, theirs, residuals = mine[some], theirs[some], residuals[some]
    white = checkerboard(cells)[theirs]
    left_out = np.where(
        white[:, None], halves[0].apply(nuclei[mine]), halves[1].apply(nuclei[mine])
    )
    wrong = Affine(np.array([[1, 0, told.shift[0]], [0, 1, told.shift[1]], [0, 0, 1.0]]))
    others = [(t[1].transform, t[2].share) for t in tried[1:]]
    others.append((fit.transform.then(wrong), told.runner_up))
    others.sort(key=lambda o: -o[1])
    return Registration(
        source=inputs.image.section,
        target=inputs.cells.section,
        transform=fit.transform,
        model=params.model,
        driver="nuclei",
        names=tuple(map(str, inputs.cells.ids[theirs])),
        residuals=residuals,
        leave_one_out=np.linalg.norm(left_out - cells[theirs], axis=1),
        outliers=np.zeros(len(mine), bool),
        candidates=tuple(
            _candidate(t, s) for t, s in [(fit.transform, told.share), *others[: _POSES - 1]]
        ),
        margin=(told.share - others[0][1]) / max(told.share, 1e-9),
        source_pixel_size=float(np.sqrt(abs(np.linalg.det(inputs.image.to_um.matrix[:2, :2])))),
        converged=fit.converged,
        matched_share=told.share,
        chance_share=told.chance,
    )


def _candidate(transform: Affine, score: float) -> Candidate:
    linear = transform.matrix[:2, :2]
    mirrored = bool(np.linalg.det(linear) < 0)
    if mirrored:
        linear = linear @ np.diag([-1.0, 1.0])
    # Turned as seen with y up: the sign is that of y down reversed.
    degrees = -float(np.degrees(np.arctan2(linear[1, 0], linear[0, 0])))
    return Candidate(transform, float(score), mirrored, degrees)
