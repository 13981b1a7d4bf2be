"""A pose made exact on smoothed features, coarse to fine.

Gauss-Newton steps as in Lucas & Kanade (1981, Proc. IJCAI, 674) on fields of
features that are smoothed less and less. What is raised is the information that
the sections hold of each other, so that leaving the overlap never pays.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.alignment._correlation import information
from napari_stomics.methods.alignment._fields import Field
from napari_stomics.methods.alignment.poses import Pose, own_pitch, pooled

Floats = NDArray[np.floating[Any]]
Model = Literal["rigid", "similarity", "affine"]

_FINEST = 1.2  # pitches of smoothing at the end
_FALL = 0.55  # from one level of smoothing to the next
_STEPS = 12  # per level
_ENOUGH = 0.01  # pitches: a step below this ends a level
_SPOTS = 6000  # source spots that are compared at most
_CLEARER = 0.005  # score by which a pose improved without wide smoothing must be better
_RIM = 0.35  # filling of the kernel below which a place does not count


class PoseRefiner:
    """Two sections whose features are compared under one pose after another.

    Parameters
    ----------
    a, b
        (n, 2), (m, 2) positions in spot pitches.
    fa, fb
        (n, r), (m, r) features, r > 0.
    """

    def __init__(self, a: Floats, b: Floats, fa: Floats, fb: Floats) -> None:
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        self._pitches = own_pitch(a), own_pitch(b)
        self.pitch = max(self._pitches)
        (self._a, self._fa), (self._b, self._fb) = (
            pooled(p, f, self.pitch) for p, f in ((a, fa), (b, fb))
        )
        order = np.random.default_rng(0).permutation(len(self._a))
        self._asked = np.sort(order[:_SPOTS])
        self.centre = a.mean(axis=0)
        self.radius = float(np.sqrt(((a - self.centre) ** 2).sum(axis=1).mean()))
        self._levels: dict[float, _Level] = {}

    def level(self, sigma: float) -> _Level:
        """Both sections smoothed over ``sigma`` pitches, made once."""
        if sigma not in self._levels:
            self._levels[sigma] = _Level(self, sigma)
        return self._levels[sigma]

    def score(self, pose: Pose, sigma: float | None = None) -> float:
        """Information that the sections hold of each other under a pose, as a correlation."""
        return self.level(sigma or _FINEST * self.pitch).score(pose)

    def refine(self, pose: Pose, *, model: Model = "rigid", reach: float = 5.0) -> Pose:
        """Improve a pose that is wrong by about ``reach`` pitches at most.

        Over small sections of few spots a wide smoothing may lead away from a
        pose that was nearly right, so it is also improved without.
        """
        found = self._settled(pose, reach, model)
        other = self._settled(pose, 0.0, model)
        return other if other.score > found.score + _CLEARER else found

    def _settled(self, pose: Pose, sigma: float, model: Model) -> Pose:
        """The pose improved at this smoothing and at ever less."""
        finest = _FINEST * self.pitch
        sigma = max(sigma, finest)
        while True:
            pose = self._settle(pose, self.level(sigma), model)
            if sigma <= finest * 1.01:
                return replace(pose, score=self.score(pose))
            sigma = max(sigma * _FALL, finest)

    def _settle(self, pose: Pose, level: _Level, model: Model) -> Pose:
        best = level.score(pose)
        for _ in range(_STEPS):
            step = level.step(pose, model)
            found = self._along(pose, step, level, best)
            if found is None:
                break
            pose, best, size = found
            if size * float(np.linalg.norm(step)) < _ENOUGH:
                break
        return pose

    def _along(
        self, pose: Pose, step: Floats, level: _Level, before: float
    ) -> tuple[Pose, float, float] | None:
        """Best pose along a step, its score and how far; None where none is better.

        Noise makes slopes steep and so steps short: a step that helps is lengthened.
        """
        best: tuple[Pose, float, float] | None = None
        for size in (1.0, 0.5, 0.25, 0.125):
            trial = moved(pose, size * step, self.centre, self.radius)
            score = level.score(trial)
            if score > before:
                best = trial, score, size
                break
        while best is not None and 1.0 <= best[2] < 8.0:
            trial = moved(pose, 2 * best[2] * step, self.centre, self.radius)
            score = level.score(trial)
            if score <= best[1]:
                break
            best = trial, score, 2 * best[2]
        return best


class _Level:
    """Both sections at one smoothing."""

    def __init__(self, owner: PoseRefiner, sigma: float) -> None:
        self._owner = owner
        own = Field.of(owner._a, owner._fa, sigma, owner._pitches[0])
        self.field = Field.of(owner._b, owner._fb, sigma, owner._pitches[1])
        self._points = owner._a[owner._asked]
        self._values, filling = own.read(self._points)
        self._weight = _clear(filling)
        self._total = float(self._weight.sum())

    @cached_property
    def _target_total(self) -> float:
        """Weight of the whole target in numbers of source spots."""
        o = self._owner
        _, filling = self.field.read(o._b)
        per_area = (o._pitches[1] / o._pitches[0]) ** 2 * len(o._asked) / len(o._a)
        return float(_clear(filling).sum()) * per_area

    def score(self, pose: Pose) -> float:
        """Information under a pose, see :class:`PoseRefiner`."""
        value, filling = self.field.read(pose.apply(self._points))
        w = self._weight * _clear(filling)
        total = float(w.sum())
        if total < 1e-6:
            return 0.0
        x, y = (v - (w[:, None] * v).sum(axis=0) / total for v in (self._values, value))
        power = float((w[:, None] * x**2).sum()) * float((w[:, None] * y**2).sum())
        correlation = float((w[:, None] * x * y).sum()) / np.sqrt(max(power, 1e-30))
        smaller = max(min(self._total, self._target_total), 1e-6)
        return float(information(correlation, total / smaller))

    def step(self, pose: Pose, model: Model) -> Floats:
        """Gauss-Newton step in the basis of :func:`moved`."""
        placed = pose.apply(self._points)
        value, filling, slope = self.field.read_slopes(placed)
        w = self._weight * _clear(filling)
        total = max(float(w.sum()), 1e-9)
        off = self._values - value
        off = off - (w[:, None] * off).sum(axis=0) / total
        # A few places where the sections differ must not decide.
        size = (off**2).sum(axis=1)
        usual = float(np.average(size, weights=w)) if w.any() else 1.0
        w = w / (1 + size / max(2 * usual, 1e-12))
        total = max(float(w.sum()), 1e-9)
        basis = _basis(placed - pose.apply(self._owner.centre[None]), self._owner.radius, model)
        jacobian = np.einsum("ncx,npx->ncp", slope, basis)
        jacobian -= np.einsum("n,ncp->cp", w, jacobian) / total
        weighted = jacobian * w[:, None, None]
        count = basis.shape[1]
        normal = np.einsum("ncp,ncq->pq", weighted, jacobian)
        normal += 1e-3 * np.trace(normal) / count * np.eye(count) + 1e-12 * np.eye(count)
        return np.asarray(np.linalg.solve(normal, np.einsum("ncp,nc->p", weighted, off)))


def _clear(filling: Floats) -> Floats:
    """Weight of places by how much of the kernel around them was filled."""
    return np.clip((filling - _RIM) / (0.9 - _RIM), 0.0, 1.0)


def _basis(offset: Floats, radius: float, model: Model) -> Floats:
    """(n, p, 2) shift of each place per unit of each parameter, all in pitches at the rim."""
    x, y = offset[:, 0] / radius, offset[:, 1] / radius
    zero, one = np.zeros_like(x), np.ones_like(x)
    columns = [(one, zero), (zero, one), (-y, x)]
    if model in ("similarity", "affine"):
        columns.append((x, y))
    if model == "affine":
        columns += [(x, -y), (y, x)]
    return np.stack([np.stack(c, axis=1) for c in columns], axis=1)


def moved(pose: Pose, step: Floats, centre: Floats, radius: float) -> Pose:
    """Pose after a step: shift x, shift y, turn, then scale and two shears, in pitches."""
    full = np.zeros(6)
    full[: len(step)] = step
    dx, dy, turn, scale, stretch, shear = full / np.array([1, 1, *[radius] * 4])
    cos, sin = np.cos(turn), np.sin(turn)
    change = np.array([[cos, -sin], [sin, cos]]) @ (
        np.eye(2) * np.exp(scale) + np.array([[stretch, shear], [shear, -stretch]])
    )
    matrix = change @ pose.matrix
    at = pose.apply(centre[None])[0] + [dx, dy]
    return Pose(matrix, at - matrix @ centre)


def refine_pose(
    a: Floats,
    b: Floats,
    fa: Floats,
    fb: Floats,
    pose: Pose,
    *,
    model: Model = "rigid",
    reach: float = 5.0,
    ctx: JobContext | None = None,
) -> Pose:
    """Make a pose exact on smoothed features.

    Parameters
    ----------
    a, b
        (n, 2), (m, 2) positions of source and target in spot pitches.
    fa, fb
        (n, r), (m, r) features, such as ``FeatureSpace.search_source``; with
        r = 0 the pose is returned as it is.
    pose
        Where to start.
    model
        What may change: ``rigid``, ``similarity`` or ``affine``.
    reach
        Pitches by which the start may be wrong; the first smoothing.
    """
    if not fa.shape[1]:
        return pose
    (ctx or JobContext()).step(None, "Refining the pose")
    return PoseRefiner(a, b, fa, fb).refine(pose, model=model, reach=reach)
