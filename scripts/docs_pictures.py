"""Make the pictures of the documentation, in a real window, from the sample.

Run it under a display: ``make docs-pictures``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
WIDTH = 1200


def main() -> int:
    # Nothing of the machine's user belongs into the pictures.
    os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp()
    from napari_stomics.data.samples import open_sample
    from napari_stomics.docks.demo import settle, views
    from napari_stomics.docks.workbench import open_docks
    from napari_stomics.layers.colour import colour_by
    from napari_stomics.layers.tags import tag, tagged
    from napari_stomics.layers.views import View, look_at, shown_alone
    from napari_stomics.workflow.demo import demo_recipe
    from napari_stomics.workflow.recipes import run_recipe

    FOLDER.mkdir(parents=True, exist_ok=True)
    viewer, bench = window("Study and sections")
    bench.session.open(open_sample("olfactory-bulb"))
    spots = tagged(viewer, role="spots")
    for layer in spots:
        study = bench.session.study
        colour_by(layer, study, tag(layer)["section"], "layer")
    shoot(viewer, "opened")
    open_docks(viewer.window, ("Landmark registration",))
    look_at(viewer, [tagged(viewer, role="spots")[0]])
    shoot(viewer, "landmarks")
    viewer.close()
    settle()

    shoot_alignment()

    study, _ = run_recipe(demo_recipe())
    viewer, bench = window("Compare sections")
    bench.session.open(study)
    spots = tagged(viewer, role="spots")
    sections = View("Both sections", images=("Rep11", "Rep12"))
    with shown_alone(viewer, sections):
        look_at(viewer, spots)
        bench.comparison("Rep12", "Rep11").set("swipe")
        shoot(viewer, "swipe")
        bench.comparison("Rep12", "Rep11").set("side by side")
        viewer.reset_view()
        shoot(viewer, "side_by_side")
        bench.leave_comparison()
    open_docks(viewer.window, ("Methods and results",))
    for name, view in views().items():
        with shown_alone(viewer, view):
            look_at(viewer, spots)
            shoot(viewer, name)
    plan_pictures(viewer, bench)
    viewer.close()
    settle()
    stack_pictures()
    fusion_pictures()
    print(f"{len(list(FOLDER.glob('*.jpg')))} pictures in {FOLDER}")
    return 0


def shoot_alignment() -> None:
    """Take pictures of an alignment while it runs, and of its answer."""
    from napari_stomics.data.samples import open_sample
    from napari_stomics.docks.demo import settle

    name = "Align sections (optimal transport)"
    viewer, bench = window(name)
    bench.session.open(open_sample("olfactory-bulb"))
    dock = next(w for title, w in viewer.window.dock_widgets.items() if title.startswith(name))
    settle()
    held: list[Any] = []

    def hold(job: Any, state: Any) -> None:
        if len(state.objective) > 3 and not held:
            held.append(job)
            dock.run.on_pause()

    bench.runner.state_shown.connect(hold)
    dock.run.start()
    wait_while(lambda: not (dock.run.job is None or dock.run.job.is_paused))
    shoot(viewer, "aligning")
    if held and held[0].is_active:
        dock.run.on_pause()
    wait_while(bench.runner.active)
    shoot(viewer, "aligned")
    viewer.close()
    settle()


def wait_while(busy: Any) -> None:
    """Let the window live while something goes on, and half a second longer."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop, timer, quiet = QEventLoop(), QTimer(), [0]

    def look() -> None:
        quiet[0] = 0 if busy() else quiet[0] + 1
        if quiet[0] > 10:
            loop.quit()

    timer.timeout.connect(look)
    timer.start(50)
    loop.exec()


def window(*docks: str) -> tuple[Any, Any]:
    """Return a new viewer and its workbench, with some docks open."""
    import napari

    from napari_stomics.docks.workbench import open_docks, workbench

    viewer = napari.Viewer()
    viewer.window.resize(1500, 950)
    open_docks(viewer.window, docks)
    return viewer, workbench(viewer)


def plan_pictures(viewer: Any, bench: Any) -> None:
    """Partners of a spot, a gene carried over, the next landmark, two plans."""
    from napari_stomics.docks.layout import in_column
    from napari_stomics.docks.look_next_panel import LookNextPanel
    from napari_stomics.docks.partner_panel import PartnerPanel
    from napari_stomics.docks.plan_layers_panel import PlanLayersPanel
    from napari_stomics.layers.tags import tagged
    from napari_stomics.layers.views import View, look_at, shown_alone

    panels = partners, layers, look = (
        PartnerPanel(bench),
        PlanLayersPanel(bench),
        LookNextPanel(bench),
    )
    viewer.window.add_dock_widget(in_column(*panels), name="A plan", tabify=True)
    run = next(r for r in bench.session.results() if r.kind == "transport_plan")
    for panel in panels:
        panel.set_plan(run)
    at_rest(bench)
    view = View("", images=("Rep11", "Rep12"), spots=("Rep11", "Rep12"))
    with shown_alone(viewer, view):
        bench.comparison("Rep12", "Rep11").set("side by side")
        look_at(viewer, tagged(viewer, role="spots"), fit_view=True)
        partners.glow.show(("source", 100), pin=True)
        shoot(viewer, "partners")
        partners.glow.clear()
        bench.leave_comparison()
        look.step()
        shoot(viewer, "look_next")
        look.show_suggestion()
        shoot(viewer, "next_landmark")
    layers.show_gene("Penk")
    at_rest(bench)
    layers.beside.click()
    shoot(viewer, "carried_gene")
    bench.leave_comparison()


def stack_pictures() -> None:
    """Serial sections that were simulated, aligned, above each other."""
    from napari_stomics import SimulationParams, simulate
    from napari_stomics.docks.demo import settle
    from napari_stomics.docks.docking import raise_dock
    from napari_stomics.layers.colour import colour_by
    from napari_stomics.layers.tags import tag, tagged

    params = SimulationParams(n_sections=4, n_spots=600, n_genes=300, n_domains=6, seed=7)
    viewer, bench = window("Stack of sections")
    bench.session.open(simulate(params).study)
    dock = raise_dock(viewer, "Stack of sections")
    dock.panel.align.click()
    at_rest(bench)
    for layer in tagged(viewer, role="spots"):
        colour_by(layer, bench.session.study, tag(layer)["section"], "domain")
    for layer in tagged(viewer, role="image"):
        layer.visible = False
    dock.panel.view.recorded.setChecked(False)
    dock.panel.view.shown.click()
    shoot(viewer, "stack")
    viewer.close()
    settle()


def fusion_pictures() -> None:
    """Domains under sliders, their metrics, and the plane of morphology and expression."""
    from napari_stomics.data.samples import open_sample
    from napari_stomics.docks.demo import settle
    from napari_stomics.docks.docking import raise_dock
    from napari_stomics.layers.tags import tagged
    from napari_stomics.layers.views import View, look_at, shown_alone

    viewer, bench = window("Fusion and domains")
    bench.session.open(open_sample("olfactory-bulb"))
    dock = raise_dock(viewer, "Fusion and domains")
    at_rest(bench)
    dock.fusion.refs.set_value("section", "Rep11")
    dock.live.start()
    at_rest(bench)
    here = View("", images=("Rep11",))
    before = {layer for layer in viewer.layers if not layer.visible}
    with shown_alone(viewer, here):
        for layer in tagged(viewer, section="Rep11"):
            layer.visible = layer not in before
        look_at(viewer, tagged(viewer, section="Rep11", role="spots"))
        shoot(viewer, "fusion")
    dock.live.keep()
    wait_while(bench.runner.active)
    metrics = raise_dock(viewer, "Metrics of domains")
    metrics.score.click()
    at_rest(bench)
    with shown_alone(viewer, View("", images=("Rep11",), results={"gmm": ("domains",)})):
        shoot(viewer, "metrics")
    plane = raise_dock(viewer, "Morphology and expression")
    plane.read.click()
    at_rest(bench)
    plane.judge.click()
    at_rest(bench)
    result = plane.shown.currentText()
    plane.show_feature(max(zip(plane.plane.relevance, plane.plane.features, strict=True))[1])
    at_rest(bench)
    with shown_alone(viewer, View("", images=("Rep11",), results={result: ()})):
        shoot(viewer, "plane")
    viewer.close()
    settle()


def at_rest(bench: Any) -> None:
    """Wait until no job runs."""
    from napari_stomics.docks.demo import settle

    while bench.runner.active():
        settle(1)
    settle()


def shoot(viewer: Any, name: str) -> None:
    """Take a picture of the whole window."""
    from napari_stomics.docks.demo import settle

    settle()
    write(viewer.window.screenshot(canvas_only=False, flash=False), FOLDER / f"{name}.jpg")


def write(pixels: Any, path: Path) -> None:
    """Write a screenshot as JPEG of the documentation's width."""
    from PIL import Image

    image = Image.fromarray(pixels[..., :3])
    height = round(image.height * WIDTH / image.width)
    image.resize((WIDTH, height), Image.Resampling.LANCZOS).save(path, quality=88)


if __name__ == "__main__":
    sys.exit(main())
