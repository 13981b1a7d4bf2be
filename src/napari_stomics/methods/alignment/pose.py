"""The pose of one section on the other: every rotation, shift and mirror image is tried.

Positions here, as everywhere in this package, are in units of spot pitch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import Affine
from napari_stomics.methods.alignment._correlation import (
    FeatureRaster,
    ShiftScores,
    Turner,
    rasterise,
)

Floats = NDArray[np.floating[Any]]

UNSURE = 0.15
"""Margin below which a pose should be confirmed by two landmarks."""

_CELLS = 36  # along the longer side of the larger section
_FINEST = 1.3  # pitches per cell at least
_BLUR = 0.8  # cells
_SHIFTS = 4  # per rotation
_REFINED = 6  # distinct poses that are looked at closely
_MANY = 30_000  # spots beyond which they are pooled before they are rasterised


@dataclass(frozen=True)
class Pose:
    """A linear map of the source onto the target, in units of spot pitch.

    Attributes
    ----------
    matrix
        (2, 2) rotation, mirrored where its determinant is negative; with scale
        or shear where that was asked for.
    shift
        (2,) added after it.
    score
        In [0, 1]: the correlation of the smoothed features under it, over the
        whole of the smaller section. NaN where none was computed.
    """

    matrix: Floats
    shift: Floats
    score: float = float("nan")

    def apply(self, points: Floats) -> Floats:
        """(n, 2) points of the source in the target's frame."""
        return np.asarray(np.asarray(points, np.float64) @ self.matrix.T + self.shift)

    @property
    def mirrored(self) -> bool:
        """Whether the source is turned over."""
        return bool(np.linalg.det(self.matrix) < 0)

    @property
    def degrees(self) -> float:
        """Rotation in [0, 360), after mirroring x where the pose is mirrored."""
        column = self.matrix[:, 0] * (-1 if self.mirrored else 1)
        return float(np.degrees(np.arctan2(column[1], column[0])) % 360)

    def affine(self, pitch: float, target_pitch: float | None = None) -> Affine:
        """Map of micrometres to micrometres.

        Parameters
        ----------
        pitch
            Micrometres by which the source positions were divided.
        target_pitch
            The same of the target, where it is another.
        """
        onto = pitch if target_pitch is None else target_pitch
        out = np.eye(3)
        out[:2, :2] = self.matrix * (onto / pitch)
        out[:2, 2] = self.shift * onto
        return Affine(out)

    @classmethod
    def from_affine(cls, affine: Affine, pitch: float, target_pitch: float | None = None) -> Pose:
        """Return the pose of a map of micrometres, see :meth:`affine`."""
        onto = pitch if target_pitch is None else target_pitch
        return cls(affine.matrix[:2, :2] * (pitch / onto), affine.matrix[:2, 2] / onto)


@dataclass(frozen=True)
class PoseSearch:
    """Distinct poses, best first, and how far the best one leads.

    Attributes
    ----------
    poses
        Local optima of the search, at most a handful.
    margin
        Lead of the best pose over the runner-up as a share of its score, in
        [0, 1]. Below :data:`UNSURE` another pose explains the features nearly
        as well.
    """

    poses: tuple[Pose, ...]
    margin: float

    @property
    def best(self) -> Pose:
        """The pose of the highest score."""
        return self.poses[0]

    @property
    def sure(self) -> bool:
        """Whether the best pose leads clearly."""
        return self.margin >= UNSURE


def turn(degrees: float, mirrored: bool = False, scale: float = 1.0) -> NDArray[np.float64]:
    """(2, 2) rotation from x to y, of x mirrored first where asked for."""
    a = np.deg2rad(degrees)
    matrix = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return matrix @ np.diag([-1.0, 1.0]) if mirrored else matrix


@dataclass(frozen=True)
class _Candidate:
    score: float
    degrees: float
    mirrored: bool
    scale: float
    onto: Floats  # where the source's centre goes


def find_pose(
    a: Floats,
    b: Floats,
    fa: Floats,
    fb: Floats,
    *,
    mirror: bool = True,
    scales: tuple[float, ...] = (1.0,),
    step: float = 10.0,
    ctx: JobContext | None = None,
) -> PoseSearch:
    """Find how the source lies on the target by what both are made of.

    Every rotation and mirror image is correlated with the target under all
    shifts at once; the best distinct ones are looked at closely. Only places
    that both sections hold count, so that cropped sections are found, too, and
    a correlation over a small overlap is worth less. Without features the
    outlines are compared.

    Parameters
    ----------
    a, b
        (n, 2), (m, 2) positions of source and target in spot pitches.
    fa, fb
        (n, r), (m, r) features, such as ``FeatureSpace.search_source``.
    mirror
        Whether the source may lie face down.
    scales
        Sizes of the source to try; 1 for positions in true units.
    step
        Degrees between the rotations tried first.
    ctx
        Progress and cancelling.
    """
    ctx = ctx or JobContext()
    view = _View.of(a, b, fa, fb, scales)
    runs = [
        (angle, flip, scale)
        for flip in ((False, True) if mirror else (False,))
        for scale in scales
        for angle in np.arange(0.0, 360.0, step)
    ]
    found: list[_Candidate] = []
    for i, (angle, flip, scale) in enumerate(runs):
        ctx.step(0.8 * i / len(runs), "Searching rotations and shifts")
        found += view.peaks(float(angle), flip, scale, _SHIFTS)
    maxima = view.maxima(found, step)
    close = []
    for i, candidate in enumerate(maxima[:_REFINED]):
        ctx.step(0.8 + 0.2 * i / _REFINED, "Looking closely at the best poses")
        close.append(view.climb(candidate, step))
    poses = view.maxima([*close, *maxima[_REFINED:]], step)
    best = poses[0]
    second = poses[1].score if len(poses) > 1 else 0.0
    margin = (best.score - max(second, 0.0)) / max(best.score, 1e-9)
    return PoseSearch(
        tuple(view.pose(c) for c in poses[:_REFINED]), float(np.clip(margin, 0.0, 1.0))
    )


@dataclass(frozen=True)
class _View:
    """Both sections as rasters, ready to be correlated."""

    turner: Turner
    scores: ShiftScores
    fixed: FeatureRaster
    centre: Floats
    radius: float

    @classmethod
    def of(cls, a: Floats, b: Floats, fa: Floats, fb: Floats, scales: tuple[float, ...]) -> _View:
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        largest = max(scales)
        extent = max(np.ptp(a, axis=0).max() * largest, np.ptp(b, axis=0).max())
        coarse = max(own_pitch(a) * largest, own_pitch(b))
        spacing = max(extent / _CELLS, _FINEST * coarse)
        (a, fa), (b, fb) = (pooled(p, f, spacing / 3) for p, f in ((a, fa), (b, fb)))
        moving = rasterise(a, fa, spacing, _BLUR)
        fixed = rasterise(b, fb, spacing, _BLUR)
        centre = a.mean(axis=0)
        turner = Turner(moving, centre, largest)
        radius = float(np.sqrt(((a - centre) ** 2).sum(axis=1).mean()))
        return cls(turner, ShiftScores(fixed, turner.side), fixed, centre, radius)

    def _score(self, degrees: float, mirrored: bool, scale: float) -> Floats:
        turned = self.turner.turn(turn(degrees, mirrored, scale))
        return self.scores(*turned)[0]

    def _onto(self, row: float, column: float) -> Floats:
        middle = (self.turner.side - 1) / 2
        at = np.array([column, row]) - middle
        return np.asarray(self.fixed.origin + self.fixed.spacing * at)

    def peaks(self, degrees: float, mirrored: bool, scale: float, count: int) -> list[_Candidate]:
        """Best shifts of one rotation."""
        values = self._score(degrees, mirrored, scale)
        around = max(self.turner.side // 10, 2)
        out = []
        for _ in range(count):
            row, column = (int(k) for k in np.unravel_index(int(values.argmax()), values.shape))
            score = float(values[row, column])
            if score <= 0:
                break
            out.append(_Candidate(score, degrees, mirrored, scale, self._onto(row, column)))
            values[
                max(row - around, 0) : row + around + 1,
                max(column - around, 0) : column + around + 1,
            ] = -1.0
        return out

    def climb(self, start: _Candidate, step: float) -> _Candidate:
        """Best pose near a candidate, to a fraction of a step and of a cell."""
        best = start
        reach = step / 2
        while reach > 1.0:
            for degrees in (best.degrees - reach, best.degrees + reach):
                other = self._near(best, degrees)
                if other.score > best.score:
                    best = other
            reach /= 2
        return self._near(best, best.degrees, between=True)

    def _near(self, start: _Candidate, degrees: float, between: bool = False) -> _Candidate:
        """Best shift within a few cells of a candidate, at another angle."""
        values = self._score(degrees, start.mirrored, start.scale)
        at = (start.onto - self.fixed.origin) / self.fixed.spacing + (self.turner.side - 1) / 2
        column, row = np.round(at).astype(int)
        r0, c0 = max(row - 3, 0), max(column - 3, 0)
        part = values[r0 : row + 4, c0 : column + 4]
        dr, dc = np.unravel_index(int(part.argmax()), part.shape)
        row, column = r0 + int(dr), c0 + int(dc)
        score = float(values[row, column])
        place = self._onto(row, column)
        if between:
            place = self._onto(*_summit(values, row, column))
        return replace(start, score=score, degrees=degrees % 360, onto=place)

    def maxima(self, found: list[_Candidate], step: float) -> list[_Candidate]:
        """Candidates without a better one beside them, best first."""
        beside = 1.5 * np.deg2rad(step) * self.radius + 2 * self.fixed.spacing
        ranked = sorted(found, key=lambda c: -c.score)
        if not ranked:
            nothing = (
                self.fixed.origin + self.fixed.spacing * np.array(self.fixed.mask.shape[::-1]) / 2
            )
            return [_Candidate(0.0, 0.0, False, 1.0, nothing)]
        onto = np.array([c.onto for c in ranked])
        angle = np.deg2rad([c.degrees for c in ranked])
        flip = np.array([c.mirrored for c in ranked])
        out = [ranked[0]]
        for i in range(1, len(ranked)):
            turned = 2 * (1 - np.cos(angle[:i] - angle[i])) * self.radius**2
            apart = np.sqrt(((onto[:i] - onto[i]) ** 2).sum(axis=1) + turned)
            if not ((apart < beside) & (flip[:i] == flip[i])).any():
                out.append(ranked[i])
        return out

    def pose(self, candidate: _Candidate) -> Pose:
        matrix = turn(candidate.degrees, candidate.mirrored, candidate.scale)
        return Pose(matrix, candidate.onto - matrix @ self.centre, candidate.score)


def own_pitch(points: Floats) -> float:
    """Median distance to the nearest neighbour, of a few thousand spots at most."""
    from scipy.spatial import cKDTree

    asked = points
    if len(points) > 4000:
        asked = points[np.random.default_rng(0).permutation(len(points))[:4000]]
    distance: Any = cKDTree(points).query(asked, k=2)[0]
    return max(float(np.median(distance[:, 1])), 1e-9)


def pooled(points: Floats, features: Floats, spacing: float) -> tuple[Floats, Floats]:
    """Means of positions and features over small cells, where there are very many spots."""
    if len(points) <= _MANY:
        return points, np.asarray(features)
    cell = np.floor((points - points.min(axis=0)) / spacing).astype(np.int64)
    _, place, count = np.unique(
        cell[:, 0] * (cell[:, 1].max() + 1) + cell[:, 1], return_inverse=True, return_counts=True
    )

    def mean(values: Floats) -> Floats:
        return np.asarray(np.bincount(place, values, len(count)) / count)

    return (
        np.stack([mean(points[:, k]) for k in (0, 1)], axis=1),
        np.stack([mean(features[:, k]) for k in range(features.shape[1])], axis=1)
        if features.shape[1]
        else np.zeros((len(count), 0)),
    )


def _summit(values: Floats, row: int, column: int) -> tuple[float, float]:
    """Place of a peak between the cells, by a parabola along each axis."""
    out = []
    for axis, at in ((0, row), (1, column)):
        line = values[:, column] if axis == 0 else values[row]
        offset = 0.0
        if 0 < at < len(line) - 1 and min(line[at - 1], line[at + 1]) > 0:
            bend = 2 * line[at] - line[at - 1] - line[at + 1]
            if bend > 0:
                offset = float(np.clip((line[at + 1] - line[at - 1]) / (2 * bend), -0.5, 0.5))
        out.append(at + offset)
    return out[0], out[1]
