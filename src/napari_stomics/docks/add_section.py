"""The form that adds a section from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_stomics.core.errors import UserError
from napari_stomics.docks.workbench import Workbench, told_to_user


class AddSectionForm(QWidget):
    """Choose a file or folder, see what it is, name it, and add it.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    def __init__(self, bench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bench = bench
        self._path, self._name = QLineEdit(), QLineEdit()
        self._pixel, self._modality = QLineEdit(), QLineEdit()
        self._found = QLabel("Choose a file or a folder.")
        self._found.setWordWrap(True)
        self._build()
        self._path.editingFinished.connect(self._inspect)

    def _build(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        row = QHBoxLayout()
        for text, slot in (("File...", self._choose_file), ("Folder...", self._choose_folder)):
            button = QPushButton(text)
            button.clicked.connect(slot)
            row.addWidget(button)
        form = QFormLayout()
        self._path.setPlaceholderText("path")
        self._name.setPlaceholderText("from the file name")
        self._pixel.setPlaceholderText("from the file")
        self._modality.setPlaceholderText("from the file")
        self._pixel.setToolTip("Micrometres per pixel, where the file does not say.")
        self._modality.setToolTip("rna, protein, chromatin, metabolite ... where it is not clear.")
        form.addRow("Path", self._path)
        form.addRow("Section name", self._name)
        form.addRow("Pixel size (um)", self._pixel)
        form.addRow("Modality", self._modality)
        self._add = QPushButton("Add section")
        self._add.clicked.connect(self._on_add)
        column.addLayout(row)
        column.addLayout(form)
        column.addWidget(self._found)
        column.addWidget(self._add)

    def set_path(self, path: str | Path) -> None:
        """Choose a path as if the user had typed it."""
        self._path.setText(str(path))
        self._inspect()

    def _choose_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Section file")
        if name:
            self.set_path(name)

    def _choose_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Section folder")
        if name:
            self.set_path(name)

    def _inspect(self) -> None:
        """Look at the path in the background: a network folder must not hold up the window."""
        from napari_stomics.data.readers import inspect

        path = self._path.text().strip()
        if path:
            self._found.setText("Looking ...")
            self._bench.runner.start(
                lambda ctx: inspect(path),
                title="Inspect files",
                kind="inspect",
                on_done=self._show_found,
                on_failed=self._show_problem,
                owner=self,
            )

    def _show_found(self, found: dict[str, Any]) -> None:
        self._found.setText(
            "\n".join(
                f"{k.replace('_', ' ')}: {v}" for k, v in found.items() if v not in (None, "")
            )
        )

    def _show_problem(self, error: BaseException) -> None:
        self._found.setText(str(error))

    def _on_add(self) -> None:
        with told_to_user("Add section"):
            self._bench.add_section(self._path.text().strip(), **self.options())

    def options(self) -> dict[str, Any]:
        """What the form says beyond the path; empty fields are left to the file.

        Raises
        ------
        UserError
            If no path is chosen or the pixel size is not a positive number.
        """
        if not self._path.text().strip():
            raise UserError("No file or folder is chosen.", "Choose one with the buttons above.")
        out: dict[str, Any] = {}
        if self._name.text().strip():
            out["name"] = self._name.text().strip()
        if self._modality.text().strip():
            out["modality"] = self._modality.text().strip()
        text = self._pixel.text().strip().replace(",", ".")
        if text:
            try:
                out["um_per_px"] = float(text)
            except ValueError:
                out["um_per_px"] = float("nan")
            if not out["um_per_px"] > 0:
                raise UserError(
                    f"The pixel size {text!r} is not a positive number.",
                    "Give micrometres per pixel, for instance 0.5.",
                )
        return out
