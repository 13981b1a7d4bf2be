"""Where results are stored: the table that has every spot, or one that is made for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.data.fusion import FusionRefs, collect_fusion
from napari_stomics.data.homes import SPOTS, home_table
from napari_stomics.data.store import save_store
from napari_stomics.data.study import Study, open_study
from napari_stomics.session.choices import choices
from napari_stomics.session.session import Session
from napari_stomics.workflow.recipes import Recipe, run_recipe
from napari_stomics.workflow.steps import Step, run_step
from tests.layers.studies import grid, section, table
from tests.partly import LEFT_OUT, partly_measured

BOTH = {"section": "A", "modalities": ["rna", "protein"], "histology": False}
FUSE = Step(method="fusion/smooth", inputs=BOTH, key="joint")
FIND = Step(
    method="domains/gmm",
    inputs={"section": "A", "embedding": "joint", "annotation": "domain"},
    params={"n_domains": 3, "members": 3},
    key="found",
)
JUDGE = Step(
    method="scores/domains",
    inputs={
        "section": "A",
        "labels": "found",
        "annotation": "domain",
        "embedding": "joint",
        "modalities": ["rna", "protein"],
    },
)
MARK = Step(method="markers/domains", inputs={"section": "A", "labels": "found", "modality": "rna"})


def halves() -> Study:
    """A section whose two tables have a half of its spots each."""
    whole = table(len(grid()))
    middle = whole.n_obs // 2
    protein = whole[middle - 12 :].copy()
    tables = {"rna": whole[: middle + 12].copy(), "protein": protein}
    ids = whole.obs_names.to_numpy(object)
    return Study(section("A", tables=tables, ids=ids, annotation=None))


def held(study: Study) -> dict[str, list[str]]:
    """What each table holds beside its measurements."""
    return {
        name: sorted([*t.obs.columns, *t.obsm.keys(), *t.uns.keys()])
        for name, t in study.sdata.tables.items()
    }


def committed(session: Session, step: Step) -> Any:
    outcome = step.resolve().collect(session.study).run()
    session.commit(outcome)
    return outcome.result


def test_both_modalities_are_gathered_where_no_table_has_every_spot() -> None:
    study = halves()
    refs = FusionRefs(section="A", modalities=("rna", "protein"))
    inputs = collect_fusion(study, refs)
    assert inputs.n == len(grid())
    assert [len(block.rows) for block in inputs.blocks] == [30, 30]
    # The image lies under every spot.
    assert inputs.histology[0] is not None
    assert len(inputs.histology[0].spots.ids) == len(grid())


def test_results_over_all_spots_get_a_table_of_their_own_once() -> None:
    study = partly_measured()
    every = study.section("A").ids
    assert all(study.section("A").table(m).n_obs < len(every) for m in ("rna", "protein"))
    fused, found = run_step(study, FUSE), run_step(study, FIND)
    assert study.section("A").modalities == ("rna", "protein", SPOTS)
    home = study.section("A").table(SPOTS)
    assert home.shape == (len(every), 0)
    assert home.uns["spatialdata_attrs"]["region"] == study.section("A").record.spots
    np.testing.assert_array_equal(home.obs_names, every)
    np.testing.assert_allclose(home.obsm["joint"], fused.values)
    assert np.isfinite(fused.values).all()
    # Weights are of what a spot has: none of the protein's where it lacks protein.
    lacking = ~np.isin(every, study.section("A").table("protein").obs_names)
    assert lacking.sum() == LEFT_OUT
    at = fused.modalities.index("protein")
    assert (fused.spot_weights[lacking, at] == 0).all()
    assert (fused.spot_weights[~lacking, at] > 0).all()
    # Spots that lack a modality are put where the others of their domain are.
    truth = study.section("A").labels("domain")
    known = truth != ""
    assert found.ari > 0.7
    np.testing.assert_array_equal(study.section("A").labels("found"), found.labels)
    assert known.sum() > LEFT_OUT


def test_domains_are_judged_edited_taken_back_and_done_again() -> None:
    session = Session()
    session.open(partly_measured())
    before = held(session.study)
    committed(session, FUSE)
    found = committed(session, FIND)
    scores, markers = committed(session, JUDGE), committed(session, MARK)
    assert len(scores.isolated) == len(found.ids)
    assert {row.name for row in scores.rows} >= {"ari"}
    assert len(markers.tables) == len(found.names)
    merge = Step(
        method="domains/edit",
        inputs={"section": "A", "domains": "found"},
        params={"action": "merge", "domains": ", ".join(found.names[:2])},
        key="found",
    )
    merged = committed(session, merge)
    assert len(merged.names) == len(found.names) - 1
    after, runs = held(session.study), len(session.results())
    for _ in range(runs):
        session.undo.undo()
    assert held(session.study) == before
    assert SPOTS not in session.study.section("A").modalities
    for _ in range(runs):
        session.undo.redo()
    assert held(session.study) == after
    again = session.load_result(session.results()[-1])
    np.testing.assert_array_equal(again.labels, merged.labels)


def test_they_are_there_when_the_study_is_opened_again(tmp_path: Any) -> None:
    study = partly_measured()
    fused, found = run_step(study, FUSE), run_step(study, FIND)
    scores = run_step(study, JUDGE)
    save_store(study, tmp_path / "a.zarr")
    session = Session()
    session.open(open_study(tmp_path / "a.zarr"))
    runs = session.results()
    np.testing.assert_allclose(session.load_result(runs[0]).values, fused.values)
    np.testing.assert_array_equal(session.load_result(runs[1]).labels, found.labels)
    read = session.load_result(runs[2])
    np.testing.assert_array_equal(read.isolated, scores.isolated)
    assert len(read.isolated) == len(session.study.section("A").ids)
    # What is fused again goes into the same table.
    run_step(session.study, FUSE)
    assert session.study.section("A").modalities == ("rna", "protein", SPOTS)


def test_a_recipe_makes_the_table_again(tmp_path: Any) -> None:
    study = partly_measured()
    save_store(study, tmp_path / "plain.zarr")
    run_step(study, FUSE)
    found = run_step(study, FIND)
    recipe = Recipe.from_study(study)
    replayed, results = run_recipe(recipe, open_study(tmp_path / "plain.zarr"))
    np.testing.assert_array_equal(results[1].labels, found.labels)
    assert replayed.section("A").modalities == ("rna", "protein", SPOTS)


def test_the_table_is_no_modality_to_choose_but_its_columns_are() -> None:
    study = partly_measured()
    run_step(study, FUSE)
    run_step(study, FIND)
    at = {"section": "A"}
    assert choices(study, "modalities:section", at) == ["rna", "protein"]
    assert "found" in choices(study, "domains:section", at)
    assert "found_stability" in choices(study, "numbers:section", at)
    assert choices(study, "embedding:section", at)[0] == "joint"


def test_a_table_that_a_step_would_replace_holds_no_results() -> None:
    study = partly_measured()
    made = study.section("A").record.tables
    ids = study.section("A").ids
    name, changes = home_table(study, "A", ids)
    for change in changes:
        change.apply(study)
    assert home_table(study, "A", ids) == (name, [])
    study.sdata.tables[name].uns["stomics_features"] = {"kind": "morphology"}
    other, changes = home_table(study, "A", ids)
    assert other not in made.values()
    assert len(changes) == 2


def test_spots_that_changed_are_told_as_that() -> None:
    study = Study(section("A"))
    ids = study.section("A").ids
    name, changes = home_table(study, "A", ids)
    assert study.sdata.tables[name].n_obs == len(ids)
    assert not changes
    with pytest.raises(UserError, match="changed while the job ran"):
        home_table(study, "A", np.append(ids, "more"))
