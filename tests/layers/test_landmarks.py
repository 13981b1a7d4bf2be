"""Landmark layers and the session's landmarks stay in step, one action per gesture."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)

from napari_stomics.core.results import Registration
from napari_stomics.layers.landmarks import LandmarkLayers
from napari_stomics.layers.results import paint
from napari_stomics.layers.section import add_section
from napari_stomics.session.landmarks import Landmark, LandmarkModel
from tests.layers.studies import pair, turned


@pytest.fixture
def shown() -> LandmarkLayers:
    viewer = ViewerModel()
    study = pair()
    add_section(viewer, study, "A")
    add_section(viewer, study, "B")
    model = LandmarkModel()
    model.reset(
        [
            Landmark("L1", {"A": (150.0, 100.0), "B": (160.0, 110.0)}),
            Landmark("L2", {"A": (250.0, 200.0), "B": (260.0, 210.0)}),
        ]
    )
    layers = LandmarkLayers(viewer, model)
    layers.study = study  # type: ignore[attr-defined]
    return layers


def test_landmarks_lie_in_their_section_with_names_and_one_colour_a_pair(
    shown: LandmarkLayers,
) -> None:
    a, b = shown.layers["A"], shown.layers["B"]
    np.testing.assert_allclose(a.data, [[100, 150], [200, 250]])
    np.testing.assert_allclose(b.data, [[110, 160], [210, 260]])
    assert list(a.features["landmark"]) == ["L1", "L2"]
    assert list(a.text.values) == ["L1", "L2"]
    np.testing.assert_allclose(a.face_color, b.face_color)
    assert not np.allclose(a.face_color[0], a.face_color[1])


def test_a_click_in_one_section_then_in_the_other_makes_a_pair(shown: LandmarkLayers) -> None:
    model = shown.model
    shown.layers["A"].add([120.0, 130.0])
    assert model.positions("A")["L3"] == (130.0, 120.0)
    assert "L3" not in model.positions("B")
    shown.layers["B"].add([125.0, 135.0])
    assert model.positions("B")["L3"] == (135.0, 125.0)
    assert model.names == ["L1", "L2", "L3"]
    assert len(shown.layers["A"].data) == len(shown.layers["B"].data) == 3
    model.undo_stack.undo()
    assert len(shown.layers["B"].data) == 2
    assert len(shown.layers["A"].data) == 3
    model.undo_stack.undo()
    assert len(shown.layers["A"].data) == 2
    model.undo_stack.redo()
    np.testing.assert_allclose(shown.layers["A"].data[2], [120, 130])


def test_deleting_points_is_one_action(shown: LandmarkLayers) -> None:
    layer, model = shown.layers["A"], shown.model
    layer.selected_data = {0, 1}
    layer.remove_selected()
    assert model.positions("A") == {}
    assert set(model.positions("B")) == {"L1", "L2"}
    model.undo_stack.undo()
    assert set(model.positions("A")) == {"L1", "L2"}
    np.testing.assert_allclose(layer.data, [[100, 150], [200, 250]])
    assert model.undo_stack.undo() == ""


class Wrapped:
    """An event as napari hands it to a drag: what it wraps changes while the drag lasts."""

    def __init__(self, event: Any) -> None:
        self.__wrapped__ = event

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)


def drag(viewer: ViewerModel, layer: Any, path: list[tuple[float, float]]) -> None:
    """Press on the first place (y, x in the world), move along the others, release."""

    def event(kind: str, position: tuple[float, float]) -> Any:
        return Wrapped(
            SimpleNamespace(
                type=kind,
                position=position,
                pos=np.array(position),
                modifiers=[],
                view_direction=None,
                up_direction=None,
                dims_displayed=[0, 1],
                dims_point=[0, 0],
                handled=False,
                is_dragging=kind == "mouse_move",
                button=1,
            )
        )

    mouse_press_callbacks(layer, event("mouse_press", path[0]))
    for position in path[1:]:
        mouse_move_callbacks(layer, event("mouse_move", position))
    mouse_release_callbacks(layer, event("mouse_release", path[-1]))


@pytest.mark.parametrize("mode_first", [True, False])
def test_a_drag_is_followed_live_and_undone_in_one_step(
    shown: LandmarkLayers, mode_first: bool
) -> None:
    layer, model = shown.layers["A"], shown.model
    if not mode_first:
        layer.mode = "add"
    layer.mode = "select"
    seen: list[tuple[float, float]] = []
    model.changed.connect(lambda: seen.append(model.positions("A")["L1"]))
    drag(shown.viewer, layer, [(100, 150), (105, 151), (110, 152), (120, 155)])
    assert model.positions("A")["L1"] == pytest.approx((155.0, 120.0))
    assert len(set(seen)) >= 3
    np.testing.assert_allclose(layer.data[0], [120, 155])
    model.undo_stack.undo()
    np.testing.assert_allclose(layer.data[0], [100, 150])
    assert model.undo_stack.undo() == ""


def test_a_drag_on_a_moved_section_is_in_the_sections_own_micrometres(
    shown: LandmarkLayers,
) -> None:
    transform = turned(30)
    result = Registration("A", "B", transform, "rigid", "landmarks")
    paint(shown.viewer, shown.study, result, "reg")  # type: ignore[attr-defined]
    layer = shown.layers["A"]
    layer.mode = "select"
    start, end = transform.apply(np.array([[150.0, 100.0], [170.0, 90.0]]))[:, ::-1]
    np.testing.assert_allclose(layer.data_to_world(layer.data[0]), start)
    drag(shown.viewer, layer, [tuple(start), tuple(end)])
    assert shown.model.positions("A")["L1"] == pytest.approx((170.0, 90.0))


def test_changes_of_the_model_show_without_an_echo(shown: LandmarkLayers) -> None:
    model = shown.model
    count = []
    model.changed.connect(lambda: count.append(1))
    model.place("L1", "A", (151.0, 101.0))
    model.rename("L2", "tip")
    model.add("new", {"B": (1.0, 2.0)})
    assert len(count) == 3
    np.testing.assert_allclose(shown.layers["A"].data[0], [101, 151])
    assert list(shown.layers["B"].features["landmark"]) == ["L1", "tip", "new"]
    model.remove(["L1"])
    assert list(shown.layers["A"].features["landmark"]) == ["tip"]


def test_selection_goes_both_ways(shown: LandmarkLayers) -> None:
    a, b, model = shown.layers["A"], shown.layers["B"], shown.model
    shown.viewer.layers.selection = {a}
    a.selected_data = {1}
    assert model.selected == "L2"
    assert set(b.selected_data) == {1}
    model.selected = "L1"
    assert set(a.selected_data) == {0}
    np.testing.assert_allclose(a.border_color[0], [1, 1, 1, 1])
    assert not np.allclose(a.border_color[1], [1, 1, 1, 1])


def test_outliers_look_different(shown: LandmarkLayers) -> None:
    shown.set_outliers(["L2"])
    symbols = [str(s.value) for s in shown.layers["A"].symbol]
    assert symbols == ["disc", "diamond"]
    shown.set_outliers([])
    assert [str(s.value) for s in shown.layers["A"].symbol] == ["disc", "disc"]


def test_expected_places_are_shown_and_taken_away(shown: LandmarkLayers) -> None:
    shown.show_predictions("B", {"L1": (5.0, 6.0)})
    ghost = shown.ghosts["B"]
    np.testing.assert_allclose(ghost.data, [[6, 5]])
    assert ghost in shown.viewer.layers
    shown.show_predictions("B", {})
    assert ghost not in shown.viewer.layers


def test_a_layer_that_the_user_deletes_leaves_the_landmarks(shown: LandmarkLayers) -> None:
    shown.viewer.layers.remove(shown.layers["A"])
    assert set(shown.model.positions("A")) == {"L1", "L2"}
    shown.model.place("L1", "A", (1.0, 2.0))
    shown.set_sections(["A", "B"])
    np.testing.assert_allclose(shown.layers["A"].data[0], [2, 1])
    shown.close()
    assert not [layer for layer in shown.viewer.layers if "Landmarks" in layer.name]
    shown.model.add(positions={"A": (3.0, 4.0)})


def test_landmarks_keep_their_size_on_screen(shown: LandmarkLayers) -> None:
    layer, camera = shown.layers["A"], shown.viewer.scene.camera
    camera.zoom = 2.0
    before = np.array(layer.size)
    camera.zoom = 8.0
    np.testing.assert_allclose(layer.size, before / 4)
    layer.add([50.0, 60.0])
    np.testing.assert_allclose(layer.size, before[0] / 4)
