"""The form that adds a section from files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_stomics.core.errors import StomicsError, UserError
from napari_stomics.docks.add_reference import add_reference
from napari_stomics.docks.jobs import Job, JobState
from napari_stomics.docks.layout import button, in_row
from napari_stomics.docks.name_combo import NameCombo
from napari_stomics.docks.workbench import Workbench, told_to_user

_CHOOSE = "Choose a file or a folder; then it says here what was found."
_PATHS = ("image", "mask", "selection", "channels")
"""Options that name another file."""
_NUMBERS = ("spot_diameter_um", "image_um_per_px")
_TITLES = {
    "image": "Image",
    "mask": "Cell mask",
    "selection": "Spot positions",
    "annotation": "Annotation",
    "channels": "Channel names",
    "spot_diameter_um": "Spot diameter (µm)",
    "image_um_per_px": "Image pixel (µm)",
    "bin_um": "Bin size (µm)",
    "in_tissue": "Only spots in tissue",
    "flip_y": "Turn upside down",
    "all_spots": "Also spots off tissue",
    "z": "Focal plane",
}
_AUTOMATIC = "(as found)"


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
        self._looked = ""
        self._kind = ""
        self._cells_only = False
        self._reading: Job | None = None
        self.path, self.name = QLineEdit(), QLineEdit()
        self.pixel, self.modality = QLineEdit(), QLineEdit()
        self.about = QLabel(_CHOOSE)
        self.add = button("Add section", self._on_add, "Read it in the background.")
        self._options: dict[str, QWidget] = {}
        self._build()
        self.path.editingFinished.connect(self._on_path)
        bench.runner.finished.connect(self._on_job_ended)

    def _build(self) -> None:
        self.about.setWordWrap(True)
        self.about.setTextFormat(Qt.TextFormat.PlainText)
        self.about.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.about.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.path.setPlaceholderText("path of a file or folder")
        self.name.setPlaceholderText("from the file name")
        self.pixel.setPlaceholderText("from the file")
        self.modality.setPlaceholderText("from the file")
        self.pixel.setToolTip("Micrometres per pixel, where the file does not say.")
        self.modality.setToolTip("rna, protein, chromatin, metabolite …, where it is not clear.")
        self._form = _form()
        for title, widget in (
            ("Name", self.name),
            ("Pixel size (µm)", self.pixel),
            ("Modality", self.modality),
        ):
            self._form.addRow(title, widget)
        self._more = _form()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        choose = in_row(
            button("File…", self._choose_file, "A file: h5ad, image, count table …"),
            button("Folder…", self._choose_folder, "A folder: Space Ranger, Xenium, MERSCOPE …"),
        )
        column.addWidget(self.path)
        column.addWidget(choose)
        column.addWidget(self.about)
        column.addLayout(self._form)
        column.addLayout(self._more)
        column.addWidget(self.add)
        self.add.setEnabled(False)

    def set_path(self, path: str | Path) -> None:
        """Choose a path as if the user had typed it."""
        self.path.setText(str(path))
        self._on_path()

    def _choose_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Section file")
        if name:
            self.set_path(name)

    def _choose_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Section folder")
        if name:
            self.set_path(name)

    # -- looking -----------------------------------------------------------------------------

    def _on_path(self) -> None:
        """Look at the path in the background: a network folder must not hold up the window."""
        path = self.path.text().strip()
        if path == self._looked:
            return
        self._looked = path
        self._show_found({})
        if path:
            self.about.setText("Looking …")
            self._bench.runner.start(
                lambda ctx: look(path),
                title="Inspect files",
                kind="inspect",
                on_done=partial(_tell, self, path),
                owner=self,
            )

    def _show_found(self, found: dict[str, Any]) -> None:
        self._kind = found.get("kind", "")
        self._cells_only = "obsm['spatial']" in found.get("missing", ())
        self.add.setText("Add as single cells" if self._cells_only else "Add section")
        self.about.setText(found_text(found) if found else _CHOOSE)
        self.add.setEnabled(bool(self._kind))
        self.name.setPlaceholderText(found.get("name") or "from the file name")
        size = found.get("um_per_px")
        self.pixel.setPlaceholderText(f"{size:.4g} from the file" if size else "from the file")
        if "um_per_px" in found.get("needs", ()):
            self.pixel.setPlaceholderText("needed: the file does not say")
        self.modality.setPlaceholderText(", ".join(found.get("modalities", {})) or "from the file")
        self._make_options(found)

    def _make_options(self, found: dict[str, Any]) -> None:
        while self._more.rowCount():
            self._more.removeRow(0)
        self._options = {}
        for name, default in found.get("defaults", {}).items():
            editor = _editor(name, default, found.get("choices", {}).get(name))
            if editor is not None:
                editor.setObjectName(name)
                self._options[name] = editor
                self._more.addRow(_title(name), editor)

    def _problem(self, text: str) -> None:
        self._show_found({})
        self.about.setText(text)

    # -- adding ------------------------------------------------------------------------------

    def _on_add(self) -> None:
        with told_to_user("Add section"):
            path, options = self.path.text().strip(), self.options()
            if self._cells_only:
                self._reading = add_reference(self._bench, path, **_of_cells(options))
            else:
                self._reading = self._bench.add_section(path, **options)
            self.add.setEnabled(False)

    def _on_job_ended(self, job: Job) -> None:
        if job is self._reading:
            self._reading = None
            self.add.setEnabled(bool(self._kind))
            if job.state is JobState.SUCCEEDED:
                self.clear()

    def clear(self) -> None:
        """Make ready for the next section."""
        for line in (self.path, self.name, self.pixel, self.modality):
            line.clear()
        self._on_path()

    def options(self) -> dict[str, Any]:
        """What the form says beyond the path; empty fields are left to the file.

        Raises
        ------
        UserError
            If no path is chosen or a number is not one.
        """
        if not self.path.text().strip():
            raise UserError("No file or folder is chosen.", "Choose one with the buttons above.")
        out: dict[str, Any] = {
            "name": self.name.text().strip(),
            "modality": self.modality.text().strip(),
            "um_per_px": _positive(self.pixel.text(), "The pixel size"),
        }
        for name, editor in self._options.items():
            out[name] = _value(name, editor)
        return {name: value for name, value in out.items() if value not in (None, "")}


class PathLine(QWidget):
    """A path, typed or chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.line = QLineEdit()
        self.line.setPlaceholderText("none")
        choose = button("…", self._choose, "Choose a file")
        choose.setMaximumWidth(36)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(in_row(self.line, choose))

    def _choose(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "File")
        if name:
            self.line.setText(name)


def look(path: str) -> dict[str, Any] | str:
    """Say what a path is and which options it takes, or in words why it cannot be read."""
    from napari_stomics.data.readers import inspect, option_defaults

    try:
        found = inspect(path)
    except StomicsError as error:
        return str(error)
    return {**found, "defaults": option_defaults(found["kind"])}


def found_text(found: dict[str, Any]) -> str:
    """What was found, in a few lines."""
    lines = [found["label"]]
    if found.get("n_spots"):
        lines.append(f"{found['n_spots']:,} spots or cells")
    parts = [f"{name}: {count:,} features" for name, count in found.get("modalities", {}).items()]
    if parts:
        lines.append("; ".join(parts))
    for image in found.get("images", ()):
        size = image.get("um_per_px")
        scale = f", {size:.3g} µm per pixel" if size else ""
        lines.append(f"image {image['name']}: {image['width']:,} × {image['height']:,}{scale}")
    if not found.get("images"):
        lines.append("no image")
    lines += [f"⚠ Missing: {name}" for name in found.get("missing", ())]
    if "obsm['spatial']" in found.get("missing", ()):
        return "\n".join([*lines, "It can be added as single cells, to be placed in a section."])
    lines += [f"⚠ Needed: {_title(name)}" for name in found.get("needs", ())]
    return "\n".join([*lines, *found.get("notes", ())])


def _of_cells(options: dict[str, Any]) -> dict[str, Any]:
    """What of a section's options single cells have too."""
    names = {"name": "name", "modality": "modality", "annotation": "labels"}
    return {names[key]: value for key, value in options.items() if key in names}


def _tell(form: AddSectionForm, path: str, found: dict[str, Any] | str) -> None:
    if form._looked != path:
        return
    if isinstance(found, str):
        form._problem(found)
    else:
        form._show_found(found)


def _title(name: str) -> str:
    if name == "um_per_px":
        return "Pixel size (µm)"
    return _TITLES.get(name, name.replace("_", " ").capitalize())


def _editor(name: str, default: Any, choices: Any) -> QWidget | None:
    """What edits an option of a reader, or None for one that is left to scripts."""
    if isinstance(default, bool):
        box = QCheckBox()
        box.setChecked(default)
        return box
    if isinstance(choices, list):
        combo = NameCombo()
        combo.addItem(_AUTOMATIC, None)
        for choice in choices:
            combo.addItem(str(choice), choice)
        return combo if choices else None
    if name in _PATHS:
        line = PathLine()
        line.line.setText(choices if isinstance(choices, str) else "")
        return line
    if name in _NUMBERS or name == "annotation":
        text = QLineEdit()
        text.setPlaceholderText("from the file" if name in _NUMBERS else "column of obs")
        return text
    return None


def _value(name: str, editor: QWidget) -> Any:
    if isinstance(editor, QCheckBox):
        return editor.isChecked()
    if isinstance(editor, NameCombo):
        return editor.currentData()
    if isinstance(editor, PathLine):
        return editor.line.text().strip()
    assert isinstance(editor, QLineEdit)
    return _positive(editor.text(), _title(name)) if name in _NUMBERS else editor.text().strip()


def _positive(text: str, what: str) -> float | None:
    text = text.strip().replace(",", ".")
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not 0 < number < float("inf"):
        raise UserError(f"{what} {text!r} is not a positive number.", "Give one, for instance 0.5.")
    return number


def _form() -> QFormLayout:
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setVerticalSpacing(4)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    return form
