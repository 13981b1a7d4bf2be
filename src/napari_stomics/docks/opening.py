"""What napari calls for a drop, File > Open and File > Open Sample.

The files are read in a background job of the viewer's workbench and appear as
a study; napari itself is told that there is nothing more to add.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari_stomics.docks.workbench import Workbench, told_to_user, workbench

LayerData = list[tuple[Any, ...]]
_NOTHING_MORE: LayerData = [(None,)]


def get_reader(path: str | Sequence[str]) -> Callable[[Any], LayerData] | None:
    """Return a reader if the path is a study or a section that we know, else None at once."""
    from napari_stomics.data.readers import detect

    paths = [path] if isinstance(path, str) else list(path)
    if not paths or any(detect(p) is None for p in paths):
        return None
    return read_paths


def read_paths(path: str | Sequence[str]) -> LayerData:
    """Open studies and sections in the current viewer, in the background."""
    bench = _current_bench()
    with told_to_user("Open"):
        for item in [path] if isinstance(path, str) else path:
            bench.open_path(Path(item))
    return _NOTHING_MORE


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
