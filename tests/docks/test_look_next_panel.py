"""Doubtful regions one by one with a key, and the landmark that would tell most: in a window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from scipy.sparse import csr_matrix

from napari_stomics.docks.look_next_panel import LookNextPanel
from napari_stomics.layers.tags import tagged
from tests.docks.desk import finish
from tests.docks.plan_desk import PlanDesk, stored
from tests.layers.studies import grid, pair, section, table, turned
from tests.layers.test_plan import plan_of

pytestmark = pytest.mark.gui

SIDE, PITCH = 14, 40.0
FIRST, SECOND = (3, 4), (10, 9)
"""Row and column of the middles of two places in doubt; the first is worse."""
SHIFT = Qt.KeyboardModifier.ShiftModifier


def near(place: tuple[int, int], reach: float) -> np.ndarray:
    row, column = np.divmod(np.arange(SIDE**2), SIDE)
    return np.flatnonzero(np.hypot(row - place[0], column - place[1]) <= reach)


def doubtful_study() -> Any:
    """Two sections of 14 x 14 spots; round two places half of the mass goes astray."""
    from napari_stomics.data.study import Study

    options = {"coordinates": grid(SIDE), "tables": {"rna": table(SIDE**2)}}
    study = Study(section("A", **options))
    study.add(section("B", **options))
    n = SIDE**2
    shares = np.eye(n)
    for place, reach, astray in ((FIRST, 2.1, 7), (SECOND, 1.5, 5)):
        for spot in near(place, reach):
            shares[spot, spot] = 0.5
            shares[spot, (spot + astray * SIDE) % n] += 0.5
    xy = grid(SIDE)
    plan = plan_of(
        study,
        plan=csr_matrix(shares / n),
        source_coordinates=xy,
        barycentres=shares @ xy,
        entropy=np.where(np.diag(shares) < 1, np.log(2) / np.log(n), 0.0),
    )
    return stored(study, plan)


@pytest.fixture
def desk(make_napari_viewer: Any, qtbot: Any) -> Iterator[PlanDesk]:
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 900)
    desk = PlanDesk(viewer, qtbot, LookNextPanel)
    desk.open(doubtful_study())
    yield desk
    desk.end()


def centre(desk: PlanDesk) -> np.ndarray:
    return np.array(desk.viewer.scene.camera.center[-2:])[::-1]


def outlined(desk: PlanDesk, name: str) -> np.ndarray:
    """Box (x, y) of what is outlined in a section, on the canvas."""
    corners = []
    for layer in tagged(desk.viewer, section=name, role="outline"):
        if layer.name.startswith("Doubtful"):
            matrix = layer.affine.affine_matrix[-3:, -3:]
            for ring in layer.data:
                corners.append(ring @ matrix[:2, :2].T + matrix[:2, 2])
    found = np.vstack(corners)[:, ::-1]
    return np.array([found.min(axis=0), found.max(axis=0)])


def test_the_regions_are_listed_the_worst_first(desk) -> None:
    assert desk.panel.list.count() == 2
    assert "partners spread over 3.5" in desk.panel.list.item(0).text()
    assert "2 regions to look at" in desk.panel.summary.text()
    assert len(desk.panel.found.regions[0].spots) > len(desk.panel.found.regions[1].spots)


def test_a_key_flies_from_one_to_the_next_and_back(desk) -> None:
    dark = desk.picture()
    middle = grid(SIDE)[FIRST[0] * SIDE + FIRST[1]]
    desk.press(Qt.Key.Key_N)
    assert desk.panel.list.currentRow() == 0
    box = outlined(desk, "A")
    np.testing.assert_allclose(box.mean(axis=0), middle, atol=PITCH)
    # Its partners lie there and seven rows below: both are taken in.
    there = outlined(desk, "B")
    assert there[1, 1] > middle[1] + 6 * PITCH
    height, width = desk.viewer.canvas.viewbox_size(desk.viewer.layers)
    zoom = desk.viewer.scene.camera.zoom
    for edge in (*box, *there):
        assert (abs(edge - centre(desk)) * zoom < np.array([width, height]) / 2).all()
    assert np.abs(desk.picture().astype(int) - dark).max() > 60
    desk.press(Qt.Key.Key_N)
    assert desk.panel.list.currentRow() == 1
    second = grid(SIDE)[SECOND[0] * SIDE + SECOND[1]]
    np.testing.assert_allclose(outlined(desk, "A").mean(axis=0), second, atol=PITCH)
    desk.press(Qt.Key.Key_N)
    assert desk.panel.list.currentRow() == 0
    desk.press(Qt.Key.Key_N, SHIFT)
    assert desk.panel.list.currentRow() == 1
    assert len(tagged(desk.viewer, role="outline", section="A")) == 1


def test_the_outline_follows_the_section(desk) -> None:
    from napari_stomics.core.results import Registration
    from napari_stomics.layers.results import paint

    desk.press(Qt.Key.Key_N)
    before = outlined(desk, "A").mean(axis=0)
    moved = Registration("A", "B", turned(0, (500.0, 0.0)), "rigid", "landmarks")
    paint(desk.viewer, desk.session.study, moved, "reg")
    shifted = before + np.array([500, 0])
    np.testing.assert_allclose(outlined(desk, "A").mean(axis=0), shifted, atol=1e-6)


def test_the_suggested_landmark_is_placed_and_can_be_undone(desk) -> None:
    panel = desk.panel
    mark = panel.found.landmark
    assert "One more landmark tells most" in panel.suggestion.text()
    desk.qtbot.mouseClick(panel.see, Qt.MouseButton.LeftButton)
    desk.settle()
    rings = [q for q in tagged(desk.viewer, role="outline") if q.name.startswith("Suggested")]
    assert len(rings) == 2
    ellipse = rings[1].data[0][:, ::-1]
    np.testing.assert_allclose(ellipse.mean(axis=0), mark.target, atol=1)
    before = panel.found.landmark.before
    desk.qtbot.mouseClick(panel.place, Qt.MouseButton.LeftButton)
    desk.settle()
    assert desk.session.landmarks.positions("A") == {"L1": mark.source}
    assert desk.session.landmarks.positions("B") == {"L1": mark.target}
    desk.qtbot.waitUntil(lambda: panel.found.landmark.spot != mark.spot, timeout=20_000)
    assert panel.found.landmark.before < before
    desk.bench.undo()
    assert desk.session.landmarks.names == []
    finish(desk.qtbot, desk.bench)


def test_a_dock_that_is_closed_gives_the_keys_back(desk) -> None:
    heard = []
    desk.viewer.window.remove_dock_widget(desk.panel)
    desk.settle()
    assert tagged(desk.viewer, role="outline") == []
    desk.viewer.bind_key("N", lambda viewer: heard.append(1))
    desk.press(Qt.Key.Key_N)
    assert heard == [1]
    desk.viewer.bind_key("N", None)
    desk.viewer.window.add_dock_widget(desk.panel, name="Again", area="right")
    desk.settle()
    desk.press(Qt.Key.Key_N)
    assert desk.panel.list.currentRow() == 0


def test_a_sure_plan_says_so(desk) -> None:
    study = pair()
    desk.open(stored(study, plan_of(study, plan=csr_matrix(np.eye(36) / 36)), "sure"), "sure")
    assert desk.panel.list.count() == 0
    assert "No region stands out" in desk.panel.summary.text()
    desk.press(Qt.Key.Key_N)
    assert tagged(desk.viewer, role="outline") == []
    desk.panel.set_plan(None)
    assert "Choose a plan" in desk.panel.summary.text()
