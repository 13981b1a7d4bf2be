"""A stack in three dimensions: where things lie, what it looks like, and that nothing is left."""

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_stomics.core.errors import UserError
from napari_stomics.core.stacks import CentreSlice, Stack
from napari_stomics.core.transforms import Affine
from napari_stomics.data.study import Study
from napari_stomics.layers.colour import colour_by
from napari_stomics.layers.results import paint, unpaint
from napari_stomics.layers.section import add_section, find_section
from napari_stomics.layers.stack3d import (
    RAISED,
    heights_of,
    leave_stack,
    show_stack,
    stack_view,
)
from napari_stomics.layers.tags import tag, tagged
from tests.layers.studies import ORIGIN, PIXEL, grid, section, turned

NAMES = ("A", "B", "C")


@pytest.fixture
def study() -> Study:
    study = Study(section("A"))
    for name in NAMES[1:]:
        study.add(section(name))
    return study


@pytest.fixture
def viewer(study: Study) -> ViewerModel:
    viewer = ViewerModel()
    for name in NAMES:
        add_section(viewer, study, name)
    return viewer


def stack() -> Stack:
    return Stack(
        reference="A",
        sections=NAMES,
        heights=np.full(3, np.nan),
        transforms=(Affine.identity(), turned(), turned(-20.0)),
        edges=(),
        loops=np.zeros(0),
        loop_names=(),
        drift=np.zeros(3),
        uncertainty=np.zeros(3),
    )


def state(viewer: ViewerModel) -> Any:
    camera = viewer.scene.camera
    return (
        [
            (q.name, bool(q.visible), np.asarray(q.affine.affine_matrix).tolist())
            for q in viewer.layers
        ],
        [getattr(camera, n) for n in ("center", "zoom", "angles", "perspective")],
        viewer.dims.ndisplay,
        viewer.dims.ndim,
        viewer.dims.order,
        viewer.canvas.grid.enabled,
        [q.name for q in viewer.layers.selection],
    )


def raised(viewer: ViewerModel, name: str, kind: str) -> Any:
    return next(
        q for q in viewer.layers
        if q.metadata.get(RAISED) == name and type(q).__name__ == kind
    )  # fmt: skip


def test_painting_a_stack_moves_its_sections_and_back(viewer: Any, study: Study) -> None:
    paint(viewer, study, stack(), "stack")
    for name, transform in (("B", turned()), ("C", turned(-20.0))):
        spots = find_section(viewer, name).spots
        world = np.array([spots.data_to_world(p) for p in spots.data])[:, ::-1]
        np.testing.assert_allclose(world, transform.apply(grid()), atol=1e-6)
    unpaint(viewer, study, stack(), "stack")
    spots = find_section(viewer, "B").spots
    world = np.array([spots.data_to_world(p) for p in spots.data])[:, ::-1]
    np.testing.assert_allclose(world, grid(), atol=1e-6)


def test_spots_rise_to_their_height_in_their_place_and_colour(viewer: Any, study: Study) -> None:
    paint(viewer, study, stack(), "stack")
    colour_by(find_section(viewer, "B").spots, study, "B", "layer")
    show_stack(viewer, study, NAMES, 50.0)
    points = raised(viewer, "B", "Points")
    np.testing.assert_allclose(points.data[:, 0], -50.0)
    np.testing.assert_allclose(points.data[:, :0:-1], turned().apply(grid()), atol=1e-6)
    np.testing.assert_allclose(points.face_color, find_section(viewer, "B").spots.face_color)
    assert viewer.dims.ndisplay == 3
    assert not any(q.visible for q in tagged(viewer))


def test_images_rise_with_their_corners_where_they_were(viewer: Any, study: Study) -> None:
    show_stack(viewer, study, NAMES, 50.0)
    sheet = raised(viewer, "C", "Surface")
    low = np.array(ORIGIN[::-1])
    np.testing.assert_allclose(sheet.data[0][:, 0], -100.0)
    np.testing.assert_allclose(sheet.data[0][:, 1:].min(axis=0), low)
    np.testing.assert_allclose(sheet.data[0][:, 1:].max(axis=0), low + PIXEL * np.array([80, 90]))


def test_leaving_restores_everything(viewer: Any, study: Study) -> None:
    paint(viewer, study, stack(), "stack")
    find_section(viewer, "A").images[0].visible = False
    viewer.scene.camera.zoom = 3.3
    viewer.layers.selection = {find_section(viewer, "B").spots}
    before = state(viewer)
    show_stack(viewer, study, NAMES, 50.0)
    assert stack_view(viewer) is not None
    leave_stack(viewer)
    assert state(viewer) == before
    assert stack_view(viewer) is None


def test_what_is_hidden_is_not_raised(viewer: Any, study: Study) -> None:
    find_section(viewer, "A").images[0].visible = False
    show_stack(viewer, study, NAMES, 50.0)
    kinds = [type(q).__name__ for q in viewer.layers if q.metadata.get(RAISED) == "A"]
    assert kinds == ["Points"]


def test_nothing_visible_is_refused_and_changes_nothing(viewer: Any, study: Study) -> None:
    for layer in viewer.layers:
        layer.visible = False
    before = state(viewer)
    with pytest.raises(UserError, match="visible"):
        show_stack(viewer, study, NAMES, 50.0)
    assert state(viewer) == before


def test_heights_come_from_the_record_or_from_the_spacing(study: Study) -> None:
    assert heights_of(study, NAMES, width=500.0) == {"A": 0.0, "B": 150.0, "C": 300.0}
    for name, z in zip(NAMES, (0.0, 10.0, 40.0), strict=True):
        study.record.sections[name].z_um = z
    assert heights_of(study, NAMES) == {"A": 0.0, "B": 10.0, "C": 40.0}
    assert heights_of(study, NAMES, 70.0) == {"A": 0.0, "B": 70.0, "C": 140.0}
    with pytest.raises(UserError, match="positive"):
        heights_of(study, NAMES, 0.0)


def test_other_heights_move_the_copies(viewer: Any, study: Study) -> None:
    view = show_stack(viewer, study, NAMES, 50.0)
    view.set_heights({"B": 75.0})
    np.testing.assert_allclose(raised(viewer, "B", "Points").data[:, 0], -75.0)
    np.testing.assert_allclose(raised(viewer, "B", "Surface").data[0][:, 0], -75.0)
    np.testing.assert_allclose(raised(viewer, "C", "Points").data[:, 0], -100.0)


def test_the_view_ends_when_its_sections_go(viewer: Any, study: Study) -> None:
    show_stack(viewer, study, NAMES, 50.0)
    for layer in list(tagged(viewer)):
        viewer.layers.remove(layer)
    assert len(viewer.layers) == 0
    assert viewer.dims.ndisplay == 2


def test_a_consensus_shows_its_factors(viewer: Any, study: Study) -> None:
    n = len(grid())
    rng = np.random.default_rng(0)
    result = CentreSlice(
        section="A",
        sections=NAMES,
        ids=study.section("A").ids,
        features=np.array(["Penk", "Spen"], object),
        factors=rng.random((n, 4)),
        loadings=rng.random((4, 2)),
        weights=np.full(3, 1 / 3),
        mass=rng.random((n, 3)),
        entropy=rng.random((n, 3)),
        objective=np.array([2.0, 1.0]),
        label_accuracy=np.full(3, np.nan),
    )
    layers = {tag(q)["part"]: q for q in paint(viewer, study, result, "centre")}
    assert set(layers) == {"factors", "entropy", "unmatched"}
    assert layers["factors"].visible
    assert not layers["entropy"].visible
    colours = np.asarray(layers["factors"].face_color)
    assert len(np.unique(colours.round(3), axis=0)) > n // 2
    np.testing.assert_allclose(layers["unmatched"].features["unmatched"], 1 - result.mass.mean(1))


@pytest.mark.gui
def test_the_picture_shows_every_section_above_the_other(
    make_napari_viewer: Any, study: Study
) -> None:
    viewer = make_napari_viewer(show=True)
    for name, colour in zip(NAMES, ("red", "lime", "blue"), strict=True):
        add_section(viewer, study, name)
        found = find_section(viewer, name)
        found.images[0].visible = False
        found.spots.face_color = colour
    show_stack(viewer, study, NAMES, 150.0)
    picture = viewer.screenshot().astype(int)
    rows = []
    for channel in range(3):
        others = [c for c in range(3) if c != channel]
        mask = (picture[..., channel] > 150) & (picture[..., others].max(axis=2) < 80)
        assert mask.sum() > 300
        rows.append(np.nonzero(mask)[0].mean())
    assert rows[0] > rows[1] > rows[2]  # the last one is on top
    leave_stack(viewer)
