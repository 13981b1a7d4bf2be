"""Segmented cells of Visium HD (Space Ranger 4): outlines in GeoJSON, counts per cell."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.data.build import make_section
from napari_stomics.data.readers import _common as common
from napari_stomics.data.readers import tenx, visium, visium_hd

if TYPE_CHECKING:
    from spatialdata import SpatialData


def read_cells(
    path: Path,
    name: str,
    um_per_px: float | None,
    modality: str | None,
    image: str | Path | None,
    annotation: str | None,
) -> SpatialData:
    """Read the segmented cells of a run; parameters as :func:`visium_hd.read`."""
    folder = visium_hd.cells_folder(path)
    if folder is None:
        raise common.missing(
            path / visium_hd.CELLS,
            "cell_segmentations.geojson",
            "the outlines of the cells",
            "Segmented cells come with Space Ranger 4; read the bins instead.",
        )
    counts = tenx.find_matrix(folder, ("filtered", "raw"), "cell")
    if counts is None:
        raise common.missing(
            folder,
            "filtered_feature_cell_matrix.h5",
            "the counts per cell",
            "Copy it from Space Ranger's outs/segmented_outputs.",
        )
    files = visium.locate(folder, ("filtered",))
    factors = common.read_json(_scalefactors(path, files))
    scale = um_per_px or visium_hd.hd_pixel_size(factors, 0.0, None, None)
    outlines = _outlines(folder / "cell_segmentations.geojson", scale)
    table = tenx.read_matrix(counts)
    known = np.array([cell_number(b) in outlines.index for b in table.obs_names], dtype=bool)
    if not known.any():
        raise UserError(
            f"No cell of {counts.name} stands in cell_segmentations.geojson.",
            "The two files are of different runs: put the matching ones together.",
        )
    table = common.part(table, known)
    outlines = outlines.loc[[cell_number(b) for b in table.obs_names]]
    outlines.index = table.obs_names
    centre = outlines.geometry.centroid
    xy = np.column_stack([centre.x, centre.y])
    table.obs["area_um2"] = outlines.geometry.area.to_numpy()
    table.obsm["spatial"] = xy
    fullres = image or visium_hd.microscope_image(path)
    return make_section(
        name,
        images=visium.section_images(files, factors, scale, fullres),
        coordinates=xy,
        radius=np.sqrt(table.obs["area_um2"].to_numpy() / np.pi),
        tables=common.split_by_modality(table, modality),
        shapes={"cells": outlines},
        annotation=annotation,
        pixel_size_um=scale,
        technology="Visium HD cells",
        source=str(path),
    )


def cell_number(barcode: str) -> int:
    """The number in ``cellid_000000012-1``; -1 where there is none."""
    found = re.search(r"(\d+)(?:-\d+)?$", barcode)
    return int(found.group(1)) if found else -1


def _outlines(path: Path, scale: float) -> Any:
    """Outlines as polygons in micrometres, indexed by cell number."""
    import geopandas as gpd
    from shapely.geometry import shape

    features = common.read_json(path).get("features", [])
    with common.reading(path, "outlines of cells"):
        numbers = [int(f["properties"]["cell_id"]) for f in features]
        shapes: NDArray[Any] = np.array([shape(f["geometry"]) for f in features], dtype=object)
        frame = gpd.GeoDataFrame(geometry=list(shapes), index=numbers)
    frame.geometry = frame.geometry.scale(scale, scale, origin=(0, 0))
    usable = ~frame.geometry.is_empty & frame.geometry.is_valid & ~frame.index.duplicated()
    return frame[usable]


def _scalefactors(path: Path, files: visium.Files) -> Path:
    if files.scalefactors is not None:
        return files.scalefactors
    for folder in visium_hd.bins(path).values():
        if (folder / "spatial" / "scalefactors_json.json").is_file():
            return folder / "spatial" / "scalefactors_json.json"
    raise common.missing(
        files.root / "spatial",
        "scalefactors_json.json",
        "how images and positions fit",
        "Copy it from Space Ranger's outs/segmented_outputs/spatial.",
    )
