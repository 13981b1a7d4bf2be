"""Painting a constraint with the mouse: a region in one section, then in the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_stomics.core.errors import UserError
from napari_stomics.data.spot_pairs import within
from napari_stomics.docks.landmark_keys import KeyAction, KeyMap
from napari_stomics.layers.regions import RegionLayers, round_spot, section_under, to_section

if TYPE_CHECKING:
    from napari_stomics.docks.workbench import Workbench
    from napari_stomics.session.constraints import Kind, Polygon

STEP_PX = 4
"""An outline gains a corner each time the mouse has moved this far on screen."""


class RegionPainting:
    """A tool of the canvas: a drag draws a region, a click takes the spot under the mouse.

    Parameters
    ----------
    bench
        The viewer's workbench.
    layers
        Shows what is drawn.
    """

    changed = Signal()
    """It was switched, another section is asked for, or something was refused."""

    def __init__(self, bench: Workbench, layers: RegionLayers) -> None:
        self._bench = bench
        self._layers = layers
        self._kind: Kind | None = None
        self._pair = ("", "")
        self._regions: dict[str, Polygon] = {}
        self._outlines: list[Any] = []
        self._keys: KeyMap | None = None
        self.problem = ""
        """Why the last outline was refused; empty otherwise."""

    # -- state -------------------------------------------------------------------------------

    @property
    def kind(self) -> Kind | None:
        """What is being painted; None while the mouse is not ours."""
        return self._kind

    @property
    def asked(self) -> str:
        """The section in which a region is asked for next; empty while not painting."""
        if self._kind is None:
            return ""
        return next((name for name in self._pair if name not in self._regions), "")

    @property
    def prompt(self) -> str:
        """What to do next, in words."""
        if self._kind is None:
            return ""
        where = f"Draw round the region in {self.asked}, or click on one spot."
        first = "" if not self._regions else "Now the other half. "
        return f"{first}{where} Esc takes it back."

    def begin(self, kind: Kind, source: str, target: str) -> None:
        """Ask for a region in the moving and in the fixed section."""
        self.cancel_all()
        names = set(self._bench.session.section_names)
        if source == target or not {source, target} <= names:
            raise UserError("Two different sections are needed.", "Choose them above.")
        self._bench.take_canvas(self.cancel_all)
        self._kind, self._pair = kind, (source, target)
        viewer = self._bench.viewer
        for layer in viewer.layers:
            if getattr(layer, "mode", "pan_zoom") != "pan_zoom":
                layer.mode = "pan_zoom"
        viewer.mouse_drag_callbacks.append(self._on_mouse)
        escape = KeyAction("Escape", "Take the region back", self.cancel, lent=True)
        self._keys = KeyMap(viewer, [escape])
        self._keys.borrow(viewer.layers.selection.active)
        self.changed.emit()

    def cancel(self) -> None:
        """Take the half that is painted back; without one give the mouse back."""
        if self._regions:
            self._clear()
            self.changed.emit()
        else:
            self.cancel_all()

    def cancel_all(self) -> None:
        """Give the mouse back; what is half painted is gone."""
        if self._kind is None:
            return
        self._kind = None
        callbacks = self._bench.viewer.mouse_drag_callbacks
        if self._on_mouse in callbacks:
            callbacks.remove(self._on_mouse)
        keys, self._keys = self._keys, None
        if keys is not None:
            keys.unbind()
        self._clear()
        self.changed.emit()

    def _clear(self) -> None:
        self._regions.clear()
        self._outlines.clear()
        self.problem = ""
        self._layers.draw([])

    # -- the canvas --------------------------------------------------------------------------

    def _on_mouse(self, viewer: Any, event: Any) -> Iterator[None]:
        if event.button != 1 or event.modifiers:
            return
        section = section_under(viewer, event, self._pair) or self.asked
        places = [tuple(event.position[-2:])]
        last = tuple(event.pos)
        camera = viewer.scene.camera
        pan, camera.mouse_pan = camera.mouse_pan, False
        try:
            yield
            while event.type == "mouse_move":
                if math.dist(last, event.pos) >= STEP_PX:
                    last = tuple(event.pos)
                    places.append(tuple(event.position[-2:]))
                    self._layers.draw([*self._outlines, np.array(places)], section)
                yield
        finally:
            camera.mouse_pan = pan
        if self._kind is not None:  # Esc may have come meanwhile
            self.take(section, np.array(places, float))

    def take(self, section: str, places: Any) -> None:
        """Take a region: (n, 2) places (y, x) on the canvas, or one place for the spot there."""
        if section in self._regions:
            self._refuse(f"{section} has its region already: draw in {self.asked}.")
            return
        try:
            self._regions[section] = self._region(section, places)
        except UserError as error:
            self._refuse(str(error))
            return
        self.problem = ""
        if self.asked:
            self._outlines.append(np.vstack([places, places[:1]]))
            self._layers.draw(self._outlines, section)
            self.changed.emit()
            return
        kind, regions = self._kind, {name: [p] for name, p in self._regions.items()}
        self.cancel_all()
        assert kind is not None
        self._bench.session.constraints.add(kind, regions)

    def _region(self, name: str, places: Any) -> Polygon:
        from napari_stomics.session.constraints import checked_polygon

        section = self._bench.session.study.section(name)
        own = to_section(self._bench.viewer, section, places[:, ::-1])
        if len(own) < 3:
            return round_spot(section, own[0])
        polygon = checked_polygon([(x, y) for x, y in own])
        if not within(section.coordinates, [list(polygon)]).any():
            raise UserError(f"There is no spot of {name} in it.", "Draw it over spots.")
        return polygon

    def _refuse(self, text: str) -> None:
        self.problem = text
        self._layers.draw(self._outlines)
        self.changed.emit()
