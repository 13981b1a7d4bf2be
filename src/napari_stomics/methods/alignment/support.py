"""The fused objective of a plan from its non-zero entries, in full precision.

The sum over pairs of matches is taken as it stands,
``sum (D_ik - D'_jl)^2 T_ij T_kl`` with distances computed on the way: no
matrix, no low rank, and no cancellation of large terms.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

F = TypeVar("F")
_njit: Any = numba.njit  # its own types refuse a decorator that keeps the function's


def _jit(function: F) -> F:
    out: F = _njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})(function)
    return out


@_jit
def _structure(a: Any, b: Any, mass: Any) -> float:
    total = 0.0
    for e in range(len(mass)):
        ax, ay, bx, by = a[e, 0], a[e, 1], b[e, 0], b[e, 1]
        row = 0.0
        for f in range(e):
            here = np.sqrt((ax - a[f, 0]) ** 2 + (ay - a[f, 1]) ** 2)
            there = np.sqrt((bx - b[f, 0]) ** 2 + (by - b[f, 1]) ** 2)
            row += mass[f] * (here - there) ** 2
        total += mass[e] * row
    return 2.0 * total


def structure_cost(i: Any, j: Any, mass: Floats, source: Floats, target: Floats) -> float:
    """Gromov-Wasserstein cost of a plan for euclidean distances, exactly.

    Takes time with the square of the number of non-zero entries: a vertex of
    the transport polytope has at most n + m - 1 of them.

    Parameters
    ----------
    i, j
        (k,) source and target spot of each entry.
    mass
        (k,) its mass.
    source, target
        (n, 2), (m, 2) positions, in units of spot pitch.
    """
    kept = mass > 0
    a, b = source[np.asarray(i)[kept]], target[np.asarray(j)[kept]]
    return float(
        _structure(
            np.ascontiguousarray(a, np.float64), np.ascontiguousarray(b, np.float64),
            np.ascontiguousarray(mass[kept], np.float64),
        )
    )  # fmt: skip
