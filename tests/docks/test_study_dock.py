"""The study dock: sections and ticks, colouring, saving, and what must not go wrong."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_stomics.data.study import Study, open_study
from napari_stomics.docks.study_dock import StudyDock, is_of_study
from napari_stomics.docks.workbench import workbench
from napari_stomics.layers.section import find_section
from tests.docks.desk import finish, registered, two_sections
from tests.layers.studies import section

pytestmark = pytest.mark.gui


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def bench(viewer):
    return workbench(viewer)


@pytest.fixture
def dock(viewer, qtbot):
    dock = StudyDock(viewer)
    qtbot.addWidget(dock)
    dock.resize(340, 800)
    dock.show()
    return dock


def items(dock):
    tree = dock.tree
    out = {}
    for i in range(tree.topLevelItemCount()):
        top = tree.topLevelItem(i)
        out[top.text(0)] = top
        out |= {top.child(k).text(0): top.child(k) for k in range(top.childCount())}
    return out


def test_alone_it_says_what_to_do(dock):
    assert "No study is open" in dock._state.text()
    assert not dock.tree.isVisible()
    assert not dock._save.isEnabled()
    dock.colour.search()
    dock.colour._colour_chosen()
    assert dock.colour.sections() == []


def test_ticks_show_and_hide_layers_both_ways(dock, bench, viewer, qtbot):
    bench.session.open(two_sections())
    finish(qtbot, bench)
    layers = find_section(viewer, "A")
    found = items(dock)
    assert found["A"].checkState(0) == Qt.CheckState.Checked
    found["spots  A_spots"].setCheckState(0, Qt.CheckState.Unchecked)
    assert not layers.spots.visible
    finish(qtbot, bench)
    assert items(dock)["A"].checkState(0) == Qt.CheckState.PartiallyChecked
    layers.spots.visible = True
    layers.images[0].visible = False
    finish(qtbot, bench)
    assert items(dock)["spots  A_spots"].checkState(0) == Qt.CheckState.Checked
    assert items(dock)["image  A_he"].checkState(0) == Qt.CheckState.Unchecked
    items(dock)["A"].setCheckState(0, Qt.CheckState.Unchecked)
    assert not any(layer.visible for layer in layers.all)
    assert all(layer.visible for layer in find_section(viewer, "B").all)


def test_a_layer_that_the_user_deleted_comes_back_with_its_tick(dock, bench, viewer, qtbot):
    bench.session.open(two_sections())
    finish(qtbot, bench)
    viewer.layers.remove(find_section(viewer, "A").images[0])
    finish(qtbot, bench)
    item = items(dock)["image  A_he"]
    assert item.checkState(0) == Qt.CheckState.Unchecked
    item.setCheckState(0, Qt.CheckState.Checked)
    assert find_section(viewer, "A").images[0].visible
    for layer in find_section(viewer, "A").all:
        viewer.layers.remove(layer)
    finish(qtbot, bench)
    items(dock)["A"].setCheckState(0, Qt.CheckState.Checked)
    assert find_section(viewer, "A").spots is not None


def test_sections_that_nothing_registers_lie_beside_each_other(dock, bench, viewer, qtbot):
    bench.session.open(two_sections())
    grid = viewer.canvas.grid
    assert grid.enabled
    places = {
        name: {
            grid.position(viewer.layers.index(q), viewer.layers)
            for q in find_section(viewer, name).all
        }
        for name in "AB"
    }
    assert places == {"A": {(0, 0)}, "B": {(0, 1)}}
    bench.session.open(registered(two_sections()))
    assert not grid.enabled
    assert not [q for q in viewer.layers if q.name.startswith("(empty")]


def test_typing_finds_and_enter_colours_on_one_range(dock, bench, viewer, qtbot):
    bench.session.open(two_sections())
    qtbot.keyClicks(dock.colour.text, "pen")
    qtbot.keyClick(dock.colour.text, Qt.Key.Key_Down)
    qtbot.keyClick(dock.colour.text, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: dock.colour.range.isVisible(), timeout=10_000)
    assert dock.colour.found.item(0).text().startswith("Penk")
    limits = [find_section(viewer, n).spots.face_contrast_limits for n in "AB"]
    assert limits[0] == limits[1] == pytest.approx(dock.colour.range.limits)
    dock.colour.range._low.setText("3")
    dock.colour.range._low.editingFinished.emit()
    assert find_section(viewer, "B").spots.face_contrast_limits[0] == 3
    dock.colour.range._reset.click()
    finish(qtbot, bench)
    assert find_section(viewer, "B").spots.face_contrast_limits == pytest.approx(limits[1])


def test_dragging_the_range_reaches_the_layers(dock, bench, viewer, qtbot):
    bench.session.open(two_sections())
    dock.colour.text.setText("Penk")
    dock.colour._colour_chosen()
    finish(qtbot, bench)
    dock.colour.range._slider.setValue((10, 90))
    qtbot.waitUntil(
        lambda: tuple(find_section(viewer, "A").spots.face_contrast_limits) == (10, 90),
        timeout=5000,
    )


def test_a_gene_of_one_section_leaves_the_other_plain(dock, bench, viewer, qtbot):
    bench.session.open(two_sections())
    for name in ("Penk", "Only"):
        dock.colour.text.setText(name)
        dock.colour._colour_chosen()
        finish(qtbot, bench)
    plain = find_section(viewer, "A").spots.face_color
    assert len(np.unique(plain, axis=0)) == 1
    assert len(np.unique(find_section(viewer, "B").spots.face_color, axis=0)) > 1
    assert dock.colour.note.text() == "Only is not in A."


def test_names_get_a_legend(dock, bench, qtbot):
    bench.session.open(two_sections())
    dock.colour.text.setText("layer")
    dock.colour._colour_chosen()
    finish(qtbot, bench)
    assert dock.colour.legend.entries() == ["inner", "outer", "(not annotated)"]
    assert not dock.colour.range.isVisible()


def test_layers_and_studies_may_vanish_while_they_are_coloured(dock, bench, viewer, qtbot):
    bench.session.open(two_sections())
    dock.colour.text.setText("Penk")
    dock.colour._colour_chosen()
    viewer.layers.remove(find_section(viewer, "A").spots)
    finish(qtbot, bench)
    viewer.layers.clear()
    finish(qtbot, bench)
    assert not dock.colour.range.isVisible()
    dock.colour._on_limits((0.0, 1.0))
    dock.colour._colour_chosen()
    bench.session.open(Study(section("C")))
    finish(qtbot, bench)
    assert find_section(viewer, "C").spots.metadata["napari_stomics"].get("colour") is None
    assert "C" in items(dock)


def test_many_spots_are_recoloured_with_short_turns_of_the_event_loop(
    dock, bench, viewer, qtbot, monkeypatch
):
    from napari_stomics.layers import section as section_module

    monkeypatch.setattr(section_module, "MANY_SPOTS", 10)
    bench.session.open(two_sections())
    raster = find_section(viewer, "A").overview.metadata["napari_stomics"]["raster"]
    whole = np.asarray(raster.levels[-1])
    dock.colour.text.setText("Penk")
    dock.colour._colour_chosen()
    finish(qtbot, bench)
    assert not np.array_equal(np.asarray(raster.levels[-1]), whole)
    before = raster.colours.copy()
    dock.colour.range._slider.setValue((50, 60))
    qtbot.waitUntil(lambda: not np.array_equal(raster.colours, before), timeout=5000)
    finish(qtbot, bench)
    # What was painted in the background is what a fresh painting gives.
    level = raster.levels[-1]
    fresh = raster.paint(level.factor, (0, level.shape[0]), (0, level.shape[1]))
    assert np.array_equal(np.asarray(level), fresh)


def test_save_as_and_save_go_to_disk(dock, bench, qtbot, tmp_path, monkeypatch):
    bench.session.open(two_sections())
    path = tmp_path / "kept"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a, **k: (str(path), ""))
    dock._save_as.click()
    finish(qtbot, bench)
    assert list(open_study(tmp_path / "kept.zarr").record.sections) == ["A", "B"]
    assert "kept.zarr" in dock._state.text().replace("\u200b", "")
    bench.session.landmarks.add("mark", {"A": (1.0, 2.0)})
    assert "unsaved" in dock._state.text()
    dock._save.click()
    finish(qtbot, bench)
    assert "unsaved" not in dock._state.text()
    assert open_study(tmp_path / "kept.zarr").record.landmarks[0].name == "mark"


def test_unsaved_changes_are_kept_unless_the_user_agrees(dock, bench, qtbot, tmp_path, monkeypatch):
    bench.session.open(two_sections())
    bench.session.landmarks.add("mark", {"A": (1.0, 2.0)})
    answers = [QMessageBox.StandardButton.No]
    monkeypatch.setattr(QMessageBox, "question", lambda *a, **k: answers[0])
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *a, **k: str(tmp_path / "none"))
    dock._on_open()
    assert not bench.runner.active()
    answers[0] = QMessageBox.StandardButton.Yes
    dock._on_open()
    finish(qtbot, bench)
    assert "Failed" in dock.bar.text
    assert bench.session.section_names == ["A", "B"]


def test_a_dock_out_of_its_window_hears_nothing_and_is_freed(viewer, bench, qtbot):
    from qtpy.QtWidgets import QVBoxLayout, QWidget

    frame = QWidget()
    qtbot.addWidget(frame)
    QVBoxLayout(frame)
    dock = StudyDock(viewer)
    frame.layout().addWidget(dock)
    bench.session.open(two_sections())
    assert dock.tree.topLevelItemCount() == 2
    dock.setParent(None)
    bench.session.open(Study(section("C")))
    assert dock.tree.topLevelItemCount() == 2
    frame.layout().addWidget(dock)
    assert dock.tree.topLevelItemCount() == 1
    dock.setParent(None)
    finish(qtbot, bench)
    left = weakref.ref(dock)
    del dock
    gc.collect()
    assert left() is None


def test_the_bar_of_the_study_shows_what_opens_reads_and_saves():
    assert is_of_study("open")
    assert is_of_study("save")
    assert is_of_study("read /data/a.h5ad")
    assert not is_of_study("colour")
    assert not is_of_study("domains/gmm gmm []")


def test_a_dock_that_opens_later_shows_the_colouring_and_changes_nothing(viewer, bench, qtbot):
    from napari_stomics.layers.colour import colour_by

    study = two_sections()
    bench.session.open(study)
    spots = find_section(viewer, "B").spots
    colour_by(spots, study, "B", "Penk", limits=(3.0, 40.0), colormap="magma")
    plain = find_section(viewer, "A").spots.face_color.copy()
    dock = StudyDock(viewer)
    qtbot.addWidget(dock)
    dock.show()
    finish(qtbot, bench)
    assert dock.colour.range.isVisible()
    assert dock.colour.range.limits == (3.0, 40.0)
    assert dock.colour.range.colormap == "magma"
    assert np.array_equal(find_section(viewer, "A").spots.face_color, plain)
    dock.colour.range._on_dragged((5.0, 30.0))
    qtbot.waitUntil(lambda: tuple(spots.face_contrast_limits) == (5.0, 30.0), timeout=5000)


def test_the_mouse_ticks_and_selects(dock, bench, viewer, qtbot):
    from qtpy.QtCore import QPoint
    from qtpy.QtWidgets import QStyle, QStyleOptionViewItem

    bench.session.open(two_sections())
    finish(qtbot, bench)
    item = items(dock)["spots  A_spots"]
    rect = dock.tree.visualItemRect(item)
    option = QStyleOptionViewItem()
    option.rect = rect
    option.features |= QStyleOptionViewItem.ViewItemFeature.HasCheckIndicator
    box = dock.tree.style().subElementRect(
        QStyle.SubElement.SE_ItemViewItemCheckIndicator, option, dock.tree
    )
    where = dock.tree.viewport()
    qtbot.mouseClick(where, Qt.MouseButton.LeftButton, pos=box.center())
    assert not find_section(viewer, "A").spots.visible
    qtbot.mouseClick(
        where, Qt.MouseButton.LeftButton, pos=QPoint(box.right() + 20, rect.center().y())
    )
    assert viewer.layers.selection.active is find_section(viewer, "A").spots
