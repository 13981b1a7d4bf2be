"""How many spots each domain has, as bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPalette
from qtpy.QtWidgets import QSizePolicy, QWidget

_MARGIN = 4
_MOST = 30
"""Bars that are drawn at most; the text says how many there are."""


class SizeBars(QWidget):
    """One bar per domain in the domain's colour, with its name and number of spots.

    Parameters
    ----------
    parent
        Parent widget.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bars: list[tuple[str, int, str]] = []
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Spots per domain")

    @property
    def text(self) -> str:
        """The bars in words."""
        return ", ".join(f"{name}: {count}" for name, count, _ in self._bars)

    def show_sizes(
        self, names: Sequence[str], sizes: Sequence[int], colours: dict[str, str]
    ) -> None:
        """Show these numbers of spots."""
        self._bars = [
            (str(name), int(size), colours.get(str(name), "#90a4ae"))
            for name, size in zip(names, sizes, strict=True)
        ]
        self.setAccessibleDescription(self.text)
        self.setToolTip(f"Spots per domain. {self.text}" if self._bars else "")
        self.setVisible(bool(self._bars))
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        """One line of text per bar."""
        return QSize(160, min(len(self._bars), _MOST) * self._line() + 2 * _MARGIN)

    def minimumSizeHint(self) -> QSize:
        """As high, at any width."""
        return QSize(60, self.sizeHint().height())

    def _line(self) -> int:
        return int(self.fontMetrics().lineSpacing() + 3)

    def paintEvent(self, event: Any) -> None:
        """Draw names, bars and numbers in the colours of the theme."""
        bars = self._bars[:_MOST]
        if not bars:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().color(QPalette.ColorRole.WindowText)
        metrics, line = self.fontMetrics(), self._line()
        left = min(max(metrics.horizontalAdvance(n) for n, _, _ in bars) + 6, self.width() // 3)
        right = max(metrics.horizontalAdvance(str(c)) for _, c, _ in bars) + 6
        room = max(self.width() - left - right - 2 * _MARGIN, 10)
        most = max(count for _, count, _ in bars) or 1
        for i, (name, count, colour) in enumerate(bars):
            top = _MARGIN + i * line
            painter.setPen(text)
            shown = metrics.elidedText(name, Qt.TextElideMode.ElideRight, left - 4)
            middle = Qt.AlignmentFlag.AlignVCenter
            painter.drawText(
                QRectF(_MARGIN, top, left, line), Qt.AlignmentFlag.AlignLeft | middle, shown
            )
            bar = QRectF(_MARGIN + left, top + 2, max(room * count / most, 1.0), line - 4)
            painter.fillRect(bar, QColor(colour))
            painter.drawText(
                QRectF(bar.right() + 4, top, right, line),
                Qt.AlignmentFlag.AlignLeft | middle,
                str(count),
            )
        painter.end()
