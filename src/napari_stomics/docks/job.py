"""One run of a function in the background: where it stands, and how to hold or stop it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any

from napari_stomics.docks.job_thread import Mailbox

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_stomics.docks.activity import ActivityBar

CANCEL_GRACE_S = 0.1
"""How long a cancelled function may take to notice before the user is told all the same."""


STATES_EVERY_S = 1 / 15
"""Intermediate states are handed on at most this often."""

STATES_SHARE = 0.5
"""At most this share of the GUI's time goes into showing them ..."""

STATES_AT_LEAST_S = 1 / 6
"""... as long as they come this often; only where one takes longer than this are they rarer."""


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
        self._pieces: Generator[None, None, object] | None = None
        self._result: Any = None
        self._notify = True
        self._quiet = False
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

    # -- how often its states are shown --------------------------------------------------------

    def _wants_state(self, late_by: float, last: bool) -> bool:
        """Whether it is time to show a state; ``late_by`` is what the loop waits anyhow."""
        now = time.monotonic()
        if self._shown_at is not None:
            # What the loop was late by went into drawing the state before.
            late = now - self._shown_at - late_by
            self._next_state = max(self._next_state, self._shown_at + _spaced(late))
            self._shown_at = None
        return self.is_active and (now >= self._next_state or last)

    @contextmanager
    def _showing_state(self) -> Iterator[None]:
        """Within the block a state is shown: the next one waits accordingly."""
        began = time.monotonic()
        yield
        self._shown_at = began
        self._next_state = began + max(STATES_EVERY_S, _spaced(time.monotonic() - began))


def _spaced(took: float) -> float:
    """Seconds from one state to the next, where showing one takes so long."""
    return max(min(took / STATES_SHARE, STATES_AT_LEAST_S), took * 1.2)
