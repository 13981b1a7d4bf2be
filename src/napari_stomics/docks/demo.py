"""The window of the demonstration, and pictures of it where nobody is looking."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QApplication

from napari_stomics.docks.workbench import Workbench, workbench

if TYPE_CHECKING:
    from napari_stomics.data.study import Study

PLUGIN = "napari-stomics"
DOCKS = ("Study and sections", "Landmark registration", "Methods and results", "Compare sections")
_SIZE = (1500, 950)


def show_demo(study: Study, pictures: Path | None) -> int:
    """Show a study that the demonstration has computed.

    Parameters
    ----------
    study
        The study with its results.
    pictures
        Folder to put pictures in, closing the window afterwards; None keeps the
        window open until the user closes it.
    """
    import napari

    viewer = napari.Viewer(title="napari-stomics: olfactory bulb, replicates 11 and 12")
    viewer.window.resize(*_SIZE)
    bench = workbench(viewer)
    add_docks(viewer)
    bench.session.open(study)
    settle()
    if pictures is None:
        napari.run()
        return 0
    for path in take_pictures(bench, pictures):
        print(f"Picture: {path}")
    viewer.close()
    return 0


def take_pictures(bench: Workbench, folder: Path) -> list[Path]:
    """Save one picture per part of the demonstration and return their paths.

    Each picture shows only the layers of its part; everything is shown as it
    was afterwards.
    """
    from napari_stomics.layers.views import DEMO_VIEWS, show_view

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in DEMO_VIEWS:
        with show_view(bench.viewer, bench.session.study, name):
            settle()
            path = folder / f"{name}.png"
            bench.viewer.window.screenshot(str(path), canvas_only=False, flash=False)
            paths.append(path)
    return paths


def settle(rounds: int = 12) -> None:
    """Let Qt and the canvas catch up."""
    from qtpy.QtTest import QTest

    for _ in range(rounds):
        QApplication.processEvents()
        QTest.qWait(25)


def open_paths(paths: Sequence[Path]) -> int:
    """Open studies and sections in a new window and run it until it is closed."""
    import napari

    viewer = napari.Viewer(title="napari-stomics")
    viewer.window.resize(*_SIZE)
    bench = workbench(viewer)
    add_docks(viewer)
    for path in paths:
        bench.open_path(path)
    napari.run()
    return 0


def add_docks(viewer: Any) -> None:
    """Add all docks of the plugin to a viewer, as tabs."""
    for name in DOCKS:
        viewer.window.add_plugin_dock_widget(PLUGIN, name, tabify=True)
