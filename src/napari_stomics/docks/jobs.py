"""Background jobs: one runner for every dock of a viewer.

A dock gives the runner a function and a title; the runner answers on the GUI
thread with progress, warnings and exactly one ending.
"""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

from qtpy.QtCore import QCoreApplication, QObject, QThread, QTimer, Signal
from qtpy.QtWidgets import QDockWidget, QWidget

from napari_stomics.core.errors import JobCancelled
from napari_stomics.docks.activity import ActivityBar
from napari_stomics.docks.job import CANCEL_GRACE_S, STATES_EVERY_S, Job, JobState
from napari_stomics.docks.job_thread import Ending, JobFunction, Mailbox, forget_frames, launch
from napari_stomics.docks.messages import show_failure, show_warning

POLL_MS = 34
"""Mailboxes are read this often, so progress reaches the GUI at most 30 times a second."""

PIECE_PAUSE_MS = 3
"""Between two pieces of a commit the window takes events and draws."""

ACTIVITY_AFTER_S = 0.3
"""Jobs shorter than this never flash up in the activity dock."""

ACTIVITY_EVERY_S = 1.0
"""Each change there makes napari draw its whole window at once."""

MAX_NOTIFICATIONS = 3
"""Warnings of one job shown as notifications; the job keeps, and its bar shows, all of them."""

_log = logging.getLogger(__name__)

__all__ = ["CANCEL_GRACE_S", "STATES_EVERY_S", "Job", "JobRunner", "JobState", "job_runner"]
__all__ += ["window_is_open"]


class JobRunner(QObject):
    """Runs functions in threads and answers on the GUI thread.

    For each job exactly one of ``succeeded``, ``failed`` and ``cancelled`` is
    emitted, then ``finished``. A job cancelled while it is deep in a library
    call is reported as cancelled at once; its thread runs on to the end of the
    call and what it returns is dropped.

    Parameters
    ----------
    show_activity
        Whether jobs appear in napari's activity dock.
    notify
        Whether failures and warnings are also shown as napari notifications.
    is_open
        Whether the window is still there; once it is not, every job is stopped.
    parent
        Qt parent.
    """

    started = Signal(object)
    """``(job)``"""
    progress = Signal(object, object, str)
    """``(job, fraction or None, message)``, at most 30 times a second."""
    state_shown = Signal(object, object)
    """``(job, state)``: the latest intermediate state, at most 15 times a second."""
    warned = Signal(object, str)
    """``(job, text)``"""
    succeeded = Signal(object, object)
    """``(job, result)``, after ``on_done`` has committed the result."""
    failed = Signal(object, object)
    """``(job, error)``"""
    cancelled = Signal(object)
    """``(job)``; ``job.superseded`` tells whether a newer job replaced it."""
    finished = Signal(object)
    """``(job)``, last of all."""

    def __init__(
        self,
        *,
        show_activity: bool = True,
        notify: bool = True,
        is_open: Callable[[], bool] = lambda: True,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._show_activity = show_activity
        self._notify = notify
        self._is_open = is_open
        self._active: list[Job] = []
        self._serving: set[int] = set()
        # Weak: a window that is closed must not live on in its runner.
        self._watched: list[ReferenceType[QWidget]] = []
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._poll)
        self._next_piece = QTimer(self)
        self._next_piece.setSingleShot(True)
        self._next_piece.setInterval(PIECE_PAUSE_MS)
        self._next_piece.timeout.connect(self._go_on)
        app = QCoreApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(self.stop_all)

    def start(
        self,
        function: JobFunction,
        *,
        title: str,
        kind: str,
        on_done: Callable[[Any], object] | None = None,
        on_failed: Callable[[BaseException], object] | None = None,
        owner: QWidget | None = None,
        threads: int | None = None,
        states: bool = False,
        quiet: bool = False,
    ) -> Job:
        """Run ``function(ctx)`` in a background thread.

        A running job of the same kind is cancelled and what it returns is dropped.

        Parameters
        ----------
        function
            Takes a :class:`~napari_stomics.core.jobs.JobContext`, returns the
            result. It must touch neither Qt nor layers.
        title
            What the user sees.
        kind
            What the job answers, for instance ``"registration"``: of two jobs
            of one kind only the newer can answer.
        on_done
            Called with the result on the GUI thread: the place to commit it. If
            it raises, the job has failed. Where it is a generator the event loop turns
            after each of its pieces, and the job ends, in whatever way, after the last one.
        on_failed
            Called with the error on the GUI thread.
        owner
            A widget: when it or its main window is destroyed the job is cancelled.
        threads
            Cap for BLAS, OpenMP and torch; default the lesser of 2 and the cores.
        states
            Whether anybody looks at intermediate states; see :attr:`state_shown`.
        quiet
            Show neither notifications nor activity: the caller tells how it goes.
        """
        if QThread.currentThread() is not self.thread():
            raise RuntimeError("Jobs are started from the GUI thread.")
        for older in self.active(kind):
            if not older._committing:
                older.superseded = True
                older.cancel()
        job = Job(title, kind)
        job._on_done, job._on_failed = on_done, on_failed
        job._notify = self._notify and not quiet
        job._quiet = quiet
        cap = threads if threads is not None else min(2, os.cpu_count() or 1)
        launch(function, job._mailbox, threads=cap, name=str(job.id), states=states)
        if owner is not None:
            self.watch(owner)
            job._owner = owner
            owner.destroyed.connect(job.cancel)
        self._active.append(job)
        self._timer.start()
        self.started.emit(job)
        return job

    def active(self, kind: str | None = None) -> list[Job]:
        """Jobs that have not ended, oldest first."""
        return [job for job in self._active if kind is None or job.kind == kind]

    def watch(self, widget: QWidget) -> None:
        """Stop every job when the main window that holds the widget is closed.

        napari deletes its window once a close has been accepted, so a close that
        the user takes back does not stop anything.
        """
        window = widget.window()
        while isinstance(window, QDockWidget) and window.parentWidget() is not None:
            window = window.parentWidget().window()
        if all(window is not known() for known in self._watched):
            self._watched.append(ref(window))
            window.destroyed.connect(self._window_destroyed)

    def stop_all(self) -> None:
        """Cancel every job and report each as cancelled now; nothing comes after that."""
        for job in list(self._active):
            job.cancel()
            if job._pieces is not None and job.id not in self._serving:
                job._pieces.close()
                self._end_cancelled(job)
            elif not job._committing:
                self._end_cancelled(job)

    def _window_destroyed(self) -> None:
        self._watched.clear()
        self.stop_all()

    def _poll(self) -> None:
        if not self._is_open():  # Qt may take its time to destroy a window that was closed
            self.stop_all()
        for job in list(self._active):
            # Showing progress makes napari process events, and a slot may open a
            # dialog: both can bring us here again in the middle of serving a job.
            if job.id in self._serving:
                continue
            self._serving.add(job.id)
            try:
                self._serve(job)
            finally:
                self._serving.discard(job.id)
        if not self._active:
            self._timer.stop()

    def _serve(self, job: Job) -> None:
        box = job._mailbox
        if box is None or job._pieces is not None:
            return
        ending = box.ending  # read first: all that was said before it is then in the box
        self._pass_warnings(job, box)
        if job._deadline is not None:
            if ending is not None or time.monotonic() >= job._deadline:
                self._end_cancelled(job, ending)
            return
        self._pass_progress(job, box)
        self._pass_state(job, box, last=ending is not None)
        if ending is None or not job.is_active:
            return
        if job._deadline is not None or isinstance(ending.error, JobCancelled):
            self._end_cancelled(job, ending)
        elif ending.error is not None:
            self._end_failed(job, ending.error, ending.traceback)
        else:
            self._end_succeeded(job, ending.result)

    def _pass_warnings(self, job: Job, box: Mailbox) -> None:
        for text in box.take_warnings():
            job.warnings.append(text)
            self.warned.emit(job, text)
            if job._notify and len(job.warnings) <= MAX_NOTIFICATIONS:
                show_warning(text, job.title)

    def _pass_progress(self, job: Job, box: Mailbox) -> None:
        latest = box.take_progress()
        if latest is not None:
            job.fraction, job.message = latest
            self.progress.emit(job, *latest)
        if self._show_activity and not job._quiet and job.seconds >= ACTIVITY_AFTER_S:
            self._show_in_activity_dock(job)

    def _pass_state(self, job: Job, box: Mailbox, last: bool) -> None:
        """Hand on the latest state; what came between is skipped on purpose."""
        if job._wants_state(late_by=POLL_MS / 1000, last=last):
            for state in box.take_state():
                with job._showing_state():
                    self.state_shown.emit(job, state)

    def _show_in_activity_dock(self, job: Job) -> None:
        now = time.monotonic()
        if not job.is_active or now - job._activity_shown < ACTIVITY_EVERY_S:
            return
        job._activity_shown = now
        if job._activity is None:
            bar = ActivityBar(job.title, job.cancel)
            if not job.is_active:  # ended by an event that napari processed meanwhile
                bar.close()
                return
            job._activity = bar
        job._activity.show(job.fraction)

    def _end_succeeded(self, job: Job, result: Any) -> None:
        job._committing = True
        try:
            pieces = job._on_done(result) if job._on_done is not None else None
            if isinstance(pieces, Generator):
                next(pieces)
                job._pieces, job._result = pieces, result
                self._next_piece.start()
                return
        except StopIteration:
            pass
        except Exception as error:
            self._end_uncommitted(job, error)
            return
        self._end_committed(job, result)

    def _go_on(self) -> None:
        """Do the next piece of each commit that is under way."""
        for job in list(self._active):
            pieces = job._pieces
            if pieces is None or job.id in self._serving:
                continue
            if not self._is_open():
                self.stop_all()
                return
            self._serving.add(job.id)
            try:
                next(pieces)
            except StopIteration:
                self._end_committed(job, job._result)
            except Exception as error:
                self._end_uncommitted(job, error)
            finally:
                self._serving.discard(job.id)
        if any(job._pieces is not None for job in self._active):
            self._next_piece.start()

    def _end_committed(self, job: Job, result: Any) -> None:
        if self._close(job, JobState.SUCCEEDED):
            self.succeeded.emit(job, result)
            self.finished.emit(job)

    def _end_uncommitted(self, job: Job, error: Exception) -> None:
        text = traceback.format_exc()
        forget_frames(error)
        self._end_failed(job, error, text)

    def _end_failed(self, job: Job, error: BaseException, text: str) -> None:
        on_failed = job._on_failed
        job.error, job.traceback = error, text
        if not self._close(job, JobState.FAILED):
            return
        self.failed.emit(job, error)
        if job._notify:
            show_failure(error, job.title, text)
        try:
            if on_failed is not None:
                on_failed(error)
        finally:
            self.finished.emit(job)

    def _end_cancelled(self, job: Job, ending: Ending | None = None) -> None:
        if ending is not None and not isinstance(ending.error, JobCancelled | None):
            _log.warning("%r raised after its cancel:\n%s", job, ending.traceback)
        if self._close(job, JobState.CANCELLED):
            self.cancelled.emit(job)
            self.finished.emit(job)

    def _close(self, job: Job, state: JobState) -> bool:
        """Mark the job as ended; False if it had ended before."""
        if not job.is_active:
            return False
        job.state = state
        job._ended = time.monotonic()
        job._on_done = job._on_failed = job._pieces = job._result = None
        self._active = [other for other in self._active if other is not job]
        # A thread that runs on keeps the mailbox; with it goes the result that nobody wants.
        job._mailbox = None
        self._forget_owner(job)
        activity, job._activity = job._activity, None
        if activity is not None:
            activity.close()
        return True

    @staticmethod
    def _forget_owner(job: Job) -> None:
        owner, job._owner = job._owner, None
        if owner is not None:
            with suppress(RuntimeError, TypeError):  # it may be the one being destroyed
                owner.destroyed.disconnect(job.cancel)


def window_is_open(viewer: Any) -> bool:
    """Whether a viewer's window is still there; a viewer model without a window counts as open."""
    window = getattr(viewer, "window", None)
    try:
        return window is None or window.geometry() is not None
    except (AttributeError, RuntimeError):
        return False


_runners: WeakKeyDictionary[Any, JobRunner] = WeakKeyDictionary()


def job_runner(viewer: Any) -> JobRunner:
    """Return the one runner of a viewer, made when it is first asked for.

    Parameters
    ----------
    viewer
        A napari viewer, or the proxy of one that napari gives to plugins.
    """
    # A weak reference to the proxy dies with the proxy: the viewer itself is the key.
    key = getattr(viewer, "__wrapped__", viewer)
    if key not in _runners:
        held = ref(key)
        _runners[key] = JobRunner(is_open=lambda: held() is not None and window_is_open(held()))
    return _runners[key]
