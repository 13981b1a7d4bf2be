"""What a long computation needs to know of the world around it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from napari_stomics.core.errors import JobCancelled


class JobContext:
    """Progress out, cancellation in.

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
    """

    def __init__(
        self,
        on_progress: Callable[[float | None, str], None] | None = None,
        on_warning: Callable[[str], None] | None = None,
        is_cancelled: Callable[[], bool] | None = None,
        threads: int = 1,
    ) -> None:
        self._on_progress = on_progress
        self._on_warning = on_warning
        self._is_cancelled = is_cancelled
        self.threads = threads
        self._span = (0.0, 1.0)

    def step(self, fraction: float | None = None, message: str = "") -> None:
        """Report progress; raise `JobCancelled` if the user has cancelled."""
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
        child = JobContext(self._on_progress, self._on_warning, self._is_cancelled, self.threads)
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
