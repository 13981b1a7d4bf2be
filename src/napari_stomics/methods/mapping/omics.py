"""Place cells of another modality through cells that have a place already."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import Cells
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.mapping.features import cell_space, correlations, dense
from napari_stomics.methods.mapping.solver import Options, Problem, Scaling, solve
from napari_stomics.methods.mapping.structure import distances_within
from napari_stomics.methods.preprocess import log_normalise, z_scores

Floats = NDArray[np.floating[Any]]

_FEW_FEATURES = 10
_LEAST_SHARE = 0.05
"""Groups that receive less of another group's cells are left out."""

_NEIGHBOURS = 15
_COMPONENTS = 20


def through(
    cells: Cells, other: Cells, n_groups: int, seed: int, ctx: JobContext
) -> tuple[Any, bool, str]:
    """Share of each other cell that each placed cell stands for.

    The same cells are taken as such. Otherwise groups of the two are matched by
    unbalanced transport, at a cost of one minus the correlation of their mean
    features (gene activity for chromatin), nothing where their labels are equal;
    within matched groups cells are matched by the distances in their graphs of
    nearest neighbours, and by features where enough are shared (after SIMO).

    Returns
    -------
    shares
        (k, n) CSR, rows that sum to 1: other cells by placed cells.
    converged, reason
        Whether every transport within groups settled, and how it went.
    """
    from scipy.sparse import coo_array

    row = {name: i for i, name in enumerate(cells.ids)}
    if len(other.ids) == len(cells.ids) and all(name in row for name in other.ids):
        at = np.array([row[name] for name in other.ids])
        ones = np.ones(len(at))
        same = coo_array((ones, (np.arange(len(at)), at)), (len(at), len(row)))
        return same.tocsr(), True, "the same cells"
    groups = [_groups(c, n_groups, seed) for c in (other, cells)]
    features = _shared(cells, other)
    match = _match_groups(groups, features, ctx)
    rows, columns, values, converged = [], [], [], True
    for a, b in zip(*np.nonzero(match >= _LEAST_SHARE), strict=True):
        ctx.step(None, f"Cells of {groups[0][1][a]} ({other.modality})")
        mine, theirs = (np.flatnonzero(groups[i][0] == g) for i, g in ((0, a), (1, b)))
        part, settled = _within(other, cells, features, mine, theirs, seed, ctx)
        converged &= settled
        rows.append(np.repeat(mine, len(theirs)))
        columns.append(np.tile(theirs, len(mine)))
        values.append((match[a, b] * part).ravel())
    joined = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    shares = coo_array(joined, (len(other.ids), len(cells.ids))).tocsr()
    total = np.asarray(shares.sum(axis=1)).ravel()
    shares.data /= np.repeat(total, np.diff(shares.indptr))
    return shares, converged, f"{len(groups[0][1])} groups matched to {len(groups[1][1])}"


def _groups(cells: Cells, count: int, seed: int) -> tuple[NDArray[np.intp], list[str], bool]:
    """Group of each cell, the groups' names, and whether these are labels."""
    labels = cells.labels
    if labels is not None and len(names := sorted({str(v) for v in labels})) > 1:
        code = {name: i for i, name in enumerate(names)}
        return np.array([code[str(v)] for v in labels]), names, True
    from sklearn.cluster import KMeans

    space = cell_space(cells, _COMPONENTS, seed)
    count = min(count, len(space))
    found = KMeans(count, n_init=5, random_state=seed).fit_predict(space)
    return np.asarray(found, np.intp), [f"group {i + 1}" for i in range(count)], False


def _shared(cells: Cells, other: Cells) -> tuple[Floats, Floats] | None:
    """Features of one name in both (gene activity), as z-scores: other, placed."""
    at = {name: i for i, name in enumerate(cells.features)}
    pairs = [(i, at[name]) for i, name in enumerate(other.features) if name in at]
    if len(pairs) < _FEW_FEATURES:
        return None
    left, right = np.array(pairs).T
    a = dense(log_normalise(other.x)[:, left])
    b = dense(log_normalise(cells.x)[:, right])
    return z_scores(a), z_scores(b)


def _match_groups(
    groups: list[tuple[NDArray[np.intp], list[str], bool]],
    features: tuple[Floats, Floats] | None,
    ctx: JobContext,
) -> Floats:
    """(a, b) share of each group of the other cells that goes to each group of placed cells."""
    names = [set(g[1]) - {""} if g[2] else set() for g in groups]
    if features is None and not names[0] & names[1]:
        raise UserError(
            f"Fewer than {_FEW_FEATURES} features and no labels are shared by the modalities.",
            "Give gene activity instead of peaks, or label the cells of both modalities alike.",
        )
    sizes = [np.bincount(g[0], minlength=len(g[1])).astype(float) for g in groups]
    cost = np.ones((len(sizes[0]), len(sizes[1])), np.float32)
    if features is not None:
        means = []
        for values, (group, listed, _) in zip(features, groups, strict=True):
            means.append(np.array([values[group == g].mean(axis=0) for g in range(len(listed))]))
        cost = 1 - correlations(means[0], means[1])
    for i, a in enumerate(groups[0][1]):
        for k, b in enumerate(groups[1][1]):
            if groups[0][2] and groups[1][2] and a and a == b:
                cost[i, k] = 0.0
    options = Options(0.05, rho=1.0)
    p, q = (s / s.sum() for s in sizes)
    plan = Scaling(p, q, options).solve(cost.astype(np.float32), options.epsilon, ctx)
    share = plan / np.maximum(plan.sum(axis=1, keepdims=True), 1e-30)
    # A group that finds no other still goes to the best one.
    share[np.arange(len(p)), share.argmax(axis=1)] = np.maximum(share.max(axis=1), _LEAST_SHARE)
    return np.asarray(share, np.float64)


def _within(
    other: Cells,
    cells: Cells,
    features: tuple[Floats, Floats] | None,
    mine: NDArray[np.intp],
    theirs: NDArray[np.intp],
    seed: int,
    ctx: JobContext,
) -> tuple[Floats, bool]:
    """(k, n) shares of the cells of one group in the cells of another; whether it settled."""
    if min(len(mine), len(theirs)) < 4:
        return np.full((len(mine), len(theirs)), 1 / len(theirs)), True
    cost = None
    if features is not None:
        cost = 1 - correlations(features[0][mine], features[1][theirs])
        cost /= max(float(cost.mean()), 1e-6)
    parts = [_subset(other, mine), _subset(cells, theirs)]
    structure = tuple(
        distances_within(
            cell_space(part, _COMPONENTS, seed), "lengths", neighbours=_NEIGHBOURS,
            exact_up_to=2000, landmarks=200, seed=seed, ctx=ctx,
        )
        for part in parts
    )  # fmt: skip
    p, q = (np.full(len(v), 1 / len(v)) for v in (mine, theirs))
    weight = 0.5 if cost is not None else 0.0
    found = solve(
        Problem(cost, (structure[0], structure[1]), weight, p, q),
        Options(0.05, iterations=60, cooling=5.0, tolerance=1e-3),
        ctx,
    )
    return found.plan / found.plan.sum(axis=1, keepdims=True), found.converged


def _subset(cells: Cells, rows: NDArray[np.intp]) -> Cells:
    return Cells(cells.name, cells.ids[rows], cells.x[rows], cells.features, cells.modality)
