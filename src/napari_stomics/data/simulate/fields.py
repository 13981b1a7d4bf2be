"""The specimen: an outline, domains and smooth gradients as functions of position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

_FEATURES = 96
_ROWS_AT_A_TIME = 65_536
_ANGLES = 2048


def stream(seed: int, *key: int) -> np.random.Generator:
    """Return the random numbers of one purpose; different keys are independent."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, *key])))


@dataclass(frozen=True)
class SmoothField:
    """Smooth random functions with a Gaussian covariance, from random Fourier features.

    Rahimi & Recht, NIPS 2007. Points are (x, y) with a height z, all in the
    unit of ``length``; each output has mean 0 and variance 1.

    Attributes
    ----------
    frequencies
        (3, D) for x, y and z.
    phases
        (D,).
    weights
        (D, k) for k outputs.
    """

    frequencies: Floats
    phases: Floats
    weights: Floats

    @classmethod
    def draw(cls, rng: np.random.Generator, length: float, outputs: int = 1) -> SmoothField:
        """Draw functions that vary over ``length`` in x and y and over 1 in z."""
        scale = np.array([[1 / length], [1 / length], [1.0]])
        weights = rng.normal(size=(_FEATURES, outputs)) * np.sqrt(2 / _FEATURES)
        return cls(
            (rng.normal(size=(3, _FEATURES)) * scale),
            rng.uniform(0, 2 * np.pi, _FEATURES),
            weights,
        )

    def __call__(self, points: Floats, z: float = 0.0) -> Floats:
        """Return (n, k) values at (n, 2) points."""
        points = np.asarray(points, dtype=np.float64)
        shift = self.phases + z * self.frequencies[2]
        out = np.empty((len(points), self.weights.shape[1]))
        for low in range(0, len(points), _ROWS_AT_A_TIME):
            rows = slice(low, low + _ROWS_AT_A_TIME)
            angle = points[rows] @ self.frequencies[:2] + shift
            out[rows] = np.cos(angle.astype(np.float32)) @ self.weights.astype(np.float32)
        return out


@dataclass(frozen=True)
class Tissue:
    """The specimen in its own frame, centred on (0, 0), in micrometres.

    Attributes
    ----------
    size
        Square root of the tissue's area, um.
    harmonics
        (3, 2) amplitude and phase of the outline's first harmonics.
    limit
        Value of :meth:`key` on the outline.
    bend
        Field that curves layers and borders.
    gradients
        Field of the smooth gradients.
    cuts
        (n_domains - 1,) borders of the layers; empty for blobs.
    centres
        (m, 2) centres of the blobs in units of ``size``; empty for layers.
    owners
        (m,) domain of each centre.
    """

    size: float
    harmonics: Floats
    limit: float
    bend: SmoothField
    gradients: SmoothField
    cuts: Floats
    centres: Floats
    owners: NDArray[np.int16]

    def radius(self, points: Floats) -> Floats:
        """(n,) radius of the outline's model, in um, in the direction of each point."""
        angle = np.arctan2(points[:, 1], points[:, 0])
        return self.size * _outline(angle, self.harmonics)

    def key(self, points: Floats) -> Floats:
        """(n,) distance from the centre over the outline's: ``limit`` on the border."""
        return np.hypot(points[:, 0], points[:, 1]) / self.radius(points)

    def inside(self, points: Floats) -> NDArray[np.bool_]:
        """(n,) whether a point lies in the tissue."""
        return self.key(points) <= self.limit

    def depth(self, points: Floats) -> Floats:
        """(n,) distance to the outline along the ray from the centre, um, negative outside."""
        return (self.limit - self.key(points)) * self.radius(points)

    def domains(self, points: Floats, z: float = 0.0) -> NDArray[np.int16]:
        """(n,) index of the domain at (n, 2) points of the specimen."""
        unit = np.asarray(points, dtype=np.float64) / self.size
        if len(self.centres) == 0:
            return np.digitize(_height(unit, self.bend, z), self.cuts).astype(np.int16)
        from scipy.spatial import cKDTree

        bent = unit + 0.08 * self.bend(unit, z)
        return self.owners[cKDTree(self.centres).query(bent)[1]]

    def gradient_values(self, points: Floats, z: float = 0.0) -> Floats:
        """(n, 4) smooth gradients at (n, 2) points, each of mean 0 and variance 1."""
        return self.gradients(np.asarray(points) / self.size, z)


def draw_tissue(
    seed: int, area: float, n_domains: int, shape: Literal["layers", "blobs"]
) -> Tissue:
    """Draw a specimen of the given area (um^2)."""
    rng = stream(seed, 1)
    size = float(np.sqrt(area))
    harmonics = np.column_stack([(0.16, 0.10, 0.06), rng.uniform(0, 2 * np.pi, 3)])
    angles = np.linspace(0, 2 * np.pi, _ANGLES, endpoint=False)
    # Area inside key = L is L^2 times the integral of R^2 / 2 over the angle.
    limit = float(1 / np.sqrt(np.pi * np.mean(_outline(angles, harmonics) ** 2)))
    bend = SmoothField.draw(rng, 0.4, 2)
    gradients = SmoothField.draw(rng, 0.25, 4)
    disc = _sample_disc(rng, 4000)
    disc = disc * limit * _outline(np.arctan2(disc[:, 1], disc[:, 0]), harmonics)[:, None]
    cuts, centres = np.zeros(0), np.zeros((0, 2))
    owners = np.zeros(0, dtype=np.int16)
    if shape == "layers":
        widths = rng.uniform(0.6, 1.4, n_domains)
        borders = np.cumsum(widths)[:-1] / widths.sum()
        cuts = np.quantile(_height(disc, bend, 0.0), borders)
    else:
        centres = disc[farthest_first(disc, 3 * n_domains, rng)]
        owners = (np.arange(3 * n_domains) % n_domains).astype(np.int16)
    return Tissue(size, harmonics, limit, bend, gradients, cuts, centres, owners)


def farthest_first(points: Floats, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return indices of points that are spread out: each the farthest from those before."""
    count = min(count, len(points))
    chosen = [int(rng.integers(len(points)))]
    distance = np.full(len(points), np.inf)
    while len(chosen) < count:
        step = points - points[chosen[-1]]
        distance = np.minimum(distance, np.einsum("ij,ij->i", step, step))
        chosen.append(int(np.argmax(distance)))
    return np.array(chosen[:count], dtype=np.intp)


def _outline(angle: Floats, harmonics: Floats) -> Floats:
    out: Floats = np.ones_like(angle)
    for order, (amplitude, phase) in enumerate(harmonics, start=1):
        out = out + amplitude * np.cos(order * angle + phase)
    return out


def _height(unit: Floats, bend: SmoothField, z: float) -> Floats:
    """Return the coordinate across the layers of points in units of the tissue's size."""
    return np.asarray(unit[:, 1] + 0.12 * bend(unit, z)[:, 0] + 0.1 * unit[:, 0] ** 2)


def _sample_disc(rng: np.random.Generator, count: int) -> Floats:
    radius = np.sqrt(rng.random(count))
    angle = rng.uniform(0, 2 * np.pi, count)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
