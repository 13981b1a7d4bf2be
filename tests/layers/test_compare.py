"""Views that compare two sections show each where it should and leave nothing behind."""

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_stomics.core.errors import UserError
from napari_stomics.core.results import Registration
from napari_stomics.data.build import ImageSource
from napari_stomics.data.study import Study
from napari_stomics.layers.compare import MODES, CompareController
from napari_stomics.layers.results import paint
from napari_stomics.layers.section import add_section, find_section
from napari_stomics.layers.tags import tag
from tests.layers.studies import grid, pair, section, to_um, turned


@pytest.fixture
def controller() -> CompareController:
    viewer, study = ViewerModel(), pair()
    add_section(viewer, study, "B")
    add_section(viewer, study, "A")
    paint(viewer, study, Registration("A", "B", turned(10), "rigid", "landmarks"), "reg")
    viewer.add_points(np.zeros((2, 2)), name="mine", opacity=0.4)
    return CompareController(viewer, "A", "B")


def look(viewer: ViewerModel) -> list[tuple[Any, ...]]:
    """All that a view may change."""
    grid_ = viewer.canvas.grid
    layers = [
        (
            layer.name,
            layer.visible,
            layer.opacity,
            str(layer.blending),
            len(layer.experimental_clipping_planes),
            tuple(np.ravel(layer.affine.affine_matrix)),
            id(layer.data) if not layer.multiscale else None,
        )
        for layer in viewer.layers
        if not hasattr(layer, "edge_width")
    ]
    bar = viewer.canvas.overlays.scale_bar.gridded
    return [*layers, (grid_.enabled, grid_.stride, grid_.shape, grid_.spacing, bar)]


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "normal"])
def test_leaving_a_view_restores_everything(controller: CompareController, mode: Any) -> None:
    before = look(controller.viewer)
    controller.set(mode)
    assert controller.mode == mode
    assert look(controller.viewer) != before or mode == "flicker"
    controller.leave()
    assert look(controller.viewer) == before
    assert controller.mode == "normal"


def test_going_from_view_to_view_restores_everything(controller: CompareController) -> None:
    before = look(controller.viewer)
    for mode in (*MODES, *MODES[::-1]):
        controller.set(mode)
    assert look(controller.viewer) == before


def test_overlay_puts_the_source_on_top_and_keeps_the_layers_own_opacity(
    controller: CompareController,
) -> None:
    source = find_section(controller.viewer, "A")
    source.spots.opacity = 0.8
    controller.set("overlay", opacity=0.25)
    assert source.spots.opacity == pytest.approx(0.2)
    assert source.images[0].opacity == pytest.approx(0.25)
    order = list(controller.viewer.layers)
    target = find_section(controller.viewer, "B")
    assert order.index(source.images[0]) > order.index(target.spots)
    controller.set("overlay", opacity=1.0, blending="additive")
    assert str(source.images[0].blending) == "additive"
    assert source.spots.opacity == pytest.approx(0.8)
    controller.leave()
    assert source.spots.opacity == pytest.approx(0.8)


def alpha_at(layer: Any, x: float, y: float) -> int:
    level = layer.data[0] if layer.multiscale else layer.data
    row, column = (round(float(v)) for v in layer.world_to_data((y, x)))
    if not (0 <= row < level.shape[0] and 0 <= column < level.shape[1]):
        return 0
    return int(level[row : row + 1, column : column + 1][0, 0, 3])


def cut(viewer: ViewerModel, name: str) -> Any:
    return next(q for q in viewer.layers if tag(q).get("role") == "cut" and name in q.name)


def test_swipe_shows_the_target_before_the_line_and_the_source_after(
    controller: CompareController,
) -> None:
    controller.set("swipe", position=0.4)
    low, high = controller.extent
    line = low[0] + 0.4 * (high[0] - low[0])
    viewer = controller.viewer
    for x, y in grid()[::5]:
        after = x > line
        assert (alpha_at(cut(viewer, "B_he"), x, y) == 255) == (not after)
        if alpha_at(cut(viewer, "A_he"), x, y):
            assert after
    source = find_section(viewer, "A")
    assert not source.images[0].visible
    (plane,) = source.spots.experimental_clipping_planes
    np.testing.assert_allclose(plane.position, (0, 0, line))
    np.testing.assert_allclose(plane.normal, (0, 0, 1))


def test_the_swipe_follows_its_handle_without_new_layers(controller: CompareController) -> None:
    controller.set("swipe", position=0.1)
    layer = cut(controller.viewer, "B_he")
    x, y = grid()[14]
    assert alpha_at(layer, x, y) == 0
    controller.set("swipe", position=0.9)
    assert cut(controller.viewer, "B_he") is layer
    assert alpha_at(layer, x, y) == 255
    controller.set("swipe", position=0.9, orientation="horizontal")
    (plane,) = find_section(controller.viewer, "B").spots.experimental_clipping_planes
    np.testing.assert_allclose(plane.normal, (0, -1, 0))


def test_a_checkerboard_shows_one_section_in_each_square(controller: CompareController) -> None:
    controller.set("checkerboard", size=60.0)
    viewer = controller.viewer
    low, _ = controller.extent
    even = ((grid() - low) // 60).astype(int).sum(axis=1) % 2 == 0
    for keep, (x, y) in zip(even, grid(), strict=True):
        if np.abs((np.array([x, y]) - low) % 60 - 30).max() < 25:
            assert (alpha_at(cut(viewer, "B_he"), x, y) == 255) == keep
    shown = {tuple(p[::-1]) for p in cut(viewer, "B_spots").data}
    assert shown == {tuple(p) for p, keep in zip(grid(), even, strict=True) if keep}
    moved = turned(10).apply(grid())
    odd = ((moved - low) // 60).astype(int).sum(axis=1) % 2 == 1
    assert len(cut(viewer, "A_spots").data) == odd.sum()
    controller.set("checkerboard", size=100.0)
    assert {tuple(p[::-1]) for p in cut(viewer, "B_spots").data} != shown


def test_flicker_shows_one_section_at_a_time(controller: CompareController) -> None:
    controller.set("flicker")
    source, target = (find_section(controller.viewer, name) for name in ("A", "B"))
    seen = []
    for _ in range(3):
        assert source.spots.visible == source.images[0].visible != target.spots.visible
        seen.append(source.spots.visible)
        controller.toggle()
    assert seen == [True, False, True]
    controller.leave()
    controller.toggle()
    assert source.spots.visible


def boxes(viewer: ViewerModel) -> list[set[str]]:
    """Sections seen in each box of the grid."""
    layers = viewer.layers
    return [
        {tag(layers[i])["section"] for i in indices if layers[i].visible}
        for _, indices in viewer.canvas.grid.iter_viewboxes(layers)
    ]


def test_side_by_side_gives_each_section_its_box(controller: CompareController) -> None:
    controller.set("side by side")
    assert boxes(controller.viewer) == [{"B"}, {"A"}]
    controller.set("side by side", source_first=True)
    assert boxes(controller.viewer) == [{"A"}, {"B"}]
    assert not controller.viewer.layers["mine"].visible


def test_side_by_side_makes_room_for_what_comes_later(controller: CompareController) -> None:
    from tests.layers.test_results import domains

    viewer = controller.viewer
    controller.set("side by side")
    layers = paint(viewer, pair(), domains(pair(), "A"), "dom")
    assert boxes(viewer) == [{"B"}, {"A"}]
    layers[1].visible = True
    assert boxes(viewer) == [{"B"}, {"A"}]
    controller.leave()
    assert all(tag(layer).get("role") != "spacer" for layer in viewer.layers)


def test_contrast_set_during_a_swipe_is_kept() -> None:
    values = np.random.default_rng(0).integers(0, 1000, (60, 60, 1), dtype=np.uint16)
    images = {"dapi": ImageSource([values], to_um(), ["DAPI"])}
    study = Study(section("A", images=images))
    study.add(section("B", images=images))
    viewer = ViewerModel()
    for name in ("B", "A"):
        add_section(viewer, study, name)
    controller = CompareController(viewer, "A", "B")
    controller.set("swipe")
    twin = cut(viewer, "A_dapi")
    twin.contrast_limits = (100, 300)
    twin.colormap = "magma"
    controller.leave()
    layer = find_section(viewer, "A").images[0]
    assert tuple(layer.contrast_limits) == (100, 300)
    assert layer.colormap.name == "magma"
    layer.contrast_limits = (0, 50)
    assert tuple(twin.contrast_limits) == (100, 300)


def test_what_cannot_be_shown_is_refused(controller: CompareController) -> None:
    with pytest.raises(UserError, match="no view"):
        controller.set("upside down")
    with pytest.raises(UserError, match="out of range"):
        controller.set("swipe", position=1.5)
    with pytest.raises(UserError, match="no option"):
        controller.set("overlay", colour="red")
    with pytest.raises(UserError, match="no size"):
        controller.set("checkerboard", size=-3)
    for layer in controller.layers("B"):
        layer.visible = False
    with pytest.raises(UserError, match="no visible layer"):
        controller.set("swipe")
    assert controller.mode == "normal"


def test_the_list_can_be_cleared_in_any_view(controller: CompareController) -> None:
    for mode in ("side by side", "swipe"):
        controller.set(mode)
        controller.viewer.layers.clear()
        assert not controller.viewer.layers
        controller.leave()
        study = pair()
        for name in ("B", "A"):
            add_section(controller.viewer, study, name)


def test_removing_a_layer_side_by_side_keeps_the_sections_apart(
    controller: CompareController,
) -> None:
    controller.set("side by side")
    viewer = controller.viewer
    viewer.layers.remove(find_section(viewer, "B").images[0])
    assert sorted(map(sorted, boxes(viewer))) == [["A"], ["B"]]
