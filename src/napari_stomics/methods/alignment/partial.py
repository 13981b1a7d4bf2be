"""Partial alignment: only the tissue that both sections hold is matched.

As PASTE2 (Liu et al. 2023, Genome Res 33:1124) on the solver of Chapel et al.
(2020, NeurIPS 33): a given mass is transported, the rest stays behind at no
cost. Here the share of overlap is estimated and not asked for, and the masses
of the spots are such that the matched part is as dense in one section as in
the other: with uniform masses that each sum to 1, a section cut to 70 % would
carry more mass per area than the whole one, and nothing would fit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError

Floats = NDArray[np.floating[Any]]


def partial_masses(
    n: int, m: int, overlap: tuple[float, float], share: float = 1.0
) -> tuple[Floats, Floats, float]:
    """Masses of the spots, and how much of it is transported.

    Parameters
    ----------
    n, m
        Spots of the source and of the target.
    overlap
        Share of the source and of the target that has a counterpart, in (0, 1].
    share
        How much of the overlap is transported; below 1, spots within it may
        stay unmatched too (lost or torn ones).

    Returns
    -------
    p, q
        (n,), (m,) uniform masses; either section's overlap weighs the same, and
        the heavier section sums to 1.
    mass
        Mass to transport.

    Raises
    ------
    UserError
        If a share does not lie in (0, 1].
    """
    for name, value in (("Source overlap", overlap[0]), ("Target overlap", overlap[1]),
                        ("Share", share)):  # fmt: skip
        if not 0.0 < value <= 1.0:
            raise UserError(
                f"{name} {value:g} is not a share of the section.",
                "Give a number above 0 and up to 1.",
            )
    common = min(overlap)
    p = np.full(n, common / overlap[0] / n)
    q = np.full(m, common / overlap[1] / m)
    return p, q, share * common


def partial_error(rows: Floats, columns: Floats, p: Floats, q: Floats, mass: float) -> float:
    """How far a partial plan is from what was asked: mass too much anywhere, or not the mass.

    Parameters
    ----------
    rows, columns
        (n,), (m,) marginals of the plan.
    p, q
        (n,), (m,) the most that each spot may send and receive.
    mass
        Mass that was to be transported.
    """
    over = np.maximum(rows - p, 0.0).sum() + np.maximum(columns - q, 0.0).sum()
    return float(over + abs(rows.sum() - mass))
