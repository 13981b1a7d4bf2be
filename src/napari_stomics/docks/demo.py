"""The window of the demonstration, and pictures of it where nobody is looking."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QApplication

from napari_stomics.docks.workbench import Workbench, open_docks, workbench

if TYPE_CHECKING:
    from napari_stomics.data.study import Study
    from napari_stomics.layers.views import View

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
    open_docks(viewer.window)
    bench.session.open(study)
    settle()
    if pictures is None:
        napari.run()
        return 0
    for path in take_pictures(bench, pictures):
        print(f"Picture: {path}")
    viewer.close()
    return 0


def views() -> dict[str, View]:
    """What the demonstration's pictures show, by the name of the picture."""
    from napari_stomics.layers.views import View

    fixed, moving = "Rep11", "Rep12"
    return {
        "plan": View(
            "Transport plan: where each spot of Rep12 lands in Rep11, by entropy",
            images=(fixed,),
            results={"fgw": ("arrows",)},
        ),
        "labels": View(
            "Layers of Rep12 carried to Rep11",
            images=(fixed,),
            results={"plan_labels": ("labels",)},
        ),
        "domains": View("Domains of Rep11", images=(fixed,), results={"gmm": ("domains",)}),
        "domains_entropy": View(
            "How unsure each spot's domain is", images=(fixed,), results={"gmm": ("entropy",)}
        ),
        "predicted": View(
            "A gene predicted on Rep12 from H&E",
            images=(moving,),
            results={"ridge": ("predicted",)},
        ),
        "measured": View(
            "The same gene as measured", images=(moving,), results={"ridge": ("measured",)}
        ),
        "warp": View("The map between the sections", images=(fixed,), results={"landmarks": ()}),
    }


def take_pictures(bench: Workbench, folder: Path) -> list[Path]:
    """Save one picture per part of the demonstration and return their paths.

    Afterwards everything is shown as it was before.
    """
    from napari_stomics.layers.tags import tagged
    from napari_stomics.layers.views import View, look_at, shown_alone

    folder.mkdir(parents=True, exist_ok=True)
    viewer, paths = bench.viewer, []

    def shoot(name: str) -> None:
        settle()
        paths.append(folder / f"{name}.png")
        viewer.window.screenshot(str(paths[-1]), canvas_only=False, flash=False)

    spots = tagged(viewer, role="spots")
    sections = View("Both sections", images=("Rep11", "Rep12"))
    with shown_alone(viewer, sections):
        look_at(viewer, spots)
        for mode in ("overlay", "checkerboard", "swipe"):
            bench.comparison("Rep12", "Rep11").set(mode)
            shoot(f"registered_{mode}")
        bench.comparison("Rep12", "Rep11").set("side by side")
        viewer.reset_view()
        shoot("registered_side_by_side")
        bench.leave_comparison()
    for name, view in views().items():
        with shown_alone(viewer, view):
            look_at(viewer, spots)
            shoot(name)
    viewer.reset_view()
    return paths


def settle(rounds: int = 12) -> None:
    """Let Qt and the canvas catch up."""
    from qtpy.QtTest import QTest

    for _ in range(rounds):
        QApplication.processEvents()
        QTest.qWait(25)  # type: ignore[call-arg, arg-type]


def open_paths(paths: Sequence[Path]) -> int:
    """Open studies and sections in a new window and run it until it is closed."""
    import napari

    viewer = napari.Viewer(title="napari-stomics")
    viewer.window.resize(*_SIZE)
    bench = workbench(viewer)
    open_docks(viewer.window)
    for path in paths:
        bench.open_path(path)
    napari.run()
    return 0
