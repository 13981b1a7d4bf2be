"""The studies that ship with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from napari_stomics.data.samples import BULB_SECTIONS, olfactory_bulb, simulated_pair
from napari_stomics.data.study import Study


@pytest.fixture(scope="module")
def bulb() -> Study:
    return olfactory_bulb()


def test_both_sections_are_complete(bulb: Study) -> None:
    assert list(bulb.sections) == list(BULB_SECTIONS)
    shapes = {name: bulb.section(name).table("rna").shape for name in BULB_SECTIONS}
    assert shapes == {"Rep11": (262, 14641), "Rep12": (282, 14151)}
    for section in bulb.sections.values():
        assert section.diameter == pytest.approx(100)
        assert section.pitch == pytest.approx(200, rel=0.1)
        assert section.record.technology == "ST"
        labels = section.labels()
        assert labels is not None
        assert len(set(labels) - {""}) == 5
    twelfth = bulb.section("Rep12").labels()
    assert twelfth is not None
    assert (twelfth == "").sum() == 3
    assert bulb.record.sections["Rep11"].donor == bulb.record.sections["Rep12"].donor


def test_images_are_pyramids_with_the_spots_on_the_tissue(bulb: Study) -> None:
    for section in bulb.sections.values():
        image = section.image()
        assert len(image.levels) >= 3
        assert image.levels[0].dtype == np.uint8
        pixels = np.asarray(image.levels[0])
        where = image.to_um.inverse().apply(section.coordinates).astype(int)
        assert (where >= 0).all()
        assert (where < [pixels.shape[1], pixels.shape[0]]).all()
        on_spots = pixels[where[:, 1], where[:, 0]].mean()
        assert on_spots < np.asarray(image.levels[-1]).mean() - 15
    assert bulb.record.sections["Rep11"].pixel_size_um == pytest.approx(2.759810263)
    assert bulb.record.sections["Rep12"].pixel_size_um == pytest.approx(2.753872633)


def test_landmarks_are_pairs_in_micrometres(bulb: Study) -> None:
    assert [mark.name for mark in bulb.record.landmarks] == [f"Landmark_{i}" for i in range(14)]
    first = bulb.record.landmarks[0].positions
    assert first["Rep11"] == pytest.approx((1191.99 * 2.759810263, 1289.39 * 2.759810263))
    assert first["Rep12"] == pytest.approx((1324.57 * 2.753872633, 1654.55 * 2.753872633))


def test_best_rigid_map_of_the_landmarks_leaves_the_published_error(bulb: Study) -> None:
    pairs = [tuple(mark.positions[n] for n in BULB_SECTIONS) for mark in bulb.record.landmarks]
    source, target = (np.array(p) for p in zip(*pairs, strict=True))
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    u, _, vt = np.linalg.svd(a.T @ b)
    error = np.linalg.norm(a @ u @ np.diag([1, np.sign(np.linalg.det(u @ vt))]) @ vt - b, axis=1)
    assert np.median(error) / 2.7538726 == pytest.approx(29, abs=2)


def test_credit_names_the_sources_and_their_licences(bulb: Study) -> None:
    credit = bulb.record.credit
    for word in ("Science 353:78", "Splotch", "BSD-3", "eggplant", "SpatialDE", "sepal", "MIT"):
        assert word in credit
    assert credit.count("Ståhl") == 1


def test_each_call_returns_a_study_of_its_own(bulb: Study) -> None:
    other = olfactory_bulb()
    other.section("Rep11").table("rna").X.data[:] = 0
    assert bulb.section("Rep11").table("rna").X.sum() > 1e6


@pytest.mark.data
@pytest.mark.parametrize("name", BULB_SECTIONS)
def test_numbers_are_those_of_the_source(bulb: Study, name: str, stomics_data: Path) -> None:
    import anndata

    source = anndata.read_h5ad(stomics_data / "mob_stahl2016" / f"{name}.h5ad")
    section = bulb.section(name)
    table = section.table("rna")
    assert list(table.obs_names) == list(source.obs_names)
    assert list(table.var_names) == list(source.var_names)
    assert table.X.dtype == np.int32
    assert (table.X != source.X).nnz == 0
    expected = source.obsm["spatial"] * source.uns["um_per_px"]
    np.testing.assert_allclose(section.coordinates, expected, rtol=1e-12)
    labels = section.labels()
    assert labels is not None
    assert list(labels) == ["" if v == "NA" else v for v in source.obs["layer"]]
    np.testing.assert_array_equal(table.obs["array_x"], source.obs["array_x"])


@pytest.mark.data
@pytest.mark.parametrize("name", BULB_SECTIONS)
@pytest.mark.parametrize("suffix", ["_HE.jpg", "_landmarks.csv"])
def test_images_and_landmark_files_are_those_of_the_source(
    name: str, suffix: str, stomics_data: Path
) -> None:
    shipped = files("napari_stomics.data") / "sample_files" / "olfactory_bulb" / f"{name}{suffix}"
    assert shipped.read_bytes() == (stomics_data / "mob_stahl2016" / f"{name}{suffix}").read_bytes()


def test_shipped_files_stay_small() -> None:
    folder = Path(str(files("napari_stomics.data"))) / "sample_files"
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 5_000_000


def test_simulated_pair_opens_with_everything() -> None:
    study = simulated_pair()
    assert list(study.sections) == ["section_1", "section_2"]
    for section in study.sections.values():
        assert 1200 < len(section.ids) <= 1500
        assert section.modalities == ("rna", "protein")
        assert section.record.annotation == "domain"
        assert section.image().levels[0].shape[2] == 3
    assert len(study.record.landmarks) == 12
