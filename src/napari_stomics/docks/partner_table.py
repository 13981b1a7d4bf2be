"""The partners of a spot as a table: who, how much, how far, and what they show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import (
    QAbstractTableModel,
    QItemSelectionModel,
    QModelIndex,
    QSortFilterProxyModel,
    Qt,
    Signal,
)
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

HEADERS = ("Spot", "Share", "Distance\n(µm)", "Label", "Shown")
TIPS = (
    "Name of the partner in the other section.",
    "Part of the spot's mass that this partner has.",
    "How far the partner lies from the spot under the linear pose of the plan.",
    "Its annotation.",
    "The value by which its section is coloured now.",
)
SPOT, SHARE, DISTANCE, LABEL, SHOWN = range(5)
SORT_ROLE = Qt.ItemDataRole.UserRole
_ROOT = QModelIndex()


@dataclass(frozen=True)
class PartnerRow:
    """One partner.

    Attributes
    ----------
    name
        Identifier of the spot.
    share
        In [0, 1].
    distance
        In um.
    label
        Annotation, empty for none.
    shown
        Value by which it is coloured: a number, a name, or None.
    """

    name: str
    share: float
    distance: float
    label: str = ""
    shown: Any = None


class PartnerRows(QAbstractTableModel):
    """Rows in the order in which they were given: by falling share."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: Sequence[PartnerRow] = ()
        self.shown_name = ""

    def set_rows(self, rows: Sequence[PartnerRow], shown_name: str = "") -> None:
        """Show other partners."""
        self.beginResetModel()
        self.rows = tuple(rows)
        self.shown_name = shown_name
        self.endResetModel()

    def rowCount(self, parent: QModelIndex = _ROOT) -> int:
        """One row per partner."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex = _ROOT) -> int:
        """Spot, share, distance, label, value shown."""
        return 0 if parent.isValid() else len(HEADERS)

    def headerData(
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> Any:
        """Titles and their explanations."""
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                own = section == SHOWN and self.shown_name
                return self.shown_name if own else HEADERS[section]
            if role == Qt.ItemDataRole.ToolTipRole:
                return TIPS[section]
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Text, the value to sort by, alignment."""
        row, column = self.rows[index.row()], index.column()
        if role == Qt.ItemDataRole.TextAlignmentRole and column in (SHARE, DISTANCE):
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        value = (row.name, row.share, row.distance, row.label, row.shown)[column]
        if role == SORT_ROLE:
            return value if value is not None else ""
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return _text(column, value)
        return None


class PartnerView(QTableView):
    """The view: sortable, one row at a time."""

    chosen = Signal(int)
    """Which of the partners, by falling share, the user selected; -1 for none."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows = PartnerRows()
        self._sorted = QSortFilterProxyModel(self)
        self._sorted.setSourceModel(self.rows)
        self._sorted.setSortRole(SORT_ROLE)
        self.setModel(self._sorted)
        self._quiet = False
        self.setSortingEnabled(True)
        self.sortByColumn(SHARE, Qt.SortOrder.DescendingOrder)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setAccessibleName("Partners of the spot")
        self.setMinimumHeight(150)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(20)
        header = self.horizontalHeader()
        header.setMinimumSectionSize(40)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setSectionResizeMode(SPOT, QHeaderView.ResizeMode.Stretch)
        for column, width in ((SHARE, 52), (DISTANCE, 62), (LABEL, 62), (SHOWN, 58)):
            self.setColumnWidth(column, width)
        self.selectionModel().selectionChanged.connect(self._on_selected)

    def set_rows(self, rows: Sequence[PartnerRow], shown_name: str = "") -> None:
        """Show other partners, none of them selected."""
        self._quiet = True
        try:
            self.rows.set_rows(rows, shown_name)
        finally:
            self._quiet = False

    @property
    def selected(self) -> int:
        """Which of the partners is selected; -1 for none."""
        found = self.selectionModel().selectedRows()
        return self._sorted.mapToSource(found[0]).row() if found else -1

    def select(self, which: int) -> None:
        """Select one of the partners without telling of it; -1 for none."""
        if which == self.selected:
            return
        self._quiet = True
        try:
            self.clearSelection()
            if 0 <= which < len(self.rows.rows):
                index = self._sorted.mapFromSource(self.rows.index(which, SPOT))
                flag = QItemSelectionModel.SelectionFlag
                self.selectionModel().setCurrentIndex(index, flag.ClearAndSelect | flag.Rows)
                self.scrollTo(index)
        finally:
            self._quiet = False

    def keyPressEvent(self, event: Any) -> None:
        """Leave letters and Escape to the viewer's keys."""
        if event.text().strip() or event.key() == Qt.Key.Key_Escape:
            event.ignore()
        else:
            super().keyPressEvent(event)

    def _on_selected(self, *_: Any) -> None:
        if not self._quiet:
            self.chosen.emit(self.selected)


def _text(column: int, value: Any) -> str:
    if value is None:
        return ""
    if column == SHARE:
        return f"{100 * value:.1f} %" if value < 0.0995 else f"{100 * value:.0f} %"
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return "-"
    return f"{value:.0f}" if column == DISTANCE else f"{value:.3g}"
