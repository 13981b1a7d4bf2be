"""Small studies with known pixels, places and values."""

from typing import Any

import numpy as np

from napari_stomics.core.transforms import Affine
from napari_stomics.data.build import ImageSource, make_section
from napari_stomics.data.study import Study

PIXEL = 4.0
ORIGIN = (100.0, 40.0)


def to_um(pixel: float = PIXEL, origin: tuple[float, float] = ORIGIN) -> Affine:
    return Affine(np.array([[pixel, 0, origin[0]], [0, pixel, origin[1]], [0, 0, 1.0]]))


def grid(n: int = 6, pitch: float = 40.0) -> np.ndarray:
    x, y = np.meshgrid(np.arange(n) * pitch + 140.0, np.arange(n) * pitch + 80.0)
    return np.column_stack([x.ravel(), y.ravel()])


def table(n: int, prefix: str = "s") -> Any:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    counts = np.arange(n * 4, dtype=np.int32).reshape(n, 4)
    counts[:, 3] = 0
    counts[0, 3] = 7
    layer = pd.Categorical(
        [["inner", "outer", None][i % 3] for i in range(n)], categories=["inner", "outer"]
    )
    obs = pd.DataFrame(
        {"layer": layer, "depth": np.arange(n, dtype=float)},
        index=[f"{prefix}{i}" for i in range(n)],
    )
    adata = AnnData(
        csr_matrix(counts), obs=obs, var=pd.DataFrame(index=["Penk", "Spen", "Th", "Rare"])
    )
    adata.obsm["X_pca"] = np.column_stack([np.arange(n), -np.arange(n)]).astype(float)
    return adata


def brightfield(height: int = 80, width: int = 90, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def section(name: str = "A", **more: Any) -> Any:
    xy = grid()
    options: dict[str, Any] = {
        "images": {"he": ImageSource([brightfield()], to_um())},
        "coordinates": xy,
        "radius": 10.0,
        "tables": {"rna": table(len(xy))},
        "annotation": "layer",
    }
    return make_section(name, **{**options, **more})


def pair() -> Study:
    study = Study(section("A"))
    study.add(section("B"))
    return study


def turned(degrees: float = 30.0, shift: tuple[float, float] = (25.0, -10.0)) -> Affine:
    angle = np.deg2rad(degrees)
    c, s = np.cos(angle), np.sin(angle)
    return Affine(np.array([[c, -s, shift[0]], [s, c, shift[1]], [0, 0, 1.0]]))
