"""Sections to tick, in an order that is changed by dragging or by buttons."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QListWidgetItem

from napari_stomics.docks.refs_form import TickList


class OrderedTicks(TickList):
    """A tick list whose rows can be moved."""

    changed = Signal()
    """Another order, or other ticks."""

    def __init__(self) -> None:
        super().__init__()
        self.setDragDropMode(QAbstractItemView.DragDropMode.InternalMove)
        self.setDefaultDropAction(Qt.DropAction.MoveAction)
        self.setAccessibleName("Sections of the stack, the lowest first")
        self.itemChanged.connect(self._tell)
        self.model().rowsMoved.connect(self._tell)

    def show_names(self, names: Sequence[str], ticked: Sequence[str]) -> None:
        """Show these names in this order, without a signal."""
        row = self.currentRow()
        current = self.item(row).text() if row >= 0 else None
        self.blockSignals(True)
        self.clear()
        self.blockSignals(False)
        self.set_names(list(names), [])
        self.tick(list(ticked))
        for i in range(self.count()):
            item = self.item(i)
            # Rows go between others, never onto them.
            item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsDropEnabled)
        if current in names:
            self.setCurrentRow(list(names).index(str(current)))

    def shift(self, step: int) -> None:
        """Move the chosen row up or down."""
        row = self.currentRow()
        if row < 0 or not 0 <= row + step < self.count():
            return
        self.blockSignals(True)
        item: QListWidgetItem | None = self.takeItem(row)
        assert item is not None
        self.insertItem(row + step, item)
        self.setCurrentRow(row + step)
        self.blockSignals(False)
        self._tell()

    def _tell(self) -> None:
        self.changed.emit()
