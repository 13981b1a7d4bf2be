"""Serial sections aligned pair by pair and brought into one frame without drift."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import SpotPair
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import Params, param
from napari_stomics.core.plans import TransportPlan
from napari_stomics.core.registry import method
from napari_stomics.core.stacks import NAN, Stack, StackEdge, StackInputs
from napari_stomics.core.transforms import Affine, Transform, compose
from napari_stomics.methods.alignment.pose import UNSURE
from napari_stomics.methods.alignment.pose_graph import (
    GraphEdge,
    PoseGraph,
    chain_poses,
    loop_errors,
    rigid_between,
    robust_rigid,
    solve_pose_graph,
)
from napari_stomics.metrics.label_transfer import plan_accuracy
from napari_stomics.metrics.tissue_geometry import linear_pose

_DOUBTED = 0.1
"""Weight below which an alignment is named as contradicted."""


class StackParams(Params):
    """Parameters of the alignment of a stack."""

    reach: int = param(
        2, "Reach", "Sections are aligned with so many next ones. 1: neighbours alone, whose "
        "errors add up; from 2 on they are checked against each other.", ge=1, le=5,
    )  # fmt: skip
    solver: Literal["fast", "dense"] = param(
        "fast", "Solver", "'dense' is POT's exact solver, for small sections."
    )
    prior: Literal["automatic", "registration", "landmarks"] = param(
        "automatic", "Held together by", "automatic: every rotation, shift and mirror image is "
        "tried. registration, landmarks: where each pair starts.",
    )  # fmt: skip
    alpha: float = param(
        0.5, "Structure weight (alpha)", "0 compares features alone, 1 distances alone.",
        ge=0.0, le=1.0, step=0.05,
    )  # fmt: skip
    mirror: bool = param(True, "Mirror images too", "Whether a section may lie face down.")
    bend: bool = param(
        False, "Bend", "Follow the deformation from section to section. It also straightens what "
        "truly changes along the stack.",
    )  # fmt: skip
    n_genes: int = param(
        2000, "Variable features", "Most variable shared features to compare.",
        ge=2, le=50_000, advanced=True,
    )  # fmt: skip
    n_components: int = param(
        30, "Principal components", "Dimensions of the feature space.", ge=2, le=200, advanced=True
    )
    seed: int = param(0, "Seed", "Seed of the solver.", ge=0, advanced=True)


@method(
    task="stack",
    name="pairwise",
    title="Align a stack of sections",
    summary="Aligns each section with the next ones and finds all poses together, so that errors "
    "do not add up along the stack.",
    params=StackParams,
    inputs=StackInputs,
    result=Stack,
    reference="Pairwise alignment as in Zeira et al. 2022 (PASTE), Nat Methods 19:567; joint poses "
    "by chordal relaxation, Martinec and Pajdla 2007, CVPR",
)
def align_stack(inputs: StackInputs, params: StackParams, ctx: JobContext) -> Stack:
    """Bring serial sections into the frame of one of them.

    Raises
    ------
    UserError
        If there are fewer than two sections, one is named twice, or the
        alignments contradict each other about how a section lies.
    """
    count = len(inputs.sections)
    names = inputs.names
    if count < 2 or len(set(names)) < count or inputs.reference not in names:
        raise UserError(
            f"A stack needs two or more different sections and one of them as reference, "
            f"got {', '.join(names) or 'none'} and {inputs.reference!r}.",
            "Choose the sections of the stack in their order.",
        )
    pairs = [
        (i, j) for i in range(count) for j in range(i + 1, min(i + params.reach, count - 1) + 1)
    ]
    plans: dict[tuple[int, int], TransportPlan] = {}
    for k, (i, j) in enumerate(pairs):
        part = _quiet(ctx).part(0.8 * k / len(pairs), 0.8 * (k + 1) / len(pairs))
        part.step(0.0, f"{names[i]} to {names[j]}")
        try:
            plans[i, j] = align_pair(inputs.pair(i, j), params, part)
        except UserError as error:
            if j == i + 1:
                raise UserError(f"{names[i]} to {names[j]}: {error.message}", error.hint) from error
            ctx.warn(f"{names[i]} was not compared with {names[j]}: {error.message}")
    plans = settle_conflicts(inputs, params, plans, _quiet(ctx).part(0.8, 0.98))
    ctx.step(0.98, "All poses together")
    return _joint(inputs, params, plans, ctx)


def align_pair(pair: SpotPair, params: StackParams, ctx: JobContext) -> TransportPlan:
    """Align two sections of the stack with the solver that was asked for."""
    if params.solver == "dense":
        return _dense(pair, params, ctx)
    from napari_stomics.methods.alignment.fgw import FGWParams, align_fgw

    return align_fgw(
        pair,
        FGWParams(
            alpha=params.alpha,
            prior=_prior(pair, params),
            n_genes=params.n_genes,
            n_components=params.n_components,
            mirror=params.mirror,
            bend=params.bend,
            seed=params.seed,
        ),
        ctx,
    )


def _prior(
    pair: SpotPair, params: StackParams
) -> Literal["automatic", "registration", "landmarks"]:
    """What was asked for, where these two sections have it."""
    if params.prior == "landmarks" and pair.landmarks is None:
        return "automatic"
    if params.prior == "registration" and pair.initial is None:
        return "automatic"
    return params.prior


def _dense(pair: SpotPair, params: StackParams, ctx: JobContext) -> TransportPlan:
    from napari_stomics.methods.alignment.dense import DenseFGWParams, align_dense
    from napari_stomics.methods.alignment.features import FeatureOptions, compare_features
    from napari_stomics.methods.alignment.pose import find_pose
    from napari_stomics.methods.alignment.refine import refine_pose

    margin = NAN
    if pair.initial is None:
        options = FeatureOptions(n_genes=params.n_genes, n_components=params.n_components)
        space = compare_features(pair, options, ctx.part(0.0, 0.1))
        pitch = float(np.sqrt(pair.source.pitch * pair.target.pitch))
        a, b = pair.source.coordinates / pitch, pair.target.coordinates / pitch
        rows = space.search_source, space.search_target
        found = find_pose(a, b, *rows, mirror=params.mirror, ctx=ctx.part(0.1, 0.4))
        pose = refine_pose(a, b, *rows, found.best, ctx=ctx.part(0.4, 0.5))
        pair, margin = replace(pair, initial=pose.affine(pitch)), found.margin
    options_of = DenseFGWParams(
        alpha=params.alpha, n_genes=params.n_genes, n_components=params.n_components,
        seed=params.seed,
    )  # fmt: skip
    return replace(align_dense(pair, options_of, ctx.part(0.5, 1.0)), margin=margin)


def _quiet(ctx: JobContext) -> JobContext:
    """Without the warnings of each pair that are said of the whole stack in the end."""

    def warn(text: str) -> None:
        if not text.startswith(("Another pose", "FGW did not converge")):
            ctx.warn(text)

    return JobContext(ctx.step, warn, threads=ctx.threads)


Plans = dict[tuple[int, int], TransportPlan]


def settle_conflicts(
    inputs: StackInputs, params: StackParams, plans: Plans, ctx: JobContext
) -> Plans:
    """Align anew where alignments contradict each other, and keep what costs less in all.

    Where tissue is nearly symmetric a pair may take the wrong pose. The
    alignment that the others contradict is tried from the pose that they imply,
    and those that contradict it from the pose that it implies; the objectives
    decide.
    """
    plans = dict(plans)
    tried: set[tuple[int, int]] = set()
    while True:
        edges, graph = _graph(inputs, plans)
        keys = list(plans)
        doubted = [k for k in np.argsort(graph.kept) if graph.kept[k] < _DOUBTED]
        doubted = [k for k in doubted if keys[k] not in tried]
        if not doubted:
            return plans
        key = keys[doubted[0]]
        tried.add(key)
        ctx.step(None, f"{inputs.names[key[0]]} to {inputs.names[key[1]]} contradicts the others")
        yielding = _realigned(inputs, params, plans, [key], graph, ctx)
        firm = [replace(e, weight=10.0) if k == doubted[0] else e for k, e in enumerate(edges)]
        other = _solved(inputs, firm)
        against = [keys[k] for k in np.flatnonzero(other.kept < _DOUBTED)]
        insisting = _realigned(inputs, params, plans, against, other, ctx)
        cost = [
            sum(new[k].objective[-1] - plans[k].objective[-1] for k in new)
            for new in (yielding, insisting)
        ]
        plans |= yielding if cost[0] <= cost[1] or not against else insisting


def _realigned(
    inputs: StackInputs,
    params: StackParams,
    plans: Plans,
    keys: list[tuple[int, int]],
    graph: PoseGraph,
    ctx: JobContext,
) -> Plans:
    """Align some pairs anew, each from the pose that a joint solution implies."""
    out: Plans = {}
    for i, j in keys:
        start = graph.poses[i].then(graph.poses[j].inverse())
        pair = replace(inputs.pair(i, j), initial=start)
        again = params.model_copy(update={"prior": "registration"})
        out[i, j] = replace(align_pair(pair, again, ctx), margin=plans[i, j].margin)
    return out


def _graph(inputs: StackInputs, plans: Plans) -> tuple[list[GraphEdge], PoseGraph]:
    pitch = _pitch(inputs)
    edges = [
        GraphEdge(i, j, rigid_of(p, inputs.sections[i].coordinates, pitch), _trust(p, j - i))
        for (i, j), p in plans.items()
    ]
    return edges, _solved(inputs, edges)


def _solved(inputs: StackInputs, edges: list[GraphEdge]) -> PoseGraph:
    points = [spots.coordinates for spots in inputs.sections]
    reference = inputs.names.index(inputs.reference)
    try:
        return solve_pose_graph(points, edges, reference, _pitch(inputs))
    except ValueError as error:
        raise UserError(
            f"The sections do not fit into one stack: {error}.",
            "Register a few of them by landmarks first, or leave out the section that does not "
            "belong.",
        ) from error


def _pitch(inputs: StackInputs) -> float:
    return float(np.median([spots.pitch for spots in inputs.sections]))


def rigid_of(plan: TransportPlan, coordinates: NDArray[Any], pitch: float) -> Affine:
    """Rigid map that a plan implies: source um to target um.

    Each spot counts by its mass and by how certain its match is; matches that
    do not fit lose their weight.
    """
    pose = linear_pose(coordinates, plan.source_coordinates)
    weights = plan.row_mass * np.nan_to_num(plan.largest_match)
    mirrored = bool(np.linalg.det(pose[:2]) < 0)
    return robust_rigid(coordinates, plan.barycentres, weights, pitch, mirrored)


def _joint(
    inputs: StackInputs,
    params: StackParams,
    plans: dict[tuple[int, int], TransportPlan],
    ctx: JobContext,
) -> Stack:
    names, reference = inputs.names, inputs.names.index(inputs.reference)
    points = [spots.coordinates for spots in inputs.sections]
    edges, graph = _graph(inputs, plans)
    described = _described(inputs, plans, edges, graph)
    loops, triangles = loop_errors(points, edges)
    chain = chain_poses(len(points), edges, reference)
    transforms: tuple[Transform, ...] = graph.poses
    if params.bend:
        transforms = _bent(plans, graph.poses, points, reference)
    _say(described, ctx)
    return Stack(
        reference=inputs.reference,
        sections=names,
        heights=np.asarray(inputs.heights, float),
        transforms=transforms,
        edges=described,
        loops=loops,
        loop_names=tuple((names[a], names[b], names[c]) for a, b, c in triangles),
        drift=np.array([_rms(a, b, p) for a, b, p in zip(chain, graph.poses, points, strict=True)]),
        uncertainty=_uncertainty(len(points), edges, graph),
        converged=all(plan.converged for plan in plans.values()),
    )


def _trust(plan: TransportPlan, apart: int) -> float:
    """How far an alignment is trusted beforehand, in (0, 1]."""
    clear = np.clip(plan.margin / (2 * UNSURE), 0.05, 1.0) if np.isfinite(plan.margin) else 1.0
    return float(np.clip(np.mean(plan.overlap), 0.05, 1.0) * clear / apart)


def _described(
    inputs: StackInputs,
    plans: dict[tuple[int, int], TransportPlan],
    edges: list[GraphEdge],
    graph: PoseGraph,
) -> tuple[StackEdge, ...]:
    out = []
    for k, (edge, plan) in enumerate(zip(edges, plans.values(), strict=True)):
        a, b = inputs.sections[edge.source], inputs.sections[edge.target]
        accuracy = NAN
        if a.labels is not None and b.labels is not None:
            accuracy = plan_accuracy(plan.plan, a.labels, b.labels)
        out.append(
            StackEdge(
                a.section, b.section, edge.transform, edge.weight,
                kept=float(graph.kept[k]), residual=float(graph.residuals[k]),
                margin=float(plan.margin), overlap=float(np.mean(plan.overlap)),
                converged=plan.converged, label_accuracy=accuracy,
            )
        )  # fmt: skip
    return tuple(out)


def _uncertainty(count: int, edges: list[GraphEdge], graph: PoseGraph) -> NDArray[Any]:
    out = np.full(count, NAN)
    weights = np.array([e.weight for e in edges]) * graph.kept
    for section in range(count):
        own = [k for k, e in enumerate(edges) if section in (e.source, e.target)]
        if len(own) > 1 and weights[own].sum() > 0:
            out[section] = np.sqrt(np.average(graph.residuals[own] ** 2, weights=weights[own]))
    return out


def _bent(
    plans: dict[tuple[int, int], TransportPlan],
    poses: tuple[Affine, ...],
    points: list[NDArray[Any]],
    reference: int,
) -> tuple[Transform, ...]:
    """Chain the bends of neighbours, then put each section where the joint solution has it."""
    chained: dict[int, Transform] = {reference: Affine.identity()}
    for order in (range(reference - 1, -1, -1), range(reference + 1, len(poses))):
        for here in order:
            there = here + 1 if here < reference else here - 1
            chained[here] = compose(_step(plans, points, here, there), chained[there])
    out: list[Transform] = []
    for here, pose in enumerate(poses):
        landed = chained[here].apply(points[here])
        weights = np.isfinite(landed).all(axis=1).astype(float)
        # The bends carry the drift of the chain: a rigid map takes it out again.
        back = rigid_between(landed, pose.apply(points[here]), weights, mirrored=False)
        out.append(pose if here == reference else compose(chained[here], back))
    return tuple(out)


def _step(
    plans: dict[tuple[int, int], TransportPlan], points: list[NDArray[Any]], a: int, b: int
) -> Transform:
    if (a, b) not in plans:
        return _step(plans, points, b, a).inverse()
    plan = plans[a, b]
    if plan.registration is not None:
        return plan.registration.transform
    return rigid_of(plan, points[a], float(np.ptp(points[a], axis=0).max()))


def _say(edges: tuple[StackEdge, ...], ctx: JobContext) -> None:
    doubted = [f"{e.source} → {e.target}" for e in edges if e.kept < _DOUBTED]
    if doubted:
        ctx.warn(
            f"The other alignments contradict {', '.join(doubted)}: it was left out. "
            "Look at these sections."
        )
    slow = [f"{e.source} → {e.target}" for e in edges if not e.converged]
    if slow:
        ctx.warn(f"The solver did not converge for {', '.join(slow)}.")
    unsure = [
        f"{e.source} → {e.target}" for e in edges if np.isfinite(e.margin) and e.margin < UNSURE
    ]
    if unsure:
        ctx.warn(
            f"The pose is not clear for {', '.join(unsure)}. Place two landmarks in each of them "
            "if the stack does not look right."
        )


def _rms(a: Affine, b: Affine, points: NDArray[Any]) -> float:
    return float(np.sqrt(((a.apply(points) - b.apply(points)) ** 2).sum(axis=1).mean()))
