"""The one view of a stack in three dimensions of a viewer, kept in step with everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_stomics.core.errors import UserError
from napari_stomics.docks.messages import told_to_user

if TYPE_CHECKING:
    from napari_stomics.docks.workbench import Workbench
    from napari_stomics.layers.gallery import Gallery
    from napari_stomics.layers.stack3d import StackView

_SOON_MS = 120
"""A drag at a colour range sends more changes than can be drawn."""


class StackShow(QObject):
    """Enters and leaves the view of a stack, and has it follow the layers.

    Parameters
    ----------
    bench
        The viewer's workbench.
    gallery
        What arranges sections that are not registered.
    """

    changed = Signal()
    """The view was entered or left."""

    def __init__(self, bench: Workbench, gallery: Gallery) -> None:
        super().__init__(bench)
        self._bench = bench
        self._gallery = gallery
        self._groups: list[list[str]] = []
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_SOON_MS)
        self._soon.timeout.connect(self.follow)
        # Before the workbench itself hears of it, and shows other layers.
        bench.session.study_changed.connect(self.leave)
        bench.session.section_added.connect(self.leave)
        bench.results_changed.connect(self._on_outdated)
        bench.runner.finished.connect(self._on_job)

    @property
    def view(self) -> StackView | None:
        """The view that is shown, or None."""
        from napari_stomics.layers.stack3d import stack_view

        return stack_view(self._bench.viewer)

    @property
    def sections(self) -> list[str]:
        """Sections that are shown, from the bottom up; none where the view is off."""
        view = self.view
        return [] if view is None else sorted(view.heights, key=lambda name: view.heights[name])

    def show(self, sections: Sequence[str], spacing: float | None = None) -> None:
        """Show sections above each other, or change which ones and how far apart.

        Parameters
        ----------
        sections
            Their names in the order of the stack.
        spacing
            Distance of neighbours in um; None takes the recorded heights.

        Raises
        ------
        UserError
            If an alignment is shown as it runs, nothing of the sections is
            visible or the spacing is not positive.
        """
        from napari_stomics.layers.stack3d import heights_of, show_stack

        bench = self._bench
        if not sections:
            raise UserError("No section is ticked.", "Tick the sections of the stack.")
        view = self.view
        if view is not None:
            heights = heights_of(bench.session.study, sections, spacing)
            if set(heights) == set(view.heights):
                view.set_heights(heights)
            else:
                view.renew(heights)
            return
        if bench.live[0]:
            raise UserError(
                "An alignment is shown as it runs.", "Wait until it has ended, or cancel it."
            )
        bench.leave_comparison()
        bench.take_canvas(self.leave)
        self._groups = self._gallery.groups
        view = show_stack(bench.viewer, bench.session.study, sections, spacing)
        view.left.connect(self._on_left)
        view.outdated.connect(self._on_outdated)
        self.changed.emit()

    def leave(self, *_: Any) -> None:
        """Show everything flat again, as it was before."""
        from napari_stomics.layers.stack3d import leave_stack

        self._soon.stop()
        leave_stack(self._bench.viewer)

    def follow(self) -> None:
        """Show the layers as they are now."""
        view = self.view
        if view is not None:
            with told_to_user("Show in 3D"):
                view.renew()

    def _on_left(self) -> None:
        with told_to_user("Arrange sections"):
            self._gallery.resume()
            if self._gallery.groups != self._groups:  # registered, or not, meanwhile
                self._bench.viewer.reset_view()
        self.changed.emit()

    def _on_outdated(self) -> None:
        if self.view is not None:
            self._soon.start()

    def _on_job(self, job: Any) -> None:
        view = self.view
        if view is not None and job.kind == "colour":
            view.touch()  # what is painted in tiles does not tell
            self._soon.start()
