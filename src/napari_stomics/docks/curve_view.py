"""Small curves of a running computation, drawn without a plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

_HEIGHT = 72
_MARGIN = 4
_SETTLES = 6
"""From so many values on, the first tenth may run out of the frame."""
_COLOURS = ("#4fc3f7", "#ffb74d", "#81c784", "#e57373")
_FLOOR = 1e-12
"""Smallest value on a logarithmic axis."""


class CurveView(QWidget):
    """Values per iteration: a line, the name and the latest value, and the ends of the axis.

    Parameters
    ----------
    title
        What the values are.
    log
        Whether the axis of the values is logarithmic.
    parent
        Qt parent.
    """

    def __init__(self, title: str, log: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title = title
        self._log = log
        self._values: NDArray[np.float64] = np.zeros(0)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(title)
        self.setToolTip(f"{title} by iteration{', logarithmic' if log else ''}.")

    @property
    def values(self) -> NDArray[np.float64]:
        """The values shown."""
        return self._values

    @property
    def text(self) -> str:
        """The heading: name, latest value, and how many there are."""
        known = self._values[np.isfinite(self._values)]
        if not len(known):
            return f"{self._title}: no iteration yet"
        return f"{self._title}: {known[-1]:.4g} (iteration {len(self._values)})"

    def set_values(self, values: Any) -> None:
        """Show these values."""
        self._values = np.array(values, dtype=np.float64).ravel()
        self.setAccessibleDescription(self.text)
        self.update()

    def sizeHint(self) -> QSize:
        """Two lines of text and a curve."""
        return QSize(160, _HEIGHT + self.fontMetrics().lineSpacing())

    def minimumSizeHint(self) -> QSize:
        """As high, at any width."""
        return QSize(60, self.sizeHint().height())

    def points(self, area: QRectF) -> list[tuple[float, float]]:
        """Where the curve runs within an area, as (x, y) of the widget."""
        values = scaled(self._values, self._log)
        known = np.flatnonzero(np.isfinite(values))
        if not len(known):
            return []
        low, high = limits(values[known])
        span = high - low if high > low else 1.0
        across = max(len(values) - 1, 1)
        return [
            (
                area.left() + area.width() * float(i) / across,
                area.bottom() - area.height() * float(min(max((values[i] - low) / span, 0.0), 1.0)),
            )
            for i in _thinned(known, int(area.width()))
        ]

    def paintEvent(self, event: Any) -> None:
        """Draw the heading, the frame and the curve in the colours of the theme."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        line = self.fontMetrics().lineSpacing()
        text = self.palette().color(QPalette.ColorRole.WindowText)
        painter.setPen(text)
        heading = QRectF(_MARGIN, 0, self.width() - 2 * _MARGIN, line)
        shown = self.fontMetrics().elidedText(
            self.text, Qt.TextElideMode.ElideRight, int(heading.width())
        )
        painter.drawText(heading, Qt.AlignmentFlag.AlignLeft, shown)
        frame = QRectF(_MARGIN, line + 2, self.width() - 2 * _MARGIN, self.height() - line - 4)
        faint = QColor(text)
        faint.setAlpha(70)
        painter.setPen(faint)
        painter.drawRect(frame)
        area = frame.adjusted(3, 3, -3, -3)
        points = self.points(area)
        painter.setPen(QPen(QColor(_COLOURS[1 if self._log else 0]), 2.0))
        if len(points) == 1:
            painter.drawEllipse(QPointF(*points[0]), 2.0, 2.0)
        else:
            painter.drawPolyline(QPolygonF([QPointF(*p) for p in points]))
        painter.end()


def scaled(values: NDArray[np.float64], log: bool) -> NDArray[np.float64]:
    """Values as they are drawn: their logarithms, cut off at the floor, or themselves."""
    if not log:
        return values
    with np.errstate(invalid="ignore"):
        return np.asarray(np.log10(np.maximum(values, _FLOOR)))


def limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """Ends of the axis: the first steps often fall from so high that nothing else would show."""
    rest = values[max(1, len(values) // 10) :] if len(values) >= _SETTLES else values
    return float(values.min()), float(rest.max())


def _thinned(rows: NDArray[np.intp], width: int) -> Sequence[int]:
    """At most two points a pixel, the last one among them."""
    step = max(1, len(rows) // max(2 * width, 1))
    return [*rows[:-1:step].tolist(), int(rows[-1])]
