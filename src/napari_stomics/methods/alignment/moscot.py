"""Alignment by the moscot library itself, where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import SpotPair
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import Params, param
from napari_stomics.core.plans import TransportPlan
from napari_stomics.core.registry import method
from napari_stomics.methods.alignment.checks import check_pair, check_values, shared_columns
from napari_stomics.methods.alignment.dense import row_entropy

Floats = NDArray[np.floating[Any]]

_NEGLIGIBLE = 1e-4  # share of the largest entry of its row below which an entry is dropped


class MoscotParams(Params):
    """Parameters of moscot's alignment; names and defaults are the library's."""

    alpha: float = param(
        0.5,
        "Structure weight (alpha)",
        "Weight of the distances within each section, in moscot's own units: distances are "
        "standardised and costs divided by their means.",
        step=0.05,
        gt=0.0,
        le=1.0,
    )
    epsilon: float = param(
        0.01, "Entropy (epsilon)", "Blurs the plan; smaller is sharper and slower.",
        log=True, gt=0.0, le=10.0,
    )  # fmt: skip
    tau_a: float = param(
        1.0, "Source balance (tau_a)", "1 holds the source's masses; less relaxes them.",
        advanced=True, gt=0.0, le=1.0, step=0.05,
    )  # fmt: skip
    tau_b: float = param(
        1.0, "Target balance (tau_b)", "1 holds the target's masses; less relaxes them.",
        advanced=True, gt=0.0, le=1.0, step=0.05,
    )  # fmt: skip
    rank: int = param(
        -1, "Rank", "-1 for a full plan; otherwise the rank of moscot's low-rank solver.",
        advanced=True, ge=-1, le=5000,
    )  # fmt: skip
    n_components: int = param(
        30, "Principal components", "Dimensions of the feature space.", ge=2, le=200
    )
    max_spots: int = param(
        5000, "Largest section", "The plan is n x m and dense: larger sections are refused.",
        advanced=True, ge=2, le=50_000,
    )  # fmt: skip
    seed: int = param(0, "Seed", "Seed of the PCA.", advanced=True, ge=0)


@method(
    task="alignment",
    name="moscot",
    title="moscot (library)",
    summary="Calls moscot's AlignmentProblem: entropic FGW on standardised coordinates. Needs "
    "the extra 'moscot'; FGW (fast, sparse) is faster and, as measured, more accurate.",
    params=MoscotParams,
    inputs=SpotPair,
    result=TransportPlan,
    reference="Klein et al. 2025, Nature 638:1065",
)
def align_moscot(inputs: SpotPair, params: MoscotParams, ctx: JobContext) -> TransportPlan:
    """Align two sections with moscot.

    Counts are scaled to 10,000 per spot and log-transformed as in moscot's
    tutorials; all shared features enter a joint PCA. The library solves in one
    call, so that cancelling takes effect only before and after it.

    Raises
    ------
    UserError
        If moscot is not installed, a section is too large or the sections
        cannot be compared.
    """
    problem_class = _library()
    n, m = len(inputs.source.ids), len(inputs.target.ids)
    if max(n, m) > params.max_spots:
        raise UserError(
            f"moscot's plan of {n} x {m} spots would need about {24e-9 * n * m:.1f} GB.",
            f"Sections of up to {params.max_spots} spots are allowed: use 'FGW (fast, sparse)', "
            "or raise 'Largest section'.",
        )
    check_pair(inputs, ctx)
    ctx.step(0.05, "Comparing features")
    both = _annotated(inputs, params, ctx)
    ctx.step(0.1, "moscot solves (this part cannot be interrupted)")
    problem = problem_class(both)
    problem = problem.prepare(batch_key="section", joint_attr="X_joint", policy="sequential")
    problem = problem.solve(
        alpha=params.alpha,
        epsilon=params.epsilon,
        tau_a=params.tau_a,
        tau_b=params.tau_b,
        rank=params.rank,
    )
    ctx.step(0.95, "Reading the plan")
    (solution,) = problem.solutions.values()
    return _result(inputs, params, solution, ctx)


def _library() -> Any:
    import importlib
    import os

    # Otherwise jax takes most of a GPU's memory at its first use.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        return importlib.import_module("moscot.problems.space").AlignmentProblem
    except ImportError as error:
        raise UserError(
            f"moscot is not installed ({error}).",
            'Install it with: pip install "napari-stomics[moscot]", and start again; or use '
            "'FGW (fast, sparse)'.",
        ) from error


def _annotated(pair: SpotPair, params: MoscotParams, ctx: JobContext) -> Any:
    """Both sections in one AnnData with joint components."""
    import anndata
    import pandas as pd
    from scipy import sparse

    from napari_stomics.methods.preprocess import principal_components

    left, right = shared_columns(pair.source, pair.target)
    parts = []
    for spots, columns in ((pair.source, left), (pair.target, right)):
        x: Any = spots.x[:, columns]
        check_values(spots, columns, ctx)
        parts.append(_scaled(spots.modality, x))
    joint: Any = sparse.vstack(parts, format="csr") if _sparse(parts) else np.vstack(parts)
    scores, _ = principal_components(joint, params.n_components, params.seed)
    sections = np.repeat(["source", "target"], [p.shape[0] for p in parts])
    both = anndata.AnnData(
        scores,  # moscot refuses a table without variables
        obs=pd.DataFrame(
            {"section": pd.Categorical(sections)}, index=[str(i) for i in range(len(sections))]
        ),
    )
    both.obsm["X_joint"] = scores
    both.obsm["spatial"] = np.concatenate([pair.source.coordinates, pair.target.coordinates])
    return both


def _scaled(modality: str, x: Any) -> Any:
    from napari_stomics.methods.preprocess import log_normalise

    if modality in ("rna", "chromatin", "metabolite", "protein"):
        return log_normalise(x, 1e4)
    return np.asarray(x.todense() if hasattr(x, "todense") else x, np.float32)


def _sparse(parts: list[Any]) -> bool:
    return all(hasattr(p, "indptr") for p in parts)


def _result(pair: SpotPair, params: MoscotParams, solution: Any, ctx: JobContext) -> TransportPlan:
    from scipy import sparse

    plan = np.asarray(solution.transport_matrix, np.float64)
    if not np.isfinite(plan).all():
        raise UserError("moscot returned numbers that are not finite.", "Raise epsilon.")
    n, m = plan.shape
    rows, columns = plan.sum(axis=1), plan.sum(axis=0)
    plan = np.where(plan > _NEGLIGIBLE * plan.max(axis=1, keepdims=True), plan, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        there = (plan / plan.sum(axis=1, keepdims=True)) @ pair.target.coordinates
    converged = bool(solution.converged)
    reason = "moscot's solver converged" if converged else "moscot's solver did not converge"
    if not converged:
        ctx.warn(f"{reason[0].upper()}{reason[1:]}.")
    relaxed = min(params.tau_a, params.tau_b) < 1.0
    return TransportPlan(
        source=pair.source.section,
        target=pair.target.section,
        source_ids=pair.source.ids,
        target_ids=pair.target.ids,
        plan=sparse.csr_matrix(plan),
        source_coordinates=pair.placed(),
        barycentres=there,
        entropy=row_entropy(sparse.csr_array(plan)),
        objective=np.array([float(solution.cost)]),
        marginal_error=float(np.abs(rows - 1 / n).sum() + np.abs(columns - 1 / m).sum()),
        alpha=params.alpha,
        converged=converged,
        reason=reason,
        marginals="unbalanced" if relaxed else "balanced",
        solver="moscot",
        features=np.asarray(pair.source.features[shared_columns(pair.source, pair.target)[0]]),
    )
