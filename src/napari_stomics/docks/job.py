"""One run of a function in the background: where it stands, and how to hold or stop it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

from napari_stomics.docks.job_thread import Mailbox

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_stomics.docks.activity import ActivityBar

CANCEL_GRACE_S = 0.1
"""How long a cancelled function may take to notice before the user is told all the same."""


class JobState(Enum):
    """Where a job stands."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Job:
    """One run of a function: read it in the GUI thread, hold or stop it from anywhere.

    Attributes
    ----------
    title, kind
        As given to :meth:`JobRunner.start`.
    state
        A :class:`JobState`.
    fraction, message
        Latest progress; ``fraction`` is None while unknown.
    warnings
        Every warning so far.
    error, traceback
        Why it failed: the exception, without its frames, and the traceback as text.
    superseded
        Whether a newer job of its kind replaced it.
    """

    _ids = itertools.count(1)

    def __init__(self, title: str, kind: str) -> None:
        self.id = next(self._ids)
        self.title = title
        self.kind = kind
        self.state = JobState.RUNNING
        self.fraction: float | None = None
        self.message = ""
        self.warnings: list[str] = []
        self.error: BaseException | None = None
        self.traceback = ""
        self.superseded = False
        self._started = time.monotonic()
        self._ended: float | None = None
        self._mailbox: Mailbox | None = Mailbox()
        self._orders = self._mailbox.orders
        self._deadline: float | None = None
        self._next_state = 0.0
        self._shown_at: float | None = None
        self._committing = False
        self._notify = True
        self._activity: ActivityBar | None = None
        self._activity_shown = 0.0
        self._on_done: Callable[[Any], object] | None = None
        self._on_failed: Callable[[BaseException], object] | None = None
        self._owner: QWidget | None = None

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.kind} {self.title!r} {self.state.value}>"

    @property
    def is_active(self) -> bool:
        """Whether it has not ended yet."""
        return self.state is JobState.RUNNING

    @property
    def is_cancelling(self) -> bool:
        """Whether it was cancelled and has not answered yet."""
        return self.is_active and self._orders.cancel.is_set()

    @property
    def is_paused(self) -> bool:
        """Whether it was asked to pause; its function does so at its next step."""
        return self.is_active and not self._orders.go_on.is_set()

    @property
    def is_finishing(self) -> bool:
        """Whether it was asked to stop and keep its answer, and has not answered yet."""
        return self.is_active and self._orders.finish.is_set()

    @property
    def seconds(self) -> float:
        """Time since the start, or how long it took; pauses count."""
        return (self._ended or time.monotonic()) - self._started

    def cancel(self) -> None:
        """Ask it to stop; the runner emits ``cancelled`` within 0.2 s. Any thread may call it."""
        if self._deadline is None:
            self._deadline = time.monotonic() + CANCEL_GRACE_S
        self._orders.cancel.set()
        self._orders.go_on.set()

    def pause(self) -> None:
        """Have it wait at its next step, until :meth:`resume`. Any thread may call it."""
        if not (self._orders.cancel.is_set() or self._orders.finish.is_set()):
            self._orders.go_on.clear()

    def resume(self) -> None:
        """End a pause. Any thread may call it."""
        self._orders.go_on.set()

    def finish(self) -> None:
        """Ask it to stop and keep what it has, where its method can. Any thread may call it."""
        self._orders.finish.set()
        self._orders.go_on.set()
