"""Saves what is not on disk yet while the user works, and offers it after a crash."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QCoreApplication, QObject, QTimer, Signal

from napari_stomics.core.errors import UserError
from napari_stomics.data.autosave import Autosave, Unfinished, find_unfinished
from napari_stomics.docks.messages import show_failure, show_warning
from napari_stomics.session.constraints import PaintedConstraint
from napari_stomics.session.landmarks import Landmark

if TYPE_CHECKING:
    from napari_stomics.docks.workbench import Workbench

_DELAY_MS = 1500
"""After this much quiet the file is written: soon, but not at every pixel of a drag."""
_HEARTBEAT_MS = 60_000


class Autosaver(QObject):
    """Keeps landmarks, constraints, the log and the look of a study beside its store.

    The results themselves are not written, since that can take minutes: the
    steps that made them are, and a restore runs them again.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    found = Signal()
    """Work that a crash left behind was found; read :attr:`unfinished`."""

    def __init__(self, bench: Workbench) -> None:
        super().__init__(bench)
        self._bench = bench
        self._file = Autosave()
        self.unfinished: list[Unfinished] = []
        self._delay = QTimer(self)
        self._delay.setSingleShot(True)
        self._delay.setInterval(_DELAY_MS)
        self._delay.timeout.connect(self.write)
        self._beat = QTimer(self)
        self._beat.setInterval(_HEARTBEAT_MS)
        self._beat.timeout.connect(self._file_beat)
        self._beat.start()
        session = bench.session
        session.undo.changed.connect(self._later)
        session.landmarks.changed.connect(self._later)
        session.constraints.changed.connect(self._later)
        session.section_added.connect(self._later)
        session.study_changed.connect(self._on_opened)
        session.saved.connect(self._on_saved)
        app = QCoreApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(self.write)
        QTimer.singleShot(0, self.look)

    def write(self) -> None:
        """Write what is not on disk yet, or remove the file when everything is."""
        self._delay.stop()
        session = self._bench.session
        if not session.unsaved or not session.section_names:
            self._file.discard()
            return
        try:
            record = session.study.record
            self._file.write(record.landmarks, self._state(), record.constraints)
        except (OSError, UserError) as error:
            show_warning(str(error), "Autosave")

    def look(self) -> None:
        """Look for work that a crash left behind, of this study and of unsaved ones."""
        notes: list[str] = []
        path = self._bench.session.study.path
        self.unfinished = find_unfinished(None, notes=notes)
        if path is not None:
            self.unfinished = [*find_unfinished(path, notes=notes), *self.unfinished]
        for note in notes:
            show_warning(note, "Autosave")
        self.found.emit()

    def restore(self, left: Unfinished) -> None:
        """Open the study that the work belongs to, and bring the work back."""
        path = self._bench.session.study.path
        if left.store is not None and left.store == (path and Path(path).resolve()):
            self._bring_back(left)
            return
        origin = left.session.get("origin") or {}
        if left.store is None and not origin:
            self._bring_back(left)
            return
        self._bench.runner.start(
            lambda ctx: _open(left, origin),
            title="Restore study",
            kind="open",
            on_done=lambda study: self._open_and_bring_back(study, left),
        )

    def discard(self, left: Unfinished) -> None:
        """Forget work that a crash left behind."""
        left.discard()
        self.unfinished = [u for u in self.unfinished if u.path != left.path]
        self.found.emit()

    def _open_and_bring_back(self, study: Any, left: Unfinished) -> None:
        self._bench.session.open(study)
        self._bring_back(left)

    def _bring_back(self, left: Unfinished) -> None:
        from napari_stomics.workflow.steps import Step

        session = self._bench.session
        marks = [Landmark(m.name, dict(m.positions)) for m in left.landmarks]
        session.landmarks.replace_all(marks, "Restore landmarks")
        rules = map(PaintedConstraint.of, left.constraints)
        session.constraints.replace_all(rules, "Restore constraints")
        self.write()
        self.discard(left)
        try:
            steps = [Step.model_validate(step) for step in left.session.get("steps") or []]
        except ValueError as error:
            show_failure(UserError(f"The log could not be restored: {error}.", "Run it again."))
            return
        self._bench.run_all(steps)

    def _state(self) -> dict[str, Any]:
        session = self._bench.session
        record = session.study.record
        return {
            "origin": record.origin,
            "steps": session.unsaved_steps(),
            "look": self._bench.shown(),
        }

    def _later(self, *_: Any) -> None:
        self._delay.start()

    def _on_opened(self) -> None:
        self._delay.stop()
        self._file.move_to(self._bench.session.study.path)
        if self._bench.session.study.path is not None:
            QTimer.singleShot(0, self.look)

    def _on_saved(self, report: Any) -> None:
        self._delay.stop()
        self._file.move_to(report.path)
        self._file.discard()

    def _file_beat(self) -> None:
        self._file.beat()


def _open(left: Unfinished, origin: dict[str, Any]) -> Any:
    if left.store is not None:
        from napari_stomics.data.study import open_study

        return open_study(left.store)
    from napari_stomics.workflow.recipes import StudySource

    study = StudySource.model_validate(origin).open(Path("/"))
    study.record.origin = origin
    return study
