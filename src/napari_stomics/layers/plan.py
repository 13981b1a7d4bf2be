"""A transport plan as layers: its arrows, and one value per spot of whatever it says.

The arrows and the entropy come with the plan; everything else is painted when
it is asked for. What takes long is worked out by ``plan_values``, in any thread;
:func:`paint_part` only puts layers into the viewer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.core.errors import UserError
from napari_stomics.core.plans import TransportPlan
from napari_stomics.layers.arrows import vectors_layer
from napari_stomics.layers.easel import Easel
from napari_stomics.layers.plan_values import UNIT, PartValues, plan_values
from napari_stomics.layers.tags import new_tag, remove_layers, tag, tagged

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_stomics.data.study import Study

MANY_ARROWS = 20_000
MANY_TO_REPAINT = 20_000
"""With more spots a gene is carried over anew only when it is asked for again."""
_FIRST = ("entropy",)


@dataclass(frozen=True)
class PlanLayer:
    """Something of a plan that can be shown.

    Attributes
    ----------
    name
        How it is asked for; parts of its layers begin with it.
    title
        For a tick box.
    tip
        What is to be seen.
    """

    name: str
    title: str
    tip: str


PLAN_LAYERS = (
    PlanLayer("arrows", "Arrows", "From each spot to where its mass lands, by entropy."),
    PlanLayer("confidence", "Confidence", "Share of a spot's mass that goes to its best partner."),
    PlanLayer("entropy", "Entropy", "0: one partner. 1: spread evenly over the whole section."),
    PlanLayer("unmatched", "Unmatched mass", "Share of a spot's mass that found no partner."),
    PlanLayer("displacement", "Displacement", "How far the mass lands from the linear pose, um."),
    PlanLayer(
        "disagreement",
        "Distance from landmarks",
        "How far a spot lands from where the landmarks left out carry it, um.",
    ),
    PlanLayer(
        "agreement", "Label agreement", "Share of a spot's mass that lands on spots of its label."
    ),
    PlanLayer(
        "gene",
        "Gene carried over",
        "Expression carried along the plan, beside the measured one, and their difference.",
    ),
)


def paint_plan(easel: Easel, result: TransportPlan) -> Iterator[None]:
    """Put the arrows and the entropy of a plan, and whatever else was shown of it before.

    It goes piece by piece, so that the window can draw in between.
    """
    gene = easel.option("gene")
    former = easel.former_parts
    yield from _put_arrows(easel, result)
    for name in dict.fromkeys((*_FIRST, *(_owner(part) for part in former))):
        small = len(result.target_ids) <= MANY_TO_REPAINT
        if name in ("", "arrows") or (name == "gene" and not (gene and small)):
            continue
        try:
            found = plan_values(easel.study, result, name, gene=gene)
        except UserError:  # such as disagreement, once no landmark is left out
            continue
        for values in found:
            yield
            yield from _put(easel, values, name not in _FIRST and values.visible)


def paint_part(
    viewer: ViewerModel,
    study: Study,
    key: str,
    values: tuple[PartValues, ...] = (),
    arrows: TransportPlan | None = None,
) -> list[Layer]:
    """Show more of a plan, leaving its other layers as they are.

    Parameters
    ----------
    viewer, study
        Where to paint.
    key
        Name under which the plan is stored.
    values
        From :func:`~napari_stomics.layers.plan_values.plan_values`.
    arrows
        The plan, where its arrows are wanted.

    Raises
    ------
    UserError
        If a section has changed since.
    """
    easel = Easel(viewer, study, key)
    try:
        if arrows is not None:
            deque(_put_arrows(easel, arrows), maxlen=0)
        for each in values:
            deque(_put(easel, each, each.visible), maxlen=0)
    except KeyError as error:
        easel.discard()
        raise UserError(
            f"The plan {key!r} names a spot, {error}, that its section does not have.",
            "The section was changed since; align the sections again.",
        ) from error
    layers = easel.keep()
    _raise_marks(easel.viewer)
    for layer in layers:
        layer.visible = next((v.visible for v in values if v.part == tag(layer)["part"]), True)
    return layers


def shown_parts(viewer: ViewerModel, key: str) -> dict[str, bool]:
    """What is painted of a plan, by the names of :data:`PLAN_LAYERS`, and whether it is seen."""
    out: dict[str, bool] = {}
    for layer in tagged(viewer, result=key):
        name = _owner(tag(layer)["part"])
        if name:
            out[name] = out.get(name, False) or bool(layer.visible)
    return out


def part_layers(viewer: ViewerModel, key: str, name: str) -> list[Layer]:
    """Layers that belong to one of :data:`PLAN_LAYERS`."""
    return [q for q in tagged(viewer, result=key) if _owner(tag(q)["part"]) == name]


def remove_part(viewer: ViewerModel, key: str, name: str) -> None:
    """Take the layers of one of :data:`PLAN_LAYERS` out of the viewer."""
    remove_layers(viewer, part_layers(viewer, key, name))


def restore_part(viewer: ViewerModel, study: Study, key: str, part: str, gene: str | None) -> None:
    """Paint anew what was shown of a stored plan when the study was saved.

    Nothing happens where the result is no plan, or cannot be read or shown.
    """
    from napari_stomics.data.results import load_result

    run = next((r for r in reversed(study.record.runs) if r.key == key), None)
    name = _owner(part)
    if run is None or run.kind != TransportPlan.kind or name in ("", "arrows"):
        return
    with suppress(UserError):
        values = plan_values(study, load_result(study, run), name, gene=gene)
        paint_part(viewer, study, key, values)


def _owner(part: str) -> str:
    """Which of :data:`PLAN_LAYERS` a part belongs to."""
    head = part.split(" ")[0]
    return head if any(layer.name == head for layer in PLAN_LAYERS) else ""


def _raise_marks(viewer: ViewerModel) -> None:
    """Keep what glows or is outlined above what was painted after it."""
    if tagged(viewer, role=("cut", "spacer")):  # a comparison counts on the order
        return
    for layer in tagged(viewer, role=("glow", "outline")):
        last = len(viewer.layers) - 1
        if viewer.layers.index(layer) != last:
            viewer.layers.move(viewer.layers.index(layer), last + 1)


def _put(easel: Easel, values: PartValues, visible: bool) -> Iterator[None]:
    return easel.putting_spots(
        values.part,
        values.section,
        values.ids,
        values.shown,
        f"{values.title} [{easel.key}]",
        visible=visible,
        options=values.options,
    )


def _put_arrows(easel: Easel, result: TransportPlan) -> Iterator[None]:
    base = easel.placement(result.target)
    known = np.isfinite(result.barycentres).all(axis=1)
    rows = np.flatnonzero(known)
    note = ""
    if len(rows) > MANY_ARROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MANY_ARROWS, replace=False))
        note = f" ({MANY_ARROWS:,} of {int(known.sum()):,})"
    start = result.source_coordinates[rows]
    data = np.stack([start, result.barycentres[rows] - start], axis=1)[..., ::-1]
    arrows: Any = vectors_layer(
        data,
        f"Plan {result.source} → {result.target}, colour: entropy{note} [{easel.key}]",
        new_tag(result.target, "result", None, base, limits=list(UNIT)),
        width=easel.study.section(result.source).diameter / 5,
        style="arrow",
        features={
            "entropy": np.asarray(result.entropy, np.float64)[rows],
            "mass": result.row_mass[rows],
            "id": result.source_ids[rows],
        },
    )
    if len(rows):
        arrows.edge_color = "entropy"
        arrows.edge_colormap = "plasma"
        arrows.edge_contrast_limits = UNIT
    yield
    yield from easel.putting("arrows", arrows)
