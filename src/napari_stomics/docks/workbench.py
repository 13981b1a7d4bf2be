"""What the docks of one viewer share: its session, its jobs, and what paints results.

A dock asks the workbench to do things; it computes nothing and touches no data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from qtpy.QtCore import QObject, QTimer, Signal

from napari_stomics.core.errors import UserError
from napari_stomics.docks.autosaver import Autosaver
from napari_stomics.docks.docking import DOCKS, PLUGIN, is_listed, open_docks
from napari_stomics.docks.jobs import Job, JobRunner, job_runner, window_is_open
from napari_stomics.docks.messages import show_info, show_warning, told_to_user
from napari_stomics.docks.result_show import ResultShow
from napari_stomics.docks.saver import Saver
from napari_stomics.docks.stack_show import StackShow
from napari_stomics.layers.bars import stack_bars
from napari_stomics.layers.gallery import Gallery, frames, joined
from napari_stomics.session.session import Session

if TYPE_CHECKING:
    from napari_stomics.layers.compare import CompareController
    from napari_stomics.workflow.steps import Step

__all__ = ["DOCKS", "PLUGIN", "Workbench", "open_docks", "told_to_user", "workbench"]


class Workbench(QObject):
    """Session, jobs and painting of one viewer.

    Parameters
    ----------
    viewer
        The napari viewer (not its proxy).
    """

    study_opened = Signal()
    """Another study is on screen, or a section was added to it."""
    results_changed = Signal()
    """A result was committed, taken back or painted again."""
    comparison_changed = Signal()
    """Two sections are compared in another way, or no longer."""
    live_changed = Signal()
    """A running alignment has taken a section over, or has given it back."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.session = Session()
        self._on_screen = False
        self._comparison: CompareController | None = None
        self._look: dict[str, Any] = {}
        self._live = ("", "")
        self._tool: Callable[[], object] | None = None
        self._restoring = False
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._arrange)
        self._gallery = Gallery(
            viewer,
            lambda: self._restoring or self.compared_mode != "normal",
            later=self._soon.start,
        )
        stack_bars(viewer)
        self.runner: JobRunner = job_runner(viewer)
        self.stack = StackShow(self, self._gallery)
        self.autosaver = Autosaver(self)
        self._saver = Saver(self)
        self.session.study_changed.connect(self._show_study)
        self.session.section_added.connect(self._show_section)
        self._results = ResultShow(self)

    # -- opening ---------------------------------------------------------------------------

    def open_sample(self, name: str) -> Job:
        """Open one of the samples that ship with the package."""
        from napari_stomics.data.samples import open_sample

        return self._open(lambda ctx: open_sample(name), f"Open sample {name}")

    def open_store(self, path: str | Path) -> Job:
        """Open a SpatialData store as the study."""
        from napari_stomics.data.study import open_study

        return self._open(lambda ctx: open_study(path), f"Open {Path(path).name}")

    def add_section(self, path: str | Path, **options: Any) -> Job:
        """Read a file or folder as a section and add it to the study."""
        from napari_stomics.data.readers import read_section

        origin = {"path": str(Path(path).resolve()), **options}
        return self.runner.start(
            lambda ctx: read_section(path, **options),
            title=f"Read {Path(path).name}",
            kind=f"read {path}",
            on_done=self.while_open(lambda sdata: self.session.add(sdata, origin)),
        )

    def open_path(self, path: str | Path) -> Job:
        """Open whatever was dropped: a study replaces an empty one, a section is added."""
        from napari_stomics.data.readers import detect

        if detect(path) == "spatialdata" and not self.session.section_names:
            return self.open_store(path)
        return self.add_section(path)

    def adopt(self, study: Any) -> None:
        """Work on a study whose sections napari has put on screen already."""
        self._on_screen = True
        with told_to_user("Open"):
            self.session.open(study)

    def _open(self, read: Callable[[Any], Any], title: str) -> Job:
        return self.runner.start(
            read, title=title, kind="open", on_done=self.while_open(self.session.open)
        )

    def while_open(self, act: Callable[[Any], object]) -> Callable[[Any], object]:
        """Return what hands a job's result on, unless the window was closed meanwhile."""

        def hand_on(result: Any) -> object:
            return act(result) if window_is_open(self.viewer) else None

        return hand_on

    # -- running and saving ------------------------------------------------------------------

    def run(self, step: Step, then: Callable[[], None] | None = None) -> Job | None:
        """Run a step in a background job and commit its result; None if it is refused."""
        with told_to_user(step.method):
            return self.start(step, then)
        return None

    def run_all(self, steps: Sequence[Step]) -> None:
        """Run steps one after the other; the first one that fails ends the row."""
        for step in steps[:1]:
            self.run(step, then=lambda: self.run_all(steps[1:]))

    def start(
        self,
        step: Step,
        then: Callable[[], None] | None = None,
        *,
        first: Callable[[], None] | None = None,
        states: bool = False,
    ) -> Job:
        """Run a step in a background job and commit its result.

        Parameters
        ----------
        step
            The request.
        then
            Called once the result is in the study and painted.
        first
            Called just before it is painted, with the viewer as it was while the job ran.
        states
            Whether anybody looks at intermediate states; see :attr:`JobRunner.state_shown`.

        Raises
        ------
        UserError
            If the step is refused; nothing has been started then.
        """
        study = self.session.study

        def done(outcome: Any) -> Iterator[None]:
            if self.session.study is not study:
                raise UserError(
                    "Another study was opened meanwhile, so the result is dropped.",
                    "Open the former study again and run the step there.",
                )
            yield from self.committing(partial(self.session.commit, outcome), first)
            if then is not None:
                yield
                then()
                yield

        resolved = step.resolve()
        prepared = resolved.collect(study)
        return self.runner.start(
            prepared.run,
            title=resolved.spec.title,
            kind=f"{step.method} {step.result_key} {sorted(step.inputs.items(), key=str)}",
            on_done=self.while_open(done),
            threads=job_threads(step.method),
            states=states,
        )

    def keep(
        self, outcome: Any, title: str, first: Callable[[], None], then: Callable[[], None]
    ) -> Job:
        """Commit a result that was computed before; see :meth:`start`."""

        def done(kept: Any) -> Iterator[None]:
            yield from self.committing(partial(self.session.commit, kept), first)
            yield
            then()
            yield

        return self.runner.start(
            lambda ctx: outcome,
            title=title,
            kind=f"keep {outcome.run.id}",
            on_done=self.while_open(done),
        )

    def committing(
        self, commit: Callable[[], object], first: Callable[[], None] | None = None
    ) -> Iterator[None]:
        """Commit results and paint them piece by piece: what a job's ``on_done`` may return."""
        return self._results.committing(commit, first)

    def save(self, path: str | Path | None = None, *, overwrite: bool = False) -> Job | None:
        """Save the study in a background job."""
        return self._saver.save(path, overwrite)

    def shown(self) -> dict[str, Any]:
        """How the study is shown now, in plain JSON types: layers, view and docks."""
        from napari_stomics.layers.session_state import capture

        window = getattr(self.viewer, "window", None)
        docks = list(window.dock_widgets) if window is not None else []
        # What a comparison hides or moves is not how the user left the layers.
        look = self._look if self.compared_mode != "normal" else capture(self.viewer)
        return {"layers": look, "docks": docks}

    def _restore_look(self) -> None:
        """Show the study as it was when it was saved."""
        from napari_stomics.layers.session_state import restore

        state = self.session.study.record.session
        if not state:
            self.viewer.reset_view()
            return
        for missing in restore(self.viewer, self.session.study, state.get("layers")):
            show_warning(f"Not restored: {missing}")
        window = getattr(self.viewer, "window", None)
        if window is not None:
            open_docks(window, [name for name in DOCKS if is_listed(name, state.get("docks"))])

    def undo(self) -> None:
        """Take the last action back and say which it was."""
        with told_to_user("Undo"):
            text = self.session.undo.undo()
            show_info(f"Undone: {text}" if text else "There is nothing to undo.")

    def redo(self) -> None:
        """Do the last undone action again and say which it was."""
        with told_to_user("Redo"):
            text = self.session.undo.redo()
            show_info(f"Done again: {text}" if text else "There is nothing to redo.")

    def comparison(self, source: str, target: str) -> CompareController:
        """Return the one comparison of this viewer, turned to two sections.

        A comparison of another pair is left first, so that two of them never
        hide each other's layers.
        """
        from napari_stomics.layers.compare import CompareController
        from napari_stomics.layers.session_state import capture

        self.stack.leave()
        if self.compared_mode == "normal":
            self._look = capture(self.viewer)
        now = self._comparison
        if now is None or (now.source, now.target) != (source, target):
            self.leave_comparison()
            now = self._comparison = CompareController(self.viewer, source, target)
            now.changed.connect(self._on_compared)
        return now

    @property
    def compared_mode(self) -> str:
        """How two sections are compared at present; ``normal`` when they are not."""
        return "normal" if self._comparison is None else self._comparison.mode

    @property
    def compared(self) -> tuple[str, str]:
        """Names of the moving and the fixed section that are compared; empty without."""
        now = self._comparison
        return ("", "") if now is None else (now.source, now.target)

    def _on_compared(self) -> None:
        with told_to_user("Compare"):
            self._gallery.resume()
        self.comparison_changed.emit()

    def leave_comparison(self) -> None:
        """Show every layer as it was before sections were compared."""
        if self._comparison is not None:
            self._comparison.leave()
            self._comparison = None

    @property
    def live(self) -> tuple[str, str]:
        """Moving and fixed section of an alignment that is shown as it runs; empty without."""
        return self._live

    def set_live(self, source: str = "", target: str = "") -> None:
        """Show two sections in one view while they are aligned, and let nobody else move them."""
        if (source, target) == self._live:
            return
        self._live = (source, target)
        with told_to_user("Arrange sections"):
            if source:
                self.stack.leave()
                self.leave_comparison()
            self.lay_out()
        self.live_changed.emit()

    def take_canvas(self, let_go: Callable[[], object]) -> None:
        """Have the clicks on the canvas for a tool; the one that had them lets go of them."""
        former, self._tool = self._tool, let_go
        if former is not None and former != let_go:
            former()

    # -- painting ----------------------------------------------------------------------------

    def _show_study(self) -> None:
        from napari_stomics.layers.section import add_section, clear_study

        with told_to_user("Show study"):
            self.leave_comparison()
            self._gallery.close()
            if not self._on_screen:
                clear_study(self.viewer)
            self._on_screen = False
            for name in self.session.section_names:
                add_section(self.viewer, self.session.study, name)
            for run in self.session.results():
                self._results.show_stored(run)
            self._gallery.dismissed = False
            self.lay_out(fit=False)
            # The saved order comes first; the gallery then keeps it within each section.
            self._restoring = True
            try:
                self._restore_look()
            finally:
                self._restoring = False
            self._gallery.arrange()
        self.study_opened.emit()
        self.results_changed.emit()

    def _show_section(self, name: str) -> None:
        from napari_stomics.layers.section import add_section

        with told_to_user(f"Show section {name}"):
            add_section(self.viewer, self.session.study, name)
            self._gallery.dismissed = False
            self.lay_out(fit=False)
            self.viewer.reset_view()
        self.study_opened.emit()

    def _arrange(self) -> None:
        with told_to_user("Arrange sections"):
            if window_is_open(self.viewer):
                self._gallery.arrange()

    def lay_out(self, fit: bool = True) -> None:
        """Show sections that nothing registers yet beside each other, all others in one view."""
        study = self.session.study
        groups = [] if self._gallery.dismissed else joined(frames(study), self._live)
        if self._gallery.show(groups) and fit and self.stack.view is None:
            self.viewer.reset_view()


def job_threads(method: str) -> int | None:
    """Threads of a job as set in napari's preferences; None where they are not registered.

    Alignments have one: two that wait for each other took four times as long on two cores.
    """
    from napari.settings import get_plugin_settings

    if method.startswith(("alignment/", "stack/")):
        return 1
    try:
        return int(get_plugin_settings("napari-stomics").compute.threads)
    except (AttributeError, KeyError):
        return None


_workbenches: WeakKeyDictionary[Any, Workbench] = WeakKeyDictionary()


def workbench(viewer: Any) -> Workbench:
    """Return the one workbench of a viewer, made when it is first asked for."""
    key = getattr(viewer, "__wrapped__", viewer)
    if key not in _workbenches:
        _workbenches[key] = Workbench(key)
    return _workbenches[key]
