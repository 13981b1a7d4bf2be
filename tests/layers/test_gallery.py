"""Sections beside each other while nothing registers them."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Points

from napari_stomics.core.results import Registration
from napari_stomics.core.transforms import Affine
from napari_stomics.data.study import Study
from napari_stomics.data.warp import store_registration
from napari_stomics.layers.compare import CompareController
from napari_stomics.layers.gallery import Gallery, frames, stride_and_gaps
from napari_stomics.layers.section import add_section
from napari_stomics.layers.tags import tagged
from tests.layers.studies import brightfield, section, to_um


@pytest.fixture
def study():
    from napari_stomics.data.build import ImageSource

    study = Study(section("A"))
    two = {
        "he": ImageSource([brightfield()], to_um()),
        "dapi": ImageSource([brightfield()], to_um()),
    }
    study.add(section("B", images=two))
    study.add(section("C"))
    return study


@pytest.fixture
def viewer(study):
    viewer = ViewerModel()
    for name in study.sections:
        add_section(viewer, study, name)
    return viewer


def register(study, source, target):
    store_registration(
        study, Registration(source, target, Affine.identity(), "affine", "landmarks")
    )


def cells(viewer):
    grid = viewer.canvas.grid
    found = {}
    for i, layer in enumerate(viewer.layers):
        if layer.visible:
            name = layer.metadata.get("napari_stomics", {}).get("section", "other")
            found.setdefault(name, set()).add(grid.position(i, viewer.layers))
    return found


def test_registered_sections_share_a_frame(study):
    assert frames(study) == [["A"], ["B"], ["C"]]
    register(study, "C", "A")
    assert frames(study) == [["A", "C"], ["B"]]
    register(study, "B", "C")
    assert frames(study) == [["A", "B", "C"]]


def test_each_group_has_a_view_of_its_own_whatever_is_added_moved_or_removed(viewer):
    gallery = Gallery(viewer)
    assert gallery.show([["A"], ["B"], ["C"]])
    wanted = {"A": {(0, 0)}, "B": {(0, 1)}, "C": {(1, 0)}}
    assert cells(viewer) == wanted
    viewer.add_layer(Points(np.zeros((1, 2)), name="mine"))
    assert cells(viewer) == {**wanted, "other": {(0, 0)}}
    viewer.layers.move(viewer.layers.index("C_he"), 0)
    assert {k: v for k, v in cells(viewer).items() if k != "other"} == wanted
    viewer.layers.remove(viewer.layers["B_spots"])
    viewer.layers.remove(viewer.layers["B_dapi"])
    assert {k: v for k, v in cells(viewer).items() if k != "other"} == wanted
    assert not gallery.show([["A"], ["B"], ["C"]])


def test_hidden_layers_cost_no_empty_places(viewer):
    gallery = Gallery(viewer)
    gallery.show([["A"], ["B"], ["C"]])
    wanted = cells(viewer)
    for i in range(12):
        result = Points(np.zeros((1, 2)), name=f"A_{i}", visible=False)
        result.metadata["napari_stomics"] = {"section": "A", "role": "result"}
        viewer.add_layer(result)
        assert cells(viewer) == wanted
    assert len(tagged(viewer, role="gap")) <= 3
    for i in (3, 11):
        viewer.layers[f"A_{i}"].visible = True
        assert cells(viewer) == wanted
    names = [q.name for q in viewer.layers if q.name.startswith("A_")]
    assert names.index("A_3") < names.index("A_11")
    for i in (3, 11):
        viewer.layers[f"A_{i}"].visible = False
    assert cells(viewer) == wanted
    assert len(tagged(viewer, role="gap")) <= 3
    gallery.close()
    assert not tagged(viewer, role="gap")
    viewer.layers["A_3"].visible = True
    assert not tagged(viewer, role="gap")
    assert not viewer.canvas.grid.enabled


def views(cells, stride, gaps):
    """Rows in which the visible layers of each group come to lie."""
    found, at = [], 0
    for cell, gap in zip(cells, gaps, strict=True):
        at += gap
        found.append({(at + i) // stride for i, visible in enumerate(cell) if visible})
        at += len(cell)
    return found


def test_the_fewest_empty_places_that_napari_needs():
    rng = np.random.default_rng(0)
    for _ in range(200):
        groups = [list(rng.random(rng.integers(1, 9)) < 0.5) for _ in range(rng.integers(2, 5))]
        stride, gaps = stride_and_gaps(groups)
        rows = [row for row in views(groups, stride, gaps) if row]
        assert all(len(row) == 1 for row in rows)
        assert [min(row) for row in rows] == sorted({min(row) for row in rows})
        longest = max(map(len, groups))
        assert sum(gaps) <= sum(longest - len(group) for group in groups)
    assert stride_and_gaps([[True], [True]]) == (1, [0, 0])
    assert stride_and_gaps([[True, True], [True], [True, True]]) == (2, [0, 0, 1])
    assert stride_and_gaps([[False] * 9 + [True], [True, False], [True]]) == (1, [0, 0, 0])
    assert stride_and_gaps([[False], [False]])[1] == [0, 0]
    assert stride_and_gaps([[True], [True]], former=1)[0] == 1


def test_groups_that_merge_share_a_view_and_one_group_ends_it(viewer):
    before = [q.name for q in viewer.layers]
    gallery = Gallery(viewer)
    gallery.show([["A"], ["B"], ["C"]])
    assert gallery.show([["A", "C"], ["B"]])
    assert cells(viewer)["A"] == cells(viewer)["C"] != cells(viewer)["B"]
    assert gallery.show([["A", "B", "C"]])
    assert not viewer.canvas.grid.enabled
    assert sorted(q.name for q in viewer.layers) == sorted(before)


def test_the_grid_button_ends_it_for_good(viewer):
    gallery = Gallery(viewer)
    gallery.show([["A"], ["B"]])
    viewer.canvas.grid.enabled = False
    assert gallery.dismissed
    assert gallery.groups == []
    assert not tagged(viewer, role="gap")
    viewer.layers.remove(viewer.layers["A_spots"])
    assert not viewer.canvas.grid.enabled


@pytest.mark.parametrize("shown", ["gallery", "comparison"])
def test_emptying_the_list_ends(viewer, shown):
    gallery = Gallery(viewer)
    if shown == "gallery":
        gallery.show([["A"], ["B"], ["C"]])
    else:
        comparison = CompareController(viewer, "B", "A")
        comparison.set("side by side")
    viewer.layers.clear()
    assert all(q.metadata["napari_stomics"]["section"] == "" for q in viewer.layers)
    if shown == "comparison":
        comparison.leave()
    assert not viewer.layers


def test_a_comparison_takes_the_grid_over_and_gives_it_back(viewer):
    comparison = CompareController(viewer, "B", "A")
    gallery = Gallery(viewer, lambda: comparison.mode != "normal")
    gallery.show([["A"], ["B"], ["C"]])
    before = cells(viewer)
    for mode in ("overlay", "checkerboard", "side by side"):
        comparison.set(mode)
        assert viewer.canvas.grid.enabled == (mode == "side by side")
    comparison.leave()
    gallery.resume()
    assert cells(viewer) == before
    comparison.set("overlay")
    gallery.show([["A", "B", "C"]])
    comparison.leave()
    gallery.resume()
    assert not viewer.canvas.grid.enabled
