"""Study and sections: open, add, colour and save."""

from __future__ import annotations

from pathlib import Path

from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFileDialog,
    QLabel,
    QMenu,
    QMessageBox,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from napari_stomics.docks.add_reference import choose_reference
from napari_stomics.docks.add_section import AddSectionForm
from napari_stomics.docks.colour_panel import ColourPanel
from napari_stomics.docks.dock import Dock
from napari_stomics.docks.host_docks import HostDocks
from napari_stomics.docks.job_bar import JobBar
from napari_stomics.docks.layout import Fold, button, in_column, in_row
from napari_stomics.docks.restore_bar import RestoreBar
from napari_stomics.docks.section_tree import SectionTree
from napari_stomics.docks.workbench import told_to_user

_EMPTY = (
    "No study is open. Open a sample, or a study that was saved; or add sections below: "
    "Space Ranger, Xenium, MERSCOPE, CosMx, h5ad, images and others."
)
_QUIET = ("colour", "inspect")
"""Kinds of jobs that are part of a gesture: their panel shows how they end."""


class StudyDock(Dock):
    """Open a study, see its sections, colour its spots, and save it.

    Parameters
    ----------
    napari_viewer
        The napari viewer; given by napari.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self._build()
        bench, session = self._bench, self._bench.session
        layers = bench.viewer.layers.events
        self.listen(
            (bench.study_opened, self._on_study),
            (bench.results_changed, self._on_results),
            (session.undo.changed, self._show_state),
            (session.saved, self._on_saved),
            (session.reference_added, self._on_reference),
            (bench.runner.finished, self._on_job_ended),
            (bench.runner.finished, self.colour.on_job_ended),
            (layers, self.tree.on_layers),
            (layers.removed, self.colour.on_layer_removed),
        )
        self._on_study()

    def _build(self) -> None:
        self._state = QLabel()
        self._state.setWordWrap(True)
        self._state.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._state.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.tree = SectionTree(self._bench)
        self.bar = JobBar(self._bench.runner, is_of_study)
        self.colour = ColourPanel(self._bench)
        self.add_form = AddSectionForm(self._bench)
        self._adding = Fold("Add a section", self.add_form)
        self.add_cells = button(
            "Add single cells…",
            self._on_add_cells,
            "Cells without positions (h5ad, h5mu, 10x h5), to be placed in a section or to "
            "learn from.",
        )
        self._exploring = Fold("Explore (napari-spatialdata)", HostDocks(self._bench), shown=False)
        self._colouring = Fold("Colour spots by", self.colour)
        inner = in_column(
            RestoreBar(self._bench),
            self._buttons(),
            self._state,
            self.tree,
            self.bar,
            self._colouring,
            self._adding,
            self.add_cells,
            self._exploring,
            stretch=True,
        )
        self.fill(inner)

    def _buttons(self) -> QWidget:
        self._sample = QPushButton("Sample")
        self._sample.setToolTip("Open data that come with the plugin.")
        menu = QMenu(self._sample)
        menu.addAction("Olfactory bulb, two serial sections (real)", self._open_bulb)
        menu.addAction("Simulated pair with known truth", self._open_simulated)
        self._sample.setMenu(menu)
        open_ = button("Open…", self._on_open, "Open a study: a SpatialData folder (.zarr).")
        self._save = button("Save", self._on_save, "Save where it was opened or saved last.")
        self._save_as = button("Save as…", self._on_save_as, "Save to a new folder (.zarr).")
        row = in_row(self._sample, open_, self._save, self._save_as)
        for each in (self._sample, open_, self._save, self._save_as):
            each.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
        return row

    def taken_up(self) -> None:
        """Show what happened meanwhile."""
        self._on_study()

    # -- keeping in step ---------------------------------------------------------------------

    def _on_study(self) -> None:
        self.tree.refresh()
        study = self._bench.session.study
        self.tree.setVisible(bool(self._bench.session.section_names or study.record.references))
        for part in (self._colouring, self._exploring):
            part.setVisible(bool(self._bench.session.section_names))
        self.colour.refresh()
        self._show_state()

    def _on_results(self) -> None:
        self.tree.refresh()
        self.colour.search()
        self._show_state()

    def _on_saved(self, report: object) -> None:
        self._show_state()

    def _on_reference(self, name: str) -> None:
        self._on_study()

    def _on_job_ended(self, job: object) -> None:
        self._show_state()

    def _show_state(self) -> None:
        session = self._bench.session
        names = session.section_names
        self._save.setEnabled(bool(names) and not session.is_saving)
        self._save_as.setEnabled(bool(names) and not session.is_saving)
        cells = len(session.study.record.references)
        if not names and not cells:
            self._state.setText(_EMPTY)
            return
        count = f"{len(names)} section{'s' if len(names) != 1 else ''}"
        count += f", {cells} set{'s' if cells != 1 else ''} of single cells" if cells else ""
        where = str(session.study.path) if session.study.path else "not saved yet"
        changed = " — unsaved changes" if session.unsaved else ""
        self._state.setText(f"{count}, {_breakable(where)}{changed}")
        self._state.setToolTip(session.study.record.credit)

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

    def _on_add_cells(self) -> None:
        with told_to_user("Add single cells"):
            choose_reference(self._bench, self)

    def _on_save(self) -> None:
        if self._bench.session.study.path is None:
            self._on_save_as()
        else:
            self._bench.save()
            self._show_state()

    def _on_save_as(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save study", "study.zarr", options=QFileDialog.Option.DontConfirmOverwrite
        )
        if not name:
            return
        path = Path(name if name.endswith(".zarr") else f"{name}.zarr")
        if self._confirmed(path):
            self._bench.save(path, overwrite=path.exists())
            self._show_state()

    def _confirmed(self, path: Path) -> bool:
        if not path.exists() or path == self._bench.session.study.path:
            return True
        text = f"{path} exists already. Replace it?"
        answer = QMessageBox.question(self, "Replace store", text)
        return answer == QMessageBox.StandardButton.Yes


def is_of_study(kind: str) -> bool:
    """Whether a job opens, reads or saves, and does not run a method or answer a gesture."""
    return kind not in _QUIET and "/" not in kind.split(" ")[0]


def _breakable(path: str) -> str:
    """Let a long path break at its slashes."""
    return path.replace("/", "/\u200b")
