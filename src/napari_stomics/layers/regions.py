"""Painted constraints on the canvas: one layer of outlines per section, and the one being drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.transforms import Affine
from napari_stomics.layers.live_alignment import fitted
from napari_stomics.layers.palette import PALETTE
from napari_stomics.layers.section import find_section
from napari_stomics.layers.tags import (
    TAG,
    UNITS,
    layer_affine,
    new_tag,
    place,
    real_viewer,
    remove_layers,
    section_placement,
    tag,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Shapes

    from napari_stomics.data.study import Section
    from napari_stomics.session.constraints import ConstraintModel, Polygon

ROLE = "regions"
"""Role of a section's layer of painted regions."""

_FORBIDDEN = "#ff1744"
_NEAR = 12
"""Spots round a place that tell how a map that bends carries it."""
_CORNERS = 12

Floats = NDArray[np.floating[Any]]


class RegionLayers:
    """Shows the constraints between two sections; what is drawn never changes them by itself.

    Regions that match have one colour in both sections; forbidden ones have a
    red outline. A section has a layer while it has a region.

    Parameters
    ----------
    viewer
        A viewer or napari's viewer model.
    model
        The session's constraints.
    """

    def __init__(self, viewer: ViewerModel, model: ConstraintModel) -> None:
        self.viewer = real_viewer(viewer)
        self.model = model
        self.layers: dict[str, Shapes] = {}
        self._pair: tuple[str, ...] = ()
        self._drawing: Shapes | None = None

    def show(self, source: str, target: str) -> None:
        """Show the constraints between two sections as they are now."""
        pair = tuple(name for name in (target, source) if name)
        gone = [layer for name, layer in self.layers.items() if name not in pair]
        self.layers = {name: layer for name, layer in self.layers.items() if name in pair}
        remove_layers(self.viewer, gone)
        self._pair = pair
        rules = self.model.between(source, target)
        for section in pair:
            outlines = [(i, rule, p) for i, rule in enumerate(rules) for p in rule.regions[section]]
            self._show(section, outlines)

    def close(self) -> None:
        """Take every outline off the canvas."""
        self.draw([])
        remove_layers(self.viewer, self.layers.values())
        self.layers.clear()

    def _show(self, section: str, outlines: list[tuple[int, Any, Polygon]]) -> None:
        layer = self.layers.get(section)
        if layer is not None and layer not in self.viewer.layers:  # the user has removed it
            layer = None
        if not outlines:
            if layer is not None:
                del self.layers[section]
                remove_layers(self.viewer, [layer])
            return
        if layer is None:
            layer = self.layers[section] = self._new_layer(section)
        place(layer, section_placement(self.viewer, section))
        layer.data = [(_to_yx(polygon), "polygon") for _, _, polygon in outlines]
        colours = [PALETTE[i % len(PALETTE)] for i, _, _ in outlines]
        forbid = [rule.kind == "forbid" for _, rule, _ in outlines]
        layer.edge_color = [
            _FORBIDDEN if bad else c for c, bad in zip(colours, forbid, strict=True)
        ]
        layer.face_color = [f"{c}40" for c in colours]
        layer.features = {"name": [rule.name for _, rule, _ in outlines]}

    def _new_layer(self, section: str) -> Shapes:
        from napari.layers import Shapes

        placed = section_placement(self.viewer, section)
        layer = Shapes(
            ndim=2,
            name=f"Regions · {section}",
            edge_width=self._width(section),
            opacity=0.9,
            features={"name": np.zeros(0, dtype=object)},
            text={"string": "{name}", "size": 10, "color": "white", "anchor": "center"},
            units=UNITS,
            affine=layer_affine(Affine.identity(), placed),
            metadata={TAG: new_tag(section, ROLE, None, placed)},
        )
        self._add(layer)
        return layer

    def _width(self, section: str) -> float:
        """Outlines are a fifth of a spot wide."""
        found = find_section(self.viewer, section)
        diameter = tag(found.spots).get("diameter") if found and found.spots is not None else None
        return float(np.median(diameter)) / 5 if diameter is not None else 5.0

    def _add(self, layer: Shapes) -> None:
        selection = set(self.viewer.layers.selection)
        self.viewer.add_layer(layer)
        if selection:
            self.viewer.layers.selection = selection

    # -- the outline under the hand ----------------------------------------------------------

    def draw(self, outlines: Sequence[Floats], section: str = "") -> None:
        """Show what is being drawn: lines of (n, 2) places (y, x) on the canvas; none to clear."""
        from napari.layers import Shapes

        shown = [line for line in outlines if len(line) >= 2]
        if not shown:
            layer, self._drawing = self._drawing, None
            if layer is not None:
                remove_layers(self.viewer, [layer])
            return
        if self._drawing is None or self._drawing not in self.viewer.layers:
            self._drawing = Shapes(
                ndim=2,
                name="Drawing",
                units=UNITS,
                metadata={TAG: new_tag(section, "drawing")},
            )
            self._add(self._drawing)
        self._drawing.data = [(line, "path") for line in shown]
        self._drawing.edge_color = "#ffeb3b"
        self._drawing.edge_width = self._width(section)

    @property
    def is_drawing(self) -> bool:
        """Whether an outline is being drawn."""
        return self._drawing is not None


def to_section(viewer: ViewerModel, section: Section, places: Floats) -> Floats:
    """(x, y) um in a section of (n, 2) places (x, y) on the canvas.

    Where a map that bends, or a running alignment, carries the spots one by one,
    a place is read by the spots that are shown around it.
    """
    viewer = real_viewer(viewer)
    places = np.asarray(places, np.float64).reshape(-1, 2)
    found = find_section(viewer, section.name)
    spots = None if found is None else found.spots
    if spots is None or tag(spots).get("unwarped") is None or len(spots.data) < 3:
        return section_placement(viewer, section.name).inverse().apply(places)
    from scipy.spatial import cKDTree

    shown, own = world_of(spots), np.asarray(section.coordinates, np.float64)
    tree: Any = cKDTree(shown)
    gaps, near = tree.query(places, k=min(_NEAR, len(shown)))
    # The nearest spots count most; one that is hit exactly must not count for ever.
    weights = 1 / (gaps**2 + (0.1 * float(section.diameter)) ** 2)
    whole = fitted(shown, own)
    out = np.empty_like(places)
    for i, rows in enumerate(near):
        local = fitted(shown[rows], own[rows], weights[i])
        stretch = abs(np.linalg.det(local.matrix[:2, :2] @ np.linalg.inv(whole.matrix[:2, :2])))
        # Neighbours that lie nearly on a line say nothing about the direction across it.
        out[i] = (local if 0.3 < stretch < 3 else whole).apply(places[i : i + 1])[0]
    return out


def world_of(points: Any) -> Floats:
    """(n, 2) places (x, y) on the canvas of the points of a layer."""
    data = np.column_stack([points.data, np.ones(len(points.data))])
    return np.asarray((data @ points.affine.affine_matrix.T)[:, 1::-1])


def round_spot(section: Section, place: Floats) -> Polygon:
    """Outline round the spot nearest to (x, y) um in a section, with no other spot in it."""
    from scipy.spatial import cKDTree

    own = np.asarray(section.coordinates, np.float64)
    tree: Any = cKDTree(own)
    row = int(tree.query(place, k=1)[1])
    centre = own[row]
    apart = tree.query(centre, k=2)[0][1] if len(own) > 1 else section.diameter
    radius = min(section.diameter / 2, 0.4 * float(apart)) or section.diameter / 2
    angle = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    ring = centre + radius * np.column_stack([np.cos(angle), np.sin(angle)])
    return tuple((float(x), float(y)) for x, y in ring)


def section_under(viewer: ViewerModel, event: Any, pair: Sequence[str]) -> str:
    """The section in whose view the mouse is; empty where both lie in one view."""
    grid = viewer.canvas.grid
    if not grid.enabled or getattr(event, "viewbox", None) is None:
        return ""
    inside = grid.contents_at(event.viewbox, viewer.layers)
    found = {tag(viewer.layers[i]).get("section") for i in inside} & set(pair)
    return str(found.pop()) if len(found) == 1 else ""


def _to_yx(polygon: Polygon) -> Floats:
    return np.array(polygon, np.float64)[:, ::-1]
