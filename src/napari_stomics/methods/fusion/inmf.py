"""The fit of the integrative non-negative factorisation, on bare matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.fusion.hals import hals, settled, svd_start
from napari_stomics.methods.fusion.nonnegative import square_sum

Floats = NDArray[np.floating[Any]]
Cells = dict[tuple[int, int], Any]


@dataclass(frozen=True)
class Integration:
    """A fit ``E_gb = H_g (W_b + V_db)``, g a group of rows of the data set d, b of columns.

    Attributes
    ----------
    factors
        Per group of rows (n_g, k) ``H``.
    shared
        Per group of columns (k, c_b) ``W``.
    own
        Per data set and group of columns (k, c_b) ``V``.
    objective
        Squared error and penalty over the sum of squares, at the start and per iteration.
    converged
        Whether the objective settled.
    sets
        Data set of each group of rows.
    """

    factors: tuple[Floats, ...]
    shared: tuple[Floats, ...]
    own: dict[tuple[int, int], Floats]
    objective: tuple[float, ...]
    converged: bool
    sets: tuple[int, ...]

    def own_share(self, dataset: int) -> float:
        """Share of a data set's fitted energy that its own parts carry, in [0, 1]."""
        shared = own = 0.0
        for g, d in enumerate(self.sets):
            if d != dataset:
                continue
            h = self.factors[g].T @ self.factors[g]
            for (e, b), v in self.own.items():
                if e == dataset:
                    own += float(np.einsum("ij,ij->", h, v @ v.T))
                    shared += float(np.einsum("ij,ij->", h, self.shared[b] @ self.shared[b].T))
        return own / max(own + shared, 1e-30)


def integrate(
    cells: Cells,
    sets: tuple[int, ...],
    count: int,
    penalty: float,
    iterations: int = 200,
    tolerance: float = 1e-5,
    seed: int = 0,
    ctx: JobContext | None = None,
) -> Integration:
    """Lower ``sum |E - H (W + V)|^2 + lambda |H V|^2`` over non-negative H, W and V.

    The matrix of all data may have gaps: it is given as cells, one per group of
    rows and group of columns. Blocks are updated in turn, each column of a factor
    to its exact minimum, so the objective never rises.

    Parameters
    ----------
    cells
        (n_g, c_b) non-negative matrix per group of rows g and of columns b; those that
        were not measured are absent.
    sets
        Data set of each group of rows.
    count
        Number of factors.
    penalty
        ``lambda``.
    """
    ctx = ctx or JobContext()
    state = _State(cells, sets, count, penalty, seed)
    objective = [state.objective()]
    done = False
    for i in range(iterations):
        ctx.step(i / iterations, f"Iteration {i + 1}: objective {objective[-1]:.5f}")
        state.update_factors()
        state.update_columns()
        objective.append(state.objective())
        done = settled(objective, tolerance)
        if done or ctx.finishing:
            break
    return Integration(tuple(state.h), tuple(state.w), state.v, tuple(objective), done, tuple(sets))


class _State:
    """Factors on their way, with the products that updates and objective share."""

    def __init__(
        self, cells: Cells, sets: tuple[int, ...], count: int, penalty: float, seed: int
    ) -> None:
        self.cells, self.sets, self.penalty = cells, sets, penalty
        rows = {g: x.shape[0] for (g, _), x in cells.items()}
        columns = {b: x.shape[1] for (_, b), x in cells.items()}
        self.squares = sum(square_sum(x) for x in cells.values())
        rng = np.random.default_rng(seed)
        self.w = [
            _shared_start([x for (_, at), x in cells.items() if at == b], count, seed)
            for b in range(len(columns))
        ]
        pairs = sorted({(sets[g], b) for g, b in cells})
        self.v = {(d, b): 0.05 * rng.random(self.w[b].shape) * self.w[b].mean() for d, b in pairs}
        self.h = [np.full((rows[g], count), 1.0) for g in range(len(rows))]
        self.update_factors()

    def update_factors(self) -> None:
        """Set ``H`` of every group of rows."""
        for g, d in enumerate(self.sets):
            target: Any = 0.0
            gram: Any = 0.0
            for b in self._columns(g):
                both, own = self.w[b] + self.v[d, b], self.v[d, b]
                target = target + np.asarray(self.cells[g, b] @ both.T, np.float64)
                gram = gram + both @ both.T + self.penalty * (own @ own.T)
            self.h[g] = hals(self.h[g], gram, target)

    def update_columns(self) -> None:
        """Set ``V`` of every data set, then ``W``, of every group of columns."""
        self.grams = [h.T @ h for h in self.h]
        self.products = {
            (g, b): np.asarray(x.T @ self.h[g], np.float64) for (g, b), x in self.cells.items()
        }
        for d, b in self.v:
            groups = [g for g in self._rows(b) if self.sets[g] == d]
            gram = sum((self.grams[g] for g in groups), np.zeros_like(self.grams[0]))
            target = sum(self.products[g, b] for g in groups) - (gram @ self.w[b]).T
            self.v[d, b] = hals(self.v[d, b].T, (1 + self.penalty) * gram, target).T
        for b in range(len(self.w)):
            gram, target = np.zeros_like(self.grams[0]), np.zeros_like(self.w[b].T)
            for g in self._rows(b):
                gram = gram + self.grams[g]
                rest = self.grams[g] @ self.v[self.sets[g], b]
                target = target + self.products[g, b] - rest.T
            self.w[b] = hals(self.w[b].T, gram, target).T

    def objective(self) -> float:
        """Squared error and penalty, over the sum of squares of the data."""
        total = self.squares
        for g, b in self.cells:
            own = self.v[self.sets[g], b]
            both = self.w[b] + own
            gram = self.h[g].T @ self.h[g]
            product = np.asarray(self.cells[g, b].T @ self.h[g], np.float64)
            total += float(np.einsum("ij,ij->", gram, both @ both.T + self.penalty * own @ own.T))
            total -= 2 * float(np.einsum("ij,ji->", product, both))
        return total / self.squares

    def _columns(self, g: int) -> list[int]:
        return [b for (at, b) in self.cells if at == g]

    def _rows(self, b: int) -> list[int]:
        return [g for (g, at) in self.cells if at == b]


def _shared_start(parts: list[Any], count: int, seed: int) -> Floats:
    """(k, c) start of ``W`` from the singular vectors of all rows that have these columns."""
    from scipy import sparse

    if any(hasattr(part, "indptr") for part in parts):
        stacked: Any = sparse.vstack([sparse.csr_array(part) for part in parts], "csr")
        return svd_start(sparse.csr_array(stacked.T), count, seed).T
    return svd_start(np.ascontiguousarray(np.concatenate(parts).T), count, seed).T
