"""Sliders: repainted as the methods say, kept as steps, dropped, cancelled, in the wrong order."""

from __future__ import annotations

import numpy as np
import pytest

from napari_stomics.docks.fusion_dock import FusionDock
from napari_stomics.docks.fusion_keep import KINDS as KEEP
from napari_stomics.docks.fusion_live import MOVE
from napari_stomics.docks.workbench import workbench
from napari_stomics.layers.domains import labels_of, parts
from napari_stomics.layers.tags import tag, tagged
from napari_stomics.session.live_fusion import DOMAINS, FUSION
from napari_stomics.workflow.recipes import Recipe, run_recipe
from tests.docks.desk import finish
from tests.docks.fusion.desk import directly, settled, shown_labels
from tests.small import small_simulation

pytestmark = pytest.mark.gui


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
    from napari_stomics.methods.domains.gmm import DomainsParams, repaint

    live._rests.setInterval(100_000)
    before = live.answer.domains
    live.sliders.steps.slider.setValue(6)
    qtbot.waitUntil(lambda: live.answer.steps == 6, timeout=60_000)
    assert live.answer.quick
    embedding = live._live._embedding(fused_with(live, 6))
    params = DomainsParams(n_domains=3, members=3)
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
    assert not bench.session.results()
    assert not bench.session.undo.undo_text
    assert not parts(viewer, runs[1].key, "domains")
    bench.redo()
    assert [run.step["method"] for run in bench.session.results()] == [FUSION, DOMAINS]
    assert opened.choice.colours == colours


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


def test_keep_that_is_cancelled_at_the_domains_leaves_no_fusion_either(
    live, opened, bench, viewer, qtbot
):
    live._rests.setInterval(100_000)  # nothing settles, so that Keep has something to compute
    live.sliders.count.slider.setValue(4)
    qtbot.waitUntil(lambda: live.answer.choice.n_domains == 4, timeout=60_000)
    live.keep()
    qtbot.waitUntil(lambda: bool(bench.runner.active(KEEP[1])), timeout=60_000)
    assert not bench.session.results()
    assert tagged(viewer, role="live")
    live.keep_bar._cancel.click()
    finish(qtbot, bench)
    assert "Cancelled" in live.keep_bar.text
    assert not bench.session.results()
    assert bench.session.undo.is_clean
    assert not live.is_keeping
    assert tagged(viewer, role="live")
    live.keep()
    finish(qtbot, bench)
    assert len(bench.session.results()) == 2


def test_a_study_that_is_saved_or_swapped_meanwhile_gets_nothing(live, bench, viewer, qtbot):
    live.keep()
    bench.session.begin_save()
    finish(qtbot, bench)
    assert "being saved" in live.keep_bar.text
    assert tagged(viewer, role="live")
    bench.session.end_save(None)
    assert not bench.session.results()
    live.keep()
    bench.session.open(small_simulation(n_sections=1).study)
    finish(qtbot, bench)
    assert not bench.session.results()
    assert not tagged(viewer, role="live")


def test_changed_parameters_are_told_and_keep_keeps_what_is_shown(live, opened, bench, qtbot):
    assert "changed" not in live.told.text()
    form = opened.domains.params
    form.set_value(form.value().model_copy(update={"prior": 9.0}))
    form.changed.emit()
    assert "have changed" in live.told.text()
    live.keep()
    finish(qtbot, bench)
    assert bench.session.results()[1].step["params"]["prior"] == 3.0


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


def test_what_cannot_start_is_told_once_and_sliders_offer_what_there_is(opened, bench, qtbot):
    opened.fusion.params.set_value(opened.fusion.params.model(weights="nobody=1"))
    opened.live.start()
    finish(qtbot, bench)
    assert opened.live.answer is None
    assert "nobody" in opened.live.bar.text
    assert opened.live.problem.toPlainText() == ""
    opened.live.sliders.limit(31)
    assert opened.live.sliders.count.slider.maximum() == 10
    opened.live.sliders.limit(4)
    assert opened.live.sliders.count.value == 2
