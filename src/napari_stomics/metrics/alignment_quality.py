"""How far an alignment of two sections can be trusted: expression, and what is left unmatched.

Positions are (x, y) in micrometres unless stated; plans are sparse (n, m). The
agreement of labels stands in :mod:`napari_stomics.metrics.label_transfer`, the
geometry in :mod:`napari_stomics.metrics.tissue_geometry`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.transforms import Points
from napari_stomics.metrics.prediction import pearson_per_column

Floats = NDArray[np.floating[Any]]
Edges = NDArray[np.intp]

_GENES_AT_A_TIME = 64


# -- baseline and bookkeeping ----------------------------------------------------------------


def nearest_plan(placed: Points, target: Points, reach: float, count: int = 1) -> Any:
    """Coupling of each source spot to its nearest target spots: what the pose alone gives.

    Parameters
    ----------
    placed
        (n, 2) source spots in the target's frame.
    target
        (m, 2) target spots.
    reach
        Spots farther than this from any target spot have no partner.
    count
        How many nearest spots share the mass of each.

    Returns
    -------
    csr_array
        (n, m); a row with partners sums to 1 / n.
    """
    from scipy import sparse
    from scipy.spatial import cKDTree

    n, m = len(placed), len(target)
    count = max(1, min(count, m))
    distance, index = cKDTree(target).query(placed, k=count)
    distance = np.asarray(distance).reshape(n, count)
    index = np.asarray(index).reshape(n, count)
    near = distance[:, :1] <= reach
    share = np.broadcast_to(near / (n * count), (n, count))
    rows = np.repeat(np.arange(n), count)
    plan = sparse.csr_array((share.ravel(), (rows, index.ravel())), shape=(n, m))
    plan.eliminate_zeros()
    return plan


def effective_partners(plan: Any) -> float:
    """Median over rows of the exponential of the row's Shannon entropy: 1 is one to one."""
    mass = np.asarray(plan.sum(axis=1)).ravel()
    edges = plan.tocoo()
    share = edges.data / mass[edges.row]
    terms = -share * np.log(np.where(share > 0, share, 1.0))
    entropy = np.bincount(edges.row, terms, plan.shape[0])
    return float(np.median(np.exp(entropy[mass > 0]))) if (mass > 0).any() else float("nan")


def spatial_blocks(coordinates: Points, size: float) -> NDArray[np.intp]:
    """(n,) number of the square block, ``size`` um wide, in which each spot lies."""
    cell = np.floor((coordinates - coordinates.min(axis=0)) / size).astype(np.intp)
    _, block = np.unique(cell, axis=0, return_inverse=True)
    return np.asarray(block).ravel()


def ratio_error(
    numerator: Floats,
    denominator: Floats,
    blocks: NDArray[np.intp],
    minus: tuple[Floats, Floats] | None = None,
    draws: int = 200,
    seed: int = 0,
) -> float:
    """Standard error of ``sum(numerator) / sum(denominator)``, by a bootstrap over blocks.

    Neighbouring spots are alike, so blocks are drawn and not spots (Kuensch
    1989, Ann Stat 17:1217).

    Parameters
    ----------
    numerator, denominator
        (n,) terms of the two sums; NaN counts as 0.
    blocks
        (n,) block of each spot.
    minus
        Numerator and denominator of a second ratio of the same spots: the error
        is then that of the difference, in which what both share cancels.
    draws, seed
        Of the bootstrap.

    Returns
    -------
    float
        NaN with fewer than four blocks.
    """
    count = int(blocks.max()) + 1 if len(blocks) else 0
    ratios = [(numerator, denominator), *([minus] if minus is not None else [])]
    sums = np.array(
        [[np.bincount(blocks, np.nan_to_num(part), count) for part in ratio] for ratio in ratios]
    )
    sums = sums[:, :, (sums[:, 1] > 0).all(axis=0)]
    if sums.shape[2] < 4:
        return float("nan")
    drawn = np.random.default_rng(seed).integers(0, sums.shape[2], (draws, sums.shape[2]))
    tops, bottoms = sums[:, 0][:, drawn].sum(axis=2), sums[:, 1][:, drawn].sum(axis=2)
    found = tops / bottoms
    return float(np.std(found[0] - (found[1] if minus is not None else 0.0), ddof=1))


def median_error(values: Floats, draws: int = 200, seed: int = 0) -> float:
    """Standard error of the median by the bootstrap; NaN with fewer than four finite values."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if len(values) < 4:
        return float("nan")
    drawn = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    return float(np.std(np.median(values[drawn], axis=1), ddof=1))


# -- expression ------------------------------------------------------------------------------


def partners_mean(plan: Any, x: Any) -> Floats:
    """(n, g) mean of each row's partners, weighted by their share; NaN for empty rows."""
    mass = np.asarray(plan.sum(axis=1)).ravel()
    product = plan @ x
    product = product.toarray() if hasattr(product, "toarray") else np.asarray(product)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(product / np.where(mass > 0, mass, np.nan)[:, None])


def carried_correlation(
    plan: Any,
    source: Any,
    target: Any,
    blocks: NDArray[np.intp],
    permutations: int = 20,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """Correlation of what was measured in the source with what its partners show.

    Parameters
    ----------
    plan
        (n, m) coupling.
    source, target
        (n, g), (m, g) expression of the same features, sparse or dense.
    blocks
        (n,) block of each source spot, within which the null permutes the partners.
    permutations
        Draws of the null.
    seed
        Of the permutations.

    Returns
    -------
    observed
        (g,) Pearson correlation over source spots that have partners.
    null
        (permutations, g) the same with the partners' means exchanged between
        spots of a block: what the coarse place alone explains.
    """
    used = np.asarray(plan.sum(axis=1)).ravel() > 0
    plan, blocks = plan[used], blocks[used]
    genes = source.shape[1]
    observed, null = np.full(genes, np.nan), np.full((permutations, genes), np.nan)
    if used.sum() < 3:
        return observed, null
    rng = np.random.default_rng(seed)
    orders = [_shuffled_within(blocks, rng) for _ in range(permutations)]
    for low in range(0, genes, _GENES_AT_A_TIME):
        some = slice(low, low + _GENES_AT_A_TIME)
        measured = _dense(source[:, some])[used]
        carried = partners_mean(plan, _dense(target[:, some]))
        observed[some] = pearson_per_column(measured, carried)
        for draw, order in enumerate(orders):
            null[draw, some] = pearson_per_column(measured, carried[order])
    return observed, null


def _shuffled_within(blocks: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    order = np.empty(len(blocks), np.intp)
    order[np.argsort(blocks, kind="stable")] = np.lexsort((rng.random(len(blocks)), blocks))
    return order


def _dense(x: Any) -> Floats:
    return np.asarray(x.toarray() if hasattr(x, "toarray") else x, np.float64)


# -- neighbours ------------------------------------------------------------------------------


def edge_inconsistency(edges: Edges, mapped: NDArray[np.bool_]) -> float:
    """Share of neighbouring spots of which one has a partner and the other has none.

    Low where what is left unmatched lies together, as it does at a border of
    the overlap (Liu et al. 2023, PASTE2, Genome Res 33:1124).
    """
    if not len(edges):
        return float("nan")
    return float(np.mean(mapped[edges[:, 0]] != mapped[edges[:, 1]]))


def scattered_inconsistency(mapped: NDArray[np.bool_]) -> float:
    """`edge_inconsistency` expected if as many unmapped spots were scattered at random."""
    n, k = len(mapped), int(mapped.sum())
    return 2 * k * (n - k) / (n * (n - 1)) if n > 1 else float("nan")


def spatial_coherence(
    edges: Edges, labels: NDArray[Any], permutations: int = 100, seed: int = 0
) -> float:
    """How much more coherent labels lie than by chance, in standard deviations.

    O'Neill's entropy of the label pairs on neighbouring spots against labels
    permuted over the spots, with its sign turned (Zeira et al. 2022): higher is
    more coherent. Spots without a label are left out; NaN with one label only.
    """
    known = labels != ""
    names, code = np.unique(labels[known].astype(str), return_inverse=True)
    place = np.full(len(labels), -1)
    place[known] = np.arange(int(known.sum()))
    inside = edges[known[edges].all(axis=1)]
    if len(names) < 2 or not len(inside):
        return float("nan")
    ends = place[inside]
    rng = np.random.default_rng(seed)
    drawn = np.array(
        [_pair_entropy(rng.permutation(code)[ends], len(names)) for _ in range(permutations)]
    )
    spread = float(drawn.std())
    return float((drawn.mean() - _pair_entropy(code[ends], len(names))) / spread) if spread else 0.0


def _pair_entropy(pairs: NDArray[Any], count: int) -> float:
    low, high = pairs.min(axis=1), pairs.max(axis=1)
    share = np.bincount(low * count + high) / len(pairs)
    share = share[share > 0]
    return float(-(share * np.log(share)).sum())


def round_trip(plan: Any, coordinates: Points) -> Floats:
    """(n,) distance between each source spot and the mean of where its mass came back to.

    Mass is sent along the plan and back in proportion: 0 for a coupling that is
    one to one, about the spread of the matches otherwise; large where spots far
    apart share their partners. NaN where nothing is sent.
    """
    there = partners_mean(plan.T.tocsr(), coordinates)
    back = partners_mean(plan, np.nan_to_num(there))
    return np.asarray(np.linalg.norm(back - coordinates, axis=1))
