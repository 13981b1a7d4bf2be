"""Find a gene, protein or annotation by a part of its name and colour the spots by it."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledDoubleRangeSlider

from napari_stomics.docks.workbench import Workbench, told_to_user

_ALL = "All sections"
_SEARCH_DELAY_MS = 150


class ColourPanel(QWidget):
    """Type-ahead search, colour range and legend.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    def __init__(self, bench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bench = bench
        self._where = QComboBox()
        self._text = QLineEdit()
        self._text.setPlaceholderText("type a part of a gene, protein or annotation")
        self._text.setClearButtonEnabled(True)
        self._found, self._legend = QListWidget(), QListWidget()
        self._range = QLabeledDoubleRangeSlider(Qt.Orientation.Horizontal)
        self._reset = QPushButton("Reset range")
        self._note = QLabel("")
        self._note.setWordWrap(True)
        self._coloured: list[tuple[Any, Any]] = []
        self._delay = QTimer(self)
        self._delay.setSingleShot(True)
        self._delay.setInterval(_SEARCH_DELAY_MS)
        self._build()
        self._connect()
        self.refresh()

    def _build(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self._found.setFixedHeight(110)
        self._legend.setMaximumHeight(140)
        self._legend.setSelectionMode(QListWidget.SelectionMode.NoSelection)
        row = QHBoxLayout()
        row.addWidget(QLabel("Colour range"))
        row.addStretch()
        row.addWidget(self._reset)
        self._range_row = QWidget()
        inner = QVBoxLayout(self._range_row)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.addLayout(row)
        inner.addWidget(self._range)
        for widget in (self._where, self._text, self._found, self._note):
            column.addWidget(widget)
        column.addWidget(self._range_row)
        column.addWidget(self._legend)
        self._range_row.hide()
        self._legend.hide()

    def _connect(self) -> None:
        self._text.textChanged.connect(lambda _: self._delay.start())
        self._delay.timeout.connect(self.search)
        self._where.currentTextChanged.connect(self.search)
        self._text.returnPressed.connect(self._colour_first)
        self._found.itemClicked.connect(self._on_chosen)
        self._found.itemActivated.connect(self._on_chosen)
        self._range.valueChanged.connect(self._on_range)
        self._reset.clicked.connect(self._on_reset)
        self._bench.study_opened.connect(self.refresh)
        self._bench.results_changed.connect(self.search)

    def refresh(self) -> None:
        """List the sections anew."""
        names = self._bench.session.section_names
        self._where.blockSignals(True)
        self._where.clear()
        self._where.addItems(([_ALL] if len(names) > 1 else []) + names)
        self._where.blockSignals(False)
        self.search()

    def sections(self) -> list[str]:
        """Sections that are coloured: those that have spots."""
        session = self._bench.session
        chosen = self._where.currentText()
        names = session.section_names if chosen in ("", _ALL) else [chosen]
        return [n for n in names if n in session.study.record.sections and _has_spots(session, n)]

    def search(self, *_: Any) -> None:
        """Fill the list with what matches the text."""
        from napari_stomics.layers.features import search_features

        self._found.clear()
        seen: dict[Any, None] = {}
        for name in self.sections():
            for match in search_features(self._bench.session.study, name, self._text.text()):
                seen.setdefault(match, None)
        for match in list(seen)[:100]:
            item = QListWidgetItem(match.label, self._found)
            item.setData(Qt.ItemDataRole.UserRole, match)
        if self._text.text() and not seen:
            self._note.setText("Nothing of that name.")
        elif not self.sections():
            self._note.setText("No section with spots is open.")
        else:
            self._note.setText("")

    def colour(self, match: Any) -> None:
        """Colour the chosen sections' spots by a match, on one common range."""
        from napari_stomics.layers.section import find_section

        study, viewer = self._bench.session.study, self._bench.viewer
        self._coloured = []
        found = []
        with told_to_user(f"Colour by {match.key}"):
            for name, values in _colourings(study, self.sections(), match).items():
                layers = find_section(viewer, name)
                if layers is not None and layers.colourable is not None:
                    found.append((layers.colourable, values))
            self._apply(found)

    def _apply(self, found: list[tuple[Any, Any]]) -> None:
        from napari_stomics.layers.colour import apply_colouring

        for layer, values in found:
            apply_colouring(layer, values)
        self._coloured = found
        numeric = [values for _, values in found if values.numeric]
        self._range_row.setVisible(bool(numeric))
        if numeric:
            self._show_range(numeric)
        legend = dict(entry for _, values in found for entry in values.legend)
        self._show_legend(legend)

    def _show_range(self, numeric: list[Any]) -> None:
        import numpy as np

        finite = np.concatenate([v.values[np.isfinite(v.values)] for v in numeric])
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        limits = numeric[0].limits
        self._range.blockSignals(True)
        self._range.setRange(min(low, limits[0]), max(high, limits[1], low + 1e-9))
        self._range.setValue(limits)
        self._range.blockSignals(False)

    def _show_legend(self, legend: dict[str, str]) -> None:
        self._legend.clear()
        for name, colour in legend.items():
            swatch = QPixmap(14, 14)
            swatch.fill(QColor(colour))
            self._legend.addItem(QListWidgetItem(QIcon(swatch), name or "(none)"))
        self._legend.setVisible(bool(legend))
        self._legend.setFixedHeight(min(140, 8 + 20 * max(len(legend), 1)))

    def _colour_first(self) -> None:
        self._delay.stop()
        self.search()
        if self._found.count():
            self._found.setCurrentRow(0)
            self._on_chosen(self._found.item(0))

    def _on_chosen(self, item: QListWidgetItem | None) -> None:
        if item is not None:
            self.colour(item.data(Qt.ItemDataRole.UserRole))

    def _on_range(self, limits: tuple[float, float]) -> None:
        from napari_stomics.layers.colour import set_limits

        if limits[0] < limits[1]:
            with told_to_user("Colour range"):
                for layer, values in self._coloured:
                    if values.numeric and layer in self._bench.viewer.layers:
                        set_limits(layer, limits)

    def _on_reset(self) -> None:
        if self._coloured:
            self.colour(self._coloured[0][1].match)


def _has_spots(session: Any, name: str) -> bool:
    return bool(session.study.record.sections[name].tables)


def _colourings(study: Any, names: list[str], match: Any) -> dict[str, Any]:
    """Colours of each section that has the feature; numbers share one range."""
    from dataclasses import replace

    from napari_stomics.core.errors import UserError
    from napari_stomics.layers.colour import colouring

    out = {}
    for name in names:
        try:
            out[name] = colouring(study, name, match.key, match.modality, kind=match.kind)
        except UserError:
            if len(names) == 1:
                raise
    limits = [values.limits for values in out.values() if values.numeric]
    if len(limits) > 1:
        common = (min(low for low, _ in limits), max(high for _, high in limits))
        out = {n: replace(v, limits=common) if v.numeric else v for n, v in out.items()}
    return out
