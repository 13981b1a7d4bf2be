"""The choosers of a step's inputs: filled with what makes sense, keeping what was chosen."""

from __future__ import annotations

import pytest

from napari_stomics.core.registry import registry
from napari_stomics.data.collect import (
    COLLECTORS,
    EmbeddingRefs,
    FusionRefs,
    LabelTransferRefs,
    PredictionRefs,
    SpotPairRefs,
)
from napari_stomics.data.study import Study
from napari_stomics.docks.refs_form import RefsForm, TickList
from napari_stomics.session.session import Session
from napari_stomics.workflow.steps import Step, run_step
from tests.docks.desk import two_sections
from tests.layers.studies import section
from tests.small import small_simulation

pytestmark = pytest.mark.gui


@pytest.fixture
def session():
    return Session()


@pytest.fixture
def make(session, qtbot):
    def form(model):
        made = RefsForm(model, session)
        qtbot.addWidget(made)
        return made

    return form


def test_without_a_study_each_form_is_empty_and_says_what_is_missing(make):
    for key in registry().keys(None):
        model = COLLECTORS[registry().get(key).inputs].refs
        assert make(model).missing()


def test_the_second_section_moves_onto_the_first(make, session):
    session.open(two_sections())
    form = make(SpotPairRefs)
    assert form.values() == {
        "source": "B", "target": "A", "modality": "rna", "use_registration": True,
        "histology": False,
    }  # fmt: skip
    form.set_value("target", "B")
    form.set_value("use_registration", False)
    session.study.add(section("C"))
    form.refresh()
    assert form.values()["target"] == "B"
    assert form.values()["use_registration"] is False


def test_a_study_that_comes_later_fills_the_form(make, session):
    form = make(EmbeddingRefs)
    session.open(two_sections())
    form.refresh()
    assert form.values() == {"section": "A", "embedding": "X_pca", "annotation": "layer"}
    assert form.missing() == []
    form.set_value("annotation", "(none)")
    form.refresh()
    assert "annotation" not in form.values()


def test_all_modalities_are_ticked_and_the_predicted_section_is_held_out(make, session):
    session.open(small_simulation().study)
    fusion = make(FusionRefs)
    assert fusion.values()["modalities"] == ["rna", "protein"]
    prediction = make(PredictionRefs)
    assert prediction.values()["train"] == ["section_1"]
    assert prediction.values()["test"] == "section_2"
    ticks = prediction.findChild(TickList)
    prediction.set_value("train", ["section_2"])
    assert ticks.ticked() == ["section_2"]
    prediction.refresh()
    assert ticks.ticked() == ["section_2"]


def test_a_plan_brings_its_sections_with_it(make, session):
    study = small_simulation().study
    session.open(study)
    for source, target in (("section_2", "section_1"), ("section_1", "section_2")):
        inputs = {"source": source, "target": target}
        run_step(study, Step(method="alignment/fgw-dense", inputs=inputs, key=f"from_{source}"))
    form = make(LabelTransferRefs)
    assert form.values()["plan"] == "section_1_to_section_2_from_section_1"
    assert (form.values()["source"], form.values()["target"]) == ("section_1", "section_2")
    form.set_value("plan", "section_2_to_section_1_from_section_2")
    assert (form.values()["source"], form.values()["target"]) == ("section_2", "section_1")
    assert form.values()["column"] == "domain"


def test_domains_start_from_the_newest_embedding(make, session):
    study = small_simulation().study
    session.open(study)
    run_step(study, Step(method="fusion/concat-pcs", inputs={"section": "section_2"}))
    values = make(EmbeddingRefs).values()
    assert (values["section"], values["embedding"]) == ("section_2", "concat_pcs")


def test_sections_that_go_are_no_longer_offered(make, session):
    session.open(two_sections())
    form = make(SpotPairRefs)
    session.open(Study(section("C")))
    form.refresh()
    assert form.values()["source"] == "C"
