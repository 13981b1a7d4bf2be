"""How well a coupling of two sections carries the labels of the one to the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[Any]


def one_hot(labels: Labels, names: list[str]) -> NDArray[np.float64]:
    """(n, k) indicator of each label; rows of zeros where there is none."""
    return np.column_stack([labels == name for name in names]).astype(np.float64)


def plan_accuracy(plan: Any, source_labels: Labels, target_labels: Labels) -> float:
    """Share of the mass between labelled spots that joins equal labels.

    The score of Zeira et al. 2022 (Nat Methods 19:567).
    """
    names = sorted({str(n) for n in (*source_labels, *target_labels) if n})
    if not names:
        return float("nan")
    a, b = one_hot(source_labels, names), one_hot(target_labels, names)
    table = a.T @ np.asarray(plan @ b)
    total = float(table.sum())
    return float(np.trace(table)) / total if total > 0 else float("nan")


def accuracy_ceiling(source_labels: Labels, target_labels: Labels) -> float:
    """Best `plan_accuracy` that the label proportions allow a plan with uniform marginals.

    A plan that may leave mass behind is not bound by it.
    """
    names = sorted({str(n) for n in (*source_labels, *target_labels) if n})
    if not names:
        return float("nan")
    p = one_hot(source_labels, names).sum(axis=0)
    q = one_hot(target_labels, names).sum(axis=0)
    if not p.sum() or not q.sum():
        return float("nan")
    return float(np.minimum(p / p.sum(), q / q.sum()).sum())


def label_masses(
    plan: Any, source_labels: Labels, target_labels: Labels
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mass of each source spot on target spots of its own label, and on labelled ones at all.

    Returns
    -------
    own, labelled
        (n,) masses, both zero for source spots without a label; `plan_accuracy`
        is the sum of the first over that of the second.
    """
    edges = plan.tocoo()
    known = (source_labels[edges.row] != "") & (target_labels[edges.col] != "")
    equal = known & (source_labels[edges.row] == target_labels[edges.col])
    own, labelled = (
        np.bincount(edges.row, edges.data * flags, plan.shape[0]).astype(np.float64)
        for flags in (equal, known)
    )
    return own, labelled


def label_agreement(plan: Any, source_labels: Labels, target_labels: Labels) -> NDArray[np.float64]:
    """(n,) share of each source spot's labelled mass that lands on its own label, in [0, 1].

    NaN where the spot has no label or sends nothing to labelled spots.
    """
    own, labelled = label_masses(plan, source_labels, target_labels)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(labelled > 0, own / labelled, np.nan)


def carried_labels(plan: Any, source_labels: Labels) -> Labels:
    """(m,) most probable label of each target spot, ``""`` where no labelled mass arrives."""
    names = sorted({str(name) for name in source_labels if name})
    if not names:
        return np.full(plan.shape[1], "", object)
    received = np.asarray(plan.T @ one_hot(source_labels, names))
    best = np.array(names, object)[received.argmax(axis=1)]
    return np.where(received.sum(axis=1) > 0, best, "").astype(object)


def macro_f1(truth: Labels, labels: Labels) -> float:
    """Mean over the labels of the harmonic mean of precision and recall.

    Over spots with a true label; a spot without an answer counts as wrong. NaN
    without labelled spots.
    """
    known = truth != ""
    names = sorted({str(n) for n in truth[known]})
    if not names:
        return float("nan")
    scores = []
    for name in names:
        right = float(((labels == name) & (truth == name)).sum())
        claimed = float(((labels == name) & known).sum())
        scores.append(2 * right / (claimed + float((truth == name).sum())))
    return float(np.mean(scores))


def best_partners(plan: Any) -> NDArray[np.intp]:
    """(n,) column of each row's largest entry, -1 for rows without mass."""
    best = np.asarray(plan.argmax(axis=1)).ravel()
    mass = np.asarray(plan.sum(axis=1)).ravel()
    return np.where(mass > 0, best, -1).astype(np.intp)


def type_and_region_agreement(
    plan: Any,
    source_types: Labels,
    target_types: Labels,
    source_regions: Labels,
    target_regions: Labels,
) -> float:
    """Share of source spots whose best partner has both the same type and the same region.

    CRI of Xia et al. 2023 (SLAT, Nat Commun 14:7236), over spots that have a
    partner and both labels on both sides; NaN without any.
    """
    partner = best_partners(plan)
    rows = np.flatnonzero(partner >= 0)
    there = partner[rows]
    labels = (source_types[rows], target_types[there], source_regions[rows], target_regions[there])
    known = np.logical_and.reduce([column != "" for column in labels])
    if not known.any():
        return float("nan")
    equal = (labels[0] == labels[1]) & (labels[2] == labels[3])
    return float(equal[known].mean())
