"""The methods dock: every method from choosing to figures, errors in place, undo, recipes."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from napari_stomics.core import registry as registry_module
from napari_stomics.core.fusion import Domains, EmbeddingInputs
from napari_stomics.core.params import Params
from napari_stomics.core.registry import Registry, method, registry
from napari_stomics.docks import task_dock as task_dock_module
from napari_stomics.docks.result_text import figures_text, result_html, words
from napari_stomics.docks.task_dock import TaskDock, is_of_method
from napari_stomics.docks.workbench import workbench
from napari_stomics.layers.tags import tagged
from napari_stomics.workflow.recipes import Recipe, run_recipe
from tests.docks.desk import finish, two_sections
from tests.small import small_simulation

pytestmark = pytest.mark.gui


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def bench(viewer):
    return workbench(viewer)


@pytest.fixture
def make_dock(viewer, qtbot):
    frame = QWidget()
    qtbot.addWidget(frame)
    QVBoxLayout(frame)
    frame.resize(360, 900)
    frame.show()

    def make():
        dock = TaskDock(viewer)
        frame.layout().addWidget(dock)
        return dock

    return make


@pytest.fixture
def dock(make_dock):
    return make_dock()


@method(
    task="domains",
    name="halves",
    title="Left and right",
    summary="Splits a section in the middle; for tests.",
    params=type("HalvesParams", (Params,), {"__annotations__": {"wait": float}, "wait": 0.0}),
    inputs=EmbeddingInputs,
    result=Domains,
    reference="none",
)
def halves(inputs, params, ctx):
    """A method of a third party, which never converges and may wait until it is cancelled."""
    for _ in range(round(params.wait * 100)):
        ctx.step(0.5, "waiting")
        threading.Event().wait(0.01)
    left = inputs.coordinates[:, 0] < np.median(inputs.coordinates[:, 0])
    n = len(left)
    return Domains(
        section=inputs.section,
        ids=inputs.ids,
        labels=np.where(left, "left", "right").astype(object),
        names=("left", "right"),
        probabilities=np.column_stack([left, ~left]).astype(float),
        entropy=np.zeros(n),
        stability=np.ones(n),
        converged=False,
    )


@method(
    task="astrology",
    name="stars",
    title="Stars",
    summary="Takes what nobody can gather.",
    params=Params,
    inputs=SimpleNamespace,
    result=Domains,
    reference="none",
)
def stars(inputs, params, ctx):
    """A method whose inputs no collector knows."""


@pytest.fixture
def third_party(monkeypatch):
    """A registry as entry points of other packages make it: one good, one broken, one strange."""
    table = {key: registry()._table[key] for key in registry().keys(None)}
    found = Registry(table)
    found.add("domains/halves", f"{__name__}:halves")
    found.add("domains/broken", "a_package_that_is_gone:run")
    found.add("astrology/stars", f"{__name__}:stars")
    for module in (task_dock_module, registry_module):
        monkeypatch.setattr(module, "registry", lambda: found)
    monkeypatch.setattr("napari_stomics.workflow.steps.registry", lambda: found)
    return found


def chosen(dock):
    return dock.results.figures.toPlainText()


def listed(dock):
    return [dock.results.list.item(i).text() for i in range(dock.results.list.count())]


def test_alone_every_method_has_its_form(dock):
    assert not dock.run.isEnabled()
    for key in registry().keys(None):
        dock.choose(key)
        assert dock.method.currentData() == key
        assert dock.params is not None
        assert dock.problem.toPlainText() == ""
    dock._on_run()
    assert "Failed" in dock.problem.toPlainText()
    dock.results.undo.click()
    dock.results._on_again()
    dock.results.show_alone()


def test_every_task_runs_with_what_is_suggested_and_replays_to_the_same_numbers(
    dock, bench, viewer, qtbot, tmp_path, monkeypatch
):
    bench.session.open(small_simulation().study)
    steps = {
        "registration/landmarks": {},
        "alignment/fgw-dense": {},
        "transfer/plan-labels": {},
        "fusion/concat-pcs": {},
        "domains/gmm": {"n_domains": 3},
        "prediction/ridge": {"n_genes": 20},
    }
    for key, params in steps.items():
        dock.choose(key)
        dock.params.set_value(dock.params.model(**params))
        dock.run.click()
        assert dock.problem.toPlainText() == "", key
        finish(qtbot, bench)
        assert "Done" in dock.bar.text, dock.bar.text
        assert bench.session.results()[-1].step["method"] == key
        assert "hash of the inputs" in chosen(dock)
    assert [line.split("  ")[0] for line in listed(dock)] == [
        "landmarks", "fgw_dense", "plan_labels", "concat_pcs", "gmm", "ridge",
    ]  # fmt: skip
    assert bench.session.results()[4].step["inputs"]["embedding"] == "concat_pcs"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a, **k: (str(tmp_path / "all"), ""))
    dock.results.export.click()
    replayed, _ = run_recipe(Recipe.read(tmp_path / "all.yaml"), small_simulation().study)
    for ours, theirs in zip(bench.session.results(), replayed.record.runs, strict=True):
        assert words(ours.summary) == words(theirs.summary)
        assert ours.inputs_hash == theirs.inputs_hash
    _a_result_alone(dock, viewer, qtbot, bench)
    for left in range(5, -1, -1):
        dock.results.undo.click()
        assert len(listed(dock)) == left
    assert not tagged(viewer, role="result")
    assert not dock.results.undo.isEnabled()
    dock.results.redo.click()
    assert len(listed(dock)) == 1


def _a_result_alone(dock, viewer, qtbot, bench):
    """Show a prediction alone, choose a gene by a part of its name, repaint what was deleted."""
    panel = dock.results
    before = [(q.name, q.visible) for q in viewer.layers]
    panel.alone.click()
    shown = [q for q in viewer.layers if q.visible]
    assert {q.metadata["napari_stomics"].get("result") for q in shown} == {None, "ridge"}
    assert {q.metadata["napari_stomics"]["section"] for q in shown} == {"section_2"}
    panel.alone.click()
    assert [(q.name, q.visible) for q in viewer.layers] == before
    names = panel._genes(panel.run)
    assert len(names) == 20
    panel.gene.setText(names[7][1:].lower())
    panel.gene._on_return()
    finish(qtbot, bench)
    assert any(q.name.startswith(f"section_2: {names[7]} predicted") for q in viewer.layers)
    for layer in tagged(viewer, result="ridge"):
        viewer.layers.remove(layer)
    finish(qtbot, bench)
    assert not panel.layers.isVisible()
    panel.again.click()
    finish(qtbot, bench)
    assert panel.layers.count() == 3
    novelty = next(q for q in tagged(viewer, result="ridge") if "Novelty" in q.name)
    item = panel.layers.findItems("Novelty", Qt.MatchFlag.MatchContains)[0]
    item.setCheckState(Qt.CheckState.Checked)
    assert novelty.visible


def test_third_party_methods_work_and_broken_ones_say_so(
    third_party, make_dock, bench, viewer, qtbot
):
    dock = make_dock()
    bench.session.open(two_sections())
    dock.choose("domains/broken")
    assert "a_package_that_is_gone" in dock.problem.toPlainText()
    assert not dock.run.isEnabled()
    dock.choose("astrology/stars")
    assert "cannot be gathered" in dock.problem.toPlainText()
    assert not dock.run.isEnabled()
    dock.choose("domains/halves")
    assert dock.problem.toPlainText() == ""
    dock.refs.set_value("section", "A")
    dock.run.click()
    finish(qtbot, bench)
    assert tagged(viewer, result="halves", part="domains")
    # A result that stopped early says so in the list and before its numbers.
    assert listed(dock) == ["⚠ halves  (A, not converged)"]
    assert chosen(dock).startswith("⚠ Not converged")


def test_results_of_two_sections_do_not_replace_each_other(
    third_party, make_dock, bench, viewer, qtbot
):
    dock = make_dock()
    bench.session.open(two_sections())
    dock.choose("domains/halves")
    for section in "ABA":
        dock.refs.set_value("section", section)
        dock.run.click()
        finish(qtbot, bench)
    assert [run.key for run in bench.session.results()] == ["halves", "halves_B", "halves"]
    assert listed(dock)[0] == "⚠ halves  (A, not converged, replaced)"
    assert dock._note.text() == "Replaces the result 'halves'."
    assert {q.metadata["napari_stomics"]["section"] for q in tagged(viewer, part="domains")} == {
        "A",
        "B",
    }


def test_cancel_in_the_middle_changes_nothing(third_party, make_dock, bench, viewer, qtbot):
    dock = make_dock()
    bench.session.open(two_sections())
    dock.choose("domains/halves")
    dock.params.set_value(dock.params.model(wait=20.0))
    before = list(viewer.layers)
    dock.run.click()
    qtbot.waitUntil(lambda: dock.bar._cancel.isVisible(), timeout=5000)
    dock.bar._cancel.click()
    finish(qtbot, bench, timeout=2000)
    assert "Cancelled" in dock.bar.text
    assert bench.session.results() == []
    assert list(viewer.layers) == before


def test_a_study_replaced_under_a_running_job_is_not_touched(
    third_party, make_dock, bench, viewer, qtbot
):
    dock = make_dock()
    bench.session.open(two_sections())
    dock.choose("domains/halves")
    dock.params.set_value(dock.params.model(wait=0.3))
    dock.run.click()
    other = two_sections()  # sections of the same names, and yet not the same data
    bench.session.open(other)
    finish(qtbot, bench)
    assert "Another study was opened meanwhile" in dock.bar.text
    assert other.record.runs == []
    assert not tagged(viewer, part="domains")
    assert listed(dock) == []


def test_errors_stand_in_the_dock(dock, bench):
    bench.session.open(two_sections())
    dock.choose("transfer/plan-labels")
    dock.run.click()
    assert "nothing to choose for Transport plan" in dock.problem.toPlainText()
    dock.choose("registration/landmarks")
    assert dock.problem.toPlainText() == ""
    dock.refs.set_value("target", "B")
    dock.run.click()
    assert "What to do: Choose two different sections." in dock.problem.toPlainText()
    dock.refs.set_value("target", "A")
    bench.session.landmarks.add("one", {"A": (1.0, 2.0), "B": (3.0, 4.0)})
    assert dock.refs._choosers["landmarks"].text() == "1 pairs placed"


def test_figures_are_in_words_with_units():
    text = figures_text(
        {"p90_leave_one_out_um": 12.3456, "ari": float("nan"), "converged": True, "spots": [3, 4]}
    )
    assert text.splitlines() == [
        "90 % leave one out (µm): 12.35",
        "ARI: not available",
        "converged: yes",
        "spots: 3, 4",
    ]
    run = SimpleNamespace(
        summary={"converged": False, "reason": "<limit>"},
        step={"inputs": {}, "params": {}, "method": "a/b"},
        started="now",
        seconds=1.0,
        versions={},
        inputs_hash="abc",
    )
    page = result_html(run)
    assert "Not converged" in page
    assert "&lt;limit&gt;" in page
    assert "<limit>" not in page


def test_the_bar_shows_methods_alone():
    assert is_of_method("domains/gmm gmm []")
    assert not is_of_method("read /data/x")
    assert not is_of_method("save")
