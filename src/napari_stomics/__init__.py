"""Bring the modalities of spatial omics together in one napari window.

The package is a small house: ``core`` (parameters, jobs, results), ``methods``
and ``metrics`` (the science, free of any GUI), ``data`` (SpatialData in and
out), ``workflow`` (steps and recipes), ``session`` (state per viewer),
``layers`` (results as napari layers) and ``docks`` (the only Qt). Importing the
package imports none of the heavy libraries.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

try:
    __version__ = version("napari-stomics")
except PackageNotFoundError:  # pragma: no cover - a source tree that was never installed
    __version__ = "0+unknown"

_PUBLIC = {
    "Affine": "core.transforms",
    "JobCancelled": "core.errors",
    "JobContext": "core.jobs",
    "Recipe": "workflow.recipes",
    "Section": "data.study",
    "SimulationParams": "data.simulate",
    "Step": "workflow.steps",
    "Study": "data.study",
    "ThinPlateSpline": "core.transforms",
    "Transform": "core.transforms",
    "UserError": "core.errors",
    "olfactory_bulb": "data.samples",
    "open_study": "data.study",
    "run_recipe": "workflow.recipes",
    "run_step": "workflow.steps",
    "simulate": "data.simulate",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name in _PUBLIC:
        return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
