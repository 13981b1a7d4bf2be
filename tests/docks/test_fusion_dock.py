"""The fusion dock: fuse, sliders, domains, edits, comparison, factors; wrong order, cancel, undo."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog, QVBoxLayout, QWidget

from napari_stomics.core.fusion import FusionInputs
from napari_stomics.core.registry import registry
from napari_stomics.docks.domain_edit import METHOD as EDIT
from napari_stomics.docks.fusion_dock import FusionDock
from napari_stomics.docks.fusion_live import MOVE, SETTLE
from napari_stomics.docks.workbench import workbench
from napari_stomics.layers.domains import labels_of, parts
from napari_stomics.layers.tags import tag, tagged
from napari_stomics.session.live_fusion import DOMAINS, FUSION
from napari_stomics.workflow.recipes import Recipe, run_recipe
from tests.docks.desk import finish
from tests.small import small_simulation

pytestmark = pytest.mark.gui


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def bench(viewer):
    return workbench(viewer)


@pytest.fixture
def dock(viewer, qtbot):
    frame = QWidget()
    qtbot.addWidget(frame)
    QVBoxLayout(frame)
    frame.resize(360, 900)
    frame.show()
    made = FusionDock(viewer)
    frame.layout().addWidget(made)
    yield made
    frame.close()


@pytest.fixture
def opened(dock, bench):
    bench.session.open(small_simulation().study)
    return dock


@pytest.fixture
def clustered(opened, bench, qtbot):
    opened.fusion.start()
    finish(qtbot, bench)
    opened.domains.params.set_value(opened.domains.params.model(n_domains=4))
    opened.domains.start()
    finish(qtbot, bench)
    return opened


@pytest.fixture
def live(opened, bench, qtbot):
    opened.live.sliders.count.set_value(3)
    opened.live.start()
    settled(opened, bench, qtbot)
    return opened.live


def settled(dock, bench, qtbot):
    qtbot.waitUntil(lambda: dock.live.answer is not None and not dock.live.answer.quick, timeout=60_000)
    finish(qtbot, bench)


def shown_labels(viewer):
    """Names on the preview's layers, sections one after the other."""
    layers = tagged(viewer, role="live", part="domains")
    return np.concatenate([labels_of(q) for q in layers]) if layers else np.array([], object)


def directly(dock, bench, n_domains, **params):
    """Labels of the two methods run by themselves on a copy of the study."""
    fusion = dock.fusion.step().model_copy(update={"params": params})
    steps = [fusion, dock.live.domain_step(dock.live.sliders.choice(), fusion.result_key)]
    steps[1] = steps[1].model_copy(update={"params": {"n_domains": n_domains}})
    study = small_simulation().study
    for step in steps:
        outcome = step.resolve().collect(study).run()
        outcome.commit(study)
    return outcome.result.labels


# -- alone, and in the wrong order -----------------------------------------------------------


def test_alone_it_says_what_to_do_and_nothing_breaks(dock):
    assert not dock.fusion.run.isEnabled()
    assert "open a study" in dock.fusion.run.text()
    assert not dock.live.on.isEnabled()
    assert "Open a study" in dock.live.told.text()
    assert "fuse modalities first" in dock.domains.run.text()
    assert dock.found.told.text() == "No domains yet."
    assert "Find domains first" in dock.edit.hint.text()
    assert dock.compare.told.text() == "Find domains first."
    assert "Fuse modalities first" in dock.factors.told.text()
    dock.fusion.start()
    assert "Failed" in dock.fusion.problem.toPlainText()
    dock.domains.start()
    assert "nothing to choose" in dock.domains.problem.toPlainText()
    dock.live.start()
    assert "nothing to choose" in dock.live.problem.toPlainText()
    dock.live.keep()
    dock.edit.merge_selected()
    dock.compare.match_colours()


def test_every_fusion_and_clustering_has_its_form(opened):
    for form in (opened.fusion, opened.domains):
        for key in form._keys():
            form.choose(key)
            assert form.key == key
            assert form.params.value() == registry().get(key).params()
            assert form.problem.toPlainText() == ""
    assert FUSION in list(opened.fusion._keys())
    assert EDIT not in list(opened.domains._keys())
    assert registry().get(FUSION).inputs is FusionInputs


def test_domains_before_fusion_name_the_way_out(opened):
    assert not opened.domains.run.isEnabled()
    opened.domains.start()
    assert "Run the step that makes it first" in opened.domains.problem.toPlainText()


# -- fusing and finding ----------------------------------------------------------------------


def test_fusing_leads_on_to_domains_and_their_layers(clustered, bench, viewer):
    runs = bench.session.results()
    assert [run.step["method"] for run in runs] == [FUSION, DOMAINS]
    assert runs[1].step["inputs"]["embedding"] == runs[0].key
    key = clustered.choice.key
    assert key == runs[1].key
    assert clustered.edit.table.names() == ["D1", "D2", "D3", "D4"]
    assert "4 domains" in clustered.found.told.text()
    for part in ("entropy", "stability", "domains"):
        clustered.found.buttons[part].click()
        shown = {tag(q)["part"] for q in tagged(viewer, result=key) if q.visible}
        assert shown == {part}


# -- sliders ---------------------------------------------------------------------------------


def test_a_slider_repaints_what_the_methods_find_by_themselves(live, opened, bench, viewer, qtbot):
    assert not bench.session.results()
    assert (shown_labels(viewer) == directly(opened, bench, 3)).all()
    layer = tagged(viewer, role="live", part="domains")[0]
    live.sliders.steps.slider.setValue(5)
    settled_after_move(opened, bench, qtbot)
    assert live.answer.steps == 5
    assert (shown_labels(viewer) == directly(opened, bench, 3, steps=5)).all()
    live.sliders.count.slider.setValue(5)
    settled_after_move(opened, bench, qtbot)
    assert (shown_labels(viewer) == directly(opened, bench, 5, steps=5)).all()
    assert tagged(viewer, role="live", part="domains")[0] is layer
    assert not bench.session.results()
    assert bench.session.undo.is_clean


def settled_after_move(dock, bench, qtbot):
    qtbot.waitUntil(lambda: dock.live.answer.choice == dock.live.sliders.choice(), timeout=60_000)
    settled(dock, bench, qtbot)
