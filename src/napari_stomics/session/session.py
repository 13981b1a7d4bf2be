"""What one viewer works on: the study, its landmarks, what can be undone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_stomics.core.errors import UserError
from napari_stomics.data.schema import LandmarkRecord
from napari_stomics.session.constraints import ConstraintModel, PaintedConstraint
from napari_stomics.session.estimate import LiveEstimate
from napari_stomics.session.landmarks import Landmark, LandmarkModel
from napari_stomics.session.left_out import LeftOut
from napari_stomics.session.undo import Action, UndoStack

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from napari_stomics.data.schema import RunRecord
    from napari_stomics.data.single_cells import SingleCells
    from napari_stomics.data.store import SaveReport
    from napari_stomics.data.study import Study
    from napari_stomics.workflow.steps import Outcome


class Session:
    """State of one viewer, free of Qt and of napari.

    Only the thread of the GUI changes it. While a save is under way results,
    landmarks and constraints are kept waiting, so that the store holds one moment's state.
    """

    study_changed = Signal()
    """Another study was opened."""
    section_added = Signal(str)
    """Name of a section that was added."""
    reference_added = Signal(str)
    """Name of single cells that were added."""
    committed = Signal(object, object)
    """(result, run record) of a result that is now in the study."""
    reverted = Signal(object, object)
    """(result, run record) of a result that was taken back."""
    saved = Signal(object)
    """The report of a save that is on disk."""

    def __init__(self) -> None:
        from napari_stomics.data.study import Study

        self.study: Study = Study()
        self.undo = UndoStack()
        self.landmarks = LandmarkModel(self.undo)
        self.constraints = ConstraintModel(self.undo)
        self.estimate = LiveEstimate(self.landmarks)
        self.left_out = LeftOut()
        self._saving = False
        self._waiting: list[Outcome] = []
        self._saved_runs: set[str] = set()
        self.landmarks.changed.connect(self._sync_landmarks)
        self.constraints.changed.connect(self._sync_constraints)

    @property
    def section_names(self) -> list[str]:
        """Names of the sections of the study, in order."""
        return list(self.study.record.sections)

    @property
    def is_saving(self) -> bool:
        """Whether a save is under way."""
        return self._saving

    @property
    def unsaved(self) -> bool:
        """Whether anything was done since the study was opened or saved."""
        return not self.undo.is_clean

    def open(self, study: Study) -> None:
        """Work on another study from now on."""
        self._refuse_while_saving()
        self.study = study
        self._saved_runs = {run.id for run in study.record.runs}
        self.undo.clear()
        self.left_out.clear()
        self.landmarks.reset(
            Landmark(mark.name, dict(mark.positions)) for mark in study.record.landmarks
        )
        self.constraints.reset(map(PaintedConstraint.of, study.record.constraints))
        names = self.section_names
        self.estimate.configure(
            source=names[1] if len(names) > 1 else "", target=names[0] if names else ""
        )
        self.study_changed.emit()

    def add(self, sections: SpatialData | Study, origin: dict[str, Any] | None = None) -> list[str]:
        """Add the sections of another object to the study.

        Parameters
        ----------
        sections
            What to add.
        origin
            Where it was read from, as a recipe says it: ``{"path": ...}``.

        Returns
        -------
        list of str
            Names of the sections added.
        """
        self._refuse_while_saving()
        added = self.study.add(sections)
        if origin is not None and set(self.study.record.origin) <= {"sections", "references"}:
            self.study.record.origin.setdefault("sections", []).append(origin)
        known = set(self.landmarks.names)
        new = [m for m in self.study.record.landmarks if m.name not in known]
        if new:
            self.landmarks.extend([Landmark(m.name, dict(m.positions)) for m in new])
        rules = map(PaintedConstraint.of, self.study.record.constraints)
        taken = set(self.constraints.names)
        more = [rule for rule in rules if rule.name not in taken]
        if more:
            self.constraints.replace_all([*self.constraints.constraints, *more], "Load constraints")
        if not (self.estimate.source and self.estimate.target):
            names = self.section_names
            self.estimate.configure(source=names[1] if len(names) > 1 else "", target=names[0])
        # Adding is not undone by itself, but it is a reason to save.
        self.undo.clean = -1
        for name in added:
            self.section_added.emit(name)
        return added

    def add_reference(self, cells: SingleCells, origin: dict[str, Any] | None = None) -> str:
        """Add single cells without positions to the study and return their name.

        Parameters
        ----------
        cells
            What to add.
        origin
            Where they were read from, as a recipe says it: ``{"path": ...}``.
        """
        self._refuse_while_saving()
        name = self.study.add_reference(cells)
        if origin is not None:
            entry = {**origin, "name": name}
            self.study.record.origin.setdefault("references", []).append(entry)
            self.study.sync()
        # As with a section: not undone by itself, but a reason to save.
        self.undo.clean = -1
        self.reference_added.emit(name)
        return name

    def commit(self, outcome: Outcome) -> None:
        """Put a job's result into the study as one undoable action."""
        if self._saving:
            self._waiting.append(outcome)
            return
        outcome.commit(self.study)
        self.undo.push(
            Action(
                f"{outcome.run.step['method']}",
                lambda: self._take_back(outcome),
                lambda: self._put_back(outcome),
            )
        )
        self.committed.emit(outcome.result, outcome.run)

    def results(self) -> list[RunRecord]:
        """Runs whose results are in the study, oldest first."""
        return list(self.study.record.runs)

    def unsaved_steps(self) -> list[dict[str, Any]]:
        """Steps whose results are in the study but not on disk, oldest first."""
        return [run.step for run in self.study.record.runs if run.id not in self._saved_runs]

    def load_result(self, run: RunRecord) -> Any:
        """Read the result of a run back from the study."""
        from napari_stomics.data.results import load_result

        return load_result(self.study, run)

    def begin_save(self) -> None:
        """Hold back changes until :meth:`end_save`; called before a save starts."""
        self._refuse_while_saving()
        self._sync_landmarks()
        self._sync_constraints()
        self.study.sync()
        self._saving = True

    def end_save(self, report: SaveReport | None) -> None:
        """Let changes through again; ``report`` is None when the save failed."""
        self._saving = False
        if report is not None:
            self.study.path = Path(report.path)
            self._saved_runs = {run.id for run in self.study.record.runs}
            self.undo.mark_clean()
            self.saved.emit(report)
        self._sync_landmarks()
        self._sync_constraints()
        waiting, self._waiting = self._waiting, []
        for outcome in waiting:
            self.commit(outcome)

    def _take_back(self, outcome: Outcome) -> None:
        self._refuse_while_saving()
        outcome.revert(self.study)
        self.reverted.emit(outcome.result, outcome.run)

    def _put_back(self, outcome: Outcome) -> None:
        self._refuse_while_saving()
        outcome.redo(self.study)
        self.committed.emit(outcome.result, outcome.run)

    def _sync_landmarks(self) -> None:
        if not self._saving:
            self.study.record.landmarks = [
                LandmarkRecord(name=m.name, positions=dict(m.positions))
                for m in self.landmarks.landmarks
            ]

    def _sync_constraints(self) -> None:
        if not self._saving:
            self.study.record.constraints = self.constraints.records()

    def _refuse_while_saving(self) -> None:
        if self._saving:
            raise UserError("The study is being saved.", "Try again when the save has ended.")
