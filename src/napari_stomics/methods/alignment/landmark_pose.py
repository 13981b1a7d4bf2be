"""The pose that landmarks suggest, made exact on the features.

A few clicks are wrong by several pitches, and a pose fitted to them more so away
from them. They say where to look: the features decide within what the clicks leave
open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.alignment.pose import Window, find_pose
from napari_stomics.methods.alignment.poses import Pose
from napari_stomics.methods.alignment.refine import PoseRefiner
from napari_stomics.methods.registration.estimate import fit_linear
from napari_stomics.methods.registration.outliers import choose_mirror, find_outliers

Floats = NDArray[np.floating[Any]]

_USUAL_ERROR = 2.0  # pitches by which a click is wrong, before the pairs say more
_BELIEF = 3.0  # pairs' worth of that
_SPREADS = 3.0  # standard deviations of the pose that are searched
_WIDEST = 60.0  # degrees
_THRESHOLD = 4.0  # standard deviations beyond which a pair is left out
_CLEARER = 0.02  # score by which the features must improve on the clicks


@dataclass(frozen=True)
class LandmarkPose:
    """A pose from landmarks.

    Attributes
    ----------
    pose
        The pose, refined on the features.
    fitted
        The pose that fits the landmarks best.
    outliers
        (k,) flags of pairs that disagree with the others and were left out.
    error
        Distance, in pitches, by which one landmark of a pair is estimated to be misplaced.
    """

    pose: Pose
    fitted: Pose
    outliers: NDArray[np.bool_]
    error: float


def pose_from_landmarks(
    source: Floats,
    target: Floats,
    a: Floats,
    b: Floats,
    fa: Floats,
    fb: Floats,
    *,
    mirror: bool = True,
    ctx: JobContext | None = None,
) -> LandmarkPose:
    """Place the source by landmarks that may be several pitches off.

    Pairs that disagree with the others are left out. The uncertainty of the fit
    follows from its residuals, and all poses within it are searched by their
    features before the best is refined.

    Parameters
    ----------
    source, target
        (k, 2) positions of k >= 2 landmark pairs in spot pitches.
    a, b, fa, fb
        Positions and features of the spots, as in
        :func:`~napari_stomics.methods.alignment.pose.find_pose`. With r = 0
        features the fit is returned.
    mirror
        Whether the source may lie face down. Two pairs do not tell; the
        features then do.
    ctx
        Progress and cancelling.

    Raises
    ------
    UserError
        If there are fewer than two pairs, or all are at one place.
    """
    ctx = ctx or JobContext()
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    _check(source, target)
    fits = _fits(source, target, mirror)
    best = fits[0]
    if not fa.shape[1]:
        return best
    windows = tuple(_window(fit, source, a) for fit in fits)
    step = float(np.clip(max(w.degrees for w in windows) / 4, 2.5, 10.0))
    found = find_pose(a, b, fa, fb, step=step, windows=windows, ctx=ctx.part(0.0, 0.7))
    judge = PoseRefiner(a, b, fa, fb)
    scored = []
    for i, start in enumerate((*found.poses[:2], *(fit.fitted for fit in fits))):
        ctx.step(0.7 + 0.06 * i, "Refining the pose from landmarks")
        pose = judge.refine(start, reach=max(2 * best.error, 3.0))
        if _inside(pose, windows, a):
            scored.append(pose)
    # Features that say nothing must not move what was clicked.
    plain = judge.score(best.fitted)
    chosen = max(scored, key=lambda pose: pose.score, default=best.fitted)
    if not chosen.score > plain + _CLEARER and plain < 0.5:
        return replace(best, pose=replace(best.fitted, score=plain))
    for fit in fits:
        if fit.fitted.mirrored == chosen.mirrored:
            best = fit
    return replace(best, pose=chosen)


def _check(source: Floats, target: Floats) -> None:
    if len(source) < 2:
        raise UserError(
            f"{len(source)} landmark pair{' is' if len(source) == 1 else 's are'} left to start "
            "from; a pose needs two.",
            "Place at least two pairs, hold fewer out, or choose the automatic start.",
        )
    for points in (source, target):
        if not np.isfinite(points).all() or np.ptp(points, axis=0).max() < 1e-6:
            raise UserError(
                "The landmarks of one section lie at one place or nowhere.",
                "Move or delete them, or choose the automatic start.",
            )


def _fits(source: Floats, target: Floats, mirror: bool) -> list[LandmarkPose]:
    """Robust rigid fits, the likelier orientation first; both where the pairs do not tell."""
    flips = [False]
    if mirror and len(source) == 2:
        flips = [False, True]
    elif mirror and choose_mirror(source, target):
        flips = [True]
    out = []
    for flip in flips:
        wrong = find_outliers(source, target, "rigid", _THRESHOLD, flip)
        kept = ~wrong
        fit = fit_linear(source[kept], target[kept], "rigid", flip)
        matrix = np.asarray(fit.transform.linear_part().matrix)
        squared = float((np.abs(fit.residuals) ** 2).sum())
        freedom = max(2 * int(kept.sum()) - 3, 1) + 2 * _BELIEF
        # Both ends of a pair are misplaced: a residual holds twice the variance.
        error = np.sqrt((squared / 2 + 2 * _BELIEF * _USUAL_ERROR**2) / freedom)
        pose = Pose(matrix[:2, :2], matrix[:2, 2])
        out.append(LandmarkPose(pose, pose, wrong, float(error)))
    return out


def _window(fit: LandmarkPose, source: Floats, a: Floats) -> Window:
    """Poses that the landmarks leave open."""
    points = source[~fit.outliers]
    middle = points.mean(axis=0)
    pair = np.sqrt(2) * fit.error
    turning = pair / np.sqrt(((points - middle) ** 2).sum())
    lever = float(np.linalg.norm(np.asarray(a).mean(axis=0) - middle))
    shift = np.hypot(pair / np.sqrt(len(points)), turning * lever)
    degrees = float(min(np.degrees(_SPREADS * turning), _WIDEST))
    return Window(fit.fitted, degrees, float(_SPREADS * shift))


def _inside(pose: Pose, windows: tuple[Window, ...], a: Floats) -> bool:
    """Whether a refined pose has stayed near a window."""
    centre = np.asarray(a, np.float64).mean(axis=0)[None]
    for window in windows:
        turned = (pose.degrees - window.pose.degrees + 180) % 360 - 180
        away = np.linalg.norm(pose.apply(centre) - window.pose.apply(centre))
        near = abs(turned) <= 1.3 * window.degrees + 2 and away <= 1.3 * window.shift + 1
        if near and pose.mirrored == window.pose.mirrored:
            return True
    return False
