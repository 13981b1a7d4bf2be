"""Pairs of sections to align, with what is known of them: simulated and real."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks._harness import data_root
from napari_stomics.core.inputs import LandmarkPairs, SpotPair, Spots

SEED = 11
"""Of every simulated case; defaults were chosen on other seeds."""


@dataclass(frozen=True)
class Case:
    """A pair with its truth, as far as there is one.

    Attributes
    ----------
    pair
        What the method is given.
    partners
        (n,) target row of each source spot's partner, -1 without one; None if unknown.
    positions
        (n, 2) true place of each source spot in the target, um; None if unknown.
    landmarks
        Pairs to judge by, which the method is not given; None without any.
    um_per_px
        To tell landmark errors in pixels.
    """

    pair: SpotPair
    partners: Any = None
    positions: Any = None
    landmarks: LandmarkPairs | None = None
    um_per_px: float = 1.0


def simulated(n: int, seed: int = SEED, landmark_error: float | None = None, **more: Any) -> Case:
    """Two simulated sections: the second turned by 40 degrees, a tenth of its spots missing.

    Parameters
    ----------
    n
        Spots of the whole tissue.
    landmark_error
        Give the method four landmarks, each end misplaced by this many pitches
        (standard deviation of each coordinate); None for no landmarks.
    more
        Parameters of the simulator.
    """
    from napari_stomics.data.simulate import SimulationParams, simulate

    plain = {
        "seed": seed, "n_spots": n, "rotation": 40.0, "missing": 0.1, "warp_rms": 0.0,
        "n_proteins": 0, "um_per_px": None, "n_landmarks": 4,
    }  # fmt: skip
    made = simulate(SimulationParams(**(plain | more)))
    first, second = list(made.study.sections)
    source, target = made.study.section(first).spots("rna"), made.study.section(second).spots("rna")
    truth = made.truth.transform(first, second)
    marks = None
    if landmark_error is not None:
        rng = np.random.default_rng(seed)
        both = [
            np.array([mark.positions[name] for mark in made.truth.landmarks], float)
            for name in (first, second)
        ]
        noise = landmark_error * source.pitch
        misplaced = [points + rng.normal(0, noise, points.shape) for points in both]
        names = tuple(mark.name for mark in made.truth.landmarks)
        marks = LandmarkPairs(first, second, names, *misplaced)
    return Case(
        SpotPair(source, target, landmarks=marks),
        partners=made.truth.sections[first].partners,
        positions=truth.apply(source.coordinates),
    )


def neighbour_label_accuracy(case: Case) -> float:
    """How often the nearest spot in feature space has the same label: the strength of the signal.

    Over the source spots that have a partner, so that a crop does not count as noise.
    """
    from scipy.spatial import cKDTree

    from napari_stomics.methods.alignment.features import FeatureOptions, compare_features

    pair = case.pair
    space = compare_features(pair, FeatureOptions())
    known = np.flatnonzero(case.partners >= 0)
    _, nearest = cKDTree(space.target).query(space.source[known])
    assert pair.source.labels is not None
    assert pair.target.labels is not None
    return float(np.mean(pair.source.labels[known] == pair.target.labels[nearest]))


def turned(spots: Spots, degrees: float, mirror: bool = False) -> Spots:
    """Return a section turned about its centre, and mirrored where asked for."""
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirror:
        matrix = matrix @ np.diag([-1.0, 1.0])
    centre = spots.coordinates.mean(axis=0)
    return replace(spots, coordinates=(spots.coordinates - centre) @ matrix.T + centre)


def table_spots(
    path: str, *, um_per_px: float | None = None, label: str | None = None, modality: str = "rna",
    obsm: str = "spatial",
) -> Spots:  # fmt: skip
    """Read a section of the data folder; spots without a label keep an empty one."""
    import anndata
    from scipy import sparse
    from scipy.spatial import cKDTree

    table = anndata.read_h5ad(data_root(path) / path)
    scale = um_per_px if um_per_px is not None else float(table.uns.get("um_per_px", 1.0))
    xy = np.asarray(table.obsm[obsm], float)[:, :2] * scale
    labels = None
    if label is not None and label in table.obs:
        text = table.obs[label].astype(object)
        text = text.where(text.notna(), "").astype(str).to_numpy(dtype=object)
        labels = np.where(np.isin(text, ("NA", "nan")), "", text)
    gaps, _ = cKDTree(xy).query(xy, k=2)
    return Spots(
        section=path.split("/")[-1].removesuffix(".h5ad"),
        ids=table.obs_names.to_numpy(object),
        coordinates=xy,
        x=sparse.csr_matrix(table.X),
        features=table.var_names.to_numpy(object),
        modality=modality,
        labels=labels,
        pitch=float(np.median(gaps[:, 1])),
    )
