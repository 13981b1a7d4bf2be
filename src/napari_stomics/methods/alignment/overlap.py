"""Which tissue both sections hold, and the mass that their spots are asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError

Floats = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]
Marginals = Literal["unbalanced", "balanced", "partial"]

_NEAR = 0.8  # pitches to a spot of the other section: one row beyond its rim is further
_AROUND = 6  # spots around one that was lost within the tissue
_LOOSE = 1.3  # factor of their usual distance
_SAMPLE = 5000


@dataclass(frozen=True, eq=False)
class Overlap:
    """Spots whose place the other section holds too.

    Attributes
    ----------
    source, target
        (n,), (m,) flags.
    """

    source: Flags
    target: Flags

    @property
    def shares(self) -> tuple[float, float]:
        """Share of the source and of the target that has a counterpart."""
        return float(self.source.mean()), float(self.target.mean())


def find_overlap(placed: Floats, target: Floats, pitch: float = 1.0) -> Overlap:
    """Find the tissue that both sections hold once the source lies where it belongs.

    Parameters
    ----------
    placed
        (n, 2) source spots in the target's frame.
    target
        (m, 2) target spots.
    pitch
        The coarser of the two pitches, in the same unit.
    """
    return Overlap(_within(placed, target, pitch), _within(target, placed, pitch))


def _within(points: Floats, others: Floats, pitch: float) -> Flags:
    """Spots that lie on one of the others, or amid as many of them as these have around."""
    from scipy.spatial import cKDTree

    tree: Any = cKDTree(others)
    k = min(_AROUND, len(others) - 1)
    sample = others[np.random.default_rng(0).permutation(len(others))[:_SAMPLE]]
    usual = float(np.median(tree.query(sample, k=k + 1)[0][:, -1]))
    gaps = tree.query(points, k=k)[0].reshape(len(points), k)
    return np.asarray((gaps[:, 0] <= _NEAR * pitch) | (gaps[:, -1] <= _LOOSE * usual))


@dataclass(frozen=True, eq=False)
class Masses:
    """What the spots are asked to send and to receive.

    Attributes
    ----------
    p, q
        (n,), (m,) mass of the spots that take part; 0 for the others.
    mass
        Total mass of the plan.
    source, target
        (n,), (m,) mass of all spots, by which unmatched mass is told.
    """

    p: Floats
    q: Floats
    mass: float
    source: Floats
    target: Floats

    def whole(self) -> Masses:
        """The same with a plan of mass one.

        The structure cost is quadratic in the mass: at half the mass it would
        count for half as much beside the features.
        """
        return replace(self, p=self.p / self.mass, q=self.q / self.mass, mass=1.0)


def ask_for(
    overlap: Overlap, marginals: Marginals, banned: tuple[Flags, Flags] | None = None
) -> Masses:
    """Masses that the spots are asked for.

    Parameters
    ----------
    overlap
        Unless the marginals are balanced, either section's shared tissue weighs
        the same, and the plan as much as the smaller of the two; where they are
        partial, the rest weighs nothing.
    marginals
        ``unbalanced``, ``balanced`` or ``partial``.
    banned
        (n,), (m,) flags of spots that no match is allowed for.

    Raises
    ------
    UserError
        If the sections share nothing.
    """
    n, m = len(overlap.source), len(overlap.target)
    source, target, mass = np.full(n, 1 / n), np.full(m, 1 / m), 1.0
    shares = overlap.shares
    if marginals == "partial" and not min(shares) > 0:
        raise UserError(
            "The sections do not overlap where they were placed.",
            "Place a few landmarks, or choose unbalanced marginals.",
        )
    if marginals != "balanced" and min(shares) > 0:
        mass = min(shares)
        source, target = source * (mass / shares[0]), target * (mass / shares[1])
    p, q = source, target
    if marginals == "partial":
        p, q = np.where(overlap.source, source, 0.0), np.where(overlap.target, target, 0.0)
    if banned is not None:
        p, q = np.where(banned[0], 0.0, p), np.where(banned[1], 0.0, q)
        if marginals == "balanced":
            p, q = p / max(float(p.sum()), 1e-300), q / max(float(q.sum()), 1e-300)
    return Masses(p, q, mass, source, target)
