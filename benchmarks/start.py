"""How long the package takes to import and an empty dock to open, beside napari itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from benchmarks._harness import ROOT, line

NAMES = ("start.import", "start.dock")
HEAVY = ("torch", "scanpy", "spatialdata")

IMPORT = """
import json, sys, time
start = time.perf_counter()
import {module}
seconds = time.perf_counter() - start
loaded = [name for name in {heavy!r} if name in sys.modules]
print(json.dumps({{"seconds": seconds, "loaded": loaded}}))
"""

DOCK = """
import json, sys, time
start = time.perf_counter()
import napari
from qtpy.QtWidgets import QApplication

def settle():
    # Twice: showing a window queues the events that paint it.
    for _ in range(2):
        QApplication.processEvents()

viewer = napari.Viewer()
settle()
shown = time.perf_counter()
from npe2 import PluginManager
manifest = PluginManager.instance().get_manifest("napari-stomics")
name = manifest.contributions.widgets[0].display_name
viewer.window.add_plugin_dock_widget("napari-stomics", name)
settle()
docked = time.perf_counter()
loaded = [name for name in {heavy!r} if name in sys.modules]
print(json.dumps({{"viewer": shown - start, "dock": docked - shown, "loaded": loaded}}))
viewer.close()
"""


def lines(wanted: Callable[[str], bool]) -> Iterator[dict[str, Any]]:
    if wanted("start.import"):
        yield import_line()
    if wanted("start.dock"):
        yield dock_line()


def import_line(repeats: int = 7) -> dict[str, Any]:
    """Measure ``import napari_stomics`` beside ``import napari``."""
    ours, theirs = (
        [fresh(IMPORT.format(module=module, heavy=HEAVY)) for _ in range(repeats)]
        for module in ("napari_stomics", "napari")
    )
    heavy = {name for run in ours for name in run["loaded"]}
    return line(
        "start.import",
        {"seconds": median(run["seconds"] for run in ours), "heavy_modules": len(heavy)},
        peers={"napari": {"seconds": median(run["seconds"] for run in theirs)}},
        protocol="Wall-clock seconds of the import statement in a fresh interpreter, files cached,"
        f" median of {repeats}; heavy_modules counts those of {', '.join(HEAVY)} that it imported.",
    )


def dock_line(repeats: int = 5) -> dict[str, Any]:
    """Measure opening the first widget of our manifest in a new, shown viewer."""
    runs = [fresh(DOCK.format(heavy=HEAVY), display=True) for _ in range(repeats + 1)][1:]
    heavy = {name for run in runs for name in run["loaded"]}
    return line(
        "start.dock",
        {"seconds": median(run["dock"] for run in runs), "heavy_modules": len(heavy)},
        peers={"napari": {"seconds": median(run["viewer"] for run in runs)}},
        protocol="Wall-clock seconds from a shown empty viewer to the first dock of the manifest"
        " shown in it, events processed; napari: from `import napari` to its viewer shown. Fresh"
        f" process and virtual display each, median of {repeats} after one to warm the file cache.",
    )


def fresh(code: str, *, display: bool = False) -> dict[str, Any]:
    """Run code in a new interpreter and return the JSON that it prints last."""
    command = [sys.executable, "-c", code]
    environment = dict(os.environ)
    if display:
        command = ["bash", str(ROOT / "scripts" / "with-display.sh"), *command]
        environment["HEADLESS"] = "1"
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        raise RuntimeError(f"ended with status {done.returncode}:\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer
