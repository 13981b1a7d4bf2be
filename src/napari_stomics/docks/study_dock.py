"""Study and sections: open, add, colour and save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFileDialog,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QMenu,
    QMessageBox,
    QPushButton,
    QScrollArea,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_stomics.docks.add_section import AddSectionForm
from napari_stomics.docks.colour_panel import ColourPanel
from napari_stomics.docks.job_bar import JobBar
from napari_stomics.docks.workbench import workbench

_EMPTY = (
    "No study is open. Open a sample or a SpatialData store, or add a section from "
    "Space Ranger, Xenium, MERSCOPE, CosMx, h5ad, images ..."
)


class StudyDock(QWidget):
    """Open a study, see its sections, colour its spots, and save it.

    Parameters
    ----------
    napari_viewer
        The napari viewer; given by napari.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._bench = workbench(napari_viewer)
        self._build()
        self._bench.study_opened.connect(self._refresh)
        self._bench.results_changed.connect(self._refresh)
        self._bench.session.undo.changed.connect(self._show_state)
        self._bench.session.saved.connect(self._show_state)
        self._refresh()

    def _build(self) -> None:
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.addLayout(self._buttons())
        self._state = QLabel()
        self._state.setWordWrap(True)
        self._state.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        column.addWidget(self._state)
        self._tree = QTreeWidget()
        self._tree.setHeaderHidden(True)
        self._tree.setMinimumHeight(130)
        column.addWidget(self._tree)
        self._bar = JobBar(self._bench.runner)
        column.addWidget(self._bar)
        self._colour = ColourPanel(self._bench)
        self._add_form = AddSectionForm(self._bench)
        for title, widget in (("Colour spots by", self._colour), ("Add section", self._add_form)):
            box = QGroupBox(title)
            QVBoxLayout(box).addWidget(widget)
            column.addWidget(box)
        column.addStretch()
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inner)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)

    def _buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        sample = QPushButton("Sample")
        menu = QMenu(sample)
        menu.addAction("Olfactory bulb pair (real)", self._open_bulb)
        menu.addAction("Simulated pair", self._open_simulated)
        sample.setMenu(menu)
        row.addWidget(sample)
        for text, slot, tip in (
            ("Open...", self._on_open, "Open a study (SpatialData .zarr folder)."),
            ("Save", self._on_save, "Save the study where it was opened or saved last."),
            ("Save as...", self._on_save_as, "Save the study to a new .zarr folder."),
        ):
            button = QPushButton(text)
            button.setToolTip(tip)
            button.clicked.connect(slot)
            row.addWidget(button)
        return row

    # -- keeping in step ---------------------------------------------------------------------

    def _refresh(self) -> None:
        self._show_state()
        self._tree.clear()
        for name, section in self._bench.session.study.sections.items():
            record = section.record
            top = QTreeWidgetItem(self._tree, [name])
            for kind, entries in (
                ("image", record.images),
                ("spots", [record.spots] if record.spots else []),
                ("table", [f"{m}: {t}" for m, t in record.tables.items()]),
                ("labels", record.labels),
                ("shapes", record.shapes),
                ("points", record.points),
            ):
                for entry in entries:
                    QTreeWidgetItem(top, [f"{kind}  {entry}"])
            top.setExpanded(len(self._bench.session.section_names) <= 4)

    def _show_state(self, *_: Any) -> None:
        session = self._bench.session
        if not session.section_names:
            self._state.setText(_EMPTY)
            return
        where = session.study.path or "not saved yet"
        changed = "  -  unsaved changes" if session.unsaved else ""
        self._state.setText(f"{len(session.section_names)} section(s); {where}{changed}")

    # -- slots -------------------------------------------------------------------------------

    def _may_replace(self) -> bool:
        """Ask before a study with unsaved changes is replaced."""
        if not self._bench.session.unsaved:
            return True
        answer = QMessageBox.question(
            self,
            "Unsaved changes",
            "The open study has changes that are not saved. Open another one and lose them?",
        )
        return answer == QMessageBox.StandardButton.Yes

    def _open_bulb(self) -> None:
        if self._may_replace():
            self._bench.open_sample("olfactory-bulb")

    def _open_simulated(self) -> None:
        if self._may_replace():
            self._bench.open_sample("simulated-pair")

    def _on_open(self) -> None:
        if self._may_replace():
            name = QFileDialog.getExistingDirectory(self, "Open study (.zarr)")
            if name:
                self._bench.open_store(name)

    def _on_save(self) -> None:
        if self._bench.session.study.path is None:
            self._on_save_as()
        else:
            self._bench.save()

    def _on_save_as(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save study", "study.zarr", options=QFileDialog.Option.DontConfirmOverwrite
        )
        if not name:
            return
        path = Path(name if name.endswith(".zarr") else f"{name}.zarr")
        if self._confirmed(path):
            self._bench.save(path, overwrite=path.exists())

    def _confirmed(self, path: Path) -> bool:
        if not path.exists() or path == self._bench.session.study.path:
            return True
        text = f"{path} exists already. Replace it?"
        answer = QMessageBox.question(self, "Replace store", text)
        return answer == QMessageBox.StandardButton.Yes
