"""Steps that carry values across sections: gathered, stored, read back, refused."""

from __future__ import annotations

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.results import Registration
from napari_stomics.data.results import load_result
from napari_stomics.workflow.steps import Step, run_step
from tests.small import hushed, small_simulation
from tests.workflow.test_steps import _assert_same, _contents

PAIR = {"source": "section_2", "target": "section_1"}
PLAN = "section_2_to_section_1_fgw_dense"
REGISTER = Step(method="registration/landmarks", inputs=PAIR)
ALIGN = Step(method="alignment/fgw-dense", inputs=PAIR)


@pytest.fixture(scope="module")
def aligned():
    """A study with a registration and a plan; tests take back what they commit."""
    study = small_simulation().study
    study.section("section_1").table("rna").obs["depth"] = np.asarray(
        study.section("section_1").table("rna").X.sum(axis=1)
    ).ravel()
    for step in (REGISTER, ALIGN):
        run_step(study, step)
    return study


@pytest.fixture
def done(aligned):
    outcomes = []

    def run(step):
        outcome = step.resolve().collect(aligned).run(hushed())
        outcome.commit(aligned)
        outcomes.append(outcome)
        return outcome

    yield run
    for outcome in reversed(outcomes):
        outcome.revert(aligned)


def step(method, key="", params=None, **inputs):
    return Step(method=method, inputs={**PAIR, **inputs}, params=params or {}, key=key)


def gene(study, i=0):
    return str(study.section("section_1").table("rna").var_names[i])


CASES = {
    "values": step("transfer/plan-values", plan=PLAN, params={"n_features": 7}),
    "values back": step(
        "transfer/plan-values", plan=PLAN, direction="target to source", modality="protein",
        columns=["depth"],
    ),
    "labels back": step(
        "transfer/plan-labels", plan=PLAN, direction="target to source", column="domain"
    ),
    "counts": step("transfer/aggregate"),
    "labels": step("transfer/aggregate", column="domain"),
    "means": step("transfer/aggregate", modality="protein", params={"statistic": "mean"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_carried_is_read_back_and_taken_back(aligned, done, name):
    aligned.sync()
    before = _contents(aligned)
    outcome = done(CASES[name])
    again = load_result(aligned, outcome.run)
    assert type(again) is type(outcome.result)
    for field in again.__dataclass_fields__:
        _assert_same(field, getattr(outcome.result, field), getattr(again, field))
    assert _contents(aligned) != before
    outcome.revert(aligned)
    assert _contents(aligned) == before
    outcome.redo(aligned)


def test_against_the_plan_the_other_section_receives(aligned, done):
    there = done(CASES["values"]).result
    back = done(CASES["values back"]).result
    assert (there.source, there.target) == ("section_2", "section_1")
    assert (back.source, back.target) == ("section_1", "section_2")
    assert list(back.target_ids) == list(aligned.section("section_2").ids)
    assert back.names[-1] == "depth"
    # Domains are found again in both directions: the simulation's sections are alike.
    labels = done(CASES["labels back"]).result
    assert labels.target == "section_2"
    assert labels.spot_accuracy > 0.5


def test_a_gene_that_the_plan_has_not_seen_is_told_apart(aligned, done):
    result = done(step("transfer/plan-values", plan=PLAN, genes=[gene(aligned)])).result
    table = aligned.sdata.tables[PLAN]
    seen = next(v for k, v in table.uns.items() if k.startswith("stomics_"))["features"]
    if len(seen) == 0:
        assert set(result.status) == {"unknown"}
    else:
        assert result.status[0] == ("seen" if gene(aligned) in set(seen) else "held out")


def test_an_aggregation_is_a_modality_that_can_be_fused(aligned, done):
    done(step("transfer/aggregate", key="cells"))
    section = aligned.section("section_1")
    assert "cells" in section.modalities
    fused = done(
        Step(
            method="fusion/concat-pcs",
            inputs={"section": "section_1", "modalities": ["rna", "cells"], "histology": False},
        )
    ).result
    assert fused.modalities == ("rna", "cells")
    assert np.isfinite(fused.values).all()


def test_measured_tables_are_never_replaced(aligned):
    for base in (CASES["counts"], CASES["values"]):
        outcome = base.model_copy(update={"key": "rna"}).resolve().collect(aligned).run(hushed())
        with pytest.raises(UserError, match="would be lost"):
            outcome.commit(aligned)
    assert aligned.section("section_1").table("rna").n_vars > 50


def test_a_result_of_the_same_name_is_replaced(aligned, done):
    first = done(CASES["counts"]).result
    second = done(step("transfer/aggregate", params={"statistic": "mean"})).result
    assert first.statistic == "sum"
    assert load_result(aligned, aligned.record.runs[-1]).statistic == second.statistic == "mean"


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        ({"plan": "nothing"}, "no transport plan"),
        ({"plan": "section_1_rna"}, "holds no transport plan"),
        ({"plan": PLAN, "modality": None}, "Nothing is chosen"),
        ({"plan": PLAN, "columns": ["domain"]}, "no column of numbers"),
        ({"plan": PLAN, "source": "section_1", "target": "section_2"}, "does not belong"),
        ({"plan": PLAN, "modality": "lipids"}, "no table"),
    ],
)
def test_wrong_references_are_refused(aligned, inputs, match):
    with pytest.raises(UserError, match=match):
        step("transfer/plan-values", **inputs).resolve().collect(aligned)


def test_sections_that_are_not_registered_cannot_be_aggregated(aligned):
    study = small_simulation().study
    with pytest.raises(UserError, match="not registered"):
        CASES["counts"].resolve().collect(study)
    for inputs, match in (
        ({"target": "section_2"}, "both sides"),
        ({"modality": None}, "Nothing is chosen"),
        ({"column": "no such"}, "no column of labels"),
    ):
        with pytest.raises(UserError, match=match):
            step("transfer/aggregate", **inputs).resolve().collect(aligned)


def test_labels_are_counted_on_the_spots(aligned, done):
    result = done(CASES["labels"]).result
    assert list(result.features) == sorted(result.features)
    total = np.asarray(result.values.sum(axis=0)).ravel() + result.outside
    names, counts = np.unique(aligned.section("section_2").labels("domain"), return_counts=True)
    np.testing.assert_allclose(total, counts, rtol=1e-9)
    assert list(names) == list(result.features)


def test_the_map_between_sections_is_used_in_its_direction(aligned, done):
    there = done(CASES["counts"]).result
    back = done(Step(method="transfer/aggregate", key="back",
                     inputs={"source": "section_1", "target": "section_2"})).result  # fmt: skip
    assert there.reached.mean() > 0.8
    assert back.reached.mean() > 0.8
    assert isinstance(load_result(aligned, aligned.record.runs[0]), Registration)


def test_all_of_it_survives_the_way_to_disk(aligned, done, tmp_path):
    from napari_stomics.data.store import save_store
    from napari_stomics.data.study import Study, open_study

    results = {}
    for name, case in CASES.items():
        outcome = done(case.model_copy(update={"key": name.replace(" ", "_")}))
        results[outcome.run.id] = outcome.result
    save_store(Study(aligned.sdata), tmp_path / "study.zarr")
    opened = open_study(tmp_path / "study.zarr")
    found = [run for run in opened.record.runs if run.id in results]
    assert len(found) == len(CASES)
    for run in found:
        again = load_result(opened, run)
        for field in again.__dataclass_fields__:
            _assert_same(field, getattr(results[run.id], field), getattr(again, field))
