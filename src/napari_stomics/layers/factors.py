"""Factors of an embedding: one of them on the tissue, and what it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stomics.layers.domains import reveal
from napari_stomics.layers.easel import Easel
from napari_stomics.layers.tags import set_tag
from napari_stomics.layers.valued import Values

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_stomics.core.fusion import Embedding, Loadings
    from napari_stomics.data.study import Study

PART = "factor"
WEIGHT = "weight of "


def show_factor(
    viewer: ViewerModel, study: Study, result: Embedding, key: str, factor: int
) -> list[Layer]:
    """Show one factor on the spots of every section, in place of the one shown before.

    Parameters
    ----------
    viewer, study
        Where, and the study that the embedding belongs to.
    result, key
        The embedding and its name.
    factor
        Index of the factor, from 0.
    """
    easel = Easel(viewer, study, key)
    values = np.asarray(result.values[:, factor], np.float64)
    known = values[np.isfinite(values)]
    signed = bool(len(known) and known.min() < 0 < known.max())
    # One range for all sections; even about zero where the sign means something.
    low, high = (float(v) for v in np.percentile(known, (1, 99))) if len(known) else (0.0, 1.0)
    if signed:
        high = max(-low, high)
        low = -high
    limits = (low, high) if high > low else (low, low + 1.0)
    several = len(result.sections) > 1
    for i, section in enumerate(result.sections):
        here = result.of == i
        shown = Values("factor", values[here], limits, "viridis")
        title = f"Factor {factor + 1} of {key}" + (f" ({section})" if several else "")
        part = f"{PART}@{section}" if i else PART
        easel.spots(part, section, result.ids[here], shown, title)
    layers = easel.keep()
    for layer in layers:
        # It is looked at, not part of the result: it is neither saved nor expected again.
        set_tag(layer, role="live", limits=None)
    reveal(viewer, layers)
    return layers


def made_of(loadings: Loadings, factor: int, count: int = 10) -> list[tuple[str, float]]:
    """Features that make a factor up, the strongest first; with its sign where it has one.

    In a non-negative factorisation these are the largest loadings, otherwise those
    that are largest in size.
    """
    row = np.asarray(loadings.values[factor], np.float64)
    order = np.argsort(-np.abs(row), kind="stable")[:count]
    return [(str(loadings.features[i]), float(row[i])) for i in order if row[i] != 0]
