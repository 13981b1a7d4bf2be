import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.session.landmarks import Landmark, LandmarkModel


@pytest.fixture
def model() -> LandmarkModel:
    model = LandmarkModel()
    for i in range(3):
        model.add(positions={"a": (i, 0.0), "b": (0.0, i)})
    return model


def test_new_landmarks_get_free_names_and_are_selected(model):
    assert model.names == ["L1", "L2", "L3"]
    model.remove(["L2"])
    assert model.add() == "L4"
    assert model.selected == "L4"


def test_pairs_hold_only_what_is_placed_in_both(model):
    model.add("half", {"a": (9.0, 9.0)})
    pairs = model.pairs("a", "b")
    assert pairs.names == ("L1", "L2", "L3")
    np.testing.assert_array_equal(pairs.source_points, [[0, 0], [1, 0], [2, 0]])
    np.testing.assert_array_equal(pairs.target_points, [[0, 0], [0, 1], [0, 2]])
    assert model.incomplete("a", "b") == "half"


def test_every_action_is_undone_and_done_again(model):
    states = [model.landmarks]
    model.place("L1", "a", (5.0, 5.0))
    states.append(model.landmarks)
    model.rename("L2", "hilus")
    states.append(model.landmarks)
    model.remove(["L3"])
    states.append(model.landmarks)
    model.unplace("hilus", "b")
    states.append(model.landmarks)
    model.extend([Landmark("new", {"a": (1.0, 1.0)})])
    states.append(model.landmarks)
    for state in reversed(states[:-1]):
        model.undo_stack.undo()
        assert model.landmarks == state
    for state in states[1:]:
        model.undo_stack.redo()
        assert model.landmarks == state


def test_a_drag_is_one_action_and_announces_every_move(model):
    start, seen = model.landmarks, []
    model.changed.connect(lambda: seen.append(model.positions("a")["L1"]))
    model.begin_drag()
    for x in (1.0, 2.0, 3.0):
        model.place("L1", "a", (x, 0.0))
    model.end_drag()
    assert seen == [(1.0, 0.0), (2.0, 0.0), (3.0, 0.0)]
    model.undo_stack.undo()
    assert model.landmarks == start


def test_a_drag_that_moved_nothing_leaves_nothing_to_undo(model):
    text = model.undo_stack.undo_text
    model.begin_drag()
    model.end_drag()
    assert model.undo_stack.undo_text == text


@pytest.mark.parametrize("name", ["", "  ", "L2"])
def test_a_name_that_is_empty_or_taken_is_refused_and_nothing_changes(model, name):
    before = model.landmarks
    with pytest.raises(UserError):
        model.rename("L1", name)
    assert model.landmarks == before


@pytest.mark.parametrize("position", [(np.nan, 0.0), (0.0, np.inf)])
def test_positions_that_are_not_finite_are_refused(model, position):
    before = model.landmarks
    with pytest.raises(UserError):
        model.place("L1", "a", position)
    assert model.landmarks == before


def test_loading_adds_the_positions_that_are_missing(model):
    model.add("half", {"a": (9.0, 9.0)})
    model.extend([Landmark("half", {"b": (8.0, 8.0)}), Landmark("more", {"a": (7.0, 7.0)})])
    assert model.positions("b")["half"] == (8.0, 8.0)
    assert model.positions("a")["half"] == (9.0, 9.0)
    model.undo_stack.undo()
    assert "more" not in model.names
    assert "half" not in model.positions("b")


def test_neighbours_go_round_and_the_nearest_is_found(model):
    model.selected = "L3"
    assert model.neighbour(1) == "L1"
    assert model.neighbour(-1) == "L2"
    assert model.nearest("a", (1.8, 0.1)) == "L3"
    assert model.nearest("nowhere", (0.0, 0.0)) == ""


def test_a_deleted_landmark_is_no_longer_selected(model):
    model.selected = "L2"
    model.remove(["L2"])
    assert model.selected == ""
