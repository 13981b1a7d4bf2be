"""A small simulated study for tests that need sections of every kind."""

from functools import cache
from typing import Any


def small_simulation(**changes: Any) -> Any:
    """Return a fresh simulation of two sections of about 200 spots."""
    from napari_stomics import SimulationParams, simulate

    params = {
        "n_spots": 220,
        "n_genes": 120,
        "n_domains": 3,
        "rna_effect": 1.0,
        "um_per_px": 12.0,
        "rotation": 20.0,
        "warp_rms": 0.0,
        "seed": 3,
    }
    return simulate(SimulationParams(**{**params, **changes}))


@cache
def shared_simulation() -> Any:
    """One simulation for tests that change nothing."""
    return small_simulation()


def hushed(**callbacks: Any) -> Any:
    """Return a job context whose warnings go nowhere: for tests that are about something else."""
    from napari_stomics import JobContext

    return JobContext(on_warning=lambda text: None, **callbacks)
