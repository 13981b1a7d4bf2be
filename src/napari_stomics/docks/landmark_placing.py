"""Placing landmarks by clicks: in one section, then in the other."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_stomics.docks.workbench import Workbench, told_to_user
from napari_stomics.methods.registration.landmarks import predict_partner

if TYPE_CHECKING:
    from napari_stomics.docks.landmark_view import LandmarkView
    from napari_stomics.session.landmarks import Position

GRAB_PX = 10
"""A press this near to a landmark takes hold of it."""
DRAG_PX = 5
"""A press that moves less than this is a click."""


class Placing:
    """Landmark mode: turns clicks and drags on the canvas into changes of the landmarks.

    Parameters
    ----------
    bench
        The viewer's workbench.
    view
        Which section lies where on the canvas.
    """

    changed = Signal()
    """The mode was switched, or another click is asked for."""

    def __init__(self, bench: Workbench, view: LandmarkView) -> None:
        self._bench = bench
        self._view = view
        self._model = bench.session.landmarks
        self._estimate = bench.session.estimate
        self._active = False
        self._half_placed = ""
        self._prediction: tuple[Any, tuple[str, Position] | None] = (None, None)
        self._showed = False
        self.target_first = False
        """Where the sections lie on each other: begin in the fixed one."""
        self.follow = True
        """Move the view to the predicted partner where it is out of sight."""

    def listeners(self) -> list[tuple[Any, Any]]:
        """Signals of the session, and what hears them."""
        return [
            (self._model.changed, self._after_change),
            (self._model.selection_changed, self._after_change),
            (self._estimate.changed, self._after_change),
        ]

    # -- state -------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """Whether clicks place landmarks."""
        return self._active

    @property
    def ready(self) -> bool:
        """Whether there are two sections to place landmarks in."""
        source, target = self._sections
        return bool(source and target and source != target)

    @property
    def pending(self) -> str:
        """Name of the landmark whose partner is asked for; empty for a new one.

        That is the one just begun, or the selected one if it lacks a partner.
        """
        for name in (self._half_placed, self._model.selected):
            if name in self._model.names and self._missing(name):
                return name
        return ""

    @property
    def asked_section(self) -> str:
        """The section in which the next click is expected."""
        source, target = self._sections
        pending = self.pending
        if pending:
            return self._missing(pending)
        return target if self.target_first else source

    @property
    def prompt(self) -> str:
        """What to do next, in words."""
        if not self.ready:
            return "Choose two different sections first."
        if not self._active:
            return "Press Space or “Place landmarks”, then click the same place in both sections."
        pending = self.pending
        if pending:
            hint = " The ring shows where it is expected." if self.predicted() else ""
            return f"Click {pending} in {self.asked_section}.{hint} Esc takes it back."
        if self._view.side_by_side:
            return "Click a place in either section to begin a new landmark."
        return f"Click a place in {self.asked_section} to begin a new landmark."

    def set_active(self, active: bool) -> None:
        """Switch landmark mode."""
        active = active and self.ready
        if active == self._active:
            return
        self._active = active
        callbacks = self._bench.viewer.mouse_drag_callbacks
        if active:
            self._bench.take_canvas(self._leave)
            self._view.quieten_layers()
            callbacks.append(self._on_mouse)
        elif self._on_mouse in callbacks:
            callbacks.remove(self._on_mouse)
        self._view.set_exact(active)
        self._after_change()

    def _leave(self) -> None:
        self.set_active(False)

    def toggle(self) -> None:
        """Switch landmark mode on or off."""
        self.set_active(not self._active)

    def cancel(self) -> None:
        """Take the half-placed landmark back; with none, leave landmark mode."""
        name = self._half_placed
        if not name or name not in self._model.names or not self._missing(name):
            self.set_active(False)
            return
        self._half_placed = ""
        if self._bench.session.undo.undo_text == f"Add {name}":
            self._bench.undo()
        else:
            self._model.remove([name])

    def predicted(self) -> tuple[str, Position] | None:
        """Section and position (x, y) um where the pending landmark's partner is expected."""
        name = self.pending
        if not name:
            return None
        # The prediction fits several maps: once per state of the landmarks is enough.
        key = (name, self._sections, self._model.landmarks)
        if self._prediction[0] != key:
            self._prediction = (key, self._predict(name))
        return self._prediction[1]

    def _predict(self, name: str) -> tuple[str, Position] | None:
        source, target = self._sections
        missing = self._missing(name)
        there = self._model.positions(source if missing == target else target)[name]
        point = np.array(there, dtype=float)
        found = predict_partner(self._estimate.pairs, point, backward=missing == source)
        return None if found is None else (missing, (float(found[0]), float(found[1])))

    # -- actions -----------------------------------------------------------------------------

    def click(self, section: str, position: Position) -> None:
        """Place what was asked for at (x, y) um; a new landmark where nothing was."""
        name = self.pending
        if name:
            # Another click in the section where it lies already moves it there.
            self._model.place(name, section, position)
        else:
            name = self._model.add(positions={section: position})
        self._half_placed = name if self._missing(name) else ""
        self._after_change()
        self._go_to_partner()

    def _go_to_partner(self) -> None:
        found = self.predicted()
        if found is not None and self.follow and not self._view.sees(*found):
            self._view.jump(*found)

    # -- the canvas --------------------------------------------------------------------------

    def _on_mouse(self, viewer: Any, event: Any) -> Iterator[None]:
        """A press that stays is a click; one that moves drags the landmark under it, if any."""
        if event.button != 1 or event.modifiers:
            return
        grabbed = self._view.landmark_at(event, GRAB_PX)
        section = self._view.section_at(event) or self.asked_section
        where = self._view.to_section(section, event.position)
        moved = False
        if grabbed is not None:
            moved = yield from self._drag(event, *grabbed)
        else:
            start = tuple(event.pos)
            yield
            while event.type == "mouse_move":
                moved = moved or math.dist(start, event.pos) > DRAG_PX
                yield
        if moved:
            return
        # In an overlay a partner often belongs right beside what is there already.
        if grabbed is not None and not self.pending:
            self._model.selected = grabbed[0]
            return
        with told_to_user("Place landmark"):
            self.click(section, where)

    def _drag(self, event: Any, name: str, section: str) -> Generator[None, None, bool]:
        """Move a landmark with the mouse as one action; say whether it moved."""
        start, moved = tuple(event.pos), False
        # The live estimate moves the section under the hand: the place is read in
        # the frame that the drag began in.
        to_section = self._view.frozen(section)
        with self._view.camera_held():
            yield
            while event.type == "mouse_move":
                if not moved and math.dist(start, event.pos) > DRAG_PX:
                    moved = True
                    self._model.selected = name
                    self._model.begin_drag()
                if moved:
                    self._model.place(name, section, to_section(event.position))
                yield
            if moved:
                self._model.end_drag()
        return moved

    # -- helpers -----------------------------------------------------------------------------

    @property
    def _sections(self) -> tuple[str, str]:
        return self._estimate.source, self._estimate.target

    def _missing(self, name: str) -> str:
        """The section in which a landmark still lacks a place; empty if in neither or both."""
        source, target = self._sections
        here = name in self._model.positions(source)
        there = name in self._model.positions(target)
        return "" if here == there else (target if here else source)

    def _after_change(self, *_: Any) -> None:
        if self._active and not self.ready:
            self.set_active(False)
            return
        found = self.predicted() if self._active else None
        if found is not None:
            self._view.show_rings({found[0]: found[1]}, self.pending)
        elif self._showed:
            self._view.show_rings({})
        self._showed = found is not None
        self.changed.emit()
