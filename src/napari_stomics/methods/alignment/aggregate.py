"""Pixels and cells gathered on the spots of another section, or the reverse, by area."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.carried import Aggregation, AggregationInputs
from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import Spots
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import Params, param
from napari_stomics.core.registry import method
from napari_stomics.methods.alignment.areas import (
    Footprints,
    Shape,
    footprints,
    shared_areas,
    square_lattice,
)

Floats = NDArray[np.floating[Any]]

INTENSIVE = ("metabolite", "image")
"""Modalities that are intensities, not numbers of molecules: they are averaged, not added."""

_ROUNDING = 1e-9
_COLUMNS_AT_A_TIME = 256
_SHAPES = (
    "automatic: pixels where they lie on a square grid without gaps, else discs; "
    "point: the centre alone decides."
)
ShapeChoice = Literal["automatic", "square", "disc", "point"]


class AggregateParams(Params):
    """Parameters of the aggregation by area."""

    statistic: Literal["automatic", "sum", "mean"] = param(
        "automatic",
        "Statistic",
        "sum: counts; each element is divided by area, and the total is kept. mean: intensities, "
        "weighted by area, with the standard deviation among the contributors. automatic: sum for "
        "whole numbers that are gathered on larger elements, else mean.",
    )
    source_shape: ShapeChoice = param(
        "automatic", "Shape of what is gathered", _SHAPES, advanced=True
    )
    target_shape: ShapeChoice = param(
        "automatic", "Shape of what it is gathered on", _SHAPES, advanced=True
    )


@method(
    task="transfer",
    name="aggregate",
    title="Aggregate by area",
    summary="Gathers pixels, spots or cells of one section on the spots of another that it is "
    "registered with; sums keep the total, means say how far their contributors agree.",
    params=AggregateParams,
    inputs=AggregationInputs,
    result=Aggregation,
    reference="Goodchild & Lam 1980, Geo-Processing 1:297 (areal interpolation)",
)
def aggregate(inputs: AggregationInputs, params: AggregateParams, ctx: JobContext) -> Aggregation:
    """Aggregate the values of one section on the elements of another by shared area.

    Raises
    ------
    UserError
        If the sections do not overlap, nothing is to be aggregated, values that are to
        be added are missing, or neither side has an area.
    """
    giving, receiving = _laid_out(inputs, params)
    if inputs.giving.x.shape[1] == 0:
        raise UserError(
            f"Section {inputs.giving.section!r} has nothing to aggregate.",
            "Choose a modality with features, or a column of labels.",
        )
    areas = shared_areas(giving, receiving, ctx.part(0.05, 0.6))
    if areas.nnz == 0:
        raise UserError(
            f"No element of {inputs.giving.section!r} falls on one of "
            f"{inputs.receiving.section!r}.",
            "Check the registration of the two sections, and their units.",
        )
    finer = _finer(giving, receiving)
    statistic = params.statistic
    if statistic == "automatic":
        statistic = "sum" if not finer and is_extensive(inputs.giving) else "mean"
    ctx.step(0.6, "Gathering values")
    if statistic == "sum":
        parts = _sums(inputs.giving, areas, giving, receiving)
    else:
        parts = _means(inputs.giving, areas, ctx.part(0.6, 1.0))
    weight = np.asarray(areas.sum(axis=0)).ravel()
    square = np.asarray(areas.multiply(areas).sum(axis=0)).ravel()
    contributors = np.divide(weight**2, square, out=np.zeros_like(weight), where=square > 0)
    _warn_empty(contributors, ctx)
    return Aggregation(
        source=inputs.giving.section,
        target=inputs.receiving.section,
        target_ids=inputs.receiving.ids,
        features=inputs.giving.features,
        modality=inputs.giving.modality,
        statistic=statistic,
        covered=covered_share(areas, giving, receiving),
        contributors=contributors,
        outside_share=float(1 - _shares(areas, giving).sum() / max(len(giving), 1)),
        shapes=(giving.shape, receiving.shape),
        finer=finer,
        **parts,
    )


def is_extensive(spots: Spots) -> bool:
    """Whether the values are counts, which add up, rather than intensities."""
    values = spots.x.data if hasattr(spots.x, "indptr") else np.asarray(spots.x)
    some = np.asarray(values).ravel()[:1_000_000]
    whole = np.isfinite(some).all() and (some >= 0).all() and (some == np.rint(some)).all()
    return spots.modality not in INTENSIVE and bool(whole)


def covered_share(areas: Any, giving: Footprints, receiving: Footprints) -> Floats:
    """(m,) share of each receiving element's area that is covered; NaN where there is no area."""
    weight = np.asarray(areas.sum(axis=0)).ravel()
    if "point" in (giving.shape, receiving.shape):
        return np.full(len(receiving), np.nan)
    return np.divide(weight, receiving.areas, out=np.zeros_like(weight), where=receiving.areas > 0)


def chosen_shape(choice: ShapeChoice, coordinates: Floats, diameters: Floats) -> tuple[Shape, Any]:
    """Shape of a section's elements and, of pixels, their sides as (2, 2) columns."""
    lattice = square_lattice(coordinates) if choice in ("automatic", "square") else None
    if choice == "automatic":
        # Round spots may stand on a square grid too, but they do not touch; the diameter of
        # a square pixel's outline is that of a circle of equal area.
        size = float(np.median(diameters)) if len(diameters) else 0.0
        pitch = 0.0 if lattice is None else float(np.linalg.norm(lattice, axis=0).min())
        return ("square", lattice) if 0.9 * pitch < size < 1.15 * pitch else ("disc", None)
    return choice, lattice


def _laid_out(inputs: AggregationInputs, params: AggregateParams) -> tuple[Footprints, Footprints]:
    out = []
    for spots, diameters, choice, transform in (
        (inputs.giving, inputs.giving_diameters, params.source_shape, inputs.transform),
        (inputs.receiving, inputs.receiving_diameters, params.target_shape, None),
    ):
        shape, sides = chosen_shape(choice, spots.coordinates, diameters)
        if shape != "point" and not (np.asarray(diameters) > 0).all():
            raise UserError(
                f"Section {spots.section!r} has elements without a size.",
                "Take them as points, or read the section with its spot diameter.",
            )
        out.append(
            footprints(
                spots.coordinates, shape, diameters=diameters, sides=sides, transform=transform
            )
        )
    return out[0], out[1]


def _finer(giving: Footprints, receiving: Footprints) -> bool:
    """Whether the receiving elements are smaller; a point is smaller than anything."""
    return bool(np.median(receiving.areas) < 0.5 * np.median(giving.areas))


def _shares(areas: Any, giving: Footprints) -> Any:
    """(n, m) share of each giving element that falls on each receiving one; rows sum to 1 at most.

    Where receiving elements overlap, the part that they share is divided between them.
    """
    from scipy import sparse

    inside = np.asarray(areas.sum(axis=1)).ravel()
    whole = np.ones(len(giving)) if giving.shape == "point" else giving.areas
    full = np.maximum(np.where(inside > whole * (1 - _ROUNDING), inside, whole), 1e-300)
    return sparse.diags_array(1 / full) @ areas


def _sums(spots: Spots, areas: Any, giving: Footprints, receiving: Footprints) -> dict[str, Any]:
    from scipy import sparse

    if receiving.shape == "point" and giving.shape != "point":
        raise UserError(
            "Points have no area among which a sum could be divided.",
            "Choose the mean, or take the receiving section as squares or discs.",
        )
    x = sparse.csr_array(spots.x) if hasattr(spots.x, "indptr") else np.asarray(spots.x)
    x = x.astype(np.float64)
    if not np.isfinite(x.data if hasattr(x, "indptr") else x).all():
        raise UserError(
            f"Some values of section {spots.section!r} are missing, so they do not add up.",
            "Choose the mean, which leaves missing values out.",
        )
    shares = _shares(areas, giving)
    out = np.maximum(1 - np.asarray(shares.sum(axis=1)).ravel(), 0.0)
    return {
        "values": shares.T @ x,
        "sd": None,
        "total": np.asarray(x.sum(axis=0)).ravel(),
        "outside": np.asarray(out @ x).ravel(),
    }


def _means(spots: Spots, areas: Any, ctx: JobContext) -> dict[str, Any]:
    """Mean and standard deviation by columns; sparse where the values are."""
    from scipy import sparse

    columns = areas.T.tocsr()
    weight = np.asarray(columns.sum(axis=1)).ravel()
    nothing = np.full(spots.x.shape[1], np.nan)
    if hasattr(spots.x, "indptr"):
        counts = sparse.csr_array(spots.x).astype(np.float64)
        shares = sparse.diags_array(np.divide(1, weight, where=weight > 0, out=weight * 0))
        average = sparse.csr_array(shares @ columns @ counts)
        spread = sparse.csr_array(shares @ columns @ counts.multiply(counts))
        spread = sparse.csr_array(spread - average.multiply(average))
        spread.data = np.sqrt(np.maximum(spread.data, 0))
        moments = {"values": average.astype(np.float32), "sd": spread.astype(np.float32)}
        return {**moments, "total": nothing, "outside": nothing}
    x = np.asarray(spots.x)
    mean, sd = (np.zeros((len(weight), x.shape[1]), np.float32) for _ in range(2))
    for low in range(0, x.shape[1], _COLUMNS_AT_A_TIME):
        ctx.step(low / x.shape[1], "Gathering values")
        part = slice(low, low + _COLUMNS_AT_A_TIME)
        mean[:, part], sd[:, part] = weighted_moments(columns, x[:, part])
    return {"values": mean, "sd": sd, "total": nothing, "outside": nothing}


def weighted_moments(weights: Any, x: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of rows of ``x`` under each row of weights.

    Parameters
    ----------
    weights
        (m, n) sparse, not negative.
    x
        (n, g) values; NaN is left out, with its weight.

    Returns
    -------
    mean, sd
        (m, g); zeros where no weight is left.
    """
    x = np.asarray(x, np.float64)
    known = np.isfinite(x)
    centre = np.where(known, x, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    # Centred first, or the difference of two large squares would be all rounding.
    x = np.where(known, x - centre, 0.0)
    if known.all():
        total = np.asarray(weights.sum(axis=1), np.float64).reshape(-1, 1)
    else:
        total = np.asarray(weights @ known.astype(np.float64))
    arrived = total > 0
    total = np.where(arrived, total, 1.0)
    mean = np.asarray(weights @ x) / total
    variance = np.asarray(weights @ x**2) / total - mean**2
    sd = np.sqrt(np.maximum(variance, 0.0))
    return np.where(arrived, mean + centre, 0.0), np.where(arrived, sd, 0.0)


def _warn_empty(contributors: Floats, ctx: JobContext) -> None:
    empty = int((contributors == 0).sum())
    if empty:
        ctx.warn(
            f"{empty:,} of {len(contributors):,} spots receive nothing: their rows are zeros, "
            "and their contributors are 0."
        )


__all__ = ["AggregateParams", "aggregate", "chosen_shape", "covered_share", "weighted_moments"]
