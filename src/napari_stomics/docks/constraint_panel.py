"""Regions that match and matches that are forbidden: paint, name, delete."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QListWidget, QListWidgetItem, QSizePolicy, QVBoxLayout, QWidget

from napari_stomics.docks.layout import button, in_row
from napari_stomics.docks.messages import told_to_user
from napari_stomics.docks.region_painting import RegionPainting
from napari_stomics.docks.workbench import Workbench
from napari_stomics.layers.regions import RegionLayers
from napari_stomics.session.constraints import Kind

_MARKS: dict[str, str] = {"match": "=", "forbid": "✕"}
_ROWS = 4
_NAME = Qt.ItemDataRole.UserRole


class ConstraintPanel(QWidget):
    """The constraints between two sections.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self._model = bench.session.constraints
        self._pair = ("", "")
        self.layers = RegionLayers(bench.viewer, self._model)
        self.painting = RegionPainting(bench, self.layers)
        self._build()
        self.painting.changed.connect(self.refresh_tool)

    def _build(self) -> None:
        self.match = button(
            "Paint regions that match",
            self._on_match,
            "Draw round a region in the moving section, then round its counterpart.",
            checkable=True,
        )
        self.forbid = button(
            "Forbid a match",
            self._on_forbid,
            "Draw or click what must not be matched, in the moving section and then in the other.",
            checkable=True,
        )
        self.prompt = QLabel()
        self.prompt.setWordWrap(True)
        self.prompt.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.list = QListWidget()
        self.list.setAccessibleName("Constraints")
        self.list.setToolTip("= regions that match, ✕ forbidden. Double-click to rename.")
        self.list.setSelectionMode(QListWidget.SelectionMode.ExtendedSelection)
        self.list.itemChanged.connect(self._on_renamed)
        self.list.itemSelectionChanged.connect(self._on_selected)
        self.delete = button("Delete", self._on_delete, "Delete the chosen constraints.")
        self.undo = button("Undo", self._bench.undo)
        self.redo = button("Redo", self._bench.redo)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for widget in (
            in_row(self.match, self.forbid),
            self.prompt,
            self.list,
            in_row(self.delete, self.undo, self.redo),
        ):
            column.addWidget(widget)

    def listeners(self) -> list[tuple[Any, Any]]:
        """Signals of what outlives the dock, and what hears them."""
        return [
            (self._model.changed, self.refresh),
            (self._bench.study_opened, self._on_study),
            (self._bench.live_changed, self.refresh),
            (self._bench.results_changed, self.refresh),
            (self._bench.session.undo.changed, self._show_undo),
        ]

    # -- keeping in step ---------------------------------------------------------------------

    def show_pair(self, source: str, target: str) -> None:
        """Show the constraints between two sections."""
        names = self._bench.session.section_names
        known = source != target and source in names and target in names
        pair = (source, target) if known else ("", "")
        if pair != self._pair:
            self.painting.cancel_all()
            self._pair = pair
        self.refresh()

    def refresh(self) -> None:
        """Show the constraints as they are now."""
        rules = self._model.between(*self._pair) if self._pair[0] else ()
        self.list.blockSignals(True)
        self.list.clear()
        for rule in rules:
            item = QListWidgetItem(f"{_MARKS[rule.kind]} {rule.name}", self.list)
            item.setData(_NAME, rule.name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
        self.list.blockSignals(False)
        row = max(self.list.sizeHintForRow(0), self.list.fontMetrics().lineSpacing() + 2)
        rows = min(max(len(rules), 1), _ROWS)
        self.list.setFixedHeight(rows * row + 2 * self.list.frameWidth() + 4)
        with told_to_user("Show constraints"):
            self.layers.show(*self._pair)
        self._on_selected()
        self._show_undo()
        self.refresh_tool()

    def refresh_tool(self) -> None:
        """Show what is being painted and what is asked for."""
        kind = self.painting.kind
        self.match.setChecked(kind == "match")
        self.forbid.setChecked(kind == "forbid")
        for each in (self.match, self.forbid):
            each.setEnabled(bool(self._pair[0]))
        text = " ".join(filter(None, [self.painting.problem, self.painting.prompt]))
        self.prompt.setText(text)
        self.prompt.setVisible(bool(text))

    def let_go(self) -> None:
        """Take everything off the canvas."""
        self.painting.cancel_all()
        self.layers.close()

    def _show_undo(self) -> None:
        stack = self._bench.session.undo
        for each, verb, text in (
            (self.undo, "Undo", stack.undo_text),
            (self.redo, "Do again", stack.redo_text),
        ):
            each.setEnabled(bool(text))
            each.setToolTip(f"{verb}: {text}" if text else f"Nothing to {verb.lower()}.")

    # -- slots -------------------------------------------------------------------------------

    def _on_study(self) -> None:
        self.painting.cancel_all()
        self.layers.close()

    def _on_match(self) -> None:
        self._toggle("match")

    def _on_forbid(self) -> None:
        self._toggle("forbid")

    def _toggle(self, kind: Kind) -> None:
        if self.painting.kind == kind:
            self.painting.cancel_all()
        else:
            with told_to_user("Constraints"):
                self.painting.begin(kind, *self._pair)
        self.refresh_tool()

    def _on_renamed(self, item: QListWidgetItem) -> None:
        old = item.data(_NAME)
        text = item.text()
        for mark in _MARKS.values():
            text = text.removeprefix(mark)
        with told_to_user("Rename"):
            self._model.rename(old, text)
        self.refresh()  # what was refused goes back to its name

    def _on_delete(self) -> None:
        with told_to_user("Delete"):
            self._model.remove([item.data(_NAME) for item in self.list.selectedItems()])

    def _on_selected(self) -> None:
        self.delete.setEnabled(bool(self.list.selectedItems()))
