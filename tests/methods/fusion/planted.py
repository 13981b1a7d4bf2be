"""Small inputs with a known answer for tests of fusion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from napari_stomics.core.fusion import Block, FusionInputs
from napari_stomics.core.jobs import JobContext


def grid(side: int, pitch: float = 100.0) -> np.ndarray:
    """(side ** 2, 2) centres (x, y) on a square grid, in micrometres."""
    y, x = np.divmod(np.arange(side * side), side)
    return np.stack([x, y], axis=1) * pitch


def quarters(side: int) -> np.ndarray:
    """(side ** 2,) index of the quarter of the grid: 0 and 1 above, 2 and 3 below."""
    y, x = np.divmod(np.arange(side * side), side)
    return 2 * (y >= side // 2) + (x >= side // 2)


def block(name: str, x: Any, rows: Any = None, kind: str = "rna") -> Block:
    """A modality with made-up names of its features."""
    names = np.array([f"{name}_{i}" for i in range(x.shape[1])], object)
    return Block(name, kind, x, names, np.arange(x.shape[0]) if rows is None else rows)


def inputs_of(*blocks: Block, side: int = 14, sections: int = 1) -> FusionInputs:
    """Fusion inputs on one or several square grids of the same size."""
    n = side * side
    return FusionInputs(
        sections=tuple(f"s{i + 1}" for i in range(sections)),
        of=np.repeat(np.arange(sections), n),
        ids=np.array([f"spot{i}" for i in range(n)] * sections, object),
        coordinates=np.tile(grid(side), (sections, 1)),
        pitches=(100.0,) * sections,
        blocks=blocks,
    )


def counts(labels: np.ndarray, features: int, seed: int, effect: float = 4.0) -> np.ndarray:
    """(n, features) Poisson counts; each group of spots has features of its own."""
    rng = np.random.default_rng(seed)
    groups = int(labels.max()) + 1
    rate = np.full((groups, features), 2.0)
    for g in range(groups):
        rate[g, g::groups] *= effect
    return rng.poisson(rate[labels]).astype(np.float32)


def cancelling_after(steps: int) -> JobContext:
    """A context whose user cancels at some step."""
    left = [steps]

    def cancelled() -> bool:
        left[0] -= 1
        return left[0] < 0

    return JobContext(is_cancelled=cancelled, on_warning=lambda text: None)


def same_groups(values: np.ndarray, labels: np.ndarray) -> float:
    """Adjusted Rand index of k-means on the values against the true groups."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    k = len(np.unique(labels))
    found = KMeans(k, n_init=5, random_state=0).fit_predict(values)
    return float(adjusted_rand_score(labels, found))


def quiet(run: Callable[..., Any], inputs: FusionInputs, params: Any) -> Any:
    """Run a method whose warnings are not what the test is about."""
    return run(inputs, params, JobContext(on_warning=lambda text: None))
