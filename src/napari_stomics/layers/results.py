"""Paint results: one painter per kind, each with its uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.carried import Aggregation, CarriedValues
from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import Domains, Embedding
from napari_stomics.core.mappings import CellMapping
from napari_stomics.core.markers import Markers
from napari_stomics.core.morphology import MorphologyFeatures
from napari_stomics.core.plane import MorphologyPlane
from napari_stomics.core.plans import LabelTransfer, TransportPlan
from napari_stomics.core.quality import AlignmentQuality
from napari_stomics.core.results import Prediction, Registration
from napari_stomics.core.scores import ScoreTable
from napari_stomics.core.stacks import CentreSlice, Stack
from napari_stomics.core.transforms import Affine, Transform
from napari_stomics.layers.arrows import vectors_layer
from napari_stomics.layers.bent import bend, straighten
from napari_stomics.layers.carried import paint_aggregation, paint_values
from napari_stomics.layers.colour import clean_names, is_numeric
from napari_stomics.layers.easel import Easel
from napari_stomics.layers.embedding import paint_domains, paint_embedding
from napari_stomics.layers.mapping import paint_mapping
from napari_stomics.layers.morphology import paint_features, paint_plane
from napari_stomics.layers.palette import natural, palette
from napari_stomics.layers.plan import paint_plan
from napari_stomics.layers.quality import paint_quality
from napari_stomics.layers.scores import paint_markers, paint_scores
from napari_stomics.layers.stacks import paint_centre, paint_stack, unpaint_stack
from napari_stomics.layers.tags import (
    layer_affine,
    new_tag,
    own,
    place,
    section_placement,
    tag,
    tagged,
    warp,
)
from napari_stomics.layers.valued import Values
from napari_stomics.layers.warped import grid_segments, magnitude_layer, rewarp_overview

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_stomics.data.study import Study

_UNIT = (0.0, 1.0)
_HANDLES = ("landmarks", "ghost")
"""Their data are edited by the user, in the section's own micrometres."""


def paint(viewer: ViewerModel, study: Study, result: Any, key: str) -> list[Layer]:
    """Show a result and return its layers.

    Painting the same key again replaces its former layers in their places and
    keeps what the user set on them: visibility, opacity, blending, contrast.
    Layers of uncertainty are there but hidden at first.

    Parameters
    ----------
    viewer, study
        Where to paint, and the study that the result belongs to.
    result
        Any of the kinds in :mod:`napari_stomics.core.results`.
    key
        Name under which the result is stored.

    Raises
    ------
    UserError
        If results of this kind cannot be shown, or its section has changed.
    """
    pieces = painting(viewer, study, result, key)
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            return end.value or []


def painting(
    viewer: ViewerModel, study: Study, result: Any, key: str
) -> Generator[None, None, list[Layer]]:
    """As :func:`paint`, piece by piece, so that the window can draw in between.

    The section is where it belongs after the first piece.
    """
    painter = _PAINTERS.get(getattr(result, "kind", ""))
    if painter is None:
        raise UserError(
            f"A result of kind {getattr(result, 'kind', type(result).__name__)!r} "
            "cannot be shown in the viewer.",
            "It is stored in the study; read it from there.",
        )
    easel = Easel(viewer, study, key)
    try:
        yield from painter(easel, result) or ()
    except KeyError as error:
        easel.discard()
        raise UserError(
            f"The result {key!r} names a spot, {error}, that its section does not have.",
            "The section was changed since; run the step again.",
        ) from error
    return easel.finish()


def unpaint(viewer: ViewerModel, study: Study, result: Any, key: str) -> None:
    """Remove the layers of a result; a section moved by a registration goes back.

    It goes back to where the registration that the study still holds puts it,
    or to its own frame.
    """
    Easel(viewer, study, key).finish()
    if isinstance(result, Stack):
        unpaint_stack(viewer, study, result)
    elif isinstance(result, Registration) or getattr(result, "registration", None) is not None:
        former = study.registration(result.source, result.target)
        move_section(viewer, result.source, former or Affine.identity(), result.target)


def paint_gene(viewer: ViewerModel, study: Study, result: Any, key: str, gene: str) -> list[Layer]:
    """Show another gene of a result that has one layer per gene; see :func:`paint`.

    Raises
    ------
    UserError
        If the result does not cover the gene.
    """
    names, painter = _BY_GENE[result.kind]
    covered = list(map(str, getattr(result, names)))
    if gene not in covered:
        best = result.summary().get("best_genes", covered[:5])
        raise UserError(
            f"The result {key!r} does not cover {gene!r}.",
            f"It covers {len(covered)} genes, such as {', '.join(best)}.",
        )
    easel = Easel(viewer, study, key)
    painter(easel, result, gene)
    return easel.finish()


def move_section(
    viewer: ViewerModel,
    source: str,
    transform: Transform,
    target: str,
    *,
    bend_images: bool = True,
) -> list[Layer]:
    """Show a section where ``transform`` carries it in the target's frame.

    A linear map moves every layer. Through any other map spots, points and
    shapes are carried one by one, and images are resampled where they are looked at,
    unless ``bend_images`` is False: they then follow its linear part, in which a
    click on the image has one plain meaning.

    Returns
    -------
    list of Layer
        The layers that follow the linear part only.
    """
    base = section_placement(viewer, target) if target != source else Affine.identity()
    linear = transform if isinstance(transform, Affine) else transform.linear_part()
    left = []
    for layer in tagged(viewer, section=source):
        if tag(layer)["role"] in _HANDLES:
            place(layer, linear.then(base))
        elif isinstance(transform, Affine):
            rewarp_overview(layer, None)
            straighten(layer)
            place(layer, linear.then(base))
        elif rewarp_overview(layer, transform):
            layer.affine = layer_affine(Affine.identity(), base)
        elif bend_images and bend(layer, transform):
            place(layer, linear.then(base))
        elif not warp(layer, transform, base):
            straighten(layer)
            place(layer, linear.then(base))
            left.append(layer)
    return left


def _registration(easel: Easel, result: Registration) -> None:
    viewer = easel.viewer
    # The grid belongs to the source, so it must not be moved with the other layers.
    easel.discard_parts()
    move_section(viewer, result.source, result.transform, result.target)
    base = section_placement(viewer, result.target)
    extent = source_extent(viewer, result.source)
    if extent is None:
        return
    title = f"{result.source} → {result.target}"
    grid = grid_segments(result.transform, extent)
    easel.put(
        "grid",
        vectors_layer(
            grid,
            f"Warp grid {title}",
            new_tag(result.target, "result", None, base),
            color="#ffd54f",
            width=float(np.ptp(extent, axis=0).max()) / 600,
            style="line",
        ),
        visible=False,
    )
    layer = magnitude_layer(
        result.transform, extent, base, f"Bend and shear {title} (um)", result.target
    )
    if layer is not None:
        easel.put("magnitude", layer, visible=False)


def source_extent(viewer: ViewerModel, section: str) -> NDArray[np.float64] | None:
    """(2, 2) lowest and highest (x, y) um of a section's layers, in its own frame."""
    boxes = []
    for layer in tagged(viewer, section=section, role=("image", "labels", "spots")):
        if tag(layer)["role"] != "spots":
            height, width = (layer.data[0] if layer.multiscale else layer.data).shape[:2]
            points = np.array([[0, 0], [width, 0], [0, height], [width, height]], float)
        else:
            unwarped = tag(layer).get("unwarped")
            points = np.asarray(layer.data if unwarped is None else unwarped)[:, ::-1]
        if len(points):
            points = own(layer).apply(points)
            boxes += [points.min(axis=0), points.max(axis=0)]
    return np.array([np.min(boxes, axis=0), np.max(boxes, axis=0)]) if boxes else None


def _transport_plan(easel: Easel, result: TransportPlan) -> Iterator[None]:
    if result.registration is not None:
        with (
            easel.viewer.dims.events.blocker_all()
        ):  # else all layers are sliced for each that moves
            move_section(easel.viewer, result.source, result.registration.transform, result.target)
    yield
    yield from paint_plan(easel, result)


def _label_transfer(easel: Easel, result: LabelTransfer) -> None:
    colours = label_colours(easel.study, result.categories)
    labels = Values("label", np.asarray(result.labels, dtype=object), colours=colours)
    title = f"Labels from {result.source}"
    easel.spots("labels", result.target, result.target_ids, labels, title)
    entropy = Values("entropy", np.asarray(result.entropy, np.float64), _UNIT, "plasma")
    easel.spots(
        "entropy", result.target, result.target_ids, entropy, f"{title}: entropy", visible=False
    )


def _prediction(easel: Easel, result: Prediction, gene: str | None = None) -> None:
    names = [str(g) for g in result.genes]
    if gene is None:
        gene = easel.option("gene") or _best_gene(result, names)
    column = names.index(gene) if gene in names else 0
    gene = names[column]
    error = float(result.error[column])
    more = {"gene": gene}
    predicted = Values(gene, np.asarray(result.values[:, column], np.float64))
    title = f"{gene} predicted ± {error:.2g} ({result.scale})"
    easel.spots("predicted", result.section, result.ids, predicted, title, options=more)
    measured = _measured(easel.study, result, gene)
    if measured is not None:
        easel.spots(
            "measured",
            result.section,
            result.ids,
            Values(gene, measured),
            f"{gene} measured",
            visible=False,
        )
    novelty = Values("novelty", np.asarray(result.novelty, np.float64), (0.0, 2.0), "plasma")
    easel.spots(
        "novelty",
        result.section,
        result.ids,
        novelty,
        "Novelty (above 1: out of distribution)",
        visible=False,
    )


def _best_gene(result: Prediction, names: list[str]) -> str:
    if np.isfinite(result.pearson).any():
        return names[int(np.nanargmax(result.pearson))]
    return names[int(np.argmax(np.var(result.values, axis=0)))]


def _measured(study: Study, result: Prediction, gene: str) -> NDArray[np.float64] | None:
    """Measured counts of a gene as log1p of counts per the section's median depth, or None."""
    section = study.section(result.section)
    for modality in section.modalities:
        table = section.table(modality)
        if gene not in table.var_names:
            continue
        depth = np.asarray(table.X.sum(axis=1)).ravel()
        counts = table.X[:, table.var_names.get_loc(gene)]
        counts = counts.toarray() if hasattr(counts, "toarray") else np.asarray(counts)
        share = counts.ravel() / np.maximum(depth, 1)
        values = np.log1p(share * np.median(depth[depth > 0])) if (depth > 0).any() else share
        rows = table.obs_names.get_indexer(result.ids)
        return np.where(rows >= 0, values[rows], np.nan)
    return None


def label_colours(study: Study, categories: tuple[str, ...]) -> dict[str, str]:
    """Colours of labels: those of the annotation that they come from, where there is one."""
    wanted = set(map(str, categories))
    for section in study.sections.values():
        column = section.record.annotation
        for modality in section.modalities if column else ():
            obs = section.table(modality).obs
            if column in obs and not is_numeric(obs[column]):
                names = set(clean_names(obs[column])) - {""}
                if wanted <= names:
                    own = section.table(modality).uns.get(f"{column}_colors")
                    if own is not None and len(own) >= len(names):
                        order = list(map(str, obs[column].cat.categories))
                        return dict(zip(order, map(str, own), strict=False))
                    return palette(sorted(names, key=natural))
    return palette(sorted(wanted, key=natural))


_PAINTERS: dict[str, Callable[[Easel, Any], Iterator[None] | None]] = {
    Registration.kind: _registration,
    TransportPlan.kind: _transport_plan,
    LabelTransfer.kind: _label_transfer,
    AlignmentQuality.kind: paint_quality,
    Stack.kind: paint_stack,
    CentreSlice.kind: paint_centre,
    CarriedValues.kind: paint_values,
    Aggregation.kind: paint_aggregation,
    CellMapping.kind: paint_mapping,
    Embedding.kind: paint_embedding,
    Domains.kind: paint_domains,
    ScoreTable.kind: paint_scores,
    Markers.kind: paint_markers,
    MorphologyFeatures.kind: paint_features,
    MorphologyPlane.kind: paint_plane,
    Prediction.kind: _prediction,
}

_BY_GENE: dict[str, tuple[str, Callable[[Easel, Any, str], None]]] = {
    Prediction.kind: ("genes", _prediction),
    CarriedValues.kind: ("names", paint_values),
    Aggregation.kind: ("features", paint_aggregation),
    MorphologyFeatures.kind: ("features", paint_features),
    MorphologyPlane.kind: ("features", paint_plane),
    Markers.kind: ("features", paint_markers),
}
"""Kinds of which one gene is shown at a time: where their names are, and their painter."""
