"""Opening a 40,000 x 40,000 px slide and a million spots, through the readers, as a viewer does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks._harness import line, run_isolated

NAMES = ("open.large_image", "open.million_spots")
SIDE = 40_000
TILE = 512
SPOTS = 1_000_000
GENES = 200
LIBRARIES = ("spatialdata", "anndata", "tifffile", "zarr", "geopandas", "dask.array", "imagecodecs")


def lines(wanted: Callable[[str], bool]) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        if wanted("open.large_image"):
            yield image_line(Path(folder) / "slide.tif")
        if wanted("open.million_spots"):
            yield spots_line(Path(folder) / "spots.h5ad")


def image_line(path: Path) -> dict[str, Any]:
    write_slide(path)
    run_isolated("benchmarks.open_large:open_slide", str(path), imports=LIBRARIES)  # warm the cache
    cost = run_isolated("benchmarks.open_large:open_slide", str(path), imports=LIBRARIES)
    return line(
        "open.large_image",
        {"seconds": round(cost.seconds, 3), **cost.values, **cost.result},
        protocol=f"A {SIDE} x {SIDE} px RGB pyramidal BigTIFF, tiles of {TILE} px, JPEG "
        f"({path.stat().st_size / 1e6:.0f} MB; {SIDE**2 * 3 / 1e6:.0f} MB when unpacked) becomes a "
        "section; its coarsest level and a window of 1024 x 1024 px of the finest are read. "
        "Fresh process, libraries imported and file cached before the clock starts; peak_mb is "
        "over the start; window_s is the mean of five such windows, panned without a cache.",
    )


def spots_line(path: Path) -> dict[str, Any]:
    write_spots(path)
    cost = run_isolated("benchmarks.open_large:open_spots", str(path), imports=LIBRARIES)
    return line(
        "open.million_spots",
        {"seconds": round(cost.seconds, 3), **cost.values, **cost.result},
        protocol=f"An h5ad of {SPOTS} spots x {GENES} genes, 5 % of the counts not zero, becomes a "
        "section; coordinates and one gene's column are taken. Fresh process, libraries imported "
        "before the clock starts; peak_mb is over the start and holds the sparse counts.",
    )


def open_slide(path: str) -> dict[str, float]:
    """Read the slide as a section; look at the whole and at five windows in full resolution."""
    import time

    import numpy as np

    from napari_stomics.data.readers import read_section
    from napari_stomics.data.study import Study

    image = Study(read_section(path, name="slide")).section("slide").image()
    whole = np.asarray(image.levels[-1])
    if max(whole.shape[:2]) > 2048 or image.levels[0].shape != (SIDE, SIDE, 3):
        raise RuntimeError(f"the levels are {[level.shape for level in image.levels]}")
    start = time.perf_counter()
    for step in range(5):
        y = 20_000 + step * 300
        window = np.asarray(image.levels[0][y : y + 1024, 17_000:18_024])
        if window.std() == 0:
            raise RuntimeError("the window is blank")
    return {"window_s": round((time.perf_counter() - start) / 5, 3), "levels": len(image.levels)}


def open_spots(path: str) -> dict[str, float]:
    """Read the spots as a section; take what a viewer takes."""
    import numpy as np

    from napari_stomics.data.readers import read_section
    from napari_stomics.data.study import Study

    section = Study(read_section(path, name="s", um_per_px=1.0)).section("s")
    xy, column = section.coordinates, section.table("rna").X[:, 7]
    if xy.shape != (SPOTS, 2) or column.sum() <= 0 or not np.isfinite(xy).all():
        raise RuntimeError("the section is not whole")
    return {"spots": len(xy)}


def write_slide(path: Path, side: int = SIDE) -> None:
    """Write a pyramidal slide cheaply: a few tiles, packed once, repeated over each level."""
    import imagecodecs
    import numpy as np
    import tifffile

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:TILE, :TILE]
    packed = []
    for k in range(8):
        wave = np.sin(x / (9.0 + k)) * np.cos(y / (7.0 + k))
        tile = 200 + 30 * wave[..., None] * (1.0, 0.6, 0.9) + rng.normal(0, 3, (TILE, TILE, 3))
        packed.append(imagecodecs.jpeg_encode(tile.clip(0, 255).astype(np.uint8), level=80))

    def tiles(edge: int) -> Iterator[bytes]:
        count = (-(-edge // TILE)) ** 2
        return (packed[i % len(packed)] for i in range(count))

    edges = [side]
    while edges[-1] > 1024:
        edges.append(edges[-1] // 2)
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for level, edge in enumerate(edges):
            writer.write(
                tiles(edge),
                shape=(edge, edge, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                compression="jpeg",
                photometric="rgb",
                resolutionunit="CENTIMETER",
                resolution=(20_000 / 2**level, 20_000 / 2**level),
                subifds=len(edges) - 1 if level == 0 else None,
                subfiletype=0 if level == 0 else 1,
                metadata=None,
            )


def write_spots(path: Path, spots: int = SPOTS) -> None:
    """Write spots on a square array with sparse counts."""
    import anndata
    import numpy as np
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(0)
    per_spot = GENES // 20
    indices = rng.integers(0, GENES, spots * per_spot, dtype=np.int32)
    counts = csr_matrix(
        (
            rng.integers(1, 9, spots * per_spot).astype(np.float32),
            indices,
            np.arange(spots + 1, dtype=np.int64) * per_spot,
        ),
        shape=(spots, GENES),
    )
    counts.sum_duplicates()
    side = int(np.ceil(np.sqrt(spots)))
    table = anndata.AnnData(counts)
    place = np.arange(spots)
    table.obsm["spatial"] = np.column_stack([place % side, place // side]) * 2.0
    table.write_h5ad(path)
