"""Colour spots by a gene, a protein, an annotation or a component."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.layers.bars import show_bar
from napari_stomics.layers.features import (
    Kind,
    Match,
    clean_names,
    find_match,
    is_numeric,
    search_features,
    values_of,
)
from napari_stomics.layers.palette import (
    MISSING,
    hex_rgba,
    natural,
    numeric_rgba,
    palette,
    with_missing,
)
from napari_stomics.layers.raster import Painted
from napari_stomics.layers.tags import set_tag, tag

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_stomics.data.study import Section, Study

__all__ = [
    "Colouring",
    "Match",
    "colour_by",
    "colouring",
    "colourings",
    "legend",
    "search_features",
    "set_limits",
]


@dataclass(frozen=True)
class Colouring:
    """Values of the spots and how they are coloured.

    Attributes
    ----------
    match
        What was coloured by.
    values
        (n,) floats with NaN, or strings with ``""``, for what is missing.
    limits
        Values at the ends of the colormap; None for categories.
    colormap
        Name of the colormap.
    legend
        Names and colours (hex) of categories; missing values last.
    """

    match: Match
    values: NDArray[Any]
    limits: tuple[float, float] | None = None
    colormap: str = "viridis"
    legend: list[tuple[str, str]] = field(default_factory=list)

    @property
    def numeric(self) -> bool:
        """Whether the values are numbers."""
        return self.limits is not None

    def rgba(self) -> NDArray[np.float32]:
        """(n, 4) colours in [0, 1]."""
        if self.limits is not None:
            return numeric_rgba(self.values, self.limits, self.colormap)
        colours = dict(self.legend)
        names, index = np.unique(self.values.astype(str), return_inverse=True)
        table = np.array([hex_rgba(colours.get(str(n), MISSING)) for n in names], np.float32)
        return table.reshape(-1, 4)[index]


def colouring(
    study: Study,
    section: str,
    key: str,
    modality: str | None = None,
    *,
    kind: Kind | None = None,
    limits: tuple[float, float] | None = None,
    percentiles: tuple[float, float] = (1, 99),
    colormap: str = "viridis",
) -> Colouring:
    """Work out the colours of a section's spots; see :func:`colour_by`."""
    part = study.section(section)
    match = find_match(part, key, modality, kind)
    values = values_of(part, match)
    if is_numeric(values):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        found = checked_limits(limits) if limits else auto_limits(numbers, percentiles)
        return Colouring(match, numbers, found, colormap)
    names = clean_names(values)
    return Colouring(match, names, legend=_legend(study, part, match, names))


def colourings(
    study: Study,
    names: Sequence[str],
    match: Match,
    *,
    colormap: str = "viridis",
    limits: tuple[float, float] | None = None,
) -> dict[str, Colouring]:
    """Values and colours by section, of those that have the feature; numbers share one range.

    Parameters
    ----------
    study, names
        The study and the names of its sections.
    match
        What to colour by.
    colormap, limits
        As in :func:`colour_by`; by default the range that takes in all sections.

    Raises
    ------
    UserError
        If no section has it.
    """
    out: dict[str, Colouring] = {}
    refused: UserError | None = None
    for name in names:
        try:
            out[name] = colouring(
                study,
                name,
                match.key,
                match.modality,
                kind=match.kind,
                limits=limits,
                colormap=colormap,
            )
        except UserError as error:
            refused = error
    if not out and refused is not None:
        raise refused
    found = [values.limits for values in out.values() if values.limits is not None]
    if len(found) > 1:
        common = (min(low for low, _ in found), max(high for _, high in found))
        out = {n: replace(v, limits=common) if v.numeric else v for n, v in out.items()}
    return out


def colour_by(
    layer: Layer,
    study: Study,
    section: str,
    key: str,
    modality: str | None = None,
    *,
    kind: Kind | None = None,
    limits: tuple[float, float] | None = None,
    percentiles: tuple[float, float] = (1, 99),
    colormap: str = "viridis",
) -> Colouring:
    """Colour the spots of a section.

    Numbers get a colormap and napari's colour bar, names get their own colours
    (``uns['<column>_colors']``) or a palette that is the same in every section;
    missing values are grey.

    Parameters
    ----------
    layer
        The section's spots layer.
    study, section
        Where the values are.
    key, modality, kind
        What to colour by, as :func:`search_features` found it; without modality
        and kind the first of that name.
    limits
        Values at the ends of the colormap; by default ``percentiles`` of the values.
    colormap
        Name of a napari colormap.

    Raises
    ------
    UserError
        If there is nothing of that name, or the limits are not an interval.
    """
    found = colouring(
        study,
        section,
        key,
        modality,
        kind=kind,
        limits=limits,
        percentiles=percentiles,
        colormap=colormap,
    )
    apply_colouring(layer, found)
    return found


def paint_ahead(layer: Layer, found: Colouring) -> Painted | None:
    """Paint the raster that stands for a spots layer, in any thread; None where there is none."""
    companion = tag(layer).get("companion")
    if companion is None:
        return None
    painted: Painted = tag(companion)["raster"].painted((found.rgba() * 255).astype(np.uint8))
    return painted


def apply_colouring(layer: Layer, found: Colouring, ahead: Painted | None = None) -> None:
    """Give a spots layer, and the raster that stands for it, the colours found.

    Parameters
    ----------
    layer
        The section's spots layer.
    found
        Its values and their colours.
    ahead
        What :func:`paint_ahead` returned; without it the raster is painted now.
    """
    set_tag(
        layer,
        colour={
            "key": found.match.key,
            "kind": found.match.kind,
            "modality": found.match.modality,
            "limits": None if found.limits is None else list(found.limits),
            "colormap": found.colormap,
        },
        legend=list(found.legend),
    )
    companion = tag(layer).get("companion")
    if companion is not None:
        tag(companion)["raster"].take(ahead or paint_ahead(layer, found))
        companion.refresh()
        if not layer.visible:
            _colour_when_shown(layer, found)
            return
    _paint_points(layer, found)


def clear_colouring(layer: Layer) -> None:
    """Show the spots of a section plainly, without values."""
    if tag(layer).get("colour") is None:
        return
    set_tag(layer, colour=None, legend=[], pending=None)
    companion = tag(layer).get("companion")
    if companion is not None:
        raster = tag(companion)["raster"]
        plain = np.asarray(hex_rgba(MISSING)) * 255
        raster.set_colours(np.tile(plain.astype(np.uint8), (len(layer.data), 1)))
        companion.refresh()
    layer.face_color = MISSING
    show_bar(layer, False)


def _colour_when_shown(layer: Layer, found: Colouring) -> None:
    """Leave the million markers alone until someone looks at them."""
    set_tag(layer, pending=found)

    def catch_up() -> None:
        waiting = tag(layer).get("pending")
        if layer.visible and waiting is not None:
            set_tag(layer, pending=None)
            _paint_points(layer, waiting)

    if not tag(layer).get("watched"):
        set_tag(layer, watched=True)
        layer.events.visible.connect(catch_up)


def _paint_points(layer: Layer, found: Colouring) -> None:
    column = found.match.key
    if found.limits is None:
        _set_features(layer, column, found.values)
        layer.face_color = found.rgba()
        show_bar(layer, False)
        return
    _set_features(layer, column, found.values)
    layer.face_colormap = with_missing(found.colormap)
    layer.face_color = column
    layer.face_contrast_limits = found.limits
    show_bar(layer)


def _set_features(layer: Layer, column: str, values: NDArray[Any]) -> None:
    indices = layer.metadata.get("indices")
    ids = {"id": indices} if indices and len(indices) == len(values) <= 200_000 else {}
    with warnings.catch_warnings():
        # The column that the colours came from so far is dropped on purpose.
        warnings.filterwarnings("ignore", "property used for face_color dropped")
        layer.features = {**ids, column: values}


def set_limits(layer: Layer, limits: tuple[float, float]) -> None:
    """Change the values at the ends of the colormap of a coloured layer."""
    low, high = checked_limits(limits)
    colour = tag(layer).get("colour")
    if colour is None or colour["limits"] is None:
        raise UserError(
            f"The layer {layer.name!r} is not coloured by numbers.",
            "Colour it by a gene, a protein or another number first.",
        )
    set_tag(layer, colour={**colour, "limits": [low, high]})
    layer.face_contrast_limits = (low, high)


def legend(layer: Layer) -> list[tuple[str, str]]:
    """Names and colours (hex) of the categories that a layer shows; empty for numbers."""
    return list(tag(layer).get("legend") or [])


def auto_limits(values: NDArray[Any], percentiles: tuple[float, float]) -> tuple[float, float]:
    """Percentiles of the finite values, widened where they coincide (a sparse gene)."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite, percentiles))
    if high <= low:
        low, high = float(finite.min()), float(finite.max())
    return low, high if high > low else low + 1.0


def checked_limits(limits: tuple[float, float]) -> tuple[float, float]:
    """Return the limits as floats.

    Raises
    ------
    UserError
        If they are not two finite numbers in rising order.
    """
    low, high = (float(v) for v in limits)
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise UserError(
            f"The colour range {low:g} to {high:g} is not an interval.",
            "Give a lower value and a higher one.",
        )
    return low, high


def _legend(
    study: Study, section: Section, match: Match, names: NDArray[Any]
) -> list[tuple[str, str]]:
    table = section.table(match.modality)
    present = [n for n in sorted(set(names), key=natural) if n]
    own = table.uns.get(f"{match.key}_colors")
    column = table.obs[match.key]
    if own is not None and hasattr(column, "cat") and len(own) >= len(column.cat.categories):
        colours = dict(zip(map(str, column.cat.categories), map(str, own), strict=False))
    else:
        colours = palette(_everywhere(study, match))
    missing = [("", MISSING)] if (names == "").any() else []
    return [(n, colours.get(n, MISSING)) for n in present] + missing


def _everywhere(study: Study, match: Match) -> list[str]:
    """Names that a column holds in any section, so that a name has one colour in all."""
    found: set[str] = set()
    for section in study.sections.values():
        if match.modality in section.modalities:
            obs = section.table(match.modality).obs
            if match.key in obs and not is_numeric(obs[match.key]):
                found |= set(clean_names(obs[match.key]))
    return sorted(found - {""}, key=natural)
