"""Simulated pairs with their true map, for the tests of features and poses."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from napari_stomics.core.inputs import SpotPair, Spots
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.alignment.features import FeatureOptions, FeatureSpace, compare_features
from napari_stomics.methods.alignment.poses import Pose


@dataclass(frozen=True)
class Case:
    """Two sections in spot pitches, what is compared, and where the source belongs."""

    pair: SpotPair
    a: Any
    b: Any
    space: FeatureSpace
    true: Any
    landmarks: Any

    @property
    def search(self) -> tuple[Any, Any, Any, Any]:
        return self.a, self.b, self.space.search_source, self.space.search_target

    @property
    def radius(self) -> float:
        return float(np.sqrt(((self.a - self.a.mean(axis=0)) ** 2).sum(axis=1).mean()))

    def error(self, pose: Pose) -> float:
        """Root mean square error in pitches over the tissue that both sections hold."""
        from scipy.spatial import cKDTree

        held = cKDTree(self.b).query(self.true)[0] < 1.2
        return float(np.sqrt(((pose.apply(self.a) - self.true)[held] ** 2).sum(axis=1).mean()))


@cache
def case(**changes: Any) -> Case:
    """Two simulated sections of about 800 spots, turned by 40 degrees."""
    from napari_stomics.data.simulate import SimulationParams, simulate

    params = {"n_spots": 800, "n_genes": 300, "um_per_px": None, "n_proteins": 0, "warp_rms": 0.0}
    simulation = simulate(SimulationParams(**{**params, **changes}))
    one, two = "section_1", "section_2"
    pair = SpotPair(*(simulation.study.section(n).spots("rna") for n in (one, two)))
    onto = simulation.truth.transform(one, two)
    pitch = pair.source.pitch
    marks = [
        np.array([m.positions[n] for m in simulation.truth.landmarks]) / pitch for n in (one, two)
    ]
    return Case(
        pair,
        pair.source.coordinates / pitch,
        pair.target.coordinates / pitch,
        compare_features(pair, FeatureOptions(), quiet()),
        onto.apply(pair.source.coordinates) / pitch,
        marks,
    )


def quiet() -> JobContext:
    return JobContext(on_warning=lambda message: None)


def spots(x: Any, **changes: Any) -> Spots:
    """Spots on a square grid of pitch 100 um with features g0, g1, ..."""
    n, g = x.shape
    side = int(np.ceil(np.sqrt(n)))
    xy = 100.0 * np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)[:n]
    made = Spots(
        section="a",
        ids=np.array([f"s{i}" for i in range(n)], object),
        coordinates=xy.astype(float),
        x=x,
        features=np.array([f"g{i}" for i in range(g)], object),
        modality="rna",
        labels=None,
        pitch=100.0,
    )
    return replace(made, **changes)


def counts(n: int = 64, g: int = 20, seed: int = 0) -> Any:
    from scipy import sparse

    rng = np.random.default_rng(seed)
    return sparse.csr_array(rng.poisson(rng.gamma(1.0, 3.0, (1, g)) * rng.gamma(3, 0.3, (n, g))))
