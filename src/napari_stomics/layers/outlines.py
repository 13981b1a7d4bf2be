"""Outlines of regions in one section, drawn round their spots where these are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.transforms import Affine
from napari_stomics.layers.displayed import DisplayedSpots, Floats
from napari_stomics.layers.tags import (
    TAG,
    UNITS,
    layer_affine,
    new_tag,
    remove_layers,
    set_tag,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel

ROLE = "outline"
Rings = list[NDArray[np.float64]]


class OutlineLayer:
    """A layer of closed lines over one section.

    Parameters
    ----------
    viewer
        The viewer.
    spots
        The section's spots where they are shown.
    title
        Name of the layer.
    colour
        Of the lines.
    """

    def __init__(self, viewer: ViewerModel, spots: DisplayedSpots, title: str, colour: str) -> None:
        self._viewer = viewer
        self._spots = spots
        self._title = title
        self._colour = colour
        self._layer: Any = None

    @property
    def layer(self) -> Any:
        """The layer; None while nothing is outlined, or after the user removed it."""
        there = self._layer is not None and self._layer in self._viewer.layers
        return self._layer if there else None

    def close(self) -> None:
        """Take the layer away."""
        if self.layer is not None:
            remove_layers(self._viewer, [self._layer])
        self._layer = None

    def round_spots(self, indices: NDArray[np.intp], radius: float) -> Floats:
        """Outline some spots; return the corners of the outline, (x, y) on the canvas.

        Parameters
        ----------
        indices
            Which spots.
        radius
            How far the line keeps from them, in um of the section.
        """
        rings = rings_round(self._spots.points[indices], radius)
        straight = None
        if self._spots.warped:
            straight = rings_round(self._spots.straight[indices], radius)
        self._draw(rings, self._spots.frame, straight)
        return self._world(rings, self._spots.frame)

    def ring(self, corners: Floats) -> Floats:
        """Draw one closed line through (x, y) um of the section, as its linear map places it."""
        rings = [np.asarray(corners, np.float64)]
        placed = self._spots.linear
        self._draw(rings, placed, None)
        return self._world(rings, placed)

    def _world(self, rings: Rings, frame: Affine) -> Floats:
        return frame.apply(np.vstack(rings)) if rings else np.zeros((0, 2))

    def _draw(self, rings: Rings, frame: Affine, straight: Rings | None) -> None:
        layer = self.layer
        if layer is None:
            if not rings:
                return
            layer = self._add(frame)
        swapped = [ring[:, ::-1] for ring in rings]
        with self._viewer.dims.events.blocker_all():
            layer.selected_data = set()
            layer.data = []
            set_tag(layer, unwarped=None, placement=frame.matrix.tolist())
            layer.affine = layer_affine(Affine.identity(), frame)
            if swapped:
                layer.add_polygons(
                    swapped,
                    edge_color=self._colour,
                    face_color="transparent",
                    edge_width=self._spots.diameter / 6,
                )
        if straight is not None:
            # As for every layer that a bend carries: what it is without.
            set_tag(layer, unwarped=[ring[:, ::-1] for ring in straight])
        layer.visible = True

    def _add(self, frame: Affine) -> Any:
        from napari.layers import Shapes

        self._layer = Shapes(
            ndim=2,
            name=f"{self._title} · {self._spots.section}",
            opacity=1.0,
            units=UNITS,
            affine=layer_affine(Affine.identity(), frame),
            metadata={TAG: new_tag(self._spots.section, ROLE, None, frame)},
        )
        selection = set(self._viewer.layers.selection)
        self._viewer.add_layer(self._layer)
        self._layer.mode = "pan_zoom"
        if selection:
            self._viewer.layers.selection = selection
        return self._layer


def rings_round(points: Floats, radius: float) -> Rings:
    """Outer outlines (x, y) of the union of discs round some points."""
    import shapely

    if not len(points):
        return []
    # Grown beyond the radius and shrunk back, the discs flow together into one smooth line.
    grown = shapely.buffer(shapely.points(points), 1.6 * radius, quad_segs=8)
    area = shapely.buffer(shapely.union_all(grown), -0.6 * radius, quad_segs=8)
    parts = shapely.get_parts(area)
    return [np.asarray(part.exterior.coords)[:-1] for part in parts]
