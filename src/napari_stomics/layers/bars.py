"""Colour bars that say which layer they belong to.

Napari's colour bar has no title; the name of the layer, which napari writes as
an overlay of its own, is put above it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from napari_stomics.layers.tags import real_viewer

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

_PLACE = "top_left"
_NAME_SIZE = 9.0
_followed: WeakSet[Any] = WeakSet()
"""Layers whose names come and go with their bars."""


def bar_of(layer: Layer) -> Any:
    """The colour bar of an image, or of the faces of points; None where a layer has none."""
    return getattr(layer, "face_colorbar", None) or getattr(layer, "colorbar", None)


def show_bar(layer: Layer, visible: bool = True) -> None:
    """Show or hide a layer's colour bar with the layer's name above it."""
    bar, name = bar_of(layer), layer.name_overlay
    if bar is None:
        return
    if layer not in _followed:
        _followed.add(layer)
        # On the left: of a name that is too long for its view the beginning is seen.
        bar.position, name.font_size = _PLACE, _NAME_SIZE
        bar.events.visible.connect(lambda value: setattr(name, "visible", value))
        bar.events.position.connect(lambda value: setattr(name, "position", value))
    bar.visible = visible
    name.position = bar.position
    name.visible = visible


def stack_bars(viewer: ViewerModel) -> None:
    """Let bars and their names follow below each other: beside each other names run together."""
    real_viewer(viewer).canvas.overlay_tiling.top_left = "vertical"
