from pathlib import Path

import h5py
import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import SpotsOnImage
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import Affine
from napari_stomics.data.fusion import FusionRefs, collect_fusion
from napari_stomics.methods.fusion.embedding_file import EmbeddingFileParams, read_embedding_file
from napari_stomics.workflow.steps import Step, run_step
from tests.small import small_simulation

N = 12


@pytest.fixture
def spots() -> SpotsOnImage:
    """Spots of 40 um every 100 um on an image of 0.5 um per pixel."""
    y, x = np.divmod(np.arange(N), 4)
    points = 100.0 * np.column_stack([x + 1, y + 1])
    ids = np.array([f"spot{i}" for i in range(N)], object)
    return SpotsOnImage("s", ids, points, 40.0, Affine(np.diag([0.5, 0.5, 1.0])))


def read(spots: SpotsOnImage, path: Path, **params: object):
    return read_embedding_file(spots, EmbeddingFileParams(path=str(path), **params), JobContext())


def values(rows: int = N) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, 5)).astype(np.float32)


def test_plain_rows_are_taken_in_order(spots, tmp_path):
    np.save(tmp_path / "uni.npy", values())
    found = read(spots, tmp_path / "uni.npy")
    np.testing.assert_array_equal(found.values, values())
    assert found.modalities == ("uni",)
    assert found.settings["matched by"] == "order"


def test_rows_are_matched_by_their_barcodes(spots, tmp_path):
    order = np.random.default_rng(1).permutation(N + 3)
    names = np.array([f"spot{i}" for i in range(N + 3)])[order]
    with h5py.File(tmp_path / "hest.h5", "w") as file:
        file["embeddings"] = values(N + 3)[order]
        file["barcodes"] = names.astype("S")[:, None]
    found = read(spots, tmp_path / "hest.h5")
    np.testing.assert_array_equal(found.values, values(N + 3)[:N])


def test_patches_are_matched_by_their_places(spots, tmp_path):
    """Four patches of 16 px lie within each spot: their mean counts, patches elsewhere do not."""
    pixels = spots.coordinates / 0.5
    steps = np.array([(-10, -10), (10, -10), (-10, 10), (10, 10), (100, 100)])
    centres = (pixels[:, None] + steps).reshape(-1, 2)
    with h5py.File(tmp_path / "trident.h5", "w") as file:
        file["features"] = values(len(centres))
        file["coords"] = centres - 8
        file["coords"].attrs["patch_size_level0"] = 16
    found = read(spots, tmp_path / "trident.h5")
    expected = values(len(centres)).reshape(N, 5, 5)[:, :4].mean(axis=1)
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    assert found.settings["matched by"] == "places of patches"


def test_what_cannot_be_matched_is_refused(spots, tmp_path):
    np.save(tmp_path / "short.npy", values(5))
    with pytest.raises(UserError, match="5 rows, the section 12 spots"):
        read(spots, tmp_path / "short.npy")
    np.savez(tmp_path / "other.npz", embeddings=values(), ids=np.array([f"x{i}" for i in range(N)]))
    with pytest.raises(UserError, match="12 of 12 spots are not in other"):
        read(spots, tmp_path / "other.npz")
    with h5py.File(tmp_path / "far.h5", "w") as file:
        file["features"], file["coords"] = values(20), np.zeros((20, 2)) - 500
    with pytest.raises(UserError, match="how wide a patch is"):
        read(spots, tmp_path / "far.h5")
    with pytest.raises(UserError, match="have no patch of far"):
        read(spots, tmp_path / "far.h5", patch_pixels=16.0)
    hole = values()
    hole[3, 2] = np.nan
    np.save(tmp_path / "hole.npy", hole)
    with pytest.raises(UserError, match="1 spots have no finite value"):
        read(spots, tmp_path / "hole.npy")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.npy", b"not an array", "cannot be read"),
        ("a.h5", b"not hdf5", "cannot be read"),
        ("a.txt", b"1 2", "no file of a known form"),
    ],
)
def test_broken_files_are_refused(spots, tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=told):
        read(spots, tmp_path / name)
    with pytest.raises(UserError, match="no file"):
        read(spots, tmp_path / "absent.npy")


def test_a_read_embedding_is_a_modality_of_its_own(tmp_path):
    study = small_simulation().study
    count = len(study.section("section_1").ids)
    np.save(tmp_path / "uni.npy", values(count))
    params = {"path": str(tmp_path / "uni.npy")}
    step = Step(method="embedding/file", inputs={"section": "section_1"}, params=params, key="uni")
    run_step(study, step)
    refs = FusionRefs(section="section_1", stored=("uni",), histology=False)
    block = collect_fusion(study, refs).blocks[-1]
    assert (block.name, block.kind) == ("uni", "embedding")
    np.testing.assert_array_equal(block.x, values(count))
