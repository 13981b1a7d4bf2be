"""Living constraints: each correction of the user solves on from the plan that is shown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QCheckBox, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_stomics.core.plans import AlignmentState, TransportPlan
from napari_stomics.data.references import collect_landmarks
from napari_stomics.data.spot_pairs import constraint_of
from napari_stomics.docks.alignment_answer import AnswerPanel
from napari_stomics.docks.alignment_form import AlignmentForm
from napari_stomics.docks.job_bar import MessageText
from napari_stomics.docks.jobs import Job
from napari_stomics.docks.layout import button, in_row
from napari_stomics.docks.live_show import LiveShow
from napari_stomics.docks.messages import describe_failure, failure_text, told_to_user
from napari_stomics.docks.result_text import words
from napari_stomics.docks.workbench import Workbench, job_threads
from napari_stomics.workflow.steps import Outcome, PreparedStep, ResolvedStep

KIND = "alignment preview"
_QUIET_MS = 100
"""The hand must rest for this long before it is solved again."""


@dataclass(frozen=True)
class Basis:
    """What does not change from one preview to the next: spots and features of one request."""

    request: dict[str, Any]
    inputs: Any


class LivePreview(QWidget):
    """Solves again as landmarks and regions change, shows it, and keeps it when asked.

    Parameters
    ----------
    bench
        The viewer's workbench.
    form
        Parameters of the alignment.
    answer
        Holds the plan to begin with.
    show
        What the canvas shows.
    """

    changed = Signal()
    """A preview came, was kept or was discarded."""
    state_shown = Signal(object)
    """A state of the preview under way, for the curves."""

    def __init__(
        self, bench: Workbench, form: AlignmentForm, answer: AnswerPanel, show: LiveShow
    ) -> None:
        super().__init__()
        self._bench, self._form, self._answer, self._show = bench, form, answer, show
        self.outcome: Outcome | None = None
        """The preview that is shown and not kept."""
        self.job: Job | None = None
        self._basis: Basis | None = None
        self._from = ""
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_QUIET_MS)
        self._soon.timeout.connect(self.solve)
        self._build()
        self.refresh()

    def _build(self) -> None:
        self.switch = QCheckBox("Solve again as I correct")
        self.switch.setToolTip(
            "Dragging a landmark, painting a region or deleting one solves on from the plan "
            "that is shown. Nothing is kept until you say so."
        )
        self.switch.toggled.connect(self._on_switch)
        self.told = QLabel()
        self.told.setWordWrap(True)
        self.told.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.problem = MessageText()
        self.keep = button("Keep", self.on_keep, "Put the plan that is shown into the study.")
        self.discard = button("Discard", self.on_discard, "Go back to the plan that was kept.")
        self._ends = in_row(self.keep, self.discard)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for widget in (self.switch, self.told, self.problem, self._ends):
            column.addWidget(widget)

    def listeners(self) -> list[tuple[Any, Any]]:
        """Signals of what outlives the dock, and what hears them."""
        runner, session = self._bench.runner, self._bench.session
        return [
            (session.landmarks.changed, self.on_corrected),
            (session.constraints.changed, self.on_corrected),
            (runner.state_shown, self._on_state),
            (runner.finished, self._on_finished),
        ]

    # -- state -------------------------------------------------------------------------------

    @property
    def is_on(self) -> bool:
        """Whether corrections are solved as they come."""
        return self.switch.isChecked()

    @property
    def is_busy(self) -> bool:
        """Whether a preview is shown or under way."""
        return self.outcome is not None or (self.job is not None and self.job.is_active)

    @property
    def plan(self) -> TransportPlan | None:
        """The plan that the next preview goes on from: the last preview, else the one kept."""
        return self.outcome.result if self.outcome is not None else self._answer.plan()

    def refresh(self) -> None:
        """Show where things stand."""
        solving = self.job is not None and self.job.is_active
        known = self._answer.run is not None
        self._ends.setVisible(self.is_busy)
        self.keep.setEnabled(self.outcome is not None and not solving)
        if solving and self.job is not None:
            text = "Solving again…" if self.job.kind == KIND else "Keeping it…"
        elif self.outcome is not None:
            text = f"Not kept yet. {preview_text(self.outcome)}"
        elif self.is_on:
            text = (
                "Drag a landmark, paint a region or delete one."
                if known
                else "Align the sections once; corrections then go on from that plan."
            )
        else:
            text = ""
        self.told.setText(text)
        self.told.setVisible(bool(text))

    # -- solving -----------------------------------------------------------------------------

    def on_corrected(self) -> None:
        """Something that the alignment depends on has changed."""
        if self.is_on and self._answer.run is not None:
            self._soon.start()

    def solve(self) -> None:
        """Solve on from the plan that is shown; the newest request wins."""
        plan = self.plan
        if plan is None or not self._form.ready:
            return
        self.problem.show_text("")
        try:
            prepared = self._prepared(plan)
        except Exception as error:
            self.problem.show_text(failure_text(error, "Solve again"))
            return
        source, target = self._form.pair
        run = self._answer.run
        self._from = "" if run is None else run.id
        self.job = self._bench.runner.start(
            prepared.run,
            title="Solve again",
            kind=KIND,
            on_done=self._bench.while_open(self._take),
            on_failed=self._on_failed,
            owner=self,
            threads=job_threads(prepared.resolved.step.method),
            states=True,
            quiet=True,
        )
        self._show.begin(source, target)
        self.refresh()
        self.changed.emit()

    def _prepared(self, plan: TransportPlan) -> PreparedStep:
        """The request with landmarks and constraints as they are now; quick, as a drag needs it."""
        study = self._bench.session.study
        resolved = self._form.step(self._answer.plan_name, **self._held()).resolve()
        refs: Any = resolved.refs
        request = {**refs.model_dump(exclude={"landmarks", "constraints"}), "study": id(study)}
        if self._basis is None or self._basis.request != request:
            bare = refs.model_copy(update={"landmarks": (), "constraints": ()})
            gathered = ResolvedStep(resolved.step, resolved.spec, resolved.params, bare)
            self._basis = Basis(request, gathered.collect(study).inputs)
        inputs = self._basis.inputs
        marks = collect_landmarks(study, refs)
        inputs = replace(
            inputs,
            landmarks=marks if marks.names else None,
            constraints=tuple(
                constraint_of(rule, inputs.source, inputs.target) for rule in refs.constraints
            ),
            start=plan,
        )
        return PreparedStep(resolved, inputs)

    def _held(self) -> dict[str, Any]:
        """Landmarks hold the spots round them while the user moves them."""
        params = self._form.params
        known = self._bench.session.landmarks.pairs(*self._form.pair).names
        if params is None or "prior" not in params.model.model_fields or not known:
            return {}
        return {"prior": "pinned"}

    def _take(self, outcome: Outcome) -> None:
        self.outcome = outcome  # shown when the job has ended

    # -- ending ------------------------------------------------------------------------------

    def on_keep(self) -> None:
        """Put the preview into the study, as one action that can be undone."""
        outcome, self.outcome = self.outcome, None
        if outcome is None:
            return
        self._stop()
        self._from = outcome.run.id
        with told_to_user("Keep alignment"):
            self.job = self._bench.keep(
                outcome, "Keep alignment", self._show.put_back, self._show.clear
            )
        self.refresh()
        self.changed.emit()

    def on_discard(self) -> None:
        """Go back to the plan that is in the study."""
        if not self.is_busy:
            return
        self.outcome = None
        self._stop()
        self._show.end()
        self.problem.show_text("")
        self.refresh()
        self.changed.emit()

    def forget(self) -> None:
        """Discard the preview and what it was made from: another study is on screen."""
        self.on_discard()
        self._basis = None

    def check_basis(self) -> None:
        """Discard the preview if the plan that it went on from is no longer the newest."""
        run = self._answer.run
        if self.is_busy and (run is None or run.id != self._from):
            self.on_discard()

    def _stop(self) -> None:
        self._soon.stop()
        job, self.job = self.job, None
        if job is not None and job.is_active:
            job.cancel()

    # -- slots -------------------------------------------------------------------------------

    def _on_switch(self) -> None:
        self._soon.stop()
        self.refresh()

    def _on_state(self, job: Job, state: Any) -> None:
        if job is self.job and isinstance(state, AlignmentState):
            self._show.show(state)
            self.state_shown.emit(state)

    def _on_failed(self, error: BaseException) -> None:
        self.problem.show_text(describe_failure(error, "Solve again"))

    def _on_finished(self, job: Job) -> None:
        if job is not self.job:
            return
        self.job = None
        if self.outcome is None:
            self._show.end()  # it failed or was cancelled, and there is none before it
        else:
            self._show.show(final_state(self.outcome.result, self._basis))
        self.refresh()
        self.changed.emit()


def final_state(plan: TransportPlan, basis: Basis | None) -> AlignmentState:
    """The last state of an alignment, from its plan."""
    placed = plan.source_coordinates
    if plan.registration is not None and basis is not None:
        placed = plan.registration.transform.apply(basis.inputs.source.coordinates)
    return AlignmentState(
        "solve", len(plan.objective), placed, plan.barycentres, plan.objective, plan.marginal_errors
    )


def preview_text(outcome: Outcome) -> str:
    """What a preview is worth, in a line."""
    summary = outcome.run.summary
    parts = [f"{outcome.run.seconds:.1f} s"]
    for name, title in (
        ("objective", "objective"),
        ("unmatched", "unmatched"),
        ("median_landmark_error_um", "landmarks left out (µm)"),
    ):
        if summary.get(name) is not None:
            parts.append(f"{title} {words(summary[name])}")
    mark = "" if outcome.result.converged else "⚠ Not converged. "
    return f"{mark}{', '.join(parts)}."
