"""Sparse products that torch can differentiate, and the matrices they take."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext

Array = NDArray[Any]
Floats = NDArray[np.floating[Any]]

_ENTRIES_AT_A_TIME = 4_000_000
_ROWS_AT_A_TIME = 2_000


def normalised(graph: Any, present: NDArray[np.bool_] | None = None) -> Any:
    """Symmetrically normalised adjacency with loops, ``D^-1/2 (A + I) D^-1/2``.

    Parameters
    ----------
    graph
        (n, n) symmetric adjacency with non-negative entries and no loops.
    present
        (n,) spots that take part; the others keep only their loop. All by default.

    Returns
    -------
    (n, n) symmetric float32 CSR array (Kipf and Welling 2017, ICLR).
    """
    from scipy import sparse

    n = graph.shape[0]
    if present is not None and not present.all():
        keep = sparse.diags_array(present.astype(np.float32))
        graph = sparse.csr_array(keep @ graph @ keep)
    looped = sparse.csr_array(graph + sparse.eye_array(n, dtype=np.float32, format="csr"))
    looped.eliminate_zeros()
    root = sparse.diags_array(1 / np.sqrt(np.asarray(looped.sum(axis=1)).ravel()))
    out = sparse.csr_array(root @ looped @ root).astype(np.float32)
    out.sort_indices()
    return out


def feature_graph(
    scores: Floats, present: NDArray[np.bool_], neighbours: int, ctx: JobContext
) -> Any:
    """Join each spot with those of most similar scores, by Pearson's correlation.

    Parameters
    ----------
    scores
        (n, d) component scores of one modality.
    present
        (n,) spots that have it; the others stay alone.
    neighbours
        Nearest spots of each.

    Returns
    -------
    (n, n) symmetric CSR array of zeros and ones without loops.
    """
    from scipy import sparse

    rows = np.flatnonzero(present)
    x = np.asarray(scores, np.float32)[rows]
    if x.shape[1] > 2:
        x = x - x.mean(axis=1, keepdims=True)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    x = np.divide(x, length, out=np.zeros_like(x), where=length > 0)
    k = min(neighbours, len(rows) - 1)
    near = np.empty((len(rows), k), np.intp)
    for low in range(0, len(rows), _ROWS_AT_A_TIME):
        ctx.step(message="Graph of similar spots")
        near[low : low + _ROWS_AT_A_TIME] = _most_alike(x, low, k, ctx)
    left = np.repeat(rows, k)
    ones = np.ones(len(left), np.float32)
    n = len(scores)
    pairs = sparse.csr_array((ones, (left, rows[near.ravel()])), shape=(n, n))
    graph = sparse.csr_array(pairs + pairs.T)
    graph.data[:] = 1.0
    graph.sort_indices()
    return graph


def _most_alike(x: Floats, low: int, k: int, ctx: JobContext) -> Array:
    """(b, k) rows of largest product with a batch of rows, these themselves left out."""
    out = []
    width = max(1, _ENTRIES_AT_A_TIME // len(x))
    high = min(low + _ROWS_AT_A_TIME, len(x))
    for start in range(low, high, width):
        ctx.step()
        stop = min(start + width, high)
        alike = x[start:stop] @ x.T
        alike[np.arange(stop - start), np.arange(start, stop)] = -np.inf
        out.append(np.argpartition(-alike, k - 1, axis=1)[:, :k])
    return np.concatenate(out)


def product(matrix: Any, ctx: JobContext, steps: int = 1) -> Callable[[Any], Any]:
    """Return ``x -> matrix^steps @ x`` for torch tensors, differentiable in x.

    Parameters
    ----------
    matrix
        (n, m) float32 CSR array. A symmetric one serves in both directions.
    ctx
        Asked before each product, so that a cancelled training ends at once.
    steps
        How often the matrix is applied.
    """
    other = matrix.T.tocsr() if matrix.shape[0] == matrix.shape[1] else None
    same = other is not None and abs(other - matrix).max() == 0
    back = matrix if same else matrix.T.tocsr()
    function = _product()

    def times(x: Any) -> Any:
        for _ in range(steps):
            x = function.apply(x, matrix, back, ctx)
        return x

    return times


@cache
def _product() -> Any:
    import torch

    class Product(torch.autograd.Function):
        """A constant sparse matrix times a dense one."""

        @staticmethod
        def forward(node: Any, x: Any, matrix: Any, back: Any, job: JobContext) -> Any:
            job.step()
            node.back, node.job = back, job
            return torch.from_numpy(matrix @ x.detach().contiguous().numpy())

        @staticmethod
        def backward(node: Any, *grads: Any) -> Any:
            node.job.step()
            return torch.from_numpy(node.back @ grads[0].contiguous().numpy()), None, None, None

    return Product


class Edges:
    """Directed edges of a graph, sorted by where they end, and sums along them.

    Parameters
    ----------
    graph
        (n, n) CSR array: row i holds the spots that i attends to. Only its pattern counts.
    ctx
        Asked before each product.
    """

    def __init__(self, graph: Any, ctx: JobContext) -> None:
        from scipy import sparse

        graph = sparse.csr_array(graph)
        graph.sort_indices()
        self.n = int(graph.shape[0])
        self.indptr, self.columns = graph.indptr, graph.indices
        self.rows = np.repeat(np.arange(self.n), np.diff(self.indptr))
        # Entry e of the transpose is entry order[e] of the matrix.
        numbered = sparse.csr_array(
            (np.arange(1, len(self.rows) + 1), self.columns, self.indptr), shape=graph.shape
        )
        turned = numbered.T.tocsr()
        self.order = turned.data - 1
        self.turned = (turned.indices, turned.indptr)
        self.ctx = ctx

    def softmax(self, logits: Any) -> Any:
        """(e,) weights that sum to 1 over the edges of each spot."""
        import torch

        rows = torch.from_numpy(self.rows)
        top = torch.full((self.n,), -torch.inf)
        top = top.scatter_reduce(0, rows, logits.detach(), "amax")
        up = torch.exp(logits - top[rows])
        total = torch.zeros(self.n).index_add(0, rows, up)
        return up / total[rows]

    def sum(self, weights: Any, x: Any) -> Any:
        """(n, d) weighted sums of the rows of ``x`` over each spot's edges."""
        return _edge_product().apply(weights, x, self)

    def matrix(self, weights: Floats) -> Any:
        """(n, n) CSR array of the weights."""
        from scipy import sparse

        return sparse.csr_array((weights, self.columns, self.indptr), shape=(self.n, self.n))


@cache
def _edge_product() -> Any:
    import torch
    from scipy import sparse

    class EdgeProduct(torch.autograd.Function):
        """A sparse matrix whose entries are variables, times a dense one."""

        @staticmethod
        def forward(node: Any, weights: Any, x: Any, edges: Edges) -> Any:
            edges.ctx.step()
            node.save_for_backward(weights, x)
            node.edges = edges
            values = weights.detach().numpy()
            return torch.from_numpy(edges.matrix(values) @ x.detach().contiguous().numpy())

        @staticmethod
        def backward(node: Any, *grads: Any) -> Any:
            weights, x = node.saved_tensors
            edges: Edges = node.edges
            edges.ctx.step()
            g = grads[0].contiguous().numpy()
            turned = sparse.csr_array(
                (weights.numpy()[edges.order], *edges.turned), shape=(edges.n, edges.n)
            )
            return torch.from_numpy(_along(edges, g, x.numpy())), torch.from_numpy(turned @ g), None

    return EdgeProduct


def _along(edges: Edges, g: Floats, x: Floats) -> Floats:
    """(e,) product of the row of ``g`` at each edge's end with the row of ``x`` at its start."""
    out = np.empty(len(edges.rows), np.float32)
    width = max(1, _ENTRIES_AT_A_TIME // x.shape[1])
    for low in range(0, len(out), width):
        edges.ctx.step()
        some = slice(low, low + width)
        out[some] = np.einsum("ed,ed->e", g[edges.rows[some]], x[edges.columns[some]])
    return out
