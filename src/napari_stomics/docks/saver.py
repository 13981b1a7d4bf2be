"""Saving the study in the background."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_stomics.core.errors import UserError
from napari_stomics.docks.jobs import Job
from napari_stomics.docks.messages import show_info, told_to_user

if TYPE_CHECKING:
    from napari_stomics.docks.workbench import Workbench


class Saver:
    """Saves the study of a workbench; while it does, changes are held back.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def save(self, path: str | Path | None = None, overwrite: bool = False) -> Job | None:
        """Save the study in a background job; None if that is refused."""
        from napari_stomics.data.store import save_store

        bench, session = self._bench, self._bench.session
        with told_to_user("Save"):
            if path is None and session.study.path is None:
                raise UserError("This study has not been saved yet.", "Choose where to save it.")
            session.study.record.session = bench.shown()
            session.begin_save()
            job = bench.runner.start(
                lambda ctx: save_store(session.study, path, ctx, overwrite=overwrite),
                title="Save study",
                kind="save",
                on_done=self._saved,
            )
            bench.runner.finished.connect(self._ended)
            return job
        return None

    def _saved(self, report: Any) -> None:
        self._bench.session.end_save(report)
        show_info(report.message)

    def _ended(self, job: Job) -> None:
        if job.kind == "save":
            self._bench.runner.finished.disconnect(self._ended)
            if self._bench.session.is_saving:
                self._bench.session.end_save(None)
