"""A bend found from smoothed features: Gauss-Newton steps on few smooth waves, coarse to fine.

Each section's features are averaged over a few pitches, and the source's are
compared with the target's where the present bend puts them (Lucas & Kanade
1981, IJCAI; waves as in Ashburner & Friston 1999, Hum Brain Mapp 7:254). The
gradients of the features say in which directions a mismatch tells anything:
along a layer nothing is known, and smoothness alone decides. How far the tissue
is bent at all is estimated from the data (MacKay 1992, Neural Comput 4:415), so
that sections that differ by a rigid motion stay rigid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.alignment.bend import Bend, Grid, least_area
from napari_stomics.methods.alignment.poses import Pose

Floats = NDArray[np.floating[Any]]

_ROUNDS = 8  # Gauss-Newton steps per level at most
_SETTLED = 0.02  # of the blur: mean step at which a level ends
_SOLID = 0.35  # of the usual density: where a blurred map can be trusted
_LEAST_AREA = 0.15
_LINEAR = 0.1  # usual stretch and shear beyond the rigid motion
_FALL = 4.5  # the amplitude of waves falls as their number to minus this
_PAD = 0.3  # of the extent: waves end beyond the tissue
_AMPLITUDE = 8.0  # pitches of displacement to begin with
_PATIENCE = 0.7  # factor by which the amplitude falls per step at most
_COARSE = 2.0  # pitches of blur beyond which too few places are left to judge a bend
_CLEARLY = 3.0  # times what noise would gain
_INDEPENDENT = 0.2  # share of averages over neighbourhoods that overlap


@dataclass(frozen=True)
class Level:
    """One scale of the search.

    Attributes
    ----------
    blur
        Standard deviation over which features are averaged, in pitches.
    waves
        Half waves along the longer side of the section.
    """

    blur: float
    waves: int


class FeatureMap:
    """Features of a section averaged over a neighbourhood, on a raster.

    Parameters
    ----------
    points
        (n, 2) positions.
    features
        (n, r) features.
    blur
        Standard deviation of the neighbourhood.
    """

    def __init__(self, points: Floats, features: Floats, blur: float) -> None:
        from scipy.ndimage import gaussian_filter

        self.step = max(blur / 2, 0.5)
        self.low = points.min(axis=0) - 4 * blur
        size = np.ceil((points.max(axis=0) + 4 * blur - self.low) / self.step).astype(int) + 1
        at = np.round((points - self.low) / self.step).astype(np.intp)
        place = at[:, 1] * size[0] + at[:, 0]
        shape = (int(size[1]), int(size[0]))

        def spread(weights: Floats | None) -> Floats:
            counts = np.bincount(place, weights, shape[0] * shape[1]).reshape(shape)
            return np.asarray(gaussian_filter(counts.astype(np.float32), blur / self.step))

        density = spread(None)
        usual = float(np.median(density[at[:, 1], at[:, 0]]))
        self.solid = density / max(usual, 1e-12)
        self.values = np.stack(
            [spread(features[:, k]) / np.maximum(density, 1e-6) for k in range(features.shape[1])]
        )

    def at(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        """Features (n, r), their gradients (n, r, 2) and the relative density (n,) at points."""
        place = (points - self.low) / self.step
        rows, columns = self.solid.shape
        inside = ((place >= 0) & (place < [columns - 1.001, rows - 1.001])).all(axis=1)
        place = np.clip(place, 0, [columns - 1.001, rows - 1.001])
        i, j = place[:, 0].astype(np.intp), place[:, 1].astype(np.intp)
        s, t = (place[:, 0] - i)[None], (place[:, 1] - j)[None]
        v = self.values
        a, b, c, d = v[:, j, i], v[:, j, i + 1], v[:, j + 1, i], v[:, j + 1, i + 1]
        value = (1 - t) * ((1 - s) * a + s * b) + t * ((1 - s) * c + s * d)
        along_x = ((1 - t) * (b - a) + t * (d - c)) / self.step
        along_y = ((1 - s) * (c - a) + s * (d - b)) / self.step
        return (
            value.T,
            np.stack([along_x.T, along_y.T], axis=2),
            np.where(inside, self.solid[j, i], 0.0),
        )


@dataclass(frozen=True, eq=False)
class Waves:
    """Smooth displacements: a linear part and products of cosines over a padded box.

    Attributes
    ----------
    low, size
        (2,) corner and sides of the box.
    numbers
        (k, 2) half waves along x and y of each product.
    """

    low: Floats
    size: Floats
    numbers: Floats

    @classmethod
    def over(cls, points: Floats, waves: int) -> Waves:
        """Lay waves over the points: none shorter than a side of the box over ``waves``."""
        low, high = points.min(axis=0), points.max(axis=0)
        pad = _PAD * float((high - low).max())
        low, size = low - pad, high - low + 2 * pad
        most = np.ceil(waves * size / size.max()).astype(int)
        k = np.stack(np.meshgrid(np.arange(most[0] + 1), np.arange(most[1] + 1)), -1).reshape(-1, 2)
        relative = np.hypot(*(k / size * size.max()).T)
        return cls(low, size, k[(relative > 0) & (relative <= waves)].astype(float))

    def basis(self, points: Floats) -> Floats:
        """(n, 3 + k) values at points: 1, x, y and the products of cosines."""
        place = (points - self.low) / self.size
        middle = place - 0.5
        waves = np.cos(np.pi * place[:, :1] * self.numbers[:, 0])
        waves *= np.cos(np.pi * place[:, 1:] * self.numbers[:, 1])
        return np.column_stack([np.ones(len(points)), middle, waves])

    def spread(self) -> Floats:
        """(3 + k,) usual size of each coefficient; of waves that add up to a displacement of 1."""
        relative = np.hypot(*(self.numbers / self.size * self.size.max()).T)
        waves = 1 / (1 + relative**2) ** (_FALL / 2)
        # A product of two cosines has a mean square of a quarter, one alone of a half.
        square = np.where((self.numbers > 0).all(axis=1), 0.25, 0.5)
        waves /= np.sqrt((square * waves**2).sum())
        return np.concatenate([[10.0], _LINEAR * self.size, waves])


def feature_bend(
    placed: Floats,
    target: Floats,
    features: tuple[Floats, Floats],
    levels: tuple[Level, ...],
    ctx: JobContext | None = None,
) -> Bend | None:
    """Bend the source so that its smoothed features lie on the target's.

    Parameters
    ----------
    placed
        (n, 2) source spots under the linear pose, in pitches.
    target
        (m, 2) target spots.
    features
        (n, r), (m, r) features.
    levels
        Scales, the coarsest first.
    ctx
        Progress and cancelling.

    Returns
    -------
    Bend or None
        None where the features do not clearly ask for one: on a finer scale its gain
        in log-likelihood must far exceed what its waves would gain from noise.
    """
    ctx = ctx or JobContext()
    shift, found, asked = np.zeros((len(placed), 2)), None, False
    for number, level in enumerate(levels):
        ctx.step(number / len(levels), f"Bending, {level.waves} waves")
        own = FeatureMap(placed, features[0], level.blur)
        other = FeatureMap(target, features[1], level.blur)
        step = _Level(placed, shift, own, other, level)
        found = step.run()
        shift = step.waves.basis(placed) @ found
        # The finest maps see single cells, which no bend brings together.
        asked = asked or (level.blur <= _COARSE and step.telling())
    if found is None or not asked:
        return None
    return _as_bend(step.waves, found, placed)


def feature_motion(
    source: Floats,
    target: Floats,
    features: tuple[Floats, Floats],
    pose: Pose,
    blurs: tuple[float, ...] = (4.0, 2.0),
) -> Pose:
    """Make a nearly right pose exact by the features of all spots.

    Parameters
    ----------
    source, target
        (n, 2), (m, 2) positions, each in its own frame, in pitches.
    features
        (n, r), (m, r) features.
    pose
        Where to start; its size and handedness stay.
    blurs
        Standard deviations over which features are averaged, one after the other.
    """
    for blur in blurs:
        own = FeatureMap(source, features[0], blur)
        other = FeatureMap(target, features[1], blur)
        spots = source[_sample(source, blur)]
        read = own.at(spots)
        for _ in range(_ROUNDS):
            step = _motion_step(spots, read, other, pose)
            if step is None:
                return pose
            pose, size = step
            if size < 0.5 * _SETTLED * blur:
                break
    return pose


def _motion_step(
    spots: Floats, read: tuple[Floats, Floats, Floats], other: FeatureMap, pose: Pose
) -> tuple[Pose, float] | None:
    """One Gauss-Newton step in shift and turn, and how far it moves the rim."""
    wanted, own_slope, own_solid = read
    placed = pose.apply(spots)
    seen, slope, solid = other.at(placed)
    used = (own_solid > _SOLID) & (solid > _SOLID)
    if used.sum() < 10:
        return None
    misfit, weight, robust = _weighted(wanted[used], seen[used])
    slope = 0.5 * (slope[used] + own_slope[used] @ np.linalg.inv(pose.matrix))
    centre = placed[used].mean(axis=0)
    offset = placed[used] - centre
    radius = float(np.sqrt((offset**2).sum(axis=1).mean()))
    turning = (offset[:, :1] * slope[:, :, 1] - offset[:, 1:] * slope[:, :, 0]) / radius
    moves = np.concatenate([slope, turning[:, :, None]], axis=2)
    system = np.einsum("nkp,nkq,k,n->pq", moves, moves, weight, robust)
    right = np.einsum("nkp,nk,k,n->p", moves, misfit, weight, robust)
    step = np.linalg.lstsq(system, right, rcond=1e-9)[0]
    step *= min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-9))
    turn = step[2] / radius
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shift = rotation @ (pose.shift - centre) + centre + step[:2]
    return Pose(rotation @ pose.matrix, shift, pose.score), float(np.abs(step).max())


def _weighted(wanted: Floats, seen: Floats) -> tuple[Floats, Floats, Floats]:
    """Misfits without their mean, the weight of each feature and that of each place.

    A feature counts by what both sections say of it alike (its covariance) over
    what they do not: one that is all noise would only blur the answer.
    """
    wanted, seen = wanted - wanted.mean(axis=0), seen - seen.mean(axis=0)
    misfit = wanted - seen
    noise = 0.5 * misfit.var(axis=0) + 1e-12
    signal = np.clip((wanted * seen).mean(axis=0), 0.0, None)
    weight = signal / (noise + 2 * signal) / noise
    share = signal / (noise + signal)
    size = (misfit**2 / (2 * noise) * share).sum(axis=1) / max(float(share.sum()), 1e-12)
    return misfit, weight, 1 / (1 + size)


def _as_bend(waves: Waves, found: Floats, placed: Floats) -> Bend | None:
    """The bend on a grid, drawn back while it folds."""
    shortest = float(waves.size.max()) / float(waves.numbers.max())
    grid = Grid.over(placed, max(shortest / 4, 1.0))
    nodes = grid.nodes()
    for _ in range(8):
        values = waves.basis(nodes) @ found
        if least_area(grid.field(values), placed) > _LEAST_AREA:
            return Bend(grid, values, shortest)
        found = found * 0.8
    return None


def _sample(points: Floats, spacing: float) -> Any:
    """Indices of points, thinned to about one per square of this side."""
    cell = np.floor((points - points.min(axis=0)) / spacing).astype(np.int64)
    _, first = np.unique(cell[:, 0] * (cell[:, 1].max() + 1) + cell[:, 1], return_index=True)
    return np.sort(first)


class _Level:
    """Gauss-Newton steps at one scale."""

    def __init__(
        self, placed: Floats, shift: Floats, own: FeatureMap, other: FeatureMap, level: Level
    ) -> None:
        self.level, self.other = level, other
        chosen = _sample(placed, level.blur)
        self.spots = placed[chosen]
        self.wanted, self.slope, solid = own.at(self.spots)
        self.solid = solid > _SOLID
        self.waves = Waves.over(placed, level.waves)
        self.basis = self.waves.basis(self.spots)
        self.spread = self.waves.spread()
        self.amplitude = _AMPLITUDE
        prior = np.diag(1e-3 / self.spread**2)
        self.found = np.linalg.solve(
            self.basis.T @ self.basis + prior, self.basis.T @ shift[chosen]
        )

    def run(self) -> Floats:
        """(3 + k, 2) coefficients of the settled bend."""
        limit = 1.5 * self.level.blur
        for _ in range(_ROUNDS):
            after = self._step()
            if after is None:
                break
            move = np.linalg.norm(self.basis @ (after - self.found), axis=1)
            far = float(np.quantile(move, 0.98))
            self.found = self.found + (after - self.found) * min(1.0, limit / max(far, 1e-9))
            if move.mean() < _SETTLED * self.level.blur:
                break
        return self.found

    def _step(self) -> Floats | None:
        """Most probable coefficients given the linearised misfit; the amplitude follows."""
        here = self.basis @ self.found
        seen, slope, solid = self.other.at(self.spots + here)
        used = self.solid & (solid > _SOLID)
        if used.sum() < 10:
            return None
        misfit, weight, robust = _weighted(self.wanted[used], seen[used])
        robust *= _INDEPENDENT
        # The mean of both gradients is less noisy, and exact to second order.
        slope, basis = 0.5 * (slope[used] + self.slope[used]), self.basis[used]
        system, h = self._system(slope, weight, robust, basis)
        g = np.einsum("nka,nk,k,n->na", slope, misfit, weight, robust)
        g += np.einsum("nab,nb->na", h, here[used])
        right = np.concatenate([basis.T @ g[:, 0], basis.T @ g[:, 1]])
        return self._settled(system, right)

    def telling(self) -> bool:
        """Whether the bend gains far more likelihood than its freedom explains (Laplace)."""
        bent, straight = (
            self.other.at(self.spots + self.basis @ found)
            for found in (self.found, np.zeros_like(self.found))
        )
        used = self.solid & (bent[2] > _SOLID) & (straight[2] > _SOLID)
        if used.sum() < 10:
            return False
        left, weight, _ = _weighted(self.wanted[used], bent[0][used])
        before, _, _ = _weighted(self.wanted[used], straight[0][used])
        gain = 0.5 * _INDEPENDENT * float(((before**2 - left**2) * weight).sum())
        slope = 0.5 * (bent[1][used] + self.slope[used])
        everywhere = np.full(int(used.sum()), _INDEPENDENT)
        system = self._system(slope, weight, everywhere, self.basis[used])[0]
        prior = 1 / np.tile(self._scale(), 2) ** 2
        freedom = np.linalg.slogdet(np.eye(len(prior)) + system / prior)[1]
        bending = float(self.found.T.ravel() ** 2 @ prior)
        return bool(gain > _CLEARLY * 0.5 * (freedom + bending))

    def _scale(self) -> Floats:
        """(3 + k,) usual size of each coefficient at the present amplitude."""
        out = self.spread.copy()
        out[3:] *= self.amplitude
        return out

    def _system(
        self, slope: Floats, weight: Floats, robust: Floats, basis: Floats
    ) -> tuple[Floats, Floats]:
        """(2 (3 + k), ...) information on the coefficients, and (n, 2, 2) that of each place."""
        h = np.einsum("nka,nkb,k,n->nab", slope, slope, weight, robust)
        k = basis.shape[1]
        system = np.empty((2 * k, 2 * k))
        for a in range(2):
            for b in range(2):
                system[a * k : (a + 1) * k, b * k : (b + 1) * k] = (basis.T * h[:, a, b]) @ basis
        return system, h

    def _settled(self, system: Floats, right: Floats) -> Floats:
        """Solution at the amplitude of the waves that the data ask for."""
        k = len(self.spread)
        waves = np.tile(np.arange(k) >= 3, 2)
        least = _PATIENCE * self.amplitude  # misfits are overrated until the bend fits
        for _ in range(10):
            scale = np.tile(self._scale(), 2)
            inverse = np.linalg.inv(system + np.diag(1 / scale**2))
            found = inverse @ right
            power = (found**2 + np.diag(inverse))[waves] / np.tile(self.spread, 2)[waves] ** 2
            amplitude = float(np.sqrt(power.mean()))
            if abs(max(amplitude, least) / self.amplitude - 1) < 0.02:
                break
            self.amplitude = max(amplitude, least, 1e-3)
        return np.asarray(found.reshape(2, k).T)
