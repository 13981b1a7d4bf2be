"""Domains on the canvas: recoloured in place, found under the mouse, shown part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.layers.tags import real_viewer, set_tag, tag, tagged
from napari_stomics.layers.valued import Values

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

PART = "domains"
COLUMN = "domain"
_REACH = 1.5
"""A click this many spot radii from a centre still means the spot."""


def parts(viewer: ViewerModel, key: str, part: str) -> list[Layer]:
    """Layers of one part of a result, one per section, from the bottom up."""
    found = tagged(real_viewer(viewer), result=key, role="result")
    return [q for q in found if str(tag(q)["part"]).partition("@")[0] == part]


def show_part(viewer: ViewerModel, key: str, part: str, among: tuple[str, ...]) -> list[Layer]:
    """Show one part of a result and hide its other parts.

    Parameters
    ----------
    viewer, key
        Where, and the name of the result.
    part
        The part to show, in every section.
    among
        The parts of which one is shown at a time.

    Returns
    -------
    The layers shown.
    """
    shown = parts(viewer, key, part)
    for other in among:
        for layer in parts(viewer, key, other):
            layer.visible = layer in shown
    reveal(viewer, shown)
    return shown


def reveal(viewer: ViewerModel, layers: Sequence[Layer]) -> None:
    """Show layers of spots, and hide other results of their sections that lie on top of them."""
    every = list(real_viewer(viewer).layers)
    for layer in layers:
        layer.visible = True
        above = every[every.index(layer) + 1 :]
        for other in above:
            entry = tag(other)
            covers = entry.get("section") == tag(layer)["section"] and "legend" in entry
            if covers and other not in layers:
                other.visible = False


def labels_of(layer: Layer) -> NDArray[Any]:
    """(n,) names that the spots of a layer of domains have."""
    found = tag(layer).get("labels")
    return np.asarray(layer.features[COLUMN] if found is None else found, object)


def paint_labels(layer: Layer, labels: NDArray[Any], colours: Mapping[str, str]) -> None:
    """Show names in their colours on a layer of spots or on its raster, in place."""
    shown = Values(COLUMN, np.asarray(labels, object), colours=dict(colours))
    raster = tag(layer).get("raster")
    set_tag(layer, legend=shown.legend(), labels=shown.values)
    if raster is not None:
        raster.set_colours((shown.rgba() * 255).astype(np.uint8))
        layer.refresh()
        return
    # Features first and unheard: the colours that come next draw the layer once.
    with layer.events.blocker_all():
        features = layer.features
        features[COLUMN] = shown.values
        layer.features = features
    layer.face_color = shown.rgba()


def domain_at(
    viewer: ViewerModel, key: str, world: Any, viewbox: tuple[int, int] | None = None
) -> str:
    """Name of the domain of the spot at a place of the canvas; empty where there is none.

    Parameters
    ----------
    viewer, key
        Where, and the name of the domains.
    world
        Place (..., y, x) on the canvas.
    viewbox
        View of napari's grid in which it lies.
    """
    viewer = real_viewer(viewer)
    layers = parts(viewer, key, PART)
    grid = viewer.canvas.grid
    if grid.enabled and viewbox is not None:
        inside = {viewer.layers[i] for i in grid.contents_at(viewbox, viewer.layers)}
        layers = [layer for layer in layers if layer in inside]
    best, name = _REACH, ""
    for layer in layers:
        row, distance = _nearest(layer, world)
        if row >= 0 and distance <= best:
            best, name = distance, str(labels_of(layer)[row])
    return name


def _nearest(layer: Layer, world: Any) -> tuple[int, float]:
    """Row of the nearest spot of a layer, and its distance in spot radii."""
    raster = tag(layer).get("raster")
    place = np.asarray(layer.world_to_data(world), np.float64)[-2:]
    if raster is not None:
        points, radius = raster.coordinates, raster.radius
        place = ((place + 0.5) * raster.pixel_size)[::-1] + raster.origin
    else:
        points, radius = np.asarray(layer.data), float(np.max(tag(layer)["diameter"])) / 2
    if not len(points):
        return -1, np.inf
    apart = np.square(points - place).sum(axis=1)
    row = int(apart.argmin())
    return row, float(np.sqrt(apart[row])) / radius
