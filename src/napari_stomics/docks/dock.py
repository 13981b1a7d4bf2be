"""What every dock is: a widget that acts on the viewer only while it stands in a window."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakMethod, ref

from napari.viewer import Viewer
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_stomics.docks.layout import scrolled
from napari_stomics.docks.workbench import workbench

_NARROWEST = 300

Pair = tuple[Any, Callable[..., object]]


class Dock(QWidget):
    """A widget of the plugin.

    Napari may take a dock out of its window without destroying it, and may
    destroy its window while a job runs. In both cases nothing that outlives the
    dock may go on calling it.

    Parameters
    ----------
    napari_viewer
        The napari viewer, or the proxy of it that napari gives to plugins.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._bench = workbench(napari_viewer)
        self._heard: list[tuple[Any, WeakMethod[Any]]] = []
        self._listening = True
        self.destroyed.connect(_deaf(ref(self)))
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.timeout.connect(self._watch_window)

    def listen(self, *pairs: Pair) -> None:
        """Connect signals, of Qt, psygnal or napari, with methods, until the dock is closed."""
        for signal, slot in pairs:
            # Weak: the dock must not be kept alive by its own list.
            self._heard.append((signal, WeakMethod(slot)))
            signal.connect(slot)

    def fill(self, content: QWidget) -> None:
        """Put in what the dock shows; it scrolls up and down, and is never cut at the side."""
        column = QVBoxLayout(self)
        column.setContentsMargins(2, 4, 2, 0)
        column.addWidget(scrolled(content))
        self.setMinimumWidth(_NARROWEST)

    def taken_up(self) -> None:
        """Stand in a window again: bring everything up to date."""

    def let_go(self) -> None:
        """Stand in no window any more: leave the viewer as it was."""

    def event(self, event: Any) -> bool:
        """Stop listening when the dock is taken out of its window, listen again when put back."""
        done = super().event(event)
        if event.type() == QEvent.Type.ParentChange and hasattr(self, "_settled"):
            self._follow_parent()
        return bool(done)

    def _follow_parent(self) -> None:
        standing = self.parentWidget() is not None
        if standing:
            self._settled.start(0)  # the frame is not in the main window yet
        if standing == self._listening:
            return
        self._listening = standing
        if standing:
            for signal, slot in self._heard:
                method = slot()
                if method is not None:
                    signal.connect(method)
            self.taken_up()
        else:
            self.stop_listening()
            self.let_go()

    def _watch_window(self) -> None:
        """Have jobs stop with the window, also where the dock is never shown."""
        if self.parentWidget() is not None:
            self._bench.runner.watch(self)

    def stop_listening(self) -> None:
        """Disconnect everything that :meth:`listen` connected."""
        # At the end of the program Qt may destroy the workbench first; its signals are then
        # memory that must not be touched.
        if not (isalive(self._bench) and isalive(self._bench.runner)):
            return
        for signal, slot in self._heard:
            method = slot()
            # Qt has disconnected what it destroyed.
            with suppress(RuntimeError, TypeError, ValueError):
                if method is not None:
                    signal.disconnect(method)


def _deaf(dock: ref[Dock]) -> Callable[[], None]:
    """Return what is called when Qt destroys the dock while Python still holds it."""

    def stop() -> None:
        found = dock()
        if found is not None:
            found.stop_listening()

    return stop
