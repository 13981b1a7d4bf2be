"""Compare sections: overlay, swipe, checkerboard, flicker, side by side; and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari.viewer import Viewer
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QLabel,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_stomics.docks.messages import show_info
from napari_stomics.docks.workbench import told_to_user, workbench

MODES = {
    "normal": ("Normal", "Alt-0", "Every layer as you left it."),
    "overlay": ("Overlay", "Alt-1", "The moving section over the fixed one, see-through."),
    "swipe": ("Swipe", "Alt-2", "One section on each side of a line that you move."),
    "checkerboard": ("Checkerboard", "Alt-3", "The two sections in alternate squares."),
    "flicker": ("Flicker", "Alt-4", "The two sections in turn, at the same place."),
    "side by side": ("Side by side", "Alt-5", "Linked cameras: the same place in both."),
}
_FLICKER_MS = 500
_STEPS = 1000


class CompareDock(QWidget):
    """Judge a registration by eye.

    Parameters
    ----------
    napari_viewer
        The napari viewer; given by napari.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._bench = workbench(napari_viewer)
        self._flicker = QTimer(self)
        self._flicker.setInterval(_FLICKER_MS)
        self._build()
        self._bind_keys()
        self._flicker.timeout.connect(self._on_flicker)
        self._bench.study_opened.connect(self.refresh)
        self.refresh()

    def _build(self) -> None:
        column = QVBoxLayout(self)
        form = QFormLayout()
        self._source, self._target = QComboBox(), QComboBox()
        form.addRow("Moving section", self._source)
        form.addRow("Fixed section", self._target)
        column.addLayout(form)
        grid = QGridLayout()
        self._group = QButtonGroup(self)
        self._buttons: dict[str, QPushButton] = {}
        for i, (mode, (title, key, tip)) in enumerate(MODES.items()):
            button = QPushButton(title)
            button.setCheckable(True)
            button.setToolTip(f"{tip} ({key.replace('-', '+')})")
            button.clicked.connect(lambda _=False, mode=mode: self.set_mode(mode))
            self._group.addButton(button)
            self._buttons[mode] = button
            grid.addWidget(button, i // 2, i % 2)
        column.addLayout(grid)
        self._amount_label = QLabel()
        self._amount = QSlider(Qt.Orientation.Horizontal)
        self._amount.setRange(0, _STEPS)
        self._amount.setValue(_STEPS // 2)
        self._horizontal = QCheckBox("Horizontal line")
        for widget in (self._amount_label, self._amount, self._horizontal):
            column.addWidget(widget)
        self._hint = QLabel("Keys: " + ", ".join(f"{k} {t.lower()}" for t, k, _ in MODES.values()))
        self._hint.setWordWrap(True)
        column.addWidget(self._hint)
        export = QPushButton("Export figure...")
        export.setToolTip("Write what the canvas shows as a picture, with the scale bar.")
        export.clicked.connect(self._on_export)
        column.addWidget(export)
        column.addStretch()
        self._amount.valueChanged.connect(self._on_amount)
        self._horizontal.toggled.connect(self._on_amount)
        self._source.currentTextChanged.connect(self._on_pair)
        self._target.currentTextChanged.connect(self._on_pair)
        self._show_options("normal")

    def _bind_keys(self) -> None:
        for mode, (_, key, _tip) in MODES.items():
            self._bench.viewer.bind_key(
                key, lambda _viewer, mode=mode: self.set_mode(mode), overwrite=True
            )
        # The bindings must not outlive the dock that they act on.
        viewer = self._bench.viewer
        self.destroyed.connect(lambda: _unbind(viewer))

    # -- state -------------------------------------------------------------------------------

    def refresh(self) -> None:
        """List the sections anew; the pair chosen for landmarks comes first."""
        names = self._bench.session.section_names
        estimate = self._bench.session.estimate
        for combo, wanted in ((self._source, estimate.source), (self._target, estimate.target)):
            before = combo.currentText() or wanted
            combo.blockSignals(True)
            combo.clear()
            combo.addItems(names)
            if before in names:
                combo.setCurrentText(before)
            elif wanted in names:
                combo.setCurrentText(wanted)
            combo.blockSignals(False)
        for mode, button in self._buttons.items():
            button.setEnabled(len(names) > 1 or mode == "normal")
        self._hint.setVisible(len(names) > 1)
        self._flicker.stop()
        self._buttons["normal"].setChecked(True)
        self._show_options("normal")

    @property
    def mode(self) -> str:
        """The mode that is on."""
        return next((m for m, b in self._buttons.items() if b.isChecked()), "normal")

    def set_mode(self, mode: str) -> None:
        """Compare the two chosen sections in a mode."""
        self._flicker.stop()
        done = False
        with told_to_user("Compare"):
            self._comparison().set(mode, **self._options(mode))  # type: ignore[arg-type]
            done = True
        shown = mode if done else "normal"
        self._buttons[shown].setChecked(True)
        self._show_options(shown)
        if shown == "flicker":
            self._flicker.start()

    def _comparison(self) -> Any:
        from napari_stomics.core.errors import UserError

        source, target = self._source.currentText(), self._target.currentText()
        if not source or source == target:
            raise UserError("Two different sections are needed.", "Choose them above.")
        return self._bench.comparison(source, target)

    def _options(self, mode: str) -> dict[str, Any]:
        share = self._amount.value() / _STEPS
        if mode == "overlay":
            return {"opacity": share}
        if mode == "swipe":
            line = "horizontal" if self._horizontal.isChecked() else "vertical"
            return {"position": share, "orientation": line}
        if mode == "checkerboard":
            low, high = self._comparison().extent()
            return {"size": float((high - low).max()) * (0.02 + 0.4 * share**2)}
        return {}

    def _show_options(self, mode: str) -> None:
        titles = {"overlay": "Opacity", "swipe": "Position of the line", "checkerboard": "Squares"}
        for widget in (self._amount_label, self._amount):
            widget.setVisible(mode in titles)
        self._amount_label.setText(titles.get(mode, ""))
        self._horizontal.setVisible(mode == "swipe")

    # -- slots -------------------------------------------------------------------------------

    def _on_amount(self, *_: Any) -> None:
        if self.mode in ("overlay", "swipe", "checkerboard"):
            with told_to_user("Compare"):
                self._comparison().set(self.mode, **self._options(self.mode))

    def _on_pair(self, *_: Any) -> None:
        if self.mode != "normal":
            self.set_mode(self.mode)

    def _on_flicker(self) -> None:
        with told_to_user("Flicker"):
            self._comparison().toggle()

    def _on_export(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Export figure", "figure.png", "*.png")
        if name:
            from napari_stomics.layers.figure import export_figure

            with told_to_user("Export figure"):
                show_info(f"Figure written to {export_figure(self._bench.viewer, Path(name))}.")


def _unbind(viewer: Any) -> None:
    for _, key, _tip in MODES.values():
        viewer.bind_key(key, None, overwrite=True)
