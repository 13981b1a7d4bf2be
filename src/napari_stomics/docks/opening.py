"""What napari calls for a drop, File > Open and File > Open Sample.

The files are read in a background job of the viewer's workbench and appear as
a study; napari itself is told that there is nothing more to add. A script has
no event loop yet: there the call returns once the layers are in the viewer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari_stomics.docks.add_reference import open_in_script, open_or_offer
from napari_stomics.docks.jobs import Job, JobState
from napari_stomics.docks.workbench import Workbench, told_to_user, workbench

LayerData = list[tuple[Any, ...]]
_NOTHING_MORE: LayerData = [(None,)]
_PAUSE_S = 0.01


def get_reader(path: str | Sequence[str]) -> Callable[[Any], LayerData] | None:
    """Return a reader if the path is a study or a section that we know, else None at once."""
    from napari_stomics.data.readers import detect

    paths = [path] if isinstance(path, str | Path) else list(path)
    if not paths or any(detect(p) is None for p in paths):
        return None
    return read_paths


def read_paths(path: str | Sequence[str]) -> LayerData:
    """Open studies and sections in the current viewer.

    Raises
    ------
    UserError
        If a file cannot be read, where no event loop runs to tell it otherwise.
    """
    bench = _current_bench()
    paths = [path] if isinstance(path, str | Path) else list(path)
    if _loop_runs():
        with told_to_user("Open"):
            for item in paths:
                open_or_offer(bench, Path(item))
    else:
        for item in paths:
            _finish(open_in_script(bench, Path(item)))
    return list(_NOTHING_MORE)


def sample_olfactory_bulb() -> LayerData:
    """Open the olfactory bulb pair."""
    return _sample("olfactory-bulb")


def sample_simulated() -> LayerData:
    """Open a simulated pair with known truth."""
    return _sample("simulated-pair")


def _sample(name: str) -> LayerData:
    """Layers of a sample. napari insists on getting them at once, so this does not wait in a job.

    The viewer's workbench takes the study over as soon as napari has added them.
    """
    import napari
    from napari.components import ViewerModel
    from qtpy.QtCore import QTimer

    from napari_stomics.data.samples import open_sample
    from napari_stomics.layers.section import add_section

    study = open_sample(name)
    model = ViewerModel()
    for section in study.sections:
        add_section(model, study, section)
    if napari.current_viewer() is not None:
        bench = _current_bench()
        QTimer.singleShot(0, lambda: bench.adopt(study))
    return [layer.as_layer_data_tuple() for layer in model.layers]


def _current_bench() -> Workbench:
    import napari

    viewer = napari.current_viewer()
    if viewer is None:
        raise RuntimeError("Open a napari viewer first; without one use napari_stomics.open_study.")
    return workbench(viewer)


def _loop_runs() -> bool:
    """Whether we were called from within Qt's event loop, as from a menu or by a drop."""
    from qtpy.QtCore import QThread

    return bool(QThread.currentThread().loopLevel() > 0)


def _finish(job: Job) -> None:
    """Wait for a job, letting the window live, and raise what it raised."""
    from qtpy.QtWidgets import QApplication

    while job.is_active:
        QApplication.processEvents()
        time.sleep(_PAUSE_S)
    if job.state is JobState.FAILED and job.error is not None:
        raise job.error
