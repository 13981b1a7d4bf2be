"""Exact optimal transport on a sparse set of edges, solved again and again as costs change.

The linear programme is handed to POT's network simplex for sparse costs
(Bonneel et al. 2011, ACM TOG 30:158), with two things that make the second and
every later solve cheap: costs are reduced by the former dual potentials, so
that the simplex meets the likely edges first, and only edges of small reduced
cost are given to it; the others are checked against the new potentials and
added where they would pay (column generation), until none is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.methods.alignment.band import Band

Floats = NDArray[np.floating[Any]]

_PIVOTS = 20_000_000
"""POT's default of 100,000 stops before the optimum at a few thousand spots."""

_EDGES_PER_SPOT = 5  # given to the simplex at first
_ROUNDS = 200
_PRICE = 1e4  # of going nowhere, in units of the spread of the costs
_WHOLE = 2**51  # units of mass in all; a power of two, so that POT's rescaling changes nothing


@dataclass(frozen=True, eq=False)
class Flow:
    """Solution of one transport problem.

    Attributes
    ----------
    values
        (nnz,) mass along each edge of the band.
    u, w
        (n,), (m,) dual potentials: ``cost - u_i - w_j >= 0`` on every edge and
        zero where mass flows.
    stranded
        Mass that the band cannot carry.
    stuck_rows, stuck_columns
        (n,), (m,) flags of the spots between which more edges are needed for that.
    """

    values: Floats
    u: Floats
    w: Floats
    stranded: float
    stuck_rows: NDArray[np.bool_]
    stuck_columns: NDArray[np.bool_]


class SparseTransport:
    """Transport between fixed marginals; remembers potentials and flow between solves.

    Two spots more on either side stand for "nowhere". What may stay behind goes
    to the first for nothing (Chapel et al. 2020, NeurIPS 33); what has to go but
    cannot be routed goes to the second, at a price above any route's.

    Parameters
    ----------
    p, q
        (n,), (m,) mass to be sent and to be received.
    mass
        How much of it has to be: all (None; ``p`` and ``q`` sum to the same), or less.
    """

    def __init__(self, p: Floats, q: Floats, mass: float | None = None) -> None:
        self.n, self.m = len(p), len(q)
        given, wanted = float(np.sum(p)), float(np.sum(q))
        if mass is None:
            wanted, mass = given, given
        # Whole numbers, so that the simplex adds and subtracts without rounding.
        self.unit = (given + wanted) / _WHOLE
        sent = round(given / self.unit)
        moved = float(min(round(mass / self.unit), sent, _WHOLE - sent))
        out, home = _whole(p, sent), _whole(q, _WHOLE - sent)
        self.p = np.concatenate([out, [home.sum() - moved, moved]])
        self.q = np.concatenate([home, [out.sum() - moved, moved]])
        self._u, self._w = np.zeros(self.n + 2), np.zeros(self.m + 2)
        self._flow: tuple[Band, Floats, Floats] | None = None
        self._price = 0.0

    def solve(self, band: Band, cost: Floats) -> Flow:
        """Send the mass along the band at least cost.

        Parameters
        ----------
        band
            The edges; may change from call to call.
        cost
            (nnz,) cost per unit of mass.

        Raises
        ------
        UserError
            If the simplex stops before the optimum.
        """
        i, j, costs = self._extended(band, np.asarray(cost, np.float64))
        reduced = costs - self._u[i] - self._w[j]
        active = self._likely(band, reduced)
        tolerance = 1e-13 * self._price
        for _ in range(_ROUNDS):
            flow, du, dw = self._simplex(i[active], j[active], reduced[active])
            self._u += du
            self._w += dw
            reduced = costs - self._u[i] - self._w[j]
            missed = reduced < -tolerance
            missed[active] = False
            if not missed.any():
                break
            active |= missed
        values = np.zeros(len(costs))
        values[active] = flow * self.unit
        return self._result(band, values)

    def _result(self, band: Band, values: Floats) -> Flow:
        n, m, size = self.n, self.m, len(band)
        self._flow = (band, values[:size], values[size:])
        level = self._w[m + 1]  # nowhere is the level of zero
        u, w = self._u[:n] + level, self._w[:m] - level
        stranded = float(values[size : size + n].sum())
        stuck = u > self._price / 2, w > self._price / 2
        if stranded == 0.0:
            stuck = np.zeros(n, bool), np.zeros(m, bool)
        return Flow(values[:size], u, w, stranded, *stuck)

    def _extended(self, band: Band, cost: Floats) -> tuple[Any, Any, Floats]:
        """Edges and costs, with those from and to nowhere behind."""
        n, m = self.n, self.m
        if self._flow is None:
            self._price = _PRICE * max(float(np.ptp(cost)) if len(cost) else 0.0, 1.0)
        rows, columns = np.arange(n), np.arange(m)
        i: list[Any] = [band.i, rows, np.full(m, n + 1), [n + 1]]
        j: list[Any] = [band.j, np.full(n, m + 1), columns, [m + 1]]
        costs: list[Any] = [cost, np.full(n + m, self._price), [0.0]]
        if self.q[m] > 0:
            i, j, costs = [*i, rows], [*j, np.full(n, m)], [*costs, np.zeros(n)]
        if self.p[n] > 0:
            i, j, costs = [*i, np.full(m, n)], [*j, columns], [*costs, np.zeros(m)]
        return np.concatenate(i), np.concatenate(j), np.concatenate(costs)

    def _likely(self, band: Band, reduced: Floats) -> NDArray[np.bool_]:
        """Flags of the edges to begin with: the cheapest and those of the former flow."""
        count = _EDGES_PER_SPOT * (self.n + self.m)
        if self._flow is None or len(reduced) <= count:
            return np.ones(len(reduced), bool)
        active = np.asarray(reduced <= np.partition(reduced, count)[count])
        old, values, nowhere = self._flow
        active[: len(band)] |= band.values_from(old, values) > 0
        active[len(band) :] |= nowhere > 0
        return active

    def _simplex(self, i: Any, j: Any, cost: Floats) -> tuple[Floats, Floats, Floats]:
        """Flow on the edges and changes of the potentials."""
        import ot
        from scipy import sparse

        shape = (len(self.p), len(self.q))
        low = cost.min()  # the simplex takes the largest cost for the price of no way at all
        plan, log = ot.emd(
            self.p, self.q, sparse.coo_matrix((cost - low, (i, j)), shape=shape),
            numItermax=_PIVOTS, log=True, center_dual=False, check_marginals=False,
        )  # fmt: skip
        if log["warning"] is not None:
            raise UserError(
                f"The exact transport of {self.n} to {self.m} spots has no answer: "
                f"{log['warning']}",
                "Use the solver 'proximal', or fewer spots.",
            )
        known = i.astype(np.int64) * shape[1] + j
        order = np.argsort(known)
        found = plan.row.astype(np.int64) * shape[1] + plan.col
        flow = np.zeros(len(cost))
        flow[order[np.searchsorted(known, found, sorter=order)]] = plan.data
        return flow, np.asarray(log["u"]) + low, np.asarray(log["v"])


def _whole(mass: Floats, total: int) -> Floats:
    """Whole numbers of the given total, in proportion to the mass."""
    mass = np.asarray(mass, np.float64)
    share = mass * (total / mass.sum())
    out = np.floor(share)
    late = round(total - out.sum())
    out[np.argsort(out - share, kind="stable")[:late]] += 1.0
    return out
