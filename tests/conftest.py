"""Shared fixtures and guards: no test touches the settings or leaves anything running."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
JOB_THREAD_NAME = "stomics-job"


def pytest_configure(config: pytest.Config) -> None:
    """Before anything imports napari: its settings live in a folder of this run."""
    folder = config.cache.mkdir("napari-settings") / str(os.getpid())
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["NAPARI_CONFIG"] = str(folder / "settings.yaml")
    # Autosaves of the tests must neither reach the user nor be offered to the next run.
    os.environ["XDG_STATE_HOME"] = str(folder / "state")


@pytest.fixture(scope="session")
def stomics_data() -> Path:
    """Folder of real data (read only); tests that need it skip where it is absent."""
    folder = Path(os.environ.get("STOMICS_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the real data: set STOMICS_DATA to its folder (looked in {folder})")
    return folder


@pytest.fixture(autouse=True)
def _display(request: pytest.FixtureRequest) -> None:
    """Skip tests of the window where there is none, rather than abort inside Qt."""
    if request.node.get_closest_marker("gui") is None or not sys.platform.startswith("linux"):
        return
    if not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")):
        pytest.skip("needs a display: install xvfb, or start pytest under one")


@pytest.fixture(autouse=True)
def _no_thread_left(_display: None) -> Iterator[None]:
    """Fail a test that leaves a job's thread running."""
    yield
    deadline = time.monotonic() + 5
    while left := [t.name for t in threading.enumerate() if t.name.startswith(JOB_THREAD_NAME)]:
        if time.monotonic() > deadline:
            pytest.fail(f"The test left threads of jobs running: {left}")
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _no_widget_left(request: pytest.FixtureRequest, _no_thread_left: None) -> Iterator[None]:
    """Fail a test of the window that leaves top-level widgets behind."""
    if request.node.get_closest_marker("gui") is None:
        yield
        return
    from qtpy.QtWidgets import QApplication

    before = set(QApplication.topLevelWidgets())  # kept alive: identities must not be reused
    yield
    report = getattr(request.node, "rep_call", None)
    if report is None or report.failed:  # its frames still hold the widgets
        return
    left = _leaked_widgets(before)
    if left:
        pytest.fail(f"The test left widgets without a parent: {left}")


def _leaked_widgets(before: set[object]) -> list[str]:
    from qtpy.QtCore import QCoreApplication, QEvent
    from qtpy.QtWidgets import QApplication

    left: list[str] = []
    for attempt in range(3):
        if attempt:  # a collection takes a second here: only when there is something to collect
            gc.collect()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        QApplication.processEvents()
        left = [
            f"{type(widget).__name__} {widget.objectName()!r}"
            for widget in QApplication.topLevelWidgets()
            if widget not in before
        ]
        if not left:
            break
    return left
