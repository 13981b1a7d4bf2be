"""What an alignment will cost, said before it runs."""

from __future__ import annotations

from dataclasses import dataclass

from napari_stomics.core.params import Params
from napari_stomics.methods.alignment.dense import DenseFGWParams
from napari_stomics.methods.alignment.fgw import FGWParams


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
    if isinstance(params, FGWParams):
        return _sparse(n, m, params)
    if isinstance(params, DenseFGWParams):
        return _dense(n, m)
    return None


def _sparse(n: int, m: int, params: FGWParams) -> Cost:
    """Everything grows with the spots; exact marginals take as many steps as they are given."""
    thousands = (n + m) / 1000
    band = params.neighbours / 32
    genes = params.n_genes / 1000 if params.metric != "none" else 0.0
    each = 0.07 + 0.08 * band + 0.05 * genes + (0.08 if params.bend else 0.0)
    if params.solver == "exact":
        each += 0.3 * band
    elif params.marginals == "balanced":
        each += 0.021 * params.iterations * band
    features = 2.7 + 7.3 * genes if genes else 0.0
    return Cost(0.3 + each * thousands, 5.0 + max(features, 1.3 + 1.6 * band) * thousands)


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
