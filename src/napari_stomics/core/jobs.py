"""What a long computation needs to know of the world around it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from napari_stomics.core.errors import JobCancelled


class JobContext:
    """Progress and intermediate states out; cancelling, pausing and finishing early in.

    A method calls :meth:`step` inside its loops. Without callbacks (a script, a
    test) the calls cost next to nothing and the method simply runs.

    Parameters
    ----------
    on_progress
        Called with a fraction in [0, 1] (None: unknown) and a message.
    on_warning
        Called with a text that the user must see.
    is_cancelled
        Asked at each step; True makes :meth:`step` raise :class:`JobCancelled`.
    threads
        How many threads BLAS, OpenMP and torch may use inside the job.
    on_state
        Called with intermediate states that are worth showing.
    wait
        Called in each step; returns at once, or when the user ends a pause or cancels.
    is_finishing
        Asked by methods that can stop early and return what they have.
    """

    def __init__(
        self,
        on_progress: Callable[[float | None, str], None] | None = None,
        on_warning: Callable[[str], None] | None = None,
        is_cancelled: Callable[[], bool] | None = None,
        threads: int = 1,
        *,
        on_state: Callable[[Any], None] | None = None,
        wait: Callable[[], None] | None = None,
        is_finishing: Callable[[], bool] | None = None,
    ) -> None:
        self._on_progress = on_progress
        self._on_warning = on_warning
        self._is_cancelled = is_cancelled
        self.threads = threads
        self._on_state = on_state
        self._wait = wait
        self._is_finishing = is_finishing
        self._span = (0.0, 1.0)

    @property
    def wants_states(self) -> bool:
        """Whether anybody looks at intermediate states; if not, do not compute them."""
        return self._on_state is not None

    @property
    def finishing(self) -> bool:
        """Whether the user asked to stop here and keep the answer so far."""
        return self._is_finishing is not None and self._is_finishing()

    def show(self, state: Any) -> None:
        """Hand out an intermediate state: a frozen object that is not changed afterwards."""
        if self._on_state is not None:
            self._on_state(state)

    def step(self, fraction: float | None = None, message: str = "") -> None:
        """Report progress, wait out a pause; raise `JobCancelled` if the user has cancelled."""
        if self._wait is not None:
            self._wait()
        if self._is_cancelled is not None and self._is_cancelled():
            raise JobCancelled("Cancelled.")
        if self._on_progress is not None:
            low, high = self._span
            scaled = None if fraction is None else low + (high - low) * min(max(fraction, 0.0), 1.0)
            self._on_progress(scaled, message)

    def warn(self, message: str) -> None:
        """Tell the user something that does not stop the job."""
        if self._on_warning is not None:
            self._on_warning(message)
        else:
            import warnings

            warnings.warn(message, UserWarning, stacklevel=2)

    def part(self, low: float, high: float) -> JobContext:
        """Return a context whose fractions fill only ``[low, high]`` of this one."""
        child = JobContext(
            self._on_progress,
            self._on_warning,
            self._is_cancelled,
            self.threads,
            on_state=self._on_state,
            wait=self._wait,
            is_finishing=self._is_finishing,
        )
        start, end = self._span
        child._span = (start + (end - start) * low, start + (end - start) * high)
        return child


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Cap the threads of BLAS, OpenMP and (if it is loaded) torch within the block.

    Uncapped pools of several libraries fight for the cores: the same script
    took twelve times longer on two busy cores.
    """
    from threadpoolctl import threadpool_limits

    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else None
    with threadpool_limits(limits=threads):
        if torch is not None:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            if torch is not None and before is not None:
                torch.set_num_threads(before)
