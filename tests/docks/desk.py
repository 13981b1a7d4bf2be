"""What the tests of the docks share: small studies, a model of a viewer, waiting for jobs."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_stomics.data.study import Study
from tests.layers.studies import grid, section, table


def two_sections(first: str = "A", second: str = "B", **changes: Any) -> Study:
    """Two sections that nothing registers; the second one lacks the gene Th."""
    import pandas as pd

    study = Study(section(first))
    other = table(len(grid()), prefix="t")
    other.var = pd.DataFrame(index=["Penk", "Spen", "Only", "Rare"])
    study.add(section(second, **{"tables": {"rna": other}, **changes}))
    return study


def registered(study: Study, source: str = "B", target: str = "A", shift: float = 10.0) -> Study:
    """Register two sections by a shift in x."""
    from napari_stomics.core.results import Registration
    from napari_stomics.core.transforms import Affine
    from napari_stomics.data.warp import store_registration

    matrix = np.eye(3)
    matrix[0, 2] = shift
    store_registration(study, Registration(source, target, Affine(matrix), "affine", "landmarks"))
    return study


def finish(qtbot: Any, bench: Any, timeout: int = 60_000) -> None:
    """Wait until no job runs and what they left to do later is done."""
    qtbot.waitUntil(lambda: not bench.runner.active(), timeout=timeout)
    for _ in range(3):
        qtbot.wait(5)
