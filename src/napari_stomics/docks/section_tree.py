"""The tree of sections and their elements, with a tick for what is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtWidgets import QAbstractItemView, QTreeWidget, QTreeWidgetItem, QWidget

from napari_stomics.docks.workbench import Workbench, told_to_user
from napari_stomics.layers.tags import tagged

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_stomics.data.single_cells import Reference
    from napari_stomics.data.study import Section

_SHOWN = Qt.CheckState.Checked
_HIDDEN = Qt.CheckState.Unchecked
_EVENTS = ("inserted", "removed", "visible")
_FEW = 4
"""Up to this many sections the elements of each are shown at first."""
_ROWS = (5, 12)
_IS_CELLS = Qt.ItemDataRole.UserRole + 1
"""Marks the line of single cells, which have no layers to tick."""


class Entry(NamedTuple):
    """What one line of the tree stands for."""

    section: str
    role: str
    element: str
    channel: str | None = None


class SectionTree(QTreeWidget):
    """Sections and elements; a tick shows and hides their layers, and follows them.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self.follow_layers)
        self.setHeaderHidden(True)
        self.setAccessibleName("Sections")
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setIndentation(16)
        show_empty_ticks(self)
        self.itemChanged.connect(self._on_ticked)
        self.itemClicked.connect(self._on_clicked)
        self.itemExpanded.connect(self.updateGeometry)
        self.itemCollapsed.connect(self.updateGeometry)

    def sizeHint(self) -> QSize:
        """As tall as its lines, within limits: what is below should not be far away."""
        rows = sum(1 + self._open_children(i) for i in range(self.topLevelItemCount()))
        height = max(self.sizeHintForRow(0), self.fontMetrics().lineSpacing() + 4)
        return QSize(200, min(max(rows, _ROWS[0]), _ROWS[1]) * height + 2 * self.frameWidth() + 4)

    def minimumSizeHint(self) -> QSize:
        """As :meth:`sizeHint`, so that a scroll area does not squeeze it."""
        return self.sizeHint()

    def _open_children(self, index: int) -> int:
        item = self.topLevelItem(index)
        return item.childCount() if item.isExpanded() else 0

    # -- from the study ----------------------------------------------------------------------

    def refresh(self) -> None:
        """List the sections of the study anew; what was folded stays folded."""
        folded = {item.text(0): not item.isExpanded() for item in self._tops()}
        sections = self._bench.session.study.sections
        self.blockSignals(True)
        self.clear()
        for name, section in sections.items():
            top = QTreeWidgetItem(self, [name])
            top.setToolTip(0, _about(section))
            top.setCheckState(0, _HIDDEN)
            for entry, text in entries(section):
                self._add(top, entry, text)
            for modality, table in section.record.tables.items():
                QTreeWidgetItem(top, [_table_text(section, modality, table)])
            top.setExpanded(not folded.get(name, len(sections) > _FEW))
        for reference in self._bench.session.study.references.values():
            self._add_cells(reference, folded)
        self.blockSignals(False)
        self.follow_layers()
        self.updateGeometry()

    def _add_cells(self, reference: Reference, folded: dict[str, bool]) -> None:
        """List single cells: one line per table, with cells, features and labels."""
        text = f"single cells  {reference.name}"
        top = QTreeWidgetItem(self, [text])
        top.setData(0, _IS_CELLS, True)
        top.setToolTip(0, f"Cells without positions, from {reference.record.source}")
        for modality in reference.modalities:
            table = reference.table(modality)
            line = f"{modality}  {table.n_obs:,} cells × {table.n_vars:,} features"
            QTreeWidgetItem(top, [line])
            labels = reference.labels(modality)
            if labels is not None:
                names = sorted(set(labels) - {""})
                item = QTreeWidgetItem(top, [f"{len(names):,} labels  {reference.record.labels}"])
                item.setToolTip(0, ", ".join(names))
        top.setExpanded(not folded.get(text, False))

    def _add(self, top: QTreeWidgetItem, entry: Entry, text: str) -> None:
        item = QTreeWidgetItem(top, [text])
        item.setData(0, Qt.ItemDataRole.UserRole, entry)
        item.setCheckState(0, _HIDDEN)
        item.setToolTip(0, f"{text}\nTick to show it, click to select its layer.")

    # -- in step with the layers -------------------------------------------------------------

    def on_layers(self, event: Any) -> None:
        """Hear of any change in the viewer's layers."""
        if event.type in _EVENTS and not self._soon.isActive():
            self._soon.start()

    def follow_layers(self) -> None:
        """Tick what is visible."""
        self.blockSignals(True)
        for top in self._tops():
            if top.data(0, _IS_CELLS):
                continue
            states = []
            for item in _children(top):
                entry = item.data(0, Qt.ItemDataRole.UserRole)
                if entry is not None:
                    layers = self.layers_of(entry)
                    shown = any(layer.visible for layer in layers)
                    item.setCheckState(0, _SHOWN if shown else _HIDDEN)
                    _dim(item, not layers)
                    states.append(shown)
            top.setCheckState(0, _together(states))
        self.blockSignals(False)

    def layers_of(self, entry: Entry) -> list[Layer]:
        """The layers of a line, the one to show first in front."""
        roles = ("overview", "spots") if entry.role == "spots" else (entry.role,)
        found = []
        for role in roles:
            wanted = {"section": entry.section, "role": role, "element": entry.element}
            if entry.channel is not None:
                wanted["channel"] = entry.channel
            found += tagged(self._bench.viewer, **wanted)
        return found

    def show_entry(self, entry: Entry, shown: bool) -> None:
        """Show or hide the layers of a line; one that the user removed is made anew."""
        from napari_stomics.layers.section import show_missing

        layers = self.layers_of(entry)
        if shown and not layers:
            show_missing(self._bench.viewer, self._bench.session.study, entry.section)
            layers = self.layers_of(entry)
        for i, layer in enumerate(layers):
            layer.visible = shown and i == 0

    # -- slots -------------------------------------------------------------------------------

    def _on_ticked(self, item: QTreeWidgetItem, column: int) -> None:
        shown = item.checkState(0) == _SHOWN
        entry = item.data(0, Qt.ItemDataRole.UserRole)
        with told_to_user("Show section"):
            for each in [entry] if entry is not None else self._to_change(item, shown):
                self.show_entry(each, shown)
        self._soon.start()

    def _to_change(self, top: QTreeWidgetItem, shown: bool) -> list[Entry]:
        """What the tick of a section changes: hides all; shows its first image and spots."""
        found = [i.data(0, Qt.ItemDataRole.UserRole) for i in _children(top)]
        every = [entry for entry in found if entry is not None]
        if not shown:
            return [entry for entry in every if self.layers_of(entry)]
        images = [e for e in every if e.role == "image"]
        first = [e for e in images if e.element == images[0].element][:3]
        return (first + [e for e in every if e.role == "spots"]) or every

    def _on_clicked(self, item: QTreeWidgetItem, column: int) -> None:
        entry = item.data(0, Qt.ItemDataRole.UserRole)
        layers = self.layers_of(entry) if entry is not None else []
        if layers:
            self._bench.viewer.layers.selection = {layers[0]}

    def _tops(self) -> list[QTreeWidgetItem]:
        return [self.topLevelItem(i) for i in range(self.topLevelItemCount())]


def entries(section: Section) -> list[tuple[Entry, str]]:
    """What a section shows as layers, with the text of its line."""
    from napari_stomics.layers.section import is_brightfield

    record, name, out = section.record, section.name, []
    for element in record.images:
        channels = section.image(element).channels
        if is_brightfield(channels):
            out.append((Entry(name, "image", element), f"image  {element}"))
        else:
            out += [
                (Entry(name, "image", element, c), f"image  {element}  [{c}]") for c in channels
            ]
    if record.spots is not None:
        out.append((Entry(name, "spots", record.spots), f"spots  {record.spots}"))
    for role, elements in (
        ("labels", record.labels),
        ("shapes", record.shapes),
        ("points", record.points),
    ):
        out += [(Entry(name, role, element), f"{role}  {element}") for element in elements]
    return out


def show_empty_ticks(view: QWidget) -> None:
    """Draw a frame round boxes that are not ticked: napari's theme leaves them invisible."""
    view.setStyleSheet("::indicator:unchecked { border: 1px solid gray; border-radius: 2px; }")


def _about(section: Section) -> str:
    record = section.record
    lines = [record.name, record.technology, record.source and f"from {record.source}"]
    if record.pixel_size_um:
        lines.append(f"{record.pixel_size_um:.4g} µm per pixel")
    return "\n".join(line for line in lines if line)


def _table_text(section: Section, modality: str, table: str) -> str:
    count, features = section.study.sdata.tables[table].shape
    if not features:
        return f"{modality}  {count:,}, with results alone"
    return f"{modality}  {count:,} × {features:,} features"


def _children(top: QTreeWidgetItem) -> list[QTreeWidgetItem]:
    return [top.child(i) for i in range(top.childCount())]


def _together(states: list[bool]) -> Qt.CheckState:
    if not any(states):
        return _HIDDEN
    return _SHOWN if all(states) else Qt.CheckState.PartiallyChecked


def _dim(item: QTreeWidgetItem, dim: bool) -> None:
    font = item.font(0)
    if font.italic() != dim:
        font.setItalic(dim)
        item.setFont(0, font)
