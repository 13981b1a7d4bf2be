"""Fused Gromov-Wasserstein alignment: placed by features, solved on a sparse band."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.inputs import LandmarkPairs, SpotPair
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import Params, param
from napari_stomics.core.plans import TransportPlan
from napari_stomics.core.registry import method
from napari_stomics.methods.alignment.checks import check_pair
from napari_stomics.methods.alignment.features import FeatureOptions, compare_features
from napari_stomics.methods.alignment.placing import Frame, Wishes
from napari_stomics.methods.alignment.poses import UNSURE

Floats = NDArray[np.floating[Any]]


class FGWParams(Params):
    """Parameters of the sparse FGW alignment."""

    alpha: float = param(
        0.5,
        "Structure weight (alpha)",
        "0 compares features alone, 1 distances alone. Distances count in spot pitches, "
        "without which alpha has no fixed meaning.",
        step=0.05,
        ge=0.0,
        le=1.0,
    )
    metric: Literal["cosine", "kl", "none"] = param(
        "cosine",
        "Features",
        "cosine: joint principal components; kl: counts, as PASTE compares them; none: "
        "distances alone.",
    )
    prior: Literal["automatic", "registration", "landmarks", "pinned"] = param(
        "automatic",
        "Held together by",
        "automatic: every rotation, shift and mirror image is tried, and the known registration "
        "too. registration, landmarks: where to start, refined on the features. pinned: the "
        "landmarks also hold the spots around them.",
    )
    marginals: Literal["unbalanced", "balanced", "partial"] = param(
        "unbalanced",
        "Marginals",
        "unbalanced: spots without a partner may send less. balanced: every spot sends all its "
        "mass. partial: only the tissue that both sections hold takes part; its share is "
        "estimated.",
    )
    bend: bool = param(
        True, "Non-rigid", "Bend the moving section smoothly where the features ask for it."
    )
    solver: Literal["proximal", "exact"] = param(
        "proximal",
        "Solver",
        "proximal: fast, marginals relaxed as chosen. exact: conditional gradient with exact "
        "transport at true marginals (unbalanced ones count as balanced); slower.",
    )
    structure: Literal["euclidean", "graph"] = param(
        "euclidean",
        "Distances",
        "euclidean, or along the tissue: the shortest path from neighbour to neighbour.",
        advanced=True,
    )
    n_genes: int = param(
        2000, "Variable features", "Most variable shared features to compare.",
        advanced=True, ge=2, le=50_000,
    )  # fmt: skip
    n_components: int = param(
        30, "Principal components", "Dimensions of the feature space.",
        advanced=True, ge=2, le=200,
    )  # fmt: skip
    image_weight: float = param(
        0.3, "Image weight",
        "Share of the H&E images' features in the cost, where the images are compared too.",
        advanced=True, ge=0.0, le=1.0, step=0.1,
    )  # fmt: skip
    relaxation: float = param(
        0.45,
        "Price of unmatched mass",
        "Unbalanced and partial: what it costs to send less or more than asked, in units of the "
        "feature cost. Small lets spots stay unmatched, large forces partners on them.",
        advanced=True, log=True, gt=0, le=100,
    )  # fmt: skip
    neighbours: int = param(
        32, "Candidate partners", "Spots of the other section that each spot may go to.",
        advanced=True, ge=4, le=1000,
    )  # fmt: skip
    rank: int = param(
        48, "Rank of distances", "Points through which distances are approximated.",
        advanced=True, ge=4, le=500,
    )  # fmt: skip
    epsilon: float = param(
        0.05, "Step (epsilon)",
        "Weight of the divergence between iterations: smaller steps further at once. The "
        "optimum does not depend on it.",
        advanced=True, log=True, gt=1e-4, le=10,
    )  # fmt: skip
    iterations: int = param(
        100, "Iterations", "Proximal or conditional-gradient steps at most.",
        advanced=True, ge=1, le=10_000,
    )  # fmt: skip
    tolerance: float = param(
        5e-3, "Tolerance",
        "proximal: stops when a step moves less than this share of the mass. exact: when a step "
        "lowers the objective by less than a thousandth of it.",
        advanced=True, log=True, gt=0, lt=1,
    )  # fmt: skip
    mirror: bool = param(
        True, "May be mirrored", "Whether the moving section may lie face down.", advanced=True
    )
    held_out_features: float = param(
        0.0, "Features held out", "Share of the features that are left out, to judge the answer.",
        advanced=True, ge=0.0, le=0.9, step=0.1,
    )  # fmt: skip
    hold_out_landmarks: int = param(
        0, "Landmarks held out",
        "Every n-th landmark is left out, to judge the answer; 0 for none. With an automatic "
        "start all of them judge.",
        advanced=True, ge=0, le=100,
    )  # fmt: skip
    device: Literal["cpu", "auto", "cuda"] = param(
        "cpu", "Device",
        "Where the proximal iterations run; the answer is the same. cpu: compiled kernels. cuda: "
        "torch on an NVIDIA GPU. auto: that GPU where there is one.",
        advanced=True,
    )  # fmt: skip
    seed: int = param(0, "Seed", "Of everything that is drawn.", advanced=True, ge=0)


@method(
    task="alignment",
    name="fgw",
    title="FGW (fast, sparse)",
    summary="Finds how two sections lie on each other and couples their spots by expression and "
    "by distances within each section; sparse, mildly unbalanced, with or without landmarks.",
    params=FGWParams,
    inputs=SpotPair,
    result=TransportPlan,
    reference="Objective of Vayer et al. 2020, Algorithms 13:212, and Zeira et al. 2022 (PASTE), "
    "Nat Methods 19:567; proximal steps of Xu et al. 2019, ICML; relaxed marginals of "
    "Sejourne et al. 2021, NeurIPS",
)
def align_fgw(inputs: SpotPair, params: FGWParams, ctx: JobContext) -> TransportPlan:
    """Align two sections by fused Gromov-Wasserstein transport on a sparse band.

    The source is placed by its features (or by a known map, by landmarks or by
    a former plan), bent where the features ask for it, and coupled with the
    target among the spots near by. Nothing n x m is ever formed.

    Raises
    ------
    UserError
        If the sections cannot be compared, what to start from is not there,
        constraints contradict each other, or a GPU is asked for and not there.
    """
    from napari_stomics.methods.alignment._torch import usable_device
    from napari_stomics.methods.alignment.solve import Run

    params = params.model_copy(update={"device": usable_device(params.device)})
    check_pair(inputs, ctx)
    ctx.step(0.0, "Comparing features")
    space = compare_features(inputs, feature_options(params, inputs), ctx.part(0.0, 0.2))
    frame = Frame.of(inputs, space)
    used, judges = split_landmarks(inputs.landmarks, params)
    plan = Run(inputs, frame, params, ctx).run(used, judges, Wishes(params.prior, params.mirror))
    if not plan.converged:
        ctx.warn(f"FGW did not converge: {plan.reason}.")
    if plan.margin < UNSURE:
        ctx.warn(
            f"Another pose explains the features nearly as well (margin {plan.margin:.2f}): "
            "check the overlay, or place two landmarks."
        )
    return plan


def feature_options(params: FGWParams, pair: SpotPair) -> FeatureOptions:
    """Return the part of the parameters that says how features are compared."""
    return FeatureOptions(
        metric=params.metric,
        n_genes=params.n_genes,
        n_components=params.n_components,
        image_weight=0.0 if pair.histology is None else params.image_weight,
        held_out=params.held_out_features,
        seed=params.seed,
    )


def split_landmarks(
    landmarks: LandmarkPairs | None, params: FGWParams
) -> tuple[LandmarkPairs | None, LandmarkPairs | None]:
    """Landmarks to start from, and those that are left out to judge."""
    if landmarks is None:
        return None, None
    if params.prior not in ("landmarks", "pinned"):
        return None, landmarks
    out = np.zeros(len(landmarks.names), bool)
    if params.hold_out_landmarks:
        out[params.hold_out_landmarks - 1 :: params.hold_out_landmarks] = True
    return _some(landmarks, ~out), _some(landmarks, out)


def _some(landmarks: LandmarkPairs, chosen: NDArray[np.bool_]) -> LandmarkPairs | None:
    if not chosen.any():
        return None
    names = tuple(n for n, keep in zip(landmarks.names, chosen, strict=True) if keep)
    return LandmarkPairs(
        landmarks.source,
        landmarks.target,
        names,
        landmarks.source_points[chosen],
        landmarks.target_points[chosen],
        landmarks.source_pixel_size,
        landmarks.target_pixel_size,
    )
