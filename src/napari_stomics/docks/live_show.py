"""What the canvas shows while an alignment runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

from napari_stomics.docks.jobs import PIECE_PAUSE_MS, window_is_open
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
        self._closing: LiveAlignment | None = None
        self._pair = ("", "")
        self._pieces: Iterator[None] = iter(())
        self._waiting: AlignmentState | None = None
        self._soon = QTimer()
        self._soon.setSingleShot(True)
        self._soon.setInterval(PIECE_PAUSE_MS)
        self._soon.timeout.connect(self._go_on)

    @property
    def is_on(self) -> bool:
        """Whether an alignment is shown."""
        return self._live is not None

    def begin(self, source: str, target: str) -> None:
        """Show two sections over each other; those shown before are given back.

        The layers are taken over in the next turns of the event loop, a piece in each.
        """
        if self.is_on and self._pair == (source, target):
            return
        self.end()
        if {source, target} <= set(self._bench.session.section_names):
            self._bench.set_live(source, target)
            self._pair = (source, target)
            # A search for garbage among all that is open takes a third of a second.
            gc.freeze()
            self._pieces = self._taking_over(source, target)
            self._soon.start()

    def _taking_over(self, source: str, target: str) -> Iterator[None]:
        from napari_stomics.layers.live_alignment import LiveAlignment

        study = self._bench.session.study
        self._live = LiveAlignment(self._bench.viewer, study.section(source), study.section(target))
        yield
        yield from self._live.preparing()

    def show(self, state: AlignmentState) -> None:
        """Show where the alignment stands, as soon as the layers are taken over.

        Where states come faster than they are shown, the newest one is.
        """
        if self._pair != ("", ""):
            self._waiting = state
            if not self._soon.isActive():
                self._go_on()

    def _go_on(self) -> None:
        """Do the next piece of what is to be shown."""
        if not window_is_open(self._bench.viewer):
            return
        with told_to_user("Show alignment"):
            for _ in self._pieces:
                self._soon.start()
                return
            state, self._waiting = self._waiting, None
            if state is not None and self._live is not None:
                self._pieces = self._live.showing(state)
                for _ in self._pieces:
                    self._soon.start()
                    return

    def put_back(self) -> None:
        """Put every layer where it was; the sections stay in one view until :meth:`end`."""
        self._soon.stop()
        self._pieces, self._waiting = iter(()), None
        live, self._live = self._live, None
        if live is not None and window_is_open(self._bench.viewer):
            self._closing = live
            with told_to_user("Show alignment"):
                live.put_back()

    def clear(self) -> None:
        """Take away what was put back and is hidden by now."""
        closing, self._closing = self._closing, None
        if closing is not None and window_is_open(self._bench.viewer):
            with told_to_user("Show alignment"):
                closing.close()

    def end(self) -> None:
        """Give the sections back."""
        self.put_back()
        self.clear()
        if self._pair != ("", ""):
            gc.unfreeze()
        self._pair = ("", "")
        if window_is_open(self._bench.viewer):
            self._bench.set_live()
