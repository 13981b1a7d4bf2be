"""Nuclei are found where they are, whatever the tiles, levels and frames."""

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from scipy.spatial import cKDTree

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.inputs import SectionImage
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import Affine
from napari_stomics.methods.registration import segment
from napari_stomics.methods.registration.segment import find_nuclei
from tests.methods.registration.nuclear_tissue import affine, nuclear_tissue


@pytest.fixture(scope="module")
def tissue():
    return nuclear_tissue()


@pytest.fixture(scope="module")
def found(tissue):
    return find_nuclei(tissue.image, 8.0, 1.0, JobContext())


def score(nuclei, truth):
    distance, nearest = cKDTree(nuclei).query(truth)
    found = distance < 2
    strays = cKDTree(truth).query(nuclei)[0] >= 2
    return found.mean(), strays.mean(), np.abs((nuclei[nearest] - truth)[found].mean(axis=0)).max()


def test_nearly_all_nuclei_are_found_without_bias(tissue, found):
    recall, strays, bias = score(found.centroids, tissue.nuclei)
    assert recall > 0.95
    assert strays < 0.03
    assert bias < 0.05


def test_tiles_leave_no_seams(tissue, found, monkeypatch):
    monkeypatch.setattr(segment, "_TILE", 180)
    small = find_nuclei(tissue.image, 8.0, 1.0, JobContext())
    assert small.tiles > 4 * found.tiles
    assert cKDTree(small.centroids).query(small.centroids, k=2)[0][:, 1].min() > 2
    distance, _ = cKDTree(small.centroids).query(found.centroids)
    assert (distance < 0.5).mean() > 0.97
    assert abs(len(small.centroids) - len(found.centroids)) < 0.02 * len(found.centroids)


def test_an_odd_pyramid_in_a_turned_frame_gives_the_same_places(tissue):
    full = tissue.image.levels[0]
    odd = full[: full.shape[0] // 2 * 2 - 1, : full.shape[1] // 2 * 2 - 1]
    h, w = odd.shape[0] // 2, odd.shape[1] // 2
    half = odd[: 2 * h, : 2 * w].reshape(h, 2, w, 2, 3).mean(axis=(1, 3)).astype(np.uint8)
    turned = affine(30, 1, 1, 0, (500, 100))
    lazy = (da.from_array(odd, chunks=(256, 256, 3)), da.from_array(half, chunks=(256, 256, 3)))
    image = SectionImage("he", lazy, tissue.image.to_um.then(turned))
    nuclei = find_nuclei(image, 8.0, 1.0, JobContext())
    back = turned.inverse().apply(nuclei.centroids)
    recall, strays, bias = score(back, tissue.nuclei)
    assert recall > 0.94
    assert strays < 0.04
    assert bias < 0.06


def test_a_nuclear_stain_on_black_serves_too(tissue):
    height, width = tissue.image.levels[0].shape[:2]
    y, x = np.mgrid[:height, :width]
    dapi = np.zeros((height, width), np.float32)
    pixels = tissue.nuclei / 0.5
    near = cKDTree(pixels).query(np.column_stack([x.ravel() + 0.5, y.ravel() + 0.5]))[0]
    dapi = np.clip(9 - near, 0, 2).reshape(height, width) * 90
    noise = np.random.default_rng(0).normal(10, 3, dapi.shape)
    counts = np.clip(dapi + noise, 0, 255).astype(np.uint8)[..., None]
    image = SectionImage("dapi", (counts,), tissue.image.to_um, ("DAPI",))
    recall, strays, bias = score(
        find_nuclei(image, 8.0, 1.0, JobContext()).centroids, tissue.nuclei
    )
    assert recall > 0.9
    assert strays < 0.05
    assert bias < 0.1


def test_pixels_too_large_and_blank_slides_are_refused(tissue):
    coarse = replace(tissue.image, to_um=Affine(np.diag([4.0, 4.0, 1.0])))
    with pytest.raises(UserError, match="cannot be told apart"):
        find_nuclei(coarse, 8.0, 1.0, JobContext())
    blank = SectionImage("he", (np.full((400, 400, 3), 240, np.uint8),), tissue.image.to_um)
    with pytest.raises(UserError, match=r"[Nn]o tissue"):
        find_nuclei(blank, 8.0, 1.0, JobContext())


def test_it_can_be_cancelled_between_tiles(tissue, monkeypatch):
    monkeypatch.setattr(segment, "_TILE", 180)
    said = []

    def enough():
        return any("tile 3" in text for text in said)

    with pytest.raises(JobCancelled):
        find_nuclei(
            tissue.image, 8.0, 1.0,
            JobContext(on_progress=lambda f, text: said.append(text), is_cancelled=enough),
        )  # fmt: skip
    assert not any("tile 5" in text for text in said)
