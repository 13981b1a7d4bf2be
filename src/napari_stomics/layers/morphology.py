"""Paint morphology: a feature per spot and as a map, flags; a feature beside its gene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.morphology import MorphologyFeatures
from napari_stomics.core.plane import MorphologyPlane
from napari_stomics.core.transforms import Affine
from napari_stomics.layers.bars import show_bar
from napari_stomics.layers.colour import auto_limits
from napari_stomics.layers.easel import Easel
from napari_stomics.layers.tags import TAG, UNITS, layer_affine, new_tag, tag, tagged
from napari_stomics.layers.valued import Values

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_stomics.data.study import Section

_FLAG_COLOURS = {
    "background": "#9e9e9e",
    "blur": "#ffb300",
    "fold": "#8e24aa",
    "off_image": "#424242",
    "pen": "#00c853",
}
_FIRST = "haematoxylin_mean_1x"


def paint_features(easel: Easel, result: MorphologyFeatures, gene: str | None = None) -> None:
    """One feature on the spots; hidden beside it its dense map, and why not to trust a spot."""
    names = [str(name) for name in result.features]
    name = gene or easel.option("gene") or _FIRST
    column = names.index(name) if name in names else 0
    name = names[column]
    more = {"gene": name}
    values = Values(name, np.asarray(result.values[:, column], np.float64))
    easel.spots("feature", result.section, result.ids, values, name, options=more)
    channel = name.rpartition("_")[0]
    if channel in result.maps.names:
        placed = easel.placement(result.section)
        easel.put("map", _map_layer(result, channel, placed, name), visible=False)
    flags = np.full(len(result.ids), "", object)
    for flag, hit in result.flags.items():
        flags[np.asarray(hit, bool)] = flag
    if (flags != "").any():
        marked = Values("flag", flags, colours=_FLAG_COLOURS)
        title = "Not to be trusted"
        easel.spots("flags", result.section, result.ids, marked, title, visible=False)


def _map_layer(result: MorphologyFeatures, channel: str, placed: Affine, gene: str) -> Layer:
    from napari.layers import Image

    own = result.maps.to_um
    plane = result.maps.values[list(result.maps.names).index(channel)]
    low, high = auto_limits(plane[np.isfinite(plane)].astype(np.float64), (1, 99))
    layer = Image(
        np.nan_to_num(plane, nan=low),
        rgb=False,
        name=f"{result.section}: map of {channel}",
        colormap="viridis",
        contrast_limits=(low, high if high > low else low + 1),
        blending="translucent",
        opacity=0.8,
        translate=(0.5, 0.5),
        affine=layer_affine(own, placed),
        units=UNITS,
        metadata={TAG: new_tag(result.section, "result", own, placed, limits=[low, high],
                               gene=gene)},
    )  # fmt: skip
    show_bar(layer)
    return layer


def paint_plane(easel: Easel, result: MorphologyPlane, gene: str | None = None) -> None:
    """A feature, and beside the section the gene that it shares most with.

    The gene lies to the right of the tissue, so that both are seen at once
    whatever the layout of the window; it moves with the section.
    """
    names = [str(name) for name in result.features]
    name = gene or easel.option("gene") or names[int(np.argmax(result.relevance))]
    row = names.index(name) if name in names else 0
    name, best = names[row], str(result.gene[row])
    section = easel.study.section(result.section)
    more = {"gene": name, "pair": True}
    for former in tagged(easel.viewer, section=result.section, pair=True):
        if tag(former).get("result") != easel.key:
            former.visible = False  # the pair of another plane lies in the same places
    feature = feature_values(section, result.modality, name)
    title = f"{name} ({result.quadrant[row]}, relevance {result.relevance[row]:.2f})"
    if feature is not None:
        shown = Values(name, feature)
        easel.spots("feature", result.section, section.ids, shown, title, options=more)
    other = feature_values(section, result.other, best)
    if other is not None:
        words = f"{best} (r = {result.correlation[row]:.2f} with {name})"
        shown = Values(best, other, colormap="magma")
        aside = _aside(section)
        easel.spots("gene", result.section, section.ids, shown, words, options=more)
        layer: Any = easel.keep()[-1]
        if hasattr(layer, "symbol"):
            layer.data = np.asarray(layer.data) + aside[::-1]
        else:  # a raster of very many spots
            layer.translate = np.asarray(layer.translate) + aside[::-1]


def _aside(section: Section) -> NDArray[np.float64]:
    """(x, y) um by which a copy of the spots has to be moved to lie beside them."""
    return np.array([1.08 * np.ptp(section.coordinates[:, 0]) + 2 * section.diameter, 0.0])


def feature_values(section: Section, modality: str, name: str) -> NDArray[np.float64] | None:
    """(n,) a feature of a modality over the section's spots on its usual scale, NaN where missing.

    None where the section has no such feature (any more).
    """
    from napari_stomics.data.morphology import kind_of
    from napari_stomics.methods.preprocess import log_normalise

    table, values = _stored(section, modality, name)
    if table is None:
        return None
    if kind_of(modality) in ("rna", "metabolite") and values.ndim == 2:
        counts = log_normalise(table.X)[:, [table.var_names.get_loc(name)]]
        values = counts.toarray() if hasattr(counts, "toarray") else counts
    values = np.asarray(values, np.float64).ravel()
    row = {spot: i for i, spot in enumerate(table.obs_names)}
    return np.array([values[row[s]] if s in row else np.nan for s in section.ids])


def _stored(section: Section, modality: str, name: str) -> tuple[Any, Any]:
    """The table that holds a feature, and its column; of an embedding one component."""
    if modality in section.modalities:
        table = section.table(modality)
        if name not in table.var_names:
            return None, None
        column = table.X[:, [table.var_names.get_loc(name)]]
        return table, column.toarray() if hasattr(column, "toarray") else np.asarray(column)
    for other in section.modalities:
        table = section.table(other)
        if modality in table.obsm and name.startswith(f"{modality}_"):
            index = int(name.removeprefix(f"{modality}_")) - 1
            return table, np.asarray(table.obsm[modality])[:, index]
    return None, None
