"""Fused Gromov-Wasserstein alignment with POT's dense conditional-gradient solver."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import SpotPair
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import Params, param
from napari_stomics.core.plans import TransportPlan
from napari_stomics.core.registry import method
from napari_stomics.methods.preprocess import (
    log_normalise,
    most_variable,
    normalise,
    principal_components,
    shared_features,
)

Floats = NDArray[np.floating[Any]]


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
        200, "Iterations", "Conditional-gradient steps at most.", advanced=True, ge=1, le=10_000
    )
    tolerance: float = param(
        1e-7,
        "Tolerance",
        "Stops when the objective falls by less than this share.",
        log=True,
        advanced=True,
        gt=0,
        lt=1,
    )
    max_spots: int = param(
        4000,
        "Largest section",
        "The solver holds several n x m matrices and needs n^3 time: larger sections are refused.",
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
    "section; exact marginals, dense, for sections of up to a few thousand spots.",
    params=DenseFGWParams,
    inputs=SpotPair,
    result=TransportPlan,
    reference="Vayer et al. 2020, Algorithms 13:212; objective as in Zeira et al. 2022 (PASTE), "
    "Nat Methods 19:567; solver of POT (Flamary et al. 2021, JMLR 22:78)",
)
def align_dense(inputs: SpotPair, params: DenseFGWParams, ctx: JobContext) -> TransportPlan:
    """Align two sections by fused Gromov-Wasserstein transport.

    Minimises ``(1 - alpha) <M, P> + alpha sum (D_ij - D'_kl)^2 P_ik P_jl`` over
    couplings P with uniform marginals, where M are cosine distances of joint
    principal components and D, D' euclidean distances in spot pitches.

    Raises
    ------
    UserError
        If a section has more than ``params.max_spots`` spots, or no shared features.
    """
    import ot

    source, target = inputs.source, inputs.target
    n, m = len(source.ids), len(target.ids)
    if max(n, m) > params.max_spots:
        raise UserError(
            f"The dense solver would need about {_gigabytes(n, m):.1f} GB for {n} x {m} spots.",
            f"Sections of up to {params.max_spots} spots are allowed; use a subset of spots or "
            "raise 'Largest section'.",
        )
    ctx.step(0.02, "Comparing features")
    cost = feature_cost(inputs, params.n_genes, params.n_components, params.seed)
    pitch = np.sqrt(source.pitch * target.pitch)
    d1, d2 = _distances(source.coordinates / pitch), _distances(target.coordinates / pitch)
    p, q = np.full(n, 1 / n), np.full(m, 1 / m)
    plan: Any = _start(inputs, params, p, q, pitch)
    objective: list[float] = []
    converged, reason = False, f"stopped after {params.max_iterations} iterations"
    for i in range(params.max_iterations):
        ctx.step(0.05 + 0.9 * i / params.max_iterations, f"FGW iteration {i + 1}")
        plan, log = ot.gromov.fused_gromov_wasserstein(
            cost, d1, d2, p, q, alpha=params.alpha, G0=plan, symmetric=True,
            max_iter=1, tol_rel=0, tol_abs=0, numItermaxEmd=5_000_000, log=True,
        )  # fmt: skip
        objective.append(float(log["fgw_dist"]))
        if i and abs(objective[-2] - objective[-1]) <= params.tolerance * abs(objective[-2]):
            converged, reason = True, f"objective settled after {i + 1} iterations"
            break
    if not converged:
        ctx.warn(f"FGW did not converge: {reason}.")
    return _result(inputs, plan, np.array(objective), params.alpha, converged, reason)


def feature_cost(pair: SpotPair, n_genes: int, n_components: int, seed: int) -> Floats:
    """(n, m) cosine distances of joint principal components of two sections, in [0, 2]."""
    from scipy import sparse

    a, b, _ = shared_features(pair.source, pair.target)
    stacked: Any
    if pair.source.modality in ("rna", "metabolite") or sparse.issparse(a):
        # One total for both, so that depth does not tell the sections apart.
        sums = np.concatenate([np.asarray(m.sum(axis=1)).ravel() for m in (a, b)])
        total = float(np.median(sums[sums > 0])) if (sums > 0).any() else 1.0
        parts = [log_normalise(x, total) for x in (a, b)]
        stacked = sparse.csr_array(sparse.vstack(parts)) if sparse.issparse(a) else np.vstack(parts)
    else:
        from dataclasses import replace

        stacked = np.vstack(
            [normalise(replace(s, x=x)) for s, x in ((pair.source, a), (pair.target, b))]
        )
    stacked = stacked[:, most_variable(stacked, n_genes)]
    scores, _ = principal_components(stacked, n_components, seed)
    norms = np.linalg.norm(scores, axis=1, keepdims=True)
    unit = scores / np.where(norms > 0, norms, 1.0)
    n = a.shape[0]
    return np.asarray(np.clip(1.0 - unit[:n].astype(np.float64) @ unit[n:].T, 0.0, 2.0))


def _distances(points: Floats) -> Floats:
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(points, points))


def _start(
    pair: SpotPair, params: DenseFGWParams, p: Floats, q: Floats, pitch: float
) -> Floats | None:
    """Coupling of nearest positions where the sections are registered, else None (uniform)."""
    if params.start == "uniform" or not pair.registered:
        return None
    import ot
    from scipy.spatial.distance import cdist

    gaps = cdist(pair.placed() / pitch, pair.target.coordinates / pitch, "sqeuclidean")
    return np.asarray(ot.emd(p, q, gaps, numItermax=5_000_000))


def _result(
    pair: SpotPair,
    plan: Floats,
    objective: Floats,
    alpha: float,
    converged: bool,
    reason: str,
) -> TransportPlan:
    from scipy import sparse

    rows, columns = plan.sum(axis=1), plan.sum(axis=0)
    n, m = plan.shape
    error = np.abs(rows - 1 / n).sum() + np.abs(columns - 1 / m).sum()
    plan = np.where(plan > 1e-12 * plan.max(), plan, 0.0)
    return TransportPlan(
        source=pair.source.section,
        target=pair.target.section,
        source_ids=pair.source.ids,
        target_ids=pair.target.ids,
        plan=sparse.csr_matrix(plan),
        source_coordinates=pair.placed(),
        barycentres=(plan / plan.sum(axis=1, keepdims=True)) @ pair.target.coordinates,
        entropy=row_entropy(sparse.csr_array(plan)),
        objective=objective,
        marginal_error=float(error),
        alpha=alpha,
        converged=converged,
        reason=reason,
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
