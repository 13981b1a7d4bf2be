"""A study small enough to be saved many times a second."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_stomics.core.transforms import Affine
from napari_stomics.data.build import ImageSource, make_section
from napari_stomics.data.study import Study


def table(count: int = 12, genes: int = 4, seed: int = 0) -> Any:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(seed)
    return AnnData(
        X=csr_matrix(rng.poisson(1.0, (count, genes)).astype(np.float32)),
        obs=pd.DataFrame(index=[f"spot{i}" for i in range(count)]),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(genes)]),
    )


def study(
    name: str = "one", size: int = 64, seed: int = 0, *, labels: bool = True, points: bool = True
) -> Study:
    import pandas as pd

    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, (size, size, 3), dtype=np.uint8)
    label = np.zeros((size, size), dtype=np.int32)
    label[10:20, 10:30] = 7
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [4.0, 5.0, 6.0], "gene": ["a", "b", "a"]})
    to_um = Affine(np.diag([2.0, 2.0, 1.0]))
    section = make_section(
        name,
        images={"he": ImageSource([image], to_um)},
        coordinates=rng.uniform(5, 100, (12, 2)),
        radius=3.0,
        tables={"rna": table(seed=seed)},
        labels={"cells": (label, to_um)} if labels else None,
        points={"molecules": frame} if points else None,
    )
    return Study(section)
