"""What is really drawn: spots on their tissue, cut and side by side, seen on a display."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_stomics.core.results import Registration
from napari_stomics.data.build import ImageSource
from napari_stomics.data.study import Study
from napari_stomics.layers import section as section_module
from napari_stomics.layers.compare import CompareController
from napari_stomics.layers.figure import export_figure
from napari_stomics.layers.results import paint
from napari_stomics.layers.section import add_section, find_section
from tests.layers.studies import grid, section, to_um, turned

pytestmark = pytest.mark.gui
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def tissue(colour: tuple[int, int, int]) -> ImageSource:
    """A dark slide with tissue, of one colour, exactly under the spots."""
    image = np.full((80, 90, 3), 40, np.uint8)
    # Spots lie from (140, 80) to (340, 280) um: pixels 10 to 60 across and down.
    image[10:60, 10:60] = colour
    return ImageSource([image], to_um())


@pytest.fixture
def study() -> Study:
    made = Study(section("A", images={"he": tissue(GREEN)}))
    made.add(section("B", images={"he": tissue(BLUE)}))
    return made


def shot(viewer: Any) -> np.ndarray:
    image = np.asarray(viewer.screenshot(canvas_only=True, flash=False))[..., :3].astype(int)
    assert image.std() > 1, "the picture is flat"
    return image


def pixel_of(viewer: Any, image: np.ndarray, xy: tuple[float, float]) -> tuple[int, int]:
    """Row and column of a place in um, from the camera."""
    camera = viewer.scene.camera
    _, y, x = (0.0, *camera.center)[-3:]
    row = image.shape[0] / 2 + (xy[1] - y) * camera.zoom
    column = image.shape[1] / 2 + (xy[0] - x) * camera.zoom
    return int(row), int(column)


def colour_at(viewer: Any, image: np.ndarray, xy: tuple[float, float]) -> np.ndarray:
    return image[pixel_of(viewer, image, xy)]


def is_colour(found: np.ndarray, wanted: tuple[int, int, int]) -> bool:
    return bool(np.abs(found - np.array(wanted)).max() < 40)


def test_spots_are_drawn_on_their_tissue_in_true_size(
    make_napari_viewer: Callable[..., Any], study: Study
) -> None:
    viewer = make_napari_viewer(show=True)
    layers = add_section(viewer, study, "A")
    layers.spots.face_color = "red"
    viewer.reset_view()
    image = shot(viewer)
    for xy in grid()[::7]:
        assert is_colour(colour_at(viewer, image, xy), RED)
        # Spots have a radius of 10 um and a pitch of 40 um.
        assert is_colour(colour_at(viewer, image, (xy[0] + 8.0, xy[1])), RED)
    inner = [xy for xy in grid() if xy.max() < 270 and xy.min() > 85]
    for x, y in inner:
        assert is_colour(colour_at(viewer, image, (x + 20, y + 20)), GREEN)
        assert is_colour(colour_at(viewer, image, (x + 12.5, y)), GREEN)
    assert is_colour(colour_at(viewer, image, (120, 60)), (40, 40, 40))


def test_the_edge_of_the_tissue_is_drawn_where_its_pixels_begin(
    make_napari_viewer: Callable[..., Any], study: Study
) -> None:
    viewer = make_napari_viewer(show=True)
    layers = add_section(viewer, study, "A")
    layers.spots.visible = False
    viewer.scene.camera.center = (0.0, 180.0, 140.0)
    viewer.scene.camera.zoom = 20.0
    image = shot(viewer)
    # Tissue begins at pixel 10, whose left edge lies at 100 + 10 * 4 = 140 um.
    row = image[image.shape[0] // 2]
    first = int(np.argmax(row[:, 1] > 150))
    assert first == pytest.approx(image.shape[1] / 2, abs=3)


def middle(viewer: Any) -> np.ndarray:
    """The same 320 um of the section, whatever the window's size."""
    viewer.scene.camera.center = (0.0, 180.0, 240.0)
    viewer.scene.camera.zoom = 1.25
    image = shot(viewer)
    row, column = pixel_of(viewer, image, (240.0, 180.0))
    return image[row - 200 : row + 200, column - 200 : column + 200]


def test_many_spots_look_the_same_as_few(
    make_napari_viewer: Callable[..., Any], study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = make_napari_viewer(show=True)
    few = add_section(viewer, study, "A")
    one = middle(viewer)
    viewer.layers.clear()
    monkeypatch.setattr(section_module, "MANY_SPOTS", 10)
    many = add_section(viewer, study, "A")
    assert many.overview is not None
    assert few.overview is None
    two = middle(viewer)
    assert np.mean(np.abs(one - two).max(axis=-1) > 40) < 0.03


@pytest.fixture
def controller(make_napari_viewer: Callable[..., Any], study: Study) -> CompareController:
    viewer = make_napari_viewer(show=True)
    for name in ("B", "A"):
        layers = add_section(viewer, study, name)
        layers.spots.visible = False
    paint(viewer, study, Registration("A", "B", turned(8, (0, 0)), "rigid", "landmarks"), "reg")
    viewer.reset_view()
    return CompareController(viewer, "A", "B")


def test_a_swipe_shows_each_side_its_section(controller: CompareController) -> None:
    controller.set("swipe", position=0.5)
    viewer = controller.viewer
    image = shot(viewer)
    low, high = controller.extent
    line = (low[0] + high[0]) / 2
    middle = np.array([grid()[:, 0].mean(), 180.0])
    assert is_colour(colour_at(viewer, image, (line - 15, middle[1])), BLUE)
    assert is_colour(colour_at(viewer, image, (line + 15, middle[1])), GREEN)


def test_spots_are_clipped_at_the_same_line(controller: CompareController) -> None:
    viewer = controller.viewer
    for name, colour in (("A", "red"), ("B", "yellow")):
        layers = find_section(viewer, name)
        layers.spots.visible, layers.spots.face_color = True, colour
        layers.images[0].visible = False
    controller.set("swipe", position=0.5)
    image = shot(viewer)
    low, high = controller.extent
    _, column = pixel_of(viewer, image, ((low[0] + high[0]) / 2, 0))
    # The colour bar and the scale bar lie elsewhere; red and yellow differ in green.
    is_red = (image[..., 0] > 200) & (image[..., 1] < 60) & (image[..., 2] < 60)
    is_yellow = (image[..., 0] > 200) & (image[..., 1] > 200) & (image[..., 2] < 60)
    assert is_red.sum() > 200
    assert is_yellow.sum() > 200
    assert not is_red[:, : column - 2].any()
    assert not is_yellow[:, column + 2 :].any()


def test_a_checkerboard_shows_both_and_no_seam(controller: CompareController) -> None:
    controller.set("checkerboard", size=50.0)
    viewer = controller.viewer
    image = shot(viewer)
    low, _ = controller.extent
    row0, column0 = pixel_of(viewer, image, (170, 130))
    row1, column1 = pixel_of(viewer, image, (300, 240))
    part = image[row0:row1, column0:column1]
    green, blue = part[..., 1] > 150, part[..., 2] > 150
    assert green.mean() > 0.3
    assert blue.mean() > 0.3
    assert (green | blue).mean() > 0.999
    assert np.isfinite(low).all()


def test_side_by_side_shows_one_section_in_each_half(controller: CompareController) -> None:
    controller.set("side by side")
    controller.viewer.reset_view()
    image = shot(controller.viewer)
    half = image.shape[1] // 2
    green, blue = image[..., 1] > 200, image[..., 2] > 200
    green, blue = green & ~blue, blue & ~green
    assert blue[:, :half].sum() > 500
    assert green[:, half:].sum() > 500
    assert blue[:, half:].sum() < 50
    assert green[:, :half].sum() < 50


def test_a_figure_holds_the_view(
    controller: CompareController, study: Study, tmp_path: Path
) -> None:
    from PIL import Image

    from napari_stomics.layers.colour import colour_by

    spots = find_section(controller.viewer, "A").spots
    spots.visible = True
    colour_by(spots, study, "A", "layer")
    path = export_figure(controller.viewer, tmp_path / "figure.png", scale=1.5)
    written = np.asarray(Image.open(path))
    plain = shot(controller.viewer)
    assert written.shape[0] == pytest.approx(1.5 * plain.shape[0], rel=0.01)
    assert written.shape[1] > 1.5 * plain.shape[1] + 50
    assert written.std() > 10
