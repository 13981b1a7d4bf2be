"""The thread's half of a job: it runs the function and writes into a mailbox, and knows no Qt.

A thread that never holds a Qt object cannot touch one after its window is
gone; the GUI thread reads the mailbox when it suits it.
"""

from __future__ import annotations

import atexit
import sys
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from napari_stomics.core.errors import UserError
from napari_stomics.core.jobs import JobContext, limited_threads

THREAD_NAME = "stomics-job"
"""Start of the name of every job's thread."""

EXIT_PATIENCE_S = 2.0
"""How long the interpreter's exit waits for threads deep in a library call."""

SWITCH_S = 0.001
"""Longest turn of a Python thread while a job runs.

Beside a job in pure Python a turn of the event loop took 5.7 ms (99 %: 12 ms) at Python's
own 5 ms, and 1.7 ms (99 %: 4 ms) at 1 ms.
"""

JobFunction = Callable[[JobContext], Any]


@dataclass(frozen=True)
class Ending:
    """How the function ended, as the thread saw it.

    Attributes
    ----------
    result
        What the function returned; None unless it succeeded.
    error
        What it raised; None if it succeeded. :class:`JobCancelled` if it noticed the cancel.
    traceback
        The traceback as text, empty if it succeeded.
    """

    result: Any = None
    error: BaseException | None = None
    traceback: str = ""


def _set_event() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@dataclass(frozen=True)
class Orders:
    """What the user asks of a running job.

    Attributes
    ----------
    cancel
        Set: stop, nothing is kept.
    finish
        Set: stop and keep what there is.
    go_on
        Not set: wait.
    """

    cancel: threading.Event = field(default_factory=threading.Event)
    finish: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=_set_event)

    def wait(self) -> None:
        """Wait out a pause; a cancel ends it too."""
        while not (self.go_on.is_set() or self.cancel.is_set()):
            self.go_on.wait()


@dataclass
class Mailbox:
    """What passes between one thread and the GUI; each attribute has one writer."""

    orders: Orders = field(default_factory=Orders)
    ending: Ending | None = None
    latest: tuple[float | None, str] | None = None
    _states: deque[Any] = field(default_factory=lambda: deque(maxlen=1))
    _warnings: deque[str] = field(default_factory=deque)
    _seen: set[str] = field(default_factory=set)

    def warn(self, text: str) -> None:
        """Keep a warning for the user; the same words are kept once per job."""
        if text not in self._seen:
            self._seen.add(text)
            self._warnings.append(text)

    def take_warnings(self) -> list[str]:
        """Return and forget the warnings that have come in."""
        taken = []
        while self._warnings:
            taken.append(self._warnings.popleft())
        return taken

    def take_progress(self) -> tuple[float | None, str] | None:
        """Return and forget the latest progress; what came between is skipped on purpose."""
        latest, self.latest = self.latest, None
        return latest

    def put_state(self, state: Any) -> None:
        """Keep an intermediate state in place of the one before it."""
        self._states.append(state)

    def take_state(self) -> list[Any]:
        """Return and forget the latest state; empty where none has come in since."""
        try:
            return [self._states.pop()]
        except IndexError:
            return []


def launch(
    function: JobFunction, mailbox: Mailbox, *, threads: int, name: str, states: bool = False
) -> threading.Thread:
    """Run the function in a new daemon thread; the mailbox tells how it goes.

    Parameters
    ----------
    function
        Called with a :class:`JobContext`.
    mailbox
        Filled by the thread. ``ending`` is its last write.
    threads
        Cap for BLAS, OpenMP and torch.
    name
        Added to the thread's name.
    states
        Whether the function is to hand out intermediate states.
    """
    _warning_router.open()
    thread = threading.Thread(
        target=_work,
        args=(function, mailbox, threads, states),
        name=f"{THREAD_NAME}-{name}",
        daemon=True,
    )
    _live.add(thread)
    try:
        thread.start()
    except RuntimeError as error:
        _warning_router.close()
        raise UserError(
            "The system refused to start another thread.", "Close other programs and try again."
        ) from error
    return thread


def live_threads() -> list[threading.Thread]:
    """Threads of jobs that still run, those of cancelled jobs among them."""
    return [thread for thread in list(_live) if thread.is_alive()]


def _work(function: JobFunction, mailbox: Mailbox, threads: int, states: bool) -> None:
    try:
        with _warning_router.route(mailbox.warn), _thread_cap.hold(threads) as cap_new_libraries:

            def on_progress(fraction: float | None, message: str) -> None:
                cap_new_libraries()
                mailbox.latest = (fraction, message)

            orders = mailbox.orders
            ctx = JobContext(
                on_progress,
                mailbox.warn,
                orders.cancel.is_set,
                threads,
                on_state=mailbox.put_state if states else None,
                wait=orders.wait,
                is_finishing=orders.finish.is_set,
            )
            ending = Ending(result=function(ctx))
    except BaseException as error:  # the GUI decides what each of them means
        ending = _ending_of(error)
    mailbox.ending = ending


def forget_frames(error: BaseException) -> None:
    """Take the tracebacks off an error and its causes.

    Messages are kept for as long as the program runs; the frames would keep
    the job's arrays, and those that its function closes over, for as long.
    """
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        link.__traceback__ = None
        seen.add(id(link))
        link = link.__cause__ or link.__context__


def _ending_of(error: BaseException) -> Ending:
    begin = error.__traceback__
    if begin is not None and begin.tb_next is not None:
        begin = begin.tb_next  # our own frame tells nothing
    text = "".join(traceback.format_exception(type(error), error, begin))
    forget_frames(error)
    if isinstance(error, MemoryError):
        error = UserError(
            f"The computer's memory did not suffice ({error or 'no size given'}).",
            "Run it on fewer spots or genes, or close other programs first.",
        )
    return Ending(error=error, traceback=text)


class _ThreadCap:
    """Thread limits, and turns of the Python threads, of jobs that overlap.

    The limits are process-wide. If each job restored what *it* had found, the
    one that ends last would restore the cap of the other for good. So the
    restoring waits until no job is left, and is done in reverse order.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = 0
        self._stack = ExitStack()
        self._switch = 0.0

    @contextmanager
    def hold(self, threads: int) -> Iterator[Callable[[], None]]:
        """Cap the libraries that are loaded; the yielded call caps those loaded since."""
        self._enter(threads, new=1)
        known = len(sys.modules)

        def cap_new_libraries() -> None:
            nonlocal known
            if len(sys.modules) != known:
                known = len(sys.modules)
                self._enter(threads)

        try:
            yield cap_new_libraries
        finally:
            with self._lock:
                self._held -= 1
                if self._held == 0:
                    sys.setswitchinterval(self._switch)
                    self._stack.close()

    def _enter(self, threads: int, new: int = 0) -> None:
        with self._lock:
            self._stack.enter_context(limited_threads(threads))
            if new and self._held == 0:
                self._switch = sys.getswitchinterval()
                sys.setswitchinterval(SWITCH_S)
            self._held += new


class _Hook:
    """A ``warnings.showwarning`` that gives a job's warnings to the job."""

    def __init__(self, routes: dict[int, Callable[[str], None]], previous: Any) -> None:
        self.routes = routes
        self.previous = previous

    def __call__(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: str | None = None,
    ) -> None:
        route = self.routes.get(threading.get_ident())
        if route is None:
            self.previous(message, category, filename, lineno, file, line)
        else:
            plain = category is UserWarning
            route(str(message) if plain else f"{category.__name__}: {message}")


class _WarningRouter:
    """Sends Python warnings of a job's thread to the job, all others where they went before.

    ``warnings.catch_warnings`` swaps process-wide state and cannot tell threads
    apart, so one hook stands while jobs run and asks which thread is speaking.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._routes: dict[int, Callable[[str], None]] = {}

    def open(self) -> None:
        """Put the hook in place for one more job."""
        with self._lock:
            self._open += 1
            # Leaving the block makes Python forget which warnings it has shown
            # already: the second run must warn like the first.
            with warnings.catch_warnings():
                pass
            if not isinstance(warnings.showwarning, _Hook):
                warnings.showwarning = _Hook(self._routes, warnings.showwarning)

    @contextmanager
    def route(self, receiver: Callable[[str], None]) -> Iterator[None]:
        """Within the block, give this thread's warnings to the receiver; closes one `open`."""
        ident = threading.get_ident()
        self._routes[ident] = receiver
        try:
            yield
        finally:
            del self._routes[ident]
            self.close()

    def close(self) -> None:
        """Take the hook away if this was the last job."""
        with self._lock:
            self._open -= 1
            hook = warnings.showwarning
            # If someone has put a hook over ours, ours stays and passes everything on.
            if self._open == 0 and isinstance(hook, _Hook):
                warnings.showwarning = hook.previous


def _wait_at_exit() -> None:
    """Give threads inside a library call a moment: tearing the process down under them crashes."""
    deadline = time.monotonic() + EXIT_PATIENCE_S
    for thread in live_threads():
        thread.join(max(0.0, deadline - time.monotonic()))


_live: WeakSet[threading.Thread] = WeakSet()
_thread_cap = _ThreadCap()
_warning_router = _WarningRouter()
atexit.register(_wait_at_exit)
