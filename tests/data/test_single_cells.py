"""Single cells without positions: read, kept, saved, opened again, and used by recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.data.readers import read_reference
from napari_stomics.data.readers.single_cells import holds_cells_only
from napari_stomics.data.results import load_result
from napari_stomics.data.single_cells import SingleCells, remove_reference
from napari_stomics.data.store import save_store
from napari_stomics.data.study import Study, open_study
from napari_stomics.session.choices import choices
from napari_stomics.session.session import Session
from napari_stomics.workflow.recipes import Recipe, run_recipe
from napari_stomics.workflow.steps import Step, run_step
from tests.data import tiny


def cells(count: int = 30, genes: int = 8, prefix: str = "cell", seed: int = 0) -> Any:
    import pandas as pd
    from scipy.sparse import csr_matrix

    table = tiny.table(count, genes, seed)
    table.X = csr_matrix(table.X.toarray() + np.eye(count, genes, dtype=np.float32) + 1)
    table.obs_names = [f"{prefix}{i}" for i in range(count)]
    names = [["T cell", "B/cell", None][i % 3] for i in range(count)]
    table.obs["cell_type"] = pd.Categorical(names)
    return table


def with_cells(**more: Any) -> Study:
    study = tiny.study()
    study.add_reference(SingleCells("pbmc", {"rna": cells(**more)}, "cell_type", "pbmc.h5ad"))
    return study


def map_step(**more: Any) -> Step:
    inputs = {"reference": "pbmc", "section": "one", **more}
    params = {"atlas_weight": 0.95, "held_out": 0.0, "components": 3, "neighbours": 3}
    return Step(method="mapping/ot", inputs=inputs, params=params, key="placed")


def test_read_from_h5ad_with_labels_and_counts(tmp_path):
    table = cells()
    table.write_h5ad(tmp_path / "pbmc.h5ad")
    found = read_reference(tmp_path / "pbmc.h5ad")
    assert (found.name, found.labels, list(found.tables)) == ("pbmc", "cell_type", ["rna"])
    np.testing.assert_array_equal(found.tables["rna"].X.toarray(), table.X.toarray())
    assert read_reference(tmp_path / "pbmc.h5ad", name="x", modality="protein").tables["protein"]
    with pytest.raises(UserError, match="no column 'absent'") as refused:
        read_reference(tmp_path / "pbmc.h5ad", labels="absent")
    assert "cell_type" in refused.value.hint


def test_counts_are_found_where_they_are_and_asked_for_where_they_are_not(tmp_path):
    table = cells()
    counts = table.X.copy()
    table.layers["counts"] = counts
    table.X = table.X * 0.37
    table.write_h5ad(tmp_path / "scaled.h5ad")
    with pytest.warns(UserWarning, match="layer 'counts'"):
        found = read_reference(tmp_path / "scaled.h5ad")
    np.testing.assert_array_equal(found.tables["rna"].X.toarray(), counts.toarray())
    del table.layers["counts"]
    table.raw = cells()
    table.write_h5ad(tmp_path / "raw.h5ad")
    with pytest.warns(UserWarning, match="'raw'"):
        found = read_reference(tmp_path / "raw.h5ad")
    np.testing.assert_array_equal(found.tables["rna"].X.toarray(), counts.toarray())
    assert "cell_type" in found.tables["rna"].obs
    table.raw = None
    table.write_h5ad(tmp_path / "normalised.h5ad")
    with pytest.warns(UserWarning, match="not whole"):
        read_reference(tmp_path / "normalised.h5ad")
    table.X = -table.X
    table.write_h5ad(tmp_path / "negative.h5ad")
    with pytest.raises(UserError, match="holds no counts"):
        read_reference(tmp_path / "negative.h5ad")


def test_several_omics_of_different_cells(tmp_path):
    import mudata

    rna, atac = cells(), cells(20, 5, "nucleus", 1)
    bundle = mudata.MuData({"rna": rna, "atac": atac})
    bundle.write_h5mu(tmp_path / "multi.h5mu")
    found = read_reference(tmp_path / "multi.h5mu")
    assert {m: t.shape for m, t in found.tables.items()} == {"rna": (30, 8), "chromatin": (20, 5)}
    study = tiny.study()
    study.add_reference(found)
    assert study.reference("multi").cells("chromatin").ids[0] == "nucleus0"
    assert study.reference("multi").labels("chromatin") is not None


def test_a_10x_matrix_without_positions(stomics_data: Path):
    path = stomics_data / "reader_fixtures/visium_scanpy_1.0.0/filtered_feature_bc_matrix.h5"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    found = read_reference(path, name="run")
    assert found.tables["rna"].n_obs > 0
    assert found.tables["rna"].var_names.is_unique
    assert found.labels is None


def test_what_holds_cells_only_is_told_from_the_structure(tmp_path):
    table = cells()
    table.write_h5ad(tmp_path / "cells.h5ad")
    assert holds_cells_only(tmp_path / "cells.h5ad")
    table.obsm["spatial"] = np.zeros((30, 2))
    table.write_h5ad(tmp_path / "section.h5ad")
    assert not holds_cells_only(tmp_path / "section.h5ad")
    (tmp_path / "broken.h5ad").write_bytes(b"none")
    assert not holds_cells_only(tmp_path / "broken.h5ad")
    assert not holds_cells_only(tmp_path / "absent.h5ad")
    assert not holds_cells_only(tmp_path)


def test_refused_with_the_reason(tmp_path):
    study = with_cells()
    with pytest.raises(UserError, match="already holds single cells 'pbmc'"):
        study.add_reference(SingleCells("pbmc", {"rna": cells()}))
    twins = cells()
    twins.obs_names = ["same"] * 30
    with pytest.raises(UserError, match="share a name"):
        study.add_reference(SingleCells("twins", {"rna": twins}))
    with pytest.raises(UserError, match="0 cells"):
        study.add_reference(SingleCells("none", {"rna": cells()[:0].copy()}))
    with pytest.raises(UserError, match="no single cells 'other'"):
        study.reference("other")
    with pytest.raises(UserError, match="no table for 'protein'"):
        study.reference("pbmc").cells("protein")
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(UserError, match="no file of single cells"):
        read_reference(tmp_path / "notes.txt")
    assert list(study.record.references) == ["pbmc"]


def test_further_modalities_join_and_everything_can_be_taken_out():
    study = with_cells()
    before = {name for _, name, _ in with_cells().sdata.gen_elements()}
    study.add_reference(SingleCells("pbmc", {"protein": cells(30, 3)}))
    assert study.reference("pbmc").modalities == ("rna", "protein")
    assert {name for _, name, _ in study.sdata.gen_elements()} == before | {"pbmc_cells_protein"}
    remove_reference(study, "pbmc")
    assert {name for _, name, _ in study.sdata.gen_elements()} == {
        name for _, name, _ in tiny.study().sdata.gen_elements()
    }
    assert study.record.references == {}


def test_a_study_with_cells_is_saved_and_opened_with_its_mapping(tmp_path):
    study = with_cells()
    result = run_step(study, map_step())
    path = save_store(study, tmp_path / "study.zarr").path
    again = open_study(path)
    assert list(again.sections) == ["one"]
    reference = again.reference("pbmc")
    assert reference.record == study.record.references["pbmc"]
    mine, theirs = reference.cells("rna"), study.reference("pbmc").cells("rna")
    np.testing.assert_array_equal(mine.x.toarray(), theirs.x.toarray())
    np.testing.assert_array_equal(mine.labels, theirs.labels)
    assert set(mine.labels) == {"T cell", "B/cell", ""}
    back = load_result(again, again.record.runs[0])
    for name in ("positions", "spread", "entropy", "proportions", "labels", "cell_mass"):
        np.testing.assert_array_equal(getattr(back, name), getattr(result, name))
    assert back.categories == ("B/cell", "T cell")
    np.testing.assert_allclose(back.plan.toarray(), result.plan.toarray())
    assert back.summary() == result.summary()
    # The content is told from what was saved: nothing is written twice.
    study.path = path
    assert save_store(study).written == ()


def test_other_software_reads_the_cells_as_a_plain_table(tmp_path):
    import spatialdata

    path = save_store(with_cells(), tmp_path / "study.zarr").path
    table = spatialdata.read_zarr(path).tables["pbmc_cells_rna"]
    assert "spatialdata_attrs" not in table.uns
    assert list(table.obs["cell_type"].cat.categories) == ["B/cell", "T cell"]


def test_a_store_of_other_software_keeps_its_tables(tmp_path):
    foreign = tiny.study().sdata
    foreign.attrs.clear()
    foreign.write(tmp_path / "foreign.zarr")
    study = open_study(tmp_path / "foreign.zarr")
    before = {name for _, name, _ in study.sdata.gen_elements()}
    assert study.references == {}
    study.add_reference(SingleCells("pbmc", {"rna": cells()}))
    assert {name for _, name, _ in study.sdata.gen_elements()} - before == {"pbmc_cells_rna"}
    save_store(study)
    assert list(open_study(tmp_path / "foreign.zarr").references) == ["pbmc"]


def test_studies_are_joined_with_their_cells():
    study, other = tiny.study("two"), with_cells()
    study.add(other)
    assert list(study.references) == ["pbmc"]
    assert study.reference("pbmc").cells("rna").x.shape == (30, 8)
    third = Study(tiny.study("three").sdata)
    third.add_reference(SingleCells("pbmc", {"protein": cells()}))
    with pytest.raises(UserError, match="'pbmc'"):
        study.add(third)
    assert list(study.sections) == ["two", "one"]


def test_choices_follow_the_reference():
    study = with_cells()
    chosen = {"reference": "pbmc"}
    assert choices(study, "reference", {}) == ["pbmc"]
    assert choices(study, "cell_modality:reference", chosen) == ["rna"]
    assert choices(study, "cell_column:reference", chosen) == ["cell_type"]
    assert choices(study, "cell_column:reference", {"reference": "gone"}) == []


def test_a_mapping_refuses_what_is_not_there():
    study = with_cells()
    for inputs, said in (
        ({"reference": "gone"}, "no single cells 'gone'"),
        ({"labels": "gone"}, "no column 'gone'"),
        ({"more": ["protein"]}, "no table for 'protein'"),
        ({"section": "gone"}, "no section 'gone'"),
    ):
        with pytest.raises(UserError, match=said):
            map_step(**inputs).resolve().collect(study)


def test_committing_a_mapping_can_be_undone():
    study = with_cells()
    before = {name for _, name, _ in study.sdata.gen_elements()}
    obs = list(study.section("one").table("rna").obs)
    outcome = map_step().resolve().collect(study).run()
    outcome.commit(study)
    table = study.section("one").table("rna")
    assert "pbmc_to_one_placed" in study.sdata.tables
    assert table.obsm["placed_proportions"].shape == (12, 2)
    outcome.revert(study)
    assert {name for _, name, _ in study.sdata.gen_elements()} == before
    assert list(table.obs) == obs
    assert "placed_proportions" not in table.obsm


def test_further_modalities_are_stored_each_in_its_table(tmp_path):
    study = with_cells()
    protein = cells(20, 8, "other", 3)
    study.add_reference(SingleCells("pbmc", {"protein": protein}))
    result = run_step(study, map_step(more=["protein"]))
    path = save_store(study, tmp_path / "study.zarr").path
    back = load_result(open_study(path), study.record.runs[0])
    assert [part.modality for part in back.more] == ["protein"]
    np.testing.assert_array_equal(back.more[0].positions, result.more[0].positions)
    np.testing.assert_array_equal(back.more[0].proportions, result.more[0].proportions)


def test_a_recipe_reads_the_cells_again(tmp_path):
    section = tiny.table()
    section.obsm["spatial"] = np.random.default_rng(0).uniform(0, 100, (12, 2))
    section.uns["um_per_px"] = 1.0
    section.write_h5ad(tmp_path / "one.h5ad")
    cells(genes=4).write_h5ad(tmp_path / "pbmc.h5ad")
    session = Session()
    from napari_stomics.data.readers import read_section

    session.add(read_section(tmp_path / "one.h5ad"), {"path": str(tmp_path / "one.h5ad")})
    origin = {"path": str(tmp_path / "pbmc.h5ad"), "labels": "cell_type"}
    heard: list[str] = []
    session.reference_added.connect(heard.append)
    session.add_reference(read_reference(tmp_path / "pbmc.h5ad"), origin)
    assert heard == ["pbmc"]
    assert session.unsaved
    first = run_step(session.study, map_step())
    recipe = Recipe.from_study(session.study)
    path = recipe.write(tmp_path / "recipe.yaml")
    study, (second,) = run_recipe(Recipe.read(path), folder=tmp_path)
    np.testing.assert_array_equal(first.positions, second.positions)
    assert study.record.references.keys() == {"pbmc"}


def test_a_recipe_of_a_store_does_not_read_twice_what_was_saved_since(tmp_path):
    path = save_store(tiny.study(), tmp_path / "study.zarr").path
    cells().write_h5ad(tmp_path / "pbmc.h5ad")
    session = Session()
    session.open(open_study(path))
    session.add_reference(
        read_reference(tmp_path / "pbmc.h5ad"), {"path": str(tmp_path / "pbmc.h5ad")}
    )
    recipe = Recipe.from_study(session.study)
    assert list(recipe.study.open(tmp_path).references) == ["pbmc"]
    save_store(session.study)
    assert list(Recipe.from_study(session.study).study.open(tmp_path).references) == ["pbmc"]
