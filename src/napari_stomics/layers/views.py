"""Show some results alone, and put everything back afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.layers.tags import real_viewer, tag

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


@dataclass(frozen=True)
class View:
    """What one picture shows.

    Attributes
    ----------
    title
        What is to be seen.
    images
        Sections whose images are shown.
    spots
        Sections whose own spots are shown.
    results
        Parts by name of a result; an empty tuple shows all parts of it.
    """

    title: str
    images: Sequence[str] = ()
    spots: Sequence[str] = ()
    results: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def shows(self, layer: Layer) -> bool:
        """Whether a layer belongs to the view."""
        entry = tag(layer)
        key = entry.get("result")
        if key is not None:
            parts = self.results.get(key)
            return parts is not None and (not parts or entry.get("part") in parts)
        wanted = {"image": self.images, "spots": self.spots}.get(str(entry.get("role")), ())
        return entry.get("section") in wanted


def hide_beneath(viewer: ViewerModel, layers: Sequence[Layer]) -> None:
    """Hide other results on the same spots: under or over these nothing is seen of them."""
    own = {tag(layer).get("section") for layer in layers}
    for layer in real_viewer(viewer).layers:
        entry: Any = tag(layer)
        if layer not in layers and entry.get("role") == "result" and entry.get("section") in own:
            layer.visible = False


def show_whole(viewer: ViewerModel, layers: Sequence[Layer]) -> None:
    """Fit the view to all layers where one of these is not wholly in sight."""
    viewer = real_viewer(viewer)
    camera = viewer.scene.camera
    half = np.asarray(viewer.canvas.viewbox_size(viewer.layers), np.float64) / camera.zoom / 2
    middle = np.asarray(camera.center, np.float64)[-2:]
    for layer in layers:
        low, high = np.asarray(layer.extent.world)[:, -2:]
        if (low < middle - half).any() or (high > middle + half).any():
            viewer.reset_view()
            return


@contextmanager
def shown_alone(viewer: ViewerModel, view: View) -> Iterator[None]:
    """Within the block only the layers of a view are visible."""
    before = show(viewer, view)
    try:
        yield
    finally:
        for layer, visible in before:
            layer.visible = visible


def show(viewer: ViewerModel, view: View) -> list[tuple[Layer, bool]]:
    """Make only the layers of a view visible; return what was visible before.

    Layers that are not ours stay as they are.
    """
    layers: list[Any] = [layer for layer in real_viewer(viewer).layers if tag(layer)]
    before = [(layer, bool(layer.visible)) for layer in layers]
    for layer in layers:
        layer.visible = view.shows(layer)
    return before


def look_at(
    viewer: ViewerModel, layers: Sequence[Layer], margin: float = 0.08, *, fit_view: bool = False
) -> None:
    """Point the camera at the extent of some layers.

    Parameters
    ----------
    viewer
        The viewer.
    layers
        Layers to bring into view, visible or not; nothing happens without any.
    margin
        Share of the canvas left free on each side.
    fit_view
        Fit into one view of a grid instead of the whole canvas.
    """
    if not layers:
        return
    extents = np.array([layer.extent.world[:, -2:] for layer in layers])
    low, high = extents[:, 0].min(axis=0), extents[:, 1].max(axis=0)
    size = np.maximum(high - low, 1e-6)
    camera = viewer.scene.camera
    camera.center = (0.0, *((low + high) / 2))
    room = viewer.canvas.viewbox_size(viewer.layers) if fit_view else viewer.canvas.size
    camera.zoom = float(np.min(np.array(room) * (1 - 2 * margin) / size))
