"""The choosers of what is carried across sections follow the direction of the plan."""

from __future__ import annotations

import numpy as np
import pytest

from napari_stomics.data.carry import AggregationRefs, LabelTransferRefs, ValueTransferRefs
from napari_stomics.docks.refs_form import RefsForm
from napari_stomics.docks.result_panel import ResultPanel
from napari_stomics.docks.workbench import workbench
from napari_stomics.layers.tags import tag, tagged
from napari_stomics.session.session import Session
from napari_stomics.workflow.steps import Step, run_step
from tests.docks.desk import finish
from tests.small import hushed, small_simulation

pytestmark = pytest.mark.gui
PAIR = {"source": "section_2", "target": "section_1"}
PLAN = "section_2_to_section_1_fgw_dense"


@pytest.fixture(scope="module")
def study():
    study = small_simulation(n_spots=120).study
    run_step(study, Step(method="registration/landmarks", inputs=PAIR))
    run_step(study, Step(method="alignment/fgw-dense", inputs=PAIR))
    one = study.section("section_1").table("rna")
    one.obs["only_here"] = np.arange(one.n_obs, dtype=float)
    return study


@pytest.fixture
def make(study, qtbot):
    session = Session()
    session.open(study)

    def form(model):
        made = RefsForm(model, session)
        qtbot.addWidget(made)
        return made

    return form


def test_columns_are_those_of_the_giving_section(make):
    form = make(ValueTransferRefs)
    values = form.values()
    assert values["plan"] == PLAN
    assert values["direction"] == "source to target"
    assert values["columns"] == []
    assert form._choosers["columns"].names() == []
    form.set_value("direction", "target to source")
    assert form._choosers["columns"].names() == ["only_here"]
    form.set_value("columns", ["only_here"])
    form.set_value("genes", ["a", "b"])
    assert form.values()["columns"] == ["only_here"]
    assert form.values()["genes"] == ["a", "b"]


def test_what_a_form_says_can_be_run(make, study):
    form = make(LabelTransferRefs)
    form.set_value("direction", "target to source")
    prepared = Step(method="transfer/plan-labels", inputs=form.values()).resolve().collect(study)
    assert prepared.inputs.target == "section_2"
    gather = make(AggregationRefs)
    assert "column" not in gather.values()
    gather.set_value("column", "domain")
    prepared = Step(method="transfer/aggregate", inputs=gather.values()).resolve().collect(study)
    assert prepared.inputs.giving.modality == "labels"


def test_another_gene_of_what_was_carried_is_shown(study, qtbot):
    from napari.components import ViewerModel

    viewer = ViewerModel()
    bench = workbench(viewer)
    bench.session.open(study)
    panel = ResultPanel(bench)
    qtbot.addWidget(panel)
    for inputs, method in (
        ({**PAIR, "plan": PLAN, "direction": "target to source"}, "transfer/plan-values"),
        (PAIR, "transfer/aggregate"),
    ):
        outcome = Step(method=method, inputs=inputs).resolve().collect(study).run(hushed())
        outcome.commit(study)
        panel.refresh(newest=True)
        key = outcome.run.key
        assert panel.run.key == key
        assert panel.gene.isVisibleTo(panel)
        gene = panel._genes(outcome.run)[3]
        panel.gene.chosen.emit(gene)
        finish(qtbot, bench)
        layers = tagged(viewer, result=key)
        assert {tag(layer)["gene"] for layer in layers} == {gene}
        outcome.revert(study)
