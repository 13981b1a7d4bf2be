"""The dock for serial sections: aligned together, merged into one, and shown in 3D."""

from __future__ import annotations

from napari.viewer import Viewer

from napari_stomics.docks.dock import Dock
from napari_stomics.docks.job_bar import JobBar
from napari_stomics.docks.layout import in_column
from napari_stomics.docks.stack_panel import StackPanel, is_of_stacks


class StackDock(Dock):
    """Align a stack of sections, and look at it.

    Parameters
    ----------
    napari_viewer
        The napari viewer; given by napari.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        bench = self._bench
        self.panel = StackPanel(bench)
        self.bar = JobBar(bench.runner, is_of_stacks)
        self.fill(in_column(self.panel, self.bar, stretch=True))
        self.listen(
            (bench.study_opened, self.panel.refresh),
            (bench.results_changed, self.panel.show_figures),
            (bench.stack.changed, self.panel.follow_view),
            (bench.runner.started, self.panel.on_jobs),
            (bench.runner.finished, self.panel.on_jobs),
        )

    def taken_up(self) -> None:
        """Show the sections as they are now."""
        self.panel.refresh()

    def let_go(self) -> None:
        """Show everything flat again."""
        self._bench.stack.leave()
