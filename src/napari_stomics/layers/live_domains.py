"""Domains under sliders on the canvas: layers of their own that are repainted in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stomics.data.domain_colours import Colours, carried_colours, plain_colours
from napari_stomics.layers.domains import COLUMN, PART, paint_labels
from napari_stomics.layers.tags import (
    real_viewer,
    remove_layers,
    section_placement,
    set_tag,
)
from napari_stomics.layers.valued import Values, value_layer

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_stomics.core.fusion import Domains
    from napari_stomics.data.study import Study

ROLE = "live"
"""Role of the layers: they are not saved."""


class LiveDomains:
    """Shows one answer after the other; :meth:`close` leaves the viewer as it was.

    Parameters
    ----------
    viewer, study
        Where to show, and the study that the spots belong to.
    """

    def __init__(self, viewer: ViewerModel, study: Study) -> None:
        self._viewer = real_viewer(viewer)
        self._study = study
        self._layers: dict[str, Layer] = {}
        self.shown: Domains | None = None
        """The domains on the canvas."""
        self.colours: Colours = {}
        """Their colours (hex)."""

    @property
    def layers(self) -> list[Layer]:
        """The layers, one per section, those that the user has not removed."""
        return [layer for layer in self._layers.values() if layer in self._viewer.layers]

    def show(self, found: Domains) -> None:
        """Show domains; those that stand for one shown before keep its colour."""
        self.colours = self.colours_of(found)
        self.shown = found
        for i, section in enumerate(found.sections):
            here = found.of == i
            labels = np.asarray(found.labels, object)[here]
            layer = self._layers.get(section)
            if layer is not None and layer in self._viewer.layers:
                paint_labels(layer, labels, self.colours)
                layer.visible = True
            else:
                self._layers[section] = self._add(section, found.ids[here], labels)

    def _add(self, section: str, ids: np.ndarray, labels: np.ndarray) -> Layer:
        layer = value_layer(
            self._study.section(section),
            ids,
            Values(COLUMN, labels, colours=self.colours),
            f"{section}: Domains (preview, not kept)",
            section_placement(self._viewer, section),
            True,
            labels=labels,
        )
        set_tag(layer, role=ROLE, part=PART)
        selection = set(self._viewer.layers.selection)
        self._viewer.add_layer(layer)
        if selection:
            self._viewer.layers.selection = selection
        return layer

    def colours_of(self, found: Domains) -> Colours:
        """Colours of domains about to be kept: those of what they stand for on the canvas."""
        shown = self.shown
        if shown is None or not np.array_equal(shown.ids, found.ids):
            return plain_colours(found.names)
        return carried_colours(
            np.asarray(shown.labels, object), self.colours, found.labels, found.names
        )

    def close(self) -> None:
        """Take the layers away."""
        remove_layers(self._viewer, self._layers.values())
        self._layers.clear()
