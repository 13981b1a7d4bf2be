"""A job's bar in napari's activity dock."""

from __future__ import annotations

from collections.abc import Callable

from napari.utils import cancelable_progress


class _Silent:
    """Somewhere for tqdm to write: a program without a console has no stderr."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        return None


class ActivityBar(cancelable_progress):
    """Progress in napari's activity dock, with its Cancel button.

    Make, update and close it in the GUI thread only. Each update makes napari
    process events, so whoever calls it must bear being called again meanwhile.

    Parameters
    ----------
    title
        The job's title.
    on_cancel
        Called when the user presses Cancel in the activity dock.
    """

    def __init__(self, title: str, on_cancel: Callable[[], None]) -> None:
        self._on_cancel = on_cancel
        self._range = 0
        super().__init__(desc=title, total=0, file=_Silent())

    def cancel(self) -> None:
        """Cancel the job (napari's button calls this)."""
        super().cancel()
        self._on_cancel()

    def show(self, fraction: float | None) -> None:
        """Show a fraction in [0, 1]; None is shown as busy without an end in sight."""
        total = 0 if fraction is None else 100
        if self._range != total:
            self._range = self.total = total
        step = round((fraction or 0.0) * 100) - self.n
        if step:
            self.update(step)
