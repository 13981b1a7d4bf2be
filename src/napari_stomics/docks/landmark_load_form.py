"""The dialog that asks what a landmark file does not say about itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_stomics.core.errors import UserError
from napari_stomics.core.transforms import Affine
from napari_stomics.docks.landmark_io import LoadChoice, pixel_frames
from napari_stomics.docks.layout import wrapped_label
from napari_stomics.session.session import Session

TITLES = {
    "section": "One section",
    "study": "All sections",
    "bigwarp": "BigWarp",
    "magpie": "MAGPIE",
    "xenium": "Xenium Explorer",
    "qupath": "QuPath",
}
_COLUMNS = {
    "section": ("Section",),
    "qupath": ("Section",),
    "study": (),
    "bigwarp": ("Moving columns", "Fixed columns"),
    "magpie": ("Left columns", "Right columns"),
    "xenium": ("Fixed columns", "Alignment columns"),
}
_UNITS = (("As the file says", None), ("Pixels", "px"), ("Micrometres", "um"))
_ASKED = ("bigwarp", "magpie", "section")


class LoadForm(QDialog):
    """Format, sections, unit and pixel sizes of a landmark file, as far as they must be asked.

    Parameters
    ----------
    path
        The file.
    session
        The viewer's session.
    parent
        Qt parent.

    Raises
    ------
    UserError
        If the file is not one of landmarks.
    """

    def __init__(self, path: Path, session: Session, parent: QWidget | None = None) -> None:
        from napari_stomics.data.landmark_formats import guess_format

        super().__init__(parent)
        self.setWindowTitle(f"Load {path.name}")
        self._session = session
        try:
            guessed = guess_format(path.read_text(encoding="utf-8-sig"), path)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} cannot be read: {error}.", "Choose a text file.") from error
        self.format = QComboBox()
        for key, title in TITLES.items():
            self.format.addItem(title, key)
        self.format.setCurrentIndex(self.format.findData(guessed))
        self.sections = [QComboBox(), QComboBox()]
        self.unit = QComboBox()
        for title, unit in _UNITS:
            self.unit.addItem(title, unit)
        self.pixel_sizes = [QLineEdit(), QLineEdit()]
        self._build(path)
        self.format.currentIndexChanged.connect(self._show_fields)
        for combo in (*self.sections, self.unit):
            combo.currentIndexChanged.connect(self._show_pixel_sizes)
        self._show_fields()

    def choice(self) -> LoadChoice:
        """What was chosen.

        Raises
        ------
        UserError
            If a pixel size is not a positive number.
        """
        names = tuple(combo.currentText() for combo in self._used())
        frames: dict[str, float | Affine] = dict(pixel_frames(self._session, names))
        for name, box in zip(names, self.pixel_sizes, strict=False):
            text = box.text().strip()
            if text and text != _pixel_text(frames.get(name)):
                frames[name] = _positive(text, name)
        kind = str(self.format.currentData())
        if kind == "study":
            known = pixel_frames(self._session, self._session.section_names)
            return LoadChoice(kind, (), None, known)
        return LoadChoice(kind, names, self.unit.currentData(), frames)

    def _build(self, path: Path) -> None:
        form = self._form = QFormLayout()
        form.addRow("Format", self.format)
        estimate = self._session.estimate
        for combo, chosen in zip(self.sections, (estimate.source, estimate.target), strict=True):
            combo.addItems(self._session.section_names)
            combo.setCurrentIndex(max(0, combo.findText(chosen)))
            form.addRow(QLabel(), combo)
        form.addRow("Unit", self.unit)
        for box in self.pixel_sizes:
            box.setPlaceholderText("not known")
            form.addRow(QLabel(), box)
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(wrapped_label(f"Landmarks of {path}"))
        column.addLayout(form)
        column.addWidget(buttons)
        self.setMinimumWidth(420)

    def _used(self) -> list[QComboBox]:
        return self.sections[: len(_COLUMNS[str(self.format.currentData())])]

    def _show_fields(self, *_: Any) -> None:
        kind = str(self.format.currentData())
        titles = _COLUMNS[kind]
        order = [self._session.estimate.source, self._session.estimate.target]
        if kind == "xenium":
            order.reverse()
        for i, combo in enumerate(self.sections):
            self._form.setRowVisible(combo, i < len(titles))
            self._label(combo, titles[i] if i < len(titles) else "")
            if len(titles) == 2:
                combo.setCurrentIndex(max(0, combo.findText(order[i])))
        self._form.setRowVisible(self.unit, kind in _ASKED)
        self.unit.setCurrentIndex(0 if kind not in ("bigwarp", "magpie") else 1)
        self._show_pixel_sizes()

    def _show_pixel_sizes(self, *_: Any) -> None:
        kind = str(self.format.currentData())
        used = self._used() if self.unit.currentData() != "um" or kind not in _ASKED else []
        for i, box in enumerate(self.pixel_sizes):
            self._form.setRowVisible(box, i < len(used))
            if i < len(used):
                name = used[i].currentText()
                self._label(box, f"µm per pixel of {name}")
                box.setText(_pixel_text(pixel_frames(self._session, (name,)).get(name)))

    def _label(self, widget: QWidget, text: str) -> None:
        label: Any = self._form.labelForField(widget)
        label.setText(text)


def _pixel_text(frame: float | Affine | None) -> str:
    if isinstance(frame, Affine):
        frame = float(np.sqrt(abs(np.linalg.det(frame.matrix[:2, :2]))))
    return "" if frame is None else f"{frame:.6g}"


def _positive(text: str, name: str) -> float:
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = 0.0
    if not (np.isfinite(value) and value > 0):
        raise UserError(
            f"The pixel size of {name} is {text!r}, which is not a positive number.",
            "Give micrometres per pixel, for instance 0.2125.",
        )
    return value
