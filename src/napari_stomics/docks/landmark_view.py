"""What the canvas shows while sections are registered: placement, layout, rings, warp."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_stomics.core.transforms import Affine, Transform
from napari_stomics.docks.landmark_warp import WarpLayers
from napari_stomics.docks.workbench import Workbench
from napari_stomics.layers.landmarks import LandmarkLayers
from napari_stomics.layers.results import move_section
from napari_stomics.layers.tags import place_section, section_placement, tag

if TYPE_CHECKING:
    from napari_stomics.session.landmarks import Position

Layout = Literal["normal", "side by side", "overlay"]
Frame = Literal["target", "source"]
SLOW_S = 0.03
"""Carrying the layers through a map that takes longer waits until the hand is still."""


class LandmarkView:
    """Shows two sections, their landmarks and the map between them in a viewer.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    def __init__(self, bench: Workbench) -> None:
        self.viewer = bench.viewer
        self._bench = bench
        self._session = bench.session
        self._estimate = bench.session.estimate
        self.exact = False
        """Whether images follow only the linear part of a map, so that a click on one is exact."""
        self.warped = True
        """Whether the moving section lies where the map carries it (T)."""
        self.frame: Frame = "target"
        """The section that stays as it is; the other one follows it (Q, W)."""
        self._chosen: Transform | None = None
        self._marks: LandmarkLayers | None = None
        self._rings: dict[str, Position] = {}
        self._outliers: list[str] = []
        self.warp_layers = WarpLayers(self.viewer)
        self._pair = ("", "")
        self._cost = 0.0

    # -- sections ----------------------------------------------------------------------------

    def open(self, source: str, target: str) -> None:
        """Show the landmarks of two sections; whatever was shown before is put back."""
        if (source, target) == self._pair and self.marks_shown:
            return
        self.close()
        names = self._session.section_names
        if source == target or source not in names or target not in names:
            return
        self._pair = (source, target)
        self._marks = LandmarkLayers(self.viewer, self._session.landmarks, (target, source))
        self.place()

    def close(self) -> None:
        """Take everything of ours off the canvas; sections go to where they are registered."""
        if self.layout != "normal":
            self._bench.leave_comparison()
        if self._marks is not None:
            self._marks.close()
        self.warp_layers.close()
        if self._pair[0]:
            self._put_back(*self._pair)
        self._pair, self._chosen = ("", ""), None
        self._marks, self._rings, self._outliers = None, {}, []

    @property
    def pair(self) -> tuple[str, str]:
        """Names of the moving and the fixed section that are shown; empty without."""
        return self._pair

    @property
    def marks_shown(self) -> bool:
        """Whether the landmark layers are there and were not removed by the user."""
        return self._marks is not None and set(self._marks.layers) == set(self._pair)

    @property
    def landmark_layers(self) -> list[Any]:
        """The two layers that hold the landmarks."""
        return list(self._marks.layers.values()) if self._marks is not None else []

    def _put_back(self, source: str, target: str) -> None:
        names = self._session.section_names
        stored = None
        if source in names and target in names:
            stored = self._session.study.registration(source, target)
        place_section(self.viewer, target, Affine.identity())
        move_section(self.viewer, source, stored or Affine.identity(), target)

    # -- placement ---------------------------------------------------------------------------

    @property
    def transform(self) -> Transform | None:
        """The map that is shown: a pose being looked at, the live estimate, or a stored one."""
        if self._chosen is not None:
            return self._chosen
        if self._estimate.registration is not None:
            return self._estimate.registration.transform
        if not self._pair[0] or not set(self._pair) <= set(self._session.section_names):
            return None
        return self._session.study.registration(*self._pair)

    @property
    def shown_text(self) -> str:
        """What the placement of the moving section shows, in words."""
        if not self._pair[0]:
            return ""
        if self.transform is None:
            return "Sections as they were scanned: nothing registers them yet."
        if not self.warped:
            return "Sections as they were scanned (T shows them registered)."
        if self._chosen is not None:
            what = "an automatic registration"
        elif self._estimate.registration is not None:
            what = "the landmark fit"
        else:
            what = "the stored registration"
        follows, stays = self._pair if self.frame == "target" else self._pair[::-1]
        text = f"{follows} follows {stays} by {what}."
        if not isinstance(self.transform, Affine):
            bend = "Images are" if self.exact else "Landmarks are"
            text += f" {bend} drawn without the bend{', for exact clicks' if self.exact else ''}."
        return text

    def set_exact(self, exact: bool) -> None:
        """Draw images so that a click on them is exact, or as the map bends them."""
        if exact != self.exact:
            self.exact = exact
            self.place()

    def show_map(self, transform: Transform | None) -> None:
        """Show this map instead of the live estimate; None goes back to that."""
        self._chosen = transform
        if transform is not None:
            self.warped = True

    def place(self, settled: bool = True) -> None:
        """Put both sections where the map says.

        Parameters
        ----------
        settled
            False while a landmark is being dragged: where carrying every layer
            through a map that bends was slow, only its linear part is shown.
        """
        source, target = self._pair
        if not source:
            return
        if self._bench.live[0] in self._pair and self._bench.live[0]:
            self._show_outliers()
            return  # the running alignment says where the section lies
        transform = self.transform if self.warped else None
        if transform is not None and not settled and self._cost > SLOW_S:
            transform = transform.linear_part()
        started = time.perf_counter()
        # In the plane no slider depends on where layers lie, but each move of one
        # would make napari slice all of them again.
        with self.viewer.dims.events.blocker_all():
            self._place(source, target, transform or Affine.identity())
            if settled:
                self._cost = time.perf_counter() - started
            self._show_outliers()
            self.warp_layers.show(source, target, self.transform, settled)

    def _show_outliers(self) -> None:
        found = self._estimate.registration
        flagged = zip(found.names, found.outliers, strict=True) if found is not None else ()
        names = [name for name, bad in flagged if bad]
        if self._marks is not None and names != self._outliers:
            self._marks.set_outliers(names)
            self._outliers = names

    @property
    def waits(self) -> bool:
        """Whether something follows only once the hand is still."""
        return self._cost > SLOW_S or self.warp_layers.waits

    def _place(self, source: str, target: str, transform: Transform) -> None:
        if self.frame == "target" or not self.warped:
            self._rest(target)
            lies = section_placement(self.viewer, source).matrix
            if not isinstance(transform, Affine) or not np.array_equal(lies, transform.matrix):
                bends = not self.exact
                move_section(self.viewer, source, transform, target, bend_images=bends)
        else:
            # The other way round a map that bends is shown by its linear part.
            self._rest(source)
            move_section(self.viewer, target, transform.linear_part().inverse(), source)

    def _rest(self, section: str) -> None:
        """Put a section where it was scanned."""
        if not np.array_equal(section_placement(self.viewer, section).matrix, np.eye(3)):
            place_section(self.viewer, section, Affine.identity())

    # -- layout ------------------------------------------------------------------------------

    @property
    def layout(self) -> Layout:
        """How the two sections are laid out: one of ours, or ``normal``."""
        if not self._pair[0]:
            return "normal"
        mode = self._bench.comparison(*self._pair).mode
        return mode if mode in ("side by side", "overlay") else "normal"

    @property
    def side_by_side(self) -> bool:
        """Whether each section has its own view, whoever laid them out so."""
        return bool(self.viewer.canvas.grid.enabled)

    def set_layout(self, layout: Layout) -> None:
        """Lay the sections out; ``normal`` leaves every layer as it was before."""
        if self._pair[0]:
            before = self._view_area()
            self._bench.comparison(*self._pair).set(layout)
            # One side of a view changes; what was in sight stays so.
            self.viewer.scene.camera.zoom *= self._view_area() / before

    def cycle_warp(self) -> str:
        """Show the next of: no warp, its grid, its magnitude, both; return which."""
        self.warp_layers.cycle()
        self.warp_layers.show(*self._pair, self.transform)
        return self.warp_layers.shown

    def _view_area(self) -> float:
        return float(np.prod(self.viewer.canvas.viewbox_size(self.viewer.layers)))

    # -- from the canvas to the sections and back ----------------------------------------------

    def section_at(self, event: Any) -> str:
        """The section in whose view the mouse is; empty where both lie in one view."""
        grid = self.viewer.canvas.grid
        if not grid.enabled:
            return ""
        inside = grid.contents_at(event.viewbox, self.viewer.layers)
        found = {tag(self.viewer.layers[i]).get("section") for i in inside} & set(self._pair)
        return str(found.pop()) if len(found) == 1 else ""

    def to_section(self, section: str, world: Any) -> Position:
        """Position (x, y) um in a section of a place (..., y, x) of the canvas."""
        return self.frozen(section)(world)

    def frozen(self, section: str) -> Callable[[Any], Position]:
        """Return :meth:`to_section` for where the section lies now, wherever it goes then."""
        back = section_placement(self.viewer, section).inverse()

        def to_section(world: Any) -> Position:
            x, y = back.apply(np.array([[world[-1], world[-2]]], dtype=float))[0]
            return float(x), float(y)

        return to_section

    def to_world(self, section: str, position: Position) -> tuple[float, float]:
        """Place (y, x) on the canvas of (x, y) um in a section."""
        placed = section_placement(self.viewer, section)
        x, y = placed.apply(np.array([position], dtype=float))[0]
        return float(y), float(x)

    def landmark_at(self, event: Any, reach_px: float) -> tuple[str, str] | None:
        """Name and section of the landmark under the mouse, or None."""
        here = self.section_at(event)
        best: tuple[float, str, str] | None = None
        for section in (here,) if here else self._pair:
            placed = section_placement(self.viewer, section)
            for name, position in self._session.landmarks.positions(section).items():
                x, y = placed.apply(np.array([position], dtype=float))[0]
                apart = float(np.hypot(x - event.position[-1], y - event.position[-2]))
                if best is None or apart < best[0]:
                    best = (apart, name, section)
        reach = reach_px / self.viewer.scene.camera.zoom
        return (best[1], best[2]) if best is not None and best[0] <= reach else None

    def cursor_place(self) -> tuple[str, Position]:
        """Section under the mouse (the fixed one where they share a view), and (x, y) um in it."""
        cursor = self.viewer.cursor
        section = self.section_at(cursor) if cursor.viewbox is not None else ""
        section = section or self._pair[1]
        return section, self.to_section(section, cursor.position)

    # -- the camera --------------------------------------------------------------------------

    def jump(self, section: str, position: Position) -> None:
        """Centre every view on (x, y) um in a section; the views share one camera."""
        self.viewer.scene.camera.center = (0.0, *self.to_world(section, position))

    def sees(self, section: str, position: Position) -> bool:
        """Whether a position lies well within the view."""
        camera = self.viewer.scene.camera
        height, width = self.viewer.canvas.viewbox_size(self.viewer.layers)
        y, x = self.to_world(section, position)
        apart = abs(y - camera.center[-2]), abs(x - camera.center[-1])
        room = 0.45 * height / camera.zoom, 0.45 * width / camera.zoom
        return bool(apart[0] <= room[0] and apart[1] <= room[1])

    @contextmanager
    def camera_held(self) -> Iterator[None]:
        """Keep the view still while the mouse drags a landmark."""
        camera = self.viewer.scene.camera
        before = camera.mouse_pan
        camera.mouse_pan = False
        try:
            yield
        finally:
            camera.mouse_pan = before

    # -- rings -------------------------------------------------------------------------------

    @property
    def rings(self) -> dict[str, Position]:
        """Where rings are shown: (x, y) um by section."""
        return dict(self._rings)

    def show_rings(self, places: Mapping[str, Position], name: str = "?") -> None:
        """Show a hollow ring at (x, y) um in each of these sections and none elsewhere."""
        if self._marks is None or dict(places) == self._rings:
            return
        self._rings = dict(places)
        for section in self._pair:
            here = {name: places[section]} if section in places else {}
            self._marks.show_predictions(section, here)

    def quieten_layers(self) -> None:
        """Take every layer out of its editing mode: the clicks are ours now."""
        if self._marks is not None:
            # The user may have deleted one of them.
            self._marks.set_sections(self._pair[::-1])
        for layer in self.viewer.layers:
            if getattr(layer, "mode", "pan_zoom") != "pan_zoom":
                layer.mode = "pan_zoom"
