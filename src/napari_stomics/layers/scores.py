"""Scores of domains, painted: the spots that lie among another domain."""

from __future__ import annotations

import numpy as np

from napari_stomics.core.markers import Markers
from napari_stomics.core.scores import ScoreTable
from napari_stomics.layers.colour import colouring
from napari_stomics.layers.easel import Easel
from napari_stomics.layers.valued import Values

_COLOURS = {"isolated": "#ff5252", "among its own": "#546e7a"}
_MOST = 12
"""Domains whose top marker gets a layer."""


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


def paint_markers(easel: Easel, result: Markers) -> None:
    """Show the surest marker of each domain, hidden at first, on the first section."""
    section = easel.study.section(result.section)
    if result.modality not in section.modalities:
        return
    for table in [t for t in result.tables if len(t)][:_MOST]:
        gene = str(table.features[0])
        found = colouring(
            easel.study, result.section, gene, result.modality, kind="feature", colormap="viridis"
        )
        values = Values(gene, np.asarray(found.values, np.float64), found.limits)
        title = f"{gene}, marker of {table.domain}"
        easel.spots(
            f"marker {table.domain}", result.section, section.ids, values, title, visible=False
        )
