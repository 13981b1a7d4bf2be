"""What ties the dock to the viewer and the session, taken up and let go as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from weakref import ReferenceType, ref

from psygnal import SignalInstance as Signal
from qtpy.compat import isalive
from qtpy.QtWidgets import QDockWidget, QWidget

from napari_stomics.docks.landmark_keys import KeyAction, KeyMap
from napari_stomics.docks.landmark_view import LandmarkView


class Links:
    """Keys of the viewer, signals of the session, layers on the canvas.

    Napari may take a dock out of its window without destroying it: nothing of it
    may then go on acting on the viewer.

    Parameters
    ----------
    viewer
        The napari viewer.
    actions
        What the keys do.
    listeners
        Signals, of Qt or psygnal, and what hears them.
    view
        What the canvas shows.
    """

    def __init__(
        self,
        viewer: Any,
        actions: Sequence[KeyAction],
        listeners: Sequence[tuple[Any, Any]],
        view: LandmarkView,
    ) -> None:
        self._viewer = viewer
        self._actions = actions
        self._listeners = listeners
        self._view = view
        self._keys: KeyMap | None = None
        self._borrowing = False
        self._window: ReferenceType[QWidget] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the dock acts on the viewer."""
        return self._keys is not None

    def open(self) -> None:
        """Bind the keys and listen."""
        if self._keys is None:
            self._keys = KeyMap(self._viewer, self._actions)
            self._viewer.layers.selection.events.active.connect(self._follow_active)
            for signal, slot in self._listeners:
                signal.connect(slot)

    def stand_in(self, window: QWidget) -> None:
        """Know the main window, to leave its canvas alone once it is gone."""
        self._window = ref(window)

    def borrow_keys(self, wanted: bool) -> None:
        """Take keys from whichever layer is active, or give them back."""
        self._borrowing = wanted
        self._follow_active()

    def _follow_active(self, *_: Any) -> None:
        if self._keys is not None:
            active = self._viewer.layers.selection.active
            self._keys.borrow(active if self._borrowing else None)

    def close(self) -> None:
        """Unbind the keys, stop listening, and take the landmarks off the canvas."""
        self._let_go([signal for signal, _ in self._listeners])

    def on_destroyed(self) -> None:
        """Let go after the dock was destroyed: Qt has disconnected its own signals."""
        self._let_go([signal for signal, _ in self._listeners if isinstance(signal, Signal)])

    def _let_go(self, signals: Sequence[Any]) -> None:
        keys, self._keys = self._keys, None
        if keys is None:
            return
        keys.unbind()
        self._viewer.layers.selection.events.active.disconnect(self._follow_active)
        for signal, slot in self._listeners:
            if any(signal is one for one in signals):
                with suppress(RuntimeError, TypeError, ValueError):
                    signal.disconnect(slot)
        window = None if self._window is None else self._window()
        if self._window is None or (window is not None and isalive(window)):
            self._view.close()


def main_window(widget: QWidget) -> QWidget:
    """The main window that holds a widget, also where its dock floats."""
    window = widget.window()
    while isinstance(window, QDockWidget) and window.parentWidget() is not None:
        window = window.parentWidget().window()
    return window
