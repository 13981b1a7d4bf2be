"""Weighted nearest neighbours: which modality to trust at each spot, and the joint graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import Embedding, FusionInputs
from napari_stomics.core.jobs import JobContext, limited_threads
from napari_stomics.core.params import param
from napari_stomics.core.registry import method
from napari_stomics.methods.fusion.batch import BatchParams
from napari_stomics.methods.fusion.graph import diffuse, walk
from napari_stomics.methods.fusion.preparation import PreparationParams, prepare
from napari_stomics.methods.fusion.result import finish
from napari_stomics.methods.fusion.wnn_graph import (
    joint_graph,
    modality_weights,
    spectral_embedding,
)
from napari_stomics.methods.preprocess import unit_rows

Floats = NDArray[np.floating[Any]]

_COMPARED = 10


class WnnParams(PreparationParams, BatchParams):
    """Parameters of the weighted nearest neighbours."""

    n_components: int = param(
        10,
        "Components per modality",
        "Principal components of each modality among which neighbours are sought.",
        advanced=True,
        ge=1,
        le=200,
    )
    k: int = param(
        20,
        "Nearest neighbours",
        "Neighbours per modality for the prediction, and per spot in the joint graph.",
        ge=2,
        le=200,
    )
    candidates: int = param(
        100,
        "Candidates per modality",
        "Nearest spots of each modality among which the joint neighbours are sought.",
        advanced=True,
        ge=5,
        le=1000,
    )
    steps: int = param(
        2,
        "Smoothing steps",
        "Diffusion steps of the embedding on the spatial graph; 0 leaves it as it is, blind to "
        "space.",
        ge=0,
        le=50,
    )
    n_output: int = param(
        10,
        "Components of the result",
        "Eigenvectors of the joint graph that make the embedding.",
        ge=1,
        le=200,
    )


@method(
    task="fusion",
    name="wnn",
    title="Weighted nearest neighbours",
    summary="Weighs the modalities at each spot by how well its neighbours in one predict its "
    "values, builds the joint neighbour graph, and embeds it by its spectrum.",
    params=WnnParams,
    inputs=FusionInputs,
    result=Embedding,
    reference="Hao et al. 2021, Cell 184:3573; Belkin and Niyogi 2003, Neural Comput 15:1373",
)
def fuse_wnn(inputs: FusionInputs, params: WnnParams, ctx: JobContext) -> Embedding:
    """Fuse by weighted nearest neighbours.

    Raises
    ------
    UserError
        If there is one modality alone, or fewer spots than neighbours are asked for.
    """
    prepared = prepare(inputs, params, ctx.part(0.0, 0.3))
    present = prepared.present
    if len(prepared.names) < 2:
        raise UserError(
            f"There is one modality ({prepared.names[0]!r}), and weighted nearest neighbours "
            "compare at least two.",
            "Add a modality, or choose a fusion that takes one (smooth-fuse, for instance).",
        )
    least = int(present.sum(axis=0).min())
    if params.k >= least:
        raise UserError(
            f"{params.k} neighbours are asked for, and a modality was measured on {least} spots.",
            f"Ask for fewer than {least} neighbours.",
        )
    with limited_threads(1):
        scores = [unit_rows(block) for block in prepared.scores]
        weights = modality_weights(scores, present, params.k, ctx.part(0.3, 0.6))
        graph = joint_graph(
            scores, present, weights, params.k, params.candidates, ctx.part(0.6, 0.85)
        )
        ctx.step(0.85, "Spectrum of the joint graph")
        count = min(params.n_output, inputs.n - 2)
        values = spectral_embedding(graph, count, params.seed)
        # Only now: scores smoothed before would have their spatial neighbours as nearest ones.
        values = diffuse(walk(prepared.graph), values.astype(np.float32), params.steps)
        ctx.step(0.95, "Comparing the modalities")
        measured = present.any(axis=1)
        mean = weights[measured].mean(axis=0)
        return finish(
            inputs,
            values,
            prepared.names,
            [block[:, :_COMPARED] for block in scores],
            present,
            weights={n: float(w) for n, w in zip(prepared.names, mean, strict=True)},
            spot_weights=weights.astype(np.float32),
            ctx=ctx,
            batch=params.batch,
            seed=params.seed,
            settings={"neighbours": params.k, "steps": params.steps},
        )
