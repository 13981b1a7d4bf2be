"""Single cells in the study dock: the button, the tree, drops, and the form of a mapping."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox, QPushButton

from napari_stomics.data.mappings import MappingRefs
from napari_stomics.docks.add_reference import add_reference, open_or_offer
from napari_stomics.docks.refs_form import RefsForm
from napari_stomics.docks.study_dock import StudyDock
from napari_stomics.docks.workbench import workbench
from tests.docks.desk import finish, two_sections
from tests.layers.studies import grid, table

pytestmark = pytest.mark.gui


@pytest.fixture
def path(tmp_path):
    table(len(grid())).write_h5ad(tmp_path / "blood.h5ad")
    return tmp_path / "blood.h5ad"


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def bench(viewer):
    return workbench(viewer)


@pytest.fixture
def dock(viewer, qtbot):
    dock = StudyDock(viewer)
    qtbot.addWidget(dock)
    dock.resize(340, 900)
    dock.show()
    return dock


def lines(dock):
    tree = dock.tree
    out = []
    for i in range(tree.topLevelItemCount()):
        top = tree.topLevelItem(i)
        out.append((top.text(0), [top.child(k).text(0) for k in range(top.childCount())]))
    return out


def test_the_button_adds_cells_and_the_tree_lists_them(dock, bench, qtbot, monkeypatch, path):
    bench.session.open(two_sections())
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *a, **k: (str(path), ""))
    button = next(b for b in dock.findChildren(QPushButton) if b.text() == "Add single cells…")
    assert button.isVisible()
    button.click()
    finish(qtbot, bench)
    assert lines(dock)[-1] == ("single cells  blood", ["rna  36 cells × 4 features"])
    assert "1 set of single cells" in dock._state.text()
    assert "unsaved changes" in dock._state.text()
    origin = bench.session.study.record.origin["references"]
    assert origin == [{"path": str(path), "name": "blood"}]
    # Ticking sections goes on as before: the line of cells has nothing to tick.
    dock.tree.follow_layers()
    assert lines(dock)[0][0] == "A"


def test_cells_alone_are_shown_too_and_cancelling_adds_none(dock, bench, qtbot, monkeypatch, path):
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *a, **k: ("", ""))
    dock.add_cells.click()
    assert lines(dock) == []
    add_reference(bench, path, labels="layer", name="mine")
    finish(qtbot, bench)
    assert dock.tree.isVisible()
    assert lines(dock) == [
        ("single cells  mine", ["rna  36 cells × 4 features", "2 labels  layer"]),
    ]


def test_a_broken_file_is_told_and_changes_nothing(dock, bench, qtbot, tmp_path):
    (tmp_path / "broken.h5ad").write_bytes(b"not a table")
    job = add_reference(bench, tmp_path / "broken.h5ad")
    finish(qtbot, bench)
    assert "broken.h5ad" in str(job.error)
    assert bench.session.study.record.references == {}


@pytest.mark.parametrize("wanted", [True, False])
def test_a_dropped_table_without_positions_is_offered(bench, qtbot, monkeypatch, path, wanted):
    asked = []

    def question(parent, title, text, *more):
        asked.append(text)
        buttons = QMessageBox.StandardButton
        return buttons.Yes if wanted else buttons.No

    monkeypatch.setattr(QMessageBox, "question", question)
    open_or_offer(bench, path)
    finish(qtbot, bench)
    assert len(asked) == 1
    assert "holds no positions" in asked[0]
    assert list(bench.session.study.references) == (["blood"] if wanted else [])


def test_a_dropped_section_is_opened_without_a_question(bench, qtbot, monkeypatch, tmp_path):
    monkeypatch.setattr(QMessageBox, "question", lambda *a: pytest.fail("asked"))
    section = table(len(grid()))
    section.obsm["spatial"] = grid()
    section.uns["um_per_px"] = 1.0
    section.write_h5ad(tmp_path / "slice.h5ad")
    open_or_offer(bench, tmp_path / "slice.h5ad")
    finish(qtbot, bench)
    assert bench.session.section_names == ["slice"]


def test_the_form_for_sections_turns_to_cells(dock, bench, qtbot, path):
    form = dock.add_form
    form.set_path(path)
    finish(qtbot, bench)
    assert form.add.text() == "Add as single cells"
    assert "added as single cells" in form.about.text()
    form.name.setText("other")
    form.add.click()
    finish(qtbot, bench)
    assert list(bench.session.study.references) == ["other"]
    assert form.add.text() == "Add section"


def test_a_mapping_offers_the_cells_their_labels_and_further_modalities(bench, qtbot, path):
    from napari_stomics.data.single_cells import SingleCells

    bench.session.open(two_sections())
    cells = SingleCells("blood", {"rna": table(36), "protein": table(36)}, "layer")
    bench.session.add_reference(cells)
    form = RefsForm(MappingRefs, bench.session)
    qtbot.addWidget(form)
    assert form.values() == {
        "reference": "blood",
        "modality": "rna",
        "labels": "layer",
        "more": [],
        "section": form.values()["section"],
        "section_modality": "rna",
    }
    assert form.missing() == []


def test_a_script_gets_the_cells_without_a_question(make_napari_viewer, monkeypatch, path):
    monkeypatch.setattr(QMessageBox, "question", lambda *a: pytest.fail("asked"))
    viewer = make_napari_viewer()
    viewer.open(str(path), plugin="napari-stomics")
    assert list(workbench(viewer).session.study.references) == ["blood"]


def test_a_drop_on_the_window_asks(make_napari_viewer, qtbot, monkeypatch, path):
    monkeypatch.setattr(QMessageBox, "question", lambda *a: QMessageBox.StandardButton.Yes)
    viewer = make_napari_viewer()
    bench = workbench(viewer)
    done = []
    QTimer.singleShot(0, lambda: done.append(viewer.open(str(path), plugin="napari-stomics")))
    qtbot.waitUntil(lambda: bool(done), timeout=10_000)
    finish(qtbot, bench)
    assert list(bench.session.study.references) == ["blood"]
    assert QApplication.instance() is not None
    assert np.array_equal(bench.session.study.reference("blood").cells("rna").ids[:2], ["s0", "s1"])
