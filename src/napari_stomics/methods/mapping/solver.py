"""Entropic transport of cells to spots: linear, Gromov-Wasserstein, or both, balanced or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.mapping.structure import Distances

Floats = NDArray[np.floating[Any]]

_ABSORB = 30.0
"""Scalings beyond exp(30) go into the potentials, within the range of float32."""


@dataclass(frozen=True)
class Problem:
    """What is to be transported at which cost.

    Attributes
    ----------
    cost
        (n, m) cost of features with mean 1; None where there is none.
    structure
        Distances within the cells and within the spots; None without structure.
    weight
        Share of the feature cost in the objective; the rest is structure.
    p, q
        (n,), (m,) mass of cells and spots; both sum to 1.
    """

    cost: Floats | None
    structure: tuple[Distances, Distances] | None
    weight: float
    p: Floats
    q: Floats


@dataclass(frozen=True)
class Options:
    """How the problem is solved.

    Attributes
    ----------
    epsilon
        Weight of the entropy.
    rho
        Weight of the Kullback-Leibler divergence of the marginals from what is
        asked; infinite: they are kept.
    iterations, tolerance
        Outer iterations at most; they end when the plan moves by less mass.
    sinkhorn, marginal_tolerance
        Scalings per iteration at most, and the error of the marginals at which they end.
    cooling
        The first iterations use a larger epsilon, ``cooling`` times the final one,
        falling by a tenth of the way each: structure alone has many local optima.
    """

    epsilon: float
    rho: float = np.inf
    iterations: int = 100
    tolerance: float = 1e-4
    sinkhorn: int = 500
    marginal_tolerance: float = 1e-4
    cooling: float = 1.0


@dataclass(frozen=True)
class Solution:
    """A dense plan and how it was reached.

    Attributes
    ----------
    plan
        (n, m) float32.
    objective
        Value of the transport cost (without entropy and penalties) per iteration.
    marginal_error
        Sum of the absolute deviations of both marginals from what was asked.
    """

    plan: Floats
    objective: Floats
    marginal_error: float
    converged: bool
    reason: str


def solve(
    problem: Problem, options: Options, ctx: JobContext, start: Floats | None = None
) -> Solution:
    """Minimise ``w <M, T> + (1 - w) sum (D_ij - D'_kl)^2 T_ik T_jl`` plus entropy and marginals.

    Each iteration puts the gradient at the present plan for a linear cost and
    solves entropic transport for it (Peyré et al. 2016, ICML; unbalanced
    scalings after Chizat et al. 2018, Math Comput 87:2563).

    Raises
    ------
    UserError
        If the numbers leave the range of the machine: epsilon is too small.
    """
    scaling = Scaling(problem.p, problem.q, options)
    linear = problem.structure is None or problem.weight >= 1
    plan = np.outer(problem.p, problem.q).astype(np.float32) if start is None else start
    objective: list[float] = []
    bent: Floats | None = None
    steps = np.geomspace(options.cooling, 1, 12) if options.cooling > 1 and not linear else [1.0]
    iterations = 1 if linear else options.iterations
    for i in range(iterations):
        ctx.step(0.1 + 0.8 * i / iterations, f"Transport, iteration {i + 1}")
        cost = gradient(problem, plan) if bent is None else _gradient(problem, bent)
        epsilon = options.epsilon * float(steps[min(i, len(steps) - 1)])
        former, plan = plan, scaling.solve(cost, epsilon, ctx)
        if not np.isfinite(plan).all() or not plan.any():
            raise UserError(
                "The transport problem could not be solved in floating point.",
                "Choose a larger entropic regularisation, or a larger marginal weight.",
            )
        bent = _tensor_of(problem, plan)
        objective.append(_value(problem, plan, bent))
        moved = float(np.abs(plan - former).sum() / plan.sum())
        if ctx.finishing:
            return _solution(problem, plan, objective, False, "stopped by the user")
        if linear or (i + 1 >= len(steps) and moved < options.tolerance):
            break
    else:
        reason = f"stopped after {iterations} iterations; the plan still moves by {moved:.1e}"
        return _solution(problem, plan, objective, False, reason)
    if not scaling.settled:
        reason = f"the marginals did not settle in {options.sinkhorn} scalings"
        return _solution(problem, plan, objective, False, reason)
    return _solution(problem, plan, objective, True, f"settled after {len(objective)} iterations")


def _solution(
    problem: Problem, plan: Floats, objective: list[float], converged: bool, reason: str
) -> Solution:
    error = np.abs(plan.sum(axis=1) - problem.p).sum() + np.abs(plan.sum(axis=0) - problem.q).sum()
    return Solution(plan, np.array(objective), float(error), converged, reason)


def gradient(problem: Problem, plan: Floats) -> Floats:
    """(n, m) gradient of the objective at a plan, per unit of its mass."""
    return _gradient(problem, _tensor_of(problem, plan))


def _gradient(problem: Problem, bent: Floats | None) -> Floats:
    w, shape = problem.weight, (len(problem.p), len(problem.q))
    cost = np.zeros(shape, np.float32)
    if problem.cost is not None and w > 0:
        cost += np.float32(w) * problem.cost
    if bent is not None:
        cost += np.float32(2 * (1 - w)) * bent
    return cost


def _tensor_of(problem: Problem, plan: Floats) -> Floats | None:
    if problem.structure is None or problem.weight >= 1:
        return None
    return tensor(problem.structure, plan)


def tensor(structure: tuple[Distances, Distances], plan: Floats) -> Floats:
    """(n, m) sum over k, l of (D_ik - D'_jl)^2 T_kl, per unit of mass."""
    a, b = structure
    mass = max(float(plan.sum()), 1e-30)
    rows, columns = plan.sum(axis=1), plan.sum(axis=0)
    out = np.asarray(a.across(plan, b), np.float32)
    out *= np.float32(-2 / mass)
    out += np.asarray(a.squared_dot(rows) / mass, np.float32)[:, None]
    out += np.asarray(b.squared_dot(columns) / mass, np.float32)[None, :]
    return out


def value(problem: Problem, plan: Floats) -> float:
    """The transport cost of a plan per unit of its mass."""
    return _value(problem, plan, _tensor_of(problem, plan))


def _value(problem: Problem, plan: Floats, bent: Floats | None) -> float:
    mass, total = max(float(plan.sum()), 1e-30), 0.0
    if problem.cost is not None and problem.weight > 0:
        total += problem.weight * float(np.vdot(problem.cost, plan)) / mass
    if bent is not None:
        total += (1 - problem.weight) * float(np.vdot(bent, plan)) / mass
    return total


class Scaling:
    """Sinkhorn's scalings of a dense kernel, kept in range, warm from one cost to the next.

    Parameters
    ----------
    p, q
        Marginals that are asked for.
    options
        Of these ``rho``, ``sinkhorn`` and ``marginal_tolerance``.
    """

    def __init__(self, p: Floats, q: Floats, options: Options) -> None:
        self.p, self.q = np.asarray(p, np.float64), np.asarray(q, np.float64)
        self.rho = options.rho
        self.count = options.sinkhorn
        self.tolerance = options.marginal_tolerance
        self.settled = False
        self._f: Floats | None = None

    def solve(self, cost: Floats, epsilon: float, ctx: JobContext) -> Floats:
        """(n, m) float32 plan of entropic transport at a cost."""
        f, g = self._potentials(cost)
        kernel = self._kernel(cost, f, g, epsilon)
        u: Floats = np.ones(len(self.p))
        v: Floats = np.ones(len(self.q))
        self.settled = False
        for i in range(self.count):
            former = u
            u = self._scaled(self.p, kernel @ v.astype(np.float32), f, epsilon)
            v = self._scaled(self.q, kernel.T @ u.astype(np.float32), g, epsilon)
            if i % 10 == 9:
                ctx.step()
                # With relaxed marginals there is no error to look at: the scalings settle.
                change = np.abs(np.log(np.maximum(u, 1e-30) / np.maximum(former, 1e-30)))
                if float((self.p * change).sum()) < self.tolerance:
                    self.settled = True
                    break
            if max(np.abs(np.log(np.maximum(w, 1e-38))).max() for w in (u, v)) > _ABSORB:
                f, g = f + epsilon * np.log(u), g + epsilon * np.log(v)
                kernel = self._kernel(cost, f, g, epsilon)
                u, v = np.ones_like(u), np.ones_like(v)
        self._f = f + epsilon * np.log(np.maximum(u, 1e-300))
        plan = kernel * u[:, None].astype(np.float32)
        plan *= v[None, :].astype(np.float32)
        return np.asarray(plan)

    def _potentials(self, cost: Floats) -> tuple[Floats, Floats]:
        """Potentials for which every row and column of the kernel has an entry of order one."""
        f = (cost.min(axis=1) if self._f is None else self._f).astype(np.float32)
        g = np.min(cost - f[:, None], axis=0)
        f = np.min(cost - g[None, :], axis=1)
        return f.astype(np.float64), g.astype(np.float64)

    def _kernel(self, cost: Floats, f: Floats, g: Floats, epsilon: float) -> Floats:
        kernel = g.astype(np.float32)[None, :] - cost
        kernel += f.astype(np.float32)[:, None]
        kernel /= np.float32(epsilon)
        np.clip(kernel, -80, 80, out=kernel)
        np.exp(kernel, out=kernel)
        kernel *= self.p[:, None].astype(np.float32)
        kernel *= self.q[None, :].astype(np.float32)
        return kernel

    def _scaled(self, asked: Floats, got: Floats, potential: Floats, epsilon: float) -> Floats:
        ratio = asked / np.maximum(got.astype(np.float64), 1e-38)
        if np.isinf(self.rho):
            return np.asarray(ratio)
        share = self.rho / (self.rho + epsilon)
        return np.asarray(ratio**share * np.exp(-potential / (self.rho + epsilon)))
