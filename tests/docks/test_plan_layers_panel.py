"""Layers of a plan by tick boxes, a gene carried over, two plans side by side: in a window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from scipy.sparse import csr_matrix

from napari_stomics.docks.plan_layers_panel import PlanLayersPanel
from napari_stomics.layers.plan import part_layers, shown_parts
from napari_stomics.layers.tags import tag, tagged
from tests.docks.desk import finish
from tests.docks.plan_desk import PlanDesk, stored
from tests.layers.studies import pair
from tests.layers.test_plan import N, plan_of

pytestmark = pytest.mark.gui


@pytest.fixture
def desk(make_napari_viewer: Any, qtbot: Any) -> Iterator[PlanDesk]:
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 900)
    desk = PlanDesk(viewer, qtbot, PlanLayersPanel)
    study = pair()
    stored(study, plan_of(study, plan=csr_matrix(np.eye(N) / N)), "older")
    desk.open(stored(study, plan_of(study)))
    yield desk
    desk.end()


def tick(desk: PlanDesk, name: str) -> None:
    box = desk.panel.ticks[name]
    desk.qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=spot(box))
    finish(desk.qtbot, desk.bench)
    desk.settle()


def spot(box: Any) -> Any:
    from qtpy.QtCore import QPoint

    return QPoint(8, box.height() // 2)


def ours(desk: PlanDesk) -> list[Any]:
    """Layers in their order, without those that only fill places of the grid."""
    return [q for q in desk.viewer.layers if tag(q).get("role") != "gap"]


def test_ticks_paint_show_and_hide(desk) -> None:
    panel = desk.panel
    assert panel.ticks["arrows"].isChecked()
    assert not panel.ticks["confidence"].isChecked()
    tick(desk, "confidence")
    (layer,) = part_layers(desk.viewer, "fgw", "confidence")
    assert layer.visible
    assert "share" in layer.name
    tick(desk, "confidence")
    assert not layer.visible
    tick(desk, "confidence")
    assert layer.visible
    assert part_layers(desk.viewer, "fgw", "confidence") == [layer]
    layer.visible = False
    desk.settle()
    assert not panel.ticks["confidence"].isChecked()
    tick(desk, "arrows")
    assert shown_parts(desk.viewer, "fgw")["arrows"] is False


def test_what_cannot_be_shown_says_why(desk) -> None:
    box = desk.panel.ticks["disagreement"]
    assert not box.isEnabled()
    assert "left out" in box.toolTip()
    assert desk.panel.ticks["agreement"].isEnabled()


def test_a_gene_is_carried_over_and_shown_beside_the_measured_one(desk) -> None:
    panel = desk.panel
    assert not panel.beside.isEnabled()
    panel.gene.setFocus()
    desk.qtbot.keyClicks(panel.gene, "spe")
    desk.qtbot.keyClick(panel.gene, Qt.Key.Key_Return)
    finish(desk.qtbot, desk.bench)
    desk.settle()
    parts = {tag(q)["part"]: q for q in part_layers(desk.viewer, "fgw", "gene")}
    assert set(parts) == {"gene carried", "gene measured", "gene residual"}
    assert parts["gene carried"].visible
    assert panel.ticks["gene"].isChecked()
    box = panel.gene_ticks["gene residual"]
    desk.qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=spot(box))
    assert parts["gene residual"].visible
    before = ours(desk)
    grid = desk.viewer.canvas.grid
    desk.qtbot.mouseClick(panel.beside, Qt.MouseButton.LeftButton)
    desk.settle()
    assert panel.compared
    places = [
        grid.position(desk.viewer.layers.index(parts[p]), desk.viewer.layers)
        for p in ("gene carried", "gene measured")
    ]
    assert places == [(0, 0), (0, 1)]
    seen = {q for q in desk.viewer.layers if q.visible}
    assert {parts["gene carried"], parts["gene measured"]} < seen
    assert parts["gene residual"] not in seen
    # The image lies behind both.
    assert sum(tag(q).get("role") in ("image", "cut") for q in seen) == 2
    assert desk.picture().std() > 5
    desk.qtbot.mouseClick(panel.beside, Qt.MouseButton.LeftButton)
    desk.settle()
    assert not panel.compared
    assert ours(desk) == before
    assert parts["gene residual"].visible


def test_two_plans_are_shown_side_by_side(desk) -> None:
    panel = desk.panel
    assert panel.other.names() == ["older"]
    panel.which.setCurrentText("Confidence")
    desk.qtbot.mouseClick(panel.compare, Qt.MouseButton.LeftButton)
    finish(desk.qtbot, desk.bench)
    desk.settle()
    assert panel.compared
    assert panel.compare.isChecked()
    (left,), (right,) = (part_layers(desk.viewer, key, "confidence") for key in ("fgw", "older"))
    assert left.visible
    assert right.visible
    np.testing.assert_allclose(right.features["confidence"], 1)
    assert "[fgw]" in panel.note.text().splitlines()[0]
    assert "[older]" in panel.note.text().splitlines()[1]
    grid = desk.viewer.canvas.grid
    columns = [
        grid.position(desk.viewer.layers.index(q), desk.viewer.layers)[1] for q in (left, right)
    ]
    assert columns == [0, 1]
    desk.qtbot.mouseClick(panel.compare, Qt.MouseButton.LeftButton)
    desk.settle()
    assert not panel.compared
    assert not tagged(desk.viewer, role="cut")


def test_leaving_elsewhere_is_noticed(desk) -> None:
    from napari_stomics.docks.compare_dock import CompareDock

    dock = CompareDock(desk.viewer)
    desk.viewer.window.add_dock_widget(dock, name="Compare", area="left")
    desk.panel.which.setCurrentText("Entropy")
    desk.qtbot.mouseClick(desk.panel.compare, Qt.MouseButton.LeftButton)
    finish(desk.qtbot, desk.bench)
    desk.settle()
    assert desk.panel.compared
    dock.set_mode("normal")
    desk.settle()
    assert not desk.panel.compared
    assert not desk.panel.compare.isChecked()


def test_a_panel_without_a_plan_offers_nothing(desk) -> None:
    desk.panel.set_plan(None)
    assert not any(box.isEnabled() for box in desk.panel.ticks.values())
    assert not desk.panel.gene.isEnabled()
    assert "Choose a plan" in desk.panel.note.text()
