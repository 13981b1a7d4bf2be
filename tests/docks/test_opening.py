"""Files, folders and samples through napari itself: drops, File > Open, File > Open Sample."""

from __future__ import annotations

import time

import numpy as np
import pytest
from qtpy.QtCore import QTimer

from napari_stomics.core.errors import UserError
from napari_stomics.data.readers import _detect
from napari_stomics.data.store import save_store
from napari_stomics.docks.host_docks import HostDocks
from napari_stomics.docks.opening import get_reader
from napari_stomics.docks.workbench import workbench
from tests.docks.desk import finish, two_sections
from tests.layers.studies import grid, table


@pytest.fixture
def h5ad(tmp_path):
    adata = table(len(grid()))
    adata.obsm["spatial"] = grid()
    adata.uns["um_per_px"] = 2.0
    adata.write_h5ad(tmp_path / "slice.h5ad")
    return tmp_path / "slice.h5ad"


@pytest.fixture
def store(tmp_path):
    return save_store(two_sections(), tmp_path / "two.zarr").path


def test_what_is_not_ours_gets_no_reader(tmp_path, h5ad):
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / "other.zarr").mkdir()
    for path in (tmp_path, tmp_path / "notes.txt", tmp_path / "other.zarr", tmp_path / "gone.h5ad"):
        assert get_reader(str(path)) is None
    assert get_reader([]) is None
    assert get_reader([str(h5ad), str(tmp_path / "notes.txt")]) is None
    assert get_reader([str(h5ad)]) is not None


def test_a_crowded_folder_is_not_searched_file_by_file(tmp_path, monkeypatch):
    monkeypatch.setattr(_detect, "_CROWDED", 20)
    for i in range(40):
        (tmp_path / f"tile{i}_exprMat_file.csv").write_text("")
    assert get_reader(str(tmp_path)) is None
    (tmp_path / "experiment.xenium").write_text("{}")
    assert get_reader(str(tmp_path)) is not None


@pytest.mark.gui
def test_a_script_finds_the_layers_when_open_returns(make_napari_viewer, store, h5ad, tmp_path):
    viewer = make_napari_viewer()
    viewer.open(str(store), plugin="napari-stomics")
    assert {q.name for q in viewer.layers} >= {"A_he", "A_spots", "B_he", "B_spots"}
    viewer.open(str(h5ad), plugin="napari-stomics")
    assert workbench(viewer).session.section_names == ["A", "B", "slice"]
    broken = tmp_path / "broken.h5ad"
    broken.write_bytes(b"not an AnnData file")
    with pytest.raises(UserError, match=r"broken\.h5ad"):
        viewer.open(str(broken), plugin="napari-stomics")
    assert workbench(viewer).session.section_names == ["A", "B", "slice"]


@pytest.mark.gui
def test_a_drop_returns_at_once_and_is_read_in_the_background(make_napari_viewer, qtbot, store):
    viewer = make_napari_viewer()
    bench = workbench(viewer)
    seen = []

    def drop():
        viewer.open(str(store), plugin="napari-stomics")
        seen.append((len(bench.runner.active()), len(viewer.layers)))

    QTimer.singleShot(0, drop)
    qtbot.waitUntil(lambda: bool(seen), timeout=10_000)
    assert seen == [(1, 0)]
    finish(qtbot, bench)
    assert bench.session.section_names == ["A", "B"]
    assert bench.session.study.path == store


@pytest.mark.gui
def test_a_sample_from_the_menu_is_the_study_of_the_docks(make_napari_viewer, qtbot, monkeypatch):
    from napari_stomics.data import samples
    from tests.small import small_simulation

    small = small_simulation().study
    monkeypatch.setattr(samples, "open_sample", lambda name: small)
    viewer = make_napari_viewer()
    viewer.open_sample("napari-stomics", "simulated-pair")
    bench = workbench(viewer)
    finish(qtbot, bench)
    assert bench.session.study is small
    sections = {q.metadata["napari_stomics"]["section"] for q in viewer.layers} - {""}
    assert sections == {"section_1", "section_2"}
    names = [q.name for q in viewer.layers]
    assert len(names) == len(set(names))


@pytest.mark.gui
def test_the_window_may_close_while_a_file_is_read(make_napari_viewer, qtbot, monkeypatch, h5ad):
    from napari_stomics.data import readers

    started = []

    def slow(path, **more):
        started.append(path)
        time.sleep(0.3)
        return two_sections().sdata

    monkeypatch.setattr(readers, "read_section", slow)
    viewer = make_napari_viewer()
    viewer.window.add_plugin_dock_widget("napari-stomics", "Study and sections")
    viewer.window.add_plugin_dock_widget("napari-stomics", "Methods and results")
    viewer.window.add_plugin_dock_widget("napari-stomics", "Compare sections")
    bench = workbench(viewer)
    job = bench.add_section(h5ad)
    qtbot.waitUntil(lambda: bool(started), timeout=5000)
    viewer.close()
    qtbot.waitUntil(lambda: not job.is_active, timeout=5000)
    qtbot.wait(400)
    assert bench.session.section_names == []


@pytest.mark.gui
def test_the_docks_of_napari_spatialdata_work_on_our_spots(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    bench = workbench(viewer)
    _, study = viewer.window.add_plugin_dock_widget("napari-stomics", "Study and sections")
    bench.session.open(two_sections())
    spots = viewer.layers["A_spots"]
    viewer.layers.selection = {spots}
    for each in study.findChild(HostDocks).buttons:
        each.click()
    names = list(viewer.window.dock_widgets)
    for name in ("SpatialData", "View", "Scatter", "Annotation"):
        assert any(str(n).startswith(name) for n in names), names
    view = next(w for n, w in viewer.window.dock_widgets.items() if str(n).startswith("View"))
    genes = [view.var_widget.item(i).text() for i in range(view.var_widget.count())]
    assert genes == ["Penk", "Spen", "Th", "Rare"]
    obs = [view.obs_widget.item(i).text() for i in range(view.obs_widget.count())]
    assert {"depth", "layer"} <= set(obs)
    before = spots.face_color.copy()
    view.var_widget.itemDoubleClicked.emit(view.var_widget.item(0))
    qtbot.waitUntil(lambda: not np.array_equal(spots.face_color, before), timeout=5000)
    # It has replaced features and colours; the layer is ours all the same.
    study.colour.text.setText("Spen")
    study.colour._colour_chosen()
    finish(qtbot, bench)
    assert spots.features["Spen"].tolist() == [4.0 * i + 1 for i in range(36)]
