"""Landmarks: named points that mark the same place in two or more sections."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from psygnal import Signal

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import LandmarkPairs
from napari_stomics.session.undo import Action, UndoStack

Position = tuple[float, float]


@dataclass(frozen=True)
class Landmark:
    """A named place and its position (x, y) in micrometres in each section."""

    name: str
    positions: Mapping[str, Position] = field(default_factory=dict)


State = tuple[Landmark, ...]


class LandmarkModel:
    """The landmarks of a session; every change is one undoable action.

    Parameters
    ----------
    undo
        The session's stack.
    """

    changed = Signal()
    """Emitted after any change, by the user, by undo or by loading."""
    selection_changed = Signal(str)
    """Name of the selected landmark, empty for none."""

    def __init__(self, undo: UndoStack | None = None) -> None:
        self.undo_stack = undo or UndoStack()
        self._state: State = ()
        self._selected = ""
        self._drag_start: State | None = None

    @property
    def landmarks(self) -> State:
        """All landmarks, in the order they were added."""
        return self._state

    @property
    def names(self) -> list[str]:
        """Names in order."""
        return [mark.name for mark in self._state]

    @property
    def selected(self) -> str:
        """Name of the selected landmark, empty for none."""
        return self._selected

    @selected.setter
    def selected(self, name: str) -> None:
        if name != self._selected and (not name or name in self.names):
            self._selected = name
            self.selection_changed.emit(name)

    def positions(self, section: str) -> dict[str, Position]:
        """Position of every landmark that is placed in ``section``, by name."""
        return {m.name: m.positions[section] for m in self._state if section in m.positions}

    def incomplete(self, source: str, target: str) -> str:
        """Name of the first landmark placed in just one of the two sections, or empty."""
        for mark in self._state:
            if (source in mark.positions) != (target in mark.positions):
                return mark.name
        return ""

    def pairs(
        self,
        source: str,
        target: str,
        source_pixel_size: float | None = None,
        target_pixel_size: float | None = None,
    ) -> LandmarkPairs:
        """Return the landmarks placed in both sections."""
        both = [m for m in self._state if source in m.positions and target in m.positions]
        return LandmarkPairs(
            source=source,
            target=target,
            names=tuple(m.name for m in both),
            source_points=np.array([m.positions[source] for m in both], float).reshape(-1, 2),
            target_points=np.array([m.positions[target] for m in both], float).reshape(-1, 2),
            source_pixel_size=source_pixel_size,
            target_pixel_size=target_pixel_size,
        )

    def add(self, name: str | None = None, positions: Mapping[str, Position] | None = None) -> str:
        """Add a landmark and select it; return its name."""
        name = self._checked_name(name) if name else self._free_name()
        placed = {section: _checked(xy) for section, xy in (positions or {}).items()}
        self._set((*self._state, Landmark(name, placed)), f"Add {name}")
        self.selected = name
        return name

    def place(self, name: str, section: str, position: Position) -> None:
        """Put a landmark at (x, y) um in a section, moving it if it is there already."""
        mark = self._get(name)
        if section in mark.positions and mark.positions[section] == tuple(position):
            return
        text = f"{'Move' if section in mark.positions else 'Place'} {name} in {section}"
        positions = {**mark.positions, section: _checked(position)}
        self._replace(replace(mark, positions=positions), text)

    def begin_drag(self) -> None:
        """Let the moves up to :meth:`end_drag` be one action."""
        if self._drag_start is None:
            self._drag_start = self._state

    def end_drag(self) -> None:
        """End a gesture; what moved since :meth:`begin_drag` is undone in one step."""
        start, self._drag_start = self._drag_start, None
        if start is not None and start != self._state:
            self._record(start, self._state, "Move landmarks")

    def unplace(self, name: str, section: str) -> None:
        """Take a landmark out of one section; remove it when it is then nowhere."""
        mark = self._get(name)
        positions = {s: xy for s, xy in mark.positions.items() if s != section}
        if positions:
            self._replace(replace(mark, positions=positions), f"Remove {name} from {section}")
        else:
            self.remove([name])

    def rename(self, old: str, new: str) -> None:
        """Rename a landmark; a name that is taken or empty is refused."""
        if old == new:
            return
        mark = self._get(old)
        new = self._checked_name(new)
        was_selected = self._selected == old
        self._replace(replace(mark, name=new), f"Rename {old} to {new}", old)
        if was_selected:
            self.selected = new

    def remove(self, names: Iterable[str]) -> None:
        """Remove landmarks as one action."""
        gone = set(names)
        left = tuple(m for m in self._state if m.name not in gone)
        if left != self._state:
            self._set(left, f"Delete {', '.join(sorted(gone))}")

    def extend(self, landmarks: Iterable[Landmark], text: str = "Load landmarks") -> None:
        """Add landmarks from a file as one action.

        A landmark whose name is known gains the positions that it lacks; where
        both have a position in one section, the new one wins.
        """
        state = {m.name: m for m in self._state}
        for mark in landmarks:
            known = state.get(mark.name)
            positions = {s: _checked(xy) for s, xy in mark.positions.items()}
            old = dict(known.positions) if known else {}
            state[mark.name] = Landmark(mark.name, {**old, **positions})
        self._set(tuple(state.values()), text)

    def replace_all(self, landmarks: Iterable[Landmark], text: str) -> None:
        """Replace all landmarks as one action that can be undone."""
        checked = (
            Landmark(m.name, {s: _checked(xy) for s, xy in m.positions.items()}) for m in landmarks
        )
        self._set(tuple(checked), text)

    def reset(self, landmarks: Iterable[Landmark]) -> None:
        """Replace everything without an undoable action: a study was opened."""
        self._state = tuple(landmarks)
        self._drag_start = None
        self.selected = ""
        self.changed.emit()

    def neighbour(self, step: int) -> str:
        """Name of the landmark ``step`` places after the selected one, going round."""
        names = self.names
        if not names:
            return ""
        at = names.index(self._selected) + step if self._selected in names else 0
        return names[at % len(names)]

    def nearest(self, section: str, position: Position) -> str:
        """Name of the landmark nearest to (x, y) um in a section, or empty."""
        placed = self.positions(section)
        if not placed:
            return ""
        return min(placed, key=lambda name: math.dist(placed[name], position))

    def _get(self, name: str) -> Landmark:
        for mark in self._state:
            if mark.name == name:
                return mark
        raise UserError(f"There is no landmark {name!r}.", "It may have been deleted; try Undo.")

    def _checked_name(self, name: str) -> str:
        name = name.strip()
        if not name:
            raise UserError("A landmark needs a name.", "Type at least one character.")
        if name in self.names:
            raise UserError(f"There is a landmark {name!r} already.", "Choose another name.")
        return name

    def _free_name(self) -> str:
        taken = set(self.names)
        number = len(taken) + 1
        while f"L{number}" in taken:
            number += 1
        return f"L{number}"

    def _replace(self, mark: Landmark, text: str, old: str | None = None) -> None:
        name = old or mark.name
        self._set(tuple(mark if m.name == name else m for m in self._state), text)

    def _set(self, state: State, text: str) -> None:
        before, self._state = self._state, state
        if self._drag_start is None:
            self._record(before, state, text)
        self._announce()

    def _record(self, before: State, after: State, text: str) -> None:
        self.undo_stack.push(
            Action(text, lambda: self._restore(before), lambda: self._restore(after))
        )

    def _restore(self, state: State) -> None:
        self._state = state
        self._announce()

    def _announce(self) -> None:
        if self._selected and self._selected not in self.names:
            self.selected = ""
        self.changed.emit()


def _checked(position: Position) -> Position:
    x, y = (float(v) for v in position)
    if not (math.isfinite(x) and math.isfinite(y)):
        raise UserError(
            "A landmark position is not a finite number.", "Place the landmark on the section."
        )
    return x, y
