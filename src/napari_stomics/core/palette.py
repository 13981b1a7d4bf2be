"""Colours of names, told apart on black and on H&E."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

# Distinct on black and on H&E; the first eight keep apart for colour-blind eyes.
PALETTE = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f3c8d",
    "#11a579", "#e73f74", "#80ba5a", "#a5aa99", "#3969ac", "#cf1c90", "#f2b701", "#4b4b8f",
    "#f97b72", "#008695", "#dad056", "#b6992d",
)  # fmt: skip


def palette(names: Sequence[str], taken: Collection[str] = ()) -> dict[str, str]:
    """Colours (hex) of names in their order; beyond the palette, evenly spread hues.

    Parameters
    ----------
    names
        The names.
    taken
        Colours that are not to be used.
    """
    out: dict[str, str] = {}
    used = {colour.lower() for colour in taken}
    i = 0
    for name in names:
        while (colour := _colour(i)) in used:
            i += 1
        out[name] = colour
        i += 1
    return out


def _colour(i: int) -> str:
    from colorsys import hsv_to_rgb

    if i < len(PALETTE):
        return PALETTE[i]
    rgb = hsv_to_rgb(i * 0.618034 % 1, 0.55 + 0.35 * (i % 2), 0.95 - 0.2 * (i % 3))
    return "#" + "".join(f"{round(255 * v):02x}" for v in rgb)


def natural(name: str) -> tuple[Any, ...]:
    """Sort key in which ``L10`` comes after ``L9``."""
    import re

    return tuple((1, int(p), "") if p.isdigit() else (0, 0, p) for p in re.split(r"(\d+)", name))
