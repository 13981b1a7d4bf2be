"""Training-free fusion: components of every modality, smoothed in space, weighed and joined."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.fusion import Embedding, FusionInputs, Loadings
from napari_stomics.core.jobs import JobContext, limited_threads
from napari_stomics.core.params import param
from napari_stomics.core.registry import method
from napari_stomics.methods.fusion.batch import BatchParams
from napari_stomics.methods.fusion.blocks import Fused, fuse_prepared, read_weights
from napari_stomics.methods.fusion.preparation import PreparationParams, Prepared, prepare
from napari_stomics.methods.fusion.result import finish

Floats = NDArray[np.floating[Any]]

_COMPARED = 10


class SmoothParams(PreparationParams, BatchParams):
    """Parameters of the training-free fusion."""

    steps: int | None = param(
        None,
        "Diffusion steps",
        "How often each spot is averaged with its neighbours: more for large, noisy domains, "
        "fewer for small ones. Unticked: the largest number that predicts spots from the others as "
        "well as any does.",
        ge=0,
        le=100,
    )
    weights: str = param(
        "",
        "Weights",
        'Weight of each modality, for instance "rna=1, protein=0.5" (1 where none is given), '
        'or "equal". '
        "Empty: from how far each modality varies along the tissue (Moran's I) and how clearly "
        "its spots fall into groups.",
    )
    n_output: int = param(
        20, "Components of the result", "Dimensions of the joint embedding.", ge=1, le=400
    )


@method(
    task="fusion",
    name="smooth",
    title="Smooth and join",
    summary="Training-free: components of each modality, diffused on the spatial graph, scaled to "
    "equal energy, weighed by their autocorrelation and clarity or by hand, and joined.",
    params=SmoothParams,
    inputs=FusionInputs,
    result=Embedding,
    reference="Diffusion as in NichePCA (Schaub et al. 2025, Bioinformatics 41); early fusion as "
    "defined by Isik et al. 2026",
)
def fuse_smooth(inputs: FusionInputs, params: SmoothParams, ctx: JobContext) -> Embedding:
    """Fuse the modalities of one or several sections.

    Raises
    ------
    UserError
        If the modalities cannot be prepared (:func:`~.preparation.prepare`) or the
        weights cannot be read.
    """
    prepared = prepare(inputs, params, ctx.part(0.0, 0.8))
    by_hand = read_weights(params.weights, prepared.names)
    ctx.step(0.8, "Diffusing and joining")
    with limited_threads(1):
        fused = fuse_prepared(prepared, params.steps, by_hand, params.n_output)
        ctx.step(0.9, "Comparing the modalities")
        return finish(
            inputs,
            fused.values,
            prepared.names,
            [block[:, :_COMPARED] for block in fused.blocks],
            prepared.present,
            explained=fused.explained,
            weights=fused.weights,
            spot_weights=fused.spot_weights,
            loadings=feature_loadings(prepared, fused),
            batch=params.batch,
            seed=params.seed,
            settings={"steps": fused.steps, "weights_by_hand": by_hand is not None},
        )


def feature_loadings(prepared: Prepared, fused: Fused) -> dict[str, Loadings]:
    """Loadings of the features of each modality on the joint components."""
    out = {}
    for name, part, turn in zip(prepared.names, prepared.components, fused.loadings, strict=True):
        out[name] = Loadings(part.features, (turn @ part.values).astype(np.float32))
    return out
