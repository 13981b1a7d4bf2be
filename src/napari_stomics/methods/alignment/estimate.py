"""What an alignment will cost, said before it runs."""

from __future__ import annotations

from dataclasses import dataclass

from napari_stomics.core.params import Params
from napari_stomics.methods.alignment.dense import DenseFGWParams


@dataclass(frozen=True)
class Cost:
    """Time and memory that a run is expected to take.

    Attributes
    ----------
    seconds
        On one core of an ordinary computer; compilation at the first use comes on top.
    megabytes
        What the solver holds at its peak beyond the sections themselves.
    """

    seconds: float
    megabytes: float

    def __str__(self) -> str:
        return f"about {_duration(self.seconds)} and {_size(self.megabytes)}"


def estimate(n: int, m: int, params: Params) -> Cost | None:
    """Expected time and memory of aligning ``n`` spots with ``m``.

    Parameters
    ----------
    n, m
        Numbers of spots.
    params
        Parameters of an alignment method.

    Returns
    -------
    Cost or None
        Good to about a factor of three; None for a method without a model.
    """
    if isinstance(params, DenseFGWParams):
        return _dense(n, m)
    return None


def _dense(n: int, m: int) -> Cost:
    """Exact transport costs about n^2.8 in all, and a handful of full matrices."""
    size = float(n * m) ** 0.5
    seconds = 0.5 + 5.5 * (size / 1000) ** 2.8
    return Cost(seconds, 8e-6 * (6.0 * n * m + 2.0 * n * n + 2.0 * m * m))


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "1 s"
    if seconds < 90:
        return f"{_rounded(seconds)} s"
    if seconds < 5400:
        return f"{_rounded(seconds / 60)} min"
    return f"{_rounded(seconds / 3600)} h"


def _size(megabytes: float) -> str:
    if megabytes < 1000:
        return f"{max(_rounded(megabytes), 1)} MB"
    return f"{megabytes / 1000:.1f} GB"


def _rounded(value: float) -> int:
    """Two figures: more would promise more than the model knows."""
    if value < 10:
        return max(round(value), 1)
    digits = len(str(int(value))) - 2
    return int(round(value / 10**digits) * 10**digits)
