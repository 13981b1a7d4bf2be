"""The viewer as it was, to go back to after a special view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.layers.tags import TAG, UNITS, new_tag, remove_layers, tag

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


class Snapshot:
    """Visibility, opacity, blending, clipping, order and grid of a viewer.

    Layers that come later are left as they are; layers that went are forgotten.

    Parameters
    ----------
    viewer
        The viewer to remember.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self._order = list(viewer.layers)
        self._states = {id(layer): _state(layer) for layer in self._order}
        grid = viewer.canvas.grid
        self._grid = {name: getattr(grid, name) for name in ("stride", "shape", "spacing")}
        self._grid_enabled = grid.enabled
        self._gridded = viewer.canvas.overlays.scale_bar.gridded
        self._selection = set(viewer.layers.selection)
        self._spacers: list[Layer] = []

    def visible(self, section: str) -> list[Layer]:
        """Layers of a section that were visible and are still there."""
        return [
            layer
            for layer in self._order
            if layer in self.viewer.layers
            and tag(layer).get("section") == section
            and self._states[id(layer)]["visible"]
        ]

    def opacity(self, layer: Layer) -> float:
        """Opacity that a layer had."""
        return float(self._states.get(id(layer), {}).get("opacity", layer.opacity))

    def add_spacer(self) -> Layer:
        """Add a hidden layer that fills a place in the list until :meth:`restore`."""
        from napari.layers import Points

        spacer = Points(
            np.zeros((0, 2)),
            ndim=2,
            name="(empty place)",
            visible=False,
            units=UNITS,
            metadata={TAG: new_tag("", "spacer")},
        )
        self.viewer.add_layer(spacer)
        self._spacers.append(spacer)
        return spacer

    def arrange(self, order: Sequence[Layer]) -> None:
        """Put these layers at the bottom of the list in this order; the rest stay above."""
        for index, layer in enumerate(q for q in order if q in self.viewer.layers):
            current = self.viewer.layers.index(layer)
            if current != index:
                self.viewer.layers.move(current, index)

    def restore(self) -> None:
        """Go back."""
        remove_layers(self.viewer, self._spacers)
        self._spacers.clear()
        grid = self.viewer.canvas.grid
        grid.enabled = self._grid_enabled
        for name, value in self._grid.items():
            setattr(grid, name, value)
        self.viewer.canvas.overlays.scale_bar.gridded = self._gridded
        for layer in self._order:
            if layer in self.viewer.layers:
                _restore(layer, self._states[id(layer)])
        self.arrange(self._order)
        left = {layer for layer in self._selection if layer in self.viewer.layers}
        if left:
            self.viewer.layers.selection = left


def _state(layer: Layer) -> dict[str, Any]:
    return {
        "visible": layer.visible,
        "opacity": layer.opacity,
        "blending": layer.blending,
        "planes": [plane.model_dump() for plane in layer.experimental_clipping_planes],
    }


def _restore(layer: Layer, state: dict[str, Any]) -> None:
    for name in ("opacity", "blending", "visible"):
        if getattr(layer, name) != state[name]:
            setattr(layer, name, state[name])
    planes = [plane.model_dump() for plane in layer.experimental_clipping_planes]
    if planes != state["planes"]:
        layer.experimental_clipping_planes = state["planes"]
