"""Pictures are written with what they need to be read, and never over another file."""

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_stomics.core.errors import UserError
from napari_stomics.layers.colour import colour_by
from napari_stomics.layers.figure import export_figure, shown_legend, with_legend
from napari_stomics.layers.section import add_section
from tests.layers.studies import pair


def test_the_legend_lists_what_is_visible_once() -> None:
    viewer, study = ViewerModel(), pair()
    spots = add_section(viewer, study, "A").spots
    assert shown_legend(viewer) == []
    colour_by(spots, study, "A", "layer")
    ((title, entries),) = shown_legend(viewer)
    assert title == "A: layer"
    assert [name for name, _ in entries] == ["inner", "outer", ""]
    other = add_section(viewer, study, "B").spots
    colour_by(other, study, "B", "layer")
    assert len(shown_legend(viewer)) == 1
    other.visible = spots.visible = False
    assert shown_legend(viewer) == []


def test_the_legend_stands_beside_the_picture_in_its_colours() -> None:
    image = np.full((200, 120, 3), 7, np.uint8)
    out = with_legend(image, [("A: layer", [("inner", "#ff0000"), ("outer", "#00ff00")])])
    np.testing.assert_array_equal(out[:200, :120], image)
    beside = out[:, 120:].reshape(-1, 3)
    colours = {tuple(c) for c in beside}
    assert {(255, 0, 0), (0, 255, 0), (255, 255, 255)} <= colours


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    viewer = ViewerModel()
    there = tmp_path / "figure.png"
    there.write_bytes(b"mine")
    with pytest.raises(UserError, match="there already"):
        export_figure(viewer, there)
    assert there.read_bytes() == b"mine"
    with pytest.raises(UserError, match=r"\.png"):
        export_figure(viewer, tmp_path / "figure.docx")
    with pytest.raises(UserError, match="out of range"):
        export_figure(viewer, tmp_path / "other.png", scale=100)
