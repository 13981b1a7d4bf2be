"""Run an alignment and hold it in the hand: progress, curves, pause, stop and keep, cancel."""

from __future__ import annotations

from functools import cache
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_stomics.core.plans import AlignmentState
from napari_stomics.docks.alignment_form import AlignmentForm
from napari_stomics.docks.curve_view import CurveView
from napari_stomics.docks.job_bar import JobBar, MessageText
from napari_stomics.docks.jobs import Job
from napari_stomics.docks.layout import button, in_column, in_row
from napari_stomics.docks.live_show import LiveShow
from napari_stomics.docks.messages import failure_text
from napari_stomics.docks.workbench import Workbench
from napari_stomics.workflow.steps import Step

_PHASES = {
    "pose": "looking for the pose",
    "refine": "refining the pose",
    "solve": "transport",
    "bend": "bending",
}


class RunPanel(QWidget):
    """Starts the alignment that the form describes, shows it and controls it.

    Parameters
    ----------
    bench
        The viewer's workbench.
    form
        What to run.
    show
        What the canvas shows meanwhile.
    """

    changed = Signal()
    """A run was started or has ended."""

    def __init__(self, bench: Workbench, form: AlignmentForm, show: LiveShow) -> None:
        super().__init__()
        self._bench = bench
        self._form = form
        self._show = show
        self.job: Job | None = None
        """The run under way."""
        self._build()
        self.refresh()

    def _build(self) -> None:
        self.cost = QLabel()
        self.cost.setWordWrap(True)
        self.cost.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.run = button("Run", self.start, "Align in the background; the canvas follows.")
        self.problem = MessageText()
        self.bar = JobBar(self._bench.runner, is_alignment)
        self.pause = button("Pause", self.on_pause, "Hold the computation, or let it go on.")
        self.finish = button(
            "Stop and keep", self.on_finish, "End here and keep the plan found so far."
        )
        self._hold = in_row(self.pause, self.finish)
        self.phase = QLabel()
        self.objective = CurveView("Objective")
        self.errors = CurveView("Marginal error", log=True)
        self._curves = in_column(self.phase, self.objective, self.errors)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for widget in (self.cost, self.run, self.problem, self.bar, self._hold, self._curves):
            column.addWidget(widget)

    def listeners(self) -> list[tuple[Any, Any]]:
        """Signals of what outlives the dock, and what hears them."""
        runner = self._bench.runner
        return [(runner.state_shown, self._on_state), (runner.finished, self._on_finished)]

    # -- keeping in step ---------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether an alignment started here is under way."""
        return self.job is not None and self.job.is_active

    def refresh(self) -> None:
        """Say what can be done now, and what a run would cost."""
        running = self.is_running
        ready = self._form.ready
        if ready:
            _import_soon()
        self.run.setEnabled(ready and not running)
        self.run.setText(_run_text(ready, running))
        self.cost.setText("" if running else self._cost())
        self.cost.setVisible(bool(self.cost.text()))
        self._hold.setVisible(running)
        paused = self.job is not None and self.job.is_paused
        self.pause.setText("Continue" if paused else "Pause")
        finishing = self.job is not None and self.job.is_finishing
        for each in (self.pause, self.finish):
            each.setEnabled(running and not finishing)
        self.finish.setText("Stopping…" if finishing else "Stop and keep")
        self._curves.setVisible(running or len(self.objective.values) > 0)
        self.phase.setVisible(bool(self.phase.text()))
        self.errors.setVisible(len(self.errors.values) > 0)

    def _cost(self) -> str:
        """Time and memory of the run that the form describes, in words."""
        from napari_stomics.methods.alignment.estimate import estimate

        n, m = self._form.spots
        params = self._form.params
        if not n or not m or params is None or params.errors():
            return ""
        found = estimate(n, m, params.value())
        size = f"{n:,} × {m:,} spots"
        return f"{size}: {found}." if found is not None else f"{size}."

    def show_curves(self, objective: Any, errors: Any) -> None:
        """Show the curves of a run that has ended."""
        self.phase.setText("")
        self.objective.set_values(objective)
        self.errors.set_values(errors)
        self.refresh()

    # -- running -----------------------------------------------------------------------------

    def start(self) -> None:
        """Run what the form says, from the beginning."""
        self.start_step(None)

    def start_step(self, start: str | None, **changes: Any) -> None:
        """Run what the form says; see :meth:`AlignmentForm.step`."""
        self.problem.show_text("")
        if self.is_running:
            return
        try:
            self._launch(self._form.step(start, **changes))
        except Exception as error:
            self.problem.show_text(failure_text(error, "Align sections"))
        self.refresh()

    def _launch(self, step: Step) -> None:
        self.job = self._bench.start(step, self._show.clear, first=self._show.put_back, states=True)
        self.changed.emit()
        self.show_curves([], [])
        self._show.begin(str(step.inputs["source"]), str(step.inputs["target"]))

    # -- slots -------------------------------------------------------------------------------

    def on_pause(self) -> None:
        """Hold the computation, or let it go on."""
        if self.job is not None and self.job.is_paused:
            self.job.resume()
        elif self.job is not None:
            self.job.pause()
        self.bar.refresh()
        self.refresh()

    def on_finish(self) -> None:
        """End the computation and keep what it has found."""
        if self.job is not None:
            self.job.finish()
        self.refresh()

    def _on_state(self, job: Job, state: Any) -> None:
        if job is not self.job or not isinstance(state, AlignmentState):
            return
        self._show.show(state)
        self.follow(state)

    def follow(self, state: AlignmentState) -> None:
        """Show the curves as they stand."""
        self.phase.setText(f"Now: {_PHASES.get(state.phase, state.phase)}")
        self.phase.show()
        if len(state.objective):  # a phase without iterations leaves the curves as they are
            self.objective.set_values(state.objective)
            self.errors.set_values(state.marginal_errors)
            self.errors.setVisible(len(self.errors.values) > 0)

    def _on_finished(self, job: Job) -> None:
        if job is self.job:
            self.job = None
            self._show.end()
            self.phase.setText("")
            self.refresh()
            self.changed.emit()


@cache
def _import_soon() -> None:
    """Import what the first run needs, once, while the user reads the form."""
    import threading

    def load() -> None:
        import scipy.spatial  # noqa: F401

        import napari_stomics.layers.live_alignment
        import napari_stomics.layers.results  # noqa: F401

    threading.Thread(target=load, name="stomics-import", daemon=True).start()


def is_alignment(kind: str) -> bool:
    """Whether a job aligns sections."""
    return kind.startswith("alignment/")


def _run_text(ready: bool, running: bool) -> str:
    if running:
        return "Running…"
    return "Run" if ready else "Run (choose two sections first)"
