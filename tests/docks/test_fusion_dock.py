"""The fusion dock: fusing, sliders, domains, edits, comparison, factors; wrong order, cancel."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog, QScrollArea, QVBoxLayout, QWidget

from napari_stomics.core.fusion import FusionInputs
from napari_stomics.core.registry import registry
from napari_stomics.docks.domain_edit import METHOD as EDIT
from napari_stomics.docks.fusion_dock import FusionDock
from napari_stomics.docks.fusion_live import MOVE
from napari_stomics.docks.layout import Fold
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
    opened.domains.params.set_value(opened.domains.params.model(n_domains=4, members=3))
    opened.domains.start()
    finish(qtbot, bench)
    return opened


@pytest.fixture
def live(opened, bench, qtbot):
    opened.domains.choose(DOMAINS)
    opened.domains.params.set_value(opened.domains.params.model(n_domains=3, members=3))
    opened.live.start()
    settled(opened, bench, qtbot)
    return opened.live


def settled(dock, bench, qtbot):
    """Wait for the thorough answer to where the sliders stand."""

    def there():
        answer = dock.live.answer
        choice = dock.live.sliders.choice()
        return answer is not None and answer.choice == choice and not answer.quick

    qtbot.waitUntil(there, timeout=60_000)
    finish(qtbot, bench)


def shown_labels(viewer):
    """Names on the preview's layers, sections one after the other."""
    layers = tagged(viewer, role="live", part="domains")
    return np.concatenate([labels_of(q) for q in layers]) if layers else np.array([], object)


def directly(dock, bench, n_domains, **params):
    """Labels of the two methods run by themselves on a copy of the study."""
    fusion = dock.fusion.step().model_copy(update={"params": params})
    steps = [fusion, dock.live.domain_step(dock.live.sliders.choice(), fusion.result_key)]
    steps[1] = steps[1].model_copy(update={"params": {"n_domains": n_domains, "members": 3}})
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
    settled(opened, bench, qtbot)
    assert live.answer.steps == 5
    assert (shown_labels(viewer) == directly(opened, bench, 3, steps=5)).all()
    live.sliders.count.slider.setValue(5)
    settled(opened, bench, qtbot)
    assert (shown_labels(viewer) == directly(opened, bench, 5, steps=5)).all()
    assert tagged(viewer, role="live", part="domains")[0] is layer
    assert not bench.session.results()
    assert bench.session.undo.is_clean


def test_under_a_moving_slider_it_paints_one_run_from_the_domains_before(
    live, bench, viewer, qtbot
):
    from napari_stomics.methods.domains.gmm import GaussianMixtureParams, repaint

    live._rests.setInterval(100_000)
    before = live.answer.domains
    live.sliders.steps.slider.setValue(6)
    qtbot.waitUntil(lambda: live.answer.steps == 6, timeout=60_000)
    assert live.answer.quick
    embedding = live._live._embedding(fused_with(live, 6))
    params = GaussianMixtureParams(n_domains=3, members=3)
    assert (shown_labels(viewer) == repaint(embedding, params, before).labels).all()
    assert "quick look" in live.told.text()


def fused_with(live, steps):
    from napari_stomics.methods.fusion.blocks import fuse_prepared

    return fuse_prepared(live._live._prepared, steps, None, live._live.params.n_output).values


def test_colours_stay_with_the_domains_when_the_slider_moves(live, opened, bench, viewer, qtbot):
    def painted():
        layer = tagged(viewer, role="live", part="domains")[0]
        return labels_of(layer), np.asarray(layer.face_color)

    _, before = painted()
    live.sliders.steps.slider.setValue(live.answer.steps + 1)
    settled(opened, bench, qtbot)
    _, after = painted()
    assert (before == after).all(axis=1).mean() > 0.8


def test_an_answer_to_what_is_no_longer_asked_is_dropped(live, opened, bench, viewer, qtbot):
    from dataclasses import replace

    before = shown_labels(viewer)
    old = live.answer
    live.sliders.steps.slider.setValue(7)
    stale = replace(old, domains=replace(old.domains, labels=np.full_like(old.domains.labels, "?")))
    live._take(live._live, stale)
    assert (shown_labels(viewer) == before).all()
    live.sliders.count.slider.setValue(6)
    live.ask()
    first = bench.runner.active(MOVE)[0]
    live.sliders.count.slider.setValue(5)
    live.ask()
    assert first.superseded
    settled(opened, bench, qtbot)
    assert len(live.answer.domains.names) == 5
    live.drop()
    live._take(live._live, stale)
    assert not tagged(viewer, role="live")


def test_weights_move_by_hand_and_go_back_to_the_method(live, opened, bench, qtbot):
    automatic = dict(live.answer.weights)
    assert set(automatic) == {"rna", "protein"}
    live.sliders.weights["protein"].slider.setValue(0)
    settled(opened, bench, qtbot)
    assert live.answer.weights["protein"] == 0
    for row in live.sliders.weights.values():
        row.slider.setValue(0)
    qtbot.waitUntil(lambda: "All weights are 0" in live.problem.toPlainText())
    live.sliders.automatic.click()
    settled(opened, bench, qtbot)
    assert dict(live.answer.weights) == automatic
    assert "automatic" in live.sliders.steps.text


def test_keep_puts_two_steps_into_the_log_that_replay_to_what_was_shown(
    live, opened, bench, viewer, qtbot, tmp_path
):
    live.sliders.steps.slider.setValue(2)
    live.sliders.count.slider.setValue(4)
    settled(opened, bench, qtbot)
    shown, colours = shown_labels(viewer), dict(live._shown.colours)
    live.keep_it.click()
    assert not live.sliders.isEnabled()
    finish(qtbot, bench)
    runs = bench.session.results()
    assert [run.step["method"] for run in runs] == [FUSION, DOMAINS]
    assert runs[0].step["params"]["steps"] == 2
    assert runs[1].step["params"]["n_domains"] == 4
    assert live.answer is None
    assert not tagged(viewer, role="live")
    assert (opened.choice.result.labels == shown).all()
    assert opened.choice.colours == colours
    path = Recipe.from_study(bench.session.study).write(tmp_path / "kept.yaml")
    replayed, _ = run_recipe(Recipe.read(path), small_simulation().study)
    ours, theirs = (r.record.runs for r in (bench.session.study, replayed))
    assert [r.inputs_hash for r in ours] == [r.inputs_hash for r in theirs]
    table = replayed.section("section_1").table("rna")
    assert (table.obs[runs[1].key].astype(str).to_numpy() == shown).all()
    bench.undo()
    bench.undo()
    assert not bench.session.results()


def test_a_preview_changes_nothing_and_can_be_dropped(live, bench, viewer):
    assert bench.session.undo.is_clean
    assert tagged(viewer, role="live")
    live.drop_it.click()
    assert not tagged(viewer, role="live")
    assert bench.session.undo.is_clean
    assert live.on.isVisible()


def test_other_modalities_in_the_form_end_the_preview(live, opened, viewer):
    opened.fusion.refs.set_value("modalities", ["rna"])
    assert live.answer is None
    assert not tagged(viewer, role="live")


def test_another_study_and_a_closed_dock_end_the_preview(live, opened, bench, viewer, qtbot):
    live.sliders.steps.slider.setValue(9)
    live.ask()
    opened.setParent(None)
    finish(qtbot, bench)
    assert not tagged(viewer, role="live")
    opened.deleteLater()


def test_cancelled_half_way_nothing_is_left(opened, bench, viewer, qtbot):
    opened.live.start()
    bench.runner.active()[0].cancel()
    finish(qtbot, bench)
    assert opened.live.answer is None
    assert opened.live.on.isEnabled()
    assert not tagged(viewer, role="live")
    opened.fusion.start()
    bench.runner.active()[0].cancel()
    finish(qtbot, bench)
    assert not bench.session.results()
    assert "Cancelled" in opened.fusion.bar.text


def test_keep_that_is_cancelled_leaves_the_preview(live, bench, viewer, qtbot):
    live.keep()
    bench.runner.active()[-1].cancel()
    finish(qtbot, bench)
    assert not live.is_keeping
    assert tagged(viewer, role="live")
    assert live.sliders.isEnabled()
    assert not bench.session.results()


def test_keep_waits_for_a_save(live, bench, viewer):
    bench.session.begin_save()
    live.keep()
    assert "being saved" in live.problem.toPlainText()
    assert not live.is_keeping
    assert tagged(viewer, role="live")
    bench.session.end_save(None)
    live.drop()


def test_a_colour_waits_for_a_save(clustered, bench):
    before = clustered.choice.colours
    bench.session.begin_save()
    clustered.edit.set_colour("D1", "#010203")
    assert clustered.choice.colours == before
    bench.session.end_save(None)
    clustered.edit.set_colour("D1", "#010203")
    assert clustered.choice.colours["D1"] == "#010203"


# -- edits -----------------------------------------------------------------------------------


def test_merging_is_a_step_under_the_same_name_and_is_undone(clustered, bench, viewer, qtbot):
    edit, key = clustered.edit, clustered.choice.key
    before, colours = clustered.choice.result, clustered.choice.colours
    edit.table.select(["D2", "D3"])
    assert edit.merge.isEnabled()
    edit.merge.click()
    assert not edit.table.isEnabled()
    finish(qtbot, bench)
    run = bench.session.results()[-1]
    assert (run.step["method"], run.key) == (EDIT, key)
    assert edit.table.names() == ["D1", "D2", "D4"]
    merged = np.where(before.labels == "D3", "D2", before.labels)
    assert (clustered.choice.result.labels == merged).all()
    assert (labels_of(parts(viewer, key, "domains")[0]) == merged).all()
    assert clustered.choice.colours["D4"] == colours["D4"]
    edit.undo.click()
    assert edit.table.names() == ["D1", "D2", "D3", "D4"]
    assert clustered.choice.colours == colours
    assert (labels_of(parts(viewer, key, "domains")[0]) == before.labels).all()
    edit.redo.click()
    assert edit.table.names() == ["D1", "D2", "D4"]


def test_renaming_in_the_table_and_splitting(clustered, bench, qtbot):
    edit = clustered.edit
    colour = clustered.choice.colours["D1"]
    edit.table.item(0, 1).setText("white matter")
    finish(qtbot, bench)
    assert "white matter" in edit.table.names()
    assert clustered.choice.colours["white matter"] == colour
    assert bench.session.results()[-1].step["params"]["action"] == "rename"
    edit.table.select(["white matter"])
    edit.split.click()
    finish(qtbot, bench)
    assert len(edit.table.names()) == 5
    assert bench.session.results()[-1].step["params"]["by"] == "embedding"
    names = edit.table.names()
    edit.table.item(0, 1).setText(names[1])
    finish(qtbot, bench)
    assert edit.table.names() == names  # refused: that name is taken


def test_a_colour_is_stored_as_scanpy_has_it_and_undone(
    clustered, bench, viewer, qtbot, monkeypatch
):
    key, edit = clustered.choice.key, clustered.edit
    monkeypatch.setattr(QColorDialog, "getColor", lambda *a, **k: QColor("#123456"))
    before = clustered.choice.colours
    layer = parts(viewer, key, "domains")[0]
    edit.table.cellDoubleClicked.emit(1, 0)
    table = bench.session.study.section("section_1").table("rna")
    order = list(table.obs[key].cat.categories)
    assert table.uns[f"{key}_colors"][order.index("D2")] == "#123456"
    assert edit.table.colour("D2") == "#123456"
    here = labels_of(layer) == "D2"
    wanted = QColor("#123456").getRgbF()[:3]
    assert np.allclose(layer.face_color[here][:, :3], wanted, atol=1e-3)
    assert parts(viewer, key, "domains")[0] is layer
    assert not bench.session.undo.is_clean
    bench.undo()
    assert clustered.choice.colours == before
    assert edit.table.colour("D2") == before["D2"]
    assert not np.allclose(layer.face_color[here][:, :3], wanted, atol=1e-3)
    bench.redo()
    assert edit.table.colour("D2") == "#123456"


def test_a_click_on_the_canvas_selects_the_domain(clustered, bench, viewer):
    edit, key = clustered.edit, clustered.choice.key
    layer = parts(viewer, key, "domains")[0]
    labels = labels_of(layer)
    for name in ("D3", "D1"):
        row = int(np.flatnonzero(labels == name)[0])
        world = layer.data_to_world(layer.data[row])
        assert edit.pick_at(world) == name
        assert edit.selected() == [name]
    row = int(np.flatnonzero(labels == "D2")[0])
    edit.pick_at(layer.data_to_world(layer.data[row]), more=True)
    assert edit.selected() == ["D1", "D2"]
    assert edit.pick_at((-1e6, -1e6)) == ""
    edit.pick.click()
    assert edit._on_mouse in viewer.mouse_drag_callbacks
    bench.take_canvas(lambda: None)
    assert edit._on_mouse not in viewer.mouse_drag_callbacks
    assert not edit.pick.isChecked()


def test_a_press_that_stays_is_a_click_and_one_that_moves_is_not(clustered, viewer):
    edit, key = clustered.edit, clustered.choice.key
    layer = parts(viewer, key, "domains")[0]
    place = layer.data_to_world(layer.data[5])
    name = labels_of(layer)[5]

    def press(*moves, button=1):
        event = SimpleNamespace(
            pos=(10, 10), position=place, modifiers=(), button=button, type="mouse_press"
        )
        hand = edit._on_mouse(viewer, event)
        for pos in moves:
            next(hand, None)
            event.type, event.pos = "mouse_move", pos
        next(hand, None)
        event.type = "mouse_release"
        next(hand, None)

    press((40, 40))
    assert edit.selected() == []
    press(button=2)
    assert edit.selected() == []
    press((12, 11))
    assert edit.selected() == [name]


# -- several sections, windows ---------------------------------------------------------------


def test_sections_fused_together_have_one_set_of_domains(opened, bench, viewer, qtbot):
    form = opened.fusion
    form.refs.set_value("modalities", ["rna"])
    form.refs.set_value("others", ["section_2"])
    opened.domains.params.set_value(opened.domains.params.model(n_domains=3, members=3))
    opened.live.start()
    settled(opened, bench, qtbot)
    layers = tagged(viewer, role="live", part="domains")
    assert {tag(q)["section"] for q in layers} == {"section_1", "section_2"}
    shown = opened.live.answer.domains.labels
    opened.live.keep()
    finish(qtbot, bench)
    found = opened.choice.result
    assert found.sections == ("section_1", "section_2")
    assert (found.labels == shown).all()
    assert len(parts(viewer, opened.choice.key, "domains")) == 2
    opened.edit.table.select(["D1", "D2"])
    opened.edit.merge.click()
    finish(qtbot, bench)
    for layer in parts(viewer, opened.choice.key, "domains"):
        assert set(labels_of(layer)) == {"D1", "D3"}
    both = [bench.session.study.section(f"section_{i}").table("rna") for i in (1, 2)]
    assert len({tuple(table.uns[f"{opened.choice.key}_colors"]) for table in both}) == 1


def test_another_study_ends_the_preview_and_is_offered(live, opened, bench, viewer, qtbot):
    live.sliders.steps.slider.setValue(9)
    live.ask()
    bench.session.open(small_simulation(n_sections=1).study)
    finish(qtbot, bench)
    assert live.answer is None
    assert not tagged(viewer, role="live")
    assert opened.fusion.refs.values()["section"] == "section_1"
    assert "others" not in opened.fusion.refs.values() or not opened.fusion.refs.values()["others"]


def test_the_window_closed_while_it_runs(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    bench = workbench(viewer)
    dock = FusionDock(viewer)
    viewer.window.add_dock_widget(dock)
    bench.session.open(small_simulation().study)
    dock.live.start()
    job = bench.runner.active()[0]
    viewer.close()
    qtbot.waitUntil(lambda: not job.is_active)
    assert bench.session.results() == []


# -- comparison and factors ------------------------------------------------------------------


def test_comparison_counts_scores_and_matches_colours(clustered, bench, viewer, qtbot):
    compare, key = clustered.compare, clustered.choice.key
    next(fold for fold in clustered.findChildren(Fold) if fold.content.isAncestorOf(compare)).open()
    found = clustered.choice.result
    truth = bench.session.study.section("section_1").labels()
    assert compare.other.currentText() != key
    compare.other.setCurrentText(bench.session.study.section("section_1").record.annotation)
    total = sum(int(cell) for row in compare.table.rows for cell in row[1:])
    assert total == len(found.ids)
    from napari_stomics.metrics.clustering import adjusted_rand_index

    assert f"ARI {adjusted_rand_index(truth, found.labels):.3f}" in compare.told.text()
    clustered.domains.name.setText("again")
    clustered.domains.start()
    finish(qtbot, bench)
    clustered.choice.choose(key)
    theirs = bench.session.study.section("section_1").table("rna")
    flipped = list(theirs.uns["again_colors"])[::-1]
    theirs.uns["again_colors"] = flipped
    compare.other.setCurrentText("again")
    assert "ARI 1.000" in compare.told.text()
    compare.match.click()
    own = theirs.uns[f"{key}_colors"]
    assert list(theirs.uns["again_colors"]) == list(own)
    bench.undo()
    assert list(theirs.uns["again_colors"]) == flipped


def test_factors_are_listed_shown_and_explained(opened, bench, viewer, qtbot):
    opened.fusion.choose("fusion/joint-nmf")
    opened.fusion.start()
    finish(qtbot, bench)
    panel = opened.factors
    found = panel.choice.result
    assert panel.list.count() == found.values.shape[1]
    panel.show_factor(1)
    layer = next(q for q in tagged(viewer, role="live") if tag(q)["part"] == "factor")
    assert layer.visible
    assert np.allclose(layer.features["factor"], found.values[:, 1])
    for name, loadings in found.loadings.items():
        assert name in panel.features.toPlainText()
        assert loadings.top(1, 1)[0][0] in panel.features.toPlainText()
    panel.show_factor(0)
    assert len([q for q in tagged(viewer, role="live") if tag(q)["part"] == "factor"]) == 1
    bench.undo()
    assert not tagged(viewer, role="live")


def test_the_weight_of_a_modality_is_one_click_away(opened, bench, viewer, qtbot):
    opened.fusion.start()
    finish(qtbot, bench)
    panel = opened.factors
    panel.weight.setCurrentText("protein")
    panel._on_weight()
    shown = {tag(q)["part"] for q in tagged(viewer, role="result") if q.visible}
    assert shown == {"weight of protein"}


def test_nothing_is_cut_at_the_side_of_a_narrow_dock(clustered, qtbot):
    for fold in clustered.findChildren(Fold):
        fold.open()
    qtbot.wait(20)
    content = clustered.findChild(QScrollArea).widget()
    assert content.minimumSizeHint().width() <= clustered.minimumWidth() - 20


def test_an_edit_of_several_sections_keeps_the_order_of_the_layers(opened, bench, viewer, qtbot):
    opened.fusion.refs.set_value("modalities", ["rna"])
    opened.fusion.refs.set_value("others", ["section_2"])
    opened.fusion.start()
    finish(qtbot, bench)
    opened.domains.params.set_value(opened.domains.params.model(n_domains=3, members=2))
    opened.domains.start()
    finish(qtbot, bench)
    assert viewer.canvas.grid.enabled
    order = [q.name for q in viewer.layers]
    opened.edit.rename("D2", "middle")
    finish(qtbot, bench)
    assert "middle" in opened.edit.table.names()
    assert [q.name for q in viewer.layers] == order
