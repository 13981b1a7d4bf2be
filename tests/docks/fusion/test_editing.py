"""Domains edited, compared and explained: each change undone, colours kept."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog

from napari_stomics.data.domain_colours import table_colours
from napari_stomics.docks.domain_edit import METHOD as EDIT
from napari_stomics.docks.layout import Fold
from napari_stomics.layers.domains import labels_of, parts
from napari_stomics.layers.tags import tag, tagged
from napari_stomics.workflow.recipes import Recipe, run_recipe
from tests.docks.desk import finish
from tests.small import small_simulation

pytestmark = pytest.mark.gui


def test_a_colour_waits_for_a_save(clustered, bench, qtbot):
    before = clustered.choice.colours
    bench.session.begin_save()
    clustered.edit.set_colour("D1", "#010203")
    finish(qtbot, bench)
    assert clustered.choice.colours == before
    bench.session.end_save(None)
    assert clustered.choice.colours["D1"] == "#010203"


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
    old = parts(viewer, key, "domains")[0]
    old.opacity = 0.4
    parts(viewer, key, "entropy")[0].visible = True
    here = labels_of(old) == "D2"
    wanted = QColor("#123456").getRgbF()[:3]

    def painted():
        layer = parts(viewer, key, "domains")[0]
        return np.allclose(layer.face_color[here][:, :3], wanted, atol=1e-3)

    before_all = list(viewer.layers)
    assert not painted()
    edit.table.cellDoubleClicked.emit(1, 0)
    finish(qtbot, bench)
    table = bench.session.study.section("section_1").table("rna")
    order = list(table.obs[key].cat.categories)
    assert table.uns[f"{key}_colors"][order.index("D2")] == "#123456"
    assert edit.table.colour("D2") == "#123456"
    assert painted()
    assert list(viewer.layers) == before_all  # recoloured in place
    assert parts(viewer, key, "domains")[0].opacity == 0.4
    assert parts(viewer, key, "entropy")[0].visible
    assert not bench.session.undo.is_clean
    bench.undo()
    assert clustered.choice.colours == before
    assert edit.table.colour("D2") == before["D2"]
    assert not painted()
    bench.redo()
    assert edit.table.colour("D2") == "#123456"


def test_a_recipe_replays_the_colours(clustered, bench, qtbot, tmp_path):
    clustered.edit.set_colour("D2", "#123456")
    finish(qtbot, bench)
    clustered.edit.rename("D2", "layer 2")
    finish(qtbot, bench)
    key = clustered.choice.key
    path = Recipe.from_study(bench.session.study).write(tmp_path / "coloured.yaml")
    replayed, _ = run_recipe(Recipe.read(path), small_simulation().study)
    tables = [s.section("section_1").table("rna") for s in (bench.session.study, replayed)]
    ours, theirs = (table_colours(table, key) for table in tables)
    assert ours == theirs
    assert ours["layer 2"] == "#123456"


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
    finish(qtbot, bench)
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
