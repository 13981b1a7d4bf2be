"""Offers work that a crash left behind."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_stomics.docks.autosaver import Autosaver
from napari_stomics.docks.workbench import Workbench, told_to_user


class RestoreBar(QWidget):
    """One line per piece of unfinished work, with Restore and Discard; hidden without any.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    def __init__(self, bench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._saver: Autosaver = bench.autosaver
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._saver.found.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """List the unfinished work anew."""
        while self._column.count():
            item = self._column.takeAt(0)
            if item is not None and item.widget() is not None:
                item.widget().deleteLater()
        for left in self._saver.unfinished:
            self._column.addWidget(self._line(left))
        self.setVisible(bool(self._saver.unfinished))

    def _line(self, left: Any) -> QWidget:
        line = QWidget()
        column = QVBoxLayout(line)
        column.setContentsMargins(0, 0, 0, 4)
        steps = len(left.session.get("steps") or [])
        label = QLabel(
            f"Not saved when napari last ended ({left.saved}): {len(left.landmarks)} landmarks, "
            f"{steps} computation(s) of {left.store or 'a study that was never saved'}."
        )
        label.setWordWrap(True)
        column.addWidget(label)
        row = QHBoxLayout()
        for text, act in (("Restore", self._saver.restore), ("Discard", self._saver.discard)):
            button = QPushButton(text)
            button.clicked.connect(lambda _=False, act=act, text=text: _do(act, left, text))
            row.addWidget(button)
        column.addLayout(row)
        return line


def _do(act: Any, left: Any, text: str) -> None:
    with told_to_user(text):
        act(left)
