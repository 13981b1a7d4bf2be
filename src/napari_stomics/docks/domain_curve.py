"""How the number of domains was judged, drawn: BIC and stability over the numbers tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    from napari_stomics.core.fusion import DomainCurve

BIC, STABILITY = "#4fc3f7", "#ffb74d"
_HEIGHT = 110
_MARGIN = 6


class DomainCurveView(QWidget):
    """Two curves over the number of domains, each over its own range, and the number proposed."""

    def __init__(self) -> None:
        super().__init__()
        self._curve: DomainCurve | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("How the number of domains was judged")
        self.hide()

    def show_curve(self, curve: DomainCurve | None) -> None:
        """Show a curve; None hides the view."""
        self._curve = curve
        self.setVisible(curve is not None)
        self.setToolTip(self.table_text())
        self.setAccessibleDescription(self.text)
        self.update()

    @property
    def text(self) -> str:
        """The heading."""
        return "" if self._curve is None else f"Proposed: {self._curve.proposed} domains"

    def table_text(self) -> str:
        """The numbers, a line for each number of domains."""
        if self._curve is None:
            return ""
        rows = zip(self._curve.counts, self._curve.bic, self._curve.stability, strict=True)
        lines = [f"{int(k)}: BIC {b:,.0f}, stability {s:.2f}" for k, b, s in rows]
        return "\n".join(["Lower BIC and higher stability are better.", *lines])

    def sizeHint(self) -> QSize:
        """Two lines of text and the curves."""
        return QSize(200, _HEIGHT + 3 * self.fontMetrics().lineSpacing())

    def minimumSizeHint(self) -> QSize:
        """As high, at any width."""
        return QSize(80, self.sizeHint().height())

    def points(self, values: Any, area: QRectF) -> list[tuple[float, float]]:
        """Where a curve runs within an area, as (x, y) of the widget."""
        if self._curve is None:
            return []
        across, up = _shares(self._curve.counts), _shares(values)
        return [
            (area.left() + area.width() * float(x), area.bottom() - area.height() * float(y))
            for x, y in zip(across, up, strict=True)
            if np.isfinite(y)
        ]

    def paintEvent(self, event: Any) -> None:
        """Draw heading, frame, curves, the number proposed and the ends of the axis."""
        curve = self._curve
        if curve is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        line = self.fontMetrics().lineSpacing()
        text = self.palette().color(QPalette.ColorRole.WindowText)
        width = self.width() - 2 * _MARGIN
        painter.setPen(text)
        left, right = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
        painter.drawText(QRectF(_MARGIN, 0, width, line), left, self.text)
        painter.setPen(QColor(BIC))
        painter.drawText(QRectF(_MARGIN, line, width, line), left, "BIC (lower is better)")
        painter.setPen(QColor(STABILITY))
        painter.drawText(QRectF(_MARGIN, line, width, line), right, "stability")
        faint = QColor(text)
        faint.setAlpha(70)
        painter.setPen(faint)
        frame = QRectF(_MARGIN, 2 * line + 3, width, self.height() - 3 * line - 7)
        painter.drawRect(frame)
        area = frame.adjusted(8, 6, -8, -6)
        self._draw_proposed(painter, area, text)
        self._draw(painter, self.points(curve.bic, area), BIC)
        self._draw(painter, self.points(curve.stability, area), STABILITY)
        painter.setPen(text)
        foot = QRectF(_MARGIN, frame.bottom() + 2, width, line)
        painter.drawText(foot, left, f"{int(curve.counts[0])}")
        painter.drawText(foot, right, f"{int(curve.counts[-1])} domains")
        painter.end()

    def _draw_proposed(self, painter: QPainter, area: QRectF, colour: QColor) -> None:
        assert self._curve is not None
        at = np.flatnonzero(self._curve.counts == self._curve.proposed)
        if len(at):
            x = area.left() + area.width() * float(_shares(self._curve.counts)[at[0]])
            painter.setPen(QPen(colour, 1.0, Qt.PenStyle.DashLine))
            painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()))

    @staticmethod
    def _draw(painter: QPainter, points: list[tuple[float, float]], colour: str) -> None:
        painter.setPen(QPen(QColor(colour), 2.0))
        painter.drawPolyline(QPolygonF([QPointF(*p) for p in points]))
        painter.setBrush(QColor(colour))
        for point in points:
            painter.drawEllipse(QPointF(*point), 2.0, 2.0)
        painter.setBrush(Qt.BrushStyle.NoBrush)


def _shares(values: Any) -> NDArray[np.float64]:
    """Values over their range, in [0, 1]; in the middle where they do not differ."""
    found = np.asarray(values, np.float64)
    known = found[np.isfinite(found)]
    if not len(known) or known.max() <= known.min():
        return np.where(np.isfinite(found), 0.5, np.nan)
    return (found - known.min()) / (known.max() - known.min())
