"""Distances between cells and labels in space, and the signals that may pass between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import Cells
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.mapping.features import dense
from napari_stomics.methods.mapping.solver import Options, Scaling
from napari_stomics.methods.mapping.structure import farthest_points
from napari_stomics.methods.preprocess import log_normalise

Floats = NDArray[np.floating[Any]]

MANY_CELLS = 2000
"""Signals are computed between this many cells at most."""

_MANY_SPOTS = 800
_EPSILON = 0.05
_PERMUTATIONS = 50


@dataclass(frozen=True)
class Signals:
    """Flows of ligand-receptor pairs between labels; see :class:`CellMapping`."""

    names: tuple[str, ...]
    flows: Floats
    z: Floats
    reach: Floats


def read_pairs(text: str) -> list[tuple[str, str]]:
    """Ligand-receptor pairs from ``"ligand>receptor, ligand>receptor"``.

    Raises
    ------
    UserError
        If a part is not of this form.
    """
    out = []
    for part in text.replace("\n", ",").replace(";", ",").split(","):
        if not part.strip():
            continue
        names = [name.strip() for name in part.split(">")]
        if len(names) != 2 or not all(names):
            raise UserError(
                f"{part.strip()!r} is no ligand-receptor pair.",
                "Write ligand>receptor, several separated by commas: Fgf8>Fgfr1, Wnt5a>Fzd5.",
            )
        out.append((names[0], names[1]))
    return out


def cell_distances(
    positions: Floats, covariance: Floats, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> Floats:
    """Distance in um between the position distributions of cells.

    The 2-Wasserstein distance of normal distributions with the cells' means and
    covariances: exact for normal ones and a lower bound for any others
    (Gelbrich 1990, Math Nachr 147:185).

    Returns
    -------
    (len(rows), len(columns)) distances.
    """
    a, b = positions[rows], positions[columns]
    squared = np.square(a[:, None, :] - b[None, :, :]).sum(axis=2)
    first, second = covariance[rows], covariance[columns]
    product = np.einsum("aij,bji->ab", first, second)
    determinant = np.maximum(np.linalg.det(first), 0)[:, None] * np.maximum(
        np.linalg.det(second), 0
    )
    root = np.sqrt(np.maximum(product + 2 * np.sqrt(determinant), 0))
    traces = np.trace(first, axis1=1, axis2=2)[:, None] + np.trace(second, axis1=1, axis2=2)
    return np.asarray(np.sqrt(np.maximum(squared + traces - 2 * root, 0)))


def label_distances(
    plan: Floats, labels: NDArray[Any], names: Sequence[str], coordinates: Floats, ctx: JobContext
) -> Floats:
    """(k, k) 1-Wasserstein distance in um between the mass of every two labels.

    Above 800 spots the mass is first gathered at 800 of them that lie far apart.
    """
    import ot
    from scipy.spatial import cKDTree
    from scipy.spatial.distance import cdist

    flags = (np.array(names, object)[:, None] == labels[None, :]).astype(np.float32)
    mass = np.asarray(flags @ plan, np.float64)
    xy = np.asarray(coordinates, np.float64)
    if len(xy) > _MANY_SPOTS:
        chosen = farthest_points(xy, _MANY_SPOTS, 0)
        nearest = cKDTree(xy[chosen]).query(xy)[1]
        mass = np.array([np.bincount(nearest, row, len(chosen)) for row in mass])
        xy = xy[chosen]
    gaps = cdist(xy, xy)
    out = np.zeros((len(names), len(names)))
    for i in range(len(names)):
        ctx.step(None, "Distances between labels")
        for k in range(i):
            a, b = (mass[j] / mass[j].sum() for j in (i, k))
            out[i, k] = out[k, i] = ot.emd2(a, b, gaps, numItermax=5_000_000)
    return out


def signals(
    cells: Cells,
    names: Sequence[str],
    places: tuple[Floats, Floats],
    pairs: Sequence[tuple[str, str]],
    reach: float,
    seed: int,
    ctx: JobContext,
) -> Signals:
    """Carry each ligand to its receptor by unbalanced transport between the placed cells.

    Senders hold mass by their ligand, receivers by their receptor; the cost is
    the distance of the two cells over ``reach``, so that mass with no receptor
    within a few times that range is not carried (Cang and Nie 2020). The standard
    score compares with cells whose expression was shuffled, places and labels
    kept: labels that are merely neighbours do not score.

    Parameters
    ----------
    cells
        The cells, with labels.
    names
        Label names.
    places
        Means (n, 2) and covariances (n, 2, 2) of the cells' positions, um.
    pairs
        Ligands and receptors.
    reach
        Range of the signal in um.
    seed
        Seed of the cells drawn where there are very many, and of the shuffles.
    """
    labels = cells.labels
    if labels is None or not names:
        raise UserError(
            "Signals go between labels, and the cells have none.",
            "Choose the column of labels of the reference.",
        )
    rng = np.random.default_rng(seed)
    known = np.flatnonzero(np.isfinite(places[0]).all(axis=1) & (labels != ""))
    if len(known) > MANY_CELLS:
        ctx.warn(f"Signals are computed between {MANY_CELLS:,} of {len(known):,} cells.")
        known = np.sort(rng.choice(known, MANY_CELLS, replace=False))
    expression = log_normalise(cells.x)
    column = {name: i for i, name in enumerate(cells.features)}
    flags = (labels[known][:, None] == np.array(names, object)[None, :]).astype(np.float32)
    cost = (cell_distances(*places, known, known) / reach).astype(np.float32)
    flows, scores, reached = [], [], []
    for ligand, receptor in pairs:
        for name in (ligand, receptor):
            if name not in column:
                raise UserError(
                    f"The cells have no feature {name!r}.", "Choose genes that were measured."
                )
        both = dense(expression[:, [column[ligand], column[receptor]]])[known]
        flow, distance = _carry(both, flags, cost, ctx)
        shuffled = []
        for i in range(_PERMUTATIONS):
            ctx.step(0.9 + 0.1 * i / _PERMUTATIONS, f"Signal {ligand}>{receptor}, shuffle {i + 1}")
            shuffled.append(_carry(both[rng.permutation(len(both))], flags, cost, ctx)[0])
        sd = np.std(shuffled, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            scores.append(np.where(sd > 0, (flow - np.mean(shuffled, axis=0)) / sd, np.nan))
        flows.append(flow)
        reached.append(distance * reach)
    titles = tuple(f"{a}>{b}" for a, b in pairs)
    return Signals(titles, np.array(flows), np.array(scores), np.array(reached))


def _carry(both: Floats, flags: Floats, cost: Floats, ctx: JobContext) -> tuple[Floats, float]:
    """Flow between labels of one pair, and how far it goes on average, in units of the cost."""
    k = flags.shape[1]
    senders, receivers = (np.flatnonzero(values > 0) for values in both.T)
    if not len(senders) or not len(receivers):
        return np.zeros((k, k)), float("nan")
    a, b = both[senders, 0], both[receivers, 1]
    options = Options(_EPSILON, rho=1.0, sinkhorn=100)
    part = cost[np.ix_(senders, receivers)]
    plan = Scaling(a / a.sum(), b / b.sum(), options).solve(part, _EPSILON, ctx)
    flow = flags[senders].T @ plan @ flags[receivers]
    total = float(plan.sum())
    return flow, float(np.vdot(plan, part)) / total if total > 0 else float("nan")
