"""Early fusion: principal components of every modality side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import Block, Embedding, FusionInputs
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import Params, param
from napari_stomics.core.registry import method
from napari_stomics.methods.morphology.he import he_features
from napari_stomics.methods.preprocess import (
    most_variable,
    normalise_as,
    principal_components,
    z_scores,
)

Floats = NDArray[np.floating[Any]]


class ConcatParams(Params):
    """Parameters of the fusion by concatenated principal components."""

    n_features: int = param(
        2000, "Variable features", "Most variable features kept per modality.", ge=2, le=50_000
    )
    n_components: int = param(
        20, "Components per modality", "Principal components of each modality.", ge=1, le=200
    )
    n_output: int = param(
        20, "Components of the result", "Dimensions of the joint embedding.", ge=1, le=400
    )
    image_weight: float = param(
        0.3,
        "Weight of the image",
        "Energy of the H&E block relative to an omics block (1: equal).",
        step=0.05,
        ge=0.0,
        le=10.0,
    )
    n_neighbours: int = param(
        15,
        "Neighbours",
        "Neighbours compared between modalities for the disagreement of a spot.",
        advanced=True,
        ge=2,
        le=200,
    )
    seed: int = param(0, "Seed", "Seed of the PCA's start vector.", advanced=True, ge=0)


@method(
    task="fusion",
    name="concat-pcs",
    title="Concatenated PCs",
    summary="Early fusion: principal components of each modality, scaled to equal energy, "
    "concatenated and rotated once more; H&E enters through stain statistics under each spot.",
    params=ConcatParams,
    inputs=FusionInputs,
    result=Embedding,
    reference="Early fusion as defined by Isik et al. 2026",
)
def fuse_concatenated(inputs: FusionInputs, params: ConcatParams, ctx: JobContext) -> Embedding:
    """Fuse the modalities of one section.

    Raises
    ------
    UserError
        If a modality lacks spots, or several sections are given.
    """
    parts: dict[str, Floats] = {}
    for i, block in enumerate(inputs.blocks):
        ctx.step(0.4 * i / len(inputs.blocks), f"Components of {block.name}")
        if len(block.rows) < inputs.n:
            raise UserError(
                f"{inputs.n - len(block.rows)} spots lack the modality {block.name!r}.",
                "Fuse modalities that were measured on the same spots.",
            )
        parts[block.name] = _unit_energy(_components(block, params))
    image = next((spots for spots in inputs.histology if spots is not None), None)
    if image is not None and len(inputs.sections) == 1 and params.image_weight > 0:
        features, _ = he_features(image, (1.0, 2.0), ctx.part(0.4, 0.9))
        scores, _ = principal_components(z_scores(features), params.n_components, params.seed)
        parts["image"] = np.sqrt(params.image_weight) * _unit_energy(scores)
    ctx.step(0.9, "Joining")
    joint = np.hstack(list(parts.values()))
    values, explained = principal_components(joint, params.n_output, params.seed)
    return Embedding(
        section=inputs.sections[0],
        ids=inputs.ids,
        values=values,
        modalities=tuple(parts),
        disagreement=neighbour_disagreement(list(parts.values()), params.n_neighbours),
        explained_variance=explained,
        sections=inputs.sections,
        of=inputs.of,
    )


def _components(block: Block, params: ConcatParams) -> Floats:
    x = normalise_as(block.kind, block.x)
    x = x[:, most_variable(x, params.n_features)]
    return principal_components(x, params.n_components, params.seed)[0]


def _unit_energy(scores: Floats) -> Floats:
    """Scale a block so that the mean squared norm of its rows is 1."""
    energy = float(np.sqrt((scores**2).sum(axis=1).mean()))
    return scores / energy if energy > 0 else scores


def neighbour_disagreement(blocks: list[Floats], k: int) -> Floats:
    """(n,) share of nearest neighbours that two blocks do not share, mean over pairs of blocks.

    0 where all blocks agree on a spot's neighbours, 1 where they have none in
    common; NaN with a single block, which cannot disagree.
    """
    from sklearn.neighbors import NearestNeighbors

    n = len(blocks[0])
    k = min(k, n - 1)
    if len(blocks) < 2 or k < 1:
        return np.full(n, np.nan)
    found = []
    for block in blocks:
        model = NearestNeighbors(n_neighbors=k).fit(block)
        found.append(np.sort(model.kneighbors(return_distance=False), axis=1))
    scores = []
    for i in range(len(found)):
        for j in range(i + 1, len(found)):
            shared = [len(np.intersect1d(a, b)) for a, b in zip(found[i], found[j], strict=True)]
            scores.append(1 - np.array(shared) / k)
    return np.asarray(np.mean(scores, axis=0))
