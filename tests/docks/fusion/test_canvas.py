"""Domains picked by real clicks on the canvas, sections beside each other or in one view."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication, QMainWindow, QWidget

from napari_stomics.data.schema import RunRecord
from napari_stomics.docks.fusion_dock import FusionDock
from napari_stomics.docks.workbench import workbench
from napari_stomics.layers.tags import tagged
from napari_stomics.workflow.steps import Outcome
from tests.docks.desk import registered, two_sections
from tests.layers.halves import halves

pytestmark = pytest.mark.gui


def run(section: str) -> RunRecord:
    return RunRecord(
        id="1",
        key="found",
        kind="domains",
        step={
            "method": "domains/gmm",
            "inputs": {"section": section},
            "params": {},
            "key": "found",
        },
        started="",
        seconds=0.0,
        versions={},
        inputs_hash="",
        summary={},
    )


def pixel(viewer: Any, section: str, x: float, y: float) -> QPoint:
    """Where a place of the canvas lies on screen, in the view of a section."""
    height, width = viewer.canvas.viewbox_size(viewer.layers)
    camera = viewer.scene.camera
    across = width / 2 + (x - camera.center[-1]) * camera.zoom
    down = height / 2 + (y - camera.center[-2]) * camera.zoom
    grid = viewer.canvas.grid
    if grid.enabled:
        index = viewer.layers.index(tagged(viewer, section=section)[0])
        row, column = grid.position(index, viewer.layers)
        across, down = across + column * width, down + row * height
    return QPoint(round(across), round(down))


def canvas_of() -> QWidget:
    windows = [w for w in QApplication.topLevelWidgets() if isinstance(w, QMainWindow)]
    found = [q for window in windows for q in window.findChildren(QWidget)]
    return [q for q in found if "CanvasBackend" in type(q).__name__ and q.isVisible()][-1]


def settle(qtbot: Any) -> None:
    for _ in range(4):
        qtbot.wait(15)


@pytest.mark.parametrize("beside", [True, False])
def test_clicks_on_the_canvas_select_the_domain_under_them(make_napari_viewer, qtbot, beside):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 850)
    dock = FusionDock(viewer)
    viewer.window.add_dock_widget(dock, name="Fusion", area="right")
    bench = workbench(viewer)
    study = two_sections()
    bench.session.open(study if beside else registered(study, shift=10.0))
    found = halves(bench.session.study, ("A", "B"))
    bench.session.commit(Outcome(found, run("A")))
    settle(qtbot)
    viewer.reset_view()
    settle(qtbot)
    assert bool(viewer.canvas.grid.enabled) is beside
    assert dock.edit.table.names() == ["D1", "D2"]
    dock.edit.pick.click()
    layers = list(viewer.layers)
    camera = tuple(viewer.scene.camera.center)
    for section, row, moved in (("A", 0, 0.0), ("B", 35, 0.0 if beside else 10.0), ("B", 1, 0.0)):
        x, y = bench.session.study.section(section).coordinates[row]
        at = pixel(viewer, section, x + moved, y)
        qtbot.mouseClick(canvas_of(), Qt.MouseButton.LeftButton, pos=at)
        settle(qtbot)
        here = np.flatnonzero(found.of == found.sections.index(section))
        assert dock.edit.selected() == [found.labels[here[row]]]
    x, y = bench.session.study.section("A").coordinates[35]
    at = pixel(viewer, "A", x, y)
    qtbot.mouseClick(canvas_of(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ShiftModifier, at)
    settle(qtbot)
    assert dock.edit.selected() == ["D1", "D2"]
    assert list(viewer.layers) == layers
    assert tuple(viewer.scene.camera.center) == pytest.approx(camera)
    bench.runner.stop_all()
