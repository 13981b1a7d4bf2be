"""What the user says of the match: regions that belong together, pairs that must not, pins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import Constraint
from napari_stomics.methods.alignment.band import Band

Floats = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]

_REACH = 4.0  # pitches over which a pin is felt (standard deviation)
_FORCE = 1.0  # cost per squared pitch away from a pin's partner
_MOST = 10.0  # cost of a pin at most


class Rules:
    """Constraints of two sections, told as classes of spots and what they allow each other.

    Parameters
    ----------
    constraints
        Regions that match, and forbidden matches.
    n, m
        Numbers of spots.

    Raises
    ------
    UserError
        If spots of a matched region are left without any partner.
    """

    def __init__(self, constraints: tuple[Constraint, ...], n: int, m: int) -> None:
        self.constraints = constraints
        for rule in constraints:
            if rule.source.shape != (n,) or rule.target.shape != (m,):
                raise UserError(
                    f"The constraint {rule.name!r} belongs to other spots.", "Paint it again."
                )
        self.source_class, source_in = _classes([c.source for c in constraints], n)
        self.target_class, target_in = _classes([c.target for c in constraints], m)
        self.allowed = np.ones((len(source_in), len(target_in)), bool)
        for k, rule in enumerate(constraints):
            a, b = source_in[:, k, None], target_in[None, :, k]
            self.allowed &= (a == b) if rule.kind == "match" else ~(a & b)
        match = np.array([c.kind == "match" for c in constraints], bool)
        self.bound: tuple[Flags, Flags] = (
            np.asarray(source_in[:, match].any(axis=1)),
            np.asarray(target_in[:, match].any(axis=1)),
        )
        self._refuse_contradictions(source_in, target_in)

    def __bool__(self) -> bool:
        return bool(self.constraints)

    def _refuse_contradictions(self, source_in: Flags, target_in: Flags) -> None:
        for inside, allowed, bound in (
            (source_in, self.allowed, self.bound[0]),
            (target_in, self.allowed.T, self.bound[1]),
        ):
            lost = bound & ~allowed.any(axis=1)
            if lost.any():
                involved: Any = inside[lost].any(axis=0)
                names = [c.name for c, flag in zip(self.constraints, involved, strict=True) if flag]
                # A match elsewhere may have taken all partners away.
                others = [c.name for c in self.constraints if c.name not in names]
                named = ", ".join(repr(x) for x in (names if len(names) > 1 else names + others))
                raise UserError(
                    f"The constraints {named} contradict each other: they leave spots of a "
                    "matched region without any partner.",
                    "Change or delete one of them.",
                )

    @property
    def banned(self) -> tuple[Flags, Flags]:
        """(n,), (m,) flags of spots that nothing is allowed for."""
        rows: Any = ~self.allowed.any(axis=1)
        columns: Any = ~self.allowed.any(axis=0)
        return rows[self.source_class], columns[self.target_class]

    @property
    def held(self) -> tuple[Flags, Flags]:
        """(n,), (m,) flags of the spots in matched regions."""
        return self.bound[0][self.source_class], self.bound[1][self.target_class]

    def allows(self, i: Any, j: Any) -> Flags:
        """(nnz,) flags of the pairs that are allowed."""
        return np.asarray(self.allowed[self.source_class[i], self.target_class[j]])

    def applied(self, band: Band, placed: Floats, target: Floats, k: int) -> Band:
        """The band without what is forbidden, and with ways for all spots that lost theirs.

        Parameters
        ----------
        band
            Candidate matches by position.
        placed, target
            (n, 2), (m, 2) positions in one frame.
        k
            Partners that such spots are given.
        """
        if not self:
            return band
        out = band.keep(self.allows(band.i, band.j))
        for side in range(2):
            out = self._widened(out, placed, target, k, side)
        return out

    def _widened(self, band: Band, placed: Floats, target: Floats, k: int, side: int) -> Band:
        """Add the nearest allowed partners of spots in matched regions or without any edge."""
        own, other = (placed, target) if side == 0 else (target, placed)
        classes = (self.source_class, self.target_class)
        allowed = self.allowed if side == 0 else self.allowed.T
        used = np.bincount(band.i if side == 0 else band.j, minlength=len(own))
        for label in np.unique(classes[side]):
            partners = np.flatnonzero(allowed[label][classes[1 - side]])
            spots = np.flatnonzero(classes[side] == label)
            if not self.bound[side][label]:
                spots = spots[used[spots] == 0]
            if not len(spots) or not len(partners):
                continue
            there = other[partners]
            # A matched region may lie elsewhere: its partners count as if it lay upon theirs.
            onto = own[spots] + (there.mean(axis=0) - own[spots].mean(axis=0))
            for place in (own[spots], onto) if self.bound[side][label] else (own[spots],):
                near = Band.nearest(place, there, k, back=0)
                pairs = spots[near.i], partners[near.j]
                i, j = pairs if side == 0 else pairs[::-1]
                band = band.union(Band.of(i, j, band.shape))
        return band


def _classes(flags: list[Flags], count: int) -> tuple[NDArray[np.intp], Flags]:
    """(count,) class of each spot, and (classes, k) in which regions it lies."""
    if not flags:
        return np.zeros(count, np.intp), np.zeros((1, 0), bool)
    inside, label = np.unique(np.column_stack(flags), axis=0, return_inverse=True)
    return label.ravel(), inside


@dataclass(frozen=True, eq=False)
class Pins:
    """Landmarks that are held.

    Attributes
    ----------
    source, target
        (k, 2) in pitches, each in its own frame.
    """

    source: Floats
    target: Floats

    def cost(self, band: Band, source: Floats, target: Floats, matrix: Floats) -> Floats:
        """(nnz,) price of leaving the partners that the pins suggest to the spots around them.

        Parameters
        ----------
        band
            Candidate matches.
        source, target
            (n, 2), (m, 2) positions, each in its own frame.
        matrix
            (2, 2) linear part of the pose.
        """
        out = np.zeros(len(band))
        for here, there in zip(self.source, self.target, strict=True):
            offset = source - here
            strength = np.exp(-0.5 * (offset**2).sum(axis=1) / _REACH**2)
            near = np.flatnonzero(strength[band.i] > 0.01)
            a, b = band.i[near], band.j[near]
            gap = ((there + offset[a] @ matrix.T - target[b]) ** 2).sum(axis=1)
            out[near] += strength[a] * np.minimum(_FORCE * gap, _MOST)
        return out

    def pull(self, points: Floats, at: Floats) -> Floats:
        """(n, 2) shift of placed points that carries each pin onto its partner, and fades away.

        Parameters
        ----------
        points
            (n, 2) placed source spots.
        at
            (k, 2) where the pins' source ends are placed.
        """
        shift = self.target - at
        # Wide enough for the largest shift not to fold the tissue.
        reach = np.maximum(1.5 * _REACH, 1.5 * np.linalg.norm(shift, axis=1))
        kernel = self._kernel(at, at, reach)
        weights = np.linalg.solve(kernel + 1e-3 * np.eye(len(at)), shift)
        return np.asarray(self._kernel(points, at, reach) @ weights)

    @staticmethod
    def _kernel(points: Floats, at: Floats, reach: Floats) -> Floats:
        gap = ((points[:, None] - at[None]) ** 2).sum(axis=2)
        return np.asarray(np.exp(-0.5 * gap / reach**2))
