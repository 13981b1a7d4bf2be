"""The comparison dock: each mode by one click or key, everything as it was afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_stomics.docks.compare_dock import MODES, CompareDock
from napari_stomics.docks.workbench import workbench
from napari_stomics.layers.section import find_section
from tests.docks.desk import registered, two_sections

pytestmark = pytest.mark.gui


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def bench(viewer):
    return workbench(viewer)


@pytest.fixture
def frame(qtbot):
    frame = QWidget()
    qtbot.addWidget(frame)
    QVBoxLayout(frame)
    frame.show()
    return frame


@pytest.fixture
def dock(viewer, frame):
    dock = CompareDock(viewer)
    frame.layout().addWidget(dock)
    return dock


def look(viewer):
    return [
        (q.name, q.visible, q.opacity, str(q.blending), len(q.experimental_clipping_planes))
        for q in viewer.layers
    ] + [viewer.canvas.grid.enabled]


def press(viewer, key):
    for binding, function in viewer.keymap.items():
        if str(binding) == key.replace("-", "+"):
            function(viewer)
            return
    raise AssertionError(f"{key} is not bound")


def test_alone_it_says_what_is_needed(dock):
    assert "Two sections are needed" in dock._note.text()
    assert not dock.buttons["swipe"].isEnabled()
    dock.set_mode("swipe")
    assert dock.mode == "normal"


@pytest.mark.parametrize("apart", [True, False])
def test_each_mode_by_click_and_by_key_and_back_to_what_was(dock, bench, viewer, apart):
    bench.session.open(two_sections() if apart else registered(two_sections()))
    find_section(viewer, "A").spots.opacity = 0.7
    before = look(viewer)
    for mode, (_, key, _tip) in MODES.items():
        dock.buttons[mode].click()
        assert dock.mode == mode
        assert viewer.canvas.grid.enabled == (
            mode == "side by side" or (mode == "normal" and apart)
        )
        press(viewer, "Alt-0")
        assert dock.mode == "normal"
        assert look(viewer) == before
        press(viewer, key)
        assert dock.mode == mode
        assert dock.buttons[mode].isChecked()
        press(viewer, "Alt-0")
    assert look(viewer) == before


def test_the_slider_moves_line_squares_and_opacity(dock, bench, viewer, qtbot):
    bench.session.open(registered(two_sections()))
    controller = bench.comparison("B", "A")
    for mode, option in (("overlay", "opacity"), ("swipe", "position"), ("checkerboard", "size")):
        dock.set_mode(mode)
        before = controller.options[option]
        dock.amount.setValue(900)
        qtbot.waitUntil(lambda o=option, b=before: controller.options[o] > b, timeout=5000)
    # Each mode remembers its own amount.
    dock.set_mode("swipe")
    assert dock.amount.value() == 900
    assert controller.options["position"] == 0.9
    dock.set_mode("flicker")
    assert dock.amount.value() == 500
    dock.set_mode("swipe")
    dock.horizontal.setChecked(True)
    assert controller.options["orientation"] == "horizontal"


def test_flicker_takes_turns_and_stops_with_the_dock(dock, bench, viewer, frame, qtbot):
    bench.session.open(registered(two_sections()))
    before = look(viewer)
    dock.set_mode("flicker")
    dock.amount.setValue(1000)
    spots = {name: find_section(viewer, name).spots for name in "AB"}
    seen = set()
    for _ in range(40):
        qtbot.wait(20)
        seen.add((spots["A"].visible, spots["B"].visible))
    assert seen == {(True, False), (False, True)}
    dock.setParent(None)
    assert not dock.flicker.isActive()
    assert look(viewer) == before
    with pytest.raises(AssertionError, match="not bound"):
        press(viewer, "Alt-2")
    frame.layout().addWidget(dock)
    press(viewer, "Alt-2")
    assert dock.mode == "swipe"


def test_sections_that_vanish_end_the_comparison(dock, bench, viewer, qtbot):
    bench.session.open(registered(two_sections()))
    dock.set_mode("flicker")
    for layer in find_section(viewer, "B").all:
        viewer.layers.remove(layer)
    qtbot.waitUntil(lambda: dock.mode == "normal", timeout=5000)
    assert not dock.flicker.isActive()
    dock.set_mode("swipe")
    assert dock.mode == "normal"
    bench.session.open(registered(two_sections("C", "D"), "D", "C"))
    dock.set_mode("flicker")
    bench.session.open(registered(two_sections()))
    assert not dock.flicker.isActive()
    assert (dock.source.currentText(), dock.target.currentText()) == ("B", "A")


def test_another_pair_keeps_the_mode_and_the_same_section_twice_leaves_it(dock, bench, viewer):
    from tests.layers.studies import section

    study = two_sections()
    study.add(section("C"))
    bench.session.open(registered(registered(study), "C"))
    dock.set_mode("overlay")
    dock.source.setCurrentText("C")
    assert dock.mode == "overlay"
    assert find_section(viewer, "C").spots.opacity < 1
    assert find_section(viewer, "B").spots.opacity == 1
    dock.target.setCurrentText("C")
    assert dock.mode == "normal"
    assert bench.compared_mode == "normal"


def test_it_follows_a_comparison_that_others_set_or_leave(dock, bench):
    bench.session.open(registered(two_sections()))
    bench.comparison("B", "A").set("side by side")
    assert dock.buttons["side by side"].isChecked()
    bench.leave_comparison()
    assert dock.buttons["normal"].isChecked()


def test_a_figure_is_written_where_the_dialogue_said(make_napari_viewer, qtbot, tmp_path):
    from PIL import Image

    viewer = make_napari_viewer(show=True)
    bench = workbench(viewer)
    dock = CompareDock(viewer)
    viewer.window.add_dock_widget(dock, name="Compare")
    bench.session.open(registered(two_sections()))
    qtbot.wait(100)
    dock.set_mode("checkerboard")
    qtbot.wait(100)
    path = tmp_path / "figure"
    for _ in range(2):  # the dialogue has asked whether to replace it
        dock.export(path)
    picture = np.asarray(Image.open(tmp_path / "figure.png"))
    assert picture.std() > 1
    viewer.window.remove_dock_widget(dock)
    assert bench.compared_mode == "normal"
