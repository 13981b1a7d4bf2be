"""A layer of spots with one value each: the building block of painted results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.transforms import Affine
from napari_stomics.layers import bars
from napari_stomics.layers.colour import auto_limits
from napari_stomics.layers.palette import MISSING, hex_rgba, numeric_rgba, with_missing
from napari_stomics.layers.raster import SpotRaster
from napari_stomics.layers.section import MANY_SPOTS
from napari_stomics.layers.tags import TAG, UNITS, layer_affine, new_tag, true_size

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_stomics.data.study import Section


@dataclass(frozen=True)
class Values:
    """What the spots show: numbers with limits, names with colours, or colours outright.

    Attributes
    ----------
    name
        What the values are; also the name of the feature column.
    values
        (n,) numbers, or names with ``""`` for none; (n, 3) colours in [0, 1].
    limits
        Ends of the colormap; by default percentiles 1 and 99.
    colormap
        Of numbers.
    colours
        Colour (hex) of each name.
    """

    name: str
    values: NDArray[Any]
    limits: tuple[float, float] | None = None
    colormap: str = "viridis"
    colours: dict[str, str] | None = None

    @property
    def numeric(self) -> bool:
        """Whether the values are numbers."""
        return self.colours is None and self.values.ndim == 1

    @property
    def range(self) -> tuple[float, float]:
        """Limits given, or found from the values."""
        return self.limits or auto_limits(np.asarray(self.values, np.float64), (1, 99))

    def rgba(self) -> NDArray[np.float32]:
        """(n, 4) colours in [0, 1]."""
        if self.values.ndim == 2:
            opaque = np.ones((len(self.values), 1))
            rgb = np.where(np.isfinite(self.values).all(axis=1)[:, None], self.values, 0.5)
            return np.hstack([rgb, opaque]).astype(np.float32)
        if self.colours is None:
            return numeric_rgba(self.values, self.range, self.colormap)
        names, index = np.unique(self.values.astype(str), return_inverse=True)
        table = [hex_rgba(self.colours.get(str(n), MISSING)) for n in names]
        return np.array(table, np.float32).reshape(-1, 4)[index]

    def legend(self) -> list[tuple[str, str]]:
        """Names and colours that occur; empty for numbers."""
        if self.colours is None:
            return []
        present = set(self.values.astype(str))
        missing = [("", MISSING)] if "" in present else []
        return [(n, c) for n, c in self.colours.items() if n in present] + missing


def spot_rows(section: Section, ids: NDArray[Any]) -> NDArray[np.intp]:
    """(n,) row of each id among the section's spots.

    Raises
    ------
    KeyError
        If a spot of the result is not in the section.
    """
    own = section.ids
    if len(own) == len(ids) and (own == ids).all():
        return np.arange(len(ids))
    row = {name: i for i, name in enumerate(own)}
    return np.array([row[name] for name in ids], dtype=np.intp)


def value_layer(
    section: Section,
    ids: NDArray[Any],
    shown: Values,
    title: str,
    placed: Affine,
    visible: bool,
    *,
    bar: bool = True,
    **more: Any,
) -> Layer:
    """Return a layer of a section's spots coloured by a value each, in true size.

    Above :data:`~napari_stomics.layers.section.MANY_SPOTS` it is a raster. Without ``bar``
    its colour bar is left to :func:`show_bar`.
    """
    from napari.layers import Image, Points

    coordinates = section.coordinates[spot_rows(section, ids)]
    diameter = section.diameter
    entry = new_tag(
        section.name,
        "result",
        None,
        placed,
        legend=shown.legend(),
        limits=list(shown.range) if shown.numeric else None,
        **more,
    )
    common: dict[str, Any] = {
        "name": title,
        "units": UNITS,
        "visible": visible,
        "affine": layer_affine(Affine.identity(), placed),
    }
    if len(ids) > MANY_SPOTS:
        raster = SpotRaster(coordinates, diameter, (shown.rgba() * 255).astype(np.uint8))
        return Image(
            raster.levels,
            rgb=True,
            multiscale=True,
            scale=(raster.pixel_size, raster.pixel_size),
            translate=raster.origin[::-1] + raster.pixel_size / 2,
            metadata={TAG: {**entry, "raster": raster}},
            **common,
        )
    features: dict[str, Any] = {"id": ids}
    if shown.values.ndim == 1:
        features[shown.name] = shown.values
    layer = Points(
        coordinates[:, ::-1],
        ndim=2,
        size=true_size(diameter, placed) if len(ids) else 1.0,
        border_width=0,
        face_color="white" if shown.numeric else shown.rgba(),
        features=features,
        canvas_size_limits=(1, 10_000),
        metadata={TAG: {**entry, "diameter": diameter}},
        **common,
    )
    if shown.numeric and len(ids):
        layer.face_colormap = with_missing(shown.colormap)
        layer.face_color = shown.name
        layer.face_contrast_limits = shown.range
        if bar:
            show_bar(layer)
    return layer


def show_bar(layer: Layer) -> None:
    """Show the colour bar of spots that are coloured by numbers; other layers have none."""
    if getattr(layer, "face_color_mode", "") == "colormap":
        bars.show_bar(layer)
