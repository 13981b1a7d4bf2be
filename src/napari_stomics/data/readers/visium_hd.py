"""Space Ranger output of Visium HD: square bins of 2, 8 or 16 um, or segmented cells.

Neither ``feature_slice.h5`` nor both matrix formats are needed: one bin folder
with counts, positions and scale factors is enough.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_stomics.core.errors import UserError
from napari_stomics.data.build import make_section
from napari_stomics.data.readers import _common as common
from napari_stomics.data.readers import tenx, visium
from napari_stomics.data.readers._pitch import fit_square

if TYPE_CHECKING:
    from spatialdata import SpatialData

_BIN = re.compile(r"square_(\d{3})um$")
_PREFERRED = (8, 16, 2)
CELLS = "segmented_outputs"


def is_folder(path: Path) -> bool:
    """Whether a folder holds Visium HD bins or segmented cells, or is such a folder."""
    return bool(_BIN.search(path.name) and (path / "spatial").is_dir()) or bool(
        bins(path) or cells_folder(path)
    )


def bins(path: Path) -> dict[int, Path]:
    """Folders of the bins in a run's output, by bin size in micrometres."""
    for folder in (path / "binned_outputs", path / "outs" / "binned_outputs", path):
        if folder.is_dir():
            found = {
                int(match.group(1)): child
                for child in sorted(folder.glob("square_*um"))
                if (match := _BIN.search(child.name)) and child.is_dir()
            }
            if found:
                return found
    return {}


def cells_folder(path: Path) -> Path | None:
    """Folder of the segmented cells (Space Ranger 4), if there is one."""
    for folder in (path / CELLS, path / "outs" / CELLS, path):
        if (folder / "cell_segmentations.geojson").is_file():
            return folder
    return None


def read(
    path: Path,
    *,
    name: str,
    um_per_px: float | None = None,
    modality: str | None = None,
    image: str | Path | None = None,
    annotation: str | None = None,
    bin_um: int | None = None,
    cells: bool = False,
    counts: str = "filtered",
) -> SpatialData:
    """Read one bin size of a Visium HD section, or its segmented cells.

    Parameters
    ----------
    path
        Folder of the run (``outs``), ``binned_outputs`` or one ``square_008um``.
    name
        Section name.
    um_per_px
        Micrometres per full-resolution pixel, instead of ``microns_per_pixel``.
    modality
        Name of the first table instead of the one its feature type gives.
    image
        Full-resolution microscope image.
    annotation
        Column of ``obs`` with the expert's annotation.
    bin_um
        Bin size; by default 8, else 16, else 2 um.
    cells
        Read the segmented cells instead of bins.
    counts
        ``filtered`` or ``raw``.
    """
    given = common.checked_scale(um_per_px)
    folder, edge = (None, None) if cells else _bin_folder(path, bin_um)
    if folder is None:
        from napari_stomics.data.readers._hd_cells import read_cells

        return read_cells(path, name, given, modality, image, annotation)
    files = _bin_files(folder, counts)
    assert files.positions is not None
    assert files.scalefactors is not None
    assert files.counts is not None
    positions = visium.read_positions(files.positions)
    factors = common.read_json(files.scalefactors)
    table = tenx.read_matrix(files.counts)
    size = float(factors.get("bin_size_um", 0) or edge or 0)
    scale = given or hd_pixel_size(factors, size, positions, visium.pixels(positions))
    positions = visium.matched(files, positions, table, in_tissue=True)
    table = visium.placed(table, positions, scale)
    xy = table.obsm["spatial"]
    fullres = image or microscope_image(path)
    images = visium.section_images(_with_images(files, path), factors, scale, fullres)
    common.check_inside(images, xy)
    return make_section(
        name,
        images=images,
        coordinates=xy,
        radius=size / 2,
        tables=common.split_by_modality(table, modality),
        annotation=annotation,
        pixel_size_um=scale,
        technology=f"Visium HD {size:g} um",
        source=str(path),
    )


def inspect(path: Path) -> dict[str, Any]:
    """Say what :func:`read` would find."""
    sizes = sorted(bins(path)) or _own_size(path)
    choice = {"bin_um": sizes, "cells": cells_folder(path) is not None}
    if not sizes:
        return common.preview(path, choices=choice, name=common.default_name(path))
    folder, _ = _bin_folder(path, None)
    assert folder is not None
    files = visium.locate(folder, ("filtered", "raw"))
    scale = None
    if files.scalefactors is not None:
        scale = hd_pixel_size(common.read_json(files.scalefactors), 0.0, None, None)
    found = visium.inspect(folder, scale)
    found["path"] = str(path)
    found["name"] = common.default_name(folder.parent if path == folder else path)
    found["choices"] = choice
    return found


def hd_pixel_size(factors: dict[str, Any], size: float, positions: Any, xy: Any) -> float:
    """Micrometres per full-resolution pixel: Space Ranger's own figure, else the bins' pitch."""
    told = float(factors.get("microns_per_pixel", 0) or 0)
    if told > 0:
        return told
    fit = fit_square(positions["array_row"], positions["array_col"], xy, size) if size else None
    if fit is not None:
        return fit.um_per_px
    diameter = float(factors.get("spot_diameter_fullres", 0) or 0)
    if diameter > 0 and size > 0:
        return size / diameter  # in HD this is the edge of a bin
    raise UserError(
        "The pixel size is not known: scalefactors_json.json has no microns_per_pixel.",
        "Give um_per_px, the micrometres per full-resolution pixel (Pixel size in the form).",
    )


def microscope_image(path: Path) -> Path | None:
    """The full-resolution image, where the run's folder has one in ``microscope_image``."""
    from napari_stomics.data.readers.images import SUFFIXES

    folder = path / "microscope_image"
    found = [p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES] if folder.is_dir() else []
    return found[0] if len(found) == 1 else None


def _bin_folder(path: Path, bin_um: int | None) -> tuple[Path | None, int | None]:
    own = _own_size(path)
    if own:
        return path, own[0]
    found = bins(path)
    if not found and cells_folder(path) is not None and bin_um is None:
        return None, None
    if bin_um is not None and bin_um not in found:
        listed = ", ".join(map(str, sorted(found))) or "none"
        raise UserError(f"There are no bins of {bin_um} um in {path}.", f"There are: {listed}.")
    size = bin_um or next((s for s in _PREFERRED if s in found), None) or min(found, default=None)
    if size is None:
        raise common.missing(
            path,
            ("binned_outputs/square_008um", "segmented_outputs"),
            "the counts",
            "Open Space Ranger's outs folder.",
        )
    return found[size], size


def _bin_files(folder: Path, counts: str) -> visium.Files:
    """Find the three files that a bin folder has to hold."""
    kinds = ("raw", "filtered") if counts == "raw" else ("filtered", "raw")
    files = visium.locate(folder, kinds)
    if files.positions is None or files.scalefactors is None:
        lost = "tissue_positions.parquet" if files.positions is None else "scalefactors_json.json"
        raise common.missing(
            folder / "spatial",
            lost,
            "where the bins lie",
            f"Copy it from Space Ranger's outs/binned_outputs/{folder.name}/spatial.",
        )
    if files.counts is None:
        raise common.missing(
            folder,
            ("filtered_feature_bc_matrix.h5", "filtered_feature_bc_matrix/"),
            "the counts",
            f"Copy it from Space Ranger's outs/binned_outputs/{folder.name}.",
        )
    return files


def _own_size(path: Path) -> list[int]:
    match = _BIN.search(path.name)
    return [int(match.group(1))] if match and (path / "spatial").is_dir() else []


def _with_images(files: visium.Files, path: Path) -> visium.Files:
    """Take the image from the run's own ``spatial`` folder where the bin has none."""
    if files.hires is not None:
        return files
    from dataclasses import replace

    for folder in (path / "spatial", path / "outs" / "spatial"):
        above = visium.find_one(folder, "tissue_hires_image.png") if folder.is_dir() else None
        if above is not None:
            return replace(files, hires=above)
    return files
