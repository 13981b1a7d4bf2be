"""The tables of the metrics dock: scores, contingency, markers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

if TYPE_CHECKING:
    from napari_stomics.core.markers import DomainMarkers
    from napari_stomics.core.scores import Score, ScoreTable

_BETTER = {"higher": "↑", "lower": "↓", "": ""}
_BETTER_TIPS = {"higher": "Higher is better.", "lower": "Lower is better.", "": ""}
_HEAT = "#26a69a"
_ROWS = 16
_KEY = Qt.ItemDataRole.UserRole


class NumberItem(QTableWidgetItem):
    """A cell that is sorted by its number; what is not a number comes last going up."""

    def __init__(self, value: float, text: str) -> None:
        super().__init__(text)
        self.setData(_KEY, float(value))
        self.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)

    def __lt__(self, other: QTableWidgetItem) -> bool:
        mine, theirs = self.data(_KEY), other.data(_KEY)
        if not isinstance(theirs, float):
            return bool(super().__lt__(other))
        return bool(np.nan_to_num(mine, nan=np.inf) < np.nan_to_num(theirs, nan=np.inf))


class PlainTable(QTableWidget):
    """A table to read, to sort by a click on a heading, and to copy from.

    Parameters
    ----------
    name
        What it shows, for screen readers.
    parent
        Parent widget.
    """

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(0, 0, parent)
        self.setAccessibleName(name)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setWordWrap(False)
        self.verticalHeader().hide()

    @property
    def rows(self) -> list[list[str]]:
        """What the table shows, row by row."""
        return [
            [self.item(r, c).text() for c in range(self.columnCount())]
            for r in range(self.rowCount())
        ]

    def fill(
        self,
        head: Sequence[str],
        rows: Sequence[Sequence[QTableWidgetItem]],
        stretch: int | None = 0,
        sortable: bool = True,
    ) -> None:
        """Show rows of items under a head; the column ``stretch`` takes what room is left."""
        self.setSortingEnabled(False)
        self.clear()
        self.setColumnCount(len(head))
        self.setHorizontalHeaderLabels(list(head))
        self.setRowCount(len(rows))
        for r, items in enumerate(rows):
            for c, item in enumerate(items):
                self.setItem(r, c, item)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        if head and stretch is not None:
            header.setSectionResizeMode(stretch, QHeaderView.ResizeMode.Stretch)
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.setSortingEnabled(sortable)
        line = self.verticalHeader().defaultSectionSize()
        self.setMinimumHeight((min(max(len(rows), 1), _ROWS) + 1) * line + 8)


class ScoreTableView(PlainTable):
    """Scores with which way is better, what they were measured in, and how (as tooltip)."""

    protocol_shown = Signal(str)
    """How the score that was clicked was measured."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Scores", parent)
        self.itemSelectionChanged.connect(self._on_selected)

    def show_scores(self, scores: Sequence[Score]) -> None:
        """Show these scores."""
        rows = []
        for score in scores:
            items = [
                QTableWidgetItem(score.title),
                NumberItem(score.value, f"{number(score.value)} {_BETTER[score.better]}".strip()),
                QTableWidgetItem(score.space),
            ]
            for item in items:
                tip = f"{score.protocol} {_BETTER_TIPS[score.better]}"
                item.setToolTip(f"<p><b>{_escaped(score.title)}</b></p><p>{_escaped(tip)}</p>")
            items[0].setData(_KEY, score.protocol)
            rows.append(items)
        self.fill(("Score", "Value", "Space"), rows)
        self.horizontalHeaderItem(1).setToolTip("The arrow says which way is better")
        self.horizontalHeaderItem(2).setToolTip("What it was measured in")

    def _on_selected(self) -> None:
        row = self.currentRow()
        item = self.item(row, 0) if row >= 0 else None
        self.protocol_shown.emit("" if item is None else str(item.data(_KEY)))


class ContingencyView(PlainTable):
    """Spots of each annotated class (rows) in each domain (columns), shaded by share of the row."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Contingency table", parent)

    def show_counts(self, found: ScoreTable | None) -> None:
        """Show the contingency of these scores; empty without an annotation."""
        if found is None or not found.truth_names:
            self.fill((), [], None)
            return
        rows = []
        for name, counts in zip(found.truth_names, found.counts, strict=True):
            total = max(int(counts.sum()), 1)
            items = [QTableWidgetItem(name)]
            for domain, count in zip(found.names, counts, strict=True):
                share = count / total
                item = NumberItem(int(count), str(int(count)))
                item.setBackground(self._shade(share))
                item.setForeground(QColor("white" if share > 0.5 else self._ink()))
                best = found.matches.get(domain) == name
                font = item.font()
                font.setBold(best)
                item.setFont(font)
                matched = " These two are matched." if best else ""
                words = (
                    f"{count} of {total} spots of {name} are in {domain} ({share:.0%}).{matched}"
                )
                item.setToolTip(f"<p>{_escaped(words)}</p>")
                items.append(item)
            rows.append(items)
        self.fill((found.truth_name, *found.names), rows, None, sortable=False)

    def _shade(self, share: float) -> QColor:
        colour = QColor(_HEAT)
        colour.setAlphaF(float(min(max(share, 0.0), 1.0)))
        return colour

    def _ink(self) -> str:
        return str(self.palette().color(QPalette.ColorRole.Text).name())


class MarkerTableView(PlainTable):
    """Markers of one domain; a click on a row asks for that feature to be shown."""

    feature_chosen = Signal(str)
    """Name of the feature."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Markers", parent)
        self.cellClicked.connect(self._on_clicked)
        self.cellActivated.connect(self._on_clicked)

    def show_markers(self, found: DomainMarkers | None, effect: str = "") -> None:
        """Show the markers of a domain."""
        if found is None:
            self.fill((), [], None)
            return
        rows: list[list[QTableWidgetItem]] = []
        for i, feature in enumerate(found.features):
            numbers = (
                found.effect[i], found.p_adjusted[i], found.morans_i[i], 1 - found.gearys_c[i],
            )  # fmt: skip
            rows.append(
                [
                    QTableWidgetItem(str(feature)),
                    *[NumberItem(float(v), short(float(v))) for v in numbers],
                    NumberItem(i + 1, str(i + 1)),
                ]
            )
        self.fill(("Feature", "Effect", "Adj. p", "I", "1 - C", "#"), rows)
        tips = (
            "Click to show it on the tissue", effect.capitalize(),
            "p value after Benjamini and Hochberg", "Moran's I", "1 - Geary's C",
            "Rank by the score of the test",
        )  # fmt: skip
        for column, tip in enumerate(tips):
            self.horizontalHeaderItem(column).setToolTip(tip)

    def _on_clicked(self, row: int, column: int) -> None:
        item = self.item(row, 0)
        if item is not None:
            self.feature_chosen.emit(item.text())


def number(value: float) -> str:
    """A number with as many digits as are read at a glance."""
    if not np.isfinite(value):
        return "–"
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e4):
        return f"{value:.1e}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"


def short(value: float) -> str:
    """A number with two decimals, or one digit and its power where it is small."""
    if not np.isfinite(value):
        return "–"
    if value != 0 and abs(value) < 0.005:
        return f"{value:.0e}"
    return f"{value:.2f}"


def _escaped(text: str) -> str:
    import html

    return html.escape(text)
