"""Which pictures of an alignment its report shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_stomics.core.jobs import JobContext
from napari_stomics.core.quality import AlignmentQuality
from napari_stomics.workflow import report_page as html
from napari_stomics.workflow import report_pictures as draw
from napari_stomics.workflow.dossier import Comparison, Dossier

_SHARE = (0.0, 1.0)


def pictures(one: Dossier, judged: AlignmentQuality, ctx: JobContext) -> list[str]:
    """Return the pictures of one alignment, each with its caption, as HTML."""
    source, target, pitch = one.inputs.source, one.inputs.target, one.pitch
    moved = source.coordinates - source.coordinates.mean(axis=0) + target.coordinates.mean(axis=0)
    names = f"{source.section} orange, {target.section} blue"
    shown = [
        (draw.overlay("Before", moved, target.coordinates, pitch),
         f"Before: each section in its own frame, centred ({names})."),
        (draw.overlay("After", one.placed, target.coordinates, pitch),
         f"After: the moving section where the alignment puts it ({names})."),
        *_label_pictures(one),
    ]  # fmt: skip
    out = [html.picture(draw.png(figure), caption) for figure, caption in shown]
    ctx.step(0.6, "Pictures")
    maps = [html.picture(draw.png(_map(one, m)), m[3]) for m in _maps(one, judged)]
    ctx.step(0.85, "Pictures")
    return out + maps + [html.picture(draw.png(_arrows(one)), _ARROWS)] + _curves(one)


_ARROWS = "Displacement: from where the linear pose puts a spot to where its mass lands."


def _arrows(one: Dossier) -> Any:
    return draw.displacement("Displacement", one.plan, one.pitch)


def _curves(one: Dossier) -> list[str]:
    if not len(one.plan.objective):
        return []
    caption = "Objective (black) and deviation of the marginals (dashed) per iteration."
    return [html.picture(draw.png(draw.curves("Convergence", one.plan)), caption)]


def _label_pictures(one: Dossier) -> list[tuple[Any, str]]:
    out = []
    source, target = one.inputs.source, one.inputs.target
    if source.labels is None or target.labels is None:
        return []
    order = sorted({str(n) for n in (*source.labels, *target.labels) if n})
    for spots, points in ((source, one.placed), (target, target.coordinates)):
        figure = draw.labels(
            f"Labels of {spots.section}", points, spots.labels, order, spots.pitch  # type: ignore[arg-type]
        )  # fmt: skip
        out.append((figure, f"Labels of {spots.section}, in the frame of {target.section}."))
    return out


_Map = tuple[str, Any, tuple[float, float] | None, str, str]


def _maps(one: Dossier, judged: AlignmentQuality) -> list[_Map]:
    """Title, values, limits, caption and colormap of each map of the source's spots."""
    plan = one.plan
    maps: list[_Map] = [
        ("Confidence", plan.largest_match, _SHARE,
         "Confidence: share of a spot's mass that goes to its best partner.", "viridis"),
        ("Entropy", plan.entropy, (0.0, max(0.1, draw.value_range(plan.entropy)[1])),
         "Entropy of each spot's matches over that of a blind match: 0 is certain.", "plasma"),
        ("Unmatched mass", plan.unmatched, _SHARE,
         "Share of each spot's mass that found no partner.", "magma"),
        ("Label agreement", judged.label_agreement, _SHARE,
         "Share of each spot's mass that lands on its own label.", "viridis"),
        ("Agreement of unseen features", judged.expression_agreement, None,
         "Correlation of each spot with the mean of its partners, over features that the "
         "plan has not seen.", "viridis"),
        ("Disagreement with landmarks", plan.disagreement, None,
         "Distance (µm) from where the landmarks left out carry each spot.", "magma"),
        ("Round trip", judged.round_trip, None,
         "Distance (µm) of each spot from where its mass comes back to.", "magma"),
    ]  # fmt: skip
    return [m for m in maps if np.isfinite(m[1]).any()]


def _map(one: Dossier, shown: _Map) -> Any:
    title, values, limits, _, colormap = shown
    return draw.values(title, one.placed, np.asarray(values, float), one.pitch, limits, colormap)


def pairs(found: Comparison, ctx: JobContext) -> list[str]:
    """Pictures of both alternately, on one scale."""
    out: list[str] = []
    for one in found.dossiers:
        figure = draw.overlay(one.name, one.placed, one.inputs.target.coordinates, one.pitch)
        out.append(html.picture(draw.png(figure), f"{one.name}: overlay after the alignment."))
    out += [
        html.picture(draw.png(_arrows(one)), f"{one.name}. {_ARROWS}") for one in found.dossiers
    ]
    maps = [
        {m[0]: m for m in _maps(d, q)} for d, q in zip(found.dossiers, found.judged, strict=True)
    ]
    for i, title in enumerate(t for t in maps[0] if t in maps[1]):
        ctx.step(0.2 + 0.7 * i / len(maps[0]), "Pictures")
        both = [m[title] for m in maps]
        limits = both[0][2] if title != "Entropy" else None
        limits = limits or draw.value_range(*(np.asarray(m[1], float) for m in both))
        for one, shown in zip(found.dossiers, both, strict=True):
            figure = _map(one, (shown[0], shown[1], limits, shown[3], shown[4]))
            out.append(html.picture(draw.png(figure), f"{one.name}. {shown[3]}"))
    return out
