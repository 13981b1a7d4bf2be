"""Neighbourhood features: each spot's own values, its neighbours' mean, and their gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.fusion import Block, Embedding, FusionInputs, Loadings
from napari_stomics.core.jobs import JobContext, limited_threads
from napari_stomics.core.params import param
from napari_stomics.core.registry import method
from napari_stomics.methods.fusion.batch import BatchParams
from napari_stomics.methods.fusion.blocks import automatic_weights, fuse_prepared, read_weights
from napari_stomics.methods.fusion.components import Features
from napari_stomics.methods.fusion.features import features_of, image_block, measured
from napari_stomics.methods.fusion.preparation import (
    PreparationParams,
    cached_graph,
    prepare,
)
from napari_stomics.methods.fusion.result import finish

Floats = NDArray[np.floating[Any]]

_COLUMNS_AT_A_TIME = 200
_KEPT_ENTRIES = 150_000_000
_EXTRA = 10
_PASSES = 5
_COMPARED = 10


class NeighbourhoodParams(PreparationParams, BatchParams):
    """Parameters of the neighbourhood features."""

    mixing: float = param(
        0.8,
        "Weight of the neighbourhood (lambda)",
        "Share of the energy that comes from the neighbours: about 0.8 for domains, 0.2 for cell "
        "types, 0 for none.",
        step=0.05,
        ge=0.0,
        le=1.0,
    )
    n_near: int = param(
        15,
        "Neighbours averaged",
        "Spots whose values are averaged; the gradient takes twice as many.",
        ge=2,
        le=200,
    )
    gradient: bool = param(
        True,
        "With gradients",
        "Add the size of each feature's gradient round the spot (azimuthal Gabor filter).",
    )
    weights: str = param(
        "",
        "Weights",
        'Weight of each modality, for instance "rna=1, protein=0.5" (1 where none is given). '
        "Empty: from how far each modality varies along the tissue (Moran's I).",
    )
    n_output: int = param(
        20, "Components of the result", "Dimensions of the joint embedding.", ge=1, le=400
    )


@method(
    task="fusion",
    name="neighbourhood",
    title="Neighbourhood features",
    summary="Puts the mean and the gradient of each feature among a spot's neighbours beside its "
    "own value, takes components of each modality, and joins them.",
    params=NeighbourhoodParams,
    inputs=FusionInputs,
    result=Embedding,
    reference="Singhal et al. 2024, Nat Genet 56:431 (BANKSY)",
)
def fuse_neighbourhoods(
    inputs: FusionInputs, params: NeighbourhoodParams, ctx: JobContext
) -> Embedding:
    """Fuse by neighbourhood features.

    Raises
    ------
    UserError
        If the modalities cannot be prepared (:func:`~.preparation.prepare`) or the
        weights cannot be read.
    """
    prepared = prepare(inputs, params, ctx.part(0.0, 0.3))
    weights = read_weights(params.weights, prepared.names) or automatic_weights(prepared)
    blocks = [measured(block) for block in inputs.blocks]
    if any(spots is not None for spots in inputs.histology):
        blocks.append(image_block(inputs, ctx.part(0.3, 0.35)))
    scores: list[Floats] = []
    loadings: list[Loadings] = []
    with limited_threads(1):
        for i, block in enumerate(blocks):
            part = ctx.part(0.35 + 0.55 * i / len(blocks), 0.35 + 0.55 * (i + 1) / len(blocks))
            part.step(0.0, f"Neighbourhoods of {block.name}")
            made, names = _components(inputs, block, params, part)
            full = np.zeros((inputs.n, made[0].shape[1]), np.float32)
            full[block.rows] = made[0]
            scores.append(full)
            loadings.append(Loadings(names, made[1].astype(np.float32)))
        ctx.step(0.9, "Joining")
        fused = fuse_prepared(replace(prepared, scores=tuple(scores)), 0, weights, params.n_output)
        return finish(
            inputs,
            fused.values,
            prepared.names,
            [block[:, :_COMPARED] for block in fused.blocks],
            prepared.present,
            explained=fused.explained,
            weights=fused.weights,
            spot_weights=fused.spot_weights,
            loadings={
                name: Loadings(own.features, (turn @ own.values).astype(np.float32))
                for name, own, turn in zip(prepared.names, loadings, fused.loadings, strict=True)
            },
            batch=params.batch,
            seed=params.seed,
            settings={"neighbours": params.n_near, "lambda": params.mixing},
        )


def _components(
    inputs: FusionInputs, block: Block, params: NeighbourhoodParams, ctx: JobContext
) -> tuple[tuple[Floats, Floats], NDArray[Any]]:
    graph = cached_graph(inputs, params.neighbours)
    near = graph if len(block.rows) == inputs.n else graph[block.rows][:, block.rows]
    features = features_of(block, inputs.of[block.rows], near, params)
    around = neighbourhood_filters(
        inputs.coordinates[block.rows], features.of, params.n_near, params.gradient
    )
    wide = Augmented(features, around, params.mixing)
    names = [str(name) for name in features.names]
    parts = [names, [f"{name} (neighbours)" for name in names]]
    if around.real is not None:
        parts.append([f"{name} (gradient)" for name in names])
    count = min(params.n_components, min(len(block.rows), len(names)) - 1)
    made = augmented_components(wide, max(count, 1), params.seed, ctx)
    return made, np.array([name for part in parts for name in part], object)


@dataclass(frozen=True)
class Filters:
    """Linear filters round each spot.

    Attributes
    ----------
    mean
        (m, m) row-stochastic CSR array: the weighted mean of the neighbours.
    real, imaginary
        (m, m) CSR parts of the azimuthal filter, whose rows sum to 0; None without.
    """

    mean: Any
    real: Any = None
    imaginary: Any = None


def neighbourhood_filters(
    coordinates: Floats, of: NDArray[np.intp], k: int, gradient: bool = True
) -> Filters:
    """Build the filters of Singhal et al. 2024.

    Neighbours count by ``exp(-(d / median d)^2)``, the weights of a spot summing
    to 1. The azimuthal filter multiplies them by ``exp(i phi)``, phi being the
    direction of the neighbour, and is applied to the differences from the mean.

    Parameters
    ----------
    coordinates
        (m, 2) centres in micrometres, in each section's own frame.
    of
        (m,) section of each spot; neighbours lie in the same one.
    k
        Neighbours of the mean; twice as many of the azimuthal filter.
    """
    from scipy import sparse

    left, right, weight, _ = _weighted(coordinates, of, k)
    shape = (len(of), len(of))
    mean = sparse.csr_array((weight.astype(np.float32), (left, right)), shape=shape)
    if not gradient:
        return Filters(mean)
    left, right, weight, angle = _weighted(coordinates, of, 2 * k)
    wide = sparse.csr_array((weight, (left, right)), shape=shape)
    parts = []
    for turn in (np.cos(angle), np.sin(angle)):
        filtered = sparse.csr_array((weight * turn, (left, right)), shape=shape)
        sums: Any = np.asarray(filtered.sum(axis=1)).ravel()
        centred = filtered - sparse.diags_array(sums, format="csr") @ wide
        parts.append(sparse.csr_array(centred).astype(np.float32))
    return Filters(mean, *parts)


def _weighted(
    coordinates: Floats, of: NDArray[np.intp], k: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats, Floats]:
    """Pairs of spot and neighbour, the neighbour's weight and its direction in radians."""
    from scipy.spatial import cKDTree

    xy = np.asarray(coordinates, np.float64)
    lefts: list[NDArray[Any]] = []
    rights: list[NDArray[Any]] = []
    weights: list[Floats] = []
    for section in np.unique(of):
        rows = np.flatnonzero(of == section)
        near = min(k, len(rows) - 1)
        if near < 1:
            continue
        made: Any = cKDTree(xy[rows]).query(xy[rows], k=near + 1)
        distance, found = made
        left = np.repeat(np.arange(len(rows)), near + 1)
        # Spots at one place come in any order: a loop is told by its index, not by its column.
        other = left != found.ravel()
        left, right, distance = left[other], found.ravel()[other], distance.ravel()[other]
        width = float(np.median(distance)) or 1.0
        weight = np.exp(-((distance / width) ** 2))
        sums: Any = np.bincount(left, weight, minlength=len(rows))
        lefts.append(rows[left])
        rights.append(rows[right])
        weights.append(weight / np.maximum(sums, 1e-300)[left])
    left = np.concatenate([*lefts, []]).astype(np.intp)
    right = np.concatenate([*rights, []]).astype(np.intp)
    step = xy[right] - xy[left]
    return left, right, np.concatenate([*weights, []]), np.arctan2(step[:, 1], step[:, 0])


@dataclass(frozen=True)
class Augmented:
    """Own values, neighbours' means and gradients, made a few columns at a time.

    Attributes
    ----------
    features
        Features on m spots.
    filters
        Filters on these spots.
    mixing
        ``lambda``: the three parts weigh ``1 - l``, ``2 l / 3`` and ``l / 3``, or the first
        two ``1 - l`` and ``l`` without gradients, before the square root.
    """

    features: Features
    filters: Filters
    mixing: float

    @property
    def width(self) -> int:
        """Number of columns of all parts."""
        parts = 2 if self.filters.real is None else 3
        return parts * len(self.features.names)

    def chunks(self) -> Iterator[tuple[slice, Floats]]:
        """Columns of the augmented matrix and where they belong, centred and scaled."""
        f, g = self.features, len(self.features.names)
        shares: tuple[float, ...] = (1 - self.mixing, self.mixing)
        if self.filters.real is not None:
            shares = (1 - self.mixing, 2 * self.mixing / 3, self.mixing / 3)
        for low in range(0, g, _COLUMNS_AT_A_TIME):
            cut = slice(low, min(low + _COLUMNS_AT_A_TIME, g))
            some = Features(f.x[:, cut], f.names[cut], f.centre[:, cut], f.factor[cut], f.of)
            own = some.dense()
            parts = [own, self.filters.mean @ own]
            if self.filters.real is not None:
                parts.append(np.hypot(self.filters.real @ own, self.filters.imaginary @ own))
            for i, (part, share) in enumerate(zip(parts, shares, strict=True)):
                scaled = self._standard(part) * np.float32(np.sqrt(share))
                yield slice(i * g + cut.start, i * g + cut.stop), scaled

    def _standard(self, part: Floats) -> Floats:
        """z-scores, centred within each section; constant columns become 0."""
        of = self.features.of
        sizes = np.bincount(of)
        out = np.array(part, np.float32)
        for section in range(len(sizes)):
            rows = of == section
            out[rows] -= out[rows].mean(axis=0, dtype=np.float64).astype(np.float32)
        sd = np.sqrt((out.astype(np.float64) ** 2).mean(axis=0))
        return out * np.where(sd > 1e-6, 1 / np.where(sd > 1e-6, sd, 1.0), 0.0).astype(np.float32)


def augmented_components(
    wide: Augmented, count: int, seed: int = 0, ctx: JobContext | None = None
) -> tuple[Floats, Floats]:
    """Principal components of the augmented matrix, never held whole where it is large.

    Found by block power iteration (Halko, Martinsson and Tropp 2011, SIAM Rev 53:217).

    Returns
    -------
    scores
        (m, k) float32, those of largest variance first.
    loadings
        (k, parts * g) orthonormal axes, the entry of largest size positive.
    """
    ctx = ctx or JobContext()
    m = len(wide.features.of)
    count = min(count, m, wide.width)
    size = min(count + _EXTRA, m, wide.width)
    held = list(wide.chunks()) if m * wide.width <= _KEPT_ENTRIES else None
    basis: Floats = np.random.default_rng(seed).standard_normal((m, size)).astype(np.float32)
    for i in range(_PASSES):
        ctx.step(i / (_PASSES + 1))
        new: Floats = np.zeros_like(basis)
        for _, part in held or wide.chunks():
            ctx.step()
            new += part @ (part.T @ basis)
        basis = np.linalg.qr(new)[0].astype(np.float32)
    small = np.zeros((size, wide.width))
    for at, part in held or wide.chunks():
        small[:, at] = basis.T @ part
    left, values, right = np.linalg.svd(small, full_matrices=False)
    axes = right[:count]
    signs = np.sign(axes[np.arange(count), np.abs(axes).argmax(axis=1)])
    signs = np.where(signs == 0, 1.0, signs)
    scores = basis @ (left[:, :count] * values[:count] * signs)
    return np.asarray(scores, np.float32), axes * signs[:, None]
