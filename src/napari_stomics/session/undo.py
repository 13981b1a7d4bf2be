"""One stack of undoable actions per session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from psygnal import Signal


@dataclass(frozen=True)
class Action:
    """Something that was done, and how to take it back and do it again."""

    text: str
    undo: Callable[[], None]
    redo: Callable[[], None]


class UndoStack:
    """Actions in the order they were done; ``changed`` is emitted after every move."""

    changed = Signal()

    def __init__(self) -> None:
        self._done: list[Action] = []
        self._undone: list[Action] = []
        self._group: list[Action] | None = None
        self.clean = 0
        """How many actions were on the stack at the last save."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing was done or undone since :meth:`mark_clean`."""
        return self.clean == len(self._done)

    @property
    def undo_text(self) -> str:
        """What :meth:`undo` would take back; empty if there is nothing."""
        return self._done[-1].text if self._done else ""

    @property
    def redo_text(self) -> str:
        """What :meth:`redo` would do again; empty if there is nothing."""
        return self._undone[-1].text if self._undone else ""

    def push(self, action: Action) -> None:
        """Record an action that has been done already."""
        if self._group is not None:
            self._group.append(action)
            return
        if self.clean > len(self._done):
            # The saved state lay among the undone actions and cannot be reached again.
            self.clean = -1
        self._done.append(action)
        self._undone.clear()
        self.changed.emit()

    @contextmanager
    def group(self, text: str) -> Iterator[None]:
        """Make all actions pushed within the block one step for the user."""
        if self._group is not None:
            yield
            return
        self._group = []
        try:
            yield
        finally:
            actions, self._group = self._group, None
            if actions:
                self.push(_joined(text, actions))

    def undo(self) -> str:
        """Take the last action back; return its text, empty if there was none."""
        if not self._done:
            return ""
        action = self._done.pop()
        action.undo()
        self._undone.append(action)
        self.changed.emit()
        return action.text

    def redo(self) -> str:
        """Do the last undone action again; return its text, empty if there was none."""
        if not self._undone:
            return ""
        action = self._undone.pop()
        action.redo()
        self._done.append(action)
        self.changed.emit()
        return action.text

    def mark_clean(self) -> None:
        """Note that everything done so far is saved."""
        self.clean = len(self._done)
        self.changed.emit()

    def clear(self) -> None:
        """Forget everything: another study was opened."""
        self._done.clear()
        self._undone.clear()
        self.clean = 0
        self.changed.emit()


def _joined(text: str, actions: list[Action]) -> Action:
    def undo() -> None:
        for action in reversed(actions):
            action.undo()

    def redo() -> None:
        for action in actions:
            action.redo()

    return Action(text, undo, redo)
