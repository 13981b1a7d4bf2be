import json

import numpy as np
import pytest

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.data.results import load_result
from napari_stomics.workflow.provenance import plain
from napari_stomics.workflow.steps import Step, run_step
from tests.small import small_simulation

PAIR = {"source": "section_2", "target": "section_1"}
FUSE = Step(
    method="fusion/concat-pcs", inputs={"section": "section_1", "modalities": ["rna", "protein"]}
)
DOMAINS = Step(
    method="domains/gmm",
    inputs={"section": "section_1", "embedding": "concat_pcs", "annotation": "domain"},
    params={"n_domains": 3},
)
ALIGN = Step(method="alignment/fgw-dense", inputs=PAIR)
TRANSFER = Step(
    method="transfer/plan-labels",
    inputs={**PAIR, "plan": "section_2_to_section_1_fgw_dense", "column": "domain"},
)
PREDICT = Step(
    method="prediction/ridge",
    inputs={"train": ["section_1"], "test": "section_2"},
    params={"n_genes": 20},
)
REGISTER = Step(method="registration/landmarks", inputs=PAIR)
ALL = (REGISTER, ALIGN, TRANSFER, FUSE, DOMAINS, PREDICT)


@pytest.fixture
def study():
    return small_simulation().study


def _run_all(study):
    return [run_step(study, step) for step in ALL]


def _contents(study):
    """Everything that steps may write, comparable."""
    tables = {}
    for name, table in study.sdata.tables.items():
        x = table.X.toarray() if hasattr(table.X, "toarray") else np.asarray(table.X)
        tables[name] = (
            x.tobytes(), table.obs.to_json(), sorted(table.obsm), sorted(map(str, table.uns)),
        )  # fmt: skip
    return tables, json.dumps(study.record.model_dump(mode="json"))


def test_every_kind_of_result_is_read_back_as_it_was(study):
    for result in _run_all(study):
        run = next(r for r in study.record.runs if r.kind == result.kind)
        again = load_result(study, run)
        assert type(again) is type(result)
        for name in result.__dataclass_fields__:
            _assert_same(name, getattr(result, name), getattr(again, name))


def _assert_same(name, first, second):
    if name == "transform":
        points = np.random.default_rng(0).uniform(0, 1000, (20, 2))
        np.testing.assert_allclose(first.apply(points), second.apply(points), atol=1e-9)
    elif hasattr(first, "toarray"):
        np.testing.assert_array_equal(first.toarray(), second.toarray())
    elif isinstance(first, np.ndarray):
        if first.dtype == object:
            assert list(first) == list(second)
        else:
            np.testing.assert_allclose(first, second)
    elif isinstance(first, dict):
        assert list(first) == list(second)
        for key in first:
            _assert_same(key, first[key], second[key])
    elif type(first).__name__ in ("Loadings", "DomainCurve"):
        for part in first.__dataclass_fields__:
            _assert_same(part, getattr(first, part), getattr(second, part))
    elif isinstance(first, float):
        np.testing.assert_allclose(second, first)
    else:
        assert first == second, name


def test_a_commit_is_taken_back_without_a_trace_and_done_again(study):
    study.sync()
    for step in ALL:
        before = _contents(study)
        outcome = step.resolve().collect(study).run()
        assert _contents(study) == before, "running must not change the study"
        outcome.commit(study)
        after = _contents(study)
        assert after != before
        outcome.revert(study)
        assert _contents(study) == before
        outcome.redo(study)
        assert _contents(study) == after


def test_the_same_steps_give_the_same_numbers_and_hashes():
    first, second = small_simulation().study, small_simulation().study
    for a, b in zip(_run_all(first), _run_all(second), strict=True):
        assert plain(a.summary()) == plain(b.summary())
    hashes = [[run.inputs_hash for run in study.record.runs] for study in (first, second)]
    assert hashes[0] == hashes[1]


def test_other_inputs_have_another_hash(study):
    other = small_simulation(seed=4).study
    for s in (study, other):
        run_step(s, FUSE)
    assert study.record.runs[0].inputs_hash != other.record.runs[0].inputs_hash


def test_provenance_spells_out_what_ran(study):
    run_step(study, FUSE)
    run = study.record.runs[-1]
    assert run.step["params"]["n_components"] == 20
    assert run.step["inputs"]["modalities"] == ["rna", "protein"]
    assert run.versions["numpy"] == np.__version__
    assert run.key == "concat_pcs"


def test_a_second_run_of_one_name_replaces_the_first(study):
    run_step(study, FUSE)
    run_step(study, FUSE.model_copy(update={"params": {"n_output": 3}}))
    assert study.section("section_1").table("rna").obsm["concat_pcs"].shape[1] == 3


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (Step(method="domains/none"), "no method"),
        (Step(method="domains/gmm", inputs=DOMAINS.inputs, params={"k": 3}), "k"),
        (Step(method="domains/gmm", inputs=DOMAINS.inputs, params={"n_domains": 1}), "n_domains"),
        (Step(method="domains/gmm", inputs={"section": "section_1"}), "embedding"),
        (DOMAINS, "no embedding"),
        (Step(method="fusion/concat-pcs", inputs={"section": "x"}), "no section 'x'"),
        (
            Step(
                method="fusion/concat-pcs", inputs={"section": "section_1", "modalities": ["atac"]}
            ),
            "no table for 'atac'",
        ),
        (Step(method="alignment/fgw-dense", inputs={**PAIR, "source": "section_1"}), "both sides"),
        (TRANSFER, "no transport plan"),
        (
            Step(method="prediction/ridge", inputs={"train": ["section_1"], "test": "section_1"}),
            "from itself",
        ),
    ],
)
def test_a_wrong_step_is_refused_with_a_way_out(study, step, told):
    before = _contents(study)
    with pytest.raises(UserError, match=told) as caught:
        run_step(study, step)
    assert caught.value.hint
    assert _contents(study) == before


def test_a_cancelled_step_leaves_the_study_as_it_was(study):
    before = _contents(study)
    with pytest.raises(JobCancelled):
        run_step(study, ALIGN, JobContext(is_cancelled=lambda: True))
    assert _contents(study) == before


def test_a_result_for_spots_that_changed_meanwhile_is_refused(study):
    outcome = FUSE.resolve().collect(study).run()
    section = study.section("section_1")
    table = section.table("rna")
    del study.sdata.tables[section.record.tables["rna"]]
    study.sdata.tables[section.record.tables["rna"]] = table[::-1].copy()
    other = section.table("protein")
    del study.sdata.tables[section.record.tables["protein"]]
    study.sdata.tables[section.record.tables["protein"]] = other[::-1].copy()
    with pytest.raises(UserError, match="changed while"):
        outcome.commit(study)
    assert not study.record.runs
