"""The docks of napari-spatialdata, opened on our study."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_stomics.core.errors import UserError
from napari_stomics.docks.layout import button, in_row
from napari_stomics.docks.workbench import Workbench, told_to_user

HOST = "napari-spatialdata"
_HOME = "SpatialData"
"""The dock that the others of napari-spatialdata reach for."""
_TIPS = {
    "View": "Genes, annotations and embeddings of the selected layer, in lists.",
    "Scatter": "Two features or components against each other, with a lasso.",
    "Annotation": "Draw regions and give them classes.",
}


class HostDocks(QWidget):
    """Buttons that open napari-spatialdata's docks.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        slots = (self._on_view, self._on_scatter, self._on_annotation)
        self.buttons = [
            button(name, slot, tip) for slot, (name, tip) in zip(slots, _TIPS.items(), strict=True)
        ]
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(in_row(*self.buttons))

    def _on_view(self) -> None:
        self._open("View")

    def _on_scatter(self) -> None:
        self._open("Scatter")

    def _on_annotation(self) -> None:
        self._open("Annotation")

    def _open(self, name: str) -> None:
        with told_to_user(name):
            open_host_dock(self._bench.viewer, self._bench.session.study.sdata, name)


def open_host_dock(viewer: Any, sdata: Any, name: str) -> None:
    """Open one of napari-spatialdata's docks, and before it the dock that it reaches for.

    Parameters
    ----------
    viewer
        A napari viewer whose window is open.
    sdata
        The study's SpatialData object.
    name
        ``View``, ``Scatter`` or ``Annotation``.

    Raises
    ------
    UserError
        If another viewer is the current one: the docks would open there.
    """
    import napari
    from napari_spatialdata import Interactive

    window = viewer.window
    if _HOME not in window.dock_widgets:
        current = napari.current_viewer()
        if getattr(current, "__wrapped__", current) is not viewer:
            raise UserError(
                "Another viewer is in front, and napari-spatialdata opens its docks there.",
                "Close the other viewer, or click into this one first.",
            )
        Interactive(sdata, headless=True)
    if not any(str(open_).startswith(name) for open_ in window.dock_widgets):
        window.add_plugin_dock_widget(HOST, name)
