"""A study is opened, worked on, saved, closed, and found again as it was."""

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.docks.workbench import open_docks, workbench
from napari_stomics.layers.colour import colour_by
from napari_stomics.layers.section import find_section
from napari_stomics.layers.tags import tag
from napari_stomics.workflow.steps import Step
from tests.small import small_simulation

pytestmark = pytest.mark.gui

FUSE = Step(method="fusion/concat-pcs", inputs={"section": "section_1", "histology": False})
DOMAINS = Step(method="domains/gmm", inputs={"section": "section_1", "embedding": "concat_pcs"})


@pytest.fixture(autouse=True)
def _state_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def bench(make_napari_viewer):
    bench = workbench(make_napari_viewer())
    bench.session.open(small_simulation().study)
    return bench


def _wait(qtbot, job):
    qtbot.waitUntil(lambda: not job.is_active, timeout=60_000)
    return job


def _worked_on(bench, qtbot, path):
    """Run two steps, colour, hide, place a landmark, open docks, save."""
    for step in (FUSE, DOMAINS):
        assert _wait(qtbot, bench.start(step)).error is None
    study = bench.session.study
    spots = find_section(bench.viewer, "section_2").spots
    colour_by(spots, study, "section_2", str(study.section("section_2").table("rna").var_names[3]))
    find_section(bench.viewer, "section_1").images[0].visible = False
    bench.session.landmarks.add("mine", {"section_1": (1.0, 2.0), "section_2": (3.0, 4.0)})
    open_docks(bench.viewer.window, ("Study and sections", "Compare sections"))
    bench.viewer.scene.camera.zoom = 0.123
    assert _wait(qtbot, bench.save(path)).error is None


def test_everything_is_found_again(bench, make_napari_viewer, qtbot, tmp_path):
    path = tmp_path / "study.zarr"
    _worked_on(bench, qtbot, path)
    before, landmarks = bench.shown(), bench.session.landmarks.landmarks
    bench.viewer.close()
    qtbot.wait(100)
    other = workbench(make_napari_viewer())
    assert _wait(qtbot, other.open_store(path)).error is None
    after = other.shown()
    key = lambda layer: (layer["section"], layer["role"], layer.get("result"), layer.get("part"))  # noqa: E731
    first = {key(layer): layer for layer in before["layers"]["layers"]}
    second = {key(layer): layer for layer in after["layers"]["layers"]}
    assert list(second) == list(first)
    for name, layer in first.items():
        assert second[name] == layer
    assert after["layers"]["view"]["zoom"] == pytest.approx(0.123)
    assert after["docks"] == before["docks"]
    assert other.session.landmarks.landmarks == landmarks
    assert [run.key for run in other.session.results()] == ["concat_pcs", "gmm"]
    assert not other.session.unsaved


def test_a_result_is_painted_taken_back_and_put_back(bench, qtbot):
    _wait(qtbot, bench.start(FUSE))
    results = lambda: {tag(q).get("result") for q in bench.viewer.layers} - {None}  # noqa: E731
    assert results() == {"concat_pcs"}
    bench.undo()
    assert results() == set()
    assert "concat_pcs" not in bench.session.study.section("section_1").table("rna").obsm
    bench.redo()
    assert results() == {"concat_pcs"}


def test_a_comparison_is_not_saved_as_the_look(bench):
    before = bench.shown()
    bench.comparison("section_2", "section_1").set("overlay", opacity=0.3)
    assert bench.shown()["layers"] == before["layers"]
    bench.leave_comparison()
    assert bench.shown()["layers"] == before["layers"]


def test_a_cancelled_job_changes_nothing(bench, qtbot):
    before = [layer.name for layer in bench.viewer.layers]
    job = bench.start(Step(method="alignment/fgw-dense",
                           inputs={"source": "section_2", "target": "section_1"}))  # fmt: skip
    job.cancel()
    _wait(qtbot, job)
    assert not bench.session.results()
    assert [layer.name for layer in bench.viewer.layers] == before


def test_a_result_that_ends_during_a_save_waits_for_it(bench, qtbot, tmp_path):
    outcome = FUSE.resolve().collect(bench.session.study).run()
    job = bench.save(tmp_path / "study.zarr")
    assert bench.session.is_saving
    bench.session.commit(outcome)
    assert not bench.session.results()
    with pytest.raises(UserError, match="being saved"):
        bench.session.begin_save()
    assert _wait(qtbot, job).error is None
    assert [run.key for run in bench.session.results()] == ["concat_pcs"]
    assert bench.session.unsaved


def test_a_save_that_fails_is_told_and_nothing_is_lost(bench, qtbot, tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "mine.txt").write_text("keep me")
    bench.session.landmarks.add("mine", {"section_1": (1.0, 2.0)})
    with qtbot.waitSignal(bench.runner.failed, timeout=30_000):
        bench.save(folder, overwrite=True)
    assert (folder / "mine.txt").read_text() == "keep me"
    assert not bench.session.is_saving
    assert bench.session.unsaved
    assert "mine" in bench.session.landmarks.names


def test_closing_the_window_stops_the_jobs(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    bench = workbench(viewer)
    open_docks(viewer.window, ("Methods and results",))
    started, stopped = [], []

    def endless(ctx):
        started.append(True)
        try:
            while True:
                ctx.step(None, "working")
                np.linalg.svd(np.eye(50))
        finally:
            stopped.append(True)

    job = bench.runner.start(endless, title="endless", kind="endless")
    qtbot.waitUntil(lambda: bool(started), timeout=10_000)
    viewer.close()
    qtbot.waitUntil(lambda: bool(stopped), timeout=10_000)
    assert not job.is_active


def test_adding_a_section_of_a_known_name_is_refused_and_changes_nothing(bench):
    before = bench.session.section_names
    with pytest.raises(UserError, match="section_1"):
        bench.session.add(small_simulation().study)
    assert bench.session.section_names == before
