"""Scores of domains, painted: the spots that lie among another domain."""

from __future__ import annotations

import numpy as np

from napari_stomics.core.markers import Markers
from napari_stomics.core.scores import ScoreTable
from napari_stomics.layers.colour import Match, colourings
from napari_stomics.layers.easel import Easel
from napari_stomics.layers.valued import Values

_COLOURS = {"isolated": "#ff5252", "among its own": "#546e7a"}


def paint_scores(easel: Easel, result: ScoreTable) -> None:
    """Show, hidden at first, which spots count as abnormal in PAS."""
    names = np.array(["among its own", "isolated"], object)
    for i, section in enumerate(result.sections):
        here = result.of == i
        flags = np.asarray(result.isolated, np.float64)[here]
        known = np.isfinite(flags)
        words = np.full(len(flags), "", object)
        words[known] = names[flags[known].astype(int)]
        painted = Values("isolated", words, colours=_COLOURS)
        several = f" ({section})" if len(result.sections) > 1 else ""
        title = f"Isolated spots of {result.label_name}{several}"
        part = f"isolated@{section}" if i else "isolated"
        easel.spots(part, section, result.ids[here], painted, title, visible=False)


def paint_markers(easel: Easel, result: Markers, gene: str | None = None) -> None:
    """Show one marker in the sections that have it, hidden at first.

    By default the one that was shown, or the surest of the first domain.
    """
    top = result.top(1)
    gene = gene or easel.option("gene") or (top[0] if top else None)
    if gene is None:
        return
    marked = [t.domain for t in result.tables if gene in t.features]
    title = f"{gene}, marker of {', '.join(marked)}" if marked else gene
    match = Match(gene, "feature", result.modality)
    found = colourings(easel.study, result.sections, match)
    for name, colours in found.items():
        values = Values(gene, np.asarray(colours.values, np.float64), colours.limits)
        ids = easel.study.section(name).ids
        part = "marker" if name == result.section else f"marker@{name}"
        easel.spots(part, name, ids, values, title, visible=False, options={"gene": gene})
