"""Partners under the mouse, in a window: glow, table, holding, and staying out of the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from scipy.sparse import csr_matrix

from napari_stomics.docks.partner_panel import PartnerPanel
from napari_stomics.docks.partner_table import HEADERS, SHARE
from napari_stomics.layers.colour import colour_by
from napari_stomics.layers.tags import tagged
from tests.docks.desk import finish
from tests.docks.plan_desk import PlanDesk, stored
from tests.layers.studies import pair
from tests.layers.test_partners import shares
from tests.layers.test_plan import plan_of

pytestmark = pytest.mark.gui


@pytest.fixture
def desk(make_napari_viewer: Any, qtbot: Any) -> Iterator[PlanDesk]:
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 800)
    desk = PlanDesk(viewer, qtbot, PartnerPanel)
    study = pair()
    desk.open(stored(study, replace(plan_of(study), plan=csr_matrix(shares()))))
    yield desk
    desk.end()


def texts(desk: PlanDesk) -> list[list[str]]:
    model = desk.panel.table.model()
    return [
        [str(model.index(row, column).data()) for column in range(len(HEADERS))]
        for row in range(model.rowCount())
    ]


def names(desk: PlanDesk) -> list[str]:
    return [row[0] for row in texts(desk)]


def test_hovering_lists_and_lights_the_partners(desk) -> None:
    assert desk.viewer.canvas.grid.enabled  # nothing registers the two sections
    dark = desk.picture()
    desk.move(desk.pixel("A", 7))
    assert names(desk) == ["s7", "s8", "s20"]
    assert [row[1] for row in texts(desk)] == ["50 %", "30 %", "20 %"]
    assert [row[3] for row in texts(desk)] == ["outer", "", ""]
    assert "s7 of A sends to 3 spots of B." in desk.panel.status.text()
    lit = desk.picture()
    changed = np.abs(lit.astype(int) - dark).sum(axis=2) > 60
    half = changed.shape[1] // 2
    assert changed[:, :half].any()
    assert changed[:, half:].any()
    desk.move(desk.pixel("B", 8))
    assert names(desk) == ["s7", "s9"]
    assert "s8 of B gets from 2 spots of A." in desk.panel.status.text()
    desk.move(QPoint(4, 4))
    assert names(desk) == []


def test_a_spot_without_partners_says_so(desk) -> None:
    desk.move(desk.pixel("A", 3))
    assert desk.panel.status.text() == "s3 of A has no partner in B."


def test_a_click_holds_and_escape_lets_go(desk) -> None:
    desk.click(desk.pixel("A", 7))
    desk.move(desk.pixel("A", 9))
    assert names(desk) == ["s7", "s8", "s20"]
    assert "Esc" in desk.panel.status.text()
    desk.press(Qt.Key.Key_Escape)
    assert names(desk) == []
    desk.click(desk.pixel("A", 9))
    assert names(desk) == ["s8"]
    desk.click(QPoint(4, 4))
    assert names(desk) == []
    assert not desk.panel.glow.pinned


def test_escape_is_given_back(desk) -> None:
    heard = []
    desk.viewer.bind_key("Escape", lambda viewer: heard.append(1), overwrite=True)
    desk.click(desk.pixel("A", 7))
    desk.press(Qt.Key.Key_Escape)
    assert heard == []
    desk.press(Qt.Key.Key_Escape)
    assert heard == [1]


def test_table_and_canvas_are_linked_both_ways(desk) -> None:
    desk.click(desk.pixel("A", 7))
    desk.move(desk.pixel("B", 8))
    assert desk.panel.table.selected == 1
    desk.move(QPoint(4, 4))
    assert desk.panel.table.selected == -1
    table = desk.panel.table
    desk.viewer.scene.camera.zoom *= 20
    desk.viewer.scene.camera.center = (0.0, 0.0, 0.0)
    desk.settle()
    where = table.visualRect(table.model().index(2, 0)).center()
    desk.qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=where)
    desk.settle()
    assert desk.panel.glow.selected == 2
    x, y = desk.panel.glow.spots["target"].world[20]
    np.testing.assert_allclose(desk.viewer.scene.camera.center[-2:], (y, x))


def test_a_row_chosen_while_the_mouse_is_off_holds_its_spot(desk) -> None:
    desk.move(desk.pixel("A", 7))
    desk.panel.table.select(1)
    desk.panel.table.chosen.emit(1)
    assert desk.panel.glow.pinned
    assert desk.panel.glow.selected == 1


def test_the_value_shown_follows_the_colours(desk) -> None:
    (spots,) = tagged(desk.viewer, section="B", role="spots")
    colour_by(spots, desk.session.study, "B", "Spen")
    desk.click(desk.pixel("A", 7))
    assert [row[4] for row in texts(desk)] == ["29", "33", "81"]
    header = desk.panel.table.model().headerData(4, Qt.Orientation.Horizontal)
    assert header == "Spen"


def test_the_table_sorts_by_number(desk) -> None:
    desk.click(desk.pixel("A", 7))
    desk.panel.table.sortByColumn(SHARE, Qt.SortOrder.AscendingOrder)
    assert names(desk) == ["s20", "s8", "s7"]
    desk.panel.table.select(0)
    assert desk.panel.table.selected == 0


def test_landmarks_are_placed_undisturbed(desk) -> None:
    from napari_stomics.docks.landmark_dock import LandmarkDock

    dock = LandmarkDock(desk.viewer)
    desk.viewer.window.add_dock_widget(dock, name="Landmarks", area="left")
    desk.settle()
    dock.placing.set_active(True)
    desk.click(desk.pixel("A", 7))
    assert desk.session.landmarks.names == ["L1"]
    assert desk.panel.glow.partners is None
    desk.press(Qt.Key.Key_Escape)
    assert desk.session.landmarks.names == []
    dock.placing.set_active(False)
    desk.move(desk.pixel("A", 7))
    assert desk.panel.glow.partners is not None


def test_it_can_be_switched_off_and_leaves_nothing(desk) -> None:
    desk.click(desk.pixel("A", 7))
    desk.panel.following.setChecked(False)
    assert tagged(desk.viewer, role="glow") == []
    assert desk.viewer.mouse_move_callbacks == []
    desk.panel.following.setChecked(True)
    assert desk.panel.glow.enabled
    desk.panel.set_plan(None)
    assert desk.viewer.mouse_move_callbacks == []
    assert not desk.panel.following.isEnabled()


def test_a_dock_that_is_closed_lets_the_mouse_go(desk) -> None:
    desk.click(desk.pixel("A", 7))
    desk.viewer.window.remove_dock_widget(desk.panel)
    desk.settle()
    assert desk.viewer.mouse_move_callbacks == []
    desk.viewer.window.add_dock_widget(desk.panel, name="Plan again", area="right")
    desk.settle()
    desk.move(desk.pixel("A", 7))
    assert names(desk) == ["s7", "s8", "s20"]


def test_a_plan_that_is_taken_back_is_forgotten(desk) -> None:
    desk.click(desk.pixel("A", 7))
    desk.session.study.record.runs.clear()
    desk.bench.results_changed.emit()
    assert desk.panel.run is None
    assert desk.panel.glow is None
    assert "Choose a plan" in desk.panel.status.text()


def test_another_plan_replaces_the_former(desk) -> None:
    study = desk.session.study
    stored(study, plan_of(study), "second")
    desk.panel.set_plan(desk.run("second"))
    finish(desk.qtbot, desk.bench)
    desk.move(desk.pixel("A", 7))
    assert names(desk) == ["s7", "s8"]
    assert len(desk.viewer.mouse_move_callbacks) == 1
