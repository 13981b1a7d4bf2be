"""Stacks of sections and their consensus, painted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stomics.core.stacks import CentreSlice, Stack
from napari_stomics.core.transforms import Affine
from napari_stomics.layers.valued import Values

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_stomics.data.study import Study
    from napari_stomics.layers.easel import Easel

_UNIT = (0.0, 1.0)


def paint_stack(easel: Easel, result: Stack) -> None:
    """Move every section of a stack to where it lies in the reference's frame."""
    from napari_stomics.layers.results import move_section

    for registration in result.registrations:
        move_section(easel.viewer, registration.source, registration.transform, result.reference)


def unpaint_stack(viewer: ViewerModel, study: Study, result: Stack) -> None:
    """Put the sections of a stack back to where the study still registers them."""
    from napari_stomics.layers.results import move_section

    for registration in result.registrations:
        former = study.registration(registration.source, result.reference)
        move_section(viewer, registration.source, former or Affine.identity(), result.reference)


def paint_centre(easel: Easel, result: CentreSlice) -> None:
    """Show the factors of a consensus as colours, and how sure each section's matches are."""
    from napari_stomics.layers.embedding import component_colours

    share = result.factors / np.maximum(result.factors.sum(axis=1, keepdims=True), 1e-12)
    order = np.argsort(-share.var(axis=0), kind="stable")
    colours = Values("factors", component_colours(share[:, order]))
    easel.spots("factors", result.section, result.ids, colours, "Consensus: factors")
    entropy = Values("entropy", np.nanmean(result.entropy, axis=1), _UNIT, "plasma")
    easel.spots("entropy", result.section, result.ids, entropy, "Consensus: entropy", visible=False)
    unmatched = Values("unmatched", 1 - result.mass.mean(axis=1), _UNIT, "magma")
    easel.spots(
        "unmatched", result.section, result.ids, unmatched, "Consensus: unmatched", visible=False
    )
