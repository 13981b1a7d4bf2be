"""Whether a joint embedding keeps what each modality says, and whether fusing helped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

_BLOCK = 512
"""Spots whose neighbours are compared at a time."""
_TREE_DIMENSIONS = 6


def neighbourhood_overlap(
    joint: Floats,
    other: Floats,
    k: int = 50,
    *,
    of: NDArray[Any] | None = None,
    cap: int | None = None,
    seed: int = 0,
) -> Floats:
    """(n,) Jaccard index of each spot's nearest neighbours in two spaces, in [0, 1].

    Parameters
    ----------
    joint, other
        (n, d), (n, e) coordinates of the spots in the two spaces; a spot that is not
        finite in both has no value (NaN) and is no one's neighbour.
    k
        Nearest neighbours by Euclidean distance, the spot itself left out; fewer
        where there are fewer spots.
    of
        (n,) section of each spot: neighbours are sought within it. By default among all.
    cap
        Work this out for so many spots at most, chosen at random; the others are NaN.
    seed
        Seed of that choice.
    """
    out = np.full(len(joint), np.nan)
    fine = np.isfinite(joint).all(axis=1) & np.isfinite(other).all(axis=1)
    asked = np.flatnonzero(fine)
    if cap is not None and len(asked) > cap:
        asked = np.sort(np.random.default_rng(seed).choice(asked, cap, replace=False))
    sections = np.zeros(len(joint), np.intp) if of is None else np.asarray(of)
    for section in np.unique(sections[fine]):
        here = np.flatnonzero(fine & (sections == section))
        rows = asked[sections[asked] == section]
        near = min(k, len(here) - 1)
        if near < 1 or not len(rows):
            continue
        own = np.searchsorted(here, rows)
        first = _nearest(joint[here], own, near)
        second = _nearest(other[here], own, near)
        shared = np.array([len(np.intersect1d(a, b)) for a, b in zip(first, second, strict=True)])
        out[rows] = shared / (2 * near - shared)
    return out


def neighbourhood_preservation(
    joint: Floats,
    other: Floats,
    k: int = 50,
    *,
    of: NDArray[Any] | None = None,
    cap: int | None = None,
    seed: int = 0,
) -> float:
    """Mean of :func:`neighbourhood_overlap`: 1 where every spot keeps its neighbours."""
    found = neighbourhood_overlap(joint, other, k, of=of, cap=cap, seed=seed)
    return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")


def fusion_gain(fused: float, single: Iterable[float]) -> float:
    """How much better the fused answer is than the best of the single modalities.

    Scores for which higher is better, the adjusted Rand index for instance.
    Negative: fusing did harm. NaN without a score of a single modality.
    """
    known = [float(score) for score in single if np.isfinite(score)]
    return float(fused) - max(known) if known else float("nan")


def _nearest(x: Floats, rows: NDArray[np.intp], k: int) -> NDArray[np.intp]:
    """(r, k) nearest neighbours of some rows among all, themselves left out."""
    from sklearn.neighbors import NearestNeighbors

    values = np.asarray(x, np.float64)
    # In more than a few dimensions a tree visits nearly every spot, at five times the cost.
    how = "brute" if values.shape[1] > _TREE_DIMENSIONS else "kd_tree"
    search = NearestNeighbors(n_neighbors=k + 1, algorithm=how).fit(values)
    found = np.concatenate(
        [
            search.kneighbors(values[rows[start : start + _BLOCK]], return_distance=False)
            for start in range(0, len(rows), _BLOCK)
        ]
    )
    own = found == rows[:, None]
    # Among spots at one place the spot itself need not be found.
    own[~own.any(axis=1), -1] = True
    return np.asarray(found[~own].reshape(len(rows), k), np.intp)
