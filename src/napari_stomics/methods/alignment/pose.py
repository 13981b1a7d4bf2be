"""The pose of one section on the other: every rotation, shift and mirror image is tried.

Positions here, as everywhere in this package, are in units of spot pitch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.alignment._correlation import (
    FeatureRaster,
    ShiftScores,
    Turner,
    rasterise,
)
from napari_stomics.methods.alignment.poses import (
    UNSURE,
    Pose,
    PoseSearch,
    own_pitch,
    pooled,
    turn,
)

__all__ = ["UNSURE", "Pose", "PoseSearch", "Window", "find_pose", "turn"]

Floats = NDArray[np.floating[Any]]

_CELLS = 36  # along the longer side of the larger section
_FINEST = 1.3  # pitches per cell at least
_BLUR = 0.8  # cells
_SHIFTS = 4  # per rotation
_REFINED = 6  # distinct poses that are looked at closely
_AROUND = 3  # cells around the best pose where it may just as well lie
_ASTRAY = 2.0  # cells by which a pose must be wrong to count as wrong
_DOUBT = 0.05  # probability of that at which a pose is not sure
_EVIDENCE = 5.0  # nats by which the runner-up must be less likely for its lead to count by half


@dataclass(frozen=True)
class Window:
    """Poses near a given one, to which a search is limited.

    Attributes
    ----------
    pose
        The middle of the window; only its orientation is searched.
    degrees
        Turns to either side.
    shift
        Distance, in pitches, by which the source's centre may move.
    """

    pose: Pose
    degrees: float
    shift: float


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
    windows: tuple[Window, ...] = (),
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
    windows
        Look only near these poses; ``mirror`` is then not asked.
    ctx
        Progress and cancelling.
    """
    ctx = ctx or JobContext()
    view = _View.of(a, b, fa, fb, scales)
    runs = _runs(mirror, scales, step, windows)
    found: list[_Candidate] = []
    for i, (angle, flip, scale, window) in enumerate(runs):
        ctx.step(0.8 * i / len(runs), "Searching rotations and shifts")
        found += view.peaks(angle, flip, scale, _SHIFTS, window)
    found = found or [view.nothing(windows)]
    maxima = view.maxima(found, step)
    close = []
    for i, candidate in enumerate(maxima[:_REFINED]):
        ctx.step(0.8 + 0.2 * i / _REFINED, "Looking closely at the best poses")
        close.append(view.climb(candidate, step))
    poses = view.maxima([*close, *maxima[_REFINED:]], step)
    margin = _margin(view, poses)
    if not windows:
        margin = min(margin, UNSURE * _DOUBT / max(view.astray(poses[0]), 1e-9))
    return PoseSearch(tuple(view.pose(c) for c in poses[:_REFINED]), margin)


def _runs(
    mirror: bool, scales: tuple[float, ...], step: float, windows: tuple[Window, ...]
) -> list[tuple[float, bool, float, Window | None]]:
    """Rotations, mirror images and sizes to try, each with the window it belongs to."""
    if not windows:
        turns = np.arange(0.0, 360.0, step)
        flips = (False, True) if mirror else (False,)
        return [(float(t), f, s, None) for f in flips for s in scales for t in turns]
    out: list[tuple[float, bool, float, Window | None]] = []
    for w in windows:
        count = int(np.ceil(w.degrees / step))
        turns = w.pose.degrees + np.linspace(-w.degrees, w.degrees, 2 * count + 1)
        out += [(float(t) % 360, w.pose.mirrored, s, w) for s in scales for t in turns]
    return out


def _margin(view: _View, poses: list[_Candidate]) -> float:
    """Lead of the best pose as a share of its score, less where chance could explain it.

    The lead in information times the number of independent values compared is a
    log-likelihood ratio. Among thousands of poses of sections that have nothing
    in common the best leads by a nat or two.
    """
    best = poses[0].score
    second = max(poses[1].score, 0.0) if len(poses) > 1 else 0.0
    if best <= 0:
        return 0.0
    lead = np.clip((best - second) / best, 0.0, 1.0)
    evidence = max(view.independent * float(_told(best) - _told(second)), 0.0)
    return float(lead * evidence / (evidence + _EVIDENCE))


def _told(score: Any) -> Any:
    """Nats that one section tells of the other per independent value."""
    return -0.5 * np.log1p(-(np.clip(score, 0.0, 0.999) ** 2))


@dataclass(frozen=True)
class _View:
    """Both sections as rasters, ready to be correlated."""

    turner: Turner
    scores: ShiftScores
    fixed: FeatureRaster
    centre: Floats
    radius: float
    independent: float

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
        scores = ShiftScores(fixed, turner.side)
        values = min(_independent(raster) for raster in (moving, fixed))
        return cls(turner, scores, fixed, centre, radius, values)

    def _score(self, degrees: float, mirrored: bool, scale: float) -> Floats:
        turned = self.turner.turn(turn(degrees, mirrored, scale))
        return self.scores(*turned)[0]

    def _onto(self, row: float, column: float) -> Floats:
        middle = (self.turner.side - 1) / 2
        at = np.array([column, row]) - middle
        return np.asarray(self.fixed.origin + self.fixed.spacing * at)

    def peaks(
        self, degrees: float, mirrored: bool, scale: float, count: int, window: Window | None
    ) -> list[_Candidate]:
        """Best shifts of one rotation, within the window where there is one."""
        values = self._score(degrees, mirrored, scale)
        if window is not None:
            values = np.where(self._within(values.shape, window), values, -1.0)
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

    def _place(self, onto: Floats) -> tuple[float, float]:
        """Row and column of the scores at which the source's centre comes to lie somewhere."""
        column, row = (onto - self.fixed.origin) / self.fixed.spacing + (self.turner.side - 1) / 2
        return float(row), float(column)

    def _within(self, shape: tuple[int, ...], window: Window) -> NDArray[np.bool_]:
        row, column = self._place(window.pose.apply(self.centre[None])[0])
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        reach = max(window.shift / self.fixed.spacing, 1.0)
        return np.asarray((rows - row) ** 2 + (columns - column) ** 2 <= reach**2)

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
        row, column = (round(k) for k in self._place(start.onto))
        r0, c0 = max(row - 3, 0), max(column - 3, 0)
        part = values[r0 : row + 4, c0 : column + 4]
        dr, dc = np.unravel_index(int(part.argmax()), part.shape)
        row, column = r0 + int(dr), c0 + int(dc)
        score = float(values[row, column])
        place = self._onto(row, column)
        if between:
            place = self._onto(*_summit(values, row, column))
        return replace(start, score=score, degrees=degrees % 360, onto=place)

    def astray(self, best: _Candidate) -> float:
        """Probability that the pose lies more than two cells off, not far away.

        What each pose around it tells is its log-likelihood. In a section
        without much structure, or along a layer, many tell nearly as much.
        """
        row, column = self._place(best.onto)
        r0, c0 = (max(round(k) - _AROUND, 0) for k in (row, column))
        turned = np.rad2deg(self.fixed.spacing / self.radius)
        told, off = [], []
        for k in range(-_AROUND, _AROUND + 1):
            values = self._score(best.degrees + k * turned, best.mirrored, best.scale)
            part = values[r0 : round(row) + _AROUND + 1, c0 : round(column) + _AROUND + 1]
            rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
            told.append(self.independent * _told(part).ravel())
            off.append(((rows + r0 - row) ** 2 + (columns + c0 - column) ** 2 + k**2).ravel())
        weight = np.exp(np.concatenate(told) - max(float(t.max()) for t in told))
        return float(weight[np.concatenate(off) >= _ASTRAY**2].sum() / weight.sum())

    def nothing(self, windows: tuple[Window, ...]) -> _Candidate:
        """What is left where no pose scores: the window's, or the centres on each other."""
        if windows:
            pose = windows[0].pose
            onto = pose.apply(self.centre[None])[0]
            return _Candidate(0.0, pose.degrees, pose.mirrored, 1.0, onto)
        middle = self.fixed.spacing * (np.array(self.fixed.mask.shape[::-1]) - 1) / 2
        return _Candidate(0.0, 0.0, False, 1.0, self.fixed.origin + middle)

    def maxima(self, found: list[_Candidate], step: float) -> list[_Candidate]:
        """Candidates without a better one beside them, best first."""
        beside = 1.5 * np.deg2rad(step) * self.radius + 2 * self.fixed.spacing
        ranked = sorted(found, key=lambda c: -c.score)
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


def _independent(raster: FeatureRaster) -> float:
    """Number of independent values in a raster of noise: blurred cells times telling features."""
    variance = raster.values.var(axis=(1, 2))
    total = float((variance**2).sum())
    features = float(variance.sum()) ** 2 / total if total > 0 else 1.0
    area = 4 * np.pi * (_BLUR**2 + 1 / 6)
    return raster.cells / area * features
