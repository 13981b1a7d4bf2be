"""A section of which each modality lacks spots that the other has."""

from __future__ import annotations

import numpy as np

from napari_stomics.data.build import make_section
from napari_stomics.data.study import Study
from tests.small import shared_simulation

LEFT_OUT = 20
"""Spots that each table lacks."""


def partly_measured() -> Study:
    """RNA and protein of one simulated section, each without 20 spots, no two the same."""
    whole = shared_simulation().study.section("section_1")
    ids = whole.ids
    lost = np.random.default_rng(0).permutation(len(ids))[: 2 * LEFT_OUT]
    tables = {}
    for modality, gone in (("rna", lost[:LEFT_OUT]), ("protein", lost[LEFT_OUT:])):
        kept = np.ones(len(ids), bool)
        kept[gone] = False
        tables[modality] = whole.table(modality)[kept].copy()
    return Study(
        make_section(
            "A",
            coordinates=whole.coordinates,
            radius=whole.diameter / 2,
            ids=ids,
            tables=tables,
            annotation=whole.record.annotation,
        )
    )
