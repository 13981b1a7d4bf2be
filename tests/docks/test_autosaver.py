"""What a crash must not take: the autosave of a window, and its restore."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from napari_stomics.data.store import save_store
from napari_stomics.docks.workbench import workbench
from tests.small import small_simulation

pytestmark = pytest.mark.gui

SCRIPT = """
import os, sys, napari
from qtpy.QtTest import QTest
from napari_stomics.docks.workbench import workbench
from napari_stomics.data.study import open_study
from napari_stomics.workflow.steps import Step
viewer = napari.Viewer(show=False)
bench = workbench(viewer)
bench.session.open(open_study(sys.argv[1]))
bench.session.landmarks.add("mine", {"section_1": (12.0, 34.0)})
bench.start(Step(method="fusion/concat-pcs", inputs={"section": "section_1", "histology": False}))
for _ in range(400):
    QTest.qWait(25)
    if bench.session.unsaved_steps():
        break
bench.autosaver.write()
print("ready", flush=True)
QTest.qWait(60_000)
"""


@pytest.fixture(autouse=True)
def _state_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def store(tmp_path):
    return save_store(small_simulation().study, tmp_path / "study.zarr").path


def _crashed(store):
    """Work in another process on the study, then kill it without a warning."""
    done = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(store)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "NAPARI_ASYNC": "0"},
    )
    for line in done.stdout:
        if line.strip() == "ready":
            break
    done.send_signal(signal.SIGKILL)
    done.wait()


def test_work_of_a_killed_window_is_offered_and_restored(make_napari_viewer, qtbot, store):
    _crashed(store)
    bench = workbench(make_napari_viewer())
    with qtbot.waitSignal(bench.autosaver.found, timeout=20_000):
        bench.open_store(store)
    qtbot.waitUntil(lambda: bool(bench.autosaver.unfinished), timeout=20_000)
    assert "mine" not in bench.session.landmarks.names
    assert not bench.session.results()
    bench.autosaver.restore(bench.autosaver.unfinished[0])
    assert bench.session.landmarks.positions("section_1")["mine"] == (12.0, 34.0)
    qtbot.waitUntil(lambda: len(bench.session.results()) == 1, timeout=30_000)
    assert not bench.autosaver.unfinished
    assert bench.session.unsaved


def test_a_saved_study_leaves_no_autosave_behind(make_napari_viewer, qtbot, store):
    bench = workbench(make_napari_viewer())
    job = bench.open_store(store)
    qtbot.waitUntil(lambda: not job.is_active, timeout=30_000)
    bench.session.landmarks.add("mine", {"section_1": (1.0, 2.0)})
    bench.autosaver.write()
    assert list(store.parent.glob("*.autosave.json"))
    with qtbot.waitSignal(bench.runner.finished, timeout=30_000):
        bench.save()
    assert not list(store.parent.glob("*.autosave*"))
    assert not bench.session.unsaved


def test_undoing_everything_removes_the_autosave(make_napari_viewer, qtbot, store):
    bench = workbench(make_napari_viewer())
    job = bench.open_store(store)
    qtbot.waitUntil(lambda: not job.is_active, timeout=30_000)
    bench.session.landmarks.add("mine", {"section_1": (1.0, 2.0)})
    bench.autosaver.write()
    bench.undo()
    bench.autosaver.write()
    assert not list(store.parent.glob("*.autosave*"))


def test_discarded_work_is_not_offered_again(make_napari_viewer, qtbot, store):
    _crashed(store)
    bench = workbench(make_napari_viewer())
    bench.open_store(store)
    qtbot.waitUntil(lambda: bool(bench.autosaver.unfinished), timeout=30_000)
    bench.autosaver.discard(bench.autosaver.unfinished[0])
    bench.autosaver.look()
    assert not bench.autosaver.unfinished
