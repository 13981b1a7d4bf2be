"""Painting what matches and what must not: with the mouse, half-way, wrongly, and undone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QMainWindow, QVBoxLayout, QWidget

from napari_stomics.data.spot_pairs import within
from napari_stomics.docks.constraint_panel import ConstraintPanel
from napari_stomics.docks.dock import Dock
from napari_stomics.docks.workbench import workbench
from napari_stomics.layers.tags import tagged
from tests.docks.desk import registered, two_sections
from tests.layers.studies import grid

pytestmark = pytest.mark.gui

LEFT, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier


class PanelDock(Dock):
    """A dock that holds the panel alone."""

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self.panel = ConstraintPanel(self._bench)
        self.fill(self.panel)
        self.listen(*self.panel.listeners())

    def let_go(self) -> None:
        self.panel.let_go()


class Hand:
    """A window with the panel, and the mouse on its canvas."""

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        self.dock = PanelDock(viewer)
        self.panel = self.dock.panel
        viewer.window.add_dock_widget(self.dock, name="Constraints", area="right")
        self.bench = workbench(viewer)
        self.model = self.bench.session.constraints
        windows = [w for w in QApplication.topLevelWidgets() if isinstance(w, QMainWindow)]
        self.canvas = [
            w
            for window in windows
            for w in window.findChildren(QWidget)
            if "CanvasBackend" in type(w).__name__ and w.isVisible()
        ][-1]
        self.settle()

    def settle(self) -> None:
        for _ in range(4):
            self.qtbot.wait(15)

    def open(self, study: Any) -> None:
        self.bench.session.open(study)
        self.settle()
        self.viewer.reset_view()
        self.settle()
        self.panel.show_pair("B", "A")

    def pixel(self, section: str, x: float, y: float) -> QPoint:
        """Where a place of the canvas lies on screen, in the view of a section."""
        height, width = self.viewer.canvas.viewbox_size(self.viewer.layers)
        camera = self.viewer.scene.camera
        across = width / 2 + (x - camera.center[-1]) * camera.zoom
        down = height / 2 + (y - camera.center[-2]) * camera.zoom
        grid = self.viewer.canvas.grid
        if grid.enabled:
            index = self.viewer.layers.index(tagged(self.viewer, section=section)[0])
            row, column = grid.position(index, self.viewer.layers)
            across, down = across + column * width, down + row * height
        return QPoint(round(across), round(down))

    def draw(self, section: str, corners: Any, release: bool = True) -> None:
        """Press, go round the corners (x, y), release."""
        path = [self.pixel(section, x, y) for x, y in corners]
        self.qtbot.mousePress(self.canvas, LEFT, NONE, path[0])
        for a, b in pairwise(path):
            for i in range(1, 4):
                at = a + (b - a) * i / 3
                event = QMouseEvent(
                    QEvent.Type.MouseMove,
                    QPointF(at),
                    QPointF(self.canvas.mapToGlobal(at)),
                    Qt.MouseButton.LeftButton,
                    Qt.MouseButton.LeftButton,
                    NONE,
                )
                QApplication.sendEvent(self.canvas, event)
                self.qtbot.wait(25)  # napari passes on at most one move per screen refresh
        if release:
            self.qtbot.mouseRelease(self.canvas, LEFT, NONE, path[-1])
        self.settle()

    def click(self, section: str, x: float, y: float) -> None:
        self.qtbot.mouseClick(self.canvas, LEFT, NONE, self.pixel(section, x, y))
        self.settle()

    def escape(self) -> None:
        self.qtbot.keyClick(self.canvas, Qt.Key.Key_Escape, NONE)
        self.settle()

    def press(self, button: Any) -> None:
        self.qtbot.mouseClick(button, LEFT)
        self.settle()


@pytest.fixture
def hand(make_napari_viewer: Any, qtbot: Any) -> Iterator[Hand]:
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 850)
    hand = Hand(viewer, qtbot)
    yield hand
    hand.bench.runner.stop_all()
    hand.__dict__.clear()  # pytest holds it longer than napari allows a viewer to live


def box(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def inside(rule: Any, section: str) -> list[int]:
    polygons = [list(p) for p in rule.regions[section]]
    return np.flatnonzero(within(grid(), polygons)).tolist()


FIRST_TWO = box(120, 60, 200, 100)
"""Round the spots 0 and 1, wherever a section lies that was not moved."""


@pytest.mark.parametrize("beside", [True, False])
def test_regions_are_painted_in_one_section_and_then_in_the_other(hand, beside):
    study = two_sections()
    hand.open(study if beside else registered(study, shift=10.0))
    assert bool(hand.viewer.canvas.grid.enabled) is beside
    camera = tuple(hand.viewer.scene.camera.center)
    hand.press(hand.panel.match)
    assert "Draw round the region in B" in hand.panel.prompt.text()
    moved = 0.0 if beside else 10.0
    hand.draw("B", [(x + moved, y) for x, y in FIRST_TWO])
    assert "Draw round the region in A" in hand.panel.prompt.text()
    assert hand.model.constraints == ()
    assert hand.panel.layers.is_drawing
    hand.draw("A", box(120, 60, 160, 140))
    (rule,) = hand.model.constraints
    assert (rule.name, rule.kind) == ("Region 1", "match")
    assert inside(rule, "B") == [0, 1]
    assert inside(rule, "A") == [0, 6]
    assert not hand.panel.match.isChecked()
    assert not hand.panel.layers.is_drawing
    assert [layer.name for layer in tagged(hand.viewer, role="regions")] == [
        "Regions · A", "Regions · B",
    ]  # fmt: skip
    np.testing.assert_allclose(hand.viewer.scene.camera.center, camera)  # the view stood still
    hand.press(hand.panel.undo)
    assert hand.model.constraints == ()
    assert tagged(hand.viewer, role="regions") == []
    hand.press(hand.panel.redo)
    assert hand.panel.list.item(0).text() == "= Region 1"
    assert len(tagged(hand.viewer, role="regions")) == 2


def test_a_spot_and_a_partner_are_clicked_to_be_forbidden(hand):
    hand.open(two_sections())
    hand.press(hand.panel.forbid)
    x, y = grid()[7]
    hand.click("B", x + 6, y - 5)
    hand.click("A", *grid()[13])
    (rule,) = hand.model.constraints
    assert rule.kind == "forbid"
    assert (inside(rule, "B"), inside(rule, "A")) == ([7], [13])


def test_escape_takes_the_half_back_and_then_gives_the_mouse_back(hand):
    hand.open(two_sections())
    hand.press(hand.panel.match)
    hand.draw("B", FIRST_TWO)
    hand.escape()
    assert hand.panel.painting.kind == "match"
    assert hand.panel.painting.asked == "B"
    assert not hand.panel.layers.is_drawing
    hand.escape()
    assert hand.panel.painting.kind is None
    assert not hand.panel.match.isChecked()
    assert hand.panel.prompt.text() == ""
    before = tuple(hand.viewer.scene.camera.center)
    hand.draw("B", FIRST_TWO)  # a drag moves the view again
    assert tuple(hand.viewer.scene.camera.center) != before
    assert hand.model.constraints == ()
    assert tagged(hand.viewer, role="drawing") == []


def test_the_fixed_section_may_come_first_but_not_the_same_twice(hand):
    hand.open(two_sections())
    hand.press(hand.panel.match)
    hand.draw("A", FIRST_TWO)
    assert hand.panel.painting.asked == "B"
    hand.draw("A", FIRST_TWO)
    assert "A has its region already" in hand.panel.prompt.text()
    hand.draw("B", FIRST_TWO)
    assert len(hand.model.constraints) == 1


def test_escape_in_the_middle_of_a_stroke_drops_it(hand):
    hand.open(two_sections())
    hand.press(hand.panel.match)
    hand.draw("B", FIRST_TWO, release=False)
    hand.escape()
    end = hand.pixel("B", *FIRST_TWO[-1])
    hand.qtbot.mouseRelease(hand.canvas, LEFT, NONE, end)
    hand.settle()
    assert hand.panel.painting.kind is None
    assert tagged(hand.viewer, role="drawing") == []
    assert hand.viewer.scene.camera.mouse_pan


# -- without a window ----------------------------------------------------------------------------


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def bench(viewer):
    return workbench(viewer)


@pytest.fixture
def panel(viewer, bench, qtbot):
    frame = QWidget()
    qtbot.addWidget(frame)
    QVBoxLayout(frame)
    frame.resize(320, 500)
    dock = PanelDock(viewer)
    frame.layout().addWidget(dock)
    frame.show()
    bench.session.open(two_sections())
    dock.panel.show_pair("B", "A")
    yield dock.panel
    frame.close()


def yx(corners):
    return np.array(corners, float)[:, ::-1]


def painted(panel, kind="match"):
    panel._toggle(kind)
    for name in ("B", "A"):
        panel.painting.take(name, yx(FIRST_TWO))


def test_alone_it_offers_nothing(viewer, qtbot):
    dock = PanelDock(viewer)
    qtbot.addWidget(dock)
    dock.panel.show_pair("", "")
    assert not dock.panel.match.isEnabled()
    dock.panel._toggle("match")
    assert dock.panel.painting.kind is None
    dock.panel._on_delete()
    dock.setParent(None)


def test_an_outline_without_spots_or_without_area_is_refused_and_asked_again(panel, bench):
    panel._toggle("match")
    panel.painting.take("B", yx(box(10, 10, 20, 20)))
    assert "no spot of B" in panel.prompt.text()
    assert "Draw round the region in B" in panel.prompt.text()
    panel.painting.take("B", yx([(0, 0), (0, 5), (0, 9)]))
    assert "encloses nothing" in panel.prompt.text()
    panel.painting.take("B", yx(FIRST_TWO))
    panel.painting.take("A", yx(FIRST_TWO))
    assert len(bench.session.constraints.constraints) == 1


def test_constraints_are_renamed_and_deleted_from_the_list(panel, bench):
    painted(panel)
    painted(panel, "forbid")
    model = bench.session.constraints
    panel.list.item(0).setText("= hilus")
    assert model.names == ["hilus", "Forbidden 1"]
    panel.list.item(1).setText("hilus")  # taken
    assert model.names == ["hilus", "Forbidden 1"]
    assert [panel.list.item(i).text() for i in range(2)] == ["= hilus", "✕ Forbidden 1"]
    panel.list.item(0).setSelected(True)
    assert panel.delete.isEnabled()
    panel._on_delete()
    assert model.names == ["Forbidden 1"]
    (a, b) = tagged(bench.viewer, role="regions")
    assert (len(a.data), len(b.data)) == (1, 1)
    bench.undo()
    assert model.names == ["hilus", "Forbidden 1"]


def test_another_pair_or_study_ends_the_painting(panel, bench):
    panel._toggle("match")
    panel.painting.take("B", yx(FIRST_TWO))
    panel.show_pair("A", "B")
    assert panel.painting.kind is None
    panel._toggle("forbid")
    assert panel.painting.asked == "A"
    bench.session.open(two_sections("C", "D"))
    assert panel.painting.kind is None
    assert tagged(bench.viewer, role="drawing") == []
    assert panel.painting._on_mouse not in bench.viewer.mouse_drag_callbacks


def test_one_tool_at_a_time_has_the_canvas(panel, bench):
    from napari_stomics.docks.landmark_placing import Placing
    from napari_stomics.docks.landmark_view import LandmarkView

    view = LandmarkView(bench)
    bench.session.estimate.configure(source="B", target="A")
    view.open("B", "A")
    placing = Placing(bench, view)
    placing.set_active(True)
    panel._toggle("match")
    assert not placing.active
    placing.set_active(True)
    assert panel.painting.kind is None
    placing.set_active(False)
    view.close()


def test_taken_out_of_its_window_it_leaves_the_canvas(panel, bench):
    painted(panel)
    panel._toggle("forbid")
    assert len(tagged(bench.viewer, role="regions")) == 2
    dock = panel
    while not isinstance(dock, PanelDock):
        dock = dock.parentWidget()
    dock.setParent(None)
    assert tagged(bench.viewer, role="regions") == []
    assert panel.painting._on_mouse not in bench.viewer.mouse_drag_callbacks
    assert len(bench.session.constraints.constraints) == 1
    dock.deleteLater()


def test_constraints_are_autosaved_and_brought_back(panel, bench):
    from napari_stomics.data.autosave import find_unfinished

    painted(panel)
    bench.autosaver.write()
    path = bench.autosaver._file.path
    text = path.read_text()
    assert "Region 1" in text
    path.write_text(text.replace(f'"pid": {os.getpid()}', '"pid": 999999999'))
    (left,) = [u for u in find_unfinished() if u.path == path]
    assert [rule.name for rule in left.constraints] == ["Region 1"]
    bench.session.constraints.remove(["Region 1"])
    left = type(left)(path, None, left.saved, left.landmarks, {}, left.constraints)
    bench.autosaver.restore(left)
    assert bench.session.constraints.names == ["Region 1"]
    bench.session.undo.clear()
    bench.autosaver.write()
