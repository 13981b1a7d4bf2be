"""What morphology adds: speed of the plane, calibration of its nulls, and one real section."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks._harness import DataMissing, data_root, line, run_isolated

NAMES = ("plane.speed", "plane.calibration", "plane.her2st")
_IMPORTS = ("scipy.sparse", "scipy.spatial", "scipy.stats", "scipy.special", "sklearn.linear_model")
_SETS = 40


def lines(wanted: Callable[[str], bool] = lambda name: True) -> Iterator[dict[str, Any]]:
    for name, build in (
        ("plane.speed", _speed),
        ("plane.calibration", _calibration),
        ("plane.her2st.A1", _her2st),
    ):
        if wanted(name):
            try:
                yield build(name)
            except DataMissing as error:
                print(f"{name}: {error}")


def _speed(name: str) -> dict[str, Any]:
    cost = run_isolated("benchmarks.plane:judge_large", False, imports=_IMPORTS)
    more = run_isolated("benchmarks.plane:judge_large", True, imports=_IMPORTS)
    return line(
        name,
        {
            "seconds": round(cost.seconds, 2),
            **cost.values,
            "seconds_with_gain": round(more.seconds, 2),
        },
        protocol="500 features and 5,000 genes (Poisson counts, CSR) on 4,000 spots of a lattice, "
        "7 labels; 2,000 random fields as spatial null; one thread, arrays in memory; with_gain "
        "adds the held-out gain on 30 blocks.",
    )


def judge_large(gain: bool) -> int:
    """Judge 500 features; in a process of its own."""
    from scipy import sparse

    rng = np.random.default_rng(0)
    xy = 100.0 * np.stack(np.meshgrid(np.arange(64), np.arange(64)), -1).reshape(-1, 2)[:4000]
    counts = sparse.csr_array(rng.poisson(0.3, (4000, 5000)))
    labels = (xy[:, 0] // 900).astype(int)
    found = _judge(xy, rng.standard_normal((4000, 500)), counts, labels, "rna", gain=gain)
    return int(found.spots)


def _judge(xy: Any, x: Any, y: Any, labels: Any, kind: str, **params: Any) -> Any:
    from napari_stomics.core.jobs import JobContext
    from napari_stomics.core.plane import PlaneInputs
    from napari_stomics.methods.morphology.plane import PlaneParams, morphology_plane

    def names(letter: str, count: int) -> Any:
        return np.array([f"{letter}{i}" for i in range(count)], object)

    inputs = PlaneInputs(
        "section", names("s", len(xy)), xy, 100.0, x, names("f", x.shape[1]), "image", y,
        names("g", y.shape[1]), "other", ("image", kind), np.asarray(labels).astype(str), "label",
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return morphology_plane(inputs, PlaneParams(**params), JobContext())


def _calibration(name: str) -> dict[str, Any]:
    cost = run_isolated("benchmarks.plane:false_positives", _SETS, imports=_IMPORTS)
    return line(
        name,
        {**cost.result[0], **cost.values},
        peers={"permuted_labels": cost.result[1]},
        protocol=f"{_SETS} sets of 60 features, 60 genes and labels of 4 classes, all independent "
        "of each other, on about 700 spots of irregular tissue: Gaussian-filtered noise of widths "
        "0 to 8 spots, half of it with 50 % white noise, half of the features exponentiated. Share "
        "of features above the 95 % null of each axis; nominal .05.",
    )


def false_positives(sets: int) -> tuple[dict[str, float], dict[str, float]]:
    """Shares of unrelated features above the spatial null and above permuted labels."""
    spatial, permuted = [], []
    for seed in range(sets):
        rng = np.random.default_rng(seed)
        xy, field = _ground(rng)
        columns = [field(s, e) for s in (0, 1, 2, 4, 8) for e in (0.0, 0.5) for _ in range(6)]
        x = np.column_stack([np.exp(c) if i % 2 else c for i, c in enumerate(columns)])
        y = np.column_stack(
            [field(rng.choice([0, 1, 2, 4, 8]), rng.uniform(0, 0.9)) for _ in range(60)]
        )
        own = field(rng.choice([2, 4, 8]), 0.0)
        labels = np.digitize(own, np.quantile(own, [0.3, 0.6, 0.8]))
        p = _judge(xy, x, y, labels, "embedding", gain=False, seed=seed)
        spatial.append([p.relevance > p.relevance_null, p.shared > p.shared_null])
        permuted.append([p.relevance > p.relevance_floor, p.shared > p.shared_floor])
    rates = [np.mean(found, axis=(0, 2)) for found in (spatial, permuted)]
    first, second = (
        {"relevance": round(float(r[0]), 4), "shared": round(float(r[1]), 4)} for r in rates
    )
    return first, second


def _ground(rng: Any) -> tuple[Any, Callable[[float, float], Any]]:
    """Irregular tissue, and what draws a field of a width and a share of noise on it."""
    from scipy import ndimage

    side = 34
    rows, columns = np.mgrid[:side, :side]
    height = ndimage.gaussian_filter(rng.standard_normal((side, side)), side / 6)
    height -= 0.02 * np.hypot(rows - side / 2, columns - side / 2) / side
    at = np.nonzero(height > np.quantile(height, 0.4))
    xy = 100.0 * np.column_stack([at[1] + 0.5 * (at[0] % 2), at[0] * 0.866])

    def field(width: float, noise: float) -> Any:
        wide = rng.standard_normal((side + 80, side + 80))
        wide = ndimage.gaussian_filter(wide, width) if width else wide
        own = wide[40 : 40 + side, 40 : 40 + side][at]
        own = (own - own.mean()) / own.std()
        return np.sqrt(1 - noise) * own + np.sqrt(noise) * rng.standard_normal(len(own))

    return xy, field


def _her2st(name: str) -> dict[str, Any]:
    path = data_root("her2st") / "her2st" / "A" / "A1.h5ad"
    cost = run_isolated("benchmarks.plane:judge_section", str(path), imports=_IMPORTS)
    return line(
        name,
        {**cost.result, **cost.values},
        protocol="HER2+ breast cancer A1, 346 spots, H&E at 3.19 um a pixel (nuclei not resolved), "
        "63 image features against 12,041 genes, relevant to the pathologist's labels; quadrants "
        "by each feature's spatial 95 % null; gain in bits per spot on 33 spatial blocks.",
    )


def judge_section(path: str) -> dict[str, float]:
    """Features of a section's image, and their plane."""
    from napari_stomics.core.jobs import JobContext
    from napari_stomics.data.readers import read_section
    from napari_stomics.data.study import Study
    from napari_stomics.workflow.steps import Step, run_step

    quiet = JobContext(on_warning=lambda text: None)
    study = Study(read_section(path))
    section = next(iter(study.sections))
    run_step(study, Step(method="morphology/features", inputs={"section": section}), quiet)
    inputs = {"section": section, "annotation": "pathologist_label"}
    found = run_step(study, Step(method="morphology/plane", inputs=inputs), quiet)
    kept = ("translation", "integration", "noise", "overestimation", "median_relevance",
            "relevance_floor", "median_relevance_null", "median_shared", "shared_floor",
            "median_shared_null", "gain_bits", "gain_low", "gain_high")  # fmt: skip
    return {key: round(float(found.summary()[key]), 4) for key in kept}
