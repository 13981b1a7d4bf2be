"""The docks of the plugin by name, and how they are opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtWidgets import QDockWidget

PLUGIN = "napari-stomics"
DOCKS = (
    "Study and sections",
    "Landmark registration",
    "Align sections (optimal transport)",
    "Fusion and domains",
    "Morphology and expression",
    "Methods and results",
    "Compare sections",
    "Stack of sections",
    "Metrics of domains",
)
"""Display names of the docks, as the manifest has them."""


def is_listed(name: str, listed: Any) -> bool:
    """Whether a dock is among those that napari or a saved session lists."""
    return isinstance(listed, list) and any(str(item).startswith(name) for item in listed)


def open_docks(window: Any, names: Sequence[str] = DOCKS) -> None:
    """Add docks of the plugin to a window as tabs, the first in front; open ones stay open."""
    missing = [name for name in names if not is_listed(name, list(window.dock_widgets))]
    for name in missing:
        window.add_plugin_dock_widget(PLUGIN, name, tabify=True)
    if len(missing) > 1:
        _bring_to_front(window, missing[0])


def raise_dock(viewer: Any, name: str) -> Any:
    """Bring a dock to the front, opened if need be; return its widget, or None without a window."""
    window = getattr(viewer, "window", None)
    if window is None:
        return None
    open_docks(window, (name,))
    return _bring_to_front(window, name)


def _bring_to_front(window: Any, name: str) -> Any:
    widget = next(w for title, w in window.dock_widgets.items() if title.startswith(name))
    frame = widget.parentWidget()
    while frame is not None and not isinstance(frame, QDockWidget):
        frame = frame.parentWidget()
    if frame is not None:
        frame.show()
        frame.raise_()
    return widget
