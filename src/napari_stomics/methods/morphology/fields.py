"""Random fields as smooth as a feature: the null that knows that neighbours are alike.

Two smooth fields correlate by chance far more often than two columns of
independent numbers (Clifford, Richardson and Hemon 1989, Biometrics 45:123). Shifting a
field round a torus needs a rectangle, and tissue is none; so many random fields of
different smoothness are drawn on the spots themselves, and each feature is compared
with those whose correlogram is most like its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext

Floats = NDArray[np.floating[Any]]

_WAVES = 96
_SMOOTHNESS = (1.0, 2.5, 20.0)
"""Smoothness of the Matern covariance: rough, smooth, all but Gaussian."""
_PURE = 0.3
"""Share of the fields without white noise."""
_PAIRS = 4000
_CHUNK = 64


@dataclass(frozen=True)
class Correlogram:
    """Pairs of spots at growing distances, at which fields are compared with themselves.

    Attributes
    ----------
    first, second
        Per distance the indices of the spots of each pair.
    weights
        (lags,) share of all pairs of spots at about that distance.
    """

    first: tuple[NDArray[np.intp], ...]
    second: tuple[NDArray[np.intp], ...]
    weights: Floats

    def of(self, z: Floats) -> Floats:
        """(lags, f) correlation of standardised columns (n, f) with themselves by distance."""
        return np.array(
            [
                np.einsum("ij,ij->j", z[i], z[j]) / len(i)
                for i, j in zip(self.first, self.second, strict=True)
            ]
        )


def correlogram(xy: Floats, pitch: float, seed: int) -> Correlogram:
    """Choose pairs of spots by distance, from neighbours to half the section.

    Parameters
    ----------
    xy
        (n, 2) centres.
    pitch
        Median distance to the nearest neighbour.
    seed
        Seed of the choice.
    """
    from scipy.spatial import cKDTree

    rng = np.random.default_rng(seed)
    tree: Any = cKDTree(xy)
    reach = 0.5 * float(np.linalg.norm(np.ptp(xy, axis=0)))
    distances = pitch * np.geomspace(1, max(reach / pitch, 2.0), 9)
    first, second, weights = [], [], []
    for distance in distances:
        start = rng.integers(0, len(xy), _PAIRS)
        angle = rng.uniform(0, 2 * np.pi, _PAIRS)
        goal = xy[start] + distance * np.column_stack([np.cos(angle), np.sin(angle)])
        gap, end = tree.query(goal)
        near = (gap < 0.6 * pitch + 0.1 * distance) & (end != start)
        if near.sum() < 20:
            continue
        first.append(start[near])
        second.append(end[near])
        # A ring holds pairs by its circumference and width, less what lies off the tissue.
        # Its root, since far pairs are many but no longer alike.
        weights.append(distance * np.sqrt(near.mean()))
    share = np.array(weights) if weights else np.ones(1)
    return Correlogram(tuple(first), tuple(second), share / share.sum())


def random_fields(
    xy: Floats, pitch: float, count: int, seed: int, ctx: JobContext
) -> tuple[Floats, Floats]:
    """Draw random fields from white noise to gradients across the section.

    Fields are sums of plane waves whose frequencies follow the spectrum of a Matern
    covariance (Rahimi and Recht 2007), plus white noise. The first tenth is white noise.

    Returns
    -------
    fields
        (n, count) float32, standardised columns.
    white
        (count,) whether a field is white noise alone.
    """
    rng = np.random.default_rng(seed)
    n, bare = len(xy), max(count // 10, 1)
    span = float(np.ptp(xy, axis=0).max())
    length = pitch * np.exp(rng.uniform(np.log(0.7), np.log(max(span / pitch, 2.0)), count))
    noise = np.where(rng.random(count) < _PURE, 0.0, rng.beta(0.7, 1.0, count))
    noise[:bare] = 1.0
    smooth = rng.choice(_SMOOTHNESS, count)
    centred = ((xy - xy.mean(axis=0)) / pitch).astype(np.float32)
    out = np.empty((n, count), np.float32)
    for start in range(0, count, _CHUNK):
        ctx.step(start / count, "Drawing random fields")
        stop = min(start + _CHUNK, count)
        for k in range(start, stop):
            wild = rng.chisquare(2 * smooth[k], _WAVES) / (2 * smooth[k])
            waves = rng.standard_normal((2, _WAVES)) / np.sqrt(wild) * (pitch / length[k])
            phase = rng.uniform(0, 2 * np.pi, _WAVES)
            size = rng.standard_normal(_WAVES)
            if k < bare:
                out[:, k] = 0
                continue
            wave = centred @ waves.astype(np.float32)
            wave += phase.astype(np.float32)
            field = np.cos(wave, out=wave) @ size.astype(np.float32)
            out[:, k] = field * np.float32(np.sqrt(1 - noise[k])) / max(float(field.std()), 1e-9)
        jitter = rng.standard_normal((n, stop - start), dtype=np.float32)
        out[:, start:stop] += np.sqrt(noise[start:stop]).astype(np.float32) * jitter
    white = np.zeros(count, bool)
    white[:bare] = True
    return standardised(out), white


def standardised(x: Floats) -> Floats:
    """Columns of mean 0 and mean square 1, float32; constant ones become 0."""
    x = np.asarray(x, np.float32)
    x = x - x.mean(axis=0, dtype=np.float64).astype(np.float32)
    spread = np.sqrt(np.einsum("ij,ij->j", x, x, dtype=np.float64) / max(len(x), 1))
    return (x / np.where(spread > 1e-9, spread, 1.0).astype(np.float32)).astype(np.float32)


def normal_scores(x: Floats) -> Floats:
    """Standardised columns of the same order whose values are those of a normal distribution."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    return standardised(ndtri((rankdata(x, axis=0) - 0.5) / len(x)))


def alike(own: Floats, drawn: Floats, weights: Floats, count: int) -> NDArray[np.intp]:
    """(f, count) drawn fields whose correlograms are most like those of the features.

    Parameters
    ----------
    own, drawn
        (lags, f) and (lags, m) correlograms.
    weights
        (lags,) how much each distance counts.
    """
    scale = np.sqrt(weights)[:, None]
    # Fisher's transform: between .9 and .99 lies more than between 0 and .09.
    a, b = ((np.arctanh(np.clip(part, -0.99, 0.99)) * scale).T for part in (own, drawn))
    square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    count = min(count, square.shape[1])
    return np.argpartition(square, count - 1, axis=1)[:, :count]
