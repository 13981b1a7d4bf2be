"""What the canvas shows while an alignment runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_stomics.docks.jobs import window_is_open
from napari_stomics.docks.messages import told_to_user

if TYPE_CHECKING:
    from napari_stomics.core.plans import AlignmentState
    from napari_stomics.docks.workbench import Workbench
    from napari_stomics.layers.live_alignment import LiveAlignment


class LiveShow:
    """Takes two sections over while they are aligned, and gives them back.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._live: LiveAlignment | None = None
        self._pair = ("", "")

    @property
    def is_on(self) -> bool:
        """Whether an alignment is shown."""
        return self._live is not None

    def begin(self, source: str, target: str) -> None:
        """Show two sections over each other; those shown before are given back."""
        from napari_stomics.layers.live_alignment import LiveAlignment

        if self.is_on and self._pair == (source, target):
            return
        self.end()
        study = self._bench.session.study
        if {source, target} <= set(self._bench.session.section_names):
            self._bench.set_live(source, target)
            self._pair = (source, target)
            with told_to_user("Show alignment"):
                self._live = LiveAlignment(
                    self._bench.viewer, study.section(source), study.section(target)
                )
                self._live.prepare()

    def show(self, state: AlignmentState) -> None:
        """Show where the alignment stands."""
        if self._live is not None and window_is_open(self._bench.viewer):
            with told_to_user("Show alignment"):
                self._live.show(state)

    def put_back(self) -> None:
        """Put every layer where it was; the sections stay in one view until :meth:`end`."""
        live, self._live = self._live, None
        if live is not None and window_is_open(self._bench.viewer):
            with told_to_user("Show alignment"):
                live.close()

    def end(self) -> None:
        """Give the sections back."""
        self.put_back()
        self._pair = ("", "")
        if window_is_open(self._bench.viewer):
            self._bench.set_live()
