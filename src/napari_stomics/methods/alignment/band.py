"""The candidate matches of two sections: the support of every plan.

A plan of n x m entries is never formed. Each spot may go only to the spots near
where the present pose puts it; these pairs are the edges of a band.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.signedinteger[Any]]


@dataclass(frozen=True, eq=False)
class Band:
    """Pairs (i, j) of spots that may be matched, row by row, columns ascending.

    Attributes
    ----------
    i, j
        (nnz,) int32 source and target spot of each edge.
    indptr
        (n + 1,) int64 where the edges of each source spot begin.
    shape
        Numbers of source and target spots (n, m).
    """

    i: Ints
    j: Ints
    indptr: Ints
    shape: tuple[int, int]

    @classmethod
    def of(cls, i: Any, j: Any, shape: tuple[int, int]) -> Band:
        """Make a band of the pairs (i, j), in any order and with repetitions."""
        key = np.asarray(i, np.int64) * shape[1] + np.asarray(j, np.int64)
        key.sort()  # faster here than numpy's unique
        new = np.ones(len(key), bool)
        np.not_equal(key[1:], key[:-1], out=new[1:])
        return cls._of_keys(key[new], shape)

    @classmethod
    def _of_keys(cls, key: Ints, shape: tuple[int, int]) -> Band:
        n, m = shape
        i = (key // m).astype(np.int32)
        indptr = np.zeros(n + 1, np.int64)
        np.cumsum(np.bincount(i, minlength=n), out=indptr[1:])
        return cls(i, (key % m).astype(np.int32), indptr, shape)

    @classmethod
    def nearest(cls, placed: Floats, target: Floats, k: int, back: int | None = None) -> Band:
        """Join each source spot to its nearest targets, and each target to a few sources.

        Parameters
        ----------
        placed
            (n, 2) source spots in the target's frame; rows of NaN get no edge.
        target
            (m, 2) target spots.
        k
            Targets per source spot.
        back
            Sources per target spot; a third of ``k``, at least 4, by default.
        """
        n, m = len(placed), len(target)
        back = max(k // 3, 4) if back is None else back
        there = _neighbours(placed, target, k)
        i = [np.repeat(np.arange(n), there.shape[1])]
        j = [there.ravel()]
        if back:
            home = _neighbours(target, placed, back)
            i.append(home.ravel())
            j.append(np.repeat(np.arange(m), home.shape[1]))
        rows, columns = np.concatenate(i), np.concatenate(j)
        good = (rows >= 0) & (columns >= 0)
        return cls.of(rows[good], columns[good], (n, m))

    @classmethod
    def full(cls, n: int, m: int) -> Band:
        """All pairs: for small sections and for tests."""
        return cls._of_keys(np.arange(n * m), (n, m))

    def __len__(self) -> int:
        return len(self.i)

    @cached_property
    def order(self) -> Ints:
        """(nnz,) edge ids column by column, rows ascending within each."""
        return np.argsort(self.j, kind="stable").astype(np.int32)

    @cached_property
    def column_indptr(self) -> Ints:
        """(m + 1,) where the edges of each target spot begin in ``order``."""
        out = np.zeros(self.shape[1] + 1, np.int64)
        np.cumsum(np.bincount(self.j, minlength=self.shape[1]), out=out[1:])
        return out

    @property
    def keys(self) -> Ints:
        """(nnz,) int64 ``i * m + j``, ascending."""
        return self.i.astype(np.int64) * self.shape[1] + self.j

    def union(self, other: Band) -> Band:
        """Return the band with the edges of both."""
        return self._of_keys(np.union1d(self.keys, other.keys), self.shape)

    def keep(self, mask: NDArray[np.bool_]) -> Band:
        """Return the band with the edges that are flagged."""
        return self._of_keys(self.keys[mask], self.shape)

    def values_from(self, other: Band, values: Floats, missing: float = 0.0) -> Floats:
        """(nnz,) values of another band's edges on this one; ``missing`` where it has none."""
        keys, known = self.keys, other.keys
        out = np.full(len(keys), missing)
        if len(known):
            at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
            found = known[at] == keys
            out[found] = values[at[found]]
        return out

    def matrix(self, values: Floats) -> Any:
        """(n, m) CSR matrix with these values on the edges."""
        from scipy import sparse

        out: Any = sparse.csr_matrix((values, self.j, self.indptr), shape=self.shape)
        return out

    def dot(self, x: Floats, y: Floats) -> Floats:
        """(nnz,) inner products ``<x_i, y_j>`` of the rows of (n, k) and (m, k)."""
        from napari_stomics.methods.alignment._kernels import edge_dot

        kind = np.result_type(x, y, np.float32)
        out = np.zeros(len(self), kind)
        if x.shape[1]:
            edge_dot(
                np.ascontiguousarray(x, kind), np.ascontiguousarray(y, kind),
                self.indptr, self.j, out,
            )  # fmt: skip
        return out

    def gaps(self, placed: Floats, target: Floats) -> Floats:
        """(nnz,) squared distances of the points (n, 2), (m, 2) along the edges."""
        from napari_stomics.methods.alignment._kernels import squared_gaps

        out = np.empty(len(self))
        squared_gaps(
            np.ascontiguousarray(placed, np.float64), np.ascontiguousarray(target, np.float64),
            self.indptr, self.j, out,
        )  # fmt: skip
        return out

    def marginals(self, values: Floats) -> tuple[Floats, Floats]:
        """(n,) and (m,) sums by source and by target spot."""
        from napari_stomics.methods.alignment._kernels import marginals

        rows, columns = np.empty(self.shape[0]), np.empty(self.shape[1])
        marginals(self.indptr, self.j, np.ascontiguousarray(values, np.float64), rows, columns)
        return rows, columns


def _neighbours(points: Floats, others: Floats, k: int) -> Ints:
    """(n, k) indices of the nearest others, -1 for points or others that are not finite."""
    from scipy.spatial import cKDTree

    sound, known = (np.isfinite(x).all(axis=1) for x in (points, others))
    ids = np.flatnonzero(known)
    k = min(k, len(ids))
    out = np.full((len(points), k), -1, np.int64)
    if k and sound.any():
        _, near = cKDTree(others[ids]).query(points[sound], k=k)
        out[sound] = ids[np.asarray(near).reshape(-1, k)]
    return out
