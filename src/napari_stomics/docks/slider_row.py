"""A slider with its title and its value in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QSlider, QWidget


class QuietSlider(QSlider):
    """A slider that scrolls with its dock, unless it is in use."""

    def wheelEvent(self, event: Any) -> None:
        """Let the wheel pass where the mouse only passes over."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class SliderRow(QWidget):
    """Title and value above, slider below: at no width is a title cut.

    Parameters
    ----------
    title
        What it changes.
    low, high
        Its range.
    words
        A value in words.
    tip
        What it does.
    """

    moved = Signal(int)
    """The user moved it; its value."""

    def __init__(
        self, title: str, low: int, high: int, words: Callable[[int], str] = str, tip: str = ""
    ) -> None:
        super().__init__()
        self._words = words
        self._title, self._value = QLabel(title), QLabel()
        self._title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.slider = QuietSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(low, high)
        self.slider.setPageStep(max(1, (high - low) // 10))
        self.slider.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.slider.setAccessibleName(title)
        for widget in (self, self.slider):
            widget.setToolTip(tip)
        self._title.setBuddy(self.slider)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(1)
        layout.addWidget(self._title, 0, 0)
        layout.addWidget(self._value, 0, 1)
        layout.addWidget(self.slider, 1, 0, 1, 2)
        layout.setColumnStretch(0, 1)
        self.slider.valueChanged.connect(self._on_value)
        self._show()

    @property
    def value(self) -> int:
        """Where it stands."""
        return int(self.slider.value())

    @property
    def text(self) -> str:
        """The value in words."""
        return str(self._value.text())

    def set_range(self, low: int, high: int) -> None:
        """Give it another range without a signal; where it stands outside it moves in."""
        self.slider.blockSignals(True)
        self.slider.setRange(low, high)
        self.slider.blockSignals(False)
        self._show()

    def set_value(self, value: int) -> None:
        """Move it without a signal."""
        self.slider.blockSignals(True)
        self.slider.setValue(value)
        self.slider.blockSignals(False)
        self._show()

    def show_text(self, text: str) -> None:
        """Show other words than those of the value."""
        self._value.setText(text)

    def _show(self) -> None:
        self._value.setText(self._words(self.value))

    def _on_value(self, value: int) -> None:
        self._show()
        self.moved.emit(value)
