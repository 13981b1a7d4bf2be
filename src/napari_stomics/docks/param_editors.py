"""One editor per kind of parameter; each gives back unchanged the value it was given."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QWidget,
)

from napari_stomics.docks.number_box import Bounds, NumberBox, number_text, parse_float, parse_int

_SEQUENCES = (list, tuple, set, frozenset)
_ITEM = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[^",][^,]*|)\s*(?:,|$)')
_PLAIN_ITEM = re.compile(r'[^\s",]([^",]*[^\s",])?')


@dataclass(frozen=True)
class Hints:
    """What the form knows of a parameter beside its type."""

    title: str = ""
    unit: str = ""
    step: float | None = None
    log: bool = False
    bounds: Bounds = field(default_factory=Bounds)


class Editor(QWidget):
    """Base of the editors.

    ``value()`` raises `ValueError`, in words for the user, while what stands
    there is not a value.
    """

    changed = Signal()

    def __init__(self, *parts: QWidget, stretch: int = 0) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        for i, part in enumerate(parts):
            row.addWidget(part, 1 if i == stretch else 0)
        if parts:
            self.setFocusProxy(parts[0])

    def value(self) -> Any:
        """Return the value that is shown."""
        raise NotImplementedError

    def set_value(self, value: Any) -> None:
        """Show a value."""
        raise NotImplementedError


class FlagEditor(Editor):
    """A tick box for a bool."""

    def __init__(self, hints: Hints) -> None:
        self.box = QCheckBox()
        self.box.setAccessibleName(hints.title)
        super().__init__(self.box)
        self.box.toggled.connect(self.changed)

    def value(self) -> bool:
        """Whether it is ticked."""
        return self.box.isChecked()

    def set_value(self, value: bool) -> None:
        """Tick or untick it."""
        self.box.setChecked(value)


class NumberEditor(Editor):
    """A number with its unit."""

    def __init__(self, hints: Hints, whole: bool) -> None:
        self.box = NumberBox(whole=whole, step=hints.step, log=hints.log, bounds=hints.bounds)
        self.box.setAccessibleName(hints.title)
        super().__init__(self.box, *_unit_label(hints))
        self.box.edited.connect(self.changed)

    def value(self) -> float:
        """Return the number."""
        return self.box.number()

    def set_value(self, value: float) -> None:
        """Show the number in full."""
        self.box.set_number(value)


class _ChoiceBox(QComboBox):
    def wheelEvent(self, event: Any) -> None:
        """Turn only with the focus: scrolling past a form must not change it."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class ChoiceEditor(Editor):
    """One of several values."""

    def __init__(self, hints: Hints, choices: Sequence[Any]) -> None:
        self.box = _ChoiceBox()
        self.box.setAccessibleName(hints.title)
        self.box.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        # A long choice must not widen the dock; the list itself opens as wide as it needs.
        self.box.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.box.setMinimumContentsLength(4)
        self._choices = list(choices)
        self.box.addItems([_choice_text(choice) for choice in self._choices])
        super().__init__(self.box, *_unit_label(hints))
        self.box.currentIndexChanged.connect(self.changed)

    def value(self) -> Any:
        """Return the choice."""
        return self._choices[self.box.currentIndex()]

    def set_value(self, value: Any) -> None:
        """Choose it."""
        matches = [i for i, c in enumerate(self._choices) if c == value and type(c) is type(value)]
        self.box.setCurrentIndex((matches or [self._choices.index(value)])[0])


class TextEditor(Editor):
    """A line of text read by a parser; an untouched line gives back the very value shown.

    Parameters
    ----------
    hints
        Title and unit.
    show
        Value to text.
    read
        Text to value; `ValueError` in the user's words if it is none.
    """

    def __init__(
        self, hints: Hints, show: Callable[[Any], str], read: Callable[[str], Any]
    ) -> None:
        self.box = QLineEdit()
        self.box.setAccessibleName(hints.title)
        self.box.setMaxLength(2**31 - 1)
        self.box.setMinimumWidth(70)
        self._show, self._read = show, read
        self._given: tuple[str, Any] | None = None
        super().__init__(self.box, *_unit_label(hints))
        self.box.textChanged.connect(self.changed)

    def value(self) -> Any:
        """Return what the line says."""
        if self._given is not None and self.box.text() == self._given[0]:
            return self._given[1]
        return self._read(self.box.text())

    def set_value(self, value: Any) -> None:
        """Show a value."""
        self._given = None
        self.box.setText(self._show(value))
        self.box.setCursorPosition(0)
        # A line cannot show every text (line breaks); what it makes of it stands for the value.
        self._given = (self.box.text(), value)
        self.changed.emit()


class OptionalEditor(Editor):
    """A tick box before an editor: unticked is None, and what the editor held is kept."""

    def __init__(self, hints: Hints, inner: Editor) -> None:
        self.tick = QCheckBox()
        self.tick.setAccessibleName(f"Set: {hints.title}")
        self.tick.setToolTip(
            "Tick to set a value; unticked, it is chosen automatically or not used"
        )
        self.inner = inner
        super().__init__(self.tick, inner, stretch=1)
        inner.setEnabled(False)
        self.tick.toggled.connect(inner.setEnabled)
        self.tick.toggled.connect(self.changed)
        inner.changed.connect(self.changed)

    def value(self) -> Any:
        """Return the editor's value, or None."""
        return self.inner.value() if self.tick.isChecked() else None

    def set_value(self, value: Any) -> None:
        """Show a value; None unticks."""
        self.tick.setChecked(value is not None)
        if value is not None:
            self.inner.set_value(value)


def make_editor(annotation: Any, hints: Hints) -> Editor:
    """Return the editor for a type.

    Parameters
    ----------
    annotation
        The type of a field. One without an editor of its own is edited as JSON.
    hints
        What else is known of it.
    """
    kind = _plain(annotation)
    inner = _without_none(kind)
    if inner is not None:
        return OptionalEditor(hints, make_editor(inner, hints))
    origin = get_origin(kind)
    if kind is bool:
        return FlagEditor(hints)
    if kind in (int, float):
        return NumberEditor(hints, whole=kind is int)
    if kind is str:
        return TextEditor(hints, str, str)
    if origin is Literal:
        return ChoiceEditor(hints, get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ChoiceEditor(hints, list(kind))
    if origin in _SEQUENCES:
        readers = _item_readers(kind)
        if readers is not None:
            return _sequence_editor(hints, origin, readers)
    return _json_editor(hints, annotation)


def _plain(annotation: Any) -> Any:
    """Look through ``Annotated`` and named types."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        else:
            return annotation


def _without_none(kind: Any) -> Any:
    """Return X of ``X | None`` (or of a Literal with None); None if it is not optional."""
    arguments = get_args(kind)
    if get_origin(kind) is Literal and None in arguments:
        return Literal[tuple(a for a in arguments if a is not None)]
    if get_origin(kind) not in (Union, UnionType) or NoneType not in arguments:
        return None
    return Union[tuple(a for a in arguments if a is not NoneType)]  # noqa: UP007


def _unit_label(hints: Hints) -> list[QWidget]:
    unit = {"um": "µm", "um^2": "µm²", "um2": "µm²"}.get(hints.unit, hints.unit)
    return [QLabel(unit)] if unit else []


def _choice_text(choice: Any) -> str:
    return str(choice.value) if isinstance(choice, Enum) else str(choice)


# -- sequences --------------------------------------------------------------------------------


def _item_reader(kind: Any) -> Callable[[str], Any] | None:
    kind = _plain(kind)
    readers: dict[Any, Callable[[str], Any]] = {int: parse_int, float: parse_float, str: str}
    if kind in readers:
        return readers[kind]
    if get_origin(kind) is Literal and all(isinstance(a, str) for a in get_args(kind)):
        return str
    return None


def _item_readers(kind: Any) -> tuple[list[Callable[[str], Any]], bool] | None:
    """Return how to read each item and whether their number is open; None for nested items."""
    arguments = get_args(kind)
    fixed = get_origin(kind) is tuple and Ellipsis not in arguments
    kinds = arguments if fixed else arguments[:1]
    readers = [_item_reader(item) for item in kinds]
    known = [reader for reader in readers if reader is not None]
    return (known, not fixed) if known and len(known) == len(readers) else None


def _sequence_editor(
    hints: Hints, origin: type, readers: tuple[list[Callable[[str], Any]], bool]
) -> TextEditor:
    kinds, open_ended = readers

    def read(text: str) -> Any:
        items = split_items(text)
        if not open_ended and len(items) != len(kinds):
            raise ValueError(f"Give {len(kinds)} values with commas between them.")
        use = kinds * len(items) if open_ended else kinds
        return origin(reader(item) for reader, item in zip(use, items, strict=True))

    editor = TextEditor(hints, join_items, read)
    editor.box.setPlaceholderText("values with commas between them")
    return editor


def join_items(items: Any) -> str:
    """Write items with commas between them; odd strings are quoted as in JSON."""
    return ", ".join(_item_text(item) for item in items)


def _item_text(item: Any) -> str:
    if not isinstance(item, str):
        return number_text(item)
    plain = _PLAIN_ITEM.fullmatch(item) and item.isprintable()
    return item if plain else json.dumps(item, ensure_ascii=False)


def split_items(text: str) -> list[str]:
    """Read what :func:`join_items` writes.

    Raises
    ------
    ValueError
        If a quote is not closed or an item is missing between two commas.
    """
    items: list[str] = []
    position = 0
    while position < len(text) and text.strip():
        match = _ITEM.match(text, position)
        if match is None:
            raise ValueError("Close the quotes, and put a comma between the values.")
        item = match[1].strip()
        if not item:
            raise ValueError("A value is missing between two commas.")
        items.append(json.loads(item) if item.startswith('"') else item)
        position = match.end()
    return items


# -- anything else ----------------------------------------------------------------------------


def _json_editor(hints: Hints, annotation: Any) -> TextEditor:
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)

    def read(text: str) -> Any:
        try:
            return adapter.validate_json(text)
        except ValidationError as error:
            raise ValueError(f"{error.errors()[0]['msg']} (written as JSON).") from None

    editor = TextEditor(hints, lambda value: adapter.dump_json(value).decode(), read)
    editor.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return editor
