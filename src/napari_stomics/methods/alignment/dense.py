"""Fused Gromov-Wasserstein alignment with POT's dense solvers: the reference for small sections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import SpotPair
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import Params, param
from napari_stomics.core.plans import TransportPlan
from napari_stomics.core.registry import method
from napari_stomics.methods.alignment.checks import check_pair
from napari_stomics.methods.alignment.features import FeatureOptions, compare_features
from napari_stomics.methods.alignment.partial import partial_error, partial_masses

Floats = NDArray[np.floating[Any]]

_PIVOTS = 5_000_000
"""POT's default of 100,000 stops its simplex before the optimum at a few thousand spots."""
_SCALINGS = 200  # Sinkhorn steps at most per gradient step; the next one goes on from there


class DenseFGWParams(Params):
    """Parameters of the dense FGW alignment."""

    alpha: float = param(
        0.5,
        "Structure weight (alpha)",
        "0 compares features alone, 1 distances alone. Distances count in spot pitches, "
        "without which alpha has no fixed meaning.",
        step=0.05,
        ge=0.0,
        le=1.0,
    )
    features: Literal["cosine", "kl", "none"] = param(
        "cosine",
        "Feature distance",
        "'cosine' of joint principal components, 'kl' divergence of the counts (PASTE), or "
        "'none': distances alone.",
    )
    marginals: Literal["balanced", "partial", "unbalanced"] = param(
        "balanced",
        "Masses",
        "'balanced': all of both sections is matched. 'partial': only the given overlap. "
        "'unbalanced': spots may send and receive less or more, at a price.",
    )
    overlap: float = param(
        0.9,
        "Overlap",
        "With 'partial': the share of either section that is matched.",
        step=0.05,
        gt=0.0,
        le=1.0,
    )
    relaxation: float = param(
        1.0,
        "Price of mass",
        "With 'unbalanced': price of deviating from uniform masses (Kullback-Leibler).",
        log=True,
        advanced=True,
        gt=0.0,
    )
    epsilon: float = param(
        0.0,
        "Entropy (epsilon)",
        "0 gives exact plans; more gives blurred ones by Sinkhorn scaling, faster.",
        log=True,
        advanced=True,
        ge=0.0,
    )
    structure: Literal["euclidean", "squared"] = param(
        "euclidean",
        "Structure",
        "Distances within each section, or their squares (moscot).",
        advanced=True,
    )
    unit: Literal["pitch", "mean"] = param(
        "pitch",
        "Unit of distances",
        "Spot pitches, or the mean over each section; with 'mean' feature distances are "
        "divided by their mean too (moscot).",
        advanced=True,
    )
    n_genes: int = param(
        2000, "Variable features", "Most variable shared features to compare.", ge=2, le=50_000
    )
    n_components: int = param(
        30, "Principal components", "Dimensions of the feature space.", ge=2, le=200
    )
    start: Literal["registration", "uniform"] = param(
        "registration",
        "Start",
        "'registration' starts from the nearest positions if the sections are registered: "
        "from a uniform start FGW often stays in a poor optimum.",
    )
    max_iterations: int = param(
        200, "Iterations", "Steps of the solver at most.", advanced=True, ge=1, le=10_000
    )
    tolerance: float = param(
        1e-7,
        "Tolerance",
        "Stops when the objective changes by less than this share.",
        log=True,
        advanced=True,
        gt=0,
        lt=1,
    )
    max_spots: int = param(
        1000,
        "Largest section",
        "The solver holds several n x m matrices and needs n^3 time: larger sections are "
        "refused. Use 'FGW (fast, sparse)' for them.",
        advanced=True,
        ge=2,
        le=20_000,
    )
    seed: int = param(0, "Seed", "Seed of the PCA's start vector.", advanced=True, ge=0)


@method(
    task="alignment",
    name="fgw-dense",
    title="FGW, dense (POT)",
    summary="Couples the spots of two sections by expression and by distances within each "
    "section, without a band or any other shortcut: the reference for up to a thousand spots.",
    params=DenseFGWParams,
    inputs=SpotPair,
    result=TransportPlan,
    reference="Vayer et al. 2020, Algorithms 13:212; objective as in Zeira et al. 2022 (PASTE), "
    "Nat Methods 19:567; solvers of POT (Flamary et al. 2021, JMLR 22:78)",
)
def align_dense(inputs: SpotPair, params: DenseFGWParams, ctx: JobContext) -> TransportPlan:
    """Align two sections by fused Gromov-Wasserstein transport.

    Minimises ``(1 - alpha) <M, P> + alpha sum (D_ij - D'_kl)^2 P_ik P_jl`` over
    couplings P, where M are feature distances and D, D' distances within the
    sections; at uniform marginals, for a share of the mass (``partial``), or
    with marginals that may be missed at a price (``unbalanced``, quadratic
    Kullback-Leibler as Thual et al. 2022, NeurIPS 35). Partial and unbalanced
    plans come from one call of POT and can be cancelled only before it.

    Raises
    ------
    UserError
        If a section has more than ``params.max_spots`` spots, the sections
        cannot be compared, or POT has no such solver.
    """
    n, m = len(inputs.source.ids), len(inputs.target.ids)
    if max(n, m) > params.max_spots:
        raise UserError(
            f"The dense solver would need about {_gigabytes(n, m):.1f} GB and "
            f"{_minutes(n, m):.0f} min for {n} x {m} spots.",
            f"Sections of up to {params.max_spots} spots are allowed: use 'FGW (fast, sparse)', "
            "a subset of spots, or raise 'Largest section'.",
        )
    if params.marginals == "unbalanced" and params.alpha == 0.0:
        raise UserError(
            "An unbalanced plan needs some structure (alpha above 0).", "Raise alpha a little."
        )
    if params.marginals == "partial" and params.epsilon > 0.0:
        raise UserError(
            "POT's entropic solver for partial plans does not stay finite.", "Set epsilon to 0."
        )
    check_pair(inputs, ctx)
    ctx.step(0.02, "Comparing features")
    problem = _problem(inputs, params, ctx)
    solve = {"balanced": _balanced, "partial": _partial, "unbalanced": _unbalanced}
    plan, objective, converged, reason = solve[params.marginals](problem, params, ctx)
    if not np.isfinite(plan).all():
        raise UserError(
            "POT's solver ran into numbers that are not finite.",
            "Raise epsilon, or use another solver.",
        )
    if not converged:
        ctx.warn(f"FGW did not converge: {reason}.")
    return _result(inputs, params, problem, plan, np.array(objective), (converged, reason))


@dataclass(frozen=True)
class _Problem:
    """Matrices of one alignment: feature costs, distances, masses, start, features used."""

    cost: Floats
    d1: Floats
    d2: Floats
    p: Floats
    q: Floats
    mass: float
    start: Floats | None
    names: NDArray[Any]

    def objective(self, plan: Floats, alpha: float) -> float:
        """The fused objective of any plan."""
        linear, gw = float(np.sum(self.cost * plan)), float(np.sum(self._moves(plan) * plan))
        return (1 - alpha) * linear + alpha * gw

    def gradient(self, plan: Floats, alpha: float) -> Floats:
        """(n, m) derivative of the objective."""
        return np.asarray((1 - alpha) * self.cost + 2 * alpha * self._moves(plan))

    def _moves(self, plan: Floats) -> Floats:
        """Structure cost of each match at a plan: half its share of the gradient."""
        out = -2 * (self.d1 @ plan @ self.d2)
        out += (self.d1**2 @ plan.sum(axis=1))[:, None]
        out += self.d2**2 @ plan.sum(axis=0)
        return np.asarray(out)


_Answer = tuple[Floats, list[float], bool, str]


def _problem(pair: SpotPair, params: DenseFGWParams, ctx: JobContext) -> _Problem:
    from scipy.spatial.distance import cdist

    space = compare_features(
        pair,
        FeatureOptions(params.features, params.n_genes, params.n_components, 0.0, 0.0, params.seed),
        ctx.part(0.02, 0.05),
    )
    cost = space.dense().astype(np.float64)
    pitch = max(pair.source.pitch, pair.target.pitch)  # as the sparse solver counts
    places = (pair.source.coordinates / pitch, pair.target.coordinates / pitch)
    d1, d2 = (np.asarray(cdist(x, x)) for x in places)
    if params.structure == "squared":
        d1, d2 = d1**2, d2**2
    if params.unit == "mean":
        d1, d2 = d1 / d1.mean(), d2 / d2.mean()
        cost = cost / max(float(cost.mean()), 1e-12)
    n, m = cost.shape
    overlap = params.overlap if params.marginals == "partial" else 1.0
    p, q, mass = partial_masses(n, m, (overlap, overlap))
    start = None
    if params.start == "registration" and pair.registered:
        start = _nearest(pair.placed() / pitch, pair.target.coordinates / pitch, p, q, mass)
    return _Problem(cost, d1, d2, p, q, mass, start, space.names)


def _nearest(placed: Floats, target: Floats, p: Floats, q: Floats, mass: float) -> Floats:
    """Coupling of nearest positions."""
    import ot
    from scipy.spatial.distance import cdist

    gaps = cdist(placed, target, "sqeuclidean")
    if mass >= 1.0:
        return np.asarray(ot.emd(p, q, gaps, numItermax=_PIVOTS))
    plan = ot.partial.partial_wasserstein(p, q, gaps, m=mass, numItermax=_PIVOTS)
    return np.asarray(plan * (1 - 1e-9))  # POT refuses a start above the masses by rounding


def _balanced(problem: _Problem, params: DenseFGWParams, ctx: JobContext) -> _Answer:
    objective: list[float] = []
    steps = _exact_steps if params.epsilon == 0.0 else _entropic_steps
    plan = np.outer(problem.p, problem.q)
    for i, (plan, value) in enumerate(steps(problem, params)):
        ctx.step(0.05 + 0.9 * i / params.max_iterations, f"FGW iteration {i + 1}")
        objective.append(value)
        if i and abs(objective[-2] - value) <= params.tolerance * abs(objective[-2]):
            return plan, objective, True, f"objective settled after {i + 1} iterations"
        if ctx.finishing:
            return plan, objective, False, "stopped by the user"
        if i + 1 >= params.max_iterations:
            break
    return plan, objective, False, f"stopped after {params.max_iterations} iterations"


def _exact_steps(problem: _Problem, params: DenseFGWParams) -> Iterator[tuple[Floats, float]]:
    import ot

    plan: Any = problem.start
    while True:
        plan, log = ot.gromov.fused_gromov_wasserstein(
            problem.cost, problem.d1, problem.d2, problem.p, problem.q, alpha=params.alpha,
            G0=plan, symmetric=True, max_iter=1, tol_rel=0, tol_abs=0, log=True,
            numItermaxEmd=_PIVOTS,
        )  # fmt: skip
        yield plan, float(log["fgw_dist"])


def _entropic_steps(problem: _Problem, params: DenseFGWParams) -> Iterator[tuple[Floats, float]]:
    """Projected gradient steps (Peyre et al. 2016, ICML), scaled in the log domain."""
    import ot

    alpha, epsilon = params.alpha, params.epsilon
    prior = np.outer(problem.p, problem.q)
    plan = prior if problem.start is None else problem.start
    duals: Any = None
    while True:
        plan, log = ot.sinkhorn(
            problem.p, problem.q, problem.gradient(plan, alpha), epsilon, warmstart=duals,
            method="sinkhorn_log", numItermax=_SCALINGS, stopThr=1e-8, warn=False, log=True,
        )  # fmt: skip
        duals = log["log_u"], log["log_v"]
        entropy = float(np.sum(plan * np.log(np.maximum(plan / prior, 1e-300))))
        yield plan, problem.objective(plan, alpha) + epsilon * entropy


def _partial(problem: _Problem, params: DenseFGWParams, ctx: JobContext) -> _Answer:
    import ot

    ctx.step(0.1, "Partial FGW")
    # Its iterations are its simplex's limit too, so the tolerance alone ends them.
    plan = ot.gromov.partial_fused_gromov_wasserstein(
        problem.cost, problem.d1, problem.d2, problem.p, problem.q, m=problem.mass,
        alpha=params.alpha, G0=problem.start, symmetric=True, numItermax=_PIVOTS,
        tol=params.tolerance,
    )  # fmt: skip
    return plan, [problem.objective(plan, params.alpha)], True, "POT's tolerance was reached"


def _unbalanced(problem: _Problem, params: DenseFGWParams, ctx: JobContext) -> _Answer:
    import ot

    ctx.step(0.1, "Unbalanced FGW")
    # POT weighs the structure 1 and the features by alpha: all in units of ours.
    unit = params.alpha
    plan, _, log = ot.gromov.fused_unbalanced_gromov_wasserstein(
        problem.d1, problem.d2, problem.p, problem.q, M=problem.cost,
        alpha=(1 - params.alpha) / unit, reg_marginals=params.relaxation / unit,
        epsilon=params.epsilon / unit, init_pi=problem.start, max_iter=params.max_iterations,
        unbalanced_solver="sinkhorn_log" if params.epsilon else "mm", log=True,
    )  # fmt: skip
    change = float(np.ravel(log["error"])[-1])
    converged = change < 1e-6
    reason = f"the last step of POT's solver moved {change:.1e} of the mass"
    return plan, [problem.objective(plan, params.alpha)], converged, reason


def _result(
    pair: SpotPair,
    params: DenseFGWParams,
    problem: _Problem,
    plan: Floats,
    objective: Floats,
    ending: tuple[bool, str],
) -> TransportPlan:
    from scipy import sparse

    rows, columns = plan.sum(axis=1), plan.sum(axis=0)
    if params.marginals == "partial":
        error = partial_error(rows, columns, problem.p, problem.q, problem.mass)
    else:
        error = float(np.abs(rows - problem.p).sum() + np.abs(columns - problem.q).sum())
    plan = np.where(plan > 1e-12 * plan.max(), plan, 0.0)
    kept = plan.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        barycentres = (plan / kept[:, None]) @ pair.target.coordinates
    return TransportPlan(
        source=pair.source.section,
        target=pair.target.section,
        source_ids=pair.source.ids,
        target_ids=pair.target.ids,
        plan=sparse.csr_matrix(plan),
        source_coordinates=pair.placed(),
        barycentres=barycentres,
        entropy=row_entropy(sparse.csr_array(plan)),
        objective=objective,
        marginal_error=error,
        alpha=params.alpha,
        converged=ending[0],
        reason=ending[1],
        source_mass=problem.p,
        target_mass=problem.q,
        marginals=params.marginals,
        solver="pot",
        features=problem.names,
    )


def row_entropy(plan: Any) -> Floats:
    """(n,) Shannon entropy of each row of a sparse plan over log(m); NaN for empty rows."""
    mass = np.asarray(plan.sum(axis=1)).ravel()
    rows = np.repeat(np.arange(plan.shape[0]), np.diff(plan.indptr))
    share = plan.data / mass[rows]
    terms = np.bincount(rows, -share * np.log(np.where(share > 0, share, 1.0)), plan.shape[0])
    scale = np.log(plan.shape[1]) if plan.shape[1] > 1 else 1.0
    return np.asarray(np.where(mass > 0, np.maximum(terms, 0.0) / scale, np.nan))


def _gigabytes(n: int, m: int) -> float:
    """Peak of the solver: the plan, cost, gradient and three work arrays, and both distances."""
    return 8.0 * (6 * n * m + 2 * n * n + 2 * m * m) / 1e9


def _minutes(n: int, m: int) -> float:
    """Time on one core, from the measured 200 s at 4,000 spots."""
    return 3.3 * (n * m / 4000**2) ** 1.4
