"""A running alignment on the canvas: everything moves with it, and goes back to where it was."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Points

from napari_stomics.core.plans import AlignmentState
from napari_stomics.core.transforms import Affine, ThinPlateSpline
from napari_stomics.layers.live_alignment import MOST_ARROWS, LiveAlignment, _subset, fitted
from napari_stomics.layers.results import move_section
from napari_stomics.layers.section import add_section, find_section
from napari_stomics.layers.tags import placement, section_placement, tag, tagged
from tests.layers.studies import grid, pair, turned


@pytest.fixture
def study():
    return pair()


@pytest.fixture
def viewer(study):
    viewer = ViewerModel()
    for name in ("A", "B"):
        add_section(viewer, study, name)
    return viewer


@pytest.fixture
def live(viewer, study):
    return LiveAlignment(viewer, study.section("B"), study.section("A"))


def world(layer):
    """Where the points of a layer are drawn, (x, y)."""
    data = np.asarray(layer.data)
    at = np.column_stack([data, np.ones(len(data))]) @ layer.affine.affine_matrix.T
    return at[:, :2][:, ::-1]


def state_of(viewer):
    """All that a running alignment may change, by layer."""
    return {
        layer.name: (
            id(layer.data),
            np.array(layer.data).copy() if isinstance(layer, Points) else None,
            layer.affine.affine_matrix.copy(),
            layer.opacity,
            {k: v for k, v in tag(layer).items() if v is not None and k != "unwarped"},
        )
        for layer in viewer.layers
    }


def assert_same(before, after):
    assert before.keys() == after.keys()
    for name, (ident, data, affine, opacity, entry) in before.items():
        now = after[name]
        assert now[0] == ident, name
        if data is not None:
            np.testing.assert_array_equal(now[1], data)
        np.testing.assert_array_equal(now[2], affine)
        assert (now[3], now[4]) == (opacity, entry), name


def state(positions, barycentres=None, iteration=1):
    return AlignmentState("solve", iteration, positions, barycentres)


def test_spots_and_image_follow_and_go_back(viewer, study, live):
    layers = find_section(viewer, "B")
    live.close()
    before = state_of(viewer)
    live = LiveAlignment(viewer, study.section("B"), study.section("A"))
    pose = turned()
    positions = pose.apply(grid())
    live.show(state(positions))
    np.testing.assert_allclose(world(layers.spots), positions)
    np.testing.assert_allclose(
        layers.images[0].affine.affine_matrix[:2],
        (pose.matrix @ to_um_matrix(layers.images[0]))[:2][[1, 0]][:, [1, 0, 2]],
    )
    assert layers.images[0].opacity < 1
    np.testing.assert_allclose(placement(layers.spots).matrix, pose.matrix, atol=1e-9)
    assert not live.arrows.visible
    # An uneven state: each spot goes its own way, the image goes with them all.
    rng = np.random.default_rng(0)
    uneven = positions + rng.normal(0, 5, positions.shape)
    live.show(state(uneven, uneven + 3))
    np.testing.assert_allclose(world(layers.spots), uneven)
    live.close()
    assert_same(before, state_of(viewer))
    live.close()
    live.show(state(positions))  # too late to mean anything
    assert_same(before, state_of(viewer))


def to_um_matrix(layer):
    return np.array(tag(layer)["own"])


def test_arrows_lead_from_spots_to_barycentres_and_are_never_made_anew(viewer, live):
    arrows, added = live.arrows, []
    live.prepare()
    viewer.layers.events.inserted.connect(lambda event: added.append(event.value))
    viewer.layers.events.removed.connect(lambda event: added.append(event.value))
    positions = grid()
    for shift in (5.0, 9.0):
        barycentres = positions + np.array([shift, 0.0])
        barycentres[3] = np.nan
        live.show(state(positions, barycentres))
        assert live.arrows is arrows
        assert arrows.visible
        lengths = arrows.features["length_um"].to_numpy()
        np.testing.assert_allclose(np.delete(lengths, 3), shift)
        assert lengths[3] == 0
        np.testing.assert_allclose(arrows.data[0], [positions[0][::-1], [0.0, shift]])
        np.testing.assert_allclose(arrows.data[3, 1], 0)
    assert added == []
    colours = arrows.edge_color
    assert not np.allclose(colours[0], colours[3])  # long and none
    live.close()
    assert arrows not in viewer.layers


def test_hidden_layers_follow_as_a_whole_until_they_are_shown(viewer, live):
    spots, image = find_section(viewer, "B").spots, find_section(viewer, "B").images[0]
    spots.visible = image.visible = False
    before, data = image.affine.affine_matrix.copy(), spots.data
    uneven = grid() + 50 + np.random.default_rng(0).normal(0, 5, grid().shape)
    live.show(state(uneven))
    assert spots.data is data
    np.testing.assert_allclose(world(spots).mean(axis=0), uneven.mean(axis=0))
    np.testing.assert_allclose(section_placement(viewer, "B").apply(grid()), world(spots))
    spots.visible = True
    live.show(state(uneven))
    np.testing.assert_allclose(world(spots), uneven)
    spots.visible = False
    live.close()
    np.testing.assert_array_equal(image.affine.affine_matrix, before)
    np.testing.assert_array_equal(world(spots), grid())


def test_landmarks_that_the_user_moves_meanwhile_stay_where_they_are_put(viewer, study, live):
    from napari_stomics.layers.landmarks import LandmarkLayers
    from napari_stomics.session.landmarks import LandmarkModel

    marks = LandmarkModel()
    marks.add("L1", {"B": (150.0, 90.0)})
    shown = LandmarkLayers(viewer, marks, ("B",))
    live.show(state(grid() + 20))
    np.testing.assert_allclose(world(shown.layers["B"]), [[170.0, 110.0]])
    marks.place("L1", "B", (160.0, 95.0))
    live.show(state(grid() + 40))
    np.testing.assert_allclose(world(shown.layers["B"]), [[200.0, 135.0]])
    live.close()
    np.testing.assert_allclose(world(shown.layers["B"]), [[160.0, 95.0]])
    assert marks.positions("B") == {"L1": (160.0, 95.0)}
    shown.close()


def test_a_section_that_is_registered_with_a_bend_goes_back_to_its_bend(viewer, study):
    rng = np.random.default_rng(1)
    spline = ThinPlateSpline.fit(grid()[::5], grid()[::5] + rng.normal(0, 6, (8, 2)))
    move_section(viewer, "B", spline, "A")
    before = state_of(viewer)
    live = LiveAlignment(viewer, study.section("B"), study.section("A"))
    live.show(state(grid() + 7, grid()))
    np.testing.assert_allclose(world(find_section(viewer, "B").spots), grid() + 7)
    live.close()
    assert_same(before, state_of(viewer))
    move_section(viewer, "B", Affine.identity(), "A")
    np.testing.assert_allclose(world(find_section(viewer, "B").spots), grid())


def test_the_target_frame_may_lie_elsewhere(viewer, study):
    placed = turned(90.0, (500.0, 0.0))
    move_section(viewer, "A", placed, "A")
    live = LiveAlignment(viewer, study.section("B"), study.section("A"))
    live.show(state(grid() + 10, grid()))
    np.testing.assert_allclose(world(find_section(viewer, "B").spots), placed.apply(grid() + 10))
    np.testing.assert_allclose(world_of_arrows(live), placed.apply(grid() + 10))
    live.close()


def world_of_arrows(live):
    start = live.arrows.data[:, 0]
    at = np.column_stack([start, np.ones(len(start))]) @ live.arrows.affine.affine_matrix.T
    return at[:, :2][:, ::-1]


def test_what_moved_the_section_meanwhile_wins(viewer, live):
    live.show(state(grid() + 10, grid()))
    move_section(viewer, "B", turned(), "A")
    live.close()
    np.testing.assert_allclose(section_placement(viewer, "B").matrix, turned().matrix)
    np.testing.assert_allclose(
        world(find_section(viewer, "B").spots), turned().apply(grid()), atol=1e-9
    )


def test_a_section_moved_in_between_goes_back_to_where_it_was_moved(viewer, live):
    live.show(state(grid() + 10, grid()))
    move_section(viewer, "B", turned(), "A")
    live.show(state(grid() + 30, grid()))
    spots = find_section(viewer, "B").spots
    np.testing.assert_allclose(world(spots), grid() + 30)
    live.close()
    np.testing.assert_allclose(section_placement(viewer, "B").matrix, turned().matrix)
    np.testing.assert_allclose(world(spots), turned().apply(grid()), atol=1e-9)
    np.testing.assert_array_equal(spots.data[:, ::-1], grid())
    assert find_section(viewer, "B").images[0].opacity == 1.0


def test_a_layer_added_meanwhile_belongs_where_the_section_came_from(viewer, live):
    from napari_stomics.layers.tags import TAG, new_tag

    live.show(state(grid() + 25, grid()))
    placed = section_placement(viewer, "B")
    layer = viewer.add_points(
        grid()[:3, ::-1],
        units=("um", "um"),
        affine=np.array([[1, 0, 25.0], [0, 1, 25.0], [0, 0, 1]]),
        metadata={TAG: new_tag("B", "result", None, placed)},
    )
    live.show(state(grid() + 60, grid()))
    np.testing.assert_allclose(world(layer), grid()[:3] + 60)
    live.close()
    np.testing.assert_allclose(world(layer), grid()[:3], atol=1e-9)
    np.testing.assert_allclose(placement(layer).matrix, np.eye(3), atol=1e-9)


def test_layers_that_the_user_removes_do_no_harm(viewer, live):
    live.show(state(grid() + 10, grid()))
    viewer.layers.remove(live.arrows)
    viewer.layers.remove(find_section(viewer, "B").images[0])
    live.show(state(grid() + 20, grid()))
    live.close()
    np.testing.assert_allclose(world(find_section(viewer, "B").spots), grid())
    assert tagged(viewer, role="live") == []


def test_a_state_of_other_spots_is_ignored(viewer, live):
    before = state_of(viewer)
    live.show(state(grid()[:5], grid()[:5]))
    assert_same(before, state_of(viewer))


@pytest.mark.parametrize("map_", ["none", "linear", "bend"])
def test_taken_over_nothing_moves_yet(map_, viewer, study):
    if map_ == "linear":
        move_section(viewer, "B", turned(), "A")
    elif map_ == "bend":
        rng = np.random.default_rng(1)
        corners = grid()[::5]
        moved = turned().apply(corners) + rng.normal(0, 6, corners.shape)
        move_section(viewer, "B", ThinPlateSpline.fit(corners, moved), "A")
    spots = find_section(viewer, "B").spots
    before, places = state_of(viewer), world(spots)
    live = LiveAlignment(viewer, study.section("B"), study.section("A"))
    live.prepare()
    np.testing.assert_allclose(world(spots), places, atol=1e-9)
    live.show(state(grid(), grid()))
    np.testing.assert_allclose(world(spots), grid())
    live.close()
    assert_same(before, state_of(viewer))


def test_arrows_of_a_former_plan_are_hidden_meanwhile(viewer, study):
    from napari_stomics.layers.tags import TAG, new_tag

    def arrows(visible):
        entry = new_tag("A", "result", None, None, result="fgw", part="arrows")
        return viewer.add_vectors(np.zeros((2, 2, 2)), visible=visible, metadata={TAG: entry})

    shown, hidden = arrows(True), arrows(False)
    live = LiveAlignment(viewer, study.section("B"), study.section("A"))
    live.show(state(grid(), grid() + 1))
    assert (shown.visible, hidden.visible) == (False, False)
    live.close()
    assert (shown.visible, hidden.visible) == (True, False)


def test_a_small_step_of_the_pose_does_not_touch_the_image(viewer, live):
    image = find_section(viewer, "B").images[0]
    live.show(state(grid() + 10))
    moves = []
    image.events.affine.connect(lambda: moves.append(1))
    live.show(state(grid() + 10.1))
    assert moves == []
    live.show(state(grid() + 15))
    assert moves == [1]


def test_values_painted_on_the_spots_follow_them(viewer, study, live):
    from napari_stomics.layers.tags import TAG, new_tag

    entry = new_tag("B", "result", None, section_placement(viewer, "B"))
    painted = viewer.add_points(grid()[:, ::-1], metadata={TAG: entry}, units=("um", "um"))
    fewer = viewer.add_points(grid()[:7, ::-1], metadata={TAG: dict(entry)}, units=("um", "um"))
    target = grid() + np.random.default_rng(0).normal(0, 9, grid().shape)
    live.show(state(target))
    np.testing.assert_allclose(world(painted), target)
    np.testing.assert_allclose(world(fewer), fitted(grid(), target).apply(grid()[:7]))
    live.close()
    np.testing.assert_allclose(world(painted), grid())
    np.testing.assert_allclose(world(fewer), grid()[:7])


def test_the_selection_stays_with_the_user(viewer, study):
    chosen = find_section(viewer, "A").images[0]
    viewer.layers.selection = {chosen}
    live = LiveAlignment(viewer, study.section("B"), study.section("A"))
    live.show(state(grid(), grid() + 1))
    assert set(viewer.layers.selection) == {chosen}
    live.close()
    assert set(viewer.layers.selection) == {chosen}


@pytest.mark.parametrize("degrees", [0.0, 75.0])
def test_fitted_finds_the_map(degrees):
    pose = turned(degrees)
    np.testing.assert_allclose(fitted(grid(), pose.apply(grid())).matrix, pose.matrix, atol=1e-9)


@pytest.mark.parametrize(
    "points",
    [np.zeros((0, 2)), np.array([[1.0, 2.0]]), np.array([[0.0, 0], [1, 1], [2, 2]])],
)
def test_fitted_is_a_shift_where_points_do_not_tell_more(points):
    moved = points + np.array([3.0, -1.0])
    found = fitted(points, moved)
    np.testing.assert_allclose(found.matrix[:2, :2], np.eye(2))
    np.testing.assert_allclose(found.apply(points), moved)


def test_fitted_leaves_out_what_is_not_known():
    moved = turned().apply(grid())
    moved[4] = np.nan
    np.testing.assert_allclose(fitted(grid(), moved).matrix, turned().matrix, atol=1e-9)


def test_taken_over_piece_by_piece_each_does_a_part(viewer, live):
    seen = [(live.arrows in viewer.layers, live._moved) for _ in live.preparing()]
    assert seen[0] == (True, False)  # the new layer first, and nothing else in that piece
    assert live._moved
    pieces = live.showing(state(grid() + 4, grid() + 9))
    next(pieces)
    np.testing.assert_allclose(world(find_section(viewer, "B").spots), grid() + 4)
    assert not live.arrows.visible  # the first arrows have a piece of their own
    live.close()
    assert list(pieces) == []  # closed in between, it does no more
    assert not live.arrows.visible
    np.testing.assert_allclose(world(find_section(viewer, "B").spots), grid())


def test_many_spots_have_a_fixed_subset_of_arrows():
    rows = _subset(3 * MOST_ARROWS, MOST_ARROWS)
    assert len(rows) == MOST_ARROWS
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, _subset(3 * MOST_ARROWS, MOST_ARROWS))
