"""How well a plan carries the expression of features that had no part in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.inputs import Spots
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.plans import TransportPlan
from napari_stomics.core.quality import QualityFigure, QualityInputs
from napari_stomics.methods.preprocess import most_variable, normalise
from napari_stomics.metrics.alignment_quality import carried_correlation, partners_mean
from napari_stomics.metrics.prediction import pearson_per_column

_FOUND_IN = 0.02
"""Share of the spots of each section in which a feature must be found to judge."""
_FEWEST = 5


@dataclass(frozen=True)
class Expression:
    """What the judging features say.

    Attributes
    ----------
    figures
        Mean correlation with its null, or nothing where no feature is left to judge.
    genes
        Names of the judging features.
    per_gene
        (g,) correlation of each with the mean of the partners.
    per_spot
        (n,) correlation over the judging features of each source spot with the
        mean of its partners; NaN without partners.
    """

    figures: list[QualityFigure]
    genes: NDArray[Any]
    per_gene: NDArray[np.floating[Any]]
    per_spot: NDArray[np.floating[Any]]


def judge_expression(
    inputs: QualityInputs,
    pose_plan: Any,
    blocks: NDArray[np.intp],
    n_genes: int,
    permutations: int,
    seed: int,
    ctx: JobContext,
) -> Expression:
    """Correlate unseen features with the mean of each spot's partners.

    Parameters
    ----------
    inputs
        The plan and the spots.
    pose_plan
        The pose's own coupling, with as many partners per spot as the plan has.
    blocks
        (n,) block of each source spot for the null.
    n_genes, permutations, seed
        As in the parameters of the judgement.
    ctx
        Progress and cancellation.
    """
    none = Expression([], np.zeros(0, object), np.zeros(0), np.full(len(inputs.source.ids), np.nan))
    left, right, names = unseen_features(inputs.plan, inputs.source, inputs.target)
    if len(names) < _FEWEST:
        return none
    a, b = (_scaled(s)[:, c] for s, c in ((inputs.source, left), (inputs.target, right)))
    chosen = most_variable(a, n_genes)
    a, b, names = a[:, chosen], b[:, chosen], names[chosen]
    ctx.step(0.2, f"{len(names)} features that the plan has not seen")
    plan = inputs.plan.plan
    observed, null = carried_correlation(plan, a, b, blocks, permutations, seed)
    ctx.step(0.7, "The same features under the pose alone")
    baseline, _ = carried_correlation(pose_plan, a, b, blocks, 0, seed)
    used = np.isfinite(observed)
    if used.sum() < _FEWEST:
        return none
    drawn = np.nanmean(null[:, used], axis=1)
    figure = QualityFigure(
        "gene_correlation", "Correlation of unseen features", float(observed[used].mean()),
        better="higher", baseline=float(np.nanmean(baseline[used])), chance=float(drawn.mean()),
        chance_sd=float(drawn.std()),
        noise=float(observed[used].std() / np.sqrt(used.sum())),
        meaning="Correlation of what was measured at a spot with the mean of its partners, over "
        "features that had no part in the alignment.",
        protocol=f"Mean Pearson correlation over the {int(used.sum())} most variable of the "
        f"{len(left)} shared features that the plan has not seen. Chance: the same after "
        "exchanging partners between spots of a block, that is, with the coarse place alone. "
        "Beside it: the linear pose alone, averaged over as many nearest spots as the plan has "
        "partners. Noise: over features, which are taken as independent.",
    )  # fmt: skip
    return Expression(
        [figure], names[used], observed[used], _per_spot(plan, a[:, used], b[:, used])
    )


def unseen_features(
    plan: TransportPlan, source: Spots, target: Spots
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[Any]]:
    """Shared features that had no part in the plan and are found often enough.

    Without a record of what the plan has seen nothing counts as unseen.

    Returns
    -------
    left, right
        Columns in the source and in the target.
    names
        Their names.
    """
    seen = {str(name) for name in plan.features}
    at = {str(name): i for i, name in enumerate(target.features)}
    if not seen:
        at = {}
    pairs = [
        (i, at[str(name)])
        for i, name in enumerate(source.features)
        if str(name) in at and str(name) not in seen
    ]
    columns = np.array(pairs, np.intp).reshape(-1, 2)
    found = [
        np.asarray((spots.x[:, column] != 0).mean(axis=0)).ravel() >= _FOUND_IN
        for spots, column in zip((source, target), columns.T, strict=True)
    ]
    columns = columns[found[0] & found[1]]
    return columns[:, 0], columns[:, 1], source.features[columns[:, 0]]


def _scaled(spots: Spots) -> Any:
    x = normalise(spots)
    return x.tocsc() if hasattr(x, "tocsc") else x


def _per_spot(plan: Any, a: Any, b: Any) -> NDArray[np.floating[Any]]:
    """(n,) correlation of each spot with its partners over the features, as z-scores."""
    measured = _z(np.asarray(a.toarray() if hasattr(a, "toarray") else a, np.float32))
    there = _z(np.asarray(b.toarray() if hasattr(b, "toarray") else b, np.float32))
    carried = partners_mean(plan, there)
    out = np.full(len(measured), np.nan)
    known = np.isfinite(carried).all(axis=1)
    out[known] = pearson_per_column(measured[known].T, carried[known].T)
    return out


def _z(x: NDArray[Any]) -> NDArray[Any]:
    sd = x.std(axis=0)
    return (x - x.mean(axis=0)) / np.where(sd > 0, sd, 1.0)
