"""Small pairs of sections with a known pose, as arrays, for the tests of the exact mode."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_stomics.methods.alignment.band import Band
from napari_stomics.methods.alignment.exact import ExactProblem
from napari_stomics.methods.alignment.features import FeatureSpace
from napari_stomics.methods.alignment.pricing import FeatureCosts
from napari_stomics.methods.alignment.structure import FusedProblem, LowRankDistances
from napari_stomics.methods.preprocess import unit_rows


@dataclass(frozen=True)
class Sections:
    """Points in spot pitches in one frame, their features and partners (-1: none)."""

    source: Any
    target: Any
    space: FeatureSpace
    partners: Any

    def dense(self) -> tuple[Any, Any, Any]:
        """Feature costs and both distance matrices."""
        a, b = (np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (self.source, self.target))
        return self.space.dense().astype(float), a, b

    def problem(self, band: Band, alpha: float = 0.5, rank: int = 300, **more: Any) -> ExactProblem:
        n, m = band.shape
        fused = FusedProblem(
            band,
            self.space.on(band.i, band.j).astype(float),
            LowRankDistances.euclidean(self.source, rank),
            LowRankDistances.euclidean(self.target, rank),
            alpha,
            more.pop("p", np.full(n, 1 / n)),
            more.pop("q", np.full(m, 1 / m)),
        )
        points = self.source, self.target
        return ExactProblem(fused, FeatureCosts(self.space), points=points, **more)


def sections(
    side: int = 12, kept: float = 0.9, noise: float = 0.8, cut: float = 0.0, seed: int = 0
) -> Sections:
    """A square section and its copy with jittered spots, some missing, a share cut off."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2).astype(float)
    grid += 0.05 * rng.normal(size=grid.shape)
    waves = np.stack(
        [np.sin(grid @ rng.normal(0, 0.5, 2) + rng.uniform(0, 6)) for _ in range(12)], 1
    )
    stays = (rng.random(len(grid)) < kept) & (grid[:, 0] >= cut * side)
    ids = np.flatnonzero(stays)
    partners = np.full(len(grid), -1)
    partners[ids] = np.arange(len(ids))
    features = [unit_rows(w + noise * rng.normal(size=w.shape)) for w in (waves, waves[ids])]
    target = grid[ids] + 0.1 * rng.normal(size=(len(ids), 2))
    none = np.zeros((0, 0), np.float32)
    space = FeatureSpace(*features, np.ones(len(grid), np.float32), np.zeros(0, object), none, none)
    return Sections(grid, target, space, partners)
