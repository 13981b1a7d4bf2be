"""What the forms of all steps share: the offer, parameters by method, refusals in words."""

from __future__ import annotations

import pytest
from napari.components import ViewerModel

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import Domains, EmbeddingInputs
from napari_stomics.core.presets import Preset
from napari_stomics.core.registry import Registry, registry
from napari_stomics.docks.messages import failure_text
from napari_stomics.docks.step_form import StepForm
from napari_stomics.docks.workbench import workbench

pytestmark = pytest.mark.gui

GMM, FEW = "domains/gmm", "domains/few"


@pytest.fixture
def methods(monkeypatch):
    known = registry()
    table = {key: known._table[key] for key in (GMM, "domains/edit")}
    found = Registry(table | {"domains/gone": "nowhere:gone"})
    found.add(FEW, Preset("few", GMM, "Few", "Three.", "A paper", {"n_domains": 3}))
    for module in ("core.registry", "workflow.steps", "docks.step_form"):
        monkeypatch.setattr(f"napari_stomics.{module}.registry", lambda: found)
    return found


@pytest.fixture
def form(methods, qtbot):
    groups = {"": ("section", "embedding")}
    made = StepForm(workbench(ViewerModel()), "domains", EmbeddingInputs, Domains, groups)
    qtbot.addWidget(made)
    return made


def test_methods_of_other_kinds_and_broken_ones_are_not_offered(form):
    assert set(form._keys()) == {GMM, FEW}
    assert [form.method.itemData(i) for i in range(form.method.count())] == [GMM]


def test_a_preset_brings_its_parameters_and_the_method_takes_them_back(form, qtbot):
    own = form.params.value()
    with qtbot.waitSignals([form.chosen, form.changed]):
        form.choose(FEW)
    assert form._titles.isRowVisible(form.preset)
    assert form.method.currentData() == GMM
    assert form.params.value().model_dump() == {**own.model_dump(), "n_domains": 3}
    assert form.about.text() == "Three."
    assert form.result_key == "few"
    form.choose(GMM)
    assert form.key == GMM
    assert form.params.value() == own


def test_the_first_plain_parameters_are_in_sight(form):
    model = form.params.model
    shown = form.important(model)
    assert 0 < len(shown) <= 3
    form.show()
    for name in model.model_fields:
        assert form.params.editor(name).isVisibleTo(form) == (name in shown)


def test_a_step_without_what_it_reads_is_refused(form):
    with pytest.raises(UserError, match="nothing to choose") as caught:
        form.step()
    assert caught.value.hint == form.way_out


def test_a_fault_of_the_program_is_told_with_its_traceback_and_a_users_without():
    try:
        raise KeyError("gone")
    except KeyError as error:
        fault = error
    text = failure_text(fault, "Fuse")
    assert "Traceback" in text
    assert "test_step_form" in text
    assert "Traceback" not in failure_text(UserError("Nothing.", "Open a study."), "Fuse")
