"""Distances within a set of cells or spots, exact or through landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext

Floats = NDArray[np.floating[Any]]
Kind = Literal["hops", "lengths", "euclidean"]


@dataclass(frozen=True)
class Distances:
    """A symmetric (n, n) matrix D of distances with root mean square 1, as a product.

    Attributes
    ----------
    left, right
        (n, r) with D = left rightᵀ; exact: ``left`` is D and ``right`` None.
    square_left, square_right
        The same of D with every entry squared.
    """

    left: Floats
    right: Floats | None
    square_left: Floats
    square_right: Floats | None

    def __len__(self) -> int:
        return len(self.left)

    def dot(self, x: Floats) -> Floats:
        """D x for a vector or matrix x of n rows."""
        return self.left @ (x if self.right is None else self.right.T @ x)

    def across(self, x: Floats, other: Distances) -> Floats:
        """D x D' for an (n, m) matrix x, in the order that costs least."""
        if self.right is not None:
            return self.left @ other.dot((self.right.T @ x).T).T
        return other.dot(self.dot(x).T).T if other.right is None else _through(self, x, other)

    def squared_dot(self, x: Floats) -> Floats:
        """(D∘D) x for a vector x of n entries."""
        return self.square_left @ (x if self.square_right is None else self.square_right.T @ x)


def _through(exact: Distances, x: Floats, low: Distances) -> Floats:
    assert low.right is not None
    return np.asarray((exact.left @ (x @ low.right)) @ low.left.T)


def distances_within(
    points: Floats,
    kind: Kind,
    *,
    neighbours: int,
    exact_up_to: int,
    landmarks: int,
    seed: int,
    ctx: JobContext,
) -> Distances:
    """Distances between the rows of ``points``, scaled to root mean square 1.

    Parameters
    ----------
    points
        (n, d) positions in space or in a space of features.
    kind
        ``hops``: edges of the shortest path in the graph of nearest neighbours;
        ``lengths``: length of the shortest path in it; ``euclidean``.
    neighbours
        Nearest neighbours in the graph.
    exact_up_to
        Larger sets go through landmarks: D ≈ C W⁺ Cᵀ with the columns C of some
        points and their block W (Nyström), so that nothing is n x n.
    landmarks
        How many such points, spread as far apart as possible.
    seed
        Seed of the first landmark.
    """
    points = np.asarray(points, np.float64)
    n = len(points)
    graph = None if kind == "euclidean" else neighbour_graph(points, neighbours, kind)
    if n <= exact_up_to:
        full: Any = _columns(points, graph, None, ctx).astype(np.float32)
        full = (full + full.T) / 2
        full /= np.float32(_scale(full))
        return Distances(full, None, full * full, None)
    chosen = farthest_points(points, landmarks, seed)
    columns = _columns(points, graph, chosen, ctx)
    columns /= _scale(columns)
    left = columns @ _inverse(columns[chosen])
    squared = columns * columns
    square_left = squared @ _inverse(squared[chosen])
    return Distances(
        left.astype(np.float32),
        columns.astype(np.float32),
        square_left.astype(np.float32),
        squared.astype(np.float32),
    )


def neighbour_graph(points: Floats, neighbours: int, kind: Kind) -> Any:
    """(n, n) CSR graph of nearest neighbours, either way round, in one piece.

    Pieces that no edge joins are joined by the shortest edge between them that
    leads to a point of the largest piece, so that every distance is finite.
    """
    from scipy.sparse import coo_array, csr_array
    from scipy.spatial import cKDTree

    n = len(points)
    tree: Any = cKDTree(points)
    gap, near = tree.query(points, k=min(neighbours + 1, n))
    rows = np.repeat(np.arange(n), near.shape[1])
    keep = rows != near.ravel()
    rows, columns, lengths = rows[keep], near.ravel()[keep], gap.ravel()[keep]
    more = _bridges(points, csr_array(coo_array((np.ones(len(rows)), (rows, columns)), (n, n))))
    rows, columns = np.append(rows, more[0]), np.append(columns, more[1])
    lengths = np.append(lengths, more[2])
    # Coincident points are neighbours too; a weight of zero would be no edge.
    weights = np.ones_like(lengths) if kind == "hops" else np.maximum(lengths, 1e-12)
    one_way = csr_array(coo_array((weights, (rows, columns)), (n, n)))
    return one_way.maximum(one_way.T).tocsr()


def _bridges(points: Floats, graph: Any) -> tuple[Any, Any, Any]:
    """Edges that join the pieces of a graph to its largest one."""
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    count, piece = connected_components(graph, directed=False)
    sizes = np.bincount(piece)
    main = np.flatnonzero(piece == sizes.argmax())
    tree: Any = cKDTree(points[main])
    out: list[tuple[int, int, float]] = []
    for other in range(count):
        if other == sizes.argmax():
            continue
        members = np.flatnonzero(piece == other)
        gap, near = tree.query(points[members])
        best = int(np.argmin(gap))
        out.append((int(members[best]), int(main[near[best]]), float(gap[best])))
    if not out:
        return np.zeros(0, int), np.zeros(0, int), np.zeros(0)
    a, b, gaps = zip(*out, strict=True)
    return np.array(a), np.array(b), np.array(gaps)


def farthest_points(points: Floats, count: int, seed: int) -> NDArray[np.intp]:
    """Indices of points that lie far from each other; the first one is drawn."""
    rng = np.random.default_rng(seed)
    chosen = [int(rng.integers(len(points)))]
    gap = np.square(points - points[chosen[0]]).sum(axis=1)
    for _ in range(min(count, len(points)) - 1):
        chosen.append(int(np.argmax(gap)))
        gap = np.minimum(gap, np.square(points - points[chosen[-1]]).sum(axis=1))
    return np.array(chosen)


def _columns(points: Floats, graph: Any, chosen: Any, ctx: JobContext) -> Floats:
    """(n, c) distances to the chosen points, or to all."""
    from scipy.sparse.csgraph import dijkstra
    from scipy.spatial.distance import cdist

    wanted = np.arange(len(points)) if chosen is None else chosen
    if graph is None:
        return np.asarray(cdist(points, points[wanted]))
    out = np.empty((len(points), len(wanted)))
    for start in range(0, len(wanted), 200):
        ctx.step(None, "Shortest paths")
        part = wanted[start : start + 200]
        out[:, start : start + len(part)] = dijkstra(graph, directed=False, indices=part).T
    return out


def _scale(values: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) or 1.0


def _inverse(block: Floats) -> Floats:
    """Pseudo-inverse of a symmetric matrix that is not positive; small eigenvalues are left out."""
    values, vectors = np.linalg.eigh((block + block.T) / 2)
    keep = np.abs(values) > 1e-4 * np.abs(values).max()
    return np.asarray((vectors[:, keep] / values[keep]) @ vectors[:, keep].T)
