"""Correction of an embedding for differences between sections."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import Params, param

Floats = NDArray[np.floating[Any]]

BatchMethod = Literal["none", "centre", "neighbours", "harmony"]
"""Ways to correct: none, equal means, mutual nearest neighbours, Harmony (a library)."""

_NEAREST = 20
_ROWS_AT_A_TIME = 2_000
_LEVELS = 50
_LEAST_MATCHED = 10


class BatchParams(Params):
    """How the embedding of several sections is corrected for differences between them."""

    batch: BatchMethod = param(
        "none",
        "Correction between sections",
        "Features are centred within each section anyway. centre: sections get the same mean in "
        "the embedding. neighbours: mutual nearest neighbours meet, and a domain that a section "
        "lacks stays where it is. harmony: by the library (extra 'batch').",
        advanced=True,
    )


def correct_batches(
    values: Floats,
    of: NDArray[np.intp],
    method: BatchMethod = "centre",
    *,
    seed: int = 0,
    ctx: JobContext | None = None,
) -> Floats:
    """Correct an embedding for differences between sections.

    Parameters
    ----------
    values
        (n, k) embedding.
    of
        (n,) index of each spot's section.
    method
        ``"centre"``: every section gets the mean of all spots. ``"neighbours"``: sections
        join the largest one by one, each spot moved by the differences of nearby mutual
        nearest neighbours (Haghverdi et al. 2018, Nat Biotechnol 36:421): a domain that
        one section lacks is left where it is. ``"harmony"``: soft clusters corrected one
        by one (Korsunsky et al. 2019, Nat Methods 16:1289), by the library harmonypy.
    seed
        Seed of Harmony.

    Returns
    -------
    (n, k) corrected values; ``values`` itself with one section or method ``"none"``.

    Raises
    ------
    UserError
        If Harmony is asked for and the library is not installed.
    """
    ctx = ctx or JobContext()
    sections = np.unique(of)
    if method == "none" or len(sections) < 2:
        return values
    ctx.step(None, "Correcting differences between sections")
    if method == "centre":
        return _centred(values, of, sections)
    if method == "neighbours":
        return _by_neighbours(values, of, sections, ctx)
    return _by_harmony(values, of, seed)


def _centred(values: Floats, of: NDArray[np.intp], sections: NDArray[np.intp]) -> Floats:
    out = np.array(values, np.float32)
    whole = out.mean(axis=0)
    for section in sections:
        out[of == section] += whole - out[of == section].mean(axis=0)
    return out


def _by_neighbours(
    values: Floats, of: NDArray[np.intp], sections: NDArray[np.intp], ctx: JobContext
) -> Floats:
    out = np.array(values, np.float64)
    sizes = [int((of == section).sum()) for section in sections]
    order = sections[np.argsort([-size for size in sizes], kind="stable")]
    joined = np.flatnonzero(of == order[0])
    for section in order[1:]:
        here = np.flatnonzero(of == section)
        mine, theirs = mutual_neighbours(out[here], out[joined])
        if len(mine) < 1:
            ctx.warn(
                "A section has no mutual nearest neighbours in the others; it was not corrected."
            )
        else:
            gaps = out[joined[theirs]] - out[here[mine]]
            out[here] += _smoothed(out[here], out[here[mine]], gaps, ctx)
        joined = np.concatenate([joined, here])
    return out.astype(np.float32)


def mutual_neighbours(
    a: Floats, b: Floats, k: int = _NEAREST
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of spots that are each among the k nearest of the other, by angle.

    Rows are compared at unit length, since sections differ in overall size of their
    values as much as in their mean.
    """
    from scipy import sparse
    from sklearn.neighbors import NearestNeighbors

    unit = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (a, b)]
    links = []
    for here, there in ((0, 1), (1, 0)):
        near = min(k, len(unit[there]))
        model = NearestNeighbors(n_neighbors=near).fit(unit[there])
        links.append(model.kneighbors_graph(unit[here], mode="connectivity"))
    both = sparse.coo_array(links[0].multiply(links[1].T))
    order = np.lexsort((both.col, both.row))
    return both.row[order].astype(np.intp), both.col[order].astype(np.intp)


def _smoothed(values: Floats, anchors: Floats, gaps: Floats, ctx: JobContext) -> Floats:
    """Differences of the pairs, averaged round each spot by a Gaussian kernel."""
    from scipy.spatial.distance import cdist

    spread = cdist(anchors[:_ROWS_AT_A_TIME], anchors[:_ROWS_AT_A_TIME])
    width = float(np.median(spread)) / 2 or 1.0
    out = np.empty_like(values)
    for low in range(0, len(values), _ROWS_AT_A_TIME):
        ctx.step()
        distance = cdist(values[low : low + _ROWS_AT_A_TIME], anchors)
        # The nearest pair has weight 1, so that a spot far from all follows it.
        relative = (distance**2 - distance.min(axis=1, keepdims=True) ** 2) / (2 * width**2)
        weight = np.exp(-relative)
        out[low : low + _ROWS_AT_A_TIME] = weight @ gaps / weight.sum(axis=1, keepdims=True)
    return out


def _by_harmony(values: Floats, of: NDArray[np.intp], seed: int) -> Floats:
    try:
        import harmonypy
    except ImportError as error:
        raise UserError(
            "Harmony needs the library harmonypy, which is not installed.",
            "Install it with: pip install napari-stomics[batch], or choose 'neighbours', which "
            "needs nothing.",
        ) from error
    import pandas as pd

    meta = pd.DataFrame({"section": [f"s{i}" for i in of]})
    made = harmonypy.run_harmony(
        np.asarray(values, np.float64), meta, ["section"], random_state=seed, verbose=False
    )
    found = np.asarray(made.Z_corr, np.float32)
    # Before its version 2 the library returned components by spots.
    return found if found.shape == values.shape else np.ascontiguousarray(found.T)


def match_quantiles(values: Floats, of: NDArray[np.intp]) -> Floats:
    """Give non-negative factors the same distribution in all sections.

    Among spots with the same strongest factor, each factor's values are mapped onto
    the quantiles that they have in the largest section (Welch et al. 2019, Cell
    177:1873). Groups of fewer than ten spots on either side are left as they are.

    Parameters
    ----------
    values
        (n, k) factors of comparable scale.
    of
        (n,) index of each spot's section.
    """
    out = np.array(values, np.float64)
    strongest = values.argmax(axis=1)
    sections, sizes = np.unique(of, return_counts=True)
    reference = sections[np.argmax(sizes)]
    levels = np.linspace(0, 1, _LEVELS)
    for cluster in np.unique(strongest):
        goal = values[(of == reference) & (strongest == cluster)]
        if len(goal) < _LEAST_MATCHED:
            continue
        target = np.quantile(goal, levels, axis=0)
        for section in sections[sections != reference]:
            rows = np.flatnonzero((of == section) & (strongest == cluster))
            if len(rows) < _LEAST_MATCHED:
                continue
            source = np.quantile(values[rows], levels, axis=0)
            for j in range(values.shape[1]):
                rank = _rank(values[rows, j], source[:, j], levels)
                out[rows, j] = np.interp(rank, levels, target[:, j])
    return out


def _rank(x: Floats, quantiles: Floats, levels: Floats) -> Floats:
    """Level of each value; ties (zeros above all) get the middle of their levels."""
    low = np.searchsorted(quantiles, x, side="left")
    high = np.searchsorted(quantiles, x, side="right")
    tied = high - low > 1
    middle = (levels[np.minimum(low, len(levels) - 1)] + levels[np.maximum(high - 1, 0)]) / 2
    return np.where(tied, middle, np.interp(x, quantiles, levels))
