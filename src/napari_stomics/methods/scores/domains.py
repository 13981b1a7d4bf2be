"""Everything that says how good domains are: against an annotation, in space, in the embedding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import Block
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import Params, param
from napari_stomics.core.registry import method
from napari_stomics.core.scores import Score, ScoreInputs, ScoreTable
from napari_stomics.methods.preprocess import most_variable, normalise_as, principal_components
from napari_stomics.metrics.clustering import (
    adjusted_mutual_information,
    adjusted_rand_index,
    contingency,
    homogeneity_completeness,
    labelled,
    match_labels,
    natural_order,
    normalised_mutual_information,
    silhouette,
)
from napari_stomics.metrics.fusion import fusion_gain, neighbourhood_preservation
from napari_stomics.metrics.spatial import (
    autocorrelation,
    chaos,
    domain_indicators,
    isolated_spots,
    neighbour_graph,
)

Floats = NDArray[np.floating[Any]]


class DomainScoreParams(Params):
    """Parameters of the scores of domains."""

    pas_neighbours: int = param(
        10,
        "Neighbours for PAS",
        "A spot is abnormal where more than half of so many nearest spots are in another domain.",
        ge=1,
        le=200,
    )
    graph_neighbours: int = param(
        6,
        "Neighbours for Moran and Geary",
        "Nearest spots that the graph of the autocorrelation joins.",
        ge=1,
        le=100,
    )
    preservation_neighbours: int = param(
        50,
        "Neighbours for preservation",
        "Nearest spots in the embedding and in each modality that are compared.",
        ge=1,
        le=1000,
    )
    n_features: int = param(
        2000,
        "Features of a modality",
        "Features of highest variance whose components stand for the modality.",
        advanced=True,
        ge=2,
        le=50_000,
    )
    n_components: int = param(
        30,
        "Components of a modality",
        "Principal components that stand for the modality; an embedding or an image is taken "
        "as it is where it has no more.",
        advanced=True,
        ge=1,
        le=200,
    )
    cap: int = param(
        5000,
        "Spots at most",
        "Silhouette and preservation are measured on so many spots, chosen at random.",
        advanced=True,
        ge=50,
        le=100_000,
    )
    seed: int = param(0, "Seed", "Seed of that choice.", advanced=True, ge=0)


@method(
    task="scores",
    name="domains",
    title="Scores of domains",
    summary="Judges domains, or an annotation, against another annotation, by their coherence "
    "in space, and by the embedding and modalities that they come from. Every score says its "
    "space and protocol.",
    params=DomainScoreParams,
    inputs=ScoreInputs,
    result=ScoreTable,
    reference="Hubert and Arabie 1985, J Classif 2:193; Shang and Zhou 2022, Nat Commun 13:7203; "
    "Yuan et al. 2024, Nat Methods 21:712 (SDMBench)",
)
def score_domains(inputs: ScoreInputs, params: DomainScoreParams, ctx: JobContext) -> ScoreTable:
    """Measure all scores that the inputs allow.

    Raises
    ------
    UserError
        If no spot has a label.
    """
    known = labelled(inputs.labels)
    if not known.any():
        raise UserError(
            f"No spot has a label in {inputs.label_name!r}.",
            "Choose a domains result or an annotation of this section.",
        )
    names, counts = np.unique(inputs.labels[known], return_counts=True)
    order = natural_order(names)
    names, counts = names[order], counts[order]
    ctx.step(0.0, "Agreement with the annotation")
    rows = list(_agreement(inputs))
    ctx.step(0.1, "Coherence in space")
    isolated = isolated_spots(
        inputs.coordinates, inputs.labels, params.pas_neighbours, of=inputs.of
    )
    rows += _coherence(inputs, params, isolated)
    if inputs.embedding is not None:
        ctx.step(0.4, "The embedding")
        rows += _embedding_scores(inputs, inputs.embedding, params)
        for i, block in enumerate(inputs.blocks):
            ctx.step(0.5 + 0.5 * i / len(inputs.blocks), f"Neighbourhoods of {block.name}")
            rows.append(_preservation(inputs, inputs.embedding, block, params))
    rows += _gain(inputs)
    table = None if inputs.truth is None else contingency(inputs.truth, inputs.labels)
    matches = {} if inputs.truth is None else match_labels(inputs.truth, inputs.labels)
    columns = [] if table is None else [list(map(str, names)).index(c) for c in table.columns]
    full = np.zeros((0 if table is None else len(table.rows), len(names)), np.intp)
    if table is not None:
        full[:, columns] = table.counts
    return ScoreTable(
        section=inputs.sections[0],
        ids=inputs.ids,
        label_name=inputs.label_name,
        truth_name=inputs.truth_name if inputs.truth is not None else "",
        rows=tuple(rows),
        names=tuple(map(str, names)),
        sizes=np.asarray(counts, np.intp),
        truth_names=() if table is None else table.rows,
        counts=full,
        matches={str(name): str(match) for name, match in matches.items()},
        isolated=isolated,
        sections=inputs.sections,
        of=inputs.of,
    )


def _agreement(inputs: ScoreInputs) -> Iterator[Score]:
    if inputs.truth is None:
        return
    both = labelled(inputs.truth) & labelled(inputs.labels)
    # Numbers: each score would sort the names anew.
    truth, labels = (_numbered(names[both]) for names in (inputs.truth, inputs.labels))
    ours, theirs = len(np.unique(labels)), len(np.unique(truth))
    where = (
        f"scikit-learn; {int(both.sum())} spots with a label in both; "
        f"{ours} domains against {theirs} in {inputs.truth_name!r}"
    )
    entropies = homogeneity_completeness(truth, labels)
    found: tuple[tuple[str, str, float, str], ...] = (
        ("ari", "ARI, adjusted Rand index", adjusted_rand_index(truth, labels), ""),
        (
            "nmi",
            "NMI, normalised mutual information",
            normalised_mutual_information(truth, labels),
            "arithmetic mean of the entropies; ",
        ),
        (
            "ami",
            "AMI, adjusted mutual information",
            adjusted_mutual_information(truth, labels),
            "arithmetic mean of the entropies; ",
        ),
        ("homogeneity", "Homogeneity", entropies.homogeneity, ""),
        ("completeness", "Completeness", entropies.completeness, ""),
        ("v_measure", "V measure", entropies.v_measure, "homogeneity and completeness alike; "),
    )
    for name, title, value, note in found:
        yield Score(name, title, value, "higher", "annotation", f"{note}{where}.")


def _coherence(inputs: ScoreInputs, params: DomainScoreParams, isolated: Floats) -> list[Score]:
    """Scores of the partition on the tissue."""
    xy, labels, k = inputs.coordinates, inputs.labels, params.pas_neighbours
    near = params.graph_neighbours
    known = np.isfinite(isolated)
    pas = float(isolated[known].mean()) if known.any() else float("nan")
    graph = neighbour_graph(xy, near, inputs.of)
    _, indicators = domain_indicators(labels)
    spatial = autocorrelation(graph, indicators)
    weights = indicators.sum(axis=0)
    own = f"{near} nearest spots of the same section, joined both ways, rows standardised"
    several = len(inputs.sections) > 1
    return [
        Score(
            "pas", "PAS, abnormal spots", pas, "lower", "coordinates",
            f"Share of labelled spots with more than half of {k} nearest in another domain.",
        ),
        Score(
            "chaos", "CHAOS", chaos(xy, labels, inputs.of), "lower", "coordinates",
            "Sum of distances to the nearest spot of the same domain, domains of more than two "
            "spots, over all labelled spots; each axis z-scored"
            + (" per section." if several else "."),
        ),
        Score(
            "silhouette_coordinates", "Silhouette",
            _tissue_silhouette(inputs, params), "higher", "coordinates",
            f"scikit-learn, Euclidean; {_capped(params)}"
            + ("; mean of the sections by their spots." if several else "."),
        ),
        Score(
            "morans_i_domains", "Moran's I, domains",
            _weighted(spatial.morans_i, weights), "higher", "coordinates",
            f"Mean over domains, by size, of the I of their 0/1 indicators; {own}.",
        ),
        Score(
            "geary_likeness_domains", "1 - Geary's C, domains",
            _weighted(spatial.likeness, weights), "higher", "coordinates",
            f"Mean over domains, by size, of 1 - C of their 0/1 indicators; {own}.",
        ),
    ]  # fmt: skip


def _embedding_scores(
    inputs: ScoreInputs, embedding: Floats, params: DomainScoreParams
) -> list[Score]:
    name = inputs.embedding_name
    fine = np.isfinite(embedding).all(axis=1)
    graph = neighbour_graph(inputs.coordinates[fine], params.graph_neighbours, inputs.of[fine])
    spatial = autocorrelation(graph, embedding[fine])
    shown = f"Median over {embedding.shape[1]} components; {params.graph_neighbours} nearest spots"
    return [
        Score(
            "silhouette_embedding", "Silhouette",
            silhouette(embedding, inputs.labels, cap=params.cap, seed=params.seed),
            "higher", name, f"scikit-learn, Euclidean; {_capped(params)}.",
        ),
        Score(
            "morans_i_embedding", "Moran's I, components",
            _median(spatial.morans_i), "higher", name, f"{shown}, rows standardised.",
        ),
        Score(
            "geary_likeness_embedding", "1 - Geary's C, components",
            _median(spatial.likeness), "higher", name, f"{shown}, rows standardised.",
        ),
    ]  # fmt: skip


def _preservation(
    inputs: ScoreInputs, embedding: Floats, block: Block, params: DomainScoreParams
) -> Score:
    space, how = _modality_space(block, params)
    other = np.full((len(inputs.ids), space.shape[1]), np.nan)
    other[block.rows] = space
    k = params.preservation_neighbours
    value = neighbourhood_preservation(
        embedding, other, k, of=inputs.of, cap=params.cap, seed=params.seed
    )
    return Score(
        f"preservation_{block.name}",
        f"{block.name} neighbours kept",
        value,
        "higher",
        inputs.embedding_name,
        f"Mean Jaccard index of the {k} nearest spots in the embedding and in {how}; within "
        f"sections; {_capped(params)}.",
    )


def _modality_space(block: Block, params: DomainScoreParams) -> tuple[Floats, str]:
    """(m, d) coordinates that stand for a modality, and what they are."""
    if block.kind in ("embedding", "image") and block.x.shape[1] <= params.n_components:
        x = np.asarray(normalise_as(block.kind, block.x), np.float64)
        return x, f"its {x.shape[1]} z-scored columns"
    x = normalise_as(block.kind, block.x)
    chosen = np.sort(most_variable(x, params.n_features))
    scores, _ = principal_components(x[:, chosen], params.n_components, params.seed)
    return np.asarray(scores, np.float64), (
        f"{scores.shape[1]} principal components of its {len(chosen)} most variable features"
    )


def _gain(inputs: ScoreInputs) -> list[Score]:
    if inputs.truth is None or not inputs.singles:
        return []
    truth = inputs.truth
    alone = {name: adjusted_rand_index(truth, labels) for name, labels in inputs.singles.items()}
    value = fusion_gain(adjusted_rand_index(truth, inputs.labels), alone.values())
    told = ", ".join(f"{name} {ari:.3f}" for name, ari in alone.items())
    return [
        Score(
            "fusion_gain",
            "Fusion gain in ARI",
            value,
            "higher",
            "annotation",
            f"ARI of {inputs.label_name!r} less the best of the single modalities ({told}); "
            "above -0.02 fusing did no harm.",
        )
    ]


def _numbered(names: NDArray[Any]) -> NDArray[np.intp]:
    number = {name: i for i, name in enumerate(dict.fromkeys(names.tolist()))}
    return np.array([number[name] for name in names.tolist()], np.intp)


def _tissue_silhouette(inputs: ScoreInputs, params: DomainScoreParams) -> float:
    """Silhouette on coordinates, section by section: their frames do not compare."""
    values, weights = [], []
    for i in range(len(inputs.sections)):
        here = inputs.of == i
        labels = inputs.labels[here]
        values.append(
            silhouette(inputs.coordinates[here], labels, cap=params.cap, seed=params.seed)
        )
        weights.append(float(labelled(labels).sum()))
    return _weighted(np.array(values), np.array(weights))


def _capped(params: DomainScoreParams) -> str:
    return f"at most {params.cap} spots, seed {params.seed}"


def _weighted(values: Floats, weights: Floats) -> float:
    fine = np.isfinite(values)
    return float(np.average(values[fine], weights=weights[fine])) if fine.any() else float("nan")


def _median(values: Floats) -> float:
    fine = np.isfinite(values)
    return float(np.median(values[fine])) if fine.any() else float("nan")
