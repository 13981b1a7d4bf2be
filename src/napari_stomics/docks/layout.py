"""Small parts that the docks are made of."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from weakref import WeakMethod

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)


def wrapped_label(text: str = "") -> QLabel:
    """A label that wraps and never widens its dock; its text can be selected."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label


class Fold(QWidget):
    """A heading that shows and hides what is below it.

    Parameters
    ----------
    title
        The heading.
    content
        What is folded away.
    shown
        Whether it is open at first.
    """

    toggled = Signal(bool)
    """It was opened or closed."""

    def __init__(self, title: str, content: QWidget, shown: bool = True) -> None:
        super().__init__()
        self.content = content
        self._head = QToolButton()
        self._head.setText(title)
        self._head.setCheckable(True)
        self._head.setAutoRaise(True)
        self._head.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._head.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._head.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        font = self._head.font()
        font.setBold(True)
        self._head.setFont(font)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        column.addWidget(self._head)
        column.addWidget(content)
        self._head.toggled.connect(self._fold)
        self._head.setChecked(shown)
        self._fold(shown)
        self._head.toggled.connect(self.toggled)

    @property
    def is_open(self) -> bool:
        """Whether what is below the heading is shown."""
        return bool(self._head.isChecked())

    def open(self) -> None:
        """Show what is below the heading."""
        self._head.setChecked(True)

    def _fold(self, shown: bool) -> None:
        self.content.setVisible(shown)
        self._head.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)


def button(
    text: str, slot: Callable[[], object], tip: str = "", checkable: bool = False
) -> QPushButton:
    """Return a push button that leaves the keyboard to the canvas when it is clicked."""
    out = QPushButton(text)
    out.setToolTip(tip)
    out.setCheckable(checkable)
    out.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    out.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    out.clicked.connect(_without_owner(slot))
    return out


def _without_owner(slot: Callable[[], object]) -> Callable[[], None]:
    """Return what calls a slot without keeping its owner alive, as a closure of Qt's would."""
    try:
        weak: Callable[[], Callable[[], object] | None] = WeakMethod(slot)  # type: ignore[arg-type]
    except TypeError:
        weak = partial(_itself, slot)

    def act(_: bool = False) -> None:
        found = weak()
        if found is not None:
            found()

    return act


def _itself(slot: Callable[[], object]) -> Callable[[], object]:
    return slot


def form_layout() -> QFormLayout:
    """Return rows of a title and a field, whose fields take what room there is."""
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setVerticalSpacing(4)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
    return form


def in_row(*widgets: QWidget) -> QWidget:
    """Return widgets beside each other."""
    out = QWidget()
    row = QHBoxLayout(out)
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(4)
    for widget in widgets:
        row.addWidget(widget)
    return out


def in_column(*widgets: QWidget, stretch: bool = False) -> QWidget:
    """Return widgets below each other; with ``stretch`` what room is left stays at the end."""
    out = QWidget()
    column = QVBoxLayout(out)
    column.setContentsMargins(2, 0, 2, 4)
    column.setSpacing(4)
    for widget in widgets:
        column.addWidget(widget)
    if stretch:
        column.addStretch()
    return out


def scrolled(content: QWidget) -> QScrollArea:
    """Return a widget in an area that scrolls up and down and never cuts its right edge."""
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setFrameShape(QScrollArea.Shape.NoFrame)
    scroll.setWidget(content)
    return scroll
