"""Loops over the candidate matches, compiled once and cached on disk.

Edges are in CSR order (``indptr``, ``j``) with a column view (``order`` lists
edge ids column by column, delimited by ``column_indptr``). One thread, so that the
answer is the same on every run.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numba
import numpy as np

F = TypeVar("F")

_njit: Any = numba.njit  # its own types refuse a decorator that keeps the function's


def _jit(function: F) -> F:
    out: F = _njit(cache=True, nogil=True)(function)
    return out


def _jit_fast(function: F) -> F:
    """Let sums of short inner products be taken in vector registers."""
    out: F = _njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})(function)
    return out


TINY = 1e-100  # keeps quotients of scalings finite
SILENT = 200.0  # exponents beyond are held
HUGE = 1e150  # scalings beyond are held: the product of two is still finite


@_jit_fast
def edge_dot(x: Any, y: Any, indptr: Any, j: Any, out: Any) -> None:
    """Write ``<x_i, y_j>`` of every edge (i, j) to ``out`` (nnz,)."""
    width = x.shape[1]
    for a in range(len(indptr) - 1):
        for e in range(indptr[a], indptr[a + 1]):
            b = j[e]
            total = x[a, 0] * y[b, 0]
            for k in range(1, width):
                total += x[a, k] * y[b, k]
            out[e] = total


@_jit
def squared_gaps(x: Any, y: Any, indptr: Any, j: Any, out: Any) -> None:
    """Write the squared distance of points (n, 2), (m, 2) along every edge to ``out``."""
    for a in range(len(indptr) - 1):
        for e in range(indptr[a], indptr[a + 1]):
            b = j[e]
            out[e] = (x[a, 0] - y[b, 0]) ** 2 + (x[a, 1] - y[b, 1]) ** 2


@_jit
def marginals(indptr: Any, j: Any, values: Any, rows: Any, columns: Any) -> None:
    """Write the sums of ``values`` by row and by column."""
    columns[:] = 0.0
    for a in range(len(indptr) - 1):
        total = 0.0
        for e in range(indptr[a], indptr[a + 1]):
            total += values[e]
            columns[j[e]] += values[e]
        rows[a] = total


@_jit
def _stable_kernel(indptr: Any, j: Any, logk: Any, g: Any, power: Any, kernel: Any) -> Any:
    """Fill the kernel ``exp(logk + g_j - row maximum)``; return what the maxima weigh.

    Where marginals are relaxed a row's level matters: it returns to the row's
    scaling with exponent 1 - power, relative to the mean level.
    """
    n = len(indptr) - 1
    level = np.zeros(n)
    total, count = 0.0, 0
    for a in range(n):
        if indptr[a] == indptr[a + 1]:
            continue
        top = -np.inf
        for e in range(indptr[a], indptr[a + 1]):
            top = max(top, logk[e] + g[j[e]])
        for e in range(indptr[a], indptr[a + 1]):
            kernel[e] = np.exp(logk[e] + g[j[e]] - top)
        level[a] = top
        total += top
        count += 1
    middle = total / max(count, 1)
    for a in range(n):
        excess = (1.0 - power[a]) * (level[a] - middle)
        level[a] = np.exp(min(max(excess, -SILENT), SILENT))
    return level


@_jit
def sinkhorn(
    indptr: Any,
    j: Any,
    column_indptr: Any,
    order: Any,
    i: Any,
    logk: Any,
    g: Any,
    p: Any,
    q: Any,
    power_p: Any,
    power_q: Any,
    iterations: int,
    tolerance: float,
    out: Any,
) -> Any:
    """Scale the kernel exp(logk) towards the marginals p and q; write the plan to ``out``.

    ``power`` (n,), (m,) is tau / (tau + epsilon) of the penalty tau KL(. | p): 1
    asks for the marginal exactly. ``g`` (m,) holds log column scalings to start from and
    is replaced by the final ones. The scale of the relaxed plan as a whole is
    left to the caller. Returns (iterations, last change of the rows).
    """
    n, m = len(indptr) - 1, len(column_indptr) - 1
    kernel = np.empty(len(logk))
    level = _stable_kernel(indptr, j, logk, g, power_p, kernel)
    across = np.empty(len(logk))  # the kernel column by column
    for e in range(len(order)):
        across[e] = kernel[order[e]]
    hold = np.empty(m)  # relaxed columns remember what g has absorbed
    for b in range(m):
        hold[b] = np.exp(min(max((power_q[b] - 1.0) * g[b], -SILENT), SILENT))
    u, v = np.zeros(n), np.ones(m)
    change, done = np.inf, 0
    for _ in range(iterations):
        done += 1
        change = 0.0
        for a in range(n):
            total = 0.0
            for e in range(indptr[a], indptr[a + 1]):
                total += kernel[e] * v[j[e]]
            new = 0.0
            if total > 0.0 and p[a] > 0.0:
                new = min((p[a] / max(total, TINY)) ** power_p[a] * level[a], HUGE)
                change += p[a] * abs(1.0 - u[a] / new) if new > 0.0 else 0.0
            u[a] = new
        if done > 1 and change <= tolerance:
            break
        for b in range(m):
            total = 0.0
            for k in range(column_indptr[b], column_indptr[b + 1]):
                total += across[k] * u[i[order[k]]]
            if q[b] <= 0.0:
                v[b] = 0.0
            elif total > 0.0:
                v[b] = min((q[b] / max(total, TINY)) ** power_q[b] * hold[b], HUGE)
    for a in range(n):
        for e in range(indptr[a], indptr[a + 1]):
            out[e] = u[a] * kernel[e] * v[j[e]]
    for b in range(m):
        if v[b] > 0.0:
            g[b] += np.log(v[b])
    return done, change


@_jit
def row_softmax(indptr: Any, edges: Any, logits: Any, weight: Any, out: Any) -> None:
    """Add each group's softmax times its weight; ``edges`` lists edge ids group by group."""
    for a in range(len(indptr) - 1):
        if weight[a] == 0.0 or indptr[a] == indptr[a + 1]:
            continue
        top = -np.inf
        for k in range(indptr[a], indptr[a + 1]):
            top = max(top, logits[edges[k]])
        total = 0.0
        for k in range(indptr[a], indptr[a + 1]):
            total += np.exp(logits[edges[k]] - top)
        for k in range(indptr[a], indptr[a + 1]):
            out[edges[k]] += weight[a] * np.exp(logits[edges[k]] - top) / total
