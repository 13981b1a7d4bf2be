"""Genes and numbers carried from one section to another along a transport plan."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.carried import (
    HELD_OUT,
    SEEN,
    UNKNOWN,
    CarriedValues,
    ValueTransferInputs,
)
from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import Spots
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import Params, param
from napari_stomics.core.registry import method
from napari_stomics.methods.alignment.aggregate import is_extensive, weighted_moments
from napari_stomics.methods.preprocess import log_normalise, most_variable

Floats = NDArray[np.floating[Any]]

LOG_DEPTH = "log1p of counts per median depth"
AS_MEASURED = "as measured"
_COLUMNS_AT_A_TIME = 64
_MOST_VALUES = 400_000_000


class ValueTransferParams(Params):
    """Parameters of carrying genes and numbers along a plan."""

    n_features: int = param(
        200,
        "Features",
        "Where none are named: how many of the most variable features are carried, those that "
        "were measured in the receiving section too before the others.",
        ge=1,
        le=50_000,
        step=100,
    )
    smoothing: float = param(
        0.0,
        "Smoothing",
        "Width of the neighbourhood of each partner that is averaged in, in spot pitches; 0 takes "
        "the partners alone. A plan that matches one to one carries the noise of single spots, "
        "and knows no spread.",
        ge=0,
        le=10,
        step=0.5,
    )


@method(
    task="transfer",
    name="plan-values",
    title="Transfer genes and numbers along a plan",
    summary="Gives each receiving spot the mean of the spots that it is matched with, weighted "
    "by mass, with the spread among them; compares with what was measured there.",
    params=ValueTransferParams,
    inputs=ValueTransferInputs,
    result=CarriedValues,
    reference="Barycentric projection, Ferradans et al. 2014, SIAM J Imaging Sci 7:1853",
)
def transfer_values(
    inputs: ValueTransferInputs, params: ValueTransferParams, ctx: JobContext
) -> CarriedValues:
    """Carry features and columns along a plan and compare them with what was measured.

    Counts are carried as log1p of counts per median depth of their own section, and
    compared with the receiving section's on the same scale; other numbers as they are.
    A spot without any count has measured nothing: it is left out.

    Raises
    ------
    UserError
        If nothing is to be carried, a feature is unknown, or the answer would not fit
        into memory.
    """
    ctx.step(0.02, "Choosing features")
    genes, x, scale = _features(inputs, params)
    names = [*genes, *inputs.columns]
    if not names:
        raise UserError("Nothing is chosen to be carried.", "Choose a modality, or columns.")
    if len(names) * len(inputs.target_ids) > _MOST_VALUES:
        raise UserError(
            f"{len(names):,} features of {len(inputs.target_ids):,} spots are too much at once.",
            f"Carry at most {_MOST_VALUES // max(len(inputs.target_ids), 1):,} at a time.",
        )
    weights = inputs.plan.T.tocsr()
    if params.smoothing > 0:
        weights = weights @ neighbourhoods(inputs.coordinates, params.smoothing)
    blocks = [(x, len(genes))] if genes else []
    blocks += [(np.asarray(values)[:, None], 1) for values in inputs.columns.values()]
    values, sd = _carried(weights, blocks, ctx.part(0.05, 0.8))
    measured = _measured(inputs, genes)
    ctx.step(0.85, "Comparing with what was measured")
    pearson, spearman = correlations(measured, values)
    received = np.asarray(weights.sum(axis=1)).ravel()
    square = np.asarray(weights.multiply(weights).sum(axis=1)).ravel()
    partners = np.divide(received**2, square, out=np.full(len(received), np.nan), where=square > 0)
    asked = np.asarray(inputs.asked, np.float64)
    return CarriedValues(
        source=inputs.source,
        target=inputs.target,
        target_ids=inputs.target_ids,
        names=np.array(names, object),
        values=values,
        sd=sd,
        partners=partners,
        mass=np.divide(received, asked, out=np.zeros_like(received), where=asked > 0),
        measured=measured if np.isfinite(measured).any() else None,
        scales=np.array([scale] * len(genes) + [AS_MEASURED] * len(inputs.columns), object),
        status=np.array(
            [_status(g, inputs.plan_features) for g in genes] + [UNKNOWN] * len(inputs.columns),
            object,
        ),
        pearson=pearson,
        spearman=spearman,
    )


def neighbourhoods(coordinates: Floats, width: float) -> Any:
    """(n, n) sparse Gaussian weights of the spots round each spot; rows sum to 1.

    Parameters
    ----------
    coordinates
        (n, 2) positions (x, y) um.
    width
        Standard deviation in pitches (median distances to the nearest neighbour).
    """
    from scipy import sparse
    from scipy.spatial import cKDTree

    xy = np.asarray(coordinates, np.float64)
    if len(xy) < 2:
        return sparse.eye_array(len(xy), format="csr")
    tree = cKDTree(xy)
    sigma = width * float(np.median(np.asarray(tree.query(xy, k=2)[0])[:, 1]))
    near = tree.sparse_distance_matrix(tree, 2.5 * sigma, output_type="coo_matrix")
    weights = sparse.csr_array(
        (np.exp(-0.5 * (near.data / sigma) ** 2), (near.row, near.col)), shape=(len(xy),) * 2
    )
    return sparse.diags_array(1 / np.asarray(weights.sum(axis=1)).ravel()) @ weights


def correlations(measured: Floats, values: Floats) -> tuple[Floats, Floats]:
    """(g,) Pearson and Spearman correlation per column over the rows that both have; else NaN."""
    from scipy.stats import rankdata

    pearson, spearman = (np.full(values.shape[1], np.nan) for _ in range(2))
    for column in range(values.shape[1]):
        a, b = measured[:, column], values[:, column]
        both = np.isfinite(a) & np.isfinite(b)
        if both.sum() >= 3:
            a, b = a[both].astype(np.float64), b[both].astype(np.float64)
            pearson[column] = _correlation(a, b)
            spearman[column] = _correlation(rankdata(a), rankdata(b))
    return pearson, spearman


def scaled(spots: Spots, wanted: list[str]) -> tuple[Floats, str]:
    """(n, g) columns on the scale on which they are carried, NaN where spots are empty or lack it.

    Counts become log1p of counts per median depth, where the depth is the sum over all
    features of the table, not only the wanted ones.
    """
    place = {str(name): i for i, name in enumerate(spots.features)}
    known = [name in place for name in wanted]
    columns = [place[name] for name in wanted if name in place]
    out = np.full((spots.x.shape[0], len(wanted)), np.nan)
    picked = _dense(spots.x[:, columns])
    if not is_extensive(spots):
        out[:, known] = picked
        return out, AS_MEASURED
    depth = np.asarray(spots.x.sum(axis=1), np.float64).ravel()
    filled = depth > 0
    if filled.any():
        factor = np.median(depth[filled]) / depth[filled]
        full = np.flatnonzero(filled)
        out[np.ix_(full, np.flatnonzero(known))] = np.log1p(picked[filled] * factor[:, None])
    return out, LOG_DEPTH


def _features(inputs: ValueTransferInputs, params: ValueTransferParams) -> tuple[Any, Any, str]:
    spots = inputs.spots
    if spots is None:
        return [], None, AS_MEASURED
    wanted = list(dict.fromkeys(inputs.genes))
    own = set(map(str, spots.features))
    unknown = [name for name in wanted if name not in own]
    if unknown:
        raise UserError(
            f"Section {inputs.source!r} has no {spots.modality} feature {unknown[0]!r}.",
            "Check its spelling, or leave the features empty for the most variable ones.",
        )
    if not wanted:
        wanted = _most_variable(inputs, spots, params.n_features)
    x, scale = scaled(spots, wanted)
    return wanted, x, scale


def _most_variable(inputs: ValueTransferInputs, spots: Spots, count: int) -> list[str]:
    x = log_normalise(spots.x) if is_extensive(spots) else spots.x
    order = [str(spots.features[i]) for i in most_variable(x, spots.x.shape[1])]
    there = set() if inputs.measured is None else set(map(str, inputs.measured.features))
    return sorted(order, key=lambda name: name not in there)[:count]


def _carried(weights: Any, blocks: list[tuple[Any, int]], ctx: JobContext) -> tuple[Any, Any]:
    """(m, g) float32 mean and standard deviation; NaN where no mass arrives."""
    total = sum(count for _, count in blocks)
    values, sd = (np.full((weights.shape[0], total), np.nan, np.float32) for _ in range(2))
    start = 0
    for x, count in blocks:
        for low in range(0, count, _COLUMNS_AT_A_TIME):
            ctx.step((start + low) / total, "Carrying values")
            part = x[:, low : low + _COLUMNS_AT_A_TIME]
            arrived = np.asarray(weights @ np.isfinite(part).astype(np.float64)) > 0
            mean, spread = weighted_moments(weights, part)
            where = slice(start + low, start + low + part.shape[1])
            values[:, where] = np.where(arrived, mean, np.nan)
            sd[:, where] = np.where(arrived, spread, np.nan)
        start += count
    return values, sd


def _measured(inputs: ValueTransferInputs, genes: list[str]) -> Floats:
    """(m, g) what was measured in the receiving section; NaN where nothing was."""
    m = len(inputs.target_ids)
    parts = [np.full((m, len(genes)), np.nan)]
    if inputs.measured is not None and genes:
        parts = [scaled(inputs.measured, genes)[0]]
    for name in inputs.columns:
        found = inputs.measured_columns.get(name)
        parts.append(np.full((m, 1), np.nan) if found is None else np.asarray(found)[:, None])
    return np.asarray(np.hstack(parts), np.float32)


def _status(name: str, seen: frozenset[str] | None) -> str:
    if seen is None:
        return UNKNOWN
    return SEEN if name in seen else HELD_OUT


def _correlation(a: Floats, b: Floats) -> float:
    """Pearson correlation; 0 for a constant answer, NaN for a constant truth."""
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a**2).sum()), np.sqrt((b**2).sum())
    if size[0] <= 1e-12:
        return float("nan")
    return 0.0 if size[1] <= 1e-9 * size[0] else float((a * b).sum() / (size[0] * size[1]))


def _dense(x: Any) -> Floats:
    return np.asarray(x.toarray() if hasattr(x, "toarray") else x, np.float64)
