"""Search of all n x m matches, a block of rows at a time, for those that would lower the cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_stomics.methods.alignment.band import Band
from napari_stomics.methods.alignment.features import FeatureSpace
from napari_stomics.methods.alignment.structure import FusedProblem, middle

Floats = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]

_BLOCK = 1 << 19  # matches looked at together: 4 MB


class MatchCosts(Protocol):
    """Feature cost, with all that is added to it, of any match; infinite where it is forbidden."""

    def on(self, i: Any, j: Any) -> Floats:
        """(k,) costs of the matches of source spots ``i`` with target spots ``j``."""

    def rows(self, ids: Any) -> Floats:
        """(k, m) costs of the source spots ``ids`` with every target spot."""


@dataclass(frozen=True, eq=False)
class FeatureCosts:
    """Costs of features alone."""

    space: FeatureSpace

    def on(self, i: Any, j: Any) -> Floats:
        """(k,) costs of matches."""
        return np.asarray(self.space.on(i, j), np.float64)

    def rows(self, ids: Any) -> Floats:
        """(k, m) costs of whole rows."""
        space = self.space
        out = np.asarray(-(space.source[ids] @ space.target.T), np.float64)
        return out if space.offset is None else out + space.offset[ids, None]


@dataclass(frozen=True, eq=False)
class Prices:
    """What one more match would cost at a plan: its gradient less its potentials.

    Attributes
    ----------
    fused
        The problem.
    values
        (nnz,) the plan on its band.
    costs
        Feature costs of matches off the band.
    u, w
        (n,), (m,) potentials of the transport problem at this plan.
    """

    fused: FusedProblem
    values: Floats
    costs: MatchCosts
    u: Floats
    w: Floats

    def better(
        self,
        tolerance: float,
        per_spot: int,
        rows: Flags | None = None,
        columns: Flags | None = None,
    ) -> Band:
        """Matches of negative price, the lowest of each spot.

        Parameters
        ----------
        tolerance
            Prices above minus this do not count.
        per_spot
            How many matches at most each source spot and each target spot gets.
        rows, columns
            (n,), (m,) flags of the spots that need more matches; all by default.
        """
        n, m = self.fused.band.shape
        rows = np.ones(n, bool) if rows is None else rows
        columns = np.ones(m, bool) if columns is None else columns
        left, right, a, b = self._terms()
        found = [np.zeros((2, 0), np.int64)]
        best = _Lowest(per_spot, m, tolerance)
        asked = np.arange(n) if columns.any() else np.flatnonzero(rows)
        height = max(_BLOCK // max(m, 1), 1)
        for start in range(0, len(asked), height):
            ids = asked[start : start + height]
            block = left[ids] @ right.T
            block += (1 - self.fused.alpha) * self.costs.rows(ids)
            block += a[ids, None]
            block += b
            found.append(_lowest_of_rows(block, ids, rows[ids], tolerance, per_spot))
            if columns.any():
                best.see(block, ids)
        found.append(best.found(columns))
        i, j = np.concatenate(found, axis=1)
        return Band.of(i, j, (n, m))

    def _terms(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Factors and sums: ``left_i . right_j + a_i + b_j`` is the price less the features'."""
        fused = self.fused
        sent, received = fused.band.marginals(self.values)
        da, db, alpha = fused.source, fused.target, fused.alpha
        left = da.factors @ (-4.0 * alpha * middle(fused.band, self.values, da, db))
        a = 2 * alpha * da.squares_dot(sent) - self.u
        b = 2 * alpha * db.squares_dot(received) - self.w
        return left, db.factors, a, b


class _Lowest:
    """The lowest few entries of each column, seen block by block."""

    def __init__(self, count: int, m: int, tolerance: float) -> None:
        self.tolerance = tolerance
        self.price = np.full((count, m), -tolerance)
        self.who = np.full((count, m), -1)

    def see(self, block: Floats, ids: Any) -> None:
        # Once nearly settled, hardly any column has a match of negative price.
        at = np.flatnonzero(block.min(axis=0, initial=0.0) < -self.tolerance)
        if not len(at):
            return
        count = len(self.who)
        both = np.concatenate([self.price[:, at], block[:, at]])
        top = np.argpartition(both, count - 1, axis=0)[:count]
        names = np.asarray(ids)[np.maximum(top - count, 0)]
        before = np.take_along_axis(self.who[:, at], np.minimum(top, count - 1), axis=0)
        self.price[:, at] = np.take_along_axis(both, top, axis=0)
        self.who[:, at] = np.where(top < count, before, names)

    def found(self, asked: Flags) -> NDArray[np.int64]:
        """(2, k) source and target spots of the entries below minus the tolerance."""
        good = (self.who >= 0) & (self.price < -self.tolerance) & asked
        columns = np.broadcast_to(np.arange(self.who.shape[1]), self.who.shape)
        return np.stack([self.who[good], columns[good]]).astype(np.int64)


def _lowest_of_rows(
    block: Floats, ids: Any, asked: Flags, tolerance: float, per_spot: int
) -> NDArray[np.int64]:
    """(2, k) the lowest matches of each row that is asked for."""
    candidates = asked & (block.min(axis=1, initial=0.0) < -tolerance)
    block, ids = block[candidates], ids[candidates]
    if not len(ids):
        return np.zeros((2, 0), np.int64)
    count = min(per_spot, block.shape[1])
    top = np.argpartition(block, count - 1, axis=1)[:, :count]
    good = np.take_along_axis(block, top, axis=1) < -tolerance
    who = np.broadcast_to(ids[:, None], top.shape)
    return np.stack([who[good], top[good]]).astype(np.int64)
