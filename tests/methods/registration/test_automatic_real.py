"""Automatic registration of real serial sections; landmarks only score it."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_stomics.core.inputs import ImagePair, SectionImage
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import Affine
from napari_stomics.methods.registration.automatic import (
    SMALL_MARGIN,
    AutomaticParams,
    register_images,
)
from napari_stomics.methods.registration.suggest import suggest_landmarks

pytestmark = pytest.mark.data

MOB_UM = {"01": 2.7610, "02": 2.7539, "03": 2.7646, "04": 2.7539, "11": 2.7598, "12": 2.7539}
Points = NDArray[np.float64]


def read_landmarks(path: Path) -> dict[str, tuple[float, float]]:
    with path.open(encoding="utf-8") as handle:
        rows = list(csv.reader(handle))[1:]
    return {row[0]: (float(row[1]), float(row[2])) for row in rows}


def load(image: Path, um: float) -> SectionImage:
    from PIL import Image

    pixels = np.asarray(Image.open(image).convert("RGB"))
    h, w = pixels.shape[0] // 4, pixels.shape[1] // 4
    small = pixels[: 4 * h, : 4 * w].reshape(h, 4, w, 4, 3).mean(axis=(1, 3)).astype(np.uint8)
    return SectionImage(image.stem, (pixels, small), Affine(np.diag([um, um, 1.0])))


def load_pair(
    images: tuple[Path, Path], landmarks: tuple[Path, Path], um: tuple[float, float]
) -> tuple[ImagePair, Points, Points]:
    a, b = (read_landmarks(path) for path in landmarks)
    names = [name for name in a if name in b]
    source = np.array([a[n] for n in names]) * um[0]
    target = np.array([b[n] for n in names]) * um[1]
    return ImagePair(load(images[0], um[0]), load(images[1], um[1])), source, target


def best_similarity(source: Points, target: Points) -> Points:
    """Least-squares similarity of the landmarks themselves, applied to the source."""
    p, q = (points - points.mean(axis=0) for points in (source, target))
    u, s, vt = np.linalg.svd(q.T @ p)
    flip = np.array([1.0, np.sign(np.linalg.det(u @ vt))])
    linear = (s * flip).sum() / (p**2).sum() * (u * flip) @ vt
    return p @ linear.T + target.mean(axis=0)


def best_affine(source: Points, target: Points) -> Points:
    """Least-squares affine of the landmarks themselves, applied to the source."""
    design = np.column_stack([source, np.ones(len(source))])
    return design @ np.linalg.lstsq(design, target, rcond=None)[0]


def median_px(found: Points, target: Points, um: float) -> float:
    return float(np.median(np.linalg.norm(found - target, axis=1))) / um


@pytest.mark.parametrize("pair", [("01", "02"), ("03", "04"), ("11", "12")])
def test_olfactory_bulb_as_good_as_its_landmarks(stomics_data: Path, pair: tuple[str, str]) -> None:
    folder = stomics_data / "mob_stahl2016"
    um = MOB_UM[pair[0]], MOB_UM[pair[1]]
    inputs, source, target = load_pair(
        (folder / f"Rep{pair[0]}_HE.jpg", folder / f"Rep{pair[1]}_HE.jpg"),
        (folder / f"Rep{pair[0]}_landmarks.csv", folder / f"Rep{pair[1]}_landmarks.csv"),
        um,
    )
    start = time.process_time()
    found = register_images(inputs, AutomaticParams(), JobContext())
    assert time.process_time() - start < 10.0
    reached = median_px(found.transform.apply(source), target, um[1])
    assert reached < 1.1 * median_px(best_similarity(source, target), target, um[1])
    assert found.margin > SMALL_MARGIN


@pytest.mark.parametrize("stain", ["Ki67-7", "CD31-3"])
def test_lung_between_stains(stomics_data: Path, stain: str) -> None:
    folder = stomics_data / "histology_landmarks" / "lung_lesion_3"
    paths = [folder / f"29-041-Izd2-w35-{s}-les3.jpg" for s in ("He", stain)]
    inputs, source, target = load_pair(
        (paths[0], paths[1]),
        (paths[0].with_suffix(".csv"), paths[1].with_suffix(".csv")),
        (1.0, 1.0),
    )
    found = register_images(inputs, AutomaticParams(), JobContext())
    reached = median_px(found.transform.apply(source), target, 1.0)
    assert reached < 1.5 * median_px(best_affine(source, target), target, 1.0)
    assert found.margin > SMALL_MARGIN


@pytest.mark.parametrize("pair", [("01", "02"), ("11", "12")])
def test_suggestions_come_nearer_than_the_map(stomics_data: Path, pair: tuple[str, str]) -> None:
    from scipy.interpolate import RBFInterpolator

    folder = stomics_data / "mob_stahl2016"
    inputs, source, target = load_pair(
        (folder / f"Rep{pair[0]}_HE.jpg", folder / f"Rep{pair[1]}_HE.jpg"),
        (folder / f"Rep{pair[0]}_landmarks.csv", folder / f"Rep{pair[1]}_landmarks.csv"),
        (MOB_UM[pair[0]], MOB_UM[pair[1]]),
    )
    found = register_images(inputs, AutomaticParams(), JobContext())
    suggested = suggest_landmarks(inputs, found, 20, JobContext())
    assert len(suggested) >= 8
    places = np.array([s.source for s in suggested])
    offered = np.array([s.target for s in suggested])
    # What the landmarks themselves say of those places: a smooth spline through them.
    spline = RBFInterpolator(source, target, kernel="thin_plate_spline", smoothing=1e6)
    told = spline(places)
    assert median_px(offered, told, 1.0) < median_px(found.transform.apply(places), told, 1.0)


def test_sections_turned_and_mirrored_by_hand(stomics_data: Path) -> None:
    folder = stomics_data / "mob_stahl2016"
    a, b = (load(folder / f"Rep{n}_HE.jpg", MOB_UM[n]) for n in ("11", "12"))
    flipped = SectionImage("flipped", tuple(_flipped(level) for level in a.levels), a.to_um)
    straight = register_images(ImagePair(a, b), AutomaticParams(), JobContext())
    mirrored = register_images(ImagePair(flipped, b), AutomaticParams(), JobContext())
    assert not straight.candidates[0].mirrored
    assert mirrored.candidates[0].mirrored
    height, width = a.levels[0].shape[:2]
    grid = np.mgrid[0.3:0.7:5j, 0.3:0.7:5j].reshape(2, -1).T * [width, height]
    there = grid[:, ::-1].copy()  # transposing the image swaps x and y
    gap = straight.transform.apply(a.to_um.apply(grid)) - mirrored.transform.apply(
        a.to_um.apply(there)
    )
    assert np.median(np.linalg.norm(gap, axis=1)) < 40.0  # micrometres


def _flipped(level: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(level.transpose(1, 0, 2))
