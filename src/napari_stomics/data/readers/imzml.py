"""imzML: mass spectrometry imaging as a table of pixels by m/z.

In the continuous mode all pixels share their m/z axis. In the processed mode each
has its own; their m/z are gathered into bins of at most a stated width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.data.build import make_section
from napari_stomics.data.readers import _common as common

if TYPE_CHECKING:
    from spatialdata import SpatialData

Floats = NDArray[np.float64]
_FINE = 16
"""Cells of the fine grid per width of a bin: bins start where the m/z do."""
_LIMIT_VALUES = 1_000_000_000


def read(
    path: Path,
    *,
    name: str,
    um_per_px: float | None = None,
    modality: str | None = None,
    tolerance_ppm: float = 20.0,
    mz_range: tuple[float, float] | None = None,
    z: int | None = None,
    flip_y: bool = False,
) -> SpatialData:
    """Read an imzML file as a table of pixels.

    Parameters
    ----------
    path
        The ``.imzML`` file; its ``.ibd`` lies beside it.
    name
        Section name.
    um_per_px
        Pixel size in micrometres, instead of the file's own.
    modality
        Name of the table; ``metabolite`` by default.
    tolerance_ppm
        Width of a bin, in parts per million of m/z, in the processed mode. Equal
        axes are recognised and kept as they are.
    mz_range
        Keep only m/z within these bounds.
    z
        Plane to read where the file has several.
    flip_y
        The pixels count y upwards: turn it down.
    """
    if not 0 < tolerance_ppm < 1e5:
        raise UserError(
            f"A tolerance of {tolerance_ppm} ppm makes no sense.", "Give some ppm, for instance 20."
        )
    parser = _open(path)
    with parser:
        keep, place = _pixels(parser, z)
        spectra = _Spectra(parser, keep, path, mz_range)
        axis, matrix, how = _table(spectra, tolerance_ppm)
        size = _pixel_size(parser, common.checked_scale(um_per_px), path)
    y = place[:, 1].max() + 1 - place[:, 1] if flip_y else place[:, 1]
    xy = (np.column_stack([place[:, 0], y]) - 0.5) * size
    table = _anndata(matrix, axis, place)
    table.obsm["spatial"] = xy
    table.uns["mz_axis"] = how
    return make_section(
        name,
        coordinates=xy,
        radius=min(size) / 2,
        tables={modality or "metabolite": table},
        technology="MSI",
        source=str(path),
    )


def inspect(path: Path) -> dict[str, Any]:
    """Say what :func:`read` would find."""
    ibd = _ibd(path)
    lost = [] if ibd else [path.with_suffix(".ibd").name]
    parser = _open(path, with_data=False)
    size = _told_size(parser)
    same = len(set(parser.mzOffsets)) == 1
    return common.preview(
        path,
        n_spots=len(parser.coordinates),
        modalities={"metabolite": int(max(parser.mzLengths, default=0))},
        um_per_px=size[0] if size else None,
        needs=[] if size else ["um_per_px"],
        missing=lost,
        notes=["One m/z axis for all pixels." if same else "Each pixel has its own m/z: binned."],
    )


def _ibd(path: Path) -> Path | None:
    return next(
        (p for p in path.parent.glob("*") if p.stem == path.stem and p.suffix.lower() == ".ibd"),
        None,
    )


def _open(path: Path, with_data: bool = True) -> Any:
    import warnings

    from pyimzml.ImzMLParser import ImzMLParser

    if path.suffix.lower() == ".ibd":
        found = [p for p in path.parent.glob(f"{path.stem}.*") if p.suffix.lower() == ".imzml"]
        path = found[0] if found else path.with_suffix(".imzML")
    common.existing(path)
    ibd = _ibd(path)
    if with_data and ibd is None:
        raise common.missing(
            path.parent,
            path.with_suffix(".ibd").name,
            "the spectra",
            "Copy it beside the .imzML file; both are needed.",
        )
    stream = common.existing(ibd).open("rb") if with_data and ibd is not None else None
    with common.reading(path, "imzML"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of accession numbers that older files name otherwise
        try:
            return ImzMLParser(str(path), ibd_file=stream)
        except BaseException:
            if stream is not None:
                stream.close()
            raise


def _pixels(parser: Any, z: int | None) -> tuple[NDArray[np.intp], Floats]:
    """Which spectra to read, and their pixel (x, y), counted from 1."""
    at = np.asarray(parser.coordinates, dtype=np.float64)
    planes = np.unique(at[:, 2])
    if z is None and len(planes) > 1:
        raise UserError(
            f"The file holds {len(planes)} planes.",
            f"Choose one by z: {', '.join(f'{p:g}' for p in planes)}.",
        )
    keep = np.arange(len(at)) if z is None else np.flatnonzero(at[:, 2] == z)
    if len(keep) == 0:
        raise UserError(
            f"There is no plane {z}.", f"There are: {', '.join(f'{p:g}' for p in planes)}."
        )
    return keep, at[keep, :2]


class _Spectra:
    """The spectra to read, one after the other, cut to a range and checked for length."""

    def __init__(
        self, parser: Any, keep: NDArray[np.intp], path: Path, bounds: tuple[float, float] | None
    ) -> None:
        self._parser = parser
        self._keep = keep
        self._path = path
        self._bounds = bounds

    def __len__(self) -> int:
        return len(self._keep)

    def __iter__(self) -> Iterator[tuple[Floats, Floats]]:
        for i in self._keep:
            with common.reading(self._path.with_suffix(".ibd"), "spectra of imzML"):
                mz, intensity = (
                    np.asarray(v, dtype=np.float64) for v in self._parser.getspectrum(int(i))
                )
                if len(mz) != self._parser.mzLengths[i] or len(mz) != len(intensity):
                    raise ValueError(f"spectrum {i} is shorter than announced")
            if self._bounds is not None:
                inside = (mz >= self._bounds[0]) & (mz <= self._bounds[1])
                mz, intensity = mz[inside], intensity[inside]
            yield mz, intensity


def _table(spectra: _Spectra, ppm: float) -> tuple[Floats, Any, dict[str, Any]]:
    """Return the m/z axis, the matrix (pixels, m/z) and how the axis was made."""
    first, _ = next(iter(spectra))
    tolerance = ppm * 1e-6
    if all(
        len(mz) == len(first) and np.allclose(mz, first, rtol=tolerance / 2, atol=0)
        for mz, _ in spectra
    ):
        starts, axis = None, first
        how: dict[str, Any] = {"mode": "shared"}
    else:
        starts = _bin_starts(spectra, tolerance)
        axis, how = np.zeros(len(starts)), {"mode": "binned", "tolerance_ppm": ppm}
    if len(axis) == 0:
        raise UserError("No m/z lies in the range.", "Give a wider mz_range.")
    if starts is None and len(axis) * len(spectra) > _LIMIT_VALUES:
        raise UserError(
            f"{len(spectra)} pixels with {len(axis)} m/z each are too many to be read as they are.",
            "Pick peaks first, or give mz_range.",
        )
    return _filled(spectra, starts, axis, tolerance, how)


def _bin_starts(spectra: _Spectra, tolerance: float) -> NDArray[np.int64]:
    """First cell of the fine logarithmic grid in each bin; a bin spans ``_FINE`` cells."""
    occupied: NDArray[np.int64] = np.empty(0, dtype=np.int64)
    batch: list[NDArray[np.int64]] = []
    for mz, _ in spectra:
        batch.append(_cells(mz, tolerance))
        if sum(map(len, batch)) > 5_000_000:
            occupied, batch = np.unique(np.concatenate([occupied, *batch])), []
    occupied = np.unique(np.concatenate([occupied, *batch]))
    starts, at = [], 0
    while at < len(occupied):
        starts.append(occupied[at])
        at = int(np.searchsorted(occupied, occupied[at] + _FINE, side="left"))
    return np.array(starts, dtype=np.int64)


def _cells(mz: Floats, tolerance: float) -> NDArray[np.int64]:
    return np.floor(np.log(mz[mz > 0]) / (math.log1p(tolerance) / _FINE)).astype(np.int64)


def _filled(
    spectra: _Spectra,
    starts: NDArray[np.int64] | None,
    axis: Floats,
    tolerance: float,
    how: dict[str, Any],
) -> tuple[Floats, Any, dict[str, Any]]:
    from scipy.sparse import csr_matrix

    data, columns, lengths = [], [], [0]
    weight, moment = np.zeros(len(axis)), np.zeros(len(axis))
    for mz, intensity in spectra:
        if starts is None:
            column = np.arange(len(axis))
        else:
            intensity, mz = intensity[mz > 0], mz[mz > 0]
            column = np.searchsorted(starts, _cells(mz, tolerance), side="right") - 1
            share = np.maximum(intensity, 1e-12)
            np.add.at(weight, column, share)
            np.add.at(moment, column, share * mz)
        some = intensity != 0
        data.append(intensity[some].astype(np.float32))
        columns.append(column[some].astype(np.int32))
        lengths.append(lengths[-1] + int(some.sum()))
    matrix = csr_matrix(
        (np.concatenate(data), np.concatenate(columns), np.array(lengths)),
        shape=(len(spectra), len(axis)),
    )
    matrix.sum_duplicates()
    return (axis if starts is None else moment / weight), matrix, how


def _anndata(matrix: Any, axis: Floats, place: Floats) -> Any:
    import anndata
    import pandas as pd

    pixel = [f"{x:g}x{y:g}" for x, y in place]
    table = anndata.AnnData(
        matrix,
        obs=pd.DataFrame({"pixel_x": place[:, 0], "pixel_y": place[:, 1]}, index=pixel),
        var=pd.DataFrame({"mz": axis}, index=[f"mz_{v:.4f}" for v in axis]),
    )
    if not table.obs_names.is_unique:
        common.warn("Some pixels were measured twice: their names got a number.")
        table.obs_names_make_unique()
    table.var_names_make_unique()
    return table


def _told_size(parser: Any) -> tuple[float, float] | None:
    """Pixel size (x, y) in micrometres from the header; None without."""
    told = parser.imzmldict
    sizes = []
    for axis in "xy":
        size = float(told.get(f"pixel size {axis}", told.get("pixel size x", 0)) or 0)
        extent = float(told.get(f"max dimension {axis}", 0) or 0)
        count = float(told.get(f"max count of pixels {axis}", 0) or 0)
        if extent > 0 and count > 1:
            length = extent / count
            if size <= 0 or abs(np.sqrt(size) / length - 1) < 0.05 < abs(size / length - 1) - 0.5:
                size = length  # older writers put the area of a pixel there
        sizes.append(size)
    return (sizes[0], sizes[1]) if min(sizes) > 0 else None


def _pixel_size(parser: Any, given: float | None, path: Path) -> tuple[float, float]:
    size = (given, given) if given is not None else _told_size(parser)
    if size is None:
        raise common.scale_unknown(path)
    return size
