"""Small tissues with known domains, some of which each modality cannot tell apart."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from napari_stomics.core.fusion import Block, FusionInputs

DOMAINS = 4


@cache
def tissue(side: int = 18, seed: int = 0, effect: float = 0.4) -> tuple[FusionInputs, Any]:
    """Return a square of four quadrants; RNA tells the halves apart one way, protein the other.

    A third modality of kind image sees what protein sees, with more noise.
    """
    rng = np.random.default_rng(seed)
    y, x = np.divmod(np.arange(side * side), side)
    right, low = x >= side // 2, y >= side // 2
    n = len(x)

    def counts(state: Any, width: int, by: float) -> Any:
        profile = rng.gamma(2.0, 1.0, width) * 4
        change = np.exp(by * rng.standard_normal(width))
        mean = profile * np.where(state[:, None], change, 1.0)
        return rng.poisson(mean * rng.gamma(8, 1 / 8, (n, 1))).astype(np.float32)

    rows = np.arange(n)
    blocks = (
        Block("rna", "rna", counts(right, 80, effect), _names("g", 80), rows),
        Block("protein", "protein", counts(low, 20, effect), _names("p", 20), rows),
        Block(
            "image",
            "image",
            (low[:, None] + rng.standard_normal((n, 12)) * 1.5).astype(np.float32),
            _names("f", 12),
            rows,
        ),
    )
    inputs = FusionInputs(
        sections=("s",),
        of=np.zeros(n, np.intp),
        ids=np.array([f"spot{i}" for i in rows], object),
        coordinates=np.column_stack([x, y]) * 100.0,
        pitches=(100.0,),
        blocks=blocks,
    )
    return inputs, (2 * low + right).astype(int)


def chosen(inputs: FusionInputs, *names: str) -> FusionInputs:
    """Keep some of the modalities."""
    return replace(inputs, blocks=tuple(b for b in inputs.blocks if b.name in names))


def lacking(inputs: FusionInputs, name: str, missing: Any) -> FusionInputs:
    """Take a modality from some spots."""
    rows = np.setdiff1d(np.arange(inputs.n), missing)
    blocks = tuple(
        Block(b.name, b.kind, b.x[rows], b.features, rows) if b.name == name else b
        for b in inputs.blocks
    )
    return replace(inputs, blocks=blocks)


def _names(letter: str, count: int) -> Any:
    return np.array([f"{letter}{i}" for i in range(count)], object)
