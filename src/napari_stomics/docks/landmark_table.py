"""The table of landmarks: one row each, with its errors and whether it agrees with the others."""

from __future__ import annotations

import math
import re
from typing import Any

from qtpy.QtCore import (
    QAbstractTableModel,
    QItemSelectionModel,
    QModelIndex,
    QSortFilterProxyModel,
    Qt,
    Signal,
)
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QSizePolicy, QTableView, QWidget

from napari_stomics.core.results import Registration
from napari_stomics.docks.workbench import told_to_user
from napari_stomics.session.session import Session

HEADERS = ("Name", "Fit\n(µm)", "Left out\n(µm)", "Note")
TIPS = (
    "Name of the landmark; double-click to rename it.",
    "Residual: distance left at the pair by the fit.",
    "Distance at the pair when the fit is made without it: an estimate of the registration error.",
    "⚠ outlier: the pair disagrees with the others. Otherwise what is still missing.",
)
NAME, RESIDUAL, LEFT_OUT, NOTE = range(4)
SORT_ROLE = Qt.ItemDataRole.UserRole
_ROOT = QModelIndex()


class LandmarkTableModel(QAbstractTableModel):
    """The landmarks of the session that lie in the moving or the fixed section.

    Parameters
    ----------
    session
        The viewer's session; read when :meth:`refresh` is called.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._names: list[str] = []
        self._figures: dict[str, tuple[float, float, bool]] = {}
        self._notes: dict[str, str] = {}
        self._details: dict[str, str] = {}

    @property
    def names(self) -> list[str]:
        """Names in the order of the rows."""
        return list(self._names)

    def refresh(self) -> None:
        """Read landmarks and errors anew, keeping rows where the names did not change."""
        estimate = self._session.estimate
        sections = (estimate.source, estimate.target)
        marks = [
            mark
            for mark in self._session.landmarks.landmarks
            if any(section in mark.positions for section in sections)
        ]
        names = [mark.name for mark in marks]
        self._figures = _figures(estimate.registration)
        missing = {mark.name: _missing(mark.positions, sections) for mark in marks}
        self._details = {name: f"Not placed in {at} yet." for name, at in missing.items() if at}
        self._notes = dict.fromkeys(names, "")
        self._notes.update((name, "⚠ outlier") for name, found in self._figures.items() if found[2])
        self._notes.update((name, "unpaired") for name in self._details)
        if names == self._names:
            if names:
                self.dataChanged.emit(self.index(0, 0), self.index(len(names) - 1, NOTE))
            return
        self.beginResetModel()
        self._names = names
        self.endResetModel()

    def rowCount(self, parent: QModelIndex = _ROOT) -> int:
        """One row per landmark."""
        return 0 if parent.isValid() else len(self._names)

    def columnCount(self, parent: QModelIndex = _ROOT) -> int:
        """Name, residual, leave-one-out error, note."""
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
                return HEADERS[section]
            if role == Qt.ItemDataRole.ToolTipRole:
                return TIPS[section]
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Text to show or edit, the value to sort by, alignment."""
        name, column = self._names[index.row()], index.column()
        if role == Qt.ItemDataRole.TextAlignmentRole and column in (RESIDUAL, LEFT_OUT):
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._details.get(name) or TIPS[column]
        if role == SORT_ROLE:
            return self._sort_value(name, column)
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return self._text(name, column)
        return None

    def setData(self, index: QModelIndex, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Rename a landmark; a name that is empty or taken is refused with the reason."""
        if role != Qt.ItemDataRole.EditRole or index.column() != NAME:
            return False
        old = self._names[index.row()]
        with told_to_user("Rename landmark"):
            self._session.landmarks.rename(old, str(value))
            return True
        return False

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Names can be edited."""
        flags = super().flags(index)
        return flags | Qt.ItemFlag.ItemIsEditable if index.column() == NAME else flags

    def _text(self, name: str, column: int) -> str:
        if column == NAME:
            return name
        if column == NOTE:
            return self._notes[name]
        residual, left_out, _ = self._figures.get(name, (math.nan, math.nan, False))
        return micrometres(residual if column == RESIDUAL else left_out)

    def _sort_value(self, name: str, column: int) -> Any:
        if column in (NAME, NOTE):
            return natural_key(self._text(name, column))
        residual, left_out, _ = self._figures.get(name, (math.nan, math.nan, False))
        value = residual if column == RESIDUAL else left_out
        return value if math.isfinite(value) else -1.0


class LandmarkTable(QTableView):
    """The view: sortable, renamed in place, its selection linked to the session's.

    Parameters
    ----------
    session
        The viewer's session.
    """

    delete_wanted = Signal()
    jump_wanted = Signal(str)
    """Name of a landmark whose row was double-clicked outside its name."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._landmarks = session.landmarks
        self.rows = LandmarkTableModel(session)
        self._sorted = QSortFilterProxyModel(self)
        self._sorted.setSourceModel(self.rows)
        self._sorted.setSortRole(SORT_ROLE)
        self.setModel(self._sorted)
        self._syncing = False
        self._style()
        self.selectionModel().selectionChanged.connect(self._on_selected)
        self.doubleClicked.connect(self._on_double_clicked)
        self.rows.modelReset.connect(self.show_selection)

    def selected_names(self) -> list[str]:
        """Names of the selected rows, from the top down."""
        rows = sorted(self.selectionModel().selectedRows(), key=lambda index: index.row())
        return [str(index.data()) for index in rows]

    def row_of(self, name: str) -> int:
        """Row in which a landmark is shown; -1 where it is not."""
        if name not in self.rows.names:
            return -1
        return self._sorted.mapFromSource(self.rows.index(self.rows.names.index(name), NAME)).row()

    def show_selection(self, *_: Any) -> None:
        """Select the row of the session's selected landmark."""
        name = self._landmarks.selected
        if self._syncing or (name in self.selected_names()):
            return
        row = self.row_of(name)
        self._syncing = True
        try:
            self.clearSelection()
            if row >= 0:
                index = self._sorted.index(row, NAME)
                whole = QItemSelectionModel.SelectionFlag
                self.selectionModel().setCurrentIndex(index, whole.ClearAndSelect | whole.Rows)
                self.scrollTo(index)
        finally:
            self._syncing = False

    def keyPressEvent(self, event: Any) -> None:
        """Delete removes; letters are left to the map of keys instead of searching the rows."""
        if event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
            self.delete_wanted.emit()
        elif event.text().strip() and self.state() != QAbstractItemView.State.EditingState:
            event.ignore()
        else:
            super().keyPressEvent(event)

    def _style(self) -> None:
        self.setSortingEnabled(True)
        self.sortByColumn(-1, Qt.SortOrder.AscendingOrder)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.setAccessibleName("Landmarks")
        self.setMinimumHeight(170)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(22)
        header = self.horizontalHeader()
        header.setMinimumSectionSize(48)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        for column, width in ((RESIDUAL, 52), (LEFT_OUT, 62), (NOTE, 82)):
            self.setColumnWidth(column, width)

    def _on_selected(self, *_: Any) -> None:
        names = self.selected_names()
        if not self._syncing and len(names) == 1:
            self._syncing = True
            try:
                self._landmarks.selected = names[0]
            finally:
                self._syncing = False

    def _on_double_clicked(self, index: QModelIndex) -> None:
        if index.column() != NAME:
            self.jump_wanted.emit(str(index.siblingAtColumn(NAME).data()))


def _figures(registration: Registration | None) -> dict[str, tuple[float, float, bool]]:
    """Residual, leave-one-out error and outlier flag by name."""
    if registration is None:
        return {}
    columns = (registration.residuals, registration.leave_one_out, registration.outliers)
    return {
        name: (float(residual), float(left_out), bool(flag))
        for name, residual, left_out, flag in zip(registration.names, *columns, strict=True)
    }


def _missing(positions: Any, sections: tuple[str, str]) -> str:
    """The section in which a landmark still lacks a place; empty for none."""
    return next((name for name in sections if name and name not in positions), "")


def micrometres(value: float) -> str:
    """A distance as text: one decimal below 10 µm, a dash where there is none."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def natural_key(text: str) -> str:
    """Key by which ``L10`` sorts after ``L9``."""
    return re.sub(r"\d+", lambda number: number.group().rjust(12, "0"), text.lower())
