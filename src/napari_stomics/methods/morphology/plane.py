"""The translation-integration plane, each axis against a null that knows about space."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import Params, param
from napari_stomics.core.plane import QUADRANTS, Gain, MorphologyPlane, PlaneInputs
from napari_stomics.core.registry import method
from napari_stomics.methods.morphology.fields import (
    alike,
    correlogram,
    normal_scores,
    random_fields,
    standardised,
)
from napari_stomics.methods.morphology.gain import held_out_gain
from napari_stomics.methods.morphology.relevance import (
    entropy_of,
    largest_correlation,
    mutual_information,
)
from napari_stomics.methods.preprocess import most_variable, normalise_as
from napari_stomics.metrics.spatial import morans_i, neighbour_graph

Floats = NDArray[np.floating[Any]]

_FEWEST = 30
_MOST_FEATURES = 2000
"""Features of a modality that its principal components are made of."""
_QUANTILE = 95


class PlaneParams(Params):
    """How features are judged."""

    null_fields: int = param(
        2000,
        "Random fields",
        "How many random fields make the null; each feature is compared with those that are "
        "most like it in smoothness.",
        ge=100,
        le=20000,
        advanced=True,
    )
    matched: int = param(
        100,
        "Matched fields",
        "How many of them each feature is compared with.",
        ge=20,
        le=1000,
        advanced=True,
    )
    gain: bool = param(
        True,
        "Does it help?",
        "Measure on held-out spatial blocks what the modality adds about the annotation.",
    )
    components: int = param(
        20, "Components", "Principal components per modality for that.", ge=1, le=100, advanced=True
    )
    blocks: int = param(30, "Blocks", "Spatial blocks for that.", ge=10, le=400, advanced=True)
    most_spots: int = param(
        20_000,
        "Most spots",
        "Of more spots or cells so many are drawn at random; nulls and figures are theirs.",
        ge=100,
        advanced=True,
    )
    seed: int = param(0, "Seed", "Seed of the random fields and of the folds.", advanced=True, ge=0)


@method(
    task="morphology",
    name="plane",
    title="Translation-integration plane",
    summary="Sets what each feature says about an annotation against what expression says "
    "already, each beside its null, and measures whether the modality helps.",
    params=PlaneParams,
    inputs=PlaneInputs,
    result=MorphologyPlane,
    reference="Chelebian, Avenel and Waehlby 2025; Clifford, Richardson and Hemon 1989, "
    "Biometrics 45:123",
)
def morphology_plane(inputs: PlaneInputs, params: PlaneParams, ctx: JobContext) -> MorphologyPlane:
    """Judge every feature of a modality.

    Raises
    ------
    UserError
        If fewer than 30 spots are labelled, they bear one label only, or a modality has no
        feature that varies.
    """
    inputs = _labelled(inputs, params)
    x, features = _varying(inputs.kinds[0], inputs.x, inputs.features, inputs.modality)
    y, genes = _varying(inputs.kinds[1], inputs.y, inputs.genes, inputs.other)
    z = standardised(x.toarray() if hasattr(x, "toarray") else x)
    xy = np.asarray(inputs.coordinates, np.float64)
    fields, white = random_fields(
        xy, inputs.pitch, params.null_fields, params.seed, ctx.part(0, 0.15)
    )
    entropy = entropy_of(inputs.labels)
    both = np.hstack([z, fields])
    told = mutual_information(both, inputs.labels, ctx.part(0.15, 0.25)) / entropy
    signed, column = largest_correlation(both, y, ctx.part(0.25, 0.7))
    own = _matched((normal_scores(z), z), fields, xy, inputs, params)
    count = len(features)
    relevance = _against(told[:count], told[count:], own[0])
    shared = _against(np.abs(signed[:count]), np.abs(signed[count:]), own[1])
    relevant, common = (a["value"] > a["null"] for a in (relevance, shared))
    quadrant = np.where(
        relevant,
        np.where(common, QUADRANTS[0], QUADRANTS[1]),
        np.where(common, QUADRANTS[3], QUADRANTS[2]),
    )
    gain = _gain(x, y, inputs, params, ctx.part(0.7, 1.0)) if params.gain else None
    return MorphologyPlane(
        section=inputs.section,
        modality=inputs.modality,
        other=inputs.other,
        label_name=inputs.label_name,
        label_entropy=entropy / np.log(2),
        features=features,
        relevance=relevance["value"],
        shared=shared["value"],
        gene=np.asarray(genes, object)[column[:count]],
        correlation=signed[:count],
        relevance_floor=float(np.percentile(told[count:][white], _QUANTILE)),
        shared_floor=float(np.percentile(np.abs(signed[count:][white]), _QUANTILE)),
        relevance_null=relevance["null"],
        shared_null=shared["null"],
        relevance_z=relevance["z"],
        shared_z=shared["z"],
        relevance_p=relevance["p"],
        shared_p=shared["p"],
        quadrant=quadrant.astype(object),
        moran=morans_i(neighbour_graph(xy), z),
        spots=len(inputs.labels),
        gain=gain,
        settings={"genes": len(genes), "seed": params.seed, "matched": params.matched},
    )


def _labelled(inputs: PlaneInputs, params: PlaneParams) -> PlaneInputs:
    """Only the spots that have a label and features to be trusted; of too many a sample."""
    labels = np.asarray(inputs.labels, object).astype(str)
    here = labels != ""
    if inputs.usable is not None:
        here &= np.asarray(inputs.usable, bool)
    if here.sum() < _FEWEST:
        raise UserError(
            f"{int(here.sum())} spots of section {inputs.section!r} have a label of "
            f"{inputs.label_name!r} and an image to be trusted: too few to judge features by.",
            "Choose another annotation, or draw a larger region.",
        )
    if len(np.unique(labels[here])) < 2:
        raise UserError(
            f"All spots bear the same label of {inputs.label_name!r}, {labels[here][0]!r}.",
            "Choose an annotation with two labels or more, or a region that leaves spots outside.",
        )
    rows = np.flatnonzero(here)
    if len(rows) > params.most_spots:
        rng = np.random.default_rng(params.seed)
        rows = np.sort(rng.choice(rows, params.most_spots, replace=False))
    return replace(
        inputs,
        ids=inputs.ids[rows],
        coordinates=inputs.coordinates[rows],
        x=inputs.x[rows],
        y=inputs.y[rows],
        labels=labels[rows],
        usable=None,
    )


def _varying(kind: str, x: Any, names: Any, modality: str) -> tuple[Any, Any]:
    """A matrix on its usual scale without the columns that do not vary, and their names."""
    values = x.data if hasattr(x, "indptr") else x
    if not np.isfinite(values).all():
        raise UserError(
            f"The modality {modality!r} holds values that are no numbers (NaN).",
            "Run the step that made it again, or leave these features out.",
        )
    from scipy import sparse

    scaled = normalise_as(kind, x)
    mean = np.asarray(scaled.mean(axis=0)).ravel().astype(np.float64)
    matrix: Any = scaled
    square = matrix.multiply(matrix) if sparse.issparse(scaled) else np.square(scaled)
    spread = np.asarray(square.mean(axis=0)).ravel().astype(np.float64) - mean**2
    varies = np.flatnonzero(spread > 1e-7 * np.maximum(mean**2, 1e-3))
    if not len(varies):
        raise UserError(
            f"No feature of {modality!r} varies over the spots that are judged.",
            "Choose another modality, or an annotation that covers more spots.",
        )
    if len(varies) == len(names):
        return scaled, np.asarray(names, object)
    return scaled[:, varies], np.asarray(names, object)[varies]


def _matched(
    features: tuple[Floats, Floats],
    fields: Floats,
    xy: Floats,
    inputs: PlaneInputs,
    params: PlaneParams,
) -> list[NDArray[np.intp]]:
    """(f, matched) random fields that are as smooth as each feature.

    For information by the order of the values, for correlation by the values
    themselves: a few large ones hide how smooth the order is.
    """
    count = min(params.matched, fields.shape[1])
    distances = correlogram(xy, inputs.pitch, params.seed)
    if not distances.first:
        return [np.tile(np.arange(count), (x.shape[1], 1)) for x in features]
    drawn = distances.of(fields)
    return [alike(distances.of(x), drawn, distances.weights, count) for x in features]


def _against(value: Floats, drawn: Floats, own: NDArray[np.intp]) -> dict[str, Floats]:
    """Values beside the null of each: its 95th percentile, z-score and share that reaches it."""
    null = drawn[own]
    spread = np.maximum(null.std(axis=1), 1e-9)
    reached = (null >= value[:, None]).sum(axis=1)
    return {
        "value": value,
        "null": np.percentile(null, _QUANTILE, axis=1),
        "z": (value - null.mean(axis=1)) / spread,
        "p": (1 + reached) / (1 + null.shape[1]),
    }


def _gain(x: Any, y: Any, inputs: PlaneInputs, params: PlaneParams, ctx: JobContext) -> Gain:
    ctx.step(0, "Principal components")
    return held_out_gain(
        _components(y, params),
        _components(x, params),
        inputs.labels,
        np.asarray(inputs.coordinates, np.float64),
        ctx.part(0.2, 1.0),
        blocks=params.blocks,
        seed=params.seed,
    )


def _components(matrix: Any, params: PlaneParams) -> Floats:
    """(n, k) leading principal components of the columns that vary most."""
    from sklearn.utils.extmath import randomized_svd

    part = matrix[:, np.sort(most_variable(matrix, _MOST_FEATURES))]
    dense = np.asarray(part.toarray() if hasattr(part, "toarray") else part, np.float32)
    dense = dense - dense.mean(axis=0)
    count = min(params.components, min(dense.shape))
    u, s, _ = randomized_svd(dense, count, n_iter=4, random_state=params.seed)
    return np.asarray(u * s)
