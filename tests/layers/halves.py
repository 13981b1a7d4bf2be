"""Two domains, one half of each section each."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_stomics.core.fusion import Domains
from tests.layers.studies import grid


def halves(study: Any, sections: tuple[str, ...] = ("A",)) -> Domains:
    n = len(grid())
    ids = np.concatenate([study.section(name).ids for name in sections])
    labels = np.tile(np.where(np.arange(n) < n // 2, "D1", "D2"), len(sections)).astype(object)
    return Domains(
        section=sections[0],
        ids=ids,
        labels=labels,
        names=("D1", "D2"),
        probabilities=np.full((len(ids), 2), 0.5),
        entropy=np.linspace(0, 1, len(ids)),
        stability=np.ones(len(ids)),
        sections=sections,
        of=np.repeat(np.arange(len(sections)), n),
    )
