"""A region drawn on a section by hand: a layer of shapes, and its polygons in micrometres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.layers.regions import to_section
from napari_stomics.layers.tags import TAG, UNITS, new_tag, real_viewer, tagged

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Shapes

    from napari_stomics.data.study import Section

ROLE = "drawn region"

Polygons = list[list[tuple[float, float]]]


def region_layer(viewer: ViewerModel, section: Section) -> Shapes:
    """Return the layer that a region of a section is drawn in, made when it is first asked for.

    It lies in the frame of the canvas, as the mouse does.
    """
    from napari.layers import Shapes

    viewer = real_viewer(viewer)
    found = tagged(viewer, section=section.name, role=ROLE)
    if found:
        layer: Any = found[0]
    else:
        layer = Shapes(
            ndim=2,
            name=f"Region · {section.name}",
            edge_color="#ffeb3b",
            face_color="#ffeb3b30",
            edge_width=max(section.diameter / 5, 1e-3),
            units=UNITS,
            metadata={TAG: new_tag(section.name, ROLE)},
        )
        viewer.add_layer(layer)
    viewer.layers.selection = {layer}
    layer.mode = "add_polygon_lasso"
    return layer


def region_polygons(viewer: ViewerModel, section: Section) -> Polygons:
    """Polygons (x, y) um in the section's own frame of what is drawn; empty without anything."""
    viewer = real_viewer(viewer)
    out: Polygons = []
    for layer in tagged(viewer, section=section.name, role=ROLE):
        for outline in layer.data:
            world = np.array([layer.data_to_world(corner)[-2:] for corner in outline])
            own = to_section(viewer, section, world[:, ::-1])
            if len(own) > 2:
                out.append([(float(x), float(y)) for x, y in own])
    return out
