"""Fused Gromov-Wasserstein on a band by proximal steps in the Kullback-Leibler divergence.

Each step minimises the linearised objective plus ``epsilon KL(T | T_k)`` by
Sinkhorn scaling, so that the entropy never enters the objective itself (Xu et
al. 2019, ICML, "Gromov-Wasserstein learning"; Peyre et al. 2016, ICML). Relaxed
marginals are drawn towards p and q by ``tau KL(. | p)`` (Chizat et al. 2018,
Math Comp 87:2563; Sejourne et al. 2021, NeurIPS) at a given total mass: without
the latter the plan would pay for every residual misfit with mass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.alignment._kernels import sinkhorn
from napari_stomics.methods.alignment.band import Band
from napari_stomics.methods.alignment.structure import FusedProblem

Floats = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]

FLOOR = 1e-250  # an edge that has lost its mass may still win it back


@dataclass(frozen=True)
class ProximalOptions:
    """How the proximal solver runs.

    Attributes
    ----------
    tau
        Price of deviating from the marginals, in units of the cost; infinity
        asks for them exactly.
    mass
        Total mass of a relaxed plan.
    epsilon
        Weight of the divergence from the previous plan: the inverse step.
    iterations
        Proximal steps at most.
    tolerance
        The solver has converged when a step moves less than this share of the mass.
    inner
        Scaling steps at most within each proximal step.
    inner_tolerance
        Scaling ends when the rows change by less than this share of the mass.
    """

    tau: float = 0.5
    mass: float = 1.0
    epsilon: float = 0.05
    iterations: int = 100
    tolerance: float = 5e-3
    inner: int = 40
    inner_tolerance: float = 1e-3


@dataclass(frozen=True, eq=False)
class Solution:
    """A plan on a band and how it was reached.

    Attributes
    ----------
    band
        Candidate matches; the solver may have widened them.
    values
        (nnz,) mass on each.
    objective, marginal_errors
        Per iteration: the objective (with the price of relaxed marginals) and
        the sum of the absolute deviations of both marginals.
    converged, reason
        Whether and why the solver stopped.
    """

    band: Band
    values: Floats
    objective: Floats
    marginal_errors: Floats
    converged: bool
    reason: str


Watch = Callable[[Band, Floats, Floats, Floats], None]
"""Called with band, values, objective and marginal errors after every iteration."""


class Scaling:
    """Sinkhorn scaling on a band that remembers its potentials.

    Parameters
    ----------
    band
        Candidate matches.
    p, q
        (n,), (m,) mass asked for; spots of mass 0 take no part.
    held
        (n,), (m,) flags of spots whose marginals are never relaxed.
    """

    def __init__(
        self, band: Band, p: Floats, q: Floats, held: tuple[Flags, Flags] | None = None
    ) -> None:
        self.band, self.p, self.q = band, p, q
        self.held = held or (np.zeros(len(p), bool), np.zeros(len(q), bool))
        self.potential = np.zeros(len(q))

    def __call__(
        self,
        logk: Floats,
        epsilon: float,
        tau: float = float("inf"),
        *,
        mass: float = 1.0,
        iterations: int = 40,
        tolerance: float = 1e-3,
    ) -> Floats:
        """(nnz,) kernel exp(logk) scaled towards the marginals; relaxed ones reach ``mass``."""
        band, power = self.band, 1.0 if np.isinf(tau) else tau / (tau + epsilon)
        rows, columns = (np.where(held, 1.0, power) for held in self.held)
        out = np.empty(len(band))
        sinkhorn(
            band.indptr, band.j, band.column_indptr, band.order, band.i, logk, self.potential,
            self.p, self.q, rows, columns, iterations, tolerance, out,
        )  # fmt: skip
        self.potential -= self.potential.mean()
        total = float(out.sum())
        if power < 1.0 and total > 0.0:
            out *= mass / total
        return out


@dataclass
class _Trace:
    objective: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)


def proximal_steps(
    problem: FusedProblem, start: Floats, options: ProximalOptions
) -> Iterator[tuple[Floats, float, float]]:
    """Yield the plan, its objective and how much of its mass the last step moved, for ever.

    Parameters
    ----------
    problem
        What to solve.
    start
        (nnz,) plan to start from; its scale does not matter.
    options
        See :class:`ProximalOptions`.

    Yields
    ------
    values, objective, change
        The first time for the start itself, with a change of infinity.
    """
    scale = Scaling(problem.band, problem.p, problem.q, problem.held)
    values: Floats = np.maximum(start, 0.0) * (options.mass / max(float(start.sum()), 1e-300))
    change = np.inf
    while True:
        gradient, objective = problem.gradient(values)
        yield values, objective + _price(problem, values, options.tau), change
        logk = np.log(np.maximum(values, FLOOR)) - gradient / options.epsilon
        after = scale(
            logk,
            options.epsilon,
            options.tau,
            mass=options.mass,
            iterations=options.inner,
            tolerance=options.inner_tolerance,
        )
        change = float(np.abs(after - values).sum())
        values = after


def solve_proximal(
    problem: FusedProblem,
    start: Floats,
    options: ProximalOptions,
    ctx: JobContext | None = None,
    watch: Watch | None = None,
    device: str = "cpu",
) -> Solution:
    """Run proximal steps until the plan settles.

    Parameters
    ----------
    problem, start, options
        See :func:`proximal_steps`.
    ctx
        Progress, cancelling and finishing early.
    watch
        Sees every iteration.
    device
        ``cpu``: compiled kernels; any other name of a torch device: torch.

    Returns
    -------
    Solution
        Of ``converged`` False if the iterations or the user's patience ended first.
    """
    ctx = ctx or JobContext()
    trace = _Trace()
    converged, reason, values = False, "", start
    steps = proximal_steps(problem, start, options)
    if device != "cpu":
        from napari_stomics.methods.alignment._torch import torch_steps

        steps = torch_steps(problem, start, options, device)
    for step, (values, objective, change) in enumerate(steps):
        trace.objective.append(objective)
        trace.errors.append(problem.marginal_error(values))
        ctx.step(step / max(options.iterations, 1), f"FGW iteration {step}")
        if watch is not None and step:
            watch(problem.band, values, np.array(trace.objective), np.array(trace.errors))
        if change <= options.tolerance * options.mass:
            converged = True
            reason = f"a step moves {change / options.mass:.1%} of the mass, after {step} steps"
            break
        if ctx.finishing:
            reason = "stopped by the user"
            break
        if step >= options.iterations:
            reason = (
                f"after {step} iterations a step still moves {change / options.mass:.1%} "
                "of the mass"
            )
            break
    return Solution(
        problem.band, values, np.array(trace.objective), np.array(trace.errors), converged, reason
    )


def _price(problem: FusedProblem, values: Floats, tau: float) -> float:
    """What the deviations from the marginals cost: tau KL of both; nothing where they are held."""
    if np.isinf(tau):
        return 0.0
    rows, columns = problem.band.marginals(values)
    p, q = problem.p, problem.q
    if problem.held is not None:
        free = [~held for held in problem.held]
        rows, p, columns, q = rows[free[0]], p[free[0]], columns[free[1]], q[free[1]]
    return tau * (divergence(rows, p) + divergence(columns, q))


def divergence(mass: Floats, asked: Floats) -> float:
    """Kullback-Leibler divergence of two mass vectors, their totals included."""
    good = (mass > 0) & (asked > 0)
    ratio = np.ones(len(mass))
    ratio[good] = mass[good] / asked[good]
    return float((mass * np.log(ratio) - mass + asked)[asked > 0].sum())
