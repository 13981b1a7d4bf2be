"""From measured modalities to component scores of equal standing, spot by spot.

What is computed here does not depend on steps, weights or the number of domains:
it is kept by its content, so that later choices do not compute it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.cache import ContentCache, content_key
from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import Block, FusionInputs, Loadings
from napari_stomics.core.jobs import JobContext, limited_threads
from napari_stomics.core.params import Params, param
from napari_stomics.methods.fusion.clarity import clarity
from napari_stomics.methods.fusion.components import Features, section_sums, spatial_components
from napari_stomics.methods.fusion.features import features_of, image_block, measured
from napari_stomics.methods.fusion.graph import morans_i, spatial_graph
from napari_stomics.methods.preprocess import unit_rows

Floats = NDArray[np.floating[Any]]

_LEAST_SPOTS = 10
_SHUFFLED = 10_000
_PREPARED: ContentCache[Any] = ContentCache(12)
_GRAPHS: ContentCache[Any] = ContentCache(4)


class PreparationParams(Params):
    """How every modality is brought to component scores."""

    gene_choice: Literal["moran", "variable", "all"] = param(
        "moran",
        "Choice of features",
        "Which features of an omics table are kept: those of highest spatial autocorrelation "
        "(Moran's I), those of highest variance, or all.",
        advanced=True,
    )
    n_features: int = param(
        3000, "Features kept", "How many features the choice keeps.", advanced=True, ge=2, le=50_000
    )
    scale: bool = param(
        True,
        "Equal variance",
        "Divide each feature of RNA, protein and metabolites by its standard deviation.",
        advanced=True,
    )
    n_components: int = param(
        50,
        "Components per modality",
        "Principal components of each modality that enter the fusion.",
        advanced=True,
        ge=1,
        le=200,
    )
    basis_steps: int = param(
        2,
        "Steps of the basis",
        "The components are those that explain most of the values after so many diffusion "
        "steps: noise that neighbours do not share is kept out. 0 is plain PCA.",
        advanced=True,
        ge=0,
        le=20,
    )
    row_norm: Literal["embeddings", "all", "none"] = param(
        "embeddings",
        "Rows of unit length",
        "Which modalities have every spot's scores scaled to length 1, so that the angle alone "
        "counts.",
        advanced=True,
    )
    neighbours: int = param(
        6, "Neighbours in space", "Nearest spots that the spatial graph joins.", advanced=True,
        ge=1, le=100,
    )  # fmt: skip
    seed: int = param(0, "Seed", "Seed of the random start of PCA.", advanced=True, ge=0)


@dataclass(frozen=True)
class PreparedBlock:
    """Scores of one modality on the spots that have it.

    Attributes
    ----------
    scores
        (m, d) float32 component scores.
    components
        Features and their (d, g) loadings.
    explained
        (d,) share of the modality's variance per component.
    moran
        (d,) Moran's I of each component.
    moran_null
        Mean Moran's I of the five leading components of shuffled spots.
    clarity
        How clearly the spots fall into groups (:func:`~.clarity.clarity`).
    """

    scores: Floats
    components: Loadings
    explained: Floats
    moran: Floats
    moran_null: float
    clarity: float


@dataclass(frozen=True)
class Prepared:
    """All modalities as component scores over all spots.

    Attributes
    ----------
    names, kinds
        Names and kinds of the modalities.
    scores
        Per modality (n, d) float32 component scores; rows of zeros where it was not measured.
    present
        (n, M) whether a spot has a modality.
    components
        Per modality the features and their (d, g) loadings on the components.
    explained
        Per modality the (d,) share of its variance per component.
    moran
        Per modality the (d,) Moran's I of the components.
    moran_null
        Per modality the mean Moran's I that the leading components of shuffled spots reach.
    clarity
        Per modality how clearly the spots fall into groups.
    graph
        (n, n) adjacency of the spots in space.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    scores: tuple[Floats, ...]
    present: NDArray[np.bool_]
    components: tuple[Loadings, ...]
    explained: tuple[Floats, ...]
    moran: tuple[Floats, ...]
    moran_null: tuple[float, ...]
    clarity: tuple[float, ...]
    graph: Any

    def loadings(self) -> Mapping[str, Loadings]:
        """Loadings of the components by modality."""
        return dict(zip(self.names, self.components, strict=True))


def prepare(
    inputs: FusionInputs, params: PreparationParams, ctx: JobContext | None = None
) -> Prepared:
    """Bring every modality to component scores, or take them from the cache.

    Raises
    ------
    UserError
        If there are too few spots, modalities share none, or one is empty, constant,
        not finite, or negative where counts are needed.
    """
    ctx = ctx or JobContext()
    blocks = [measured(block) for block in inputs.blocks]
    if any(spots is not None for spots in inputs.histology):
        blocks.append(image_block(inputs, ctx.part(0.0, 0.3)))
    check_blocks(inputs.n, blocks)
    graph = cached_graph(inputs, params.neighbours)
    made = []
    for i, block in enumerate(blocks):
        ctx.step(0.3 + 0.7 * i / len(blocks), f"Components of {block.name}")
        made.append(_prepared(inputs, block, graph, params, ctx))
    present = np.zeros((inputs.n, len(blocks)), bool)
    scores = []
    for i, (block, part) in enumerate(zip(blocks, made, strict=True)):
        present[block.rows, i] = True
        if len(block.rows) == inputs.n:
            scores.append(part.scores)
        else:
            full = np.zeros((inputs.n, part.scores.shape[1]), np.float32)
            full[block.rows] = part.scores
            scores.append(full)
    return Prepared(
        names=tuple(block.name for block in blocks),
        kinds=tuple(block.kind for block in blocks),
        scores=tuple(scores),
        present=present,
        components=tuple(part.components for part in made),
        explained=tuple(part.explained for part in made),
        moran=tuple(part.moran for part in made),
        moran_null=tuple(part.moran_null for part in made),
        clarity=tuple(part.clarity for part in made),
        graph=graph,
    )


def cached_graph(inputs: FusionInputs, neighbours: int) -> Any:
    """Return the graph of :func:`~.graph.spatial_graph`, built once for the same spots."""
    key = content_key(inputs.coordinates, inputs.of, inputs.placed, inputs.pitches, neighbours)
    return _GRAPHS.get(key, lambda: spatial_graph(inputs, neighbours))


def check_blocks(n: int, blocks: list[Block]) -> None:
    """Refuse what cannot be fused.

    Raises
    ------
    UserError
        If there is no modality, too few spots have one, or modalities share no spots.
    """
    if not blocks:
        raise UserError("No modality is selected.", "Select at least one table to fuse.")
    for block in blocks:
        if len(block.rows) < _LEAST_SPOTS:
            raise UserError(
                f"Only {len(block.rows)} spots have the modality {block.name!r}; "
                f"{_LEAST_SPOTS} are needed.",
                "Leave it out, or choose a section on which it was measured.",
            )
    joined, rest = np.zeros(n, bool), list(blocks)
    joined[rest.pop(0).rows] = True
    while rest:
        linked = [block for block in rest if joined[block.rows].any()]
        if not linked:
            raise UserError(
                f"The modalities {blocks[0].name!r} and {rest[0].name!r} share no spots.",
                "Fuse modalities of the same spots; carry one over to the other's spots first "
                "(transfer), or check the spot names.",
            )
        for block in linked:
            joined[block.rows] = True
        rest = [block for block in rest if not any(block is other for other in linked)]


def _prepared(
    inputs: FusionInputs, block: Block, graph: Any, params: PreparationParams, ctx: JobContext
) -> PreparedBlock:
    settings = params.model_dump(include=set(PreparationParams.model_fields))
    of, here = inputs.of[block.rows], graph
    key = content_key(
        block.kind, block.x, block.features, block.rows, of, graph.indptr, graph.indices,
        tuple(sorted(settings.items())),
    )  # fmt: skip

    def make() -> PreparedBlock:
        near = here if len(block.rows) == inputs.n else here[block.rows][:, block.rows]
        # One thread: sums over several come in another order, and neighbouring optima swap.
        with limited_threads(1):
            return prepare_block(block, of, near, params, ctx)

    return _PREPARED.get(key, make)


def prepare_block(
    block: Block,
    of: NDArray[np.intp],
    graph: Any,
    params: PreparationParams,
    ctx: JobContext | None = None,
) -> PreparedBlock:
    """Compute the component scores of one modality.

    Parameters
    ----------
    block
        The modality, on m spots.
    of
        (m,) section of each of these spots: features are centred within each.
    graph
        (m, m) adjacency of these spots.
    """
    ctx = ctx or JobContext()
    features = features_of(block, of, graph, params)
    ctx.step()
    limit = min(params.n_components, min(features.x.shape) - 1)
    if block.kind == "embedding" and features.x.shape[1] <= params.n_components:
        scores = features.dense()
        loadings: Floats = np.eye(features.x.shape[1])
        null = 0.0
    else:
        first = 1 if block.kind == "chromatin" else 0
        scores, loadings = spatial_components(
            features, graph, max(limit, 1) + first, params.basis_steps, params.seed, ctx
        )
        scores, loadings = scores[:, first:], loadings[first:]
        if first:
            scores = _centred(scores, features.of)
        null = shuffled_moran(features, graph, params, ctx)
    total = features.total_variance()
    explained = np.asarray(scores.var(axis=0, dtype=np.float64)) / max(total, 1e-30)
    if params.row_norm == "all" and block.kind != "embedding":
        scores = unit_rows(scores)
    return PreparedBlock(
        np.ascontiguousarray(scores, np.float32),
        Loadings(features.names, loadings.astype(np.float32)),
        explained,
        morans_i(graph, scores),
        null,
        clarity(scores, graph, params.seed, ctx),
    )


def _centred(scores: Floats, of: NDArray[np.intp]) -> Floats:
    """Scores less their mean of each section."""
    sizes = np.bincount(of)[:, None]
    return np.asarray(scores - (section_sums(scores, of, len(sizes)) / sizes)[of], np.float32)


def shuffled_moran(
    features: Features, graph: Any, params: PreparationParams, ctx: JobContext
) -> float:
    """Mean Moran's I of the five leading components of the spots in random order.

    Axes that are chosen for smooth variance find some of it in noise too; the
    more so, the more features there are for a spot. Large sections are judged by
    a part of them, which can only raise it.
    """
    m = len(features.of)
    if not params.basis_steps:
        return 0.0
    order = np.random.default_rng(params.seed).permutation(m)
    if m > _SHUFFLED:
        kept = np.sort(order[:_SHUFFLED])
        # The shuffled values need no true neighbours: those of the first spots will do.
        graph, order = graph[:_SHUFFLED][:, :_SHUFFLED], np.random.default_rng(1).permutation(kept)
    mixed = replace(features, x=features.x[order], of=features.of[order])
    count = min(5, *mixed.x.shape)
    scores, _ = spatial_components(mixed, graph, count, params.basis_steps, params.seed, ctx)
    return max(float(morans_i(graph, scores).mean()), 0.0)


def clear_cache() -> None:
    """Forget all prepared modalities and graphs."""
    _PREPARED.clear()
    _GRAPHS.clear()


__all__ = [
    "Features",
    "PreparationParams",
    "Prepared",
    "PreparedBlock",
    "cached_graph",
    "check_blocks",
    "clear_cache",
    "prepare",
    "prepare_block",
]
