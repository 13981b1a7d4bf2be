"""How right a plan is where the true partner of each spot is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.signedinteger[Any]]

WITHIN = 1.05
"""Pitches within which the largest match counts as right."""

_HELD = 0.75  # pitches to the nearest target spot where the target holds the tissue


def best_matches(plan: Any) -> Ints:
    """(n,) target spot that each source spot sends most to; -1 where it sends nothing."""
    mass = np.asarray(plan.sum(axis=1)).ravel()
    return np.where(mass > 0, np.asarray(plan.argmax(axis=1)).ravel(), -1)


def exact_share(plan: Any, partners: Ints) -> float:
    """Share of the source spots with a partner whose largest match is that partner.

    Parameters
    ----------
    plan
        (n, m) sparse coupling.
    partners
        (n,) target row of each spot's partner, -1 where it has none.
    """
    known = partners >= 0
    return float((best_matches(plan) == partners)[known].mean()) if known.any() else float("nan")


def held_spots(positions: Floats, target: Floats, pitch: float) -> NDArray[np.bool_]:
    """(n,) flags of the source spots whose tissue the target holds.

    Parameters
    ----------
    positions
        (n, 2) true places of the source spots in the target.
    target
        (m, 2) target spots.
    pitch
        In the same unit.
    """
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(target).query(positions)[0] < _HELD * pitch)


def within_share(plan: Any, positions: Floats, target: Floats, pitch: float) -> float:
    """Share of the held spots whose largest match lies within 1.05 pitches of their true place."""
    held = held_spots(positions, target, pitch)
    best = best_matches(plan)
    gaps = np.linalg.norm(target[best] - positions, axis=1)
    right = (best >= 0) & (gaps <= WITHIN * pitch)
    return float(right[held].mean()) if held.any() else float("nan")


def registration_error(carried: Floats, positions: Floats, target: Floats, pitch: float) -> float:
    """Mean distance in pitches of carried source spots from their true places, over held spots.

    Parameters
    ----------
    carried
        (n, 2) source spots as the registration carries them.
    positions, target, pitch
        See :func:`held_spots`.
    """
    held = held_spots(positions, target, pitch)
    gaps = np.linalg.norm(carried - positions, axis=1)[held]
    return float(gaps.mean() / pitch) if held.any() else float("nan")
