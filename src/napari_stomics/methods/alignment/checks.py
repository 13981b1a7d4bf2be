"""What two sections must fulfil before they are aligned: refused with the reason, or said."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import SpotPair, Spots
from napari_stomics.core.jobs import JobContext

_UNITS = 3.0
"""Ratio of the sections' sizes and pitches from which they cannot be in the same unit."""

_COUNTS = ("rna", "chromatin", "metabolite")
"""Modalities whose values cannot be negative."""


def check_pair(pair: SpotPair, ctx: JobContext) -> None:
    """Refuse sections that cannot be aligned, and say what is odd about the others.

    Raises
    ------
    UserError
        If a section has fewer than three spots, positions that are not finite
        or all alike, or if the two are evidently not in the same unit.
    """
    for spots in (pair.source, pair.target):
        check_positions(spots, ctx)
    _check_units(pair)


def check_positions(spots: Spots, ctx: JobContext) -> None:
    """Refuse positions that cannot be aligned; say how many spots share a place.

    Raises
    ------
    UserError
        See :func:`check_pair`.
    """
    xy = np.asarray(spots.coordinates, dtype=np.float64)
    n = len(xy)
    if n < 3:
        raise UserError(
            f"Section {spots.section!r} has {n} spot{'' if n == 1 else 's'}.",
            "An alignment needs at least three spots in each section.",
        )
    bad = np.asarray(~np.isfinite(xy).all(axis=1))
    if bad.any():
        raise UserError(
            f"{_some(spots.ids, bad)} of section {spots.section!r} "
            f"{'has a position that is' if bad.sum() == 1 else 'have positions that are'} "
            "not a finite number.",
            "Leave these spots out, or read the positions again.",
        )
    _, first = np.unique(xy, axis=0, return_index=True)
    same = n - len(first)
    if len(first) < 3 or not spots.pitch > 0:
        raise UserError(
            f"Most of the {n} spots of section {spots.section!r} lie at the same places "
            f"({len(first)} different ones).",
            "Check which columns hold its positions.",
        )
    if same:
        twice = np.ones(n, bool)
        twice[first] = False
        ctx.warn(
            f"{_some(spots.ids, twice)} of section {spots.section!r} "
            f"{'lies' if same == 1 else 'lie'} exactly where another spot does; "
            "all are kept, and share what arrives there."
        )


def _check_units(pair: SpotPair) -> None:
    sizes = [_size(s.coordinates) for s in (pair.source, pair.target)]
    pitches = [s.pitch for s in (pair.source, pair.target)]
    larger, finer = sizes[0] / sizes[1], pitches[0] / pitches[1]
    if pair.initial is not None:
        # A known map may carry any unit into the other.
        scale = float(np.sqrt(abs(np.linalg.det(pair.initial.linear_part().matrix[:2, :2]))))
        larger, finer = larger * scale, finer * scale
    logs = np.abs(np.log([larger, finer]))
    if min(logs) > np.log(_UNITS) and abs(np.log(larger / finer)) < np.log(1.6):
        raise UserError(
            f"Section {pair.source.section!r} is {_times(larger)} section "
            f"{pair.target.section!r} ({sizes[0]:.4g} and {sizes[1]:.4g} um), and so is the "
            f"distance between its spots ({pitches[0]:.4g} and {pitches[1]:.4g} um): "
            "they are not in the same unit.",
            "Set the size of a pixel or spot of each section in micrometres, or register them.",
        )


def check_values(spots: Spots, columns: NDArray[np.intp], ctx: JobContext) -> NDArray[np.bool_]:
    """(n,) flags of the spots that have any signal in the features compared.

    Parameters
    ----------
    spots
        The spots.
    columns
        The features that are compared.
    ctx
        Told how many spots are empty; they keep their place but no feature weight.

    Raises
    ------
    UserError
        If a value is not finite, negative where counts are needed, or if all are zero.
    """
    x: Any = spots.x
    values = np.asarray(x.data) if hasattr(x, "indptr") else np.asarray(x)
    if values.dtype.kind not in "biuf":
        raise UserError(
            f"The {spots.modality} values of section {spots.section!r} are not numbers "
            f"(type {values.dtype}).",
            "Choose a table that holds a matrix of numbers.",
        )
    lowest = float(values.min(initial=0.0))
    if not np.isfinite(lowest) or not np.isfinite(float(values.max(initial=0.0))):
        raise UserError(
            f"Section {spots.section!r} has {spots.modality} values that are missing or infinite.",
            "Fill or drop them first; zero counts are fine.",
        )
    if lowest < 0 and spots.modality in _COUNTS:
        raise UserError(
            f"Section {spots.section!r} has negative {spots.modality} values (down to "
            f"{lowest:.3g}), but counts are needed.",
            "Give raw counts rather than scaled values, or compare them as an embedding.",
        )
    if spots.modality in ("image", "embedding"):
        return np.ones(len(spots.ids), bool)
    filled = row_sums(x if lowest >= 0 else abs(x), columns) > 0
    if not filled.any():
        raise UserError(
            f"All {len(filled)} spots of section {spots.section!r} are empty in the features "
            "that both sections have.",
            "Check the table, or compare another modality.",
        )
    empty = ~filled
    if empty.any():
        ctx.warn(
            f"{_some(spots.ids, empty)} of section {spots.section!r} "
            f"{'has' if empty.sum() == 1 else 'have'} no counts in the features compared; "
            "only positions decide where they go."
        )
    return np.asarray(filled)


def row_sums(x: Any, columns: NDArray[np.intp]) -> NDArray[np.float64]:
    """(n,) sum of each row over some columns of a dense or sparse matrix, without a copy of it."""
    mask = np.zeros(x.shape[1], np.float32)
    mask[columns] = 1.0
    return np.asarray(x @ mask, dtype=np.float64).ravel()


def shared_columns(a: Spots, b: Spots) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Columns of either section that hold the same features, in the first one's order.

    Raises
    ------
    UserError
        If they are of different modalities, or share fewer than two features.
    """
    if a.modality != b.modality:
        raise UserError(
            f"Section {a.section!r} has {a.modality} and section {b.section!r} has "
            f"{b.modality}: their features cannot be compared.",
            "Compare an embedding that both have, or set the features to 'none' and align "
            "by distances alone.",
        )
    at: dict[str, int] = {}
    for i, name in enumerate(b.features):
        at.setdefault(str(name), i)
    pairs = {str(n): (i, at[str(n)]) for i, n in enumerate(a.features) if str(n) in at}
    if len(pairs) < 2:
        raise UserError(
            f"Of the {len(a.features)} and {len(b.features)} {a.modality} features of sections "
            f"{a.section!r} ({_examples(a)}) and {b.section!r} ({_examples(b)}), "
            f"{len(pairs) or 'none'} {'is' if len(pairs) == 1 else 'are'} the same.",
            _naming_hint(a, b),
        )
    left, right = np.array(list(pairs.values()), dtype=np.intp).T
    return left, right


def _naming_hint(a: Spots, b: Spots) -> str:
    ensembl = [_share_of_ensembl(s) > 0.5 for s in (a, b)]
    if ensembl[0] != ensembl[1]:
        ids, symbols = (a, b) if ensembl[0] else (b, a)
        return (
            f"Section {ids.section!r} names genes by Ensembl ids and {symbols.section!r} by "
            "symbols: rename one of them."
        )
    bare = [{str(n).split(".")[0].upper() for n in s.features} for s in (a, b)]
    if len(bare[0] & bare[1]) >= 2:
        return "The names differ in upper and lower case or in version numbers: make them alike."
    return "Use tables with the same kind of names, or align by distances alone."


def _share_of_ensembl(spots: Spots) -> float:
    names = [str(n) for n in spots.features[:200]]
    return float(
        np.mean([n.upper().startswith("ENS") and n[-1:].isdigit() for n in names] or [False])
    )


def _examples(spots: Spots) -> str:
    return ", ".join(str(n) for n in spots.features[:3]) + (", ..." if len(spots.features) else "")


def _some(ids: NDArray[Any], flags: NDArray[np.bool_]) -> str:
    chosen = [str(i) for i in np.asarray(ids)[flags][:3]]
    count = int(flags.sum())
    if count == 1:
        return f"Spot {chosen[0]}"
    return f"{count} spots ({', '.join(chosen)}{', ...' if count > 3 else ''})"


def _size(xy: NDArray[Any]) -> float:
    """Length that holds most of a section, hardly moved by a few strays."""
    low, high = np.quantile(np.asarray(xy, np.float64), (0.05, 0.95), axis=0)
    return max(float(np.hypot(*(high - low))), 1e-12)


def _times(ratio: float) -> str:
    return f"{ratio:.3g} times as large as" if ratio > 1 else f"{1 / ratio:.3g} times smaller than"
