"""Small tissues with known places of every cell."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_stomics.core.inputs import Cells, MappingInputs, Spots

PITCH = 10.0


def gradients(
    n: int = 240, genes: int = 120, depth: float = 1500.0, seed: int = 0, aspect: float = 1.6
) -> tuple[Any, Any]:
    """Positions (x, y) um on a grid, and expected counts: each gene rises once across the tissue.

    Expression then changes with distance throughout, which is what a
    reconstruction from distances alone assumes.
    """
    rng = np.random.default_rng(seed)
    width = int(np.sqrt(n * aspect))
    x, y = np.meshgrid(np.arange(width), np.arange(n // width))
    xy = np.column_stack([x.ravel(), y.ravel()]) * PITCH
    local = (xy - xy.mean(axis=0)) / xy.max()
    angle = rng.uniform(0, 2 * np.pi, genes)
    along = local @ np.stack([np.cos(angle), np.sin(angle)])
    log_mean = 1.5 * np.tanh(2 * (along - rng.uniform(-0.4, 0.4, genes))) + rng.normal(0, 1, genes)
    mean = np.exp(log_mean)
    return xy, depth * mean / mean.sum(axis=1, keepdims=True)


def layers(xy: Any, count: int = 4) -> Any:
    """Label of each place: bands across x."""
    edges = np.quantile(xy[:, 0], np.linspace(0, 1, count + 1)[1:-1])
    return np.array([f"L{i + 1}" for i in np.searchsorted(edges, xy[:, 0])], object)


def names(prefix: str, count: int) -> Any:
    return np.array([f"{prefix}{i}" for i in range(count)], object)


def case(markers: int | None = None, seed: int = 0, **more: Any) -> tuple[MappingInputs, Any]:
    """Cells of unknown place and an atlas of other cells there; both drawn anew from the means.

    Parameters
    ----------
    markers
        How many genes the atlas has; by default all.

    Returns
    -------
    inputs
        The cells, shuffled, and the spots.
    places
        (n, 2) true position of each cell, um.
    """
    from scipy.sparse import csr_array

    xy, mean = gradients(seed=seed, **more)
    rng = np.random.default_rng(seed + 1)
    order = rng.permutation(len(xy))
    genes = names("g", mean.shape[1])
    depth = np.exp(rng.normal(0, 0.3, (len(xy), 1)))
    counts = rng.poisson(mean[order] * depth).astype(np.float32)
    atlas = rng.poisson(mean)[:, :markers].astype(np.float32)
    label = layers(xy)
    cells = Cells("cells", names("c", len(xy)), csr_array(counts), genes, "rna", label[order])
    ids = names("s", len(xy))
    space = Spots("atlas", ids, xy, csr_array(atlas), genes[:markers], "rna", label, PITCH)
    return MappingInputs(cells, space), xy[order]


def error(positions: Any, truth: Any) -> float:
    """Median distance in pitches."""
    return float(np.median(np.linalg.norm(positions - truth, axis=1)) / PITCH)


def error_up_to_motion(positions: Any, truth: Any) -> float:
    """Median distance in pitches after the best rotation, reflection and shift."""
    a, b = positions - positions.mean(axis=0), truth - truth.mean(axis=0)
    u, _, vt = np.linalg.svd(a.T @ b)
    return error(a @ (u @ vt), b)
