"""Offers work that a crash left behind."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_stomics.docks.autosaver import Autosaver
from napari_stomics.docks.layout import button, in_row
from napari_stomics.docks.workbench import Workbench, told_to_user


class RestoreBar(QWidget):
    """The newest piece of unfinished work, with Restore and Discard; hidden without any.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    def __init__(self, bench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._saver: Autosaver = bench.autosaver
        self._at = 0
        self._text = QLabel()
        self._text.setWordWrap(True)
        self._text.setTextFormat(Qt.TextFormat.PlainText)
        self._text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._more = button("Older", self._on_more, "Look at the next one.")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 6)
        column.setSpacing(4)
        column.addWidget(self._text)
        column.addWidget(
            in_row(
                button("Restore", self._on_restore, "Bring this work back."),
                button("Discard", self._on_discard, "Delete this work for good."),
                self._more,
            )
        )
        self._saver.found.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show what is there now."""
        count = len(self._saver.unfinished)
        self._at = min(self._at, max(count - 1, 0))
        self.setVisible(count > 0)
        self._more.setVisible(count > 1)
        if count:
            self._text.setText(unfinished_text(self._saver.unfinished[self._at], self._at, count))

    def _on_more(self) -> None:
        self._at = (self._at + 1) % max(len(self._saver.unfinished), 1)
        self.refresh()

    def _on_restore(self) -> None:
        with told_to_user("Restore"):
            self._saver.restore(self._saver.unfinished[self._at])

    def _on_discard(self) -> None:
        with told_to_user("Discard"):
            self._saver.discard(self._saver.unfinished[self._at])


def unfinished_text(left: Any, at: int, count: int) -> str:
    """Say what one piece of unfinished work holds."""
    steps = len(left.session.get("steps") or [])
    place = f" ({at + 1} of {count})" if count > 1 else ""
    return (
        f"Not saved when napari last ended, {_moment(left.saved)}{place}: "
        f"{len(left.landmarks)} landmarks and {steps} computations of "
        f"{left.store or 'a study that was never saved'}."
    )


def _moment(saved: str) -> str:
    try:
        return datetime.fromisoformat(saved).astimezone().strftime("%d %b %Y, %H:%M")
    except ValueError:
        return saved
