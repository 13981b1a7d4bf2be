"""What the panels that look into a transport plan share: which plan, and when they may act."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

from qtpy.compat import isalive
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from napari_stomics.docks.jobs import window_is_open
from napari_stomics.docks.workbench import Workbench, told_to_user

if TYPE_CHECKING:
    from napari_stomics.data.schema import RunRecord


class PlanPanel(QWidget):
    """Part of a dock that shows something of one plan.

    It acts on the viewer only while it stands in a window. The plan is read,
    and what the panel needs of it worked out, in a background job.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    KIND = "plan panel"
    """What its jobs answer; of two jobs of one kind the newer one counts."""

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self._run: RunRecord | None = None
        self._up = True
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.timeout.connect(self._check_standing)
        bench.results_changed.connect(self._on_results)
        self.destroyed.connect(_ended(ref(self)))

    # -- for the dock that holds it ------------------------------------------------------------

    @property
    def run(self) -> RunRecord | None:
        """The run whose plan is shown."""
        return self._run

    def set_plan(self, run: RunRecord | None) -> None:
        """Show the plan of a run; None shows nothing."""
        if (run and run.id) == (self._run and self._run.id):
            return
        self._run = run
        for job in self._bench.runner.active(self._kind):
            job.cancel()
        self.clear()
        if run is not None:
            self._load(run)

    def taken_up(self) -> None:
        """Act on the viewer again."""
        self._up = True

    def let_go(self) -> None:
        """Leave the viewer as it was."""
        self._up = False

    # -- for the panels -----------------------------------------------------------------------

    def clear(self) -> None:
        """Show nothing: there is no plan, or another one is being read."""

    def prepare(self) -> Callable[[Any, Any], Any]:
        """Return what works out, from study and plan and in another thread, what is shown."""
        return _only_plan

    def show_plan(self, prepared: Any) -> None:
        """Show what was worked out."""

    def release(self) -> None:
        """Stop listening to what outlives the panel; the window may be gone already."""

    # -- inside -------------------------------------------------------------------------------

    @property
    def _kind(self) -> str:
        return f"{self.KIND} {id(self)}"

    def _load(self, run: RunRecord) -> None:
        study, session, work = self._bench.session.study, self._bench.session, self.prepare()
        self._bench.runner.start(
            lambda ctx: work(study, session.load_result(run)),
            title=f"Read plan {run.key}",
            kind=self._kind,
            on_done=partial(_hand_over, ref(self), run.id),
            owner=self,
            threads=1,
        )

    def _take(self, run_id: str, prepared: Any) -> None:
        if self._run is not None and self._run.id == run_id:
            with told_to_user("Show plan"):
                self.show_plan(prepared)

    def _on_results(self) -> None:
        """Forget a plan that is no longer in the study."""
        if self._run is not None:
            known = {run.id for run in self._bench.session.results()}
            if self._run.id not in known:
                self.set_plan(None)

    def showEvent(self, event: Any) -> None:
        """Act on the viewer when it is put into a window again."""
        super().showEvent(event)
        if not self._up:
            self.taken_up()

    def hideEvent(self, event: Any) -> None:
        """See whether it was taken out of its window, or only lies behind another dock."""
        super().hideEvent(event)
        self._settled.start(0)

    def _check_standing(self) -> None:
        if self._up and not self.isVisible() and window_is_open(self._bench.viewer):
            window = self.window()
            while isinstance(window, QDockWidget) and window.parentWidget() is not None:
                window = window.parentWidget().window()
            if not isinstance(window, QMainWindow):
                self.let_go()


def _only_plan(study: Any, plan: Any) -> Any:
    return plan


def _hand_over(panel: ref[PlanPanel], run_id: str, prepared: Any) -> None:
    found = panel()
    if found is not None and isalive(found):
        found._take(run_id, prepared)


def _ended(panel: ref[PlanPanel]) -> Callable[[], None]:
    """Return what is called when Qt destroys the panel while Python still holds it."""

    def end() -> None:
        found = panel()
        if found is not None:
            found.release()

    return end
