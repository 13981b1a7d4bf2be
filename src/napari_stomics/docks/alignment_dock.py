"""Align sections by optimal transport: choose, run, watch, correct, judge."""

from __future__ import annotations

from napari.viewer import Viewer

from napari_stomics.docks.alignment_answer import AnswerPanel
from napari_stomics.docks.alignment_form import AlignmentForm
from napari_stomics.docks.alignment_run import RunPanel
from napari_stomics.docks.constraint_panel import ConstraintPanel
from napari_stomics.docks.dock import Dock
from napari_stomics.docks.docking import raise_dock
from napari_stomics.docks.layout import Fold, in_column
from napari_stomics.docks.live_preview import LivePreview
from napari_stomics.docks.live_show import LiveShow
from napari_stomics.docks.messages import told_to_user
from napari_stomics.docks.plan_views import PlanViews

_LANDMARKS = "Landmark registration"


class AlignmentDock(Dock):
    """Align two sections spot to spot, and see it happen.

    Parameters
    ----------
    napari_viewer
        The napari viewer; given by napari.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        bench, session = self._bench, self._bench.session
        self.show_live = LiveShow(bench)
        self.form = AlignmentForm(bench)
        self.run = RunPanel(bench, self.form, self.show_live)
        self.answer = AnswerPanel(bench)
        self.constraints = ConstraintPanel(bench)
        self.preview = LivePreview(bench, self.form, self.answer, self.show_live)
        self.views = PlanViews(bench)
        self.fill(
            in_column(
                Fold("Align", in_column(self.form, self.run)),
                Fold("Answer", self.answer),
                Fold("Correct", in_column(self.preview, self.constraints)),
                self.views,
                stretch=True,
            )
        )
        self.form.changed.connect(self._on_form)
        self.run.changed.connect(self._on_run)
        self.preview.changed.connect(self._on_preview)
        self.preview.state_shown.connect(self.run.follow)
        self.answer.continue_wanted.connect(self._on_continue)
        self.answer.landmarks_wanted.connect(self._on_landmarks_wanted)
        self.listen(
            (bench.study_opened, self._on_study),
            (bench.results_changed, self._on_results),
            (session.landmarks.changed, self._on_known),
            (session.constraints.changed, self._on_known),
            *self.run.listeners(),
            *self.constraints.listeners(),
            *self.preview.listeners(),
        )
        self._on_study()

    # -- standing in a window or not ---------------------------------------------------------

    def taken_up(self) -> None:
        """Show what happened meanwhile."""
        self.views.taken_up()
        self._on_study()

    def let_go(self) -> None:
        """Give the sections back; a run goes on and is kept, a preview does not."""
        self.preview.on_discard()
        self.constraints.let_go()
        self.views.let_go()
        self.show_live.end()

    # -- keeping in step ---------------------------------------------------------------------

    def _on_study(self) -> None:
        self.preview.forget()
        self.form.refresh()
        self._show_curves()

    def _on_form(self) -> None:
        source, target = self.form.pair
        if self._bench.live not in (("", ""), (source, target)):
            self.preview.on_discard()
        other = self.answer.show_pair(source, target)
        self.constraints.show_pair(source, target)
        self.run.refresh()
        self.preview.refresh()
        if other:
            self._show_curves()

    def _on_run(self) -> None:
        if self.run.is_running:
            self.preview.on_discard()
        self.preview.setEnabled(not self.run.is_running)
        self.answer.set_busy(self.run.is_running)
        self._show_curves()

    def _on_preview(self) -> None:
        self.answer.set_busy(self.preview.is_busy or self.run.is_running)
        self._show_curves()

    def _on_results(self) -> None:
        self.preview.check_basis()
        self.form.refresh()
        self._show_curves()

    def _show_curves(self) -> None:
        """Show how the newest plan came about, unless another is being made."""
        busy = self.run.is_running or self.preview.is_busy
        self.views.show_run(None if busy else self.answer.run, self.answer.plan_name)
        if not self.run.is_running:
            plan = self.preview.plan
            known = ([], []) if plan is None else (plan.objective, plan.marginal_errors)
            self.run.show_curves(*known)

    def _on_known(self) -> None:
        if self.isVisible():
            self.form.refs.refresh()

    # -- slots -------------------------------------------------------------------------------

    def _on_continue(self, plan: str) -> None:
        self.run.start_step(plan)

    def _on_landmarks_wanted(self) -> None:
        """Open the landmark dock for the two sections."""
        source, target = self.form.pair
        with told_to_user("Landmarks"):
            self._bench.session.estimate.configure(source=source, target=target)
            dock = raise_dock(self._bench.viewer, _LANDMARKS)
            if dock is not None:
                dock.place_landmarks()
