"""Agreement of two partitions of the same spots, and how well one separates them.

Spots without a label (``""``) in either partition are left out of every score.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


class Entropies(NamedTuple):
    """How far each partition determines the other (Rosenberg and Hirschberg 2007).

    Attributes
    ----------
    homogeneity
        1 where every cluster holds spots of one class only.
    completeness
        1 where every class lies in one cluster only.
    v_measure
        Their harmonic mean.
    """

    homogeneity: float
    completeness: float
    v_measure: float


@dataclass(frozen=True)
class Contingency:
    """How often each label of one partition meets each label of another.

    Attributes
    ----------
    rows, columns
        Names in the two partitions, in their natural order.
    counts
        (r, c) numbers of spots.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: NDArray[np.intp]


def adjusted_rand_index(truth: NDArray[Any], labels: NDArray[Any]) -> float:
    """Adjusted Rand index (Hubert and Arabie 1985) over spots with a true label.

    Spots whose label is ``""`` are left out; NaN if none is left.
    """
    from sklearn.metrics import adjusted_rand_score

    known = labelled(truth) & labelled(labels)
    return float(adjusted_rand_score(truth[known], labels[known])) if known.any() else float("nan")


def normalised_mutual_information(truth: NDArray[Any], labels: NDArray[Any]) -> float:
    """Mutual information over the arithmetic mean of the entropies, over labelled spots."""
    from sklearn.metrics import normalized_mutual_info_score

    known = labelled(truth) & labelled(labels)
    if not known.any():
        return float("nan")
    return float(normalized_mutual_info_score(truth[known], labels[known]))


def adjusted_mutual_information(truth: NDArray[Any], labels: NDArray[Any]) -> float:
    """Mutual information corrected for chance (Vinh et al. 2010), arithmetic mean; NaN if none."""
    from sklearn.metrics import adjusted_mutual_info_score

    known = labelled(truth) & labelled(labels)
    if not known.any():
        return float("nan")
    return float(adjusted_mutual_info_score(truth[known], labels[known]))


def homogeneity_completeness(truth: NDArray[Any], labels: NDArray[Any]) -> Entropies:
    """Homogeneity, completeness and V measure over labelled spots; NaN if none is left."""
    from sklearn.metrics import homogeneity_completeness_v_measure

    known = labelled(truth) & labelled(labels)
    if not known.any():
        return Entropies(*[float("nan")] * 3)
    found = homogeneity_completeness_v_measure(truth[known], labels[known])
    return Entropies(*map(float, found))


def silhouette(
    values: Floats, labels: NDArray[Any], *, cap: int | None = 5000, seed: int = 0
) -> float:
    """Mean silhouette width (Rousseeuw 1987) of a partition in a space, in [-1, 1].

    Parameters
    ----------
    values
        (n, d) coordinates in the space: tissue positions or an embedding. Which of
        them it was belongs to the number. Spots that are not finite are left out.
    labels
        (n,) the partition.
    cap
        Score so many spots at most, chosen at random: time and memory grow with
        the square. None scores all.
    seed
        Seed of that choice.

    Returns
    -------
    float
        NaN with fewer than two clusters, or as many as spots.
    """
    from sklearn.metrics import silhouette_score

    rows = np.flatnonzero(labelled(labels) & np.isfinite(values).all(axis=1))
    if cap is not None and len(rows) > cap:
        rows = np.sort(np.random.default_rng(seed).choice(rows, cap, replace=False))
    if not 2 <= len(np.unique(labels[rows])) < len(rows):
        return float("nan")
    return float(silhouette_score(np.asarray(values, np.float64)[rows], labels[rows]))


def contingency(truth: NDArray[Any], labels: NDArray[Any]) -> Contingency:
    """Count how often each true label (rows) meets each label (columns), over labelled spots."""
    from sklearn.metrics.cluster import contingency_matrix

    known = labelled(truth) & labelled(labels)
    if not known.any():
        return Contingency((), (), np.zeros((0, 0), np.intp))
    rows, columns = np.unique(truth[known]), np.unique(labels[known])
    counts = np.asarray(contingency_matrix(truth[known], labels[known]), np.intp)
    i, j = natural_order(rows), natural_order(columns)
    return Contingency(tuple(map(str, rows[i])), tuple(map(str, columns[j])), counts[i][:, j])


def match_labels(reference: NDArray[Any], labels: NDArray[Any]) -> dict[Any, Any]:
    """Map the names in ``labels`` to those in ``reference`` that they overlap most.

    One to one (Hungarian assignment on the contingency table); names that find
    no partner, or none that they overlap, are left out.
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics.cluster import contingency_matrix

    known = labelled(reference) & labelled(labels)
    if not known.any():
        return {}
    reference, labels = reference[known], labels[known]
    rows, columns = np.unique(reference), np.unique(labels)
    table = np.asarray(contingency_matrix(reference, labels))
    left, right = linear_sum_assignment(-table)
    pairs = zip(left, right, strict=True)
    return {columns[j]: rows[i] for i, j in pairs if table[i, j] > 0}


def matched_labels(reference: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    """(n,) labels under the names that they match in ``reference``; see :func:`match_labels`.

    A name without a partner is kept where ``reference`` does not use it, and gets
    ``'`` behind it where it does.
    """
    matched = match_labels(reference, labels)
    taken = set(map(str, np.unique(reference)))
    out = np.array(labels, object)
    for name in np.unique(labels):
        if name in matched:
            new = matched[name]
        else:
            new = f"{name}'" if str(name) in taken and name != "" else name
        out[labels == name] = new
    return out


def natural_order(names: NDArray[Any]) -> NDArray[np.intp]:
    """Order of names in which D2 comes before D10."""
    parts = [re.split(r"(\d+)", str(name)) for name in names]
    keys = [[int(p) if i % 2 else p for i, p in enumerate(part)] for part in parts]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.intp)


def labelled(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """(n,) where there is a label: everywhere but at ``""``."""
    if labels.dtype.kind in "OUS":
        return np.asarray(labels != "", bool)
    return np.ones(len(labels), bool)
