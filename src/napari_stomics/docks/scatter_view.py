"""A plane of named points with borders, drawn without a plotting library: click, lasso, arrows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

Floats = NDArray[np.floating[Any]]

_HEIGHT = 300
_REACH = 9.0
"""Pixels from a point within which a click means it."""
_DRAG = 5.0


@dataclass(frozen=True)
class Cloud:
    """What a :class:`ScatterView` shows.

    Attributes
    ----------
    names
        (n,) names of the points.
    x, y
        (n,) places.
    colours
        (n,) colours (hex).
    sizes
        (n,) diameters in pixels.
    titles
        Titles of the two axes.
    borders
        Lines ``(axis, value, dashed)``: axis 0 is upright at an x, 1 level at a y.
    corners
        Words in the corners: upper right, upper left, lower left, lower right.
    arrows
        (m, 4) from x, y to x, y.
    """

    names: Sequence[str] = ()
    x: Floats = field(default_factory=lambda: np.zeros(0))
    y: Floats = field(default_factory=lambda: np.zeros(0))
    colours: Sequence[str] = ()
    sizes: Floats = field(default_factory=lambda: np.zeros(0))
    titles: tuple[str, str] = ("", "")
    borders: Sequence[tuple[int, float, bool]] = ()
    corners: Sequence[tuple[str, str]] = ()
    arrows: Floats = field(default_factory=lambda: np.zeros((0, 4)))


class ScatterView(QWidget):
    """Points that can be clicked, or chosen by drawing round them.

    Parameters
    ----------
    parent
        Qt parent.
    """

    clicked = Signal(str)
    """A point was clicked; its name."""
    chosen = Signal(list)
    """Points were drawn round; their names."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.cloud = Cloud()
        self._selected: set[str] = set()
        self._hollow: set[str] = set()
        self._current = ""
        self._lasso: list[QPointF] = []
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Features by relevance and shared information")
        self.setMouseTracking(True)

    # -- what is shown -----------------------------------------------------------------------

    def show_cloud(self, cloud: Cloud) -> None:
        """Show other points; a selection stays where the names do."""
        self.cloud = cloud
        self._selected &= set(cloud.names)
        self.setAccessibleDescription(f"{len(cloud.names)} features")
        self.update()

    def mark(
        self, current: str = "", selected: Sequence[str] = (), hollow: Sequence[str] = ()
    ) -> None:
        """Ring one point, emphasise some, and draw some hollow."""
        self._current, self._selected, self._hollow = current, set(selected), set(hollow)
        self.update()

    def sizeHint(self) -> QSize:
        """About a square."""
        return QSize(320, _HEIGHT)

    def minimumSizeHint(self) -> QSize:
        """As high, at any width."""
        return QSize(120, _HEIGHT)

    def places(self) -> Floats:
        """(n, 2) points in pixels of the widget."""
        return self._to_pixels(np.column_stack([self.cloud.x, self.cloud.y]))

    def near(self, x: float, y: float) -> str:
        """Name of the point at a pixel; empty where there is none."""
        at = self.places()
        if not len(at):
            return ""
        gap = np.hypot(at[:, 0] - x, at[:, 1] - y)
        nearest = int(np.argmin(gap))
        return str(self.cloud.names[nearest]) if gap[nearest] <= _REACH else ""

    def within(self, outline: Sequence[tuple[float, float]]) -> list[str]:
        """Names of the points inside an outline of pixels."""
        polygon = QPolygonF([QPointF(*p) for p in outline])
        return [
            str(name)
            for name, (x, y) in zip(self.cloud.names, self.places(), strict=True)
            if polygon.containsPoint(QPointF(float(x), float(y)), Qt.FillRule.OddEvenFill)
        ]

    def _area(self) -> QRectF:
        line = self.fontMetrics().lineSpacing()
        return QRectF(line * 3.2, 6, self.width() - line * 3.2 - 8, self.height() - 2.8 * line - 6)

    def _limits(self) -> Floats:
        """(2, 2) lowest and highest (x, y) with some room round them."""
        cloud = self.cloud
        points = [np.column_stack([cloud.x, cloud.y]), cloud.arrows[:, :2], cloud.arrows[:, 2:]]
        every = np.concatenate(points)
        low, high = every.min(axis=0), every.max(axis=0)
        for axis, value, _ in cloud.borders:
            low[axis], high[axis] = min(low[axis], value), max(high[axis], value)
        room = 0.08 * np.maximum(high - low, 1e-9)
        return np.array([low - room, high + room])

    def _to_pixels(self, points: Floats) -> Floats:
        if not len(self.cloud.names):
            return np.zeros((0, 2))
        area, (low, high) = self._area(), self._limits()
        share = (points - low) / (high - low)
        return np.column_stack(
            [area.left() + share[:, 0] * area.width(), area.bottom() - share[:, 1] * area.height()]
        )

    # -- drawing -----------------------------------------------------------------------------

    def paintEvent(self, event: Any) -> None:
        """Draw frame, borders, arrows, points and the lasso in the colours of the theme."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().color(QPalette.ColorRole.WindowText)
        area = self._area()
        faint = QColor(text)
        faint.setAlpha(90)
        painter.setPen(faint)
        painter.drawRect(area)
        if len(self.cloud.names):
            self._draw_axes(painter, area, text)
            self._draw_borders(painter, area, text)
            self._draw_arrows(painter, text)
            self._draw_points(painter, text)
        else:
            painter.drawText(area, Qt.AlignmentFlag.AlignCenter, "No plane yet")
        if self._lasso:
            painter.setPen(QPen(QColor("#ffeb3b"), 1.5))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawPolyline(QPolygonF(self._lasso))
        painter.end()

    def _draw_axes(self, painter: QPainter, area: QRectF, text: QColor) -> None:
        low, high = self._limits()
        line = self.fontMetrics().lineSpacing()
        painter.setPen(text)
        foot = QRectF(area.left(), area.bottom() + 1, area.width(), line)
        painter.drawText(foot, Qt.AlignmentFlag.AlignLeft, f"{low[0]:.2g}")
        painter.drawText(foot, Qt.AlignmentFlag.AlignRight, f"{high[0]:.2g}")
        painter.drawText(
            foot.translated(0, line), Qt.AlignmentFlag.AlignHCenter, self.cloud.titles[0]
        )
        side = QRectF(0, area.top(), area.left() - 4, area.height())
        painter.drawText(side, Qt.AlignmentFlag.AlignRight, f"{high[1]:.2g}")
        below = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignBottom
        painter.drawText(side, below, f"{low[1]:.2g}")
        painter.save()
        painter.translate(line * 0.2, area.center().y() + area.height() / 2)
        painter.rotate(-90)
        upright = QRectF(0, 0, area.height(), line)
        painter.drawText(upright, Qt.AlignmentFlag.AlignCenter, self.cloud.titles[1])
        painter.restore()
        corners = (
            Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop,
            Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop,
            Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignBottom,
            Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignBottom,
        )
        inside = area.adjusted(4, 2, -4, -2)
        for flags, (words, colour) in zip(corners, self.cloud.corners, strict=False):
            painter.setPen(QColor(colour))
            painter.drawText(inside, flags, words)

    def _draw_borders(self, painter: QPainter, area: QRectF, text: QColor) -> None:
        for axis, value, dashed in self.cloud.borders:
            style = Qt.PenStyle.DashLine if dashed else Qt.PenStyle.DotLine
            colour = QColor(text)
            colour.setAlpha(200 if dashed else 120)
            painter.setPen(QPen(colour, 1.2, style))
            place = np.zeros((1, 2))
            place[0, axis] = value
            x, y = (float(v) for v in self._to_pixels(place)[0])
            if axis == 0:
                painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()))
            else:
                painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))

    def _draw_arrows(self, painter: QPainter, text: QColor) -> None:
        arrows = self.cloud.arrows
        faint = QColor(text)
        faint.setAlpha(140)
        painter.setPen(QPen(faint, 1.0))
        painter.setBrush(faint)
        for a, b in zip(
            self._to_pixels(arrows[:, :2]), self._to_pixels(arrows[:, 2:]), strict=True
        ):
            way = b - a
            length = float(np.hypot(*way))
            if length < 2:
                continue
            painter.drawLine(QPointF(*map(float, a)), QPointF(*map(float, b)))
            unit = way / length
            across = np.array([-unit[1], unit[0]])
            head = [b, b - 7 * unit + 3 * across, b - 7 * unit - 3 * across]
            painter.drawPolygon(QPolygonF([QPointF(*map(float, p)) for p in head]))

    def _draw_points(self, painter: QPainter, text: QColor) -> None:
        cloud = self.cloud
        for i, (x, y) in enumerate(self.places()):
            name, colour = str(cloud.names[i]), QColor(cloud.colours[i])
            chosen = name in self._selected
            painter.setPen(QPen(text if chosen else colour, 1.6 if chosen else 1.0))
            fill = QColor(colour)
            fill.setAlpha(0 if name in self._hollow else 190)
            painter.setBrush(fill)
            radius = float(cloud.sizes[i]) / 2
            painter.drawEllipse(QPointF(float(x), float(y)), radius, radius)
            if name == self._current:
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.setPen(QPen(text, 2.0))
                painter.drawEllipse(QPointF(float(x), float(y)), radius + 4, radius + 4)

    # -- the mouse ---------------------------------------------------------------------------

    def event(self, event: Any) -> bool:
        """Tell the name of the point under the mouse."""
        if event.type() == QEvent.Type.ToolTip:
            QToolTip.showText(event.globalPos(), self.near(event.pos().x(), event.pos().y()), self)
            return True
        return bool(super().event(event))

    def mousePressEvent(self, event: Any) -> None:
        """Begin a click or an outline."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._lasso = [QPointF(event.position())]

    def mouseMoveEvent(self, event: Any) -> None:
        """Draw on."""
        if self._lasso:
            self._lasso.append(QPointF(event.position()))
            self.update()

    def mouseReleaseEvent(self, event: Any) -> None:
        """Take a click, or what was drawn round."""
        outline, self._lasso = [(p.x(), p.y()) for p in self._lasso], []
        self.update()
        if not outline:
            return
        if np.ptp(np.array(outline), axis=0).max() < _DRAG:
            name = self.near(*outline[0])
            if name:
                self.clicked.emit(name)
        else:
            self.chosen.emit(self.within(outline))
