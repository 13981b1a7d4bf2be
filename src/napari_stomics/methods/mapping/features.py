"""What it costs to put a cell on a spot: their expression, compared over shared genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import Cells, Spots
from napari_stomics.methods.preprocess import (
    centred_log_ratio,
    log_normalise,
    principal_components,
    tf_idf,
    unit_rows,
    z_scores,
)

Floats = NDArray[np.floating[Any]]
Metric = Literal["correlation", "cosine", "euclidean"]
Choice = Literal["variable", "markers", "all"]

LEAST_SHARED = 2
_FEW_FEATURES = 50


@dataclass(frozen=True)
class Shared:
    """The genes that cells and spots have in common, on the log scale.

    Attributes
    ----------
    cells, spots
        (n, g), (m, g) log-normalised expression.
    names
        (g,) their names.
    """

    cells: Floats
    spots: Floats
    names: NDArray[Any]

    def take(self, columns: NDArray[np.intp]) -> Shared:
        """Return these genes alone."""
        return Shared(self.cells[:, columns], self.spots[:, columns], self.names[columns])


def shared_genes(cells: Cells, space: Spots) -> Shared:
    """Genes in both, normalised over all genes of each table.

    The sum of a few marker genes is no measure of a spot's depth: tables of
    fewer than 50 features are taken as they are, on the log scale.

    Raises
    ------
    UserError
        If they share fewer than two, or a cell or a spot has no counts at all.
    """
    at = {name: i for i, name in enumerate(space.features)}
    pairs = [(i, at[name]) for i, name in enumerate(cells.features) if name in at]
    if len(pairs) < LEAST_SHARED:
        raise UserError(
            f"The cells of {cells.name!r} and section {space.section!r} share {len(pairs)} "
            f"features ({cells.modality} and {space.modality}).",
            "Use the same kind of names (symbols or Ensembl ids) in both tables.",
        )
    left, right = np.array(pairs).T
    both = (f"cells of {cells.name!r}", cells.x), (f"spots of {space.section!r}", space.x)
    for what, x in both:
        total = np.asarray(x.sum(axis=1), float).ravel()
        if not np.isfinite(total).all():
            raise UserError(f"Some {what} hold values that are not numbers.", "Remove them first.")
    return Shared(
        _on_log_scale(cells.x)[:, left],
        _on_log_scale(space.x)[:, right],
        np.asarray(cells.features)[left],
    )


def _on_log_scale(x: Any) -> Floats:
    return np.log1p(dense(x)) if x.shape[1] < _FEW_FEATURES else dense(log_normalise(x))


def choose_genes(
    shared: Shared, labels: NDArray[Any] | None, choice: Choice, count: int
) -> NDArray[np.intp]:
    """Columns to compare, the most telling first.

    Parameters
    ----------
    shared
        The genes in common.
    labels
        (n,) labels of the cells, ``""`` where there is none.
    choice
        ``variable``: highest product of the two standard deviations' ranks;
        ``markers``: highest share of the cells' variance between labels, and
        variable in space; ``all``.
    count
        How many.
    """
    sd_cells, sd_spots = shared.cells.std(axis=0), shared.spots.std(axis=0)
    varies = (sd_cells > 0) & (sd_spots > 0)
    if varies.sum() < LEAST_SHARED:
        raise UserError(
            "Hardly any shared gene varies among both cells and spots.",
            "Check that both tables hold counts.",
        )
    if choice == "all":
        return np.flatnonzero(varies)
    score = _ranks(sd_cells) * _ranks(sd_spots)
    if choice == "markers":
        if labels is None or len(set(labels) - {""}) < 2:
            raise UserError(
                "Marker genes need labels of the cells.",
                "Choose a column of labels for the reference, or take the variable genes.",
            )
        score = _ranks(_between(shared.cells, labels)) * _ranks(sd_spots)
    score = np.where(varies, score, -1.0)
    return np.sort(np.argsort(-score, kind="stable")[: min(count, int(varies.sum()))])


def feature_cost(
    shared: Shared, metric: Metric, *, standardise: bool, components: int, seed: int
) -> Floats:
    """(n, m) float32 cost with mean 1.

    Parameters
    ----------
    shared
        The genes to compare.
    metric
        ``correlation`` and ``cosine``: one minus it; ``euclidean``: the squared distance.
    standardise
        Bring each gene to mean 0 and variance 1 within the cells and within the
        spots, so that a gene's efficiency in the two techniques does not count.
    components
        Compare this many joint principal components instead of genes; 0: genes.
    """
    a, b = shared.cells, shared.spots
    nothing = [~x.any(axis=1) for x in (a, b)]
    if standardise:
        a, b = z_scores(a), z_scores(b)
    if components and components < min(a.shape[1], len(a) + len(b)) - 1:
        scores, _ = principal_components(np.vstack([a, b]), components, seed)
        a, b = scores[: len(a)], scores[len(a) :]
    if metric == "euclidean":
        cost = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None, :] - 2 * a @ b.T
    else:
        cost = 1 - (
            correlations(a, b) if metric == "correlation" else unit_rows(a) @ unit_rows(b).T
        )
    cost = np.maximum(np.asarray(cost, np.float32), 0)
    cost /= max(float(cost.mean()), 1e-12)
    # Nothing measured is alike to nothing: such rows tell no place.
    cost[nothing[0]] = 1
    cost[:, nothing[1]] = 1
    return cost


def label_penalty(cells: Cells, space: Spots) -> Floats:
    """(n, m) float32: 1 where the cell's label is known not to be the spot's, else 0.

    Raises
    ------
    UserError
        If cells and spots have no label in common.
    """
    if cells.labels is None or space.labels is None:
        raise UserError(
            "A weight is set on equal labels, but the cells or the spots have none.",
            "Choose the column of labels of the reference, and annotate the section.",
        )
    names = (set(cells.labels) & set(space.labels)) - {""}
    if not names:
        raise UserError(
            f"No label of {cells.name!r} is a label of section {space.section!r}.",
            "Set the weight of the labels to 0, or use the same names in both.",
        )
    code = {name: i for i, name in enumerate(sorted(names))}
    a = np.array([code.get(name, -1) for name in cells.labels])
    b = np.array([code.get(name, -1) for name in space.labels])
    known = (a >= 0)[:, None] & (b >= 0)[None, :]
    return (known & (a[:, None] != b[None, :])).astype(np.float32)


def cell_space(cells: Cells, components: int, seed: int) -> Floats:
    """(n, k) principal components of the cells' features, normalised as their modality asks."""
    if cells.modality == "chromatin":
        x: Any = tf_idf(cells.x)
    elif cells.modality == "protein":
        x = centred_log_ratio(cells.x)
    else:
        x = log_normalise(cells.x)
    return principal_components(x, components, seed)[0]


def correlations(a: Floats, b: Floats) -> Floats:
    """(n, m) Pearson correlation of the rows of a and b; 0 where one is constant."""
    a, b = (unit_rows(x - x.mean(axis=1, keepdims=True)) for x in (a, b))
    return np.asarray(a @ b.T)


def dense(x: Any) -> Floats:
    """A matrix as a float32 array."""
    return np.asarray(x.todense() if hasattr(x, "todense") else x, np.float32)


def _ranks(values: Floats) -> Floats:
    """Ranks in [0, 1]."""
    order = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return order / max(len(values) - 1, 1)


def _between(x: Floats, labels: NDArray[Any]) -> Floats:
    """(g,) share of each gene's variance that lies between labels."""
    known = labels != ""
    x, names = x[known], labels[known]
    mean, total = x.mean(axis=0), x.var(axis=0)
    share = np.zeros(x.shape[1])
    for name in np.unique(names.astype(str)):
        part = x[names == name]
        share += len(part) / len(x) * np.square(part.mean(axis=0) - mean)
    return np.asarray(share / np.where(total > 0, total, 1))
