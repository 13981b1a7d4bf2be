"""MERSCOPE (Vizgen) regions: counts per cell with metadata or outlines, mosaics, transcripts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.transforms import Affine
from napari_stomics.data.build import ImageSource, make_section
from napari_stomics.data.readers import _common as common
from napari_stomics.data.readers._tiff import open_tiff

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

COUNTS = "cell_by_gene.csv"
METADATA = "cell_metadata.csv"
TRANSFORM = "micron_to_mosaic_pixel_transform.csv"
TRANSCRIPTS = "detected_transcripts.csv"
_OUTLINES = ("cell_boundaries.parquet", "cellpose_micron_space.parquet")
_MOSAIC = re.compile(r"mosaic_(?P<stain>[\w-]+)_z(?P<z>\d+)\.tiff?$")


def is_folder(path: Path) -> bool:
    """Whether a folder is MERSCOPE's."""
    return (path / COUNTS).is_file() or (path / "images" / TRANSFORM).is_file()


def read(
    path: Path,
    *,
    name: str,
    um_per_px: float | None = None,
    modality: str | None = None,
    annotation: str | None = None,
    z: int | None = None,
    outlines: bool = True,
    transcripts: bool = False,
) -> SpatialData:
    """Read a MERSCOPE region.

    Parameters
    ----------
    path
        Folder of the region, or ``cell_by_gene.csv`` in it.
    name
        Section name.
    um_per_px
        Micrometres per mosaic pixel, where the transform file is missing.
    modality
        Name of the table; ``rna`` by default.
    annotation
        Column of ``obs`` with the expert's annotation.
    z
        Plane of the mosaics; by default the middle one.
    outlines
        Read the outlines of the cells.
    transcripts
        Read the transcripts too, lazily.
    """
    folder = path.parent if path.is_file() else path
    polygons = _read_outlines(folder)
    table = _table(folder)
    table, xy, radius = _place(folder, table, polygons)
    table.obsm["spatial"] = xy
    shapes = {"cells": polygons} if outlines and polygons is not None else {}
    return make_section(
        name,
        images=_images(folder, z, common.checked_scale(um_per_px)),
        coordinates=xy,
        radius=radius,
        tables={modality or "rna": common.unique_names(table)},
        shapes=shapes,
        points=_transcripts(folder) if transcripts else {},
        annotation=annotation,
        technology="MERSCOPE",
        source=str(path),
    )


def inspect(path: Path) -> dict[str, Any]:
    """Say what :func:`read` would find."""
    folder = path.parent if path.is_file() else path
    lost = [] if (folder / COUNTS).is_file() else [COUNTS]
    if not (folder / METADATA).is_file() and _outline_file(folder) is None:
        lost.append(METADATA)
    found = common.preview(path, name=common.default_name(folder), missing=lost)
    if COUNTS not in lost:
        head = common.read_table(folder / COUNTS, nrows=0)
        found["modalities"] = {"rna": sum(not _is_blank(c) for c in list(head)[1:])}
    planes = sorted({p for p, _ in _mosaics(folder)})
    found["choices"] = {"z": planes}
    if planes and (folder / "images" / TRANSFORM).is_file():
        for short, s in _images(folder, None, None).items():
            size = float(np.sqrt(abs(np.linalg.det(s.to_um.matrix[:2, :2]))))
            found["um_per_px"] = size
            found["images"] = [common.image_preview(short, s.levels[0].shape, s.channels, size)]
    return found


def _table(folder: Path) -> AnnData:
    """Counts of all cells, blanks set aside in ``obsm["controls"]``."""
    import anndata
    import pandas as pd
    from scipy.sparse import csr_matrix

    file = folder / COUNTS
    if not file.is_file():
        raise common.missing(
            folder, COUNTS, "the counts per cell", "Copy it from the region's output folder."
        )
    frame = _by_cell(file)
    with common.reading(file, "counts per cell"):
        counts = csr_matrix(frame.to_numpy(dtype=np.float32))
    blank = np.array([_is_blank(c) for c in frame.columns], dtype=bool)
    table = anndata.AnnData(
        counts[:, ~blank],
        obs=pd.DataFrame(index=frame.index.to_numpy(dtype=object)),
        var=pd.DataFrame(index=frame.columns[~blank].astype(str)),
    )
    if blank.any():
        table.obsm["controls"] = counts[:, blank]
        table.uns["controls"] = frame.columns[blank].to_numpy(dtype=object)
    return table


def _by_cell(file: Path) -> Any:
    """Read a table whose first column names the cells; ids are text, long as they are."""
    first = common.read_table(file, nrows=0).columns[0]
    frame = common.read_table(file, dtype={first: str})
    frame = frame[frame[first].notna()].set_index(first)
    frame.index = [_plain_id(i) for i in frame.index]
    return frame[~frame.index.duplicated()]


def _place(
    folder: Path, table: AnnData, polygons: Any
) -> tuple[AnnData, NDArray[Any], NDArray[Any] | float]:
    """Find centres and radii: from the metadata, else from the outlines."""
    file = folder / METADATA
    if file.is_file():
        frame = _by_cell(file)
        common.need_columns(frame, ("center_x", "center_y"), file)
        table = _kept(table, frame.index, METADATA)
        cells = frame.loc[table.obs_names]
        table.obs = cells.copy()
        xy = common.finite(cells[["center_x", "center_y"]], file)
        radius: NDArray[Any] | float = 0.5 * common.median_spacing(xy)
        if polygons is not None:
            area = polygons.geometry.area.reindex(table.obs_names).to_numpy(dtype=np.float64)
            radius = np.where(area > 0, np.sqrt(np.abs(area) / np.pi), radius)
        return table, xy, radius
    if polygons is None:
        raise common.missing(
            folder,
            (METADATA, *_OUTLINES),
            "where the cells lie",
            "Copy one of them from the region's output folder, or from vpt's.",
        )
    table = _kept(table, polygons.index, "the outlines")
    some = polygons.loc[table.obs_names]
    centre = some.geometry.centroid
    return (
        table,
        np.column_stack([centre.x, centre.y]),
        np.sqrt(some.geometry.area.to_numpy() / np.pi),
    )


def _kept(table: AnnData, known: Any, where: str) -> AnnData:
    keep = table.obs_names.isin(known)
    if not keep.any():
        raise UserError(
            f"No cell of {COUNTS} stands in {where}.",
            "The two files are of different segmentations: put the matching ones together.",
        )
    if keep.all():
        return table
    common.warn(
        f"{int((~keep).sum())} of {len(keep)} cells do not stand in {where} and were left out."
    )
    return table[keep].copy()


def _outline_file(folder: Path) -> Path | None:
    found = common.first_existing(folder, *_OUTLINES)
    more = sorted([*folder.glob("cell*_micron_space.parquet"), *folder.glob("cells_*.parquet")])
    return found or (more[0] if more else None)


def _read_outlines(folder: Path) -> Any:
    """The largest outline of each cell over the planes; None without the file."""
    file = _outline_file(folder)
    if file is None:
        return None
    import geopandas as gpd

    with common.reading(common.existing(file), "outlines of cells"):
        frame = gpd.read_parquet(file)
        frame = frame.rename_geometry("geometry")
    common.need_columns(frame, ("EntityID",), file)
    frame.index = [_plain_id(i) for i in frame["EntityID"]]
    geometry = frame.geometry[frame.geometry.notna()].explode(index_parts=False)
    geometry = geometry.where(geometry.is_valid, geometry.buffer(0))
    geometry = geometry[(geometry.geom_type == "Polygon") & ~geometry.is_empty]
    order = geometry.area.to_numpy().argsort(kind="stable")[::-1]
    largest = geometry.iloc[order]
    largest = largest[~largest.index.duplicated()]
    cells = [c for c in dict.fromkeys(frame.index) if c in largest.index]
    return gpd.GeoDataFrame(geometry=largest.loc[cells])


def _mosaics(folder: Path) -> dict[tuple[int, str], Path]:
    images = folder / "images"
    found = {}
    for file in sorted(images.iterdir()) if images.is_dir() else ():
        match = _MOSAIC.match(file.name)
        if match:
            found[int(match["z"]), match["stain"]] = file
    return found


def _images(folder: Path, z: int | None, given: float | None) -> dict[str, ImageSource]:
    """One image of all stains in one plane."""
    import dask.array as da

    mosaics = _mosaics(folder)
    if not mosaics:
        return {}
    planes = sorted({plane for plane, _ in mosaics})
    z = planes[len(planes) // 2] if z is None else z
    if z not in planes:
        raise UserError(f"There is no mosaic of plane {z}.", f"There are planes {planes}.")
    stains = sorted((s for p, s in mosaics if p == z), key=lambda s: (s != "DAPI", s))
    opened = [open_tiff(mosaics[z, stain], alone=True) for stain in stains]
    depth = min(len(o.levels) for o in opened)
    levels = [da.concatenate([o.levels[i] for o in opened], axis=2) for i in range(depth)]
    file = folder / "images" / TRANSFORM
    if file.is_file():
        with common.reading(file, "a 3 x 3 matrix"):
            to_um = Affine(np.loadtxt(file)).inverse()
    elif given is not None:
        to_um = common.scaling(given)
    else:
        common.warn(f"images/{TRANSFORM} is missing, so the mosaics cannot be placed: left out.")
        return {}
    return {"mosaic": ImageSource(levels, to_um, stains)}


def _transcripts(folder: Path) -> dict[str, Any]:
    import dask.dataframe as dd

    file = folder / TRANSCRIPTS
    if not file.is_file():
        raise common.missing(folder, TRANSCRIPTS, "the transcripts", "Read it without transcripts.")
    head = common.read_table(file, nrows=5)
    common.need_columns(head, ("global_x", "global_y", "gene"), file)
    kept = [c for c in ("global_x", "global_y", "global_z", "gene", "fov") if c in head]
    frame = dd.read_csv(file, usecols=kept)
    renamed = {"global_x": "x", "global_y": "y", "global_z": "z"}
    return {"transcripts": frame.rename(columns=renamed)}


def _is_blank(feature: str) -> bool:
    return str(feature).lower().startswith("blank")


def _plain_id(value: Any) -> str:
    text = str(value)
    return text.removesuffix(".0")
