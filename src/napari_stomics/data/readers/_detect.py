"""Tell what a file or folder is, from its name and a few look-ups."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

_CROWDED = 5_000
"""Entries of a folder that are looked through; instruments write dozens into one folder."""

KINDS = {
    "visium": "Visium (Space Ranger folder)",
    "visium_hd": "Visium HD (Space Ranger folder)",
    "xenium": "Xenium (output folder)",
    "merscope": "MERSCOPE (region folder)",
    "cosmx": "CosMx (flat files)",
    "st": "Spatial Transcriptomics (count table, selection, image)",
    "h5ad": "AnnData (.h5ad)",
    "h5mu": "MuData (.h5mu)",
    "image": "Image (SVS, OME-TIFF, TIFF, PNG, JPEG)",
    "imc": "Imaging mass cytometry (.txt, steinbock folder)",
    "imzml": "Mass spectrometry imaging (.imzML)",
    "spatialdata": "SpatialData store (.zarr)",
}
"""Kinds of sources by name, with what a form calls them."""


def detect(path: str | Path) -> str | None:
    """Return the kind of a file or folder; None, at once, if it is none of ours.

    Parameters
    ----------
    path
        File or folder; nothing but names and first lines is read.

    Returns
    -------
    str or None
        A key of :data:`KINDS`.
    """
    path = Path(path).expanduser()
    try:
        if path.is_dir():
            return _folder(path)
        return _file(path) if path.is_file() else None
    except OSError:
        return None


def _folder(path: Path) -> str | None:
    from napari_stomics.data.readers import (
        cosmx,
        imc,
        merscope,
        st_text,
        tenx,
        visium,
        visium_hd,
        xenium,
    )

    if is_store(path):
        return "spatialdata"
    if path.suffix == ".zarr":
        return None
    named = (("xenium", xenium), ("visium", visium), ("merscope", merscope))
    listed = (("visium_hd", visium_hd), *named, ("cosmx", cosmx), ("imc", imc))
    crowded = _is_crowded(path)
    for kind, module in named if crowded else listed:
        if module.is_folder(path):
            return kind
    if crowded:
        return None
    if tenx.matrix_files(path) and (path.parent / "spatial").is_dir():
        return "visium"
    return "st" if st_text.count_tables(path) else None


def _is_crowded(path: Path) -> bool:
    """Whether a folder holds so many entries that looking at each would hold up a drop."""
    with os.scandir(path) as entries:
        return sum(1 for _ in islice(entries, _CROWDED + 1)) > _CROWDED


def _file(path: Path) -> str | None:
    from napari_stomics.data.readers import imc, st_text, xenium
    from napari_stomics.data.readers.images import SUFFIXES

    name, suffix = path.name.lower(), path.suffix.lower()
    by_suffix = {".h5ad": "h5ad", ".h5mu": "h5mu", ".imzml": "imzml", ".ibd": "imzml"}
    if suffix in by_suffix:
        return by_suffix[suffix]
    if suffix in SUFFIXES:
        return "image"
    if path.name == xenium.SPECS:
        return "xenium"
    if name == "cell_by_gene.csv":
        return "merscope"
    if "exprmat_file.csv" in name:
        return "cosmx"
    if suffix == ".h5":
        return _matrix(path)
    if imc.is_text(path):
        return "imc"
    return "st" if st_text.is_count_table(path) else None


def _matrix(path: Path) -> str | None:
    """A 10x matrix belongs to what lies around it."""
    from napari_stomics.data.readers import visium_hd, xenium

    if path.name == "cell_feature_matrix.h5" and xenium.is_folder(path.parent):
        return "xenium"
    if visium_hd.is_folder(path.parent):
        return "visium_hd"
    return "visium" if "matrix" in path.name and (path.parent / "spatial").is_dir() else None


def is_store(path: Path) -> bool:
    """Whether a folder is a zarr store that SpatialData wrote."""
    if not any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs")):
        return False
    elements = ("images", "labels", "points", "shapes", "tables", "table")
    return path.suffix != ".ome" and any((path / e).is_dir() for e in elements)


def why_unknown(path: Path) -> tuple[str, str]:
    """Return message and hint for a file that no reader knows."""
    suffix = path.suffix.lower()
    if suffix == ".mcd":
        return (
            f"{path.name} is a raw file of an imaging mass cytometer, which is not read here.",
            "Export its acquisitions as .txt or OME-TIFF with the MCD Viewer or steinbock.",
        )
    if suffix == ".h5":
        return (
            f"{path.name} is a matrix without positions: there is no folder 'spatial' beside it.",
            "Open the folder of the run, with 'spatial' in it; or add it as single cells.",
        )
    if suffix in (".mrxs", ".vsi", ".czi", ".lif", ".nd2"):
        return (
            f"{path.name} is a vendor's format that is not read here.",
            "Convert it to OME-TIFF, for instance with QuPath or bioformats2raw.",
        )
    if path.is_dir():
        inside = sorted(p.name for p in islice(path.iterdir(), 200) if p.is_dir() and detect(p))
        if inside:
            return (
                f"{path} holds {len(inside)} runs or sections: {', '.join(inside[:8])}.",
                "Open one of these folders.",
            )
        return (
            f"{path} is no folder that is known here.",
            "Open the output folder of Space Ranger, Xenium, MERSCOPE or CosMx, or a single file.",
        )
    return (
        f"{path.name} is no file that is known here.",
        "Known are h5ad, h5mu, imzML, images, old ST tables, and the output folders of Space "
        "Ranger, Xenium, MERSCOPE and CosMx.",
    )
