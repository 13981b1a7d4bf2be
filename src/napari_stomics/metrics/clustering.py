"""Agreement of two partitions of the same spots."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def adjusted_rand_index(truth: NDArray[Any], labels: NDArray[Any]) -> float:
    """Adjusted Rand index (Hubert and Arabie 1985) over spots with a true label.

    Spots whose true label is ``""`` are left out; NaN if none is left.
    """
    from sklearn.metrics import adjusted_rand_score

    known = truth != ""
    return float(adjusted_rand_score(truth[known], labels[known])) if known.any() else float("nan")


def normalised_mutual_information(truth: NDArray[Any], labels: NDArray[Any]) -> float:
    """Mutual information over the arithmetic mean of the entropies, over labelled spots."""
    from sklearn.metrics import normalized_mutual_info_score

    known = truth != ""
    if not known.any():
        return float("nan")
    return float(normalized_mutual_info_score(truth[known], labels[known]))


def match_labels(reference: NDArray[Any], labels: NDArray[Any]) -> dict[Any, Any]:
    """Map the names in ``labels`` to those in ``reference`` that they overlap most.

    One to one (Hungarian assignment on the contingency table); names that find
    no partner are left out.
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics.cluster import contingency_matrix

    rows, columns = np.unique(reference), np.unique(labels)
    table = np.asarray(contingency_matrix(reference, labels))
    left, right = linear_sum_assignment(-table)
    return {columns[j]: rows[i] for i, j in zip(left, right, strict=True)}
