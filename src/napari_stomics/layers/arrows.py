"""Lines and arrows that nobody can edit by mistake: Vectors with our tag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.transforms import Affine
from napari_stomics.layers.tags import TAG, UNITS, layer_affine

if TYPE_CHECKING:
    from napari.layers import Layer


def vectors_layer(
    data: NDArray[Any],
    title: str,
    entry: dict[str, Any],
    *,
    color: str = "white",
    width: float = 1.0,
    style: str = "line",
    features: dict[str, Any] | None = None,
) -> Layer:
    """Return a layer of lines or arrows.

    Parameters
    ----------
    data
        (n, 2, 2) start and direction as (y, x) um of the section's own frame.
    title
        Name of the layer.
    entry
        Its tag, from :func:`~napari_stomics.layers.tags.new_tag`.
    color, width, style, features
        As in napari's Vectors; the width in um, the style ``line`` or ``arrow``.
    """
    from napari.layers import Vectors

    return Vectors(
        data,
        ndim=2,
        name=title,
        edge_color=color,
        edge_width=width,
        vector_style=style,
        features=features,
        units=UNITS,
        affine=layer_affine(Affine.identity(), Affine(np.array(entry["placement"]))),
        metadata={TAG: entry},
    )
