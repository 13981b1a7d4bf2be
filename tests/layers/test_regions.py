"""Painted regions on the canvas, and places of the canvas read back into a section."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_stomics.core.transforms import ThinPlateSpline
from napari_stomics.data.spot_pairs import within
from napari_stomics.layers.regions import RegionLayers, round_spot, section_under, to_section
from napari_stomics.layers.results import move_section
from napari_stomics.layers.section import add_section
from napari_stomics.layers.tags import tagged
from napari_stomics.session.constraints import ConstraintModel
from tests.layers.studies import grid, pair, turned

BOX = ((120.0, 60.0), (200.0, 60.0), (200.0, 100.0), (120.0, 100.0))


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
def model():
    return ConstraintModel()


def test_layers_follow_the_model(viewer, model):
    layers = RegionLayers(viewer, model)
    model.changed.connect(lambda: layers.show("B", "A"))
    model.add("match", {"A": [BOX], "B": [BOX, BOX]})
    model.add("forbid", {"A": [BOX], "B": [BOX]})
    a, b = (layers.layers[name] for name in "AB")
    assert (len(a.data), len(b.data)) == (2, 3)
    np.testing.assert_allclose(a.data[0], np.array(BOX)[:, ::-1])
    assert list(b.features["name"]) == ["Region 1", "Region 1", "Forbidden 1"]
    np.testing.assert_allclose(a.face_color[0], b.face_color[1])  # one colour in both
    np.testing.assert_allclose(a.edge_color[1][:3], [1, 0x17 / 255, 0x44 / 255])
    model.remove(["Region 1"])
    assert layers.layers["B"] is b
    assert (len(a.data), len(b.data)) == (1, 1)
    viewer.layers.remove(b)
    model.add("match", {"A": [BOX], "B": [BOX]})
    assert len(layers.layers["B"].data) == 2
    model.remove(model.names)
    assert tagged(viewer, role="regions") == []
    layers.close()


def test_regions_move_with_their_section(viewer, model):
    layers = RegionLayers(viewer, model)
    model.add("match", {"A": [BOX], "B": [BOX]})
    layers.show("B", "A")
    move_section(viewer, "B", turned(), "A")
    layer = layers.layers["B"]
    corner = layer.affine.affine_matrix @ [*layer.data[0][0], 1]
    np.testing.assert_allclose(corner[1::-1], turned().apply(np.array(BOX[:1]))[0])
    layers.show("A", "")
    assert tagged(viewer, role="regions") == []


def test_places_are_read_where_the_section_lies(viewer, study):
    move_section(viewer, "B", turned(), "A")
    places = turned().apply(np.array(BOX))
    np.testing.assert_allclose(to_section(viewer, study.section("B"), places), BOX)
    np.testing.assert_allclose(to_section(viewer, study.section("A"), places), places)


def test_places_are_read_through_a_map_that_bends(viewer, study):
    rng = np.random.default_rng(0)
    corners = grid()[[0, 5, 14, 21, 30, 35]]
    spline = ThinPlateSpline.fit(corners, turned().apply(corners) + rng.normal(0, 8, (6, 2)))
    move_section(viewer, "B", spline, "A")
    there = grid() + 7.0
    back = to_section(viewer, study.section("B"), spline.apply(there))
    gaps = np.linalg.norm(back - there, axis=1)
    assert np.median(gaps) < 1.0  # of 40 um between spots
    linear = spline.linear_part().inverse().apply(spline.apply(there))
    assert (gaps < 0.5 * np.linalg.norm(linear - there, axis=1).max()).all()


def test_an_outline_round_a_spot_holds_that_spot_alone(study):
    section = study.section("A")
    ring = round_spot(section, grid()[8] + np.array([11.0, -9.0]))
    assert np.flatnonzero(within(grid(), [list(ring)])).tolist() == [8]


def test_in_one_view_nobody_knows_which_section_is_meant(viewer):
    assert section_under(viewer, object(), ("B", "A")) == ""


def test_what_is_drawn_is_shown_and_taken_away(viewer, model):
    layers = RegionLayers(viewer, model)
    chosen = viewer.layers[0]
    viewer.layers.selection = {chosen}
    for n in (2, 5, 9):
        layers.draw([np.arange(2.0 * n).reshape(n, 2)], "B")
        assert len(tagged(viewer, role="drawing")) == 1
        assert len(tagged(viewer, role="drawing")[0].data[0]) == n
    assert set(viewer.layers.selection) == {chosen}
    viewer.layers.remove(tagged(viewer, role="drawing")[0])
    layers.draw([np.zeros((3, 2)) + np.arange(3)[:, None]], "B")
    assert layers.is_drawing
    layers.draw([np.zeros((1, 2))])
    assert tagged(viewer, role="drawing") == []
