"""Markers of domains: features ranked by a test of each domain against all other spots."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import Block
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.markers import DomainMarkers, MarkerInputs, Markers
from napari_stomics.core.params import Params, param
from napari_stomics.core.registry import method
from napari_stomics.methods.preprocess import normalise_as
from napari_stomics.metrics.clustering import natural_order
from napari_stomics.metrics.spatial import Autocorrelation, autocorrelation, neighbour_graph

Floats = NDArray[np.floating[Any]]

_LEAST = 3
"""Spots that a domain needs for a test."""

_COUNTS = ("counts to the median total, log1p", "log2 fold change")
_WORDS = {
    "protein": ("centred log-ratio", "difference of mean centred log-ratios"),
    "chromatin": ("TF-IDF", "difference of mean TF-IDF"),
    "image": ("z scores", "difference in standard deviations"),
    "embedding": ("z scores", "difference in standard deviations"),
}
"""Scale and effect of the kinds that are not counts."""


class DomainMarkerParams(Params):
    """Parameters of the markers."""

    test: Literal["t-test_overestim_var", "wilcoxon"] = param(
        "t-test_overestim_var",
        "Test",
        "Welch's t test with the variance of the others overestimated (fast), or Wilcoxon's "
        "rank sum with ties corrected (no assumption about the distribution, slower).",
    )
    n_markers: int = param(
        50, "Markers per domain", "How many of the highest scores are kept.", ge=1, le=5000
    )
    neighbours: int = param(
        6,
        "Neighbours for Moran and Geary",
        "Nearest spots that the graph of the autocorrelation joins.",
        advanced=True,
        ge=1,
        le=100,
    )


@method(
    task="markers",
    name="domains",
    title="Markers of domains",
    summary="Ranks the genes, proteins or other features of each domain against all other "
    "spots, with effect, adjusted p value and spatial autocorrelation.",
    params=DomainMarkerParams,
    inputs=MarkerInputs,
    result=Markers,
    reference="Wolf et al. 2018, Genome Biol 19:15 (scanpy); Benjamini and Hochberg 1995, "
    "J R Stat Soc B 57:289",
)
def find_markers(inputs: MarkerInputs, params: DomainMarkerParams, ctx: JobContext) -> Markers:
    """Rank the features of each domain.

    Raises
    ------
    UserError
        If fewer than two domains have enough spots with the modality.
    """
    block = inputs.block
    labels = np.asarray(inputs.labels, object)[block.rows]
    domains = _tested(labels, inputs.label_name, block.name, ctx)
    ctx.step(0.05, f"Normalising {block.name}")
    _check(block)
    x = normalise_as(block.kind, block.x)
    used = np.flatnonzero(labels != "")
    ctx.step(0.2, "Testing every feature")
    ranked = {
        d: r.head(params.n_markers) for d, r in _ranked(x[used], labels[used], domains, params)
    }
    ctx.step(0.7, "Spatial autocorrelation")
    columns = np.unique(np.concatenate([found.columns for found in ranked.values()]))
    kept = x[:, columns]
    spatial = _autocorrelation(inputs, kept, params.neighbours)
    tables = []
    for i, (domain, found) in enumerate(ranked.items()):
        ctx.step(0.8 + 0.2 * i / len(domains), f"Markers of {domain}")
        here = np.searchsorted(columns, found.columns)
        inside = labels[used] == domain
        tables.append(
            DomainMarkers(
                domain=domain,
                spots=int(inside.sum()),
                features=np.asarray(block.features, object)[found.columns],
                effect=_effect(kept[used][:, here], inside, block.kind),
                score=found.score,
                p=found.p,
                p_adjusted=found.p_adjusted,
                morans_i=spatial.morans_i[here],
                gearys_c=spatial.gearys_c[here],
            )
        )
    if not len(columns):
        ctx.warn(f"No feature of {block.name} is higher in any domain: it may be constant.")
    return Markers(
        section=inputs.sections[0],
        modality=block.name,
        label_name=inputs.label_name,
        test=params.test,
        effect=_WORDS.get(block.kind, _COUNTS)[1],
        protocol=_protocol(inputs, params, len(used)),
        tables=tuple(tables),
        sections=inputs.sections,
    )


class _Ranking(NamedTuple):
    """Columns and their statistics, the highest score first."""

    columns: NDArray[np.intp]
    score: Floats
    p: Floats
    p_adjusted: Floats

    def head(self, count: int) -> _Ranking:
        return _Ranking(
            self.columns[:count], self.score[:count], self.p[:count], self.p_adjusted[:count]
        )


def _check(block: Block) -> None:
    """Refuse values that have no logarithm."""
    values = block.x.data if hasattr(block.x, "indptr") else np.asarray(block.x)
    if not np.isfinite(values).all():
        raise UserError(
            f"The table {block.name!r} holds values that are not numbers (NaN or infinite).",
            "Remove or fill them, and add the section again.",
        )
    if block.kind not in ("image", "embedding") and values.size and values.min() < 0:
        raise UserError(
            f"The table {block.name!r} holds negative values; counts or intensities are needed.",
            "Use the raw counts, or store the values as an embedding.",
        )


def _tested(labels: NDArray[Any], name: str, modality: str, ctx: JobContext) -> list[str]:
    """Domains with enough spots for a test."""
    names, counts = np.unique(labels[labels != ""], return_counts=True)
    order = natural_order(names)
    names, counts = names[order], counts[order]
    enough = [str(n) for n, c in zip(names, counts, strict=True) if c >= _LEAST]
    few = [str(n) for n, c in zip(names, counts, strict=True) if c < _LEAST]
    if len(enough) < 2:
        raise UserError(
            f"{name!r} has {len(enough)} domains of {_LEAST} or more spots with {modality!r}; "
            "two are needed.",
            "Choose labels with several domains, or a modality measured on more of their spots.",
        )
    if few:
        ctx.warn(f"Too few spots for a test: {', '.join(few)}. They count among the others only.")
    return enough


def _ranked(
    x: Any, labels: NDArray[Any], domains: list[str], params: DomainMarkerParams
) -> Iterator[tuple[str, _Ranking]]:
    """Columns that are higher in each domain."""
    import pandas as pd
    import scanpy as sc
    from anndata import AnnData
    from scipy import sparse

    given: Any = x
    matrix: Any = sparse.csr_matrix(given) if sparse.issparse(x) else np.asarray(x)
    table = AnnData(
        matrix,
        obs=pd.DataFrame(
            {"domain": pd.Categorical(list(map(str, labels)))},
            index=[f"s{i}" for i in range(matrix.shape[0])],
        ),
        # Numbers, as names need not be unique.
        var=pd.DataFrame(index=[str(i) for i in range(matrix.shape[1])]),
    )
    with warnings.catch_warnings():
        # Fold changes of scaled data are not taken from here, nor is how the table is laid out.
        warnings.simplefilter("ignore")
        sc.tl.rank_genes_groups(
            table,
            "domain",
            groups=domains,
            reference="rest",
            method=params.test,
            tie_correct=params.test == "wilcoxon",
            use_raw=False,
        )
    found = table.uns["rank_genes_groups"]
    for domain in domains:
        score = np.asarray(found["scores"][domain], np.float64)
        # A constant feature has no score; those that are not higher here are no markers of it.
        fine = np.isfinite(score) & (score > 0)
        columns = np.asarray(found["names"][domain], object)[fine].astype(np.intp)
        p = np.asarray(found["pvals"][domain], np.float64)[fine]
        adjusted = np.asarray(found["pvals_adj"][domain], np.float64)[fine]
        yield domain, _Ranking(columns, score[fine], p, adjusted)


def _effect(x: Any, inside: NDArray[np.bool_], kind: str) -> Floats:
    """(m,) log2 fold change of the spots inside to the others, or difference of their means.

    Of log1p values as scanpy has it, from the exponential of the mean logs; of
    values that are logarithms already, or z scores, the difference.
    """
    here = np.asarray(x[inside].mean(axis=0), np.float64).ravel()
    there = np.asarray(x[~inside].mean(axis=0), np.float64).ravel()
    if kind not in _WORDS:
        return np.asarray(np.log2((np.expm1(here) + 1e-9) / (np.expm1(there) + 1e-9)))
    return np.asarray(here - there)


def _autocorrelation(inputs: MarkerInputs, x: Any, neighbours: int) -> Autocorrelation:
    rows = inputs.block.rows
    graph = neighbour_graph(inputs.coordinates[rows], neighbours, inputs.of[rows])
    return autocorrelation(graph, x)


def _protocol(inputs: MarkerInputs, params: DomainMarkerParams, spots: int) -> str:
    block = inputs.block
    how = _WORDS.get(block.kind, _COUNTS)[0]
    return (
        f"scanpy rank_genes_groups, {params.test}, each domain against all other labelled spots "
        f"({spots}), Benjamini-Hochberg over {len(block.features)} features; {how}. The domains "
        f"may come from the same values: p values then rank, and are no proof. Moran's I and "
        f"Geary's C on {params.neighbours} nearest spots, rows standardised."
    )
