"""A window with one of the panels of a plan, and a hand for the mouse and the keyboard."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QMainWindow, QWidget

from napari_stomics.core.plans import TransportPlan
from napari_stomics.data.changes import apply_all
from napari_stomics.data.plans import write_plan
from napari_stomics.data.schema import RunRecord
from napari_stomics.docks.workbench import workbench
from napari_stomics.layers.displayed import DisplayedSpots
from napari_stomics.layers.tags import tagged
from tests.docks.desk import finish

LEFT, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier


def stored(study: Any, plan: TransportPlan, key: str = "fgw") -> Any:
    """Put a plan into a study as if a step had run, and return the study."""
    apply_all(study, write_plan(study, plan, key, f"run-{key}"))
    step = {
        "method": "alignment/fgw",
        "inputs": {"source": plan.source, "target": plan.target},
        "key": key,
    }
    record = RunRecord(
        id=f"run-{key}", key=key, kind=plan.kind, step=step, started="", seconds=0.0,
        summary=plan.summary(),
    )  # fmt: skip
    study.record.runs.append(record)
    return study


class PlanDesk:
    """A viewer, one panel in a dock, and the canvas under the mouse."""

    def __init__(self, viewer: Any, qtbot: Any, panel: Any) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        self.bench = workbench(viewer)
        self.session = self.bench.session
        self.panel = panel(self.bench)
        self.frame = viewer.window.add_dock_widget(self.panel, name="Plan", area="right")
        windows = [w for w in QApplication.topLevelWidgets() if isinstance(w, QMainWindow)]
        self.canvas = [
            w
            for window in windows
            for w in window.findChildren(QWidget)
            if "CanvasBackend" in type(w).__name__ and w.isVisible()
        ][-1]
        self.settle()

    def settle(self, rounds: int = 4) -> None:
        for _ in range(rounds):
            self.qtbot.wait(15)

    def open(self, study: Any, key: str = "fgw") -> None:
        """Open a study and show the plan of that name."""
        self.session.open(study)
        self.settle()
        self.panel.set_plan(self.run(key))
        finish(self.qtbot, self.bench)
        self.viewer.reset_view()
        self.settle()

    def run(self, key: str = "fgw") -> Any:
        return next(r for r in self.session.results() if r.key == key)

    def pixel(self, section: str, spot: int) -> QPoint:
        """Where a spot of a section lies on the canvas."""
        study = self.session.study
        ids = study.section(section).ids
        x, y = DisplayedSpots(self.viewer, study, section, ids).world[spot]
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

    def move(self, where: QPoint) -> None:
        """Move the mouse in two steps, so that it is a move wherever it was."""
        for at in (where + QPoint(3, 2), where):
            event = QMouseEvent(
                QEvent.Type.MouseMove,
                QPointF(at),
                QPointF(self.canvas.mapToGlobal(at)),
                Qt.MouseButton.NoButton,
                Qt.MouseButton.NoButton,
                NONE,
            )
            QApplication.sendEvent(self.canvas, event)
            self.qtbot.wait(30)  # napari passes on at most one move per screen refresh
        self.settle()

    def click(self, where: QPoint) -> None:
        self.move(where)
        self.qtbot.mouseClick(self.canvas, LEFT, NONE, where)
        self.settle()

    def press(self, key: Any, modifiers: Any = NONE) -> None:
        self.qtbot.keyClick(self.canvas, key, modifiers)
        self.settle()

    def picture(self) -> np.ndarray:
        self.settle()
        return np.asarray(self.viewer.screenshot(canvas_only=True, flash=False))

    def end(self) -> None:
        """Let go of everything: pytest holds the desk longer than a viewer may live."""
        self.bench.runner.stop_all()
        self.__dict__.clear()
