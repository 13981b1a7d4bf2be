"""The judgement of an alignment, painted on the spots of its source section."""

from __future__ import annotations

import numpy as np

from napari_stomics.core.quality import AlignmentQuality
from napari_stomics.layers.easel import Easel
from napari_stomics.layers.valued import Values

_SHARE = (0.0, 1.0)


def paint_quality(easel: Easel, result: AlignmentQuality) -> None:
    """Show label agreement, and hidden beside it the same of the pose alone, genes and round trip.

    What could not be measured, because there are no labels or no unseen
    features, gets no layer.
    """
    title = f"{result.source} → {result.target}"
    parts = (
        ("label_agreement", f"Label agreement {title}", _SHARE, "viridis"),
        ("label_agreement_pose", f"Label agreement of the pose alone {title}", _SHARE, "viridis"),
        ("expression_agreement", f"Agreement of unseen features {title}", None, "viridis"),
        ("round_trip", f"Round trip {title} (um)", None, "magma"),
    )
    shown = False
    for name, words, limits, colormap in parts:
        values = np.asarray(getattr(result, name), np.float64)
        if not np.isfinite(values).any():
            continue
        painted = Values(name, values, limits, colormap)
        easel.spots(name, result.source, result.source_ids, painted, words, visible=not shown)
        shown = True
