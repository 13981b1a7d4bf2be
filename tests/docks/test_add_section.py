"""The form that adds a section: it says what a path is, takes what the kind needs, and adds it."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QCheckBox

from napari_stomics.core.errors import UserError
from napari_stomics.docks.add_section import AddSectionForm, PathLine, found_text
from napari_stomics.docks.name_combo import NameCombo
from napari_stomics.docks.workbench import workbench
from tests.docks.desk import finish
from tests.layers.studies import grid, table

pytestmark = pytest.mark.gui


@pytest.fixture
def bench():
    return workbench(ViewerModel())


@pytest.fixture
def form(bench, qtbot):
    form = AddSectionForm(bench)
    qtbot.addWidget(form)
    form.show()
    return form


@pytest.fixture
def h5ad(tmp_path):
    adata = table(len(grid()))
    adata.obsm["spatial"] = grid()
    adata.uns["um_per_px"] = 2.0
    adata.write_h5ad(tmp_path / "slice.h5ad")
    return tmp_path / "slice.h5ad"


@pytest.fixture
def picture(tmp_path):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (300, 320, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "slice_he.png")
    return tmp_path / "slice_he.png"


def test_an_h5ad_with_its_image_becomes_a_section(form, bench, qtbot, h5ad, picture):
    form.set_path(h5ad)
    assert not form.add.isEnabled()
    finish(qtbot, bench)
    assert "36 spots" in form.about.text()
    assert "rna: 4 features" in form.about.text()
    assert form.name.placeholderText() == "slice"
    assert isinstance(form._options["annotation"], NameCombo)
    form._options["annotation"].setCurrentText("layer")
    assert isinstance(form._options["image"], PathLine)
    form._options["image"].line.setText(str(picture))
    form.name.setText("first")
    form.add.click()
    finish(qtbot, bench)
    record = bench.session.study.record.sections["first"]
    assert record.annotation == "layer"
    assert record.images
    assert form.path.text() == ""
    assert not form.add.isEnabled()


def test_an_image_without_pixel_size_asks_for_it(form, bench, qtbot, picture):
    form.set_path(picture)
    finish(qtbot, bench)
    assert "Needed: Pixel size" in form.about.text()
    form.pixel.setText("two")
    with pytest.raises(UserError, match="not a positive number"):
        form.options()
    form.pixel.setText("0,5")
    assert form.options()["um_per_px"] == 0.5
    form.add.click()
    finish(qtbot, bench)
    assert bench.session.study.record.sections["slice_he"].pixel_size_um == 0.5


def test_what_cannot_be_read_says_so_in_place(form, bench, qtbot, tmp_path):
    (tmp_path / "notes.pdf").write_text("no data")
    for path in (tmp_path / "notes.pdf", tmp_path / "nowhere.h5ad"):
        form.set_path(path)
        finish(qtbot, bench)
        assert path.name in form.about.text()
        assert not form.add.isEnabled()
    form.clear()
    with pytest.raises(UserError, match="No file"):
        form.options()


def test_a_name_that_is_taken_leaves_the_form_as_it_was(form, bench, qtbot, h5ad):
    for _ in range(2):
        form.set_path(h5ad)
        finish(qtbot, bench)
        form.add.click()
        finish(qtbot, bench)
    assert bench.session.section_names == ["slice"]
    assert form.path.text() == str(h5ad)
    assert form.add.isEnabled()


def test_only_the_answer_to_the_path_of_now_counts(form, bench, qtbot, h5ad, picture):
    form.set_path(h5ad)
    form.set_path(picture)
    finish(qtbot, bench)
    assert "Image" in form.about.text()
    assert "image" not in form._options


def test_flags_and_choices_keep_their_types(form):
    form._show_found(
        {
            "kind": "visium_hd",
            "label": "Visium HD",
            "defaults": {"bin_um": None, "cells": False, "counts": "filtered"},
            "choices": {"bin_um": [8, 16]},
        }
    )
    form.path.setText("x")
    assert isinstance(form._options["cells"], QCheckBox)
    assert "bin_um" not in form.options()
    form._options["bin_um"].setCurrentText("16")
    form._options["cells"].setChecked(True)
    assert form.options() == {"bin_um": 16, "cells": True}


def test_what_was_found_is_told_with_what_is_missing():
    text = found_text(
        {
            "label": "Visium",
            "n_spots": 4235,
            "modalities": {"rna": 33000},
            "images": [{"name": "hires", "width": 2000, "height": 1999, "um_per_px": None}],
            "missing": ["tissue_positions.csv"],
            "needs": ["um_per_px"],
            "notes": ["Low resolution."],
        }
    )
    assert text.splitlines() == [
        "Visium",
        "4,235 spots or cells",
        "rna: 33,000 features",
        "image hires: 2,000 × 1,999",
        "⚠ Missing: tissue_positions.csv",
        "⚠ Needed: Pixel size (µm)",
        "Low resolution.",
    ]
