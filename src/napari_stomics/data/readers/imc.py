"""Imaging mass cytometry: text files of pixels, and the folders that steinbock writes.

A pixel is one micrometre unless told otherwise.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.core.errors import UserError
from napari_stomics.core.transforms import Affine
from napari_stomics.data.build import ImageSource, make_section
from napari_stomics.data.readers import _common as common
from napari_stomics.data.readers._tiff import open_tiff, unique

if TYPE_CHECKING:
    from spatialdata import SpatialData

_FIXED = ("Start_push", "End_push", "Pushes_duration", "X", "Y", "Z")
_CHANNEL = re.compile(r"^(?P<label>.*)\((?P<metal>[A-Za-z]+\d+)Di\)$")


def is_text(path: Path) -> bool:
    """Whether a text file is one that the cytometer wrote."""
    if path.suffix.lower() != ".txt":
        return False
    try:
        with path.open(encoding="utf-8", errors="replace") as text:
            head = text.readline(1_000_000).split("\t")
    except OSError:
        return False
    return "Start_push" in head and "X" in head and "Y" in head


def text_files(folder: Path) -> list[Path]:
    """Text files of the cytometer in a folder."""
    return [p for p in sorted(folder.glob("*.txt")) if is_text(p)]


def is_folder(path: Path) -> bool:
    """Whether a folder is steinbock's, or holds the cytometer's text files."""
    steinbock = (path / "panel.csv").is_file() and (
        (path / "intensities").is_dir() or (path / "img").is_dir()
    )
    some = (p for p, _ in zip(path.glob("*.txt"), range(32), strict=False))
    return steinbock or any(is_text(p) for p in some)


def read(
    path: Path,
    *,
    name: str,
    um_per_px: float | None = None,
    modality: str | None = None,
    annotation: str | None = None,
    acquisition: str | None = None,
) -> SpatialData:
    """Read one acquisition, or all of a folder as sections ``name_acquisition``.

    Parameters
    ----------
    path
        Text file, folder of text files, or folder of steinbock.
    name
        Name of the section, or what the names of the sections begin with.
    um_per_px
        Micrometres per pixel; 1 by default.
    modality
        Name of the table of mean intensities; ``protein`` by default.
    annotation
        Column of ``obs`` with the expert's annotation.
    acquisition
        Read one acquisition of a folder alone, by a part of its name.
    """
    scale = common.checked_scale(um_per_px) or 1.0
    if path.is_file():
        return _read_text(path, name, scale)
    if (path / "panel.csv").is_file():
        parts = dict.fromkeys(acquisitions(path), path)
    else:
        parts = {p.stem: p for p in text_files(path)}
    if acquisition is not None:
        chosen = {a: p for a, p in parts.items() if acquisition in a}
        if len(chosen) != 1:
            raise UserError(
                f"{len(chosen)} acquisitions are named like {acquisition!r}.",
                f"There are: {', '.join(list(parts)[:20])}.",
            )
        only, source = next(iter(chosen.items()))
        return _read_one(source, only, name, scale, modality, annotation)
    if not parts:
        raise common.missing(
            path, ("intensities/*.csv", "img/*.tiff", "*.txt"), "acquisitions", "Export them again."
        )
    from napari_stomics.data.study import Study

    study = Study()
    for acq, source in parts.items():
        study.add(_read_one(source, acq, f"{name}_{acq}", scale, modality, annotation))
    return study.sdata


def inspect(path: Path) -> dict[str, Any]:
    """Say what :func:`read` would find."""
    if path.is_file():
        columns = _channels(path)
        return common.preview(
            path,
            images=[{"name": "imc", "channels": unique([channel_name(c) for c in columns])}],
            um_per_px=1.0,
        )
    names = (
        acquisitions(path) if (path / "panel.csv").is_file() else [p.stem for p in text_files(path)]
    )
    panel = _panel(path) if (path / "panel.csv").is_file() else []
    return common.preview(
        path,
        um_per_px=1.0,
        modalities={"protein": len(panel)} if (path / "intensities").is_dir() else {},
        choices={"acquisition": names},
        notes=[f"{len(names)} acquisitions, each becomes a section."],
    )


def acquisitions(folder: Path) -> list[str]:
    """Names of the images of a steinbock folder."""
    tables = [p.stem for p in (folder / "intensities").glob("*.csv")]
    images = [p.stem for p in (folder / "img").glob("*.tif*")]
    return sorted({*tables, *images})


def channel_name(column: str) -> str:
    """Return the target of a column such as ``Laminin_681((851))Sm147(Sm147Di)``."""
    match = _CHANNEL.match(column.strip())
    if match is None:
        return column.strip()
    metal = match["metal"]
    label = match["label"].strip()
    swapped = re.sub(r"^([A-Za-z]+)(\d+)$", r"\2\1", metal)
    for known in (metal, swapped):
        label = label.removesuffix(known)
    label = re.sub(r"\(\([^()]*\)\)", "", label).strip(" _-")
    return label or metal


def _read_one(
    source: Path, acq: str, name: str, scale: float, modality: str | None, annotation: str | None
) -> SpatialData:
    if source.is_file():
        return _read_text(source, name, scale)
    return _read_steinbock(source, acq, name, scale, modality, annotation)


def _channels(path: Path) -> list[str]:
    head = list(common.read_table(path, sep="\t", nrows=0))
    if not {"X", "Y"} <= set(head) or len(head) <= len(_FIXED):
        raise UserError(
            f"{path} is no text file of an imaging mass cytometer.",
            "It needs the columns Start_push, X, Y, Z and one per channel; export it again.",
        )
    return [c for c in head if c not in _FIXED]


def _read_text(path: Path, name: str, scale: float) -> SpatialData:
    columns = _channels(path)
    frame = common.read_table(path, sep="\t")
    with common.reading(path, "pixels of an imaging mass cytometer"):
        x, y = frame["X"].to_numpy(dtype=np.int64), frame["Y"].to_numpy(dtype=np.int64)
        values = frame[columns].to_numpy(dtype=np.float32)
        if (
            len(frame) == 0
            or min(x.min(), y.min()) < 0
            or int(x.max() + 1) * int(y.max() + 1) > 1e8
        ):
            raise ValueError("its X and Y are no pixel positions")
    image = np.zeros((y.max() + 1, x.max() + 1, len(columns)), dtype=np.float32)
    image[y, x] = values
    if image.shape[0] * image.shape[1] > len(frame):
        lost = image.shape[0] * image.shape[1] - len(frame)
        common.warn(f"{path.name} lacks {lost} pixels of its rectangle: they are shown as zero.")
    names = unique([channel_name(c) for c in columns])
    return make_section(
        name,
        images={"imc": ImageSource([image], common.scaling(scale), names)},
        technology="IMC",
        source=str(path),
    )


def _read_steinbock(
    folder: Path, acq: str, name: str, scale: float, modality: str | None, annotation: str | None
) -> SpatialData:
    """One image of steinbock: its pixels and masks where they are, its cells where measured."""
    to_um = common.scaling(scale)
    image = _tiff_of(folder / "img", acq)
    images = {}
    if image is not None:
        opened = open_tiff(image)
        panel = _panel(folder)
        fits = len(panel) == opened.levels[0].shape[2]
        images["imc"] = ImageSource(opened.levels, to_um, panel if fits else opened.channels)
    labels: dict[str, tuple[Any, Affine]] = {}
    mask = _tiff_of(folder / "masks", acq)
    if mask is not None:
        labels["cells"] = (np.asarray(open_tiff(mask).levels[0])[..., 0], to_um)
    cells: dict[str, Any] = {}
    if (folder / "intensities" / f"{acq}.csv").is_file():
        cells = _cells(folder, acq, scale, modality or "protein")
    return make_section(
        name,
        images=images,
        labels=labels,
        annotation=annotation,
        technology="IMC",
        source=str(folder),
        **cells,
    )


def _cells(folder: Path, acq: str, scale: float, modality: str) -> dict[str, Any]:
    """Mean intensities of the cells and where they lie."""
    import anndata
    import pandas as pd

    places_file = folder / "regionprops" / f"{acq}.csv"
    if not places_file.is_file():
        raise common.missing(
            folder / "regionprops",
            f"{acq}.csv",
            "where the cells lie",
            "Run 'steinbock measure regionprops', then read the folder again.",
        )
    values = common.read_table(folder / "intensities" / f"{acq}.csv", index_col="Object")
    places = common.read_table(places_file, index_col="Object")
    common.need_columns(places, ("centroid-0", "centroid-1", "area"), places_file)
    values = values[values.index.isin(places.index)]
    places = places.loc[values.index]
    table = anndata.AnnData(
        values.to_numpy(dtype=np.float32),
        obs=pd.DataFrame(places.to_numpy(), columns=places.columns, index=values.index.astype(str)),
        var=pd.DataFrame(index=values.columns.astype(str)),
    )
    table.obs.index.name = None
    xy = (places[["centroid-1", "centroid-0"]].to_numpy(dtype=np.float64) + 0.5) * scale
    table.obsm["spatial"] = xy
    return {
        "coordinates": xy,
        "radius": np.sqrt(places["area"].to_numpy(dtype=np.float64) / np.pi) * scale,
        "tables": {modality: common.unique_names(table)},
    }


def _panel(folder: Path) -> list[str]:
    from napari_stomics.data.readers.images import listed_channels

    return unique(listed_channels(folder / "panel.csv"))


def _tiff_of(folder: Path, acq: str) -> Path | None:
    return common.first_existing(folder, f"{acq}.tiff", f"{acq}.tif")
