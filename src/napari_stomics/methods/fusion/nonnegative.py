"""Modalities as non-negative matrices, for factorisations that add parts and subtract none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import Block, FusionInputs
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import param
from napari_stomics.methods.fusion.features import features_of, image_block, measured
from napari_stomics.methods.fusion.preparation import PreparationParams, cached_graph, check_blocks

Floats = NDArray[np.floating[Any]]


class NonnegativeParams(PreparationParams):
    """How every modality is brought to a non-negative scale."""

    scale: bool = param(
        False,
        "Equal variance",
        "Divide each feature by its standard deviation; it then also lifts features that hardly "
        "vary beside their mean.",
        advanced=True,
    )


@dataclass(frozen=True)
class Table:
    """A modality without negative values.

    Attributes
    ----------
    name, kind
        Of the modality.
    x
        (m, g) float32, CSR where the modality is sparse; the mean squared norm of a row is 1.
    features
        (g,) names.
    rows
        (m,) rows of the fusion's spots.
    """

    name: str
    kind: str
    x: Any
    features: NDArray[Any]
    rows: NDArray[np.intp]


def tables_of(
    inputs: FusionInputs, params: PreparationParams, ctx: JobContext | None = None
) -> tuple[tuple[Table, ...], Any]:
    """Bring every modality to a non-negative scale, and give the spatial graph too.

    RNA, metabolites and protein: logarithm of values scaled to the same total
    (log1p), over its standard deviation where ``params.scale`` asks for it.
    Chromatin: TF-IDF. Image features: robust z-scores. Of every feature its
    least value is taken off: what is the same everywhere needs no factor. That
    is zero for a feature that some spot lacks, so sparse tables stay sparse.

    Returns
    -------
    tables
        One per modality, of equal energy.
    graph
        (n, n) adjacency of the spots.

    Raises
    ------
    UserError
        If a stored embedding holds negative values; and as in ``prepare``.
    """
    ctx = ctx or JobContext()
    blocks = [measured(block) for block in inputs.blocks]
    if any(spots is not None for spots in inputs.histology):
        blocks.append(image_block(inputs, ctx.part(0.0, 0.5)))
    check_blocks(inputs.n, blocks)
    graph = cached_graph(inputs, params.neighbours)
    out = []
    for i, block in enumerate(blocks):
        ctx.step(0.5 + 0.5 * i / len(blocks), f"Features of {block.name}")
        near = graph if len(block.rows) == inputs.n else graph[block.rows][:, block.rows]
        out.append(_table(block, inputs.of[block.rows], near, params, ctx))
    return tuple(out), graph


def _table(
    block: Block, of: NDArray[np.intp], graph: Any, params: PreparationParams, ctx: JobContext
) -> Table:
    from scipy import sparse

    if block.kind == "embedding" and np.min(np.asarray(block.x)) < 0:
        raise UserError(
            f"The stored embedding {block.name!r} holds negative values, and a non-negative "
            "factorisation adds parts alone.",
            "Leave it out, or choose a fusion that takes any values (smooth-fuse, for instance).",
        )
    # A centred log-ratio is negative for half of the proteins: their log of shares is not.
    taken = replace(block, kind="rna") if block.kind == "protein" else block
    found = features_of(taken, of, graph, params)
    ctx.step()
    x: Any = found.x
    if hasattr(x, "indptr"):
        x = x.tocsr()
        # Only a column without gaps has a least value above zero, so each entry is stored.
        least = np.asarray(x.min(axis=0).todense(), np.float64).ravel()
        ctx.step()
        x.data = np.maximum(x.data - least[x.indices], 0).astype(np.float32)
        ctx.step()
        x = sparse.csr_array(x @ sparse.diags_array(found.factor))
        x.eliminate_zeros()
        energy = float((x.data.astype(np.float64) ** 2).sum()) / x.shape[0]
    else:
        x = (np.asarray(x, np.float64) - np.min(x, axis=0)) * found.factor
        energy = float((x**2).sum()) / len(x)
    if energy <= 0:
        raise UserError(
            f"The modality {block.name!r} is the same on every spot.",
            "Leave it out: it cannot tell domains apart.",
        )
    scaled = (x / np.sqrt(energy)).astype(np.float32)
    return Table(block.name, block.kind, scaled, found.names, block.rows)


def square_sum(x: Any) -> float:
    """Sum of squares of a dense or sparse matrix, in float64."""
    values = x.data if hasattr(x, "indptr") else np.asarray(x).ravel()
    return float(np.dot(values.astype(np.float64), values.astype(np.float64)))


def patterns(present: NDArray[np.bool_]) -> list[tuple[NDArray[np.bool_], NDArray[np.intp]]]:
    """Groups of spots that have the same modalities: which these are, and the spots."""
    kinds, at = np.unique(present, axis=0, return_inverse=True)
    at = np.asarray(at).ravel()
    return [(kind, np.flatnonzero(at == i)) for i, kind in enumerate(kinds) if kind.any()]
