"""Mapping of single cells to space by optimal transport of features and structure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import Cells, MappingInputs, Spots
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.mappings import CellMapping
from napari_stomics.core.registry import method
from napari_stomics.methods.mapping import communication, features, omics, places
from napari_stomics.methods.mapping.params import MappingParams
from napari_stomics.methods.mapping.solver import Options, Problem, Solution, solve
from napari_stomics.methods.mapping.structure import Distances, distances_within
from napari_stomics.metrics.uncertainty import normalised_entropy

Floats = NDArray[np.floating[Any]]

_BYTES_PER_MATCH = 28
"""Float32 arrays of cells x spots that are alive at once: four costs, kernel, two plans."""


@method(
    task="mapping",
    name="ot",
    title="Optimal transport of cells to space",
    summary="Places single cells in a section by expression (atlas), by distances (de novo) or "
    "both; each cell gets a distribution over the spots.",
    params=MappingParams,
    inputs=MappingInputs,
    result=CellMapping,
    reference="Nitzan et al. 2019, Nature 576:132; Cang and Nie 2020, Nat Commun 11:2084; "
    "scalings after Chizat et al. 2018, Math Comput 87:2563",
)
def map_cells(inputs: MappingInputs, params: MappingParams, ctx: JobContext) -> CellMapping:
    """Map single cells to a section.

    Minimises ``w <M, T> + (1 - w) sum (D_ij - D'_kl)^2 T_ik T_jl`` with entropy
    over plans T, where M are costs of features with mean 1, and D, D' distances
    between cells in expression and between spots in space, each with root mean
    square 1; w is the atlas weight.

    Raises
    ------
    UserError
        If the problem needs more memory than allowed, no features are shared, or
        there are too few cells or spots.
    """
    cells, space = inputs.cells, inputs.space
    check(inputs, params, ctx)
    needed = gigabytes(len(cells.ids), len(space.ids), params)
    if needed > params.max_gigabytes:
        raise UserError(
            f"{len(cells.ids):,} cells and {len(space.ids):,} spots need about {needed:.1f} GB; "
            f"{params.max_gigabytes:g} GB are allowed.",
            "Map a sample of the cells, or raise the memory limit.",
        )
    pairs = communication.read_pairs(params.ligand_receptor)
    ctx.step(0.02, f"Comparing cells and spots; needs about {needed:.2g} GB")
    shared, seen, unseen = _split(cells, space, params)
    problem = _problem(cells, space, None if shared is None else shared.take(seen), params, ctx)
    solution = _best(problem, params, ctx)
    if not solution.converged:
        ctx.warn(f"The mapping did not converge: {solution.reason}.")
    if params.atlas_weight == 0:
        ctx.warn("Without an atlas, positions are known only up to the symmetry of the tissue.")
    ctx.step(0.9, "Reading the plan")
    result = _result(cells, space, solution, params)
    if shared is not None:
        result = _judged(result, shared, seen, unseen, solution.plan)
    result = _in_space(result, inputs, solution.plan, pairs, params, ctx)
    more = tuple(_placed(inputs, other, solution, params, ctx) for other in inputs.more)
    return replace(result, more=more)


def gigabytes(cells: int, spots: int, params: MappingParams) -> float:
    """Peak memory of a mapping in GB."""
    total = _BYTES_PER_MATCH * cells * spots
    if params.atlas_weight < 1:
        for n in (cells, spots):
            total += 24 * n * n if n <= params.exact_up_to else 40 * n * params.landmarks
    return total / 1e9


def check(inputs: MappingInputs, params: MappingParams, ctx: JobContext) -> None:
    """Refuse what cannot be mapped, with the reason; warn of what tells nothing."""
    cells, space = inputs.cells, inputs.space
    if len(cells.ids) < 3 or len(space.ids) < 3:
        raise UserError(
            f"There are {len(cells.ids)} cells and {len(space.ids)} spots.",
            "At least three of each are needed.",
        )
    if not np.isfinite(space.coordinates).all():
        raise UserError(
            f"Some spots of section {space.section!r} have no position.", "Remove them first."
        )
    for x, what in (
        (cells.x, f"cells of {cells.name!r}"),
        (space.x, f"spots of {space.section!r}"),
    ):
        count = int((np.asarray(x.sum(axis=1)).ravel() <= 0).sum())
        if count and (params.atlas_weight > 0 or x is cells.x):
            ctx.warn(f"{count:,} {what} have no counts: nothing tells where they belong.")


def _split(
    cells: Cells, space: Spots, params: MappingParams
) -> tuple[features.Shared | None, NDArray[np.intp], NDArray[np.intp]]:
    """Shared genes, those to compare, and those held out; none where the atlas has no weight."""
    nothing = np.zeros(0, np.intp)
    if params.atlas_weight == 0:
        return None, nothing, nothing
    shared = features.shared_genes(cells, space)
    count = len(shared.names)
    unseen = nothing
    if count >= 20 and params.held_out > 0:
        rng = np.random.default_rng(params.seed)
        unseen = np.sort(rng.choice(count, max(1, round(params.held_out * count)), replace=False))
    rest = np.setdiff1d(np.arange(count), unseen)
    chosen = features.choose_genes(shared.take(rest), cells.labels, params.genes, params.n_genes)
    return shared, rest[chosen], unseen


def _problem(
    cells: Cells,
    space: Spots,
    shared: features.Shared | None,
    params: MappingParams,
    ctx: JobContext,
) -> Problem:
    n = len(cells.ids)
    cost = None
    if shared is not None:
        cost = features.feature_cost(
            shared,
            params.metric,
            standardise=params.standardise,
            components=params.n_components,
            seed=params.seed,
        )
        if params.marginals == "unbalanced":
            # What an ordinary cell pays at its best spot is no reason to leave it out.
            cost = cost - np.float32(np.median(cost.min(axis=1)))
        if params.label_weight > 0:
            cost = cost + np.float32(params.label_weight) * features.label_penalty(cells, space)
    structure = None if params.atlas_weight >= 1 else _structure(cells, space, params, ctx)
    q = spot_mass(space, params)
    return Problem(cost, structure, params.atlas_weight, np.full(n, 1 / n), q)


def spot_mass(space: Spots, params: MappingParams) -> Floats:
    """(m,) mass that each spot is asked to take; sums to 1."""
    m = len(space.ids)
    if params.spot_mass == "uniform":
        return np.full(m, 1 / m)
    mass = np.asarray(space.x.sum(axis=1), np.float64).ravel()
    mass = np.maximum(mass / mass.sum(), 1e-6 / m)
    return np.asarray(mass / mass.sum())


def _structure(
    cells: Cells, space: Spots, params: MappingParams, ctx: JobContext
) -> tuple[Distances, Distances]:
    ctx.step(0.04, "Distances between cells")
    common: dict[str, Any] = {
        "neighbours": params.neighbours,
        "exact_up_to": params.exact_up_to,
        "landmarks": params.landmarks,
        "seed": params.seed,
        "ctx": ctx,
    }
    own = features.cell_space(cells, params.components, params.seed)
    between_cells = distances_within(own, params.cell_distances, **common)
    ctx.step(0.08, "Distances between spots")
    return between_cells, distances_within(space.coordinates, params.spot_distances, **common)


def _best(problem: Problem, params: MappingParams, ctx: JobContext) -> Solution:
    """The solution of lowest cost over the starts; the first starts from the uniform plan."""
    options = Options(
        epsilon=params.epsilon,
        rho=params.marginal_weight if params.marginals == "unbalanced" else np.inf,
        iterations=params.max_iterations,
        tolerance=params.tolerance,
        cooling=params.cooling,
    )
    starts = 1 if problem.structure is None else params.starts
    found: list[Solution] = []
    for i in range(starts):
        rng = np.random.default_rng((params.seed, i))
        start = None
        if i > 0 or (problem.cost is None and problem.structure is not None):
            # The uniform plan is a saddle where only distances count.
            noise = rng.normal(size=(len(problem.p), len(problem.q))).astype(np.float32)
            start = np.outer(problem.p, problem.q).astype(np.float32) * np.exp(0.5 * noise)
            start /= start.sum()
        part = ctx.part(0.1 + 0.8 * i / starts, 0.1 + 0.8 * (i + 1) / starts)
        found.append(solve(problem, options, part, start))
        if ctx.finishing:
            break
    best = int(np.argmin([f.objective[-1] for f in found]))
    return found[best]


def _result(cells: Cells, space: Spots, solution: Solution, params: MappingParams) -> CellMapping:
    """The result without what needs genes or labels beyond their proportions."""
    plan = solution.plan
    n, m = plan.shape
    total = float(plan.sum())
    positions, covariance = places.expected_positions(plan, space.coordinates)
    shares = places.row_shares(plan)
    names, proportions = places.proportions(plan, cells.labels)
    kept = places.largest(plan, params.keep)
    return CellMapping(
        reference=cells.name,
        section=space.section,
        modality=cells.modality,
        cell_ids=cells.ids,
        spot_ids=space.ids,
        plan=kept,
        kept=float(kept.sum()) / total,
        cell_mass=np.asarray(plan.sum(axis=1), np.float64) * n,
        spot_mass=np.asarray(plan.sum(axis=0), np.float64) / spot_mass(space, params),
        positions=positions,
        spread=np.sqrt(np.maximum(np.trace(covariance, axis1=1, axis2=2), 0)),
        entropy=normalised_entropy(shares),
        largest_match=np.asarray(shares.max(axis=1), np.float64),
        labels=_texts(cells),
        categories=names,
        proportions=proportions,
        proportion_entropy=normalised_entropy(proportions) if names else np.full(m, np.nan),
        objective=solution.objective,
        marginal_error=solution.marginal_error,
        atlas_weight=params.atlas_weight,
        marginals=params.marginals,
        converged=solution.converged,
        reason=solution.reason,
    )


def _texts(cells: Cells) -> NDArray[Any]:
    return np.full(len(cells.ids), "", object) if cells.labels is None else cells.labels


def _judged(
    result: CellMapping,
    shared: features.Shared,
    seen: NDArray[np.intp],
    unseen: NDArray[np.intp],
    plan: Floats,
) -> CellMapping:
    """Add what the mapping saw, and how well it predicts what it did not see."""
    hidden = shared.take(unseen)
    predicted = places.expression_in_space(plan, hidden.cells)
    return replace(
        result,
        features=shared.names[seen],
        held_out=hidden.names,
        held_out_pearson=places.column_correlations(predicted, hidden.spots),
    )


def _in_space(
    result: CellMapping,
    inputs: MappingInputs,
    plan: Floats,
    pairs: list[tuple[str, str]],
    params: MappingParams,
    ctx: JobContext,
) -> CellMapping:
    """Add distances between labels and signals, where they are asked for."""
    cells, space = inputs.cells, inputs.space
    if params.label_distances and cells.labels is not None and result.categories:
        gaps = communication.label_distances(
            plan, cells.labels, result.categories, space.coordinates, ctx
        )
        result = replace(result, label_distances=gaps)
    if pairs:
        found = communication.signals(
            cells,
            result.categories,
            places.expected_positions(plan, space.coordinates),
            pairs,
            params.signal_range or 3 * space.pitch,
            params.seed,
            ctx,
        )
        result = replace(
            result,
            signals=found.names,
            flows=found.flows,
            flow_z=found.z,
            signal_reach=found.reach,
        )
    return result


def _placed(
    inputs: MappingInputs,
    other: Cells,
    solution: Solution,
    params: MappingParams,
    ctx: JobContext,
) -> CellMapping:
    """Cells of a further modality, placed through those that have a place."""
    shares, settled, how = omics.through(inputs.cells, other, params.n_groups, params.seed, ctx)
    rows = places.row_shares(solution.plan)
    plan = np.asarray(shares @ np.nan_to_num(rows), np.float32)
    plan /= max(float(plan.sum()), 1e-30)
    own = replace(solution, plan=plan, converged=solution.converged and settled, reason=how)
    return _result(other, inputs.space, own, params)
