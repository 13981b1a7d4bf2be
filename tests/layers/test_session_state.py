"""The look of a viewer survives JSON, and a state from a stranger does no harm."""

import json
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_stomics.core.errors import UserError
from napari_stomics.data.build import ImageSource
from napari_stomics.data.study import Study
from napari_stomics.layers.colour import colour_by
from napari_stomics.layers.results import paint
from napari_stomics.layers.section import add_section, find_section
from napari_stomics.layers.session_state import capture, restore
from tests.layers.studies import pair, section, to_um
from tests.layers.test_results import domains


def viewer_with_a_look() -> tuple[ViewerModel, Study]:
    viewer, study = ViewerModel(), pair()
    layers = add_section(viewer, study, "A")
    add_section(viewer, study, "B")
    colour_by(layers.spots, study, "A", "Penk", limits=(3, 70), colormap="magma")
    layers.images[0].opacity = 0.35
    layers.spots.blending = "additive"
    painted = paint(viewer, study, domains(study), "dom")
    painted[1].visible = True
    painted[1].face_contrast_limits = (0.1, 0.6)
    viewer.layers.move(0, 3)
    viewer.scene.camera.center = (0.0, 111.0, 222.0)
    viewer.scene.camera.zoom = 1.75
    return viewer, study


def test_a_look_survives_json() -> None:
    viewer, study = viewer_with_a_look()
    state = json.loads(json.dumps(capture(viewer)))
    other = ViewerModel()
    add_section(other, study, "B")
    paint(other, study, domains(study), "dom")
    assert restore(other, study, state) == []
    assert [layer.name for layer in other.layers] == [layer.name for layer in viewer.layers]
    found = find_section(other, "A")
    assert found.images[0].opacity == 0.35
    assert str(found.spots.blending) == "additive"
    np.testing.assert_allclose(found.spots.face_color, find_section(viewer, "A").spots.face_color)
    assert found.spots.face_contrast_limits == (3, 70)
    entropy = next(layer for layer in other.layers if layer.name.endswith("entropy"))
    assert entropy.visible
    assert entropy.face_contrast_limits == (0.1, 0.6)
    assert tuple(other.scene.camera.center)[-2:] == (111.0, 222.0)
    assert other.scene.camera.zoom == 1.75
    assert capture(other) == state


def test_contrast_and_colours_of_channels_survive() -> None:
    values = np.arange(60 * 60, dtype=np.uint16).reshape(60, 60, 1)
    study = Study(section(images={"dapi": ImageSource([values], to_um(), ["DAPI"])}))
    viewer = ViewerModel()
    image = add_section(viewer, study, "A").images[0]
    image.contrast_limits_range = (0, 60000)
    image.contrast_limits = (50, 40000)
    image.colormap = "magenta"
    image.gamma = 0.7
    other = ViewerModel()
    assert restore(other, study, capture(viewer)) == []
    again = find_section(other, "A").images[0]
    assert tuple(again.contrast_limits) == (50, 40000)
    assert again.colormap.name == "magenta"
    assert again.gamma == 0.7


def test_what_is_missing_is_said_and_the_rest_restored() -> None:
    viewer, _ = viewer_with_a_look()
    state = capture(viewer)
    other = ViewerModel()
    missing = restore(other, Study(section("A")), state)
    assert any("'dom'" in text for text in missing)
    assert any("section 'B'" in text for text in missing)
    assert find_section(other, "A").images[0].opacity == 0.35


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"layers": [{"role": "image", "section": "A", "opacity": 3}]},
        {"layers": [{"role": "image", "section": "A", "path": "/etc/passwd"}]},
        {"layers": [{"role": "image", "section": "A", "colormap": "__import__('os')"}]},
        {"view": {"center": [0, 0, float("nan")], "zoom": 1}},
        {"layers": "all of them"},
    ],
)
def test_a_state_that_is_not_ours_is_refused_and_changes_nothing(change: dict[str, Any]) -> None:
    viewer, study = viewer_with_a_look()
    before = capture(viewer)
    with pytest.raises(UserError, match="session cannot be read"):
        restore(viewer, study, {**before, **change})
    assert capture(viewer) == before
