"""Colours of names and of numbers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.palette import PALETTE, natural, palette

__all__ = [
    "GREY_GAPS",
    "MISSING",
    "PALETTE",
    "hex_rgba",
    "natural",
    "numeric_rgba",
    "palette",
    "with_missing",
]

MISSING = "#808080"
GREY_GAPS = " (gaps grey)"
"""Ends the name of a colormap that shows NaN in grey."""


def numeric_rgba(
    values: NDArray[Any], limits: tuple[float, float], colormap: str
) -> NDArray[np.float32]:
    """(n, 4) colours of numbers; NaN is grey."""
    low, high = limits
    scaled = np.clip((np.asarray(values, np.float64) - low) / (high - low), 0, 1)
    return np.asarray(with_missing(colormap).map(scaled), dtype=np.float32)


@lru_cache(maxsize=64)
def with_missing(colormap: str) -> Any:
    """Return a napari colormap that shows NaN in grey.

    One object per name: napari keeps every colormap that a layer ever had.
    """
    from napari.utils.colormaps import Colormap, ensure_colormap

    try:
        base = ensure_colormap(colormap)
    except (KeyError, ValueError) as error:
        raise UserError(
            f"There is no colormap {colormap!r}.", "Use viridis, magma, inferno or gray."
        ) from error
    return Colormap(
        colors=base.colors,
        controls=base.controls,
        interpolation=base.interpolation,
        name=base.name + GREY_GAPS,
        nan_color=hex_rgba(MISSING),
    )


def hex_rgba(colour: str) -> tuple[float, float, float, float]:
    """Return a colour (hex or a name) as RGBA in [0, 1]; what cannot be read is grey."""
    from napari.utils.color import ColorValue

    try:
        red, green, blue, alpha = (float(v) for v in ColorValue(colour))
    except (ValueError, KeyError, TypeError):
        return 0.5, 0.5, 0.5, 1.0
    return red, green, blue, alpha
