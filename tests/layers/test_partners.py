"""Partners of a spot: both directions, where the spots are shown, out of everyone's way."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from scipy.sparse import csr_matrix

from napari_stomics.core.results import Registration
from napari_stomics.core.transforms import ThinPlateSpline
from napari_stomics.layers import displayed
from napari_stomics.layers.displayed import DisplayedSpots, in_sight, look_at_points
from napari_stomics.layers.glow import CORNERS, OWN, SELECTED
from napari_stomics.layers.partners import MOST, PartnerGlow, PartnerTable
from napari_stomics.layers.results import paint
from napari_stomics.layers.section import add_section, find_section
from napari_stomics.layers.tags import tagged
from tests.layers.studies import grid, pair, turned
from tests.layers.test_plan import N, plan_of


def shares() -> np.ndarray:
    """Spot 7 goes to 7, 8 and 20; spot 9 to 8; spot 3 nowhere."""
    matrix = np.zeros((N, N))
    matrix[7, [7, 8, 20]] = 0.5, 0.3, 0.2
    matrix[9, 8] = 0.1
    return matrix


@pytest.fixture
def scene() -> Any:
    viewer, study = ViewerModel(), pair()
    add_section(viewer, study, "A")
    add_section(viewer, study, "B")
    plan = replace(plan_of(study), plan=csr_matrix(shares()))
    glow = PartnerGlow(viewer, study, PartnerTable(plan, grid()))
    yield SimpleNamespace(viewer=viewer, study=study, plan=plan, glow=glow)
    glow.disable()


def event(xy: Any, **more: Any) -> Any:
    options = {"viewbox": None, "button": 1, "modifiers": (), "pos": (5, 5), "type": "mouse_press"}
    return SimpleNamespace(position=(xy[1], xy[0]), **{**options, **more})


def move(scene: Any, xy: Any) -> None:
    for callback in list(scene.viewer.mouse_move_callbacks):
        callback(scene.viewer, event(xy))


def click(scene: Any, xy: Any, **more: Any) -> None:
    """As napari does it: a generator per press, asked on until the button is up."""
    at = event(xy, **more)
    running = [c(scene.viewer, at) for c in scene.viewer.mouse_drag_callbacks if scene.is_ours(c)]
    for each in running:
        next(each, None)
    at.type = "mouse_release"
    for each in running:
        next(each, None)


def ours(callback: Any) -> bool:
    return isinstance(getattr(callback, "__self__", None), PartnerGlow)


def lit(scene: Any, section: str) -> dict[int, float]:
    """Spots of a section that glow, and how bright their rings are, read off the layer."""
    (layer,) = tagged(scene.viewer, section=section, role="glow")
    vertices, _, values = layer.data
    if values.max() == 0:
        return {}
    matrix = layer.affine.affine_matrix[-3:, -3:]
    world = vertices @ matrix[:2, :2].T + matrix[:2, 2]
    centres = world.reshape(-1, CORNERS, 2)[:, 0, ::-1]
    rings = values.reshape(-1, CORNERS)[:, 30]  # on the ring itself
    side = "source" if section == "A" else "target"
    there = scene.glow.spots[side].world
    index = np.linalg.norm(centres[:, None] - there[None], axis=2).argmin(axis=1)
    np.testing.assert_allclose(there[index], centres, atol=1e-3)
    return dict(zip(index.tolist(), rings.tolist(), strict=True))


def test_partners_of_a_row_and_of_a_column() -> None:
    study = pair()
    table = PartnerTable(replace(plan_of(study), plan=csr_matrix(shares())), grid())
    row = table.of("source", 7)
    assert row.indices.tolist() == [7, 8, 20]
    np.testing.assert_allclose(row.shares, [0.5, 0.3, 0.2])
    # The pose puts the source 3 and 4 um off.
    np.testing.assert_allclose(row.distances[0], 5)
    np.testing.assert_allclose(row.distances[1], np.hypot(40 - 3, 4))
    column = table.of("target", 8)
    assert (column.other, column.indices.tolist()) == ("source", [7, 9])
    np.testing.assert_allclose(column.shares, [0.75, 0.25])
    assert len(table.of("source", 3).indices) == 0


def test_no_more_partners_are_listed_than_can_be_read() -> None:
    plan = replace(plan_of(pair()), plan=csr_matrix(np.ones((1, 3 * MOST))))
    found = PartnerTable(plan, np.zeros((3 * MOST, 2))).of("source", 0)
    assert (len(found.indices), found.total) == (MOST, 3 * MOST)
    np.testing.assert_allclose(found.shares, 1 / (3 * MOST))


def test_hovering_lights_the_partners_by_their_share(scene) -> None:
    scene.glow.enable()
    heard: list[Any] = []
    scene.glow.changed.connect(lambda: heard.append(scene.glow.partners))
    # The two sections lie on each other: B is hidden, so A is meant.
    for layer in tagged(scene.viewer, section="B", role=("spots", "image")):
        layer.visible = False
    move(scene, grid()[7] + 3)
    assert lit(scene, "A") == {7: OWN}
    found = lit(scene, "B")
    assert list(found) == [7, 8, 20]
    assert 1 > found[7] > found[8] > found[20] > 0
    move(scene, grid()[7] + 4)
    assert len(heard) == 1
    move(scene, grid()[3])
    assert lit(scene, "B") == {}
    move(scene, (-500, -500))
    assert scene.glow.partners is None
    assert lit(scene, "A") == {}


def test_hovering_over_the_other_section_asks_for_columns(scene) -> None:
    scene.glow.enable()
    for layer in tagged(scene.viewer, section="A", role=("spots", "image")):
        layer.visible = False
    move(scene, grid()[8])
    assert lit(scene, "B") == {8: OWN}
    assert list(lit(scene, "A")) == [7, 9]


def test_partners_glow_where_the_sections_are_shown(scene) -> None:
    scene.glow.enable()
    scene.glow.show(("source", 7), pin=True)
    # The rings move with the section before anybody touches the mouse.
    rigid = Registration("A", "B", turned(), "rigid", "landmarks")
    paint(scene.viewer, scene.study, rigid, "reg")
    assert lit(scene, "A") == {7: OWN}
    np.testing.assert_allclose(
        scene.glow.spots["source"].world[7], turned().apply(grid()[7:8])[0], atol=1e-6
    )
    corners = np.array([[0, 0], [400, 0], [0, 400], [400, 400], [200, 200.0]])
    bent = ThinPlateSpline.fit(corners, turned().apply(corners) + np.eye(5, 2) * 30)
    paint(scene.viewer, scene.study, Registration("A", "B", bent, "tps", "landmarks"), "reg")
    scene.glow.refresh()
    assert lit(scene, "A") == {7: OWN}
    np.testing.assert_allclose(scene.glow.spots["source"].world, bent.apply(grid()), atol=1e-6)
    scene.glow.clear()
    move(scene, bent.apply(grid()[7:8])[0])
    assert scene.glow.partners.side == "source"


def test_the_tree_is_built_once_for_each_place(scene, monkeypatch) -> None:
    import scipy.spatial

    built = []
    original = scipy.spatial.cKDTree

    def counting(*args: Any, **more: Any) -> Any:
        built.append(1)
        return original(*args, **more)

    monkeypatch.setattr(scipy.spatial, "cKDTree", counting)
    scene.glow.enable()
    for spot in range(10):
        move(scene, grid()[spot])
    assert len(built) == 2  # one for each section
    rigid = Registration("A", "B", turned(), "rigid", "landmarks")
    paint(scene.viewer, scene.study, rigid, "reg")
    for spot in range(10):
        move(scene, grid()[spot])
    assert len(built) == 3


def test_spots_that_the_plan_does_not_know_are_not_counted(scene) -> None:
    spots = DisplayedSpots(scene.viewer, scene.study, "A", scene.study.section("A").ids[::-2])
    np.testing.assert_allclose(spots.world, grid()[::-2])
    scene.viewer.layers.remove(find_section(scene.viewer, "A").spots)
    np.testing.assert_allclose(spots.world, grid()[::-2])
    assert spots.nearest(grid()[N - 3], 5.0) == (1, 0.0)
    assert spots.nearest((1e4, 0), 5.0)[0] == -1


def test_a_click_holds_the_partners_and_another_lets_go(scene) -> None:
    scene.is_ours = ours
    scene.glow.enable()
    for layer in tagged(scene.viewer, section="B", role=("spots", "image")):
        layer.visible = False
    click(scene, grid()[7])
    assert scene.glow.pinned
    move(scene, grid()[9])
    assert scene.glow.partners.spot == 7
    click(scene, (-500, -500))
    assert not scene.glow.pinned
    click(scene, grid()[9])
    assert scene.glow.partners.spot == 9
    click(scene, grid()[9])
    assert scene.glow.partners is None
    click(scene, grid()[9], modifiers=("Shift",))
    click(scene, grid()[9], button=2)
    assert scene.glow.partners is None


def test_the_mouse_points_at_partners_that_are_held(scene) -> None:
    pointed: list[int] = []
    scene.glow.pointed.connect(pointed.append)
    scene.glow.enable()
    scene.glow.show(("source", 7), pin=True)
    for layer in tagged(scene.viewer, section="A", role=("spots", "image")):
        layer.visible = False
    move(scene, grid()[8])
    move(scene, grid()[8] + 1)
    move(scene, grid()[30])
    assert pointed == [1, -1]
    assert scene.glow.partners.spot == 7


def test_a_partner_that_is_selected_stands_out_and_is_brought_into_view(scene) -> None:
    scene.glow.enable()
    scene.glow.show(("source", 7), pin=True)
    scene.viewer.scene.camera.zoom = 50
    scene.viewer.scene.camera.center = (0, *grid()[7][::-1])
    scene.glow.select(2)
    assert lit(scene, "B")[20] == SELECTED
    np.testing.assert_allclose(scene.viewer.scene.camera.center[-2:], grid()[20][::-1])
    scene.glow.select(7)
    assert scene.glow.selected == 2


def test_it_keeps_still_while_something_else_takes_the_clicks(scene) -> None:
    scene.is_ours = ours
    scene.glow.enable()

    def placing(viewer: Any, event: Any) -> None:
        pass

    move(scene, grid()[7])
    assert scene.glow.partners is not None
    scene.viewer.mouse_drag_callbacks.append(placing)
    move(scene, grid()[8])
    assert scene.glow.partners is None
    click(scene, grid()[7])
    assert not scene.glow.pinned
    scene.viewer.mouse_drag_callbacks.remove(placing)
    regions = scene.viewer.add_shapes(name="region")
    scene.viewer.layers.selection.active = regions
    regions.mode = "add_polygon_lasso"
    move(scene, grid()[7])
    assert scene.glow.partners is None
    regions.mode = "pan_zoom"
    move(scene, grid()[7])
    assert scene.glow.partners is not None


def test_nothing_is_left_behind(scene) -> None:
    before = list(scene.viewer.layers)
    drags = list(scene.viewer.mouse_drag_callbacks)
    scene.glow.enable()
    scene.glow.show(("source", 7), pin=True)
    scene.viewer.layers.remove(tagged(scene.viewer, role="glow", section="A")[0])
    scene.glow.show(("source", 9), pin=True)
    assert len(tagged(scene.viewer, role="glow")) == 2
    scene.glow.disable()
    assert list(scene.viewer.layers) == before
    assert scene.viewer.mouse_move_callbacks == []
    assert list(scene.viewer.mouse_drag_callbacks) == drags


def test_the_camera_takes_in_what_it_is_shown() -> None:
    viewer = ViewerModel()
    look_at_points(viewer, np.array([[10.0, 20], [110, 40]]))
    assert viewer.scene.camera.center == (0, 30, 60)
    assert in_sight(viewer, (60, 30))
    assert not in_sight(viewer, (6000, 30))
    before = viewer.scene.camera.zoom
    look_at_points(viewer, np.zeros((0, 2)))
    assert viewer.scene.camera.zoom == before
    assert displayed.section_at(viewer, None, ("A",)) == ""
