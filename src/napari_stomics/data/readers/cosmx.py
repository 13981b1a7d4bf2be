"""CosMx (NanoString) flat files: counts and metadata per cell, outlines, transcripts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.data.build import make_section
from napari_stomics.data.readers import _common as common
from napari_stomics.data.readers._outlines import outlines_from_vertices

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

_PIXEL_UM = 0.12028
"""CosMx's pixel; the flat files of the first instruments used 0.18 um, and say so nowhere."""
_CONTROL_PREFIXES = ("negprb", "negative", "systemcontrol", "falsecode")
_CSV = (".csv", ".csv.gz")


@dataclass(frozen=True)
class Frame:
    """From global pixels to micrometres with y down.

    Attributes
    ----------
    um_per_px
        Micrometres per pixel.
    top
        The largest y in pixels, which becomes 0; None if y points down already.
    """

    um_per_px: float
    top: float | None

    def to_um(self, pixels: NDArray[Any]) -> NDArray[np.float64]:
        """Map (n, 2) global pixels (x, y) to micrometres."""
        y = pixels[:, 1] if self.top is None else self.top - pixels[:, 1]
        return np.column_stack([pixels[:, 0], y]) * self.um_per_px


def measured_pixel(folder: Path) -> float | None:
    """Micrometres per pixel, where the fields of view are placed in pixels and millimetres."""
    for file in _find(folder, "fov_positions_file"):
        frame = common.read_table(file)
        columns = ("x_global_px", "y_global_px", "x_global_mm", "y_global_mm")
        if len(frame) < 2 or not set(columns) <= set(frame):
            continue
        values = frame[list(columns)].to_numpy(dtype=np.float64)
        px, mm = (np.ptp(values[:, i : i + 2], axis=0) for i in (0, 2))
        if (px**2).sum() > 0:
            return float(1000 * np.sqrt((mm**2).sum() / (px**2).sum()))
    return None


def _assumed_pixel() -> float:
    common.warn(
        f"These CosMx files do not tell the pixel size: {_PIXEL_UM} micrometres is assumed. "
        "Early data sets have 0.18: give um_per_px then."
    )
    return _PIXEL_UM


def is_folder(path: Path) -> bool:
    """Whether a folder holds CosMx flat files."""
    return bool(_find(path, "exprMat_file"))


def read(
    path: Path,
    *,
    name: str,
    um_per_px: float | None = None,
    modality: str | None = None,
    annotation: str | None = None,
    outlines: bool = True,
    transcripts: bool = False,
    fov: int | None = None,
    y_up: bool = True,
) -> SpatialData:
    """Read a CosMx slide from its flat files.

    Parameters
    ----------
    path
        Folder of the flat files, or ``*_exprMat_file.csv`` in it.
    name
        Section name.
    um_per_px
        Micrometres per pixel of the global coordinates; by default from the positions of
        the fields of view where these are in millimetres too, else 0.12028.
    modality
        Name of the table; ``rna`` by default, ``protein`` for panels of antibodies.
    annotation
        Column of ``obs`` with the expert's annotation.
    outlines
        Read the outlines of the cells.
    transcripts
        Read the transcripts too.
    fov
        Read one field of view alone.
    y_up
        The files count y upwards, against their images; it is turned to point down.
    """
    folder = path.parent if path.is_file() else path
    scale = common.checked_scale(um_per_px) or measured_pixel(folder) or _assumed_pixel()
    table, pixels = _table(folder, path if path.is_file() else None, fov)
    frame = Frame(scale, float(pixels[:, 1].max()) if y_up else None)
    xy = frame.to_um(pixels)
    area = table.obs.get("Area")
    radius: NDArray[Any] | float = 0.5 * common.median_spacing(xy)
    if area is not None:
        radius = np.sqrt(np.maximum(area.to_numpy(dtype=np.float64), 1.0) / np.pi) * scale
    table.obsm["spatial"] = xy
    return make_section(
        name,
        coordinates=xy,
        radius=radius,
        tables={modality or "rna": common.unique_names(table)},
        shapes=_outlines(folder, table, frame) if outlines else {},
        points=_transcripts(folder, frame, fov) if transcripts else {},
        annotation=annotation,
        technology="CosMx",
        source=str(path),
    )


def inspect(path: Path) -> dict[str, Any]:
    """Say what :func:`read` would find."""
    folder = path.parent if path.is_file() else path
    counts, metadata = _find(folder, "exprMat_file"), _find(folder, "metadata_file")
    lost = [] if counts else ["*_exprMat_file.csv"]
    lost += [] if metadata else ["*_metadata_file.csv"]
    found = common.preview(path, name=common.default_name(folder), missing=lost)
    found["um_per_px"] = measured_pixel(folder) or _PIXEL_UM
    if measured_pixel(folder) is None:
        found["notes"] = ["The files do not tell the pixel size; 0.12028 um is assumed."]
    if len(counts) == 1:
        head = [c for c in common.read_table(counts[0], nrows=0) if c.lower() not in _KEYS]
        found["modalities"] = {"rna": sum(not _is_control(c) for c in head)}
    return found


_KEYS = ("fov", "cell_id", "cell", "")


def _find(folder: Path, stem: str) -> list[Path]:
    return [p for e in _CSV for p in sorted(folder.glob(f"*{stem}{e}"))]


def _one(folder: Path, stem: str, what: str) -> Path:
    found = _find(folder, stem)
    if not found:
        raise common.missing(
            folder, f"*_{stem}.csv", what, "Copy it from the flat files of the AtoMx export."
        )
    if len(found) > 1:
        raise UserError(
            f"{folder} holds several slides: {', '.join(p.name for p in found)}.",
            "Open one of them by the path of its *_exprMat_file.csv.",
        )
    return found[0]


def _table(
    folder: Path, counts_file: Path | None, fov: int | None
) -> tuple[AnnData, NDArray[np.float64]]:
    """Return the table of cells and their global pixel positions."""
    import anndata
    import pandas as pd
    from scipy.sparse import csr_matrix

    file = counts_file or _one(folder, "exprMat_file", "the counts per cell")
    prefix = file.name.split("exprMat_file")[0]
    own = [p for p in _find(folder, "metadata_file") if p.name.startswith(prefix)]
    metadata_file = own[0] if own else _one(folder, "metadata_file", "where the cells lie")
    counts, metadata = common.read_table(file), common.read_table(metadata_file)
    for frame, at in ((counts, file), (metadata, metadata_file)):
        common.need_columns(frame, ("fov", "cell_ID"), at)
    columns = ("CenterX_global_px", "CenterY_global_px")
    common.need_columns(metadata, columns, metadata_file)
    counts = counts[counts["cell_ID"] > 0]  # 0 gathers what lies outside of cells
    if fov is not None:
        counts = counts[counts["fov"] == fov]
    counts.index = _cell_names(counts)
    metadata.index = _cell_names(metadata)
    metadata = metadata[~metadata.index.duplicated()]
    counts = counts[counts.index.isin(metadata.index) & ~counts.index.duplicated()]
    if len(counts) == 0:
        raise UserError(
            f"No cell of {file.name} stands in {metadata_file.name}"
            + ("." if fov is None else f" in field of view {fov}."),
            "The two files are of different slides, or the field of view does not exist.",
        )
    features = [c for c in counts if c.lower() not in _KEYS]
    control = np.array([_is_control(c) for c in features], dtype=bool)
    with common.reading(file, "counts per cell"):
        matrix = csr_matrix(counts[features].to_numpy(dtype=np.float32))
    obs = metadata.loc[counts.index]
    table = anndata.AnnData(
        matrix[:, ~control],
        obs=obs.drop(columns=list(columns)).copy(),
        var=pd.DataFrame(index=np.array(features, dtype=object)[~control]),
    )
    if control.any():
        table.obsm["controls"] = matrix[:, control]
        table.uns["controls"] = np.array(features, dtype=object)[control]
    return table, common.finite(obs[list(columns)], metadata_file)


def _cell_names(frame: Any) -> list[str]:
    """``fov_cell``: a cell's number is its own in each field of view alone."""
    pairs = zip(frame["fov"], frame["cell_ID"], strict=True)
    return [f"{int(f)}_{int(c)}" for f, c in pairs]


def _outlines(folder: Path, table: AnnData, to: Frame) -> dict[str, Any]:
    found = [p for e in _CSV for p in sorted(folder.glob(f"*polygons{e}"))]
    if len(found) != 1:
        return {}
    frame = common.read_table(found[0])
    frame = frame.rename(columns={"cellID": "cell_ID", "cellId": "cell_ID"})
    common.need_columns(frame, ("fov", "cell_ID", "x_global_px", "y_global_px"), found[0])
    ids = np.array(_cell_names(frame), dtype=object)
    keep = np.isin(ids, table.obs_names.to_numpy(dtype=object))
    corners = to.to_um(frame[["x_global_px", "y_global_px"]].to_numpy(dtype=np.float64))
    polygons = outlines_from_vertices(ids[keep], corners[keep])
    return {"cells": polygons} if len(polygons) else {}


def _transcripts(folder: Path, to: Frame, fov: int | None) -> dict[str, Any]:
    file = _one(folder, "tx_file", "the transcripts")
    frame = common.read_table(file)
    common.need_columns(frame, ("fov", "x_global_px", "y_global_px", "target"), file)
    if fov is not None:
        frame = frame[frame["fov"] == fov]
    frame = frame.rename(columns={"target": "gene"}).reset_index(drop=True)
    xy = to.to_um(frame[["x_global_px", "y_global_px"]].to_numpy(dtype=np.float64))
    frame["x"], frame["y"] = xy[:, 0], xy[:, 1]
    return {"transcripts": frame[[c for c in ("x", "y", "gene", "fov", "cell_ID") if c in frame]]}


def _is_control(feature: str) -> bool:
    return feature.lower().startswith(_CONTROL_PREFIXES)
