"""Align sections by optimal transport: choose, run, watch, correct, judge."""

from __future__ import annotations

from napari.viewer import Viewer

from napari_stomics.docks.alignment_answer import AnswerPanel
from napari_stomics.docks.alignment_form import AlignmentForm
from napari_stomics.docks.alignment_run import RunPanel
from napari_stomics.docks.dock import Dock
from napari_stomics.docks.docking import raise_dock
from napari_stomics.docks.layout import Fold, in_column
from napari_stomics.docks.live_show import LiveShow
from napari_stomics.docks.messages import told_to_user

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
        self.fill(
            in_column(
                Fold("Align", in_column(self.form, self.run)),
                Fold("Answer", self.answer),
                stretch=True,
            )
        )
        self.form.changed.connect(self._on_form)
        self.run.changed.connect(self._on_run)
        self.answer.continue_wanted.connect(self._on_continue)
        self.answer.landmarks_wanted.connect(self._on_landmarks_wanted)
        self.listen(
            (bench.study_opened, self._on_study),
            (bench.results_changed, self._on_results),
            (session.landmarks.changed, self._on_known),
            *self.run.listeners(),
        )
        self._on_study()

    # -- standing in a window or not ---------------------------------------------------------

    def taken_up(self) -> None:
        """Show what happened meanwhile."""
        self._on_study()

    def let_go(self) -> None:
        """Give the sections back; a run goes on and is kept."""
        self.show_live.end()

    # -- keeping in step ---------------------------------------------------------------------

    def _on_study(self) -> None:
        self.form.refresh()
        self._show_curves()

    def _on_form(self) -> None:
        self.run.refresh()
        self.answer.show_pair(*self.form.pair)

    def _on_run(self) -> None:
        self.answer.set_busy(self.run.is_running)
        self._show_curves()

    def _on_results(self) -> None:
        self.form.refresh()
        self._show_curves()

    def _show_curves(self) -> None:
        """Show how the newest plan came about, unless another is being made."""
        if not self.run.is_running:
            plan = self.answer.plan()
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
