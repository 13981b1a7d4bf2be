"""Integrative non-negative factorisation: shared factors, and what each data set has of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import Embedding, FusionInputs, Loadings
from napari_stomics.core.jobs import JobContext, limited_threads
from napari_stomics.core.params import param
from napari_stomics.core.registry import method
from napari_stomics.methods.fusion.batch import BatchParams, match_quantiles
from napari_stomics.methods.fusion.graph import diffuse, walk
from napari_stomics.methods.fusion.inmf import Cells, Integration, integrate
from napari_stomics.methods.fusion.nonnegative import (
    NonnegativeParams,
    Table,
    patterns,
    tables_of,
)
from napari_stomics.methods.fusion.result import finish

Floats = NDArray[np.floating[Any]]


class IntegrativeNmfParams(NonnegativeParams, BatchParams):
    """Parameters of the integrative non-negative factorisation."""

    n_factors: int = param(15, "Factors", "Number of factors.", ge=2, le=200)
    penalty: float = param(
        5.0,
        "Penalty of own parts (lambda)",
        "Cost of what a data set has of its own: large values push everything into the shared "
        "factors.",
        log=True, gt=0.0, le=1e4,
    )  # fmt: skip
    steps: int = param(
        2, "Smoothing steps", "Diffusion steps of the factors on the spatial graph after the fit.",
        ge=0, le=50,
    )  # fmt: skip
    quantiles: bool = param(
        True,
        "Match quantiles",
        "With several sections: give the factors the same distribution in each of them, among "
        "spots with the same strongest factor.",
        advanced=True,
    )
    own_factors: bool = param(
        False,
        "Add own factors",
        "With one section: append what each modality has of its own to the shared factors.",
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
class _Made:
    """Values over the spots and what they are made of."""

    values: Floats
    blocks: Sequence[Floats]
    loadings: Sequence[Floats]
    fit: Integration
    own_share: dict[str, float]


@method(
    task="fusion",
    name="integrative-nmf",
    title="Integrative NMF",
    summary="Non-negative factors that are shared, beside a part that each data set has of its "
    "own. Several sections are data sets with the same features; in one section the modalities "
    "are data sets with the same spots.",
    params=IntegrativeNmfParams,
    inputs=FusionInputs,
    result=Embedding,
    reference="Yang and Michailidis 2016, Bioinformatics 32:1; Welch et al. 2019, Cell 177:1873",
)
def fuse_integrative_nmf(
    inputs: FusionInputs, params: IntegrativeNmfParams, ctx: JobContext
) -> Embedding:
    """Fuse by integrative non-negative matrix factorisation.

    Raises
    ------
    UserError
        If a modality holds negative values, there are fewer spots than factors, or a
        single modality of a single section is given.
    """
    tables, graph = tables_of(inputs, params, ctx.part(0.0, 0.2))
    if params.n_factors >= inputs.n:
        raise UserError(
            f"{inputs.n} spots are too few for {params.n_factors} factors.",
            "Ask for fewer factors than spots.",
        )
    if len(inputs.sections) == 1 and len(tables) == 1:
        raise UserError(
            "There is one modality of one section: nothing to tell shared from own parts by.",
            "Add a modality or a section, or use the joint NMF.",
        )
    with limited_threads(1):
        part = ctx.part(0.2, 0.95)
        if len(inputs.sections) > 1:
            made = _over_sections(inputs, tables, params, part)
        else:
            made = _over_modalities(inputs, tables, params, part)
    if not made.fit.converged:
        ctx.warn(f"The factors had not settled after {params.iterations} iterations.")
    step = walk(graph)
    ctx.step(0.97, "Comparing the modalities")
    return finish(
        inputs,
        diffuse(step, made.values.astype(np.float32), params.steps),
        [table.name for table in tables],
        [diffuse(step, block.astype(np.float32), params.steps) for block in made.blocks],
        _present(inputs.n, tables),
        loadings={
            t.name: Loadings(t.features, h.astype(np.float32))
            for t, h in zip(tables, made.loadings, strict=True)
        },
        ctx=ctx,
        batch=params.batch,
        seed=params.seed,
        objective=made.fit.objective,
        converged=made.fit.converged,
        settings={
            "factors": params.n_factors,
            "error": round(made.fit.objective[-1], 6),
            "own_share": {name: round(share, 4) for name, share in made.own_share.items()},
        },
    )


def _present(n: int, tables: tuple[Table, ...]) -> NDArray[np.bool_]:
    present = np.zeros((n, len(tables)), bool)
    for i, table in enumerate(tables):
        present[table.rows, i] = True
    return present


def _over_sections(
    inputs: FusionInputs, tables: tuple[Table, ...], params: IntegrativeNmfParams, ctx: JobContext
) -> _Made:
    """Sections as data sets: ``E_i = H_i (W + V_i)`` with the features' ``W`` shared."""
    present = _present(inputs.n, tables)
    cells: Cells = {}
    groups: list[NDArray[np.intp]] = []
    sets: list[int] = []
    at = [np.full(inputs.n, -1) for _ in tables]
    for m, table in enumerate(tables):
        at[m][table.rows] = np.arange(len(table.rows))
    for section in range(len(inputs.sections)):
        here = np.flatnonzero(inputs.of == section)
        for kind, spots in patterns(present[here]):
            for k in np.flatnonzero(kind).tolist():
                cells[len(groups), k] = tables[k].x[at[k][here[spots]]]
            groups.append(here[spots])
            sets.append(section)
    fit = integrate(
        cells, tuple(sets), params.n_factors, params.penalty, params.iterations,
        params.tolerance, params.seed, ctx,
    )  # fmt: skip
    raw = np.zeros((inputs.n, params.n_factors))
    for rows, h in zip(groups, fit.factors, strict=True):
        raw[rows] = h
    scale = np.sqrt((raw**2).mean(axis=0))
    scale[scale == 0] = 1.0
    values = raw / scale
    if params.quantiles:
        values = match_quantiles(values, inputs.of)
    loadings = [fit.shared[m] * scale[:, None] for m in range(len(tables))]
    blocks = []
    for table, h in zip(tables, loadings, strict=True):
        block = np.zeros((inputs.n, params.n_factors))
        block[table.rows] = table.x @ h.T
        blocks.append(block)
    share = {name: fit.own_share(i) for i, name in enumerate(inputs.sections)}
    return _Made(values, blocks, loadings, fit, share)


def _over_modalities(
    inputs: FusionInputs, tables: tuple[Table, ...], params: IntegrativeNmfParams, ctx: JobContext
) -> _Made:
    """Modalities as data sets: ``X_m = (W + V_m) H_m`` with the spots' ``W`` shared.

    This is the same problem turned round, features for spots.
    """
    groups = patterns(_present(inputs.n, tables))
    cells: Cells = {}
    for m, table in enumerate(tables):
        at = np.full(inputs.n, -1)
        at[table.rows] = np.arange(len(table.rows))
        turned = table.x.T.tocsr() if hasattr(table.x, "tocsr") else table.x.T
        for g, (kind, spots) in enumerate(groups):
            if kind[m]:
                cells[m, g] = turned[:, at[spots]]
    fit = integrate(
        cells, tuple(range(len(tables))), params.n_factors, params.penalty, params.iterations,
        params.tolerance, params.seed, ctx,
    )  # fmt: skip
    shared = np.zeros((inputs.n, params.n_factors))
    own = [np.zeros((inputs.n, params.n_factors)) for _ in tables]
    for g, (kind, spots) in enumerate(groups):
        shared[spots] = fit.shared[g].T
        for k in np.flatnonzero(kind).tolist():
            own[k][spots] = fit.own[k, g].T
    scale = np.sqrt((shared**2).mean(axis=0))
    scale[scale == 0] = 1.0
    values = np.hstack([shared, *own]) if params.own_factors else shared
    values = values / (np.tile(scale, len(tables) + 1) if params.own_factors else scale)
    loadings = [h.T * scale[:, None] for h in fit.factors]
    blocks = [(shared + part) / scale for part in own]
    share = {table.name: fit.own_share(m) for m, table in enumerate(tables)}
    return _Made(values, blocks, loadings, fit, share)
