"""Colours of names and of numbers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError

MISSING = "#808080"
GREY_GAPS = " (gaps grey)"
"""Ends the name of a colormap that shows NaN in grey."""

# Distinct on black and on H&E; the first eight keep apart for colour-blind eyes.
PALETTE = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f3c8d",
    "#11a579", "#e73f74", "#80ba5a", "#a5aa99", "#3969ac", "#cf1c90", "#f2b701", "#4b4b8f",
    "#f97b72", "#008695", "#dad056", "#b6992d",
)  # fmt: skip


def palette(names: list[str]) -> dict[str, str]:
    """Colours (hex) of names in their order; beyond the palette, evenly spread hues."""
    from colorsys import hsv_to_rgb

    out = {}
    for i, name in enumerate(names):
        if i < len(PALETTE):
            out[name] = PALETTE[i]
        else:
            rgb = hsv_to_rgb(i * 0.618034 % 1, 0.55 + 0.35 * (i % 2), 0.95 - 0.2 * (i % 3))
            out[name] = "#" + "".join(f"{round(255 * v):02x}" for v in rgb)
    return out


def natural(name: str) -> tuple[Any, ...]:
    """Sort key in which ``L10`` comes after ``L9``."""
    import re

    return tuple((1, int(p), "") if p.isdigit() else (0, 0, p) for p in re.split(r"(\d+)", name))


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
