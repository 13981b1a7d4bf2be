"""Alignment of simulated pairs beside POT's dense solver, moscot and PASTE2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from benchmarks import _align_cases as cases
from benchmarks._align_cases import Case
from benchmarks._harness import Measured, line, run_isolated

NAMES = ("align.sim", "align.crop", "align.warp", "align.landmarks", "align.warm")

IMPORTS = (
    "numba", "ot", "scipy.fft", "scipy.optimize", "scipy.sparse.csgraph", "scipy.spatial",
    "skimage.transform", "sklearn.utils.extmath", "napari_stomics.methods.alignment.solve",
)  # fmt: skip
DENSE = {"max_spots": 20_000, "start": "uniform"}
"""POT as PASTE starts it, on our features and in units of the pitch."""

_MEASURES = (
    "exact: share of the source spots with a partner whose largest match is that partner; within1: "
    "largest match within 1.05 pitches of the true place, of the spots whose tissue the target "
    "holds; tre_pitch: mean distance of the registration from the truth there; cpu_s and peak_mb "
    "of features, pose, plan and registration together, one thread, libraries and kernels loaded "
    "before by an alignment of 400 spots"
)
_SIMULATED = (
    f"own simulator, seed {cases.SEED}, turned by 40 degrees, a tenth of the spots missing, no "
    "landmarks, default parameters unless said; nn_label: nearest spot in feature space has the "
    "same label"
)


@dataclass(frozen=True)
class Setting:
    """A simulated case: how it is made, and with which parameters it is aligned."""

    n: int
    note: str
    made: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    peers: tuple[str, ...] = ()


_CELLS = {"layout": "cells", "n_genes": 150, "rna_depth": 300.0, "rna_effect": 0.5}
SETTINGS: dict[str, Setting] = {
    "align.sim4k.default": Setting(
        4000, "default", {"rna_depth": 800.0}, peers=("pot", "moscot", "paste2")
    ),
    "align.sim20k.default": Setting(20_000, "default", {"rna_depth": 600.0}),
    "align.sim100k.default": Setting(100_000, "irregular cells, 150 genes", _CELLS),
    "align.sim1m.default": Setting(1_000_000, "irregular cells, 150 genes", _CELLS),
    "align.crop30": Setting(
        2000, "30 % of the target cut off",
        {"crop": 0.3, "rna_depth": 430.0}, peers=("pot", "paste2"),
    ),
    "align.crop50": Setting(
        2000, "50 % of the target cut off",
        {"crop": 0.5, "rna_depth": 350.0}, peers=("pot", "paste2"),
    ),
    "align.crop_warp": Setting(
        4000, "30 % cut off and a warp of 2 pitches RMS",
        {"crop": 0.3, "warp_rms": 2.0, "warp_length": 0.7, "rna_depth": 430.0},
    ),
    "align.warp4": Setting(
        4000, "warp of 4 pitches RMS", {"warp_rms": 4.0, "warp_length": 0.7, "rna_depth": 800.0}
    ),
    "align.landmarks4": Setting(
        4000, "started from four landmarks, each end misplaced by 4 pitches (standard deviation)",
        {"rna_depth": 800.0, "landmark_error": 4.0}, {"prior": "landmarks"},
    ),
}  # fmt: skip


def run(pair: Any, method: str, params: dict[str, Any]) -> Any:
    """Run a method on a pair; in a process of its own."""
    import warnings

    from napari_stomics.core.jobs import JobContext
    from napari_stomics.core.registry import registry

    spec = registry().get(method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return spec.run(pair, spec.params(**params), JobContext())


def align(pair: Any, method: str = "alignment/fgw", **params: Any) -> Measured:
    """Measure one alignment in a process of its own."""
    start = {name: value for name, value in params.items() if name != "prior"}
    warm = (small_pair(), method, start)
    return run_isolated("benchmarks.align:run", pair, method, params, imports=IMPORTS, warm=warm)


@cache
def small_pair() -> Any:
    """400 spots, aligned before a measurement so that libraries and kernels are loaded."""
    return cases.simulated(400).pair


def costs(measured: Measured) -> dict[str, float]:
    """CPU seconds and peak memory."""
    return dict(measured.values)


def accuracy(case: Case, plan: Any, registration: Any = None) -> dict[str, float]:
    """``exact``, ``within1`` and, where there is a registration, ``tre_pitch``."""
    from scipy.spatial import cKDTree

    pitch, there = case.pair.source.pitch, case.pair.target.coordinates
    best = np.asarray(plan.argmax(axis=1)).ravel()
    sent = np.asarray(plan.sum(axis=1)).ravel() > 0
    known = case.partners >= 0
    held = cKDTree(there).query(case.positions)[0] < 0.75 * pitch
    off = np.linalg.norm(there[best] - case.positions, axis=1) / pitch
    out = {
        "exact": float(np.mean((sent & (best == case.partners))[known])),
        "within1": float(np.mean((sent & (off <= 1.05))[held])),
    }
    if registration is not None:
        at = registration.transform.apply(case.pair.source.coordinates)
        out["tre_pitch"] = float(np.linalg.norm(at - case.positions, axis=1)[held].mean() / pitch)
    return out


def objective(case: Case, plan: Any, alpha: float) -> float:
    """The fused objective of a plan, from its non-zero entries in double precision."""
    from napari_stomics.methods.alignment.features import FeatureOptions, compare_features
    from napari_stomics.methods.alignment.support import structure_cost

    space = compare_features(case.pair, FeatureOptions())
    entries = plan.tocoo()
    i, j, mass = entries.row, entries.col, entries.data
    pitch = case.pair.source.pitch
    structure = structure_cost(
        i, j, mass, case.pair.source.coordinates / pitch, case.pair.target.coordinates / pitch
    )
    features = float(np.asarray(space.on(i, j), float) @ mass)
    return (1 - alpha) * features + alpha * structure


def peers(case: Case, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Accuracy and costs of other tools on the same pair; one that fails is named on stderr."""
    import subprocess
    import sys

    from benchmarks.peers import PeerMissing, align_with

    out: dict[str, dict[str, float]] = {}
    for name in names:
        if name == "pot":
            done = align(case.pair, "alignment/fgw-dense", **DENSE)
            out[name] = accuracy(case, done.result.plan) | costs(done)
            continue
        true = {"s": float(np.mean(case.partners >= 0)), "dissimilarity": "pca"}
        try:
            found = align_with(name, case.pair, **(true if name == "paste2" else {}))
        except (PeerMissing, RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"{name} gave no plan: {error}", file=sys.stderr)
            continue
        out[name] = accuracy(case, found.plan) | {"cpu_s": found.cpu_s, "peak_mb": found.peak_mb}
    return out


def lines(wanted: Any) -> Iterator[dict[str, Any]]:
    """One line per simulated case."""
    for name, setting in SETTINGS.items():
        if not wanted(name):
            continue
        case = cases.simulated(setting.n, **setting.made)
        done = align(case.pair, **setting.params)
        values = accuracy(case, done.result.plan, done.result.registration)
        values |= costs(done) | {"converged": int(done.result.converged)}
        if setting.n <= 20_000:
            values["nn_label"] = cases.neighbour_label_accuracy(case)
        yield line(
            name,
            values,
            peers=peers(case, setting.peers),
            protocol=f"{_SIMULATED}; {setting.n} spots, {setting.note}; {_MEASURES}; peers: POT's "
            "dense conditional gradient on the same features from the uniform plan; moscot at its "
            "defaults; PASTE2 told the true overlap, with its own faster dissimilarity pca",
        )
    if wanted("align.sim4k.exact"):
        yield exact_line()
    if wanted("align.warm5k"):
        yield warm_line()


def exact_line() -> dict[str, Any]:
    """Both at exact marginals: the objective of ours and of POT."""
    case = cases.simulated(4000, **SETTINGS["align.sim4k.default"].made)
    done = align(case.pair, solver="exact", marginals="balanced", bend=False)
    pot = align(case.pair, "alignment/fgw-dense", **DENSE)
    values = accuracy(case, done.result.plan, done.result.registration) | costs(done)
    values["objective"] = objective(case, done.result.plan, 0.5)
    values["marginal_error"] = done.result.marginal_error
    peer = accuracy(case, pot.result.plan) | costs(pot)
    peer["objective"] = objective(case, pot.result.plan, 0.5)
    peer["marginal_error"] = pot.result.marginal_error
    return line(
        "align.sim4k.exact",
        values,
        peers={"pot": peer},
        protocol=f"{_SIMULATED}; 4000 spots; exact solver, balanced marginals, rigid; objective at "
        f"alpha .5 in pitches with the same cosine features, both in double precision; {_MEASURES}",
    )


def again(pair: Any, params: dict[str, Any], moved: Any) -> tuple[Any, float]:
    """Align, move a landmark, and align again from the plan; return the seconds of the second."""
    import time
    from dataclasses import replace

    first = run(pair, "alignment/fgw", params)
    clock = time.perf_counter()
    second = run(
        replace(pair, landmarks=moved, start=first), "alignment/fgw", params | {"prior": "pinned"}
    )
    return second, time.perf_counter() - clock


def warm_line() -> dict[str, Any]:
    """A landmark dragged by two pitches at 5,000 spots."""
    from dataclasses import replace

    case = cases.simulated(5000, rna_depth=800.0, landmark_error=0.0)
    marks = case.pair.landmarks
    assert marks is not None
    points = marks.target_points.copy()
    points[0] += 2.0 * case.pair.source.pitch
    moved = replace(marks, target_points=points)
    done = run_isolated(
        "benchmarks.align:again", case.pair, {"prior": "landmarks"}, moved, imports=IMPORTS
    )
    plan, seconds = done.result
    carried = plan.registration.transform.apply(moved.source_points[:1])[0]
    left = float(np.linalg.norm(carried - points[0]) / case.pair.source.pitch)
    return line(
        "align.warm5k",
        {"seconds": seconds, "left_pitch": left},
        protocol="5000 spots, aligned once; one of four exact landmarks is then dragged by 2 "
        "pitches in x and y and held: wall-clock of the warm solve, from inputs to plan; "
        "left_pitch: distance of the dragged landmark from where the new registration carries it",
    )
