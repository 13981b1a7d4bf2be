"""Where the spots of a section are on the canvas now, and which of them is under the mouse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.transforms import Affine
from napari_stomics.layers.tags import own, section_placement, swap_axes, tag, tagged

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_stomics.data.study import Study

Floats = NDArray[np.floating[Any]]
_MARKS = ("landmarks", "ghost", "glow", "outline", "gap", "spacer")
"""Roles of layers that do not show the section itself."""


class DisplayedSpots:
    """The spots of a section as the viewer shows them: registered, warped or as scanned.

    A k-d tree is made once for each place that the section is put to.

    Parameters
    ----------
    viewer, study
        The viewer, and the study that it shows.
    section
        Name of the section.
    ids
        (n,) the spots, in the order in which they are counted here.
    """

    def __init__(self, viewer: ViewerModel, study: Study, section: str, ids: NDArray[Any]) -> None:
        self._viewer = viewer
        self._part = study.section(section)
        self.section = section
        self.diameter = self._part.diameter
        there = self._part.ids
        same = len(there) == len(ids) and bool((there == ids).all())
        row = {} if same else {name: i for i, name in enumerate(there)}
        self._rows = None if same else np.array([row[name] for name in ids], np.intp)
        self._size = len(there)
        self._data: Any = None
        self._matrix = b""
        self._points: Floats = np.zeros((0, 2))
        self._frame = Affine.identity()
        self._warped = False
        self._tree: Any = None

    @property
    def points(self) -> Floats:
        """(n, 2) positions (x, y) um in the frame that :attr:`frame` places."""
        self._renew()
        return self._points

    @property
    def frame(self) -> Affine:
        """Map from the frame of :attr:`points` to the canvas, (x, y).

        That of the section's own layers while its map is linear; where a map
        bends them, of the target's layers.
        """
        self._renew()
        return self._frame

    @property
    def warped(self) -> bool:
        """Whether a map that bends has carried the spots to where they are shown."""
        self._renew()
        return self._warped

    @property
    def straight(self) -> Floats:
        """(n, 2) positions (x, y) um in the section's own frame."""
        own_points = self._part.coordinates
        return own_points if self._rows is None else own_points[self._rows]

    @property
    def linear(self) -> Affine:
        """Map from the section's own frame to the canvas; the linear part of one that bends."""
        return section_placement(self._viewer, self.section)

    @property
    def world(self) -> Floats:
        """(n, 2) positions (x, y) on the canvas."""
        return self.frame.apply(self.points)

    @property
    def scale(self) -> float:
        """Length on the canvas of one um of the section."""
        return float(np.sqrt(abs(np.linalg.det(self.frame.matrix[:2, :2]))))

    @property
    def visible(self) -> bool:
        """Whether anything of the section is to be seen."""
        return any(
            layer.visible and tag(layer)["role"] not in _MARKS
            for layer in tagged(self._viewer, section=self.section)
        )

    def nearest(self, world: Any, reach: float) -> tuple[int, float]:
        """Return the spot nearest to (x, y) on the canvas, and how far it is; -1 beyond reach."""
        self._renew()
        if self._tree is None:
            from scipy.spatial import cKDTree

            # Built in one go without looking for medians: much quicker, hardly slower to ask.
            self._tree = cKDTree(self.world, balanced_tree=False, compact_nodes=False)
        distance, index = self._tree.query(world, distance_upper_bound=reach)
        return (int(index), float(distance)) if np.isfinite(distance) else (-1, float("inf"))

    def _renew(self) -> None:
        """Read the places anew if the section's spots have been put elsewhere."""
        layer: Any = next(
            (q for q in tagged(self._viewer, section=self.section, role="spots")), None
        )
        if layer is None or len(layer.data) != self._size:
            placed = section_placement(self._viewer, self.section)
            self._warped = False
            if self._is_new(self._part, placed.matrix):
                self._take(self._part.coordinates, placed)
            return
        affine = layer.affine.affine_matrix[-3:, -3:]
        # A warp replaces the data, so that their identity tells of it.
        if not self._is_new(layer.data, affine):
            return
        shown = np.asarray(layer.data)[:, -2:][:, ::-1]
        self._warped = tag(layer).get("unwarped") is not None
        if self._warped:
            self._take(shown, Affine(swap_axes(affine)))
        else:
            base = own(layer)
            lies = base.inverse().then(Affine(swap_axes(affine)))
            self._take(base.apply(shown), lies)

    def _is_new(self, data: Any, matrix: Floats) -> bool:
        """Whether these are not the data and the place that were read last; note them."""
        known = data is self._data and matrix.tobytes() == self._matrix
        self._data, self._matrix = data, matrix.tobytes()
        return not known

    def _take(self, points: Floats, frame: Affine) -> None:
        self._points = points if self._rows is None else points[self._rows]
        self._frame, self._tree = frame, None


def section_at(viewer: ViewerModel, viewbox: Any, sections: tuple[str, ...]) -> str:
    """The one of these sections in whose view the mouse is; empty where they share a view."""
    grid = viewer.canvas.grid
    if not grid.enabled or viewbox is None:
        return ""
    inside = grid.contents_at(viewbox, viewer.layers)
    found = {tag(viewer.layers[i]).get("section") for i in inside} & set(sections)
    return str(found.pop()) if len(found) == 1 else ""


def look_at_points(viewer: ViewerModel, world: Floats, margin: float = 0.2) -> None:
    """Point the camera at the box round some points (x, y) of the canvas.

    Parameters
    ----------
    viewer
        The viewer; where it shows a grid, its views share one camera.
    world
        (n, 2) points; nothing happens without any.
    margin
        Share of each view left free on each side.
    """
    if not len(world):
        return
    low, high = world.min(axis=0), world.max(axis=0)
    size = np.maximum(high - low, 1e-6)
    x, y = (low + high) / 2
    camera = viewer.scene.camera
    camera.center = (0.0, float(y), float(x))
    room = np.asarray(viewer.canvas.viewbox_size(viewer.layers))[::-1] * (1 - 2 * margin)
    camera.zoom = float(np.min(room / size))


def in_sight(viewer: ViewerModel, world: Any, margin: float = 0.05) -> bool:
    """Whether a place (x, y) of the canvas lies well within every view."""
    camera = viewer.scene.camera
    height, width = viewer.canvas.viewbox_size(viewer.layers)
    apart = abs(world[0] - camera.center[-1]), abs(world[1] - camera.center[-2])
    share = 0.5 - margin
    return bool(
        apart[0] <= share * width / camera.zoom and apart[1] <= share * height / camera.zoom
    )
