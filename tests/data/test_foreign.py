"""Objects that other software wrote open as studies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.data.foreign import guess_modality, guess_sections
from napari_stomics.data.store import save_store
from napari_stomics.data.study import Study, open_study

sys.path.insert(0, str(Path(__file__).parent))
import tiny


def transformations(sdata: Any, name: str) -> dict[str, Any]:
    from spatialdata.transformations import get_transformation

    return get_transformation(sdata[name], get_all=True)


def test_blobs_with_labels_as_cells() -> None:
    from spatialdata import get_centroids
    from spatialdata.datasets import blobs

    sdata = blobs()
    before = {n for _, n, _ in sdata.gen_elements()}
    notes: list[str] = []
    record = guess_sections(sdata, notes)
    assert len(record.sections) == 1
    study = Study(sdata)
    assert any("1 micrometre" in n for n in notes)
    assert any("centroids of the labels" in n for n in notes)
    assert before <= {n for _, n, _ in sdata.gen_elements()}
    name, section = next(iter(study.sections.items()))
    assert section.modalities == ("rna",)
    spots = section.spots("rna")
    assert list(section.ids) == list(spots.ids)
    expected = get_centroids(sdata["blobs_labels"]).compute()
    table = sdata.tables["table"]
    np.testing.assert_allclose(spots.coordinates, expected.loc[table.obs["instance_id"]])
    np.testing.assert_array_equal(spots.x.toarray(), table.X.toarray())
    assert section.diameter > 5
    assert {"blobs_image", "blobs_multiscale_image"} == set(section.record.images)
    assert section.image().levels[0].shape == (512, 512, 3)
    assert section.record.pixel_size_um is None
    assert name in sdata.coordinate_systems
    assert "global" in sdata.coordinate_systems


def test_visium_of_spatialdata_io(stomics_data: Path) -> None:
    spatialdata_io = pytest.importorskip("spatialdata_io")
    folder = stomics_data / "reader_fixtures" / "visium_scanpy_1.0.0"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    sdata = spatialdata_io.visium(
        folder, dataset_id="sample", counts_file="filtered_feature_bc_matrix.h5"
    )
    study = Study(sdata)
    section = study.section("sample")
    assert list(study.sections) == ["sample"]
    spots = section.spots("rna")
    frame = sdata.shapes["sample"]
    table = sdata.tables["table"]
    index = frame.index.get_indexer(table.obs["spot_id"])
    assert (index >= 0).all()
    xy = np.column_stack([frame.geometry.x, frame.geometry.y])[index]
    np.testing.assert_allclose(spots.coordinates, xy)
    assert list(spots.ids) == list(table.obs_names)
    assert spots.x.shape == table.shape
    assert set(section.record.images) == set(sdata.images)
    # Spots lie on the image: its extent in the section's coordinates holds them all.
    image = section.image()
    height, width = image.levels[0].shape[:2]
    corners = image.to_um.apply(np.array([[0, 0], [width, height]]))
    assert (spots.coordinates > corners[0]).all()
    assert (spots.coordinates < corners[1]).all()


def raw(sections: dict[str, str], *, system: Any = None, merged: bool = False) -> Any:
    """Spots and one table per section, or one for all, without a record of ours."""
    import anndata
    from spatialdata import SpatialData
    from spatialdata.models import TableModel
    from spatialdata.transformations import Identity, set_transformation

    elements: dict[str, Any] = {}
    tables = []
    for seed, (name, where) in enumerate(sections.items()):
        study = tiny.study(name, seed=seed)
        for kind, key, element in study.sdata.gen_elements():
            if kind == "tables":
                element.obs["id"] = np.arange(element.n_obs)
                element.obs_names = [f"{name}-{i}" for i in element.obs_names]
                del element.uns["spatialdata_attrs"]
                tables.append(element)
                if merged:
                    continue
                element = TableModel.parse(
                    element, region=f"{name}_spots", region_key="region", instance_key="id"
                )
            else:
                set_transformation(element, {s: Identity() for s in where.split("+")}, set_all=True)
            if key.endswith("_spots"):
                element = element.set_index(np.arange(12))
                element.attrs["transform"] = {s: Identity() for s in where.split("+")}
            elements[key] = element
    if merged:
        joint = anndata.concat(tables)
        order = np.random.default_rng(0).permutation(joint.n_obs)
        joint = joint[order].copy()
        joint.obs["region"] = joint.obs["region"].astype("category")
        elements["table"] = TableModel.parse(
            joint, region=[f"{n}_spots" for n in sections], region_key="region", instance_key="id"
        )
    return SpatialData.init_from_elements(elements)


def test_each_coordinate_system_is_a_section_also_where_all_share_an_aligned_one() -> None:
    sdata = raw({"a": "a+aligned", "b": "b+aligned"})
    study = Study(sdata)
    assert list(study.sections) == ["a", "b"]
    assert study.section("a").record.images == ["a_he"]
    assert study.section("b").record.points == ["b_molecules"]
    assert list(study.section("b").ids) == [f"b-spot{i}" for i in range(12)]


def test_samples_in_one_shared_system_are_told_apart_by_name() -> None:
    study = Study(raw({"a": "global", "b": "global"}))
    first, second = study.sections.values()
    assert first.record.images == ["a_he"]
    assert second.record.images == ["b_he"]
    assert first.name != second.name
    assert first.coordinates.shape == second.coordinates.shape == (12, 2)


def test_one_table_of_several_regions_in_any_order_is_split() -> None:
    sdata = raw({"a": "a", "b": "b"}, merged=True)
    study = Study(sdata)
    for seed, name in enumerate(("a", "b")):
        section = study.section(name)
        truth = tiny.study(name, seed=seed).section(name)
        at = {str(i): xy for i, xy in zip(truth.ids, truth.coordinates, strict=True)}
        spots = section.spots("rna")
        wanted = [at[str(i).removeprefix(f"{name}-")] for i in spots.ids]
        np.testing.assert_allclose(spots.coordinates, wanted)
        assert list(section.ids) == list(spots.ids)
    assert sdata.tables["table"].n_obs == 24


def two_tables(protein: Any, first: slice = slice(0, 9)) -> Any:
    """The spots of a section with RNA on some of them, and another table beside it."""
    sdata = raw({"a": "a"})
    whole = sdata.tables["a_rna"]
    attrs = {"region": "a_spots", "region_key": "region", "instance_key": "id"}
    for name, rows in (("a_rna", first), ("a_protein", protein)):
        part = whole[rows].copy()
        part.uns["spatialdata_attrs"] = dict(attrs)
        sdata.tables[name] = part
    return sdata


def test_tables_that_each_lack_spots_share_a_section() -> None:
    sdata = two_tables(slice(3, 12))
    notes: list[str] = []
    guess_sections(sdata, notes)
    section = Study(sdata).section("a")
    assert section.modalities == ("rna", "protein")
    assert not [note for note in notes if "left out" in note]
    truth = tiny.study("a", seed=0).section("a")
    assert [i.removeprefix("a-") for i in section.ids] == list(map(str, truth.ids))
    np.testing.assert_allclose(section.coordinates, truth.coordinates)
    at = dict(zip(section.ids, section.coordinates, strict=True))
    spots = section.spots("protein")
    assert len(spots.ids) == 9
    np.testing.assert_allclose(spots.coordinates, [at[i] for i in spots.ids])


def test_tables_of_other_spots_or_in_another_order_are_left_out() -> None:
    for rows, first, words in (
        (slice(9, 12), slice(0, 9), "lists other spots"),
        (slice(None, None, -1), slice(0, 12), "in another order"),
    ):
        notes: list[str] = []
        sdata = two_tables(rows, first)
        guess_sections(sdata, notes)
        assert Study(sdata).section("a").modalities == ("rna",)
        assert any(words in note for note in notes)


def test_modalities() -> None:
    sdata = raw({"a": "a"})
    table = sdata.tables["a_rna"]
    table.var["feature_types"] = ["Gene Expression"] * 3 + ["Antibody Capture"]
    study = Study(sdata)
    section = study.section("a")
    assert section.modalities == ("rna", "protein")
    assert section.table("rna").n_vars == 3
    assert section.table("protein").var_names.tolist() == ["gene3"]
    assert list(section.ids) == list(section.table("protein").obs_names)
    assert guess_modality("adt_counts") == "protein"
    assert guess_modality("x", "Peaks") == "chromatin"
    assert guess_modality("table") == "rna"
    assert guess_modality("msi") == "metabolite"


def test_spots_from_obsm_and_nothing_at_all() -> None:
    from spatialdata import SpatialData
    from spatialdata.models import TableModel

    table = tiny.table()
    xy = np.random.default_rng(0).uniform(0, 100, (12, 2))
    table.obsm["spatial"] = xy
    notes: list[str] = []
    sdata = SpatialData(tables={"t": TableModel.parse(table)})
    guess_sections(sdata, notes)
    assert any("obsm['spatial']" in n for n in notes)
    fresh = SpatialData(tables={"t": TableModel.parse(table)})
    section = next(iter(Study(fresh).sections.values()))
    np.testing.assert_allclose(section.coordinates, xy)
    lonely = SpatialData(tables={"t": TableModel.parse(tiny.table())})
    with pytest.raises(UserError, match="No section was found"):
        guess_sections(lonely)
    assert guess_sections(SpatialData()).sections == {}


def test_an_image_alone_is_a_section() -> None:
    from spatialdata import SpatialData

    image = tiny.study().sdata["one_he"]
    section = Study(SpatialData(images={"he": image})).section("one")
    assert section.record.images == ["he"]
    assert section.image().levels[0].shape == (64, 64, 3)


def test_a_guessed_study_is_saved_and_opened_like_any_other(tmp_path: Path) -> None:
    from spatialdata.datasets import blobs

    blobs().write(tmp_path / "blobs.zarr")
    study = open_study(tmp_path / "blobs.zarr")
    assert list(study.sections) == ["blobs"]
    report = save_store(study)
    assert "blobs_image" in report.kept
    again = open_study(tmp_path / "blobs.zarr")
    assert again.record == study.record
    np.testing.assert_allclose(
        again.section("blobs").coordinates, study.section("blobs").coordinates
    )
    assert transformations(again.sdata, "blobs_image").keys() == {"global", "blobs"}
