"""The table of domains: colour, name, size and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_stomics.core.palette import natural

if TYPE_CHECKING:
    from napari_stomics.core.fusion import Domains

HEADERS = ("", "Domain", "Spots", "Share", "Stable")
TIPS = (
    "Colour; double-click to choose another.",
    "Name; double-click to rename it.",
    "Number of spots.",
    "Share of all spots.",
    "Median stability of its spots: the share of reruns that agree with it.",
)
SWATCH, NAME, SPOTS, SHARE, STABLE = range(5)
_ROWS = 12
_WIDE = 26


class DomainTable(QTableWidget):
    """One row per domain; renamed in place, recoloured by a double click."""

    renamed = Signal(str, str)
    """``(old, new)``: the user has typed another name."""
    colour_wanted = Signal(str)
    """Name of the domain that is to have another colour."""

    def __init__(self) -> None:
        super().__init__(0, len(HEADERS))
        self._filling = False
        self.setHorizontalHeaderLabels(list(HEADERS))
        for column, tip in enumerate(TIPS):
            self.horizontalHeaderItem(column).setToolTip(tip)
        self.setAccessibleName("Domains")
        self.verticalHeader().hide()
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(SWATCH, QHeaderView.ResizeMode.Fixed)
        header.setMinimumSectionSize(_WIDE)
        self.setColumnWidth(SWATCH, _WIDE)
        self.itemChanged.connect(self._on_changed)
        self.cellDoubleClicked.connect(self._on_double_click)
        self._fit()

    def show_domains(self, found: Domains | None, colours: Mapping[str, str]) -> None:
        """Show domains; those selected stay so where they still exist."""
        selected = self.selected()
        names = [] if found is None else sorted(map(str, found.names), key=natural)
        self._filling = True
        try:
            self.setRowCount(len(names))
            for row, name in enumerate(names):
                assert found is not None
                here = np.asarray(found.labels) == name
                stable = np.asarray(found.stability, float)[here]
                stable = stable[np.isfinite(stable)]
                self._fill(
                    row,
                    name,
                    colours.get(name, "#808080"),
                    (
                        f"{int(here.sum()):,}",
                        f"{here.mean():.1%}",
                        f"{np.median(stable):.2f}" if len(stable) else "–",
                    ),
                )
        finally:
            self._filling = False
        self._fit()
        self.select([name for name in selected if name in names])

    def _fill(self, row: int, name: str, colour: str, figures: Sequence[str]) -> None:
        swatch = QTableWidgetItem()
        swatch.setBackground(QColor(colour[:7]))
        swatch.setFlags(Qt.ItemFlag.ItemIsEnabled)
        swatch.setToolTip(f"{colour}; double-click to choose another.")
        swatch.setData(Qt.ItemDataRole.AccessibleTextRole, f"Colour {colour}")
        title = QTableWidgetItem(name)
        title.setData(Qt.ItemDataRole.UserRole, name)
        title.setToolTip(f"{name}; double-click to rename it.")
        self.setItem(row, SWATCH, swatch)
        self.setItem(row, NAME, title)
        for column, text in enumerate(figures, SPOTS):
            item = QTableWidgetItem(text)
            item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
            item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.setItem(row, column, item)

    def names(self) -> list[str]:
        """Names in the order of the rows."""
        role = Qt.ItemDataRole.UserRole
        return [str(self.item(row, NAME).data(role)) for row in range(self.rowCount())]

    def selected(self) -> list[str]:
        """Names of the selected domains, from the top down."""
        rows = {index.row() for index in self.selectionModel().selectedRows(NAME)}
        rows |= {index.row() for index in self.selectedIndexes()}
        names = self.names()
        return [names[row] for row in sorted(rows) if row < len(names)]

    def select(self, names: Sequence[str]) -> None:
        """Select these domains and no others."""
        self.clearSelection()
        known = self.names()
        for name in names:
            row = known.index(name)
            for column in range(NAME, self.columnCount()):
                self.item(row, column).setSelected(True)
        if names:
            self.scrollToItem(self.item(known.index(names[-1]), NAME))

    def colour(self, name: str) -> str:
        """Colour (hex) shown for a domain."""
        return str(self.item(self.names().index(name), SWATCH).background().color().name())

    def _fit(self) -> None:
        row = self.verticalHeader().defaultSectionSize()
        rows = min(max(self.rowCount(), 2), _ROWS)
        self.setFixedHeight(
            rows * row + self.horizontalHeader().sizeHint().height() + 2 * self.frameWidth() + 2
        )

    def _on_changed(self, item: QTableWidgetItem) -> None:
        if self._filling or item.column() != NAME:
            return
        old, new = str(item.data(Qt.ItemDataRole.UserRole)), item.text().strip()
        # The name stands only once the study has it.
        self._filling = True
        item.setText(old)
        self._filling = False
        if new != old:
            self.renamed.emit(old, new)

    def _on_double_click(self, row: int, column: int) -> None:
        if column == SWATCH:
            self.colour_wanted.emit(self.names()[row])
