"""Automatic registration: every pose searched, the best ones polished, one refined.

No landmark is needed. Tissue masks and tissue density of both sections are
compared over all rotations and shifts (and mirror images); the distinct best
poses are polished and judged on the structure within the tissue; the winner is
refined on intensities. The runners-up are kept, so that a person can choose.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import ImagePair
from napari_stomics.core.jobs import JobContext, limited_threads
from napari_stomics.core.params import Params, param
from napari_stomics.core.registry import method
from napari_stomics.core.results import Candidate, Registration
from napari_stomics.core.transforms import Affine, Composite, Transform
from napari_stomics.methods.registration.polish import Polisher
from napari_stomics.methods.registration.pose import Pose, distinct, pose_distance, search_poses
from napari_stomics.methods.registration.raster import Raster
from napari_stomics.methods.registration.refine import (
    refine_linear,
    refine_nonrigid,
)
from napari_stomics.methods.registration.tissue import Overview, survey, tissue_raster

SMALL_MARGIN = 0.06
"""Below this lead over the runner-up a person should confirm the pose by two clicks.

Where the first pose was wrong or had no right answer (a nearly symmetric brain,
cortex of two donors, bulb against lung) it led by 0.057 or less. On serial
sections of one specimen the right pose led by 0.08 to 0.45, and by as little as
0.04 where bulbs were cut down to half: those are asked about without need, which
costs two clicks; a wrong pose taken for certain costs more. A mirror image must
lead every unmirrored pose by more than this to be chosen.
"""

LOW_SCORE = 0.4
"""Below this score of the best pose the user is warned: unrelated images reached 0.32,
noise 0.12, and right poses 0.45 to 0.99, the lowest between stains."""

SEARCH_CELLS = 112
FINE_CELLS = 208
ANGLE_STEP = 6.0
COARSE, STRUCTURE = np.array([1.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
CLIMB = np.array([1.0, 1.0, 0.2])

Rows = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]


class AutomaticParams(Params):
    """Parameters of the automatic registration."""

    model: Literal["rigid", "similarity", "affine", "nonrigid"] = param(
        "affine",
        "Transform",
        "How far the source may be deformed. Each model starts from the one before it; "
        "nonrigid bends the tissue smoothly and does not fold it.",
    )
    mirror: Literal["auto", "never", "always"] = param(
        "auto",
        "Mirrored section",
        "auto: a mirror image is chosen only when it fits clearly better; never; always.",
    )
    max_scale: float = param(
        1.0,
        "Largest scale difference",
        "Scales from 1/this to this are searched. 1: the pixel sizes are right, "
        "small differences are found all the same.",
        ge=1.0,
        le=4.0,
        step=0.1,
        advanced=True,
    )
    smoothness: float = param(
        0.04,
        "Smoothness of the warp",
        "Width of the smoothing of a nonrigid warp, as a share of the tissue's extent.",
        ge=0.01,
        le=0.3,
        step=0.01,
        advanced=True,
    )
    initial: Rows | None = param(
        None,
        "Start from",
        "A (3, 3) matrix from source to target micrometres, (x, y, 1), for instance a "
        "runner-up or two clicked pairs. The search is left out.",
        advanced=True,
    )


@method(
    task="registration",
    name="automatic",
    title="Automatic, from the images",
    summary="Finds the pose of one section on another from tissue and image content, "
    "without landmarks, and refines it on intensities.",
    params=AutomaticParams,
    inputs=ImagePair,
    result=Registration,
    reference="Padfield, IEEE TIP 21:2706 (2012); Evangelidis and Psarakis, IEEE TPAMI "
    "30:1858 (2008); SimpleITK, Lowekamp et al., Front. Neuroinform. 7:45 (2013)",
)
def register_images(inputs: ImagePair, params: AutomaticParams, ctx: JobContext) -> Registration:
    """Register the source image to the target image without landmarks.

    Parameters
    ----------
    inputs
        The two images; only coarse levels are read.
    params
        See :class:`AutomaticParams`.
    ctx
        Progress and cancellation. The answer does not depend on its threads.

    Returns
    -------
    Registration
        With the refined map, the poses considered (best first) and the lead of
        the best over the runner-up. The lead is negative where a mirrored
        runner-up scores higher but not clearly so.

    Raises
    ------
    UserError
        If an image is blank or too small, or nothing overlaps.
    """
    with limited_threads(1):
        views = survey(inputs.source, ctx), survey(inputs.target, ctx)
        extent = max(float((v.high - v.low).max()) for v in views)
        fine = _rasters(views, extent / FINE_CELLS, True, ctx)
        poses = _poses(views, fine, extent, params, ctx)
        best = poses[0]
        if best.score < LOW_SCORE:
            ctx.warn(
                f"The best pose agrees poorly (score {best.score:.2f}). "
                "Check that both images show the same tissue, or place landmarks by hand."
            )
        transform, model, converged = _refine(fine, best, params, ctx.part(0.7, 1.0))
        ctx.step(1.0, "Registered")
    margin = float("nan")
    if len(poses) > 1:
        margin = float(best.score - max(p.score for p in poses[1:])) / max(abs(best.score), 1e-9)
    return Registration(
        source=inputs.source.section,
        target=inputs.target.section,
        transform=transform,
        model=model,
        driver="image",
        fold_fraction=_fold_fraction(transform, fine[0]),
        candidates=tuple(_candidate(p) for p in poses),
        margin=margin,
        source_pixel_size=float(np.sqrt(abs(np.linalg.det(inputs.source.to_um.matrix[:2, :2])))),
        converged=converged,
    )


def _rasters(
    views: tuple[Overview, Overview], spacing: float, fine: bool, ctx: JobContext
) -> tuple[Raster, Raster]:
    source, target = (tissue_raster(view, spacing, fine, ctx) for view in views)
    return source, target


def _poses(
    views: tuple[Overview, Overview],
    fine: tuple[Raster, Raster],
    extent: float,
    params: AutomaticParams,
    ctx: JobContext,
) -> list[Pose]:
    """Distinct poses, the chosen one first, then by score."""
    coarse = _rasters(views, extent / SEARCH_CELLS, False, ctx)
    points = _tissue_points(coarse[0])
    size = 2 * float(points.std(axis=0).mean())
    model = "rigid" if params.model == "rigid" else "similarity"
    if params.initial is not None:
        found = [_given(params.initial)]
    else:
        mirrors = {"auto": (False, True), "never": (False,), "always": (True,)}[params.mirror]
        found = search_poses(
            coarse[0],
            coarse[1],
            angles=np.arange(0.0, 360.0, ANGLE_STEP),
            mirrors=mirrors,
            scales=_scales(params),
            per_angle=2,
            ctx=ctx.part(0.05, 0.45),
        )
        found = distinct(found, points, 0.3 * size, 8)
    rough = _climbed(Polisher(*coarse), found, model, 12, ctx.part(0.45, 0.55))
    rough = distinct(rough, points, 0.15 * size, 6)
    polisher = Polisher(*fine, CLIMB)
    sharp = _climbed(polisher, rough, model, 10, ctx.part(0.55, 0.7))
    judged = [Pose(p.matrix, _judge(polisher, p.matrix), p.mirrored) for p in sharp]
    poses = distinct(judged, points, 0.15 * size, 6)
    if not poses or poses[0].score <= 0.0:
        raise UserError(
            "The two images have nothing in common that could be found.",
            "Check that they show the same tissue, or place landmarks by hand.",
        )
    return _unmirrored_first(poses)


def _unmirrored_first(poses: list[Pose]) -> list[Pose]:
    """Put the best unmirrored pose before mirror images that do not lead it clearly."""
    plain = next((p for p in poses if not p.mirrored), None)
    if plain is None or not poses[0].mirrored:
        return poses
    if poses[0].score - plain.score > SMALL_MARGIN * poses[0].score:
        return poses
    return [plain, *(p for p in poses if p is not plain)]


def _climbed(
    polisher: Polisher, poses: list[Pose], model: str, iterations: int, ctx: JobContext
) -> list[Pose]:
    out = []
    for i, pose in enumerate(poses):
        ctx.step(i / len(poses), "Comparing the best poses")
        matrix, score = polisher.climb(pose.matrix, model, iterations, ctx)
        out.append(Pose(matrix, score, pose.mirrored))
    return out


def _judge(polisher: Polisher, matrix: NDArray[Any]) -> float:
    """Mean correlation of outline with density, and of structure."""
    return 0.5 * (polisher.score(matrix, COARSE) + polisher.score(matrix, STRUCTURE))


def _scales(params: AutomaticParams) -> tuple[float, ...]:
    """Scales to search: around 1 as far as asked for."""
    if params.model == "rigid" or params.max_scale <= 1.0:
        return (1.0,)
    steps = int(np.ceil(np.log(params.max_scale) / np.log(1.2)))
    return tuple(params.max_scale ** (k / steps) for k in range(-steps, steps + 1))


def _given(rows: Rows) -> Pose:
    matrix = np.array(rows, dtype=float)
    determinant = float(np.linalg.det(matrix[:2, :2])) if np.isfinite(matrix).all() else 0.0
    if abs(determinant) < 1e-9 or not np.allclose(matrix[2], [0, 0, 1]):
        raise UserError(
            "The start of the registration is not an invertible affine matrix.",
            "Give a (3, 3) matrix whose last row is 0, 0, 1, or leave it empty.",
        )
    return Pose(matrix, 0.0, determinant < 0)


def _tissue_points(raster: Raster) -> NDArray[np.float64]:
    """(n, 2) places (x, y) um spread over the tissue."""
    rows, columns = np.nonzero((raster.features[1] > 0.05) & (raster.valid > 0.5))
    if len(rows) < 20:
        rows, columns = np.nonzero(raster.valid > 0.5)
    keep = slice(None, None, max(len(rows) // 1000, 1))
    grid = np.column_stack([columns[keep], rows[keep], np.ones(len(rows[keep]))])
    return (grid @ raster.to_um.T)[:, :2]


def _refine(
    rasters: tuple[Raster, Raster], pose: Pose, params: AutomaticParams, ctx: JobContext
) -> tuple[Transform, str, bool]:
    """Refine a pose as far as the model allows; a stage that fits no better is dropped."""
    source, target = rasters
    polisher = Polisher(source, target)
    points = _tissue_points(source)
    size = 2 * float(points.std(axis=0).mean())
    linear: list[str] = ["rigid"] if params.model == "rigid" else ["similarity"]
    if params.model in ("affine", "nonrigid"):
        linear.append("affine")
    matrix, score, model, converged = pose.matrix, -1.0, linear[0], True
    score = polisher.score(matrix, COARSE)
    for i, stage in enumerate(linear):
        part = ctx.part(0.3 * i, 0.3 * (i + 1))
        trial, stopped = refine_linear(source, target, matrix, stage, part)
        gained = polisher.score(trial, COARSE)
        near = pose_distance(trial, pose.matrix, points) < 0.35 * size and _plausible(trial, pose)
        if near and gained >= score - 0.01:
            matrix, score, model, converged = trial, gained, stage, stopped
    if params.model != "nonrigid":
        return Affine(matrix), model, converged
    return _bend(source, target, matrix, model, params, ctx.part(0.6, 1.0), converged)


def _plausible(matrix: NDArray[Any], pose: Pose) -> bool:
    """Whether a refined map stretches less than a fifth more than the pose it came from."""
    stretch = np.linalg.svd(matrix[:2, :2] @ np.linalg.inv(pose.matrix[:2, :2]))[1]
    return bool(stretch.max() < 1.2 and stretch.min() > 1 / 1.2)


def _bend(
    source: Raster,
    target: Raster,
    matrix: NDArray[Any],
    model: str,
    params: AutomaticParams,
    ctx: JobContext,
    converged: bool,
) -> tuple[Transform, str, bool]:
    """Add a smooth warp, smoother where it would come near to folding."""
    smoothness = params.smoothness
    for attempt in range(3):
        part = ctx.part(attempt / 3, (attempt + 1) / 3)
        field, lowest = refine_nonrigid(source, target, matrix, smoothness, part)
        if lowest > 0.2:
            return Composite((Affine(matrix), field)), "nonrigid", converged
        smoothness *= 1.6
    ctx.warn("The warp would fold the tissue, so the map was left at its linear part.")
    return Affine(matrix), model, converged


def _fold_fraction(transform: Transform, raster: Raster) -> float:
    determinant = transform.jacobian_determinant(_tissue_points(raster))
    sign = np.sign(np.median(determinant))
    return float((determinant * sign <= 0).mean())


def _candidate(pose: Pose) -> Candidate:
    linear = pose.matrix[:2, :2]
    if pose.mirrored:
        linear = linear @ np.diag([-1.0, 1.0])
    # Turned as seen with y up: the sign is that of y down reversed.
    degrees = -float(np.degrees(np.arctan2(linear[1, 0], linear[0, 0])))
    return Candidate(Affine(pose.matrix), pose.score, pose.mirrored, degrees)
