"""Distances within a section in low rank, and the structure cost of a plan.

The distance matrix D is held as ``L W L^T`` with the distances L to r points
and the pseudo-inverse W of the distances among these (Nystroem; Williams &
Seeger 2001, NIPS 13). With the same points for both sections, laid into one
frame, the error is the same on both sides, so that a perfect match still costs
nothing.

The structure cost of a plan T with row sums a and column sums b is that of
Gromov-Wasserstein (Memoli 2011, Found Comput Math 11:417; Peyre et al. 2016, ICML)

``sum (D_ik - D'_jl)^2 T_ij T_kl = a.(D o D)a + b.(D' o D')b - 2 <D T D', T>``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.methods.alignment.band import Band

Floats = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]

_DIGITS = 6  # of squared pitches: what is equally far


@dataclass(frozen=True, eq=False)
class LowRankDistances:
    """A symmetric (n, n) matrix of distances as ``factors @ core @ factors.T``.

    Attributes
    ----------
    factors
        (n, r) distances of each spot to the r landmark points.
    core
        (r, r) pseudo-inverse of the distances among the landmark points.
    """

    factors: Floats
    core: Floats

    @classmethod
    def euclidean(
        cls, points: Floats, rank: int = 48, landmarks: Floats | None = None
    ) -> LowRankDistances:
        """Euclidean distances of (n, 2) points.

        Parameters
        ----------
        points
            (n, 2) positions.
        rank
            Number of landmark points, spread over the points.
        landmarks
            (r, 2) landmark points to use instead; they need not be spots.
        """
        from scipy.spatial.distance import cdist

        points = np.asarray(points, np.float64)
        if landmarks is None:
            landmarks = spread(points, rank)
        core = np.linalg.pinv(cdist(landmarks, landmarks), rcond=1e-6, hermitian=True)
        return cls(cdist(points, landmarks), core)

    @classmethod
    def graph(cls, points: Floats, rank: int = 48, neighbours: int = 12) -> LowRankDistances:
        """Lengths of the shortest paths through the graph of nearest neighbours.

        Parts of the section that the graph does not join are as far apart as
        the longest path plus their straight distance.
        """
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import dijkstra
        from scipy.spatial import cKDTree
        from scipy.spatial.distance import cdist

        points = np.asarray(points, np.float64)
        tree: Any = cKDTree(points)
        gaps, near = tree.query(points, k=min(neighbours + 1, len(points)))
        rows = np.repeat(np.arange(len(points)), near.shape[1])
        lengths = np.maximum(gaps.ravel(), 1e-9)  # a zero would be no edge
        lengths[near.ravel() == rows] = 0.0
        joined = coo_matrix((lengths, (rows, near.ravel())), shape=(len(points),) * 2).tocsr()
        chosen = tree.query(spread(points, rank))[1]
        factors = dijkstra(joined, directed=False, indices=chosen).T
        lost = ~np.isfinite(factors)
        if lost.any():
            longest = float(factors[~lost].max(initial=0.0))
            factors[lost] = (longest + cdist(points, points[chosen]))[lost]
        core = np.linalg.pinv(factors[chosen], rcond=1e-6)
        return cls(np.ascontiguousarray(factors), (core + core.T) / 2)

    def __len__(self) -> int:
        return len(self.factors)

    @cached_property
    def _weighted(self) -> Floats:
        return np.asarray(self.factors @ self.core)

    def squares_dot(self, mass: Floats) -> Floats:
        """(n,) products of the matrix of squared distances with a vector."""
        gram = self.factors.T @ (mass[:, None] * self.factors)
        return np.asarray(np.einsum("ik,ik->i", self._weighted @ gram, self._weighted))

    def dense(self) -> Floats:
        """(n, n) distances; for small sections and for tests."""
        return np.asarray(self._weighted @ self.factors.T)


def spread(points: Floats, count: int) -> Floats:
    """(count, 2) of the points, each the farthest from those before; the first is outermost.

    Points of a regular array are often equally far: the first of them is
    taken, whatever the rounding errors.
    """
    points = np.asarray(points, np.float64)

    def gaps(middle: Floats) -> Floats:
        return np.asarray(((points - middle) ** 2).sum(axis=1).round(_DIGITS))

    gap = gaps(points.mean(axis=0))
    chosen = [int(gap.argmax())]
    gap = gaps(points[chosen[0]])
    while len(chosen) < min(count, len(points)) and gap.max() > 0:
        chosen.append(int(gap.argmax()))
        gap = np.minimum(gap, gaps(points[chosen[-1]]))
    return np.asarray(points[chosen])


def common_distances(
    placed: Floats, target: Floats, rank: int = 48
) -> tuple[LowRankDistances, LowRankDistances]:
    """Euclidean distances within two sections, through the same landmark points.

    Parameters
    ----------
    placed
        (n, 2) source spots laid into the target's frame by a rigid motion
        (which leaves distances as they are).
    target
        (m, 2) target spots.
    """
    landmarks = spread(np.concatenate([placed, target]), rank)
    first = LowRankDistances.euclidean(placed, landmarks=landmarks)
    return first, LowRankDistances.euclidean(target, landmarks=landmarks)


def middle(band: Band, values: Floats, da: LowRankDistances, db: LowRankDistances) -> Floats:
    """(r, r') core of ``D T D' = L (core) L'^T`` for the plan with these values."""
    inner = da.factors.T @ (band.matrix(values) @ db.factors)
    return np.asarray(da.core @ inner @ db.core)


def cross_term(band: Band, values: Floats, da: LowRankDistances, db: LowRankDistances) -> Floats:
    """(nnz,) entries of ``D T D'`` on the band."""
    return band.dot(da.factors @ middle(band, values, da, db), db.factors)


def gw_gradient(
    band: Band, values: Floats, da: LowRankDistances, db: LowRankDistances
) -> tuple[Floats, float]:
    """Gradient and value of the structure cost of a plan.

    Returns
    -------
    gradient
        (nnz,) derivative by each entry: ``2 (D o D) a + 2 (D' o D') b - 4 D T D'``.
    value
        The structure cost, half of ``<gradient, T>``.
    """
    rows, columns = band.marginals(values)
    gradient = cross_term(band, values, da, db)
    gradient *= -4.0
    gradient += (2.0 * da.squares_dot(rows))[band.i]
    gradient += (2.0 * db.squares_dot(columns))[band.j]
    return gradient, 0.5 * float(gradient @ values)


@dataclass(frozen=True, eq=False)
class FusedProblem:
    """Fused Gromov-Wasserstein on a band (Vayer et al. 2020, Algorithms 13:212).

    Minimise ``(1 - alpha) <cost, T> + alpha GW(T)`` over plans T on the band
    whose marginals are (or are drawn towards) ``p`` and ``q``.

    Attributes
    ----------
    band
        Candidate matches.
    cost
        (nnz,) feature cost of each, priors included.
    source, target
        Distances within the sections, in units of spot pitch.
    alpha
        Weight of the structure.
    p, q
        (n,), (m,) mass asked for.
    held
        (n,), (m,) flags of the spots that must send and receive all of it even
        where marginals are relaxed; None for no spot.
    """

    band: Band
    cost: Floats
    source: LowRankDistances
    target: LowRankDistances
    alpha: float
    p: Floats
    q: Floats
    held: tuple[Flags, Flags] | None = None

    def gradient(self, values: Floats) -> tuple[Floats, float]:
        """(nnz,) gradient of the objective at a plan, and the objective."""
        linear = float(self.cost @ values)
        if self.alpha == 0.0:
            return np.asarray(self.cost, np.float64), linear
        slope, structure = gw_gradient(self.band, values, self.source, self.target)
        slope *= self.alpha
        slope += (1.0 - self.alpha) * self.cost
        return slope, (1.0 - self.alpha) * linear + self.alpha * structure

    def marginal_error(self, values: Floats) -> float:
        """Sum of the absolute deviations of both marginals from ``p`` and ``q``."""
        rows, columns = self.band.marginals(values)
        return float(np.abs(rows - self.p).sum() + np.abs(columns - self.q).sum())


def local_problem(
    band: Band,
    cost: Floats,
    placed: Floats,
    target: Floats,
    alpha: float,
    masses: tuple[Floats, Floats],
    held: tuple[Flags, Flags] | None = None,
) -> FusedProblem:
    """The fused problem of large sections, its structure expanded around the present place.

    A spot that is matched d away from where the section as a whole puts it is
    at fault in its distances to all others by ``d cos(angle)``: their mean
    square is half of d^2, and the gradient of the structure cost twice that.
    What is left is linear in the plan, and the placement is to follow the plan
    until both agree. No distances between far spots are needed.

    Parameters
    ----------
    band, cost, alpha, held
        See :class:`FusedProblem`.
    placed, target
        (n, 2), (m, 2) positions in the target's frame, in spot pitches.
    masses
        Mass asked for, (n,) and (m,).
    """
    fused = band.gaps(placed, target)
    fused *= alpha
    fused += (1.0 - alpha) * cost
    none = LowRankDistances(np.zeros((len(placed), 1)), np.zeros((1, 1)))
    other = LowRankDistances(np.zeros((len(target), 1)), np.zeros((1, 1)))
    return FusedProblem(band, fused, none, other, 0.0, *masses, held)
