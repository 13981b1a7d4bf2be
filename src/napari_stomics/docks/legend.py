"""Names of categories with their colours."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QListWidget, QListWidgetItem

_SWATCH = 14
_ROWS = 9


class Legend(QListWidget):
    """A list of swatches, as tall as its entries up to a limit; hidden when it is empty."""

    def __init__(self) -> None:
        super().__init__()
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setIconSize(QSize(_SWATCH, _SWATCH))
        self.setAccessibleName("Legend")
        self.hide()

    def show_entries(self, entries: list[tuple[str, str]]) -> None:
        """Show names with their colours (hex)."""
        self.clear()
        for name, colour in entries:
            swatch = QPixmap(_SWATCH, _SWATCH)
            swatch.fill(QColor(colour[:7]))
            QListWidgetItem(QIcon(swatch), name or "(not annotated)", self).setToolTip(name)
        self.setVisible(bool(entries))
        row = max(self.sizeHintForRow(0), _SWATCH + 1)
        self.setFixedHeight(min(max(len(entries), 1), _ROWS) * row + 2 * self.frameWidth() + 4)

    def entries(self) -> list[str]:
        """The names shown."""
        return [self.item(i).text() for i in range(self.count())]
