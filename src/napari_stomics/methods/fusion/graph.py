"""The spatial graph of the spots, walks on it, and autocorrelation along it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.fusion import FusionInputs
from napari_stomics.metrics.spatial import neighbour_graph

Array = NDArray[Any]
Floats = NDArray[np.floating[Any]]

_REGION = 60_000
_COLUMNS_AT_A_TIME = 256


def spatial_graph(inputs: FusionInputs, neighbours: int = 6) -> Any:
    """Join each spot with its nearest ones, never across sections unless these are registered.

    Parameters
    ----------
    inputs
        Spots of one or several sections.
    neighbours
        Nearest neighbours within the section; fewer where it has fewer spots.

    Returns
    -------
    (n, n) symmetric CSR array of zeros and ones without loops. Where
    ``inputs.placed`` is given, a spot is also joined with the nearest spot of
    the section before and of the one after it, if that lies within one pitch.
    """
    placed = None if inputs.placed is None else np.asarray(inputs.placed, np.float64)
    return coordinate_graph(inputs.coordinates, inputs.of, neighbours, placed, inputs.pitches)


def coordinate_graph(
    coordinates: Floats,
    of: NDArray[np.intp],
    neighbours: int = 6,
    placed: Floats | None = None,
    pitches: tuple[float, ...] = (),
) -> Any:
    """Build the graph of :func:`spatial_graph` from bare arrays.

    Parameters
    ----------
    coordinates
        (n, 2) centres in micrometres, in each section's own frame.
    of
        (n,) index of each spot's section.
    placed, pitches
        (n, 2) centres in a common frame and the pitch per section; without them
        sections are not joined.
    """
    from scipy import sparse

    n = len(of)
    graph = sparse.csr_array(neighbour_graph(coordinates, neighbours, of), dtype=np.float32)
    sections = [np.flatnonzero(of == s) for s in range(len(pitches) if placed is not None else 0)]
    for i, (here, there) in enumerate(pairwise(sections)):
        assert placed is not None
        left, right = _across(placed, here, there, max(pitches[i : i + 2]))
        pairs = sparse.coo_array(
            (np.ones(len(left), np.float32), (left.astype(np.intp), right.astype(np.intp))), (n, n)
        ).tocsr()
        graph = graph + pairs + pairs.T
    graph = sparse.csr_array(graph)
    graph.data[:] = 1.0
    graph.sort_indices()
    return graph


def _across(placed: Floats, here: Array, there: Array, reach: float) -> tuple[Array, Array]:
    from scipy.spatial import cKDTree

    starts, ends = [], []
    for a, b in ((here, there), (there, here)):
        good = np.flatnonzero(np.isfinite(placed[a]).all(axis=1))
        goal = b[np.isfinite(placed[b]).all(axis=1)]
        if len(good) and len(goal):
            distance, near = map(np.asarray, cKDTree(placed[goal]).query(placed[a[good]]))
            close = distance <= reach
            starts.append(a[good][close])
            ends.append(goal[near[close]])
    return np.concatenate([*starts, []]), np.concatenate([*ends, []])


def walk(graph: Any, own: float = 1.0) -> Any:
    """Row-stochastic walk: to a neighbour or to the spot itself.

    Parameters
    ----------
    graph
        (n, n) adjacency.
    own
        Weight of staying, relative to that of each neighbour. A spot without
        neighbours stays whatever it is.

    Returns
    -------
    (n, n) float32 CSR array with rows that sum to 1.
    """
    from scipy import sparse

    n = graph.shape[0]
    degrees = np.asarray(graph.sum(axis=1)).ravel()
    stay = np.where(degrees > 0, own, 1.0)
    moved = sparse.csr_array(graph + sparse.diags_array(stay, shape=(n, n), format="csr"))
    return sparse.csr_array(sparse.diags_array(1 / (degrees + stay)) @ moved).astype(np.float32)


def diffuse(step: Any, values: Floats, steps: int) -> Floats:
    """(n, d) values after some steps of a walk."""
    for _ in range(steps):
        values = step @ values
    return values


def morans_i(graph: Any, x: Any) -> Floats:
    """Moran's I of every column along the row-normalised graph.

    Parameters
    ----------
    graph
        (n, n) adjacency; spots without neighbours count in the variance alone.
    x
        (n, g) values, dense or sparse.

    Returns
    -------
    (g,) float64, 0 for constant columns (Moran 1950, Biometrika 37:17).
    """
    from scipy import sparse

    n, g = x.shape
    degrees = np.asarray(graph.sum(axis=1), np.float64).ravel()
    inverse = np.divide(1.0, degrees, out=np.zeros(n), where=degrees > 0)
    weights = sparse.csr_array(sparse.diags_array(inverse) @ graph).astype(np.float32)
    reached = np.asarray(weights.sum(axis=0), np.float64).ravel()
    total = float((degrees > 0).sum())
    columns: Any = np.asarray(x) if isinstance(x, np.ndarray) else sparse.csc_array(x)
    out = np.zeros(g)
    for low in range(0, g if total else 0, _COLUMNS_AT_A_TIME):
        part: Any = columns[:, low : low + _COLUMNS_AT_A_TIME]
        out[low : low + _COLUMNS_AT_A_TIME] = _moran_part(weights, reached, degrees > 0, part)
    return out * (n / total if total else 0.0)


def _moran_part(weights: Any, reached: Floats, linked: NDArray[np.bool_], part: Any) -> Floats:
    """Moran's I without its factor n / W; the mean is taken out of the sums afterwards."""
    n = part.shape[0]
    if not isinstance(part, np.ndarray):
        part = part.astype(np.float64)
        mean = np.asarray(part.mean(axis=0), np.float64).ravel()
        # Elementwise product and sum: the lagged values are never made dense.
        cross = np.asarray(part.multiply(weights @ part.tocsr()).sum(axis=0)).ravel()
        square = np.asarray(part.multiply(part).sum(axis=0)).ravel() - n * mean**2
    else:
        part = np.asarray(part, np.float64)
        mean = part.mean(axis=0)
        part = part - mean
        lagged = weights @ part
        square = np.einsum("ij,ij->j", part, part)
        return np.divide(
            np.einsum("ij,ij->j", part, lagged), square, out=np.zeros_like(square),
            where=square > 1e-12 * n,
        )  # fmt: skip
    ends = np.asarray(reached @ part).ravel() + np.asarray(linked.astype(np.float64) @ part).ravel()
    cross = cross - mean * ends + mean**2 * float(linked.sum())
    return np.divide(cross, square, out=np.zeros_like(square), where=square > 1e-12 * n)


def region(graph: Any) -> NDArray[np.intp] | None:
    """Rows of a connected region of a large section, which tells as much as all; None: all."""
    from scipy.sparse.csgraph import breadth_first_order

    n = graph.shape[0]
    if n <= _REGION:
        return None
    order = breadth_first_order(graph, n // 2, directed=False, return_predecessors=False)
    return np.sort(order[:_REGION]) if len(order) >= _REGION // 10 else None
