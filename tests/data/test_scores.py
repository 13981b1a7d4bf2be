"""Scores and markers: what they read, how they are stored, and as CSV."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.data.results import load_result
from napari_stomics.data.score_tables import (
    write_contingency_csv,
    write_markers_csv,
    write_scores_csv,
)
from napari_stomics.data.scores import (
    MarkerRefs,
    ScoreRefs,
    collect_markers,
    collect_scores,
)
from napari_stomics.session.choices import choices
from napari_stomics.workflow.steps import Step, run_step
from tests.scored import SECTION, scored_study

REFS = {
    "section": SECTION,
    "labels": "domains",
    "annotation": "domain",
    "embedding": "joint",
    "modalities": ["rna", "protein"],
    "singles": ["by_rna"],
}
MARKED = {"section": SECTION, "labels": "domains"}


@pytest.fixture
def study() -> Any:
    return scored_study()


def scores(study: Any, **changes: Any) -> Any:
    return run_step(study, Step(method="scores/domains", inputs={**REFS, **changes}))


def markers(study: Any, modality: str = "rna") -> Any:
    inputs = {**MARKED, "modality": modality}
    return run_step(study, Step(method="markers/domains", inputs=inputs))


def same(a: Any, b: Any) -> None:
    assert json.dumps(a.summary()) == json.dumps(b.summary())
    for name in ("section", "sections", "label_name", "converged"):
        assert getattr(a, name) == getattr(b, name)


def test_labels_and_what_judges_them_are_gathered_spot_by_spot(study: Any) -> None:
    found = collect_scores(study, ScoreRefs(**REFS))
    section = study.section(SECTION)
    np.testing.assert_array_equal(found.ids, section.ids)
    np.testing.assert_array_equal(found.labels, section.labels("domains"))
    np.testing.assert_array_equal(found.truth, section.labels("domain"))
    np.testing.assert_array_equal(found.embedding, section.table("rna").obsm["joint"])
    assert [block.name for block in found.blocks] == ["rna", "protein"]
    assert list(found.singles) == ["by_rna"]
    assert collect_scores(study, ScoreRefs(**{**REFS, "annotation": "domains"})).truth is None


def test_spots_that_a_table_lacks_have_no_label(study: Any) -> None:
    name = study.record.sections[SECTION].tables["rna"]
    for other in ("protein",):
        del study.record.sections[SECTION].tables[other]
    whole = study.section(SECTION).labels("domains")
    study.sdata[name] = study.sdata.tables[name][10:].copy()
    found = collect_scores(study, ScoreRefs(**{**REFS, "modalities": []}))
    assert len(found.ids) == len(whole)
    assert (found.labels[:10] == "").all()
    np.testing.assert_array_equal(found.labels[10:], whole[10:])
    assert np.isnan(found.embedding[:10]).all()
    result = scores(study, modalities=[])
    stored = load_result(study, study.record.runs[-1])
    assert len(stored.ids) == len(whole)
    np.testing.assert_array_equal(stored.isolated, result.isolated)


def test_what_is_not_there_is_refused_with_the_way_out(study: Any) -> None:
    for changes, words in (
        ({"labels": "nothing"}, "has no labels 'nothing'"),
        ({"embedding": "nothing"}, "'nothing' is in none"),
        ({"others": ["section_2"]}, "'section_2' has no labels 'domains'"),
        ({"modalities": ["metabolite"]}, "no table for 'metabolite'"),
    ):
        with pytest.raises(UserError, match=words):
            collect_scores(study, ScoreRefs(**{**REFS, **changes}))
    with pytest.raises(UserError, match="no table for 'metabolite'"):
        collect_markers(study, MarkerRefs(**MARKED, modality="metabolite"))


def test_an_annotation_can_be_scored_over_two_sections(study: Any) -> None:
    inputs = {"section": SECTION, "others": ["section_2"], "labels": "domain"}
    found = run_step(study, Step(method="scores/domains", inputs=inputs))
    assert found.sections == (SECTION, "section_2")
    assert np.isfinite(found.isolated[found.of == 1]).all()
    same(load_result(study, study.record.runs[-1]), found)
    marked = run_step(
        study, Step(method="markers/domains", inputs={**inputs, "modality": "protein"})
    )
    assert marked.sections == (SECTION, "section_2")
    same(load_result(study, study.record.runs[-1]), marked)


def test_they_come_back_from_the_study_and_from_disk(study: Any, tmp_path: Path) -> None:
    from napari_stomics.data.store import save_store
    from napari_stomics.data.study import open_study

    made = [scores(study), markers(study, "rna"), markers(study, "protein")]
    save_store(study, tmp_path / "s.zarr")
    again = open_study(tmp_path / "s.zarr")
    for place in (study, again):
        for run, found in zip(place.record.runs[-3:], made, strict=True):
            same(load_result(place, run), found)
    stored = load_result(again, again.record.runs[-3])
    np.testing.assert_array_equal(stored.counts, made[0].counts)
    np.testing.assert_array_equal(stored.isolated, made[0].isolated)
    assert stored.rows == made[0].rows
    first, second = made[1].tables[0], load_result(again, again.record.runs[-2]).tables[0]
    np.testing.assert_array_equal(first.features, second.features)
    for name in ("effect", "score", "p", "p_adjusted", "morans_i", "gearys_c"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name))


def test_undoing_leaves_the_tables_as_they_were(study: Any) -> None:
    table = study.section(SECTION).table("rna")
    before = (list(table.obs), list(table.uns), len(study.record.runs))
    for step in (
        Step(method="scores/domains", inputs=REFS),
        Step(method="markers/domains", inputs={**MARKED, "modality": "rna"}),
    ):
        outcome = step.resolve().collect(study).run()
        outcome.commit(study)
        outcome.revert(study)
    assert (list(table.obs), list(table.uns), len(study.record.runs)) == before


def test_tables_are_written_whole_and_replace_nothing_unasked(study: Any, tmp_path: Path) -> None:
    import pandas as pd

    found, marked = scores(study), markers(study)
    written = write_scores_csv(tmp_path / "scores", found)
    assert written.name == "scores.csv"
    frame = pd.read_csv(written).set_index("name")
    assert frame.loc["ari", "value"] == pytest.approx(found.score("ari").value)
    assert frame["protocol"].str.len().min() > 20
    table = pd.read_csv(write_contingency_csv(tmp_path / "c.csv", found), index_col=0)
    np.testing.assert_array_equal(table.to_numpy(), found.counts)
    assert table.index.name == "domain"
    rows = pd.read_csv(write_markers_csv(tmp_path / "m.csv", marked))
    assert len(rows) == sum(len(t) for t in marked.tables)
    assert rows["effect_is"].unique().tolist() == ["log2 fold change"]
    with pytest.raises(UserError, match="exists already"):
        write_scores_csv(written, found)
    write_scores_csv(written, found, overwrite=True)
    bare = scores(study, annotation=None, singles=[])
    with pytest.raises(UserError, match="without an annotation"):
        write_contingency_csv(tmp_path / "none.csv", bare)
    assert not (tmp_path / "none.csv").exists()


def test_they_do_not_take_the_name_of_the_domains() -> None:
    assert Step(method="scores/domains").result_key == "domains_scores"
    assert Step(method="markers/domains").result_key == "domains_markers"
    assert Step(method="domains/gmm").result_key == "gmm"


def test_domains_are_offered_before_other_labels(study: Any) -> None:
    offered = choices(study, "domains:section", {"section": SECTION})
    assert offered[:2] == ["domains", "by_rna"]
    assert "domain" in offered
    assert set(choices(study, "columns:section", {"section": SECTION})) == set(offered)
