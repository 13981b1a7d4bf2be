"""What is usual for each kind of modality: normalisation, choice of features, their scale."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.cache import ContentCache, content_key
from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import Block, FusionInputs
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.fusion.components import Features, section_sums
from napari_stomics.methods.fusion.graph import morans_i
from napari_stomics.methods.preprocess import (
    centred_log_ratio,
    log_normalise,
    most_variable,
    tf_idf,
)

if TYPE_CHECKING:
    from napari_stomics.methods.fusion.preparation import PreparationParams

Floats = NDArray[np.floating[Any]]

_COUNTS = ("rna", "protein", "chromatin", "metabolite")
_SCALED = ("rna", "protein", "metabolite")
_LEAST_SHARE = 0.005
"""Features found on fewer spots say nothing of space, however high their Moran's I."""
_WIDEST = 10.0
_TAIL = 4.0
_IMAGES: ContentCache[Block] = ContentCache(4)


def features_of(
    block: Block, of: NDArray[np.intp], graph: Any, params: PreparationParams
) -> Features:
    """Normalise one modality and choose its features.

    RNA: logarithm of counts scaled to the median total (log1p). Protein: centred
    log-ratio. Chromatin: TF-IDF. Metabolites: total ion count, logarithm. Image:
    robust z-scores. Embedding: columns clipped at 4 robust standard deviations, rows of
    unit length.

    Parameters
    ----------
    block
        The modality on m spots.
    of
        (m,) section of each spot; features are centred within each.
    graph
        (m, m) adjacency of these spots, for Moran's I.

    Raises
    ------
    UserError
        If the values are empty, constant, not finite, or negative where counts are needed.
    """
    check_values(block)
    x = _normalised(block, params)
    kept = _chosen(x, block, graph, params)
    x = x[:, kept]
    _, of = np.unique(of, return_inverse=True)
    sections = int(of.max()) + 1
    sizes = np.bincount(of, minlength=sections)[:, None]
    sums = section_sums(x, of, sections)
    centre = sums / sizes
    squares: Any = x.multiply(x) if hasattr(x, "multiply") else x**2
    second = np.asarray(squares.sum(axis=0), np.float64).ravel()
    sd = np.sqrt(np.maximum(second - (sizes * centre**2).sum(axis=0), 0.0) / len(of))
    varied = sd > 1e-6
    if not varied.any():
        raise UserError(
            f"The modality {block.name!r} is the same on every spot.",
            "Leave it out: it cannot tell domains apart.",
        )
    if block.kind == "chromatin":
        # Not centred, so that the first component is the depth, which is left out.
        centre = np.zeros_like(centre)
    scaled = params.scale and block.kind in _SCALED
    factor = np.where(varied, 1 / np.where(varied, sd, 1.0) if scaled else 1.0, 0.0)
    return Features(x, block.features[kept], centre, factor, of)


def measured(block: Block) -> Block:
    """Leave out rows of NaN: a column of obsm has them at spots that the model did not see."""
    if block.kind != "embedding" or hasattr(block.x, "indptr"):
        return block
    x = np.asarray(block.x)
    here = ~np.isnan(x).all(axis=1)
    return block if here.all() else replace(block, x=x[here], rows=block.rows[here])


def check_values(block: Block) -> None:
    """Refuse values that cannot be prepared; see :func:`features_of`."""
    values = block.x.data if hasattr(block.x, "indptr") else np.asarray(block.x)
    if 0 in block.x.shape or not values.size or not np.any(values):
        raise UserError(
            f"The modality {block.name!r} is empty.",
            "Leave it out, or load the table that holds its values.",
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UserError(
            f"The modality {block.name!r} holds {int((~np.isfinite(values)).sum())} values that "
            "are NaN or infinite.",
            "Remove these features or spots, or fill the gaps, before fusing.",
        )
    if block.kind in _COUNTS and values.min() < 0:
        raise UserError(
            f"The modality {block.name!r} holds negative values (least {values.min():g}), and "
            "counts or intensities are needed.",
            "Choose the raw counts; values that are normalised already can be stored in obsm "
            "and taken as a stored embedding.",
        )


def _normalised(block: Block, params: PreparationParams) -> Any:
    if block.kind == "protein":
        return centred_log_ratio(block.x)
    if block.kind == "chromatin":
        return tf_idf(block.x)
    if block.kind == "image":
        return robust_z(_dense(block.x))
    if block.kind == "embedding":
        x = _without_tails(_dense(block.x))
        length = np.linalg.norm(x, axis=1, keepdims=True)
        unit = np.divide(x, length, out=np.zeros_like(x), where=length > 0)
        return x if params.row_norm == "none" else unit
    return log_normalise(block.x)


def _without_tails(x: Floats) -> Floats:
    """(n, g) columns clipped where they lie far out, so that no spot's angle is one column's."""
    middle = np.median(x, axis=0)
    spread = 1.4826 * np.median(np.abs(x - middle), axis=0)
    reach = _TAIL * np.where(spread > 0, spread, np.inf)
    return np.clip(x, middle - reach, middle + reach)


def robust_z(x: Floats) -> Floats:
    """(n, g) columns less their median, over 1.4826 median absolute deviations, within +-10.

    A column whose deviation is zero is scaled by its standard deviation.
    """
    centred = x - np.median(x, axis=0)
    spread = 1.4826 * np.median(np.abs(centred), axis=0)
    spread = np.where(spread > 0, spread, x.std(axis=0))
    scaled = centred / np.where(spread > 0, spread, 1.0)
    return np.clip(scaled, -_WIDEST, _WIDEST).astype(np.float32)


def _chosen(x: Any, block: Block, graph: Any, params: PreparationParams) -> NDArray[np.intp]:
    """Columns that are kept, in the table's order."""
    m, g = x.shape
    if block.kind not in _COUNTS or params.gene_choice == "all" or g <= params.n_features:
        return np.arange(g)
    if params.gene_choice == "variable":
        return np.sort(most_variable(x, params.n_features))
    found = np.asarray((block.x > 0).sum(axis=0)).ravel()
    usual = np.flatnonzero(found >= max(3, _LEAST_SHARE * m))
    if len(usual) <= params.n_features:
        return usual if len(usual) >= 2 else np.arange(g)
    order = np.argsort(-morans_i(graph, x[:, usual]), kind="stable")
    return np.sort(usual[order[: params.n_features]])


def image_block(inputs: FusionInputs, ctx: JobContext) -> Block:
    """Features of the H&E image under the spots of every section that has one, as a modality.

    They are kept by the coarsest level and the place of the spots, since reading a
    large image again to tell that it is the same would take as long.
    """
    starts = np.cumsum([0, *np.bincount(inputs.of, minlength=len(inputs.sections))])
    found = [(i, spots) for i, spots in enumerate(inputs.histology) if spots is not None]
    parts, rows, names = [], [], None
    for j, (i, spots) in enumerate(found):
        part = ctx.part(j / len(found), (j + 1) / len(found))
        block = _IMAGES.get(_image_key(spots), partial(_image_features, spots, part))
        parts.append(block.x)
        names = block.features
        here = inputs.ids[starts[i] : starts[i + 1]]
        rows.append(starts[i] + _rows_of(spots.spots.ids, here))
    name = "image"
    while any(block.name == name for block in inputs.blocks):
        name += " (H&E)"
    order = [np.argsort(r, kind="stable") for r in rows]
    x = np.concatenate([p[o] for p, o in zip(parts, order, strict=True)])
    at = np.concatenate([r[o] for r, o in zip(rows, order, strict=True)])
    return Block(name, "image", x, np.asarray(names, object), at)


def _rows_of(ids: NDArray[Any], known: NDArray[Any]) -> NDArray[np.intp]:
    if np.array_equal(ids, known):
        return np.arange(len(ids))
    at = {name: i for i, name in enumerate(known)}
    return np.array([at[name] for name in ids], np.intp)


def _image_key(spots: Any) -> str:
    image = spots.image
    return content_key(
        np.asarray(image.levels[-1]), tuple(level.shape for level in image.levels),
        image.to_um.matrix, spots.spots.coordinates, spots.diameter,
    )  # fmt: skip


def _image_features(spots: Any, ctx: JobContext) -> Block:
    from napari_stomics.methods.morphology.he import he_features

    features, names = he_features(spots, (1.0, 2.0), ctx)
    rows = np.arange(len(features))
    return Block("image", "image", features, np.asarray(names, object), rows)


def _dense(x: Any) -> Floats:
    return np.asarray(x.toarray() if hasattr(x, "toarray") else x, np.float32)
