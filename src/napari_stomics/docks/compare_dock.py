"""Compare sections: overlay, swipe, checkerboard, flicker, side by side; and figures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakMethod

import numpy as np
from napari.viewer import Viewer
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QLabel,
    QSizePolicy,
    QSlider,
    QWidget,
)

from napari_stomics.core.errors import UserError
from napari_stomics.docks.dock import Dock
from napari_stomics.docks.landmark_keys import KeyAction, KeyMap
from napari_stomics.docks.layout import Fold, button, in_column, in_row
from napari_stomics.docks.messages import show_info
from napari_stomics.docks.name_combo import NameCombo
from napari_stomics.docks.workbench import told_to_user

MODES = {
    "normal": ("Normal", "Alt-0", "Every layer as you left it."),
    "overlay": ("Overlay", "Alt-1", "The moving section over the fixed one, see-through."),
    "swipe": ("Swipe", "Alt-2", "One section on each side of a line that you move."),
    "checkerboard": ("Checkerboard", "Alt-3", "The two sections in alternate squares."),
    "flicker": ("Flicker", "Alt-4", "The two sections in turn, at the same place."),
    "side by side": ("Side by side", "Alt-5", "Linked cameras: the same place in both."),
}
_SLIDERS = {
    "overlay": "Opacity of the moving section",
    "swipe": "Position of the line",
    "checkerboard": "Size of the squares",
    "flicker": "Turns a second",
}
_STEPS = 1000
_REDRAW_MS = 30
_SCALES = {"Screen resolution": 1.0, "2 × finer": 2.0, "4 × finer": 4.0}


class CompareDock(Dock):
    """Judge a registration by eye.

    Parameters
    ----------
    napari_viewer
        The napari viewer; given by napari.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self._amounts = dict.fromkeys(_SLIDERS, _STEPS // 2)
        self._keys: KeyMap | None = None
        self._ours = False
        self.flicker = QTimer(self)
        self.flicker.timeout.connect(self._on_flicker)
        # A drag sends more positions than the canvas can draw.
        self._redraw = QTimer(self)
        self._redraw.setSingleShot(True)
        self._redraw.setInterval(_REDRAW_MS)
        self._redraw.timeout.connect(self._adjust)
        self._build()
        bench = self._bench
        self.listen(
            (bench.study_opened, self.refresh),
            (bench.comparison_changed, self.follow),
            (bench.viewer.layers.events.removed, self._on_layer_removed),
        )
        self.taken_up()

    # -- layout ------------------------------------------------------------------------------

    def _build(self) -> None:
        self.source, self.target = NameCombo(), NameCombo()
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Moving section", self.source)
        form.addRow("Fixed section", self.target)
        self._pair = QWidget()
        self._pair.setLayout(form)
        self._note = QLabel()
        self._note.setWordWrap(True)
        self._note.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.amount = QSlider(Qt.Orientation.Horizontal)
        self.amount.setRange(0, _STEPS)
        self.amount.setValue(_STEPS // 2)
        self._amount_label = QLabel()
        self.horizontal = QCheckBox("Horizontal line")
        self.fill(
            in_column(
                self._pair,
                self._mode_buttons(),
                self._amount_label,
                self.amount,
                self.horizontal,
                self._note,
                Fold("Figure", self._figure_part()),
                stretch=True,
            )
        )
        self.amount.valueChanged.connect(self._on_amount)
        self.horizontal.toggled.connect(self._adjust)
        self.source.currentTextChanged.connect(self._on_pair)
        self.target.currentTextChanged.connect(self._on_pair)

    def _mode_buttons(self) -> QWidget:
        box = QWidget()
        grid = QGridLayout(box)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        self._group = QButtonGroup(self)
        self.buttons = {}
        for i, (mode, (title, key, tip)) in enumerate(MODES.items()):
            text = f"{title}   {key.replace('-', '+')}"
            self.buttons[mode] = button(text, _later(self.set_mode, mode), tip, checkable=True)
            self._group.addButton(self.buttons[mode])
            grid.addWidget(self.buttons[mode], i // 2, i % 2)
        self.buttons["normal"].setChecked(True)
        return box

    def _figure_part(self) -> QWidget:
        self.scale = NameCombo()
        self.scale.set_names(list(_SCALES))
        self.legend = QCheckBox("With legend")
        self.legend.setChecked(True)
        self.whole = QCheckBox("Whole extent")
        self.whole.setToolTip("All of the data rather than what the view shows.")
        export = button(
            "Export figure…", self._on_export, "Write the canvas as a picture, with a scale bar."
        )
        return in_column(self.scale, in_row(self.legend, self.whole), export)

    # -- standing in a window or not ---------------------------------------------------------

    def taken_up(self) -> None:
        """Bind the keys and show what is on."""
        if self._keys is None:
            actions = [
                KeyAction(key, tip, _later(self.set_mode, mode))
                for mode, (_, key, tip) in MODES.items()
            ]
            self._keys = KeyMap(self._bench.viewer, actions)
        self.refresh()

    def let_go(self) -> None:
        """Give the keys back and show every layer as it was."""
        self.flicker.stop()
        keys, self._keys = self._keys, None
        if keys is not None:
            keys.unbind()
        if self._ours:
            with told_to_user("Compare"):
                self._bench.leave_comparison()

    def stop_listening(self) -> None:
        """Also give the keys back when Qt destroys the dock."""
        super().stop_listening()
        keys, self._keys = self._keys, None
        if keys is not None:
            keys.unbind()

    # -- state -------------------------------------------------------------------------------

    def refresh(self) -> None:
        """List the sections anew; the pair chosen for landmarks comes first."""
        names = self._bench.session.section_names
        estimate = self._bench.session.estimate
        self.source.set_names(names, estimate.source)
        self.target.set_names(names, estimate.target)
        several = len(names) > 1
        self._pair.setVisible(several)
        for mode, each in self.buttons.items():
            each.setEnabled(several or mode == "normal")
        self.follow()

    @property
    def mode(self) -> str:
        """The mode that is on for the two chosen sections."""
        if self._bench.compared != (self.source.currentText(), self.target.currentText()):
            return "normal"
        return self._bench.compared_mode

    def follow(self) -> None:
        """Show the mode that is on, whoever set it."""
        mode = self.mode
        if mode not in self.buttons:  # two answers beside each other, asked for elsewhere
            mode = "normal"
        self.buttons[mode].setChecked(True)
        self._ours = self._ours and mode != "normal"
        if mode != "flicker":
            self.flicker.stop()
        elif self._ours:
            self.flicker.start(self._interval())
        self._show_options(mode)

    def set_mode(self, mode: str) -> None:
        """Compare the two chosen sections in a mode; a mode that is refused says why."""
        with told_to_user("Compare"):
            if mode == "normal":
                self._bench.leave_comparison()
            else:
                with self._same_view():
                    self._comparison().set(mode, **self._options(mode))
                self._ours = True
        self.follow()

    def _comparison(self) -> Any:
        source, target = self.source.currentText(), self.target.currentText()
        if not source or source == target:
            raise UserError("Two different sections are needed.", "Choose them above.")
        return self._bench.comparison(source, target)

    @contextmanager
    def _same_view(self) -> Iterator[None]:
        """Keep as much in sight when the canvas is divided, or no longer is."""
        viewer = self._bench.viewer
        before = np.min(viewer.canvas.viewbox_size(viewer.layers))
        yield
        viewer.scene.camera.zoom *= np.min(viewer.canvas.viewbox_size(viewer.layers)) / before

    def _options(self, mode: str) -> dict[str, Any]:
        share = self._amounts.get(mode, 0) / _STEPS
        if mode == "overlay":
            return {"opacity": share}
        if mode == "swipe":
            line = "horizontal" if self.horizontal.isChecked() else "vertical"
            return {"position": share, "orientation": line}
        if mode == "checkerboard":
            low, high = self._comparison().extent
            return {"size": float((high - low).max()) * (0.02 + 0.4 * share**2)}
        return {}

    def _interval(self) -> int:
        """Milliseconds of each turn: from 2 s down to 0.1 s."""
        return round(2000 * 0.05 ** (self._amounts["flicker"] / _STEPS))

    def _show_options(self, mode: str) -> None:
        several = len(self._bench.session.section_names) > 1
        for widget in (self._amount_label, self.amount):
            widget.setVisible(mode in _SLIDERS)
        self._amount_label.setText(_SLIDERS.get(mode, ""))
        self.amount.blockSignals(True)
        self.amount.setValue(self._amounts.get(mode, 0))
        self.amount.blockSignals(False)
        self.horizontal.setVisible(mode == "swipe")
        self._note.setText(self._hint(mode, several))

    def _hint(self, mode: str, several: bool) -> str:
        if not several:
            return "Two sections are needed to compare them. Open a study, or add sections to it."
        source, target = self.source.currentText(), self.target.currentText()
        if source == target:
            return "Choose two different sections."
        if self._bench.session.study.registration(source, target) is None:
            return f"{MODES[mode][2]} Nothing registers {source} to {target} yet."
        return MODES[mode][2]

    # -- slots -------------------------------------------------------------------------------

    def _on_amount(self, value: int) -> None:
        self._amounts[self.mode] = value
        if not self._redraw.isActive():
            self._redraw.start()

    def _adjust(self) -> None:
        if self.mode == "flicker":
            self.flicker.setInterval(self._interval())
        elif self.mode in _SLIDERS:
            with told_to_user("Compare"):
                self._comparison().set(self.mode, **self._options(self.mode))

    def _on_pair(self) -> None:
        mode = self._bench.compared_mode if self._ours else "normal"
        if mode != "normal" and self.source.currentText() != self.target.currentText():
            self.set_mode(mode)
        else:
            self.set_mode("normal")

    def _on_flicker(self) -> None:
        with told_to_user("Flicker"):
            self._comparison().toggle()

    def _on_layer_removed(self) -> None:
        """Leave a comparison whose sections the user has removed."""
        from napari_stomics.layers.section import find_section

        pair = self._bench.compared
        if self.mode != "normal" and any(find_section(self._bench.viewer, n) is None for n in pair):
            QTimer.singleShot(0, partial(_leave, WeakMethod(self.set_mode)))

    def _on_export(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Export figure", "figure.png", "Pictures (*.png *.tif *.jpg)"
        )
        if name:
            self.export(Path(name))

    def export(self, path: Path) -> None:
        """Write the figure; the dialogue has asked whether a file may be replaced."""
        from napari_stomics.layers.figure import export_figure

        path = path if path.suffix else path.with_suffix(".png")
        with told_to_user("Export figure"):
            written = export_figure(
                self._bench.viewer,
                path,
                scale=_SCALES[self.scale.currentText()],
                legend=self.legend.isChecked(),
                whole=self.whole.isChecked(),
                overwrite=True,
            )
            show_info(f"Figure written to {written}.")


def _later(method: Any, mode: str) -> Any:
    """Return what sets a mode, without keeping the dock alive."""
    weak = WeakMethod(method)

    def act() -> None:
        found = weak()
        if found is not None:
            found(mode)

    return act


def _leave(weak: WeakMethod[Any]) -> None:
    found = weak()
    if found is not None:
        found("normal")
