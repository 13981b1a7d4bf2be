"""The range of a colour scale: its bar, two handles, and the numbers to type."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QDoubleValidator, QLinearGradient, QPainter
from qtpy.QtWidgets import QLabel, QLineEdit, QSizePolicy, QVBoxLayout, QWidget
from superqt import QDoubleRangeSlider

from napari_stomics.docks.layout import button, in_row
from napari_stomics.docks.name_combo import NameCombo

COLORMAPS = ("viridis", "magma", "plasma", "inferno", "cividis", "gray", "turbo", "coolwarm")
_STOPS = 32
_THROTTLE_MS = 40


class ColourRange(QWidget):
    """Sets the values at the ends of a colormap.

    The handles go over the range of the values; a number outside it may be typed.
    """

    limits_changed = Signal(object)
    """``(low, high)`` that the user chose; while a handle is dragged, 25 times a second."""
    colormap_changed = Signal(str)
    reset_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._limits = (0.0, 1.0)
        self._title = QLabel()
        self._bar = _Bar()
        self._slider = QDoubleRangeSlider(Qt.Orientation.Horizontal)
        self._low, self._high = _number("Lowest colour at"), _number("Highest colour at")
        self._map = NameCombo()
        self._map.set_names(COLORMAPS)
        self._map.setToolTip("Colormap")
        self._reset = button("Reset", self._on_reset, "Back to the 1st and 99th percentile")
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(_THROTTLE_MS)
        self._build()

    def _build(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 2, 0, 2)
        column.setSpacing(3)
        for widget in (self._title, self._bar, self._slider, in_row(self._low, self._high)):
            column.addWidget(widget)
        column.addWidget(in_row(self._map, self._reset))
        self._title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._bar.show_colormap(self.colormap)
        self._slider.valueChanged.connect(self._on_dragged)
        self._low.editingFinished.connect(self._on_typed)
        self._high.editingFinished.connect(self._on_typed)
        self._map.currentTextChanged.connect(self._on_colormap)
        self._later.timeout.connect(self._tell)

    @property
    def limits(self) -> tuple[float, float]:
        """Values at the ends of the colormap."""
        return self._limits

    @property
    def colormap(self) -> str:
        """Name of the colormap."""
        return self._map.currentText()

    def set_colormap(self, name: str) -> None:
        """Show a colormap, without a signal."""
        names = self._map.names()
        self._map.set_names(names if name in names else [*names, name])
        self._map.blockSignals(True)
        self._map.setCurrentText(name)
        self._map.blockSignals(False)
        self._bar.show_colormap(name)

    def show_values(
        self, title: str, values: Sequence[NDArray[Any]], limits: tuple[float, float]
    ) -> None:
        """Show the range of values and the limits, without a signal.

        Parameters
        ----------
        title
            What the values are.
        values
            Arrays of numbers; NaN is left out.
        limits
            Values at the ends of the colormap.
        """
        finite = [v[np.isfinite(v)] for v in values]
        lows = [float(v.min()) for v in finite if len(v)]
        highs = [float(v.max()) for v in finite if len(v)]
        low, high = min([*lows, limits[0]]), max([*highs, limits[1]])
        span = f"{min(lows):.4g} to {max(highs):.4g}" if lows else "no values"
        self._title.setText(f"<b>{html.escape(title)}</b>, {span}")
        self._slider.blockSignals(True)
        self._slider.setRange(low, high if high > low else low + 1)
        self._slider.setSingleStep((high - low) / 100 or 0.01)
        self._slider.blockSignals(False)
        self._show_limits(limits)

    def _show_limits(self, limits: tuple[float, float]) -> None:
        if self._slider.isSliderDown():
            return  # the hand is ahead of what is being painted
        self._limits = (float(limits[0]), float(limits[1]))
        self._slider.blockSignals(True)
        self._slider.setValue(self._limits)
        self._slider.blockSignals(False)
        for box, value in zip((self._low, self._high), self._limits, strict=True):
            box.setText(f"{value:.4g}")

    # -- slots -------------------------------------------------------------------------------

    def _on_dragged(self, limits: tuple[float, float]) -> None:
        if limits[0] < limits[1]:
            self._limits = (float(limits[0]), float(limits[1]))
            for box, value in zip((self._low, self._high), self._limits, strict=True):
                box.setText(f"{value:.4g}")
            if not self._later.isActive():
                self._later.start()

    def _on_typed(self) -> None:
        try:
            low, high = (float(b.text().replace(",", ".")) for b in (self._low, self._high))
        except ValueError:
            low, high = self._limits
        shown = tuple(float(f"{v:.4g}") for v in self._limits)
        if not low < high or (low, high) == shown:
            self._show_limits(self._limits)
            return
        self._slider.blockSignals(True)
        self._slider.setRange(min(low, self._slider.minimum()), max(high, self._slider.maximum()))
        self._slider.blockSignals(False)
        self._show_limits((low, high))
        self._tell()

    def _on_colormap(self, name: str) -> None:
        self._bar.show_colormap(name)
        self.colormap_changed.emit(name)

    def _on_reset(self) -> None:
        self.reset_wanted.emit()

    def _tell(self) -> None:
        self.limits_changed.emit(self._limits)


class _Bar(QWidget):
    """The colours from the lowest to the highest."""

    def __init__(self) -> None:
        super().__init__()
        self._stops: list[tuple[float, QColor]] = []
        self.setFixedHeight(12)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_colormap(self, name: str) -> None:
        """Show the colours of a napari colormap."""
        from napari.utils.colormaps import ensure_colormap

        at = np.linspace(0, 1, _STOPS)
        colours = np.asarray(ensure_colormap(name).map(at), dtype=float)
        self._stops = [
            (float(a), QColor.fromRgbF(*map(float, c))) for a, c in zip(at, colours, strict=True)
        ]
        self.update()

    def paintEvent(self, event: Any) -> None:
        """Draw them."""
        gradient = QLinearGradient(0, 0, self.width(), 0)
        for place, colour in self._stops:
            gradient.setColorAt(place, colour)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(gradient)
        painter.drawRoundedRect(QRectF(self.rect()), 3, 3)
        painter.end()


def _number(tip: str) -> QLineEdit:
    box = QLineEdit()
    box.setToolTip(tip)
    box.setAccessibleName(tip)
    box.setValidator(QDoubleValidator(box))
    box.setMinimumWidth(50)
    return box
