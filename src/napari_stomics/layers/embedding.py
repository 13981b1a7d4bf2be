"""Paint embeddings and domains: each with its uncertainty, section by section."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.data.domain_colours import domain_colours
from napari_stomics.layers import domains
from napari_stomics.layers.valued import Values

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_stomics.core.fusion import Domains, Embedding
    from napari_stomics.layers.easel import Easel

_UNIT = (0.0, 1.0)


def _each_section(result: Embedding | Domains) -> list[tuple[str, str, NDArray[np.bool_], str]]:
    """Name of a part's suffix, section, rows and title's suffix, of every section of a result."""
    several = len(result.sections) > 1
    return [
        (f"@{name}" if i else "", name, result.of == i, f" ({name})" if several else "")
        for i, name in enumerate(result.sections)
    ]


def paint_embedding(easel: Easel, result: Embedding) -> None:
    """Show the first three components as colours; disagreement and weights hidden at first."""
    parts = " + ".join(result.modalities)
    colours = component_colours(result.values)
    for suffix, section, here, title in _each_section(result):
        ids = result.ids[here]
        rgb = Values("embedding", colours[here])
        easel.spots(f"components{suffix}", section, ids, rgb, f"Embedding of {parts}{title}")
        shares = {"disagreement": (f"Disagreement of {parts}", result.disagreement)}
        for name, column in zip(result.modalities, result.spot_weights.T, strict=False):
            shares[f"weight of {name}"] = (f"Weight of {name}", column)
        for name, (words, column) in shares.items():
            values = Values(name, np.asarray(column, np.float64)[here], _UNIT, "plasma")
            easel.spots(f"{name}{suffix}", section, ids, values, f"{words}{title}", visible=False)


def _shows(layer: Layer, name: str, values: NDArray[np.float64]) -> bool:
    """Whether a layer of spots has these values already."""
    features = getattr(layer, "features", {})  # a raster of very many spots has none
    return name in features and np.array_equal(features[name], values, equal_nan=True)


def component_colours(values: NDArray[Any]) -> NDArray[np.float64]:
    """(n, 3) colours in [0, 1] from the first three components, each over its 2-98 percentiles."""
    first = np.asarray(values, np.float64)[:, :3]
    if first.shape[1] < 3:
        first = np.hstack([first, np.zeros((len(first), 3 - first.shape[1]))])
    low, high = np.nanpercentile(first, (2, 98), axis=0)
    return np.clip((first - low) / np.where(high > low, high - low, 1), 0, 1)


def paint_domains(easel: Easel, result: Domains) -> None:
    """Show domains in the colours of the study; entropy and stability hidden at first."""
    colours = domain_colours(easel.study, result, easel.key)
    for suffix, section, here, title in _each_section(result):
        ids = result.ids[here]
        names = np.asarray(result.labels, dtype=object)[here]
        part = f"{domains.PART}{suffix}"
        former = easel.former(part, section)
        if former is not None and np.array_equal(domains.labels_of(former), names):
            domains.paint_labels(former, names, colours)  # at most the colours are others
            easel.leave(part)
        else:
            labels = Values(domains.COLUMN, names, colours=colours)
            words, options = f"Domains{title}", {"labels": names}
            easel.spots(part, section, ids, labels, words, options=options)
        for name in ("entropy", "stability"):
            share = np.asarray(getattr(result, name), np.float64)[here]
            former = easel.former(f"{name}{suffix}", section)
            if former is not None and _shows(former, name, share):
                easel.leave(f"{name}{suffix}")
                continue
            values = Values(name, share, _UNIT, "plasma")
            words = f"Domains: {name}{title}"
            easel.spots(f"{name}{suffix}", section, ids, values, words, visible=False)
