"""Fused Gromov-Wasserstein at exact marginals: conditional gradient with sparse transport.

The objective and the algorithm are those of Vayer et al. 2020 (Algorithms
13:212), as PASTE uses them: linearise, solve a transport problem exactly, step
as far as the line search says. The transport runs on a band of candidate
matches that grows where it is too narrow: first until all mass can be routed,
then, once the objective has settled, by the matches (of all n x m, looked at a
block of rows at a time) that would lower it further. The answer is therefore
stationary among all plans, not just among those on the band to begin with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.alignment.band import Band
from napari_stomics.methods.alignment.partial import partial_error
from napari_stomics.methods.alignment.pricing import MatchCosts, Prices
from napari_stomics.methods.alignment.proximal import Solution, Watch
from napari_stomics.methods.alignment.sparse_transport import Flow, SparseTransport
from napari_stomics.methods.alignment.structure import FusedProblem, gw_gradient
from napari_stomics.methods.alignment.support import structure_cost

Floats = NDArray[np.floating[Any]]

_MORE = 8  # matches that a spot gains at most when the band grows
_CERTAIN = 10.0  # prices that count, in units of the tolerance


@dataclass(frozen=True, eq=False)
class ExactProblem:
    """What the exact mode needs to know.

    Attributes
    ----------
    fused
        The problem on the band to begin with.
    costs
        Feature costs, priors included, of matches off the band.
    points
        (n, 2) and (m, 2) positions in spot pitches whose euclidean distances
        are the structure; None where it is another: the objective then stands
        for the low-rank distances of ``fused``.
    mass
        Mass to transport, below the sums of the marginals; None: all of it.
    start
        (nnz,) plan on the band to begin with; its marginals need not fit.
    iterations
        Conditional-gradient steps at most.
    tolerance
        Converged when a step lowers the objective by less than this share of it.
    searched
        Pairs of spots up to which all are searched for better matches.
    """

    fused: FusedProblem
    costs: MatchCosts
    points: tuple[Floats, Floats] | None = None
    mass: float | None = None
    start: Floats | None = None
    iterations: int = 200
    tolerance: float = 1e-6
    searched: int = 1_000_000_000


def solve_exact(
    problem: ExactProblem, ctx: JobContext | None = None, watch: Watch | None = None
) -> Solution:
    """Minimise the fused objective at exact (or partial) marginals.

    Parameters
    ----------
    problem
        See :class:`ExactProblem`.
    ctx
        Progress, cancelling and finishing early.
    watch
        Sees band, plan, objective and marginal errors after every iteration.

    Returns
    -------
    Solution
        On the band as it has grown. The last objective is that of exact
        distances in double precision; the former ones, from low-rank distances,
        are shifted to meet it. ``converged`` is False, and ``reason`` says why,
        if iterations or patience ended first or mass could not be routed.
    """
    descent = _Descent(problem, ctx or JobContext())
    converged, reason = descent.run(watch)
    return descent.solution(converged, reason)


def fused_objective(
    fused: FusedProblem, values: Floats, points: tuple[Floats, Floats] | None
) -> float:
    """Objective of a plan with exact euclidean distances, or low-rank ones without points."""
    if points is None:
        return fused.gradient(values)[1]
    structure = structure_cost(fused.band.i, fused.band.j, values, *points)
    return (1 - fused.alpha) * float(fused.cost @ values) + fused.alpha * structure


class _Descent:
    """State of a running descent: the band, the plan and its gradient, the transport."""

    def __init__(self, problem: ExactProblem, ctx: JobContext) -> None:
        self.problem, self.ctx, self.fused = problem, ctx, problem.fused
        self.transport = SparseTransport(self.fused.p, self.fused.q, problem.mass)
        n, m = self.fused.band.shape
        self.searches = n * m <= problem.searched
        self.values = self._start()
        self.slope, self.level = self.fused.gradient(self.values)
        self.objective: list[float] = []
        self.errors: list[float] = []

    def _start(self) -> Floats:
        start = self.problem.start
        if start is None or not start.sum() > 0:
            start = np.exp(-10.0 * (self.fused.cost - self.fused.cost.min()))
        mass = self.problem.mass or float(self.fused.p.sum())
        return np.asarray(start * (mass / start.sum()))

    def run(self, watch: Watch | None) -> tuple[bool, str]:
        """Step until no match, on the band or off it, lowers the objective."""
        self.values = self._routed().values  # the start's marginals need not fit
        self.slope, self.level = self.fused.gradient(self.values)
        limit = self.problem.iterations
        for k in range(limit):
            self.ctx.step(k / limit, f"Exact FGW, iteration {k + 1}")
            flow = self._routed()
            if flow.stranded > 0:
                return False, f"{flow.stranded:.2%} of the mass has no allowed way to go"
            fall = self._step(flow)
            self._note(watch)
            if fall <= self.problem.tolerance * abs(self.level) and not self._grow():
                return True, self._settled(k + 1)
            if self.ctx.finishing:
                return False, "stopped by the user"
        return False, f"stopped after {limit} iterations"

    def solution(self, converged: bool, reason: str) -> Solution:
        """The plan with its exact objective."""
        exact = fused_objective(self.fused, self.values, self.problem.points)
        objective = np.array(self.objective) + (exact - self.level)
        return Solution(
            self.fused.band, self.values, objective, np.array(self.errors), converged, reason
        )

    def _step(self, flow: Flow) -> float:
        """One conditional-gradient step towards the flow; how far the objective fell."""
        fused = self.fused
        direction = flow.values - self.values
        first = float(self.slope @ direction)
        turn, second = gw_gradient(fused.band, direction, fused.source, fused.target)
        second *= fused.alpha
        length = line_search(first, second)
        self.values = np.maximum(self.values + length * direction, 0.0)
        self.slope = self.slope + (length * fused.alpha) * turn
        change = length * (first + length * second)
        self.level += change
        return -change

    def _routed(self) -> Flow:
        """Transport at the present gradient, on a band wide enough to carry it."""
        flow = self.transport.solve(self.fused.band, self.slope)
        while flow.stranded > 0:
            self.ctx.step(None, f"Widening the band: {flow.stranded:.2%} of the mass is stranded")
            prices = self._prices(flow)
            if not self._widen(prices.better(0.0, _MORE, flow.stuck_rows, flow.stuck_columns)):
                break
            flow = self.transport.solve(self.fused.band, self.slope)
        return flow

    def _grow(self) -> bool:
        """Add matches that would lower the settled objective; whether there were any."""
        if not self.searches:
            return False
        flow = self._routed()
        # If no price is below this, no plan can lower the objective by more at first order.
        tolerance = _CERTAIN * self.problem.tolerance * abs(self.level)
        return self._widen(self._prices(flow).better(tolerance, _MORE))

    def _prices(self, flow: Flow) -> Prices:
        return Prices(self.fused, self.values, self.problem.costs, flow.u, flow.w)

    def _widen(self, more: Band) -> bool:
        """Take more matches into the band; whether any is new."""
        old = self.fused.band
        band = old.union(more)
        if len(band) == len(old):
            return False
        cost = np.asarray(band.values_from(old, self.fused.cost, np.nan))
        new = np.isnan(cost)
        cost[new] = self.problem.costs.on(band.i[new], band.j[new])
        self.values = band.values_from(old, self.values)
        self.fused = replace(self.fused, band=band, cost=cost)
        self.slope, self.level = self.fused.gradient(self.values)
        return True

    def _note(self, watch: Watch | None) -> None:
        self.objective.append(self.level)
        self.errors.append(self._error())
        if watch is not None:
            watch(self.fused.band, self.values, np.array(self.objective), np.array(self.errors))

    def _error(self) -> float:
        if self.problem.mass is None:
            return self.fused.marginal_error(self.values)
        marginals = self.fused.band.marginals(self.values)
        return partial_error(*marginals, self.fused.p, self.fused.q, self.problem.mass)

    def _settled(self, steps: int) -> str:
        among = "of all matches" if self.searches else "of the band's matches"
        return f"objective settled after {steps} iterations; none {among} would lower it"


def line_search(first: float, second: float) -> float:
    """Step in [0, 1] that minimises ``first t + second t^2``."""
    if second > 0:
        return float(np.clip(-first / (2 * second), 0.0, 1.0))
    return 1.0 if first + second < 0 else 0.0
