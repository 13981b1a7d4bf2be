"""Make the pictures of the documentation, in a real window, from the sample.

Run it under a display: ``make docs-pictures``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
WIDTH = 1200


def main() -> int:
    import napari

    from napari_stomics.data.samples import open_sample
    from napari_stomics.docks.demo import settle, views
    from napari_stomics.docks.workbench import open_docks, workbench
    from napari_stomics.layers.tags import tagged
    from napari_stomics.layers.views import look_at, shown_alone
    from napari_stomics.workflow.demo import demo_recipe
    from napari_stomics.workflow.recipes import run_recipe

    FOLDER.mkdir(parents=True, exist_ok=True)
    study, _ = run_recipe(demo_recipe())
    viewer = napari.Viewer()
    viewer.window.resize(1500, 950)
    bench = workbench(viewer)
    open_docks(viewer.window)

    def shoot(name: str, dock: str) -> None:
        raise_dock(viewer, dock)
        settle()
        write(viewer.window.screenshot(canvas_only=False, flash=False), FOLDER / f"{name}.jpg")

    bench.session.open(open_sample("olfactory-bulb"))
    shoot("opened", "Study and sections")
    shoot("landmarks", "Landmark registration")
    bench.session.open(study)
    spots = tagged(viewer, role="spots")
    look_at(viewer, spots)
    bench.comparison("Rep12", "Rep11").set("swipe")
    shoot("swipe", "Compare sections")
    bench.comparison("Rep12", "Rep11").set("side by side")
    viewer.reset_view()
    shoot("side_by_side", "Compare sections")
    bench.leave_comparison()
    for name, view in views().items():
        with shown_alone(viewer, view):
            look_at(viewer, spots)
            shoot(name, "Methods and results")
    viewer.close()
    print(f"{len(list(FOLDER.glob('*.jpg')))} pictures in {FOLDER}")
    return 0


def raise_dock(viewer: Any, name: str) -> None:
    """Bring a dock's tab to the front."""
    for title, widget in viewer.window.dock_widgets.items():
        if title.startswith(name):
            parent = widget.parentWidget()
            while parent is not None and not hasattr(parent, "raise_dock"):
                if parent.metaObject().className().endswith("DockWidget"):
                    parent.raise_()
                    return
                parent = parent.parentWidget()


def write(pixels: Any, path: Path) -> None:
    """Write a screenshot as JPEG of the documentation's width."""
    from PIL import Image

    image = Image.fromarray(pixels[..., :3])
    height = round(image.height * WIDTH / image.width)
    image.resize((WIDTH, height), Image.Resampling.LANCZOS).save(path, quality=88)


if __name__ == "__main__":
    sys.exit(main())
