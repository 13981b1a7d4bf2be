"""Joint non-negative factorisation: one set of factors over the spots, loadings per modality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import Embedding, FusionInputs, Loadings
from napari_stomics.core.jobs import JobContext, limited_threads
from napari_stomics.core.params import param
from napari_stomics.core.registry import method
from napari_stomics.methods.fusion.batch import BatchMethod, BatchParams
from napari_stomics.methods.fusion.blocks import read_weights
from napari_stomics.methods.fusion.graph import diffuse, walk
from napari_stomics.methods.fusion.hals import hals, settled, svd_start
from napari_stomics.methods.fusion.nonnegative import (
    NonnegativeParams,
    Table,
    patterns,
    square_sum,
    tables_of,
)
from napari_stomics.methods.fusion.result import finish

Floats = NDArray[np.floating[Any]]


class JointNmfParams(NonnegativeParams, BatchParams):
    """Parameters of the joint non-negative factorisation."""

    n_factors: int = param(15, "Factors", "Number of factors.", ge=2, le=200)
    balance: float = param(
        1.0,
        "Balance (s)",
        "Weight of the first modality, in [0, 2]; the others share what is left, each 2 - s where "
        "there are two. 1 weighs all alike.",
        step=0.05,
        ge=0.0,
        le=2.0,
    )
    weights: str = param(
        "",
        "Weights",
        'Weight of each modality, for instance "rna=1, protein=0.5" (1 where none is given). '
        "Empty: from the balance.",
        advanced=True,
    )
    steps: int = param(
        2,
        "Smoothing steps",
        "Diffusion steps of the factors on the spatial graph after the fit; 0 leaves them as "
        "they are.",
        ge=0,
        le=50,
    )
    batch: BatchMethod = param(
        "centre",
        "Correction between sections",
        "What is not negative cannot be centred within each section before the fit, so the factors "
        "are, after it (centre) or by mutual nearest neighbours or Harmony (a library, extra "
        "'batch'); none leaves them non-negative. With one section this does nothing.",
        advanced=True,
    )
    iterations: int = param(200, "Iterations", "Most iterations.", advanced=True, ge=1, le=10_000)
    tolerance: float = param(
        1e-5,
        "Tolerance",
        "The fit stops when an iteration lowers the objective by less than this share of its "
        "first value.",
        advanced=True, log=True, gt=0.0, le=0.1,
    )  # fmt: skip


@dataclass(frozen=True)
class Factorisation:
    """Factors ``T`` over the spots and loadings ``H`` per modality.

    Attributes
    ----------
    factors
        (n, k) non-negative.
    loadings
        Per modality (k, g), non-negative.
    objective
        Sum of weighted squared errors, at the start and after each iteration.
    converged
        Whether the objective settled.
    """

    factors: Floats
    loadings: tuple[Floats, ...]
    objective: tuple[float, ...]
    converged: bool


@method(
    task="fusion",
    name="joint-nmf",
    title="Joint NMF",
    summary="Writes all modalities as sums of the same non-negative factors over the spots, each "
    "with its own loadings: parts that can be read, with ranked genes.",
    params=JointNmfParams,
    inputs=FusionInputs,
    result=Embedding,
    reference="Georgaka et al. 2025, Nucleic Acids Res (CellPie); "
    "Gillis and Glineur 2012, Neural Comput 24:1085",
)
def fuse_joint_nmf(inputs: FusionInputs, params: JointNmfParams, ctx: JobContext) -> Embedding:
    """Fuse by joint non-negative matrix factorisation.

    Raises
    ------
    UserError
        If a modality holds negative values, or there are fewer spots than factors.
    """
    tables, graph = tables_of(inputs, params, ctx.part(0.0, 0.2))
    if params.n_factors >= inputs.n:
        raise UserError(
            f"{inputs.n} spots are too few for {params.n_factors} factors.",
            "Ask for fewer factors than spots.",
        )
    weights = _weights([table.name for table in tables], params)
    with limited_threads(1):
        fit = joint_factors(
            tables, inputs.n, weights, params.n_factors, params.iterations, params.tolerance,
            params.seed, ctx.part(0.2, 0.95),
        )  # fmt: skip
    if not fit.converged:
        ctx.warn(f"The factors had not settled after {params.iterations} iterations.")
    factors, loadings = ordered(fit)
    step = walk(graph)
    present = np.zeros((inputs.n, len(tables)), bool)
    own = []
    for i, table in enumerate(tables):
        present[table.rows, i] = True
        block = np.zeros((inputs.n, params.n_factors), np.float32)
        block[table.rows] = table.x @ loadings[i].T.astype(np.float32)
        own.append(diffuse(step, block, params.steps))
    ctx.step(0.97, "Comparing the modalities")
    return finish(
        inputs,
        diffuse(step, factors.astype(np.float32), params.steps),
        [table.name for table in tables],
        own,
        present,
        weights={t.name: float(w / sum(weights)) for t, w in zip(tables, weights, strict=True)},
        loadings={
            t.name: Loadings(t.features, h.astype(np.float32))
            for t, h in zip(tables, loadings, strict=True)
        },
        ctx=ctx,
        batch=params.batch,
        seed=params.seed,
        objective=fit.objective,
        converged=fit.converged,
        settings={"factors": params.n_factors, "error": round(fit.objective[-1], 6)},
    )


def _weights(names: list[str], params: JointNmfParams) -> tuple[float, ...]:
    """Weights by hand, brought to the sum that those of the balance have; or these."""
    given = read_weights(params.weights, names)
    if given is None:
        return balanced(len(names), params.balance)
    total = sum(given.values())
    return tuple(given[name] * len(names) / total for name in names)


def balanced(count: int, s: float) -> tuple[float, ...]:
    """Weights of the modalities: ``s`` for the first, the others alike, their sum the count."""
    if count == 1:
        return (1.0,)
    return (s, *[(count - s) / (count - 1)] * (count - 1))


def joint_factors(
    tables: tuple[Table, ...],
    n: int,
    weights: tuple[float, ...],
    count: int,
    iterations: int = 200,
    tolerance: float = 1e-5,
    seed: int = 0,
    ctx: JobContext | None = None,
) -> Factorisation:
    """Lower ``sum_m w_m |X_m - T_m H_m|^2`` over non-negative ``T`` and ``H``.

    ``T_m`` are the rows of ``T`` at which modality m was measured: a spot that
    lacks one is fitted to those it has. The objective is divided by the sum of
    the weighted squares of the data, so that it starts near 1, and never rises.

    Parameters
    ----------
    tables
        Non-negative modalities.
    n
        Number of spots.
    weights
        ``w`` per modality.
    count
        Number of factors.
    """
    ctx = ctx or JobContext()
    present = np.zeros((n, len(tables)), bool)
    for m, table in enumerate(tables):
        present[table.rows, m] = True
    groups = patterns(present)
    squares = [square_sum(table.x) for table in tables]
    total = float(np.dot(weights, squares))
    factors = start_factors(tables, n, weights, count, seed)
    loadings = [np.zeros((count, table.x.shape[1])) for table in tables]
    loadings = _update_loadings(tables, factors, loadings)
    products = _products(tables, loadings)
    objective = [_error(tables, factors, loadings, products, squares, weights) / total]
    done = False
    for i in range(iterations):
        ctx.step(i / iterations, f"Iteration {i + 1}: error {objective[-1]:.5f}")
        factors = _update_factors(tables, factors, loadings, products, weights, groups)
        loadings = _update_loadings(tables, factors, loadings)
        products = _products(tables, loadings)
        objective.append(_error(tables, factors, loadings, products, squares, weights) / total)
        done = settled(objective, tolerance)
        if done or ctx.finishing:
            break
    return Factorisation(factors, tuple(loadings), tuple(objective), done)


def start_factors(
    tables: tuple[Table, ...], n: int, weights: tuple[float, ...], count: int, seed: int
) -> Floats:
    """(n, k) start from the singular vectors of the weighted modalities side by side."""
    from scipy import sparse

    parts = []
    for table, w in zip(tables, weights, strict=True):
        scaled = table.x * np.float32(np.sqrt(w))
        if len(table.rows) < n:
            put = sparse.csr_array(
                (np.ones(len(table.rows), np.float32), (table.rows, np.arange(len(table.rows)))),
                shape=(n, len(table.rows)),
            )
            scaled = put @ scaled
        parts.append(scaled)
    if any(sparse.issparse(part) for part in parts):
        joined: Any = sparse.csr_array(sparse.hstack([sparse.csr_array(p) for p in parts], "csr"))
    else:
        joined = np.hstack(parts)
    return svd_start(joined, count, seed)


def _products(tables: tuple[Table, ...], loadings: list[Floats]) -> list[Floats]:
    return [
        np.asarray(t.x @ h.T.astype(np.float32), np.float64)
        for t, h in zip(tables, loadings, strict=True)
    ]


def _update_loadings(
    tables: tuple[Table, ...], factors: Floats, loadings: list[Floats]
) -> list[Floats]:
    out = []
    for table, h in zip(tables, loadings, strict=True):
        seen = factors[table.rows]
        target = np.asarray(table.x.T @ seen.astype(np.float32), np.float64)
        out.append(hals(h.T, seen.T @ seen, target).T)
    return out


def _update_factors(
    tables: tuple[Table, ...],
    factors: Floats,
    loadings: list[Floats],
    products: list[Floats],
    weights: tuple[float, ...],
    groups: list[tuple[NDArray[np.bool_], NDArray[np.intp]]],
) -> Floats:
    target = np.zeros_like(factors)
    for table, product, w in zip(tables, products, weights, strict=True):
        target[table.rows] += w * product
    grams = [w * (h @ h.T) for h, w in zip(loadings, weights, strict=True)]
    out = factors.copy()
    for kind, rows in groups:
        gram = sum((g for g, has in zip(grams, kind, strict=True) if has), np.zeros_like(grams[0]))
        out[rows] = hals(factors[rows], gram, target[rows])
    return out


def _error(
    tables: tuple[Table, ...],
    factors: Floats,
    loadings: list[Floats],
    products: list[Floats],
    squares: list[float],
    weights: tuple[float, ...],
) -> float:
    total = 0.0
    for table, h, product, square, w in zip(
        tables, loadings, products, squares, weights, strict=True
    ):
        seen = factors[table.rows]
        cross = float(np.einsum("ij,ij->", product, seen))
        fitted = float(np.einsum("ij,ij->", seen.T @ seen, h @ h.T))
        total += w * (square - 2 * cross + fitted)
    return total


def ordered(fit: Factorisation) -> tuple[Floats, list[Floats]]:
    """Factors of mean squared value 1, and loadings accordingly, those that explain most first."""
    size = np.sqrt((fit.factors**2).mean(axis=0))
    scale = np.where(size > 0, size, 1.0)
    loadings = [h * scale[:, None] for h in fit.loadings]
    energy = sum((h**2).sum(axis=1) for h in loadings)
    order = np.argsort(-np.asarray(energy), kind="stable")
    return (fit.factors / scale)[:, order], [h[order] for h in loadings]
