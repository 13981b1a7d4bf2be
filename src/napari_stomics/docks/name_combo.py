"""A combo box of names that may be long and may change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QWidget


class NameCombo(QComboBox):
    """Never wider than its dock, keeps its choice when its names change, ignores stray wheels."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def names(self) -> list[str]:
        """The names that are offered."""
        return [self.itemText(i) for i in range(self.count())]

    def set_names(self, names: Sequence[str], first: str | None = None) -> None:
        """Offer other names, without a signal; the choice stays where it still exists.

        Parameters
        ----------
        names
            What to offer.
        first
            What to choose where the former choice is gone.
        """
        before = self.currentText()
        if self.names() != list(names):
            self.blockSignals(True)
            self.clear()
            self.addItems(list(names))
            self.blockSignals(False)
        wanted = before if before in names else first
        if wanted in names and wanted != self.currentText():
            self.blockSignals(True)
            self.setCurrentText(str(wanted))
            self.blockSignals(False)

    def wheelEvent(self, event: Any) -> None:
        """Scroll the dock, not the choice, while the mouse only passes over."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()
