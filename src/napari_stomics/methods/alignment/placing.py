"""Where the source lies on the target, before any spot is matched.

All positions here are in units of spot pitch; see :class:`Placement`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import LandmarkPairs, SpotPair
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.results import Candidate
from napari_stomics.core.transforms import Affine, Transform, compose
from napari_stomics.methods.alignment.bend import Bend, fit_bend
from napari_stomics.methods.alignment.features import FeatureSpace
from napari_stomics.methods.alignment.flow import Level, feature_bend, feature_motion
from napari_stomics.methods.alignment.landmark_pose import pose_from_landmarks
from napari_stomics.methods.alignment.overlap import Overlap
from napari_stomics.methods.alignment.pose import find_pose
from napari_stomics.methods.alignment.poses import Pose
from napari_stomics.methods.alignment.refine import PoseRefiner
from napari_stomics.methods.alignment.rules import Pins
from napari_stomics.methods.alignment.settle import rigid, settled_bend, settled_pose
from napari_stomics.methods.preprocess import unit_rows

Floats = NDArray[np.floating[Any]]

_LEVELS = (Level(4.0, 4), Level(2.0, 6), Level(1.25, 6))
_REACH = 6.0  # pitches by which a pose from a map or from landmarks may be wrong
_FAITH = 0.05  # share of the score by which another pose must beat the known map
_ON_TOP = 0.5  # pitches within which two spots lie on each other
_EVIDENCE = 0.25  # of each spot that lies on another, against standard errors of the features
_DRIFT = 0.55  # pitches by which a refined pose is usually wrong
_MET = 0.2  # pitches within which a pin counts as met
_MANY = 6000  # spots beyond which more than those of the pose's refinement can tell
_WIDE = 64  # features beyond which the few of the pose's search bend the source
_FEW = 60  # spots below which nothing is bent


@dataclass(frozen=True, eq=False)
class Frame:
    """The two sections in units of spot pitch.

    Attributes
    ----------
    source, target
        (n, 2), (m, 2) positions, each in its own frame.
    pitch
        Micrometres per unit.
    features
        What can be compared.
    """

    source: Floats
    target: Floats
    pitch: float
    features: FeatureSpace

    @classmethod
    def of(cls, pair: SpotPair, features: FeatureSpace) -> Frame:
        """Lay out a pair; the unit is the coarser of the two pitches."""
        pitch = max(pair.source.pitch, pair.target.pitch)
        a, b = pair.source.coordinates / pitch, pair.target.coordinates / pitch
        return cls(np.asarray(a, np.float64), np.asarray(b, np.float64), pitch, features)


@dataclass(frozen=True, eq=False)
class Placement:
    """A pose and a bend of the source on the target.

    Attributes
    ----------
    pose
        Rigid motion, or the linear part of the map given.
    bend
        Displacement after it; None for none.
    margin
        Lead of the pose over the runner-up; NaN where no pose was searched.
    candidates
        Poses considered, best first.
    """

    pose: Pose
    bend: Bend | None = None
    margin: float = float("nan")
    candidates: tuple[Pose, ...] = ()

    def posed(self, points: Floats) -> Floats:
        """(n, 2) points under the linear pose alone."""
        return self.pose.apply(points)

    def apply(self, points: Floats) -> Floats:
        """(n, 2) points in the target's frame."""
        posed = self.posed(points)
        return posed if self.bend is None else self.bend.apply(posed)

    def transform(self, pitch: float) -> Transform:
        """Map of micrometres to micrometres."""
        linear = self.pose.affine(pitch)
        if self.bend is None:
            return linear
        return compose(linear, self.bend.grid.field(self.bend.values, pitch))

    def listed(self, pitch: float) -> tuple[Candidate, ...]:
        """Poses considered, as a registration lists them."""
        return tuple(
            Candidate(p.affine(pitch), float(p.score), p.mirrored, (360.0 - p.degrees) % 360)
            for p in self.candidates
        )


def placement_of(transform: Transform, frame: Frame) -> Placement:
    """Express a known map as a pose and a bend."""
    if isinstance(transform, Affine):
        return Placement(Pose.from_affine(transform, frame.pitch))
    placed = transform.apply(frame.source * frame.pitch) / frame.pitch
    sound = np.isfinite(placed).all(axis=1)
    if sound.sum() < 3:
        raise UserError(
            "The known map carries hardly any spot anywhere.", "Register the sections again."
        )
    points, there = frame.source[sound], placed[sound]
    pose = rigid(points, there, np.ones(len(points)), None)
    posed = pose.apply(points)
    bend = fit_bend(posed, there - posed, np.ones(len(posed)), length=2.0, spacing=2.0)
    return Placement(pose, bend)


@dataclass(frozen=True)
class Wishes:
    """What the user asked of the placement.

    Attributes
    ----------
    prior
        ``automatic``, ``registration``, ``landmarks`` or ``pinned``.
    mirror
        Whether the source may lie face down.
    """

    prior: str
    mirror: bool


def place(
    frame: Frame,
    pair: SpotPair,
    landmarks: LandmarkPairs | None,
    wishes: Wishes,
    ctx: JobContext,
    show: Callable[[str, Floats], None],
) -> Placement:
    """Find how the source lies on the target, without bending it.

    Parameters
    ----------
    frame
        The sections.
    pair
        For the map that is known.
    landmarks
        Landmarks to start from; those left out are not among them.
    wishes
        See :class:`Wishes`.
    ctx
        Progress and cancelling.
    show
        Called with a phase and placed spots, in pitches.

    Raises
    ------
    UserError
        If the map or the landmarks to start from are not there.
    """
    found = _pose(frame, pair, landmarks, wishes, ctx)
    if len(frame.source) > _MANY and found.bend is None and frame.features.searchable:
        rows = frame.features.search_source, frame.features.search_target
        every = frame.features.source, frame.features.target
        pose = feature_motion(frame.source, frame.target, rows, found.pose)
        found = replace(found, pose=settled_pose(frame.source, frame.target, every, pose))
    show("refine", found.apply(frame.source))
    return found


def _pose(
    frame: Frame,
    pair: SpotPair,
    landmarks: LandmarkPairs | None,
    wishes: Wishes,
    ctx: JobContext,
) -> Placement:
    if wishes.prior in ("landmarks", "pinned"):
        return _from_landmarks(frame, landmarks, wishes.mirror, ctx)
    if wishes.prior == "registration" and pair.initial is None:
        raise UserError(
            "There is no registration of these sections to start from.",
            "Register them, or choose the automatic start.",
        )
    known = None if pair.initial is None else placement_of(pair.initial, frame)
    space = frame.features
    if known is not None and (wishes.prior == "registration" or not space.searchable):
        return _refined(frame, known)
    search = find_pose(
        frame.source, frame.target, space.search_source, space.search_target,
        mirror=wishes.mirror, ctx=ctx,
    )  # fmt: skip
    if not space.searchable:
        return Placement(search.best, None, search.margin, search.poses)
    judge = _judge(frame)
    best = judge.refine(search.best)
    out = Placement(best, None, search.margin, (best, *search.poses[1:]))
    if known is not None:
        again = _refined(frame, known, judge)
        if judge.score(again.pose) >= (1 - _FAITH) * judge.score(best):
            return replace(again, margin=search.margin, candidates=out.candidates)
    return out


def _judge(frame: Frame) -> PoseRefiner:
    space = frame.features
    return PoseRefiner(frame.source, frame.target, space.search_source, space.search_target)


def _refined(frame: Frame, known: Placement, judge: PoseRefiner | None = None) -> Placement:
    """A known map made exact; one that bends is taken as it is."""
    if known.bend is not None or not frame.features.searchable:
        return known
    return replace(known, pose=(judge or _judge(frame)).refine(known.pose, reach=_REACH))


def _from_landmarks(
    frame: Frame, landmarks: LandmarkPairs | None, mirror: bool, ctx: JobContext
) -> Placement:
    """A robust fit to the landmarks, refined on the features."""
    if landmarks is None or len(landmarks.names) < 2:
        raise UserError(
            f"{0 if landmarks is None else len(landmarks.names)} landmark pairs are left to "
            "start from.",
            "Place at least two pairs, leave fewer out, or choose the automatic start.",
        )
    pins, space = pins_of(frame, landmarks), frame.features
    found = pose_from_landmarks(
        pins.source, pins.target, frame.source, frame.target,
        space.search_source, space.search_target, mirror=mirror, ctx=ctx,
    )  # fmt: skip
    if found.outliers.any():
        names = [n for n, out in zip(landmarks.names, found.outliers, strict=True) if out]
        ctx.warn(
            f"{', '.join(names)} {'disagrees' if len(names) == 1 else 'disagree'} with the other "
            "landmarks and did not count for the start: check where they were placed."
        )
    return Placement(found.pose, candidates=(found.pose,))


def snapped(frame: Frame, found: Placement, overlap: Overlap) -> Placement:
    """The placement settled on the spots, on the step of their lattice that is most likely.

    On regular arrays a placement locks in: where the tissue's outline does not
    hold it, it may come to rest one spot off. Each of the steps around is tried;
    judged are the features of the spots that lie on each other, how many these
    are, and how far it has gone from where the features as a whole put it.

    Parameters
    ----------
    frame
        The sections.
    found
        A pose refined on the features.
    overlap
        The tissue that both hold under it.
    """
    space = frame.features
    rows = [
        unit_rows(x - x[common].mean(axis=0))
        for x, common in (
            (space.search_source, overlap.source),
            (space.search_target, overlap.target),
        )
    ]
    tree = _tree(frame.target)
    before = found.apply(frame.source)[overlap.source]
    best, most = found, -np.inf
    for _ in range(2):  # a first step may have to free it from between two rows
        middle = best.pose
        for step in (np.zeros(2), *_lattice_steps(frame.target)):
            pose = replace(middle, shift=middle.shift + step)
            pose = settled_pose(frame.source, frame.target, (space.source, space.target), pose)
            placed = pose.apply(frame.source)
            gap, near = tree.query(placed, distance_upper_bound=_ON_TOP)
            on = np.flatnonzero(np.isfinite(gap))
            if len(on) < 10:
                continue
            alike = np.einsum("nk,nk->n", rows[0][on], rows[1][near[on]])
            certain = float(alike.mean() / (alike.std() + 1e-12)) * np.sqrt(len(on))
            strayed = float(((placed[overlap.source] - before) ** 2).sum(axis=1).mean())
            likely = certain + _EVIDENCE * len(on) - 0.5 * strayed / _DRIFT**2
            if likely > most:
                best, most = replace(found, pose=pose), likely
    return best


def _tree(points: Floats) -> Any:
    from scipy.spatial import cKDTree

    return cKDTree(points)


def _lattice_steps(points: Floats) -> Floats:
    """(6, 2) or (4, 2) steps from a spot to its neighbours on a regular array."""
    some = points[np.random.default_rng(0).permutation(len(points))[:500]]
    gaps, near = _tree(points).query(some, k=2)
    way = (points[near[:, 1]] - some) @ np.array([1.0, 1.0j])
    way = way / np.maximum(np.abs(way), 1e-12)
    folds = max((4, 6), key=lambda k: abs((way**k).mean()))
    angle = np.angle((way**folds).mean()) / folds + 2 * np.pi / folds * np.arange(folds)
    return np.asarray(np.median(gaps[:, 1]) * np.column_stack([np.cos(angle), np.sin(angle)]))


def bent(frame: Frame, found: Placement, ctx: JobContext) -> Placement | None:
    """The placement with a bend by smoothed features; None where these ask for none."""
    space = frame.features
    if min(len(frame.source), len(frame.target)) < _FEW or not space.searchable:
        return None
    rows = space.source, space.target
    if rows[0].shape[1] > _WIDE:
        rows = space.search_source, space.search_target
    posed = found.posed(frame.source)
    bend = feature_bend(posed, frame.target, rows, _LEVELS, ctx)
    if bend is None:
        return None
    bend = settled_bend(posed, frame.target, (space.source, space.target), bend)
    return replace(found, bend=bend)


def pinned(frame: Frame, found: Placement, pins: Pins) -> Placement | None:
    """The placement drawn onto the landmarks around them; None where it meets them already."""
    at = found.apply(pins.source)
    if np.linalg.norm(at - pins.target, axis=1).max() < _MET:
        return None
    posed = found.posed(frame.source)
    before = found.apply(frame.source)
    after = before + pins.pull(before, at)
    bend = fit_bend(posed, after - posed, np.ones(len(posed)), length=1.5, spacing=1.5)
    return replace(found, bend=bend)


def pins_of(frame: Frame, landmarks: LandmarkPairs) -> Pins:
    """Landmarks in units of pitch."""
    return Pins(landmarks.source_points / frame.pitch, landmarks.target_points / frame.pitch)
