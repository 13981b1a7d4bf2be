"""The map of keys, after BigWarp's: bound to the viewer while the dock exists."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QLabel, QScrollArea, QVBoxLayout, QWidget

TAP_S = 0.35
"""A key held longer than this is a hold and not a tap."""


@dataclass(frozen=True)
class KeyAction:
    """What one key does.

    Attributes
    ----------
    key
        As napari writes it, ``"Control-Shift-D"``.
    text
        What it does, for the help.
    slot
        Called without arguments.
    replaces
        What napari does with the key where there is no dock; empty for nothing.
    hold
        Whether napari's way of moving the view stays there while the key is held.
    lent
        Whether the key belongs to the active layer except while :meth:`KeyMap.borrow` has it.
    """

    key: str
    text: str
    slot: Callable[[], object]
    replaces: str = ""
    hold: bool = False
    lent: bool = False

    @property
    def label(self) -> str:
        """The key as it is printed on a keyboard."""
        return self.key.replace("Control", "Ctrl").replace("Escape", "Esc").replace("-", "+")


class KeyMap:
    """Binds keys on a viewer and puts back what was there.

    Parameters
    ----------
    viewer
        The napari viewer.
    actions
        One per key.
    """

    def __init__(self, viewer: Any, actions: Sequence[KeyAction]) -> None:
        self._actions = tuple(actions)
        self._borrowed: list[tuple[Any, str, Any]] = []
        self._bound = [self._bound_to(viewer, action) for action in self._actions]

    @property
    def actions(self) -> tuple[KeyAction, ...]:
        """What the keys do, in the order of the help."""
        return self._actions

    def borrow(self, layer: Any) -> None:
        """Take the keys that a layer would keep for itself while it is active; None for none."""
        self._restore(self._borrowed)
        if layer is not None:
            for action in self._actions:
                if action.lent:
                    self._borrowed.append(self._bound_to(layer, action))

    def unbind(self) -> None:
        """Put back what was there before."""
        self._restore(self._borrowed)
        self._restore(self._bound)

    @staticmethod
    def _restore(bound: list[tuple[Any, str, Any]]) -> None:
        for owner, key, before in reversed(bound):
            owner.bind_key(key, None)
            if before is not None:
                owner.bind_key(key, before, overwrite=True)
        bound.clear()

    @staticmethod
    def _bound_to(owner: Any, action: KeyAction) -> tuple[Any, str, Any]:
        function = _tap_or_hold(action.slot) if action.hold else _press(action.slot)
        return owner, action.key, owner.bind_key(action.key, function, overwrite=True)


def _press(slot: Callable[[], object]) -> Callable[[Any], None]:
    def pressed(owner: Any) -> None:
        slot()

    return pressed


def _tap_or_hold(slot: Callable[[], object]) -> Callable[[Any], Iterator[None]]:
    """A tap calls the slot; while the key is held the mouse moves the view, as in napari."""

    def pressed(owner: Any) -> Iterator[None]:
        layers = getattr(owner, "layers", None)
        layer = layers.selection.active if layers is not None else owner
        before, started = getattr(layer, "mode", None), time.monotonic()
        if before not in (None, "pan_zoom"):
            layer.mode = "pan_zoom"
        yield
        if before not in (None, "pan_zoom"):
            layer.mode = before
        if time.monotonic() - started < TAP_S:
            slot()

    return pressed


class KeyHelp(QDialog):
    """The list of keys, to stay open beside the work.

    Parameters
    ----------
    actions
        The actions of a :class:`KeyMap`.
    parent
        The dock.
    """

    def __init__(self, actions: Sequence[KeyAction], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys of landmark registration")
        label = QLabel(help_html(actions))
        label.setTextFormat(Qt.TextFormat.RichText)
        label.setWordWrap(True)
        label.setAlignment(Qt.AlignmentFlag.AlignTop)
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setWidget(label)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.close)
        column = QVBoxLayout(self)
        column.addWidget(scroll)
        column.addWidget(buttons)
        self.resize(560, 620)


def help_html(actions: Sequence[KeyAction]) -> str:
    """Return the list of keys as a table."""
    rows = [
        f"<tr><td style='padding:3px 14px 3px 0; white-space:nowrap'><b>{html.escape(a.label)}</b>"
        f"</td><td style='padding:3px 0'>{html.escape(a.text)}{_note(a)}</td></tr>"
        for a in actions
    ]
    return (
        f"<table>{''.join(rows)}</table>"
        "<p>The keys work in the viewer while this dock exists, and give back what they replace "
        "when it is closed. A Shapes or Labels layer that is active keeps its own keys.</p>"
        "<p>Mouse, in landmark mode: click to place, drag a landmark to move it, drag elsewhere "
        "to move the view.</p>"
    )


def _note(action: KeyAction) -> str:
    return f" <i>({html.escape(action.replaces)})</i>" if action.replaces else ""
