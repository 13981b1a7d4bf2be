"""Xenium output folders, onboard analysis 1.0 and later, whole or in part.

The cell table, the cells' centres and ``experiment.xenium`` are enough; outlines,
transcripts and images are read where they are there. Coordinates are Xenium's own
micrometres.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.core.errors import UserError
from napari_stomics.core.transforms import Affine
from napari_stomics.data.build import ImageSource, make_section
from napari_stomics.data.readers import _common as common
from napari_stomics.data.readers import tenx
from napari_stomics.data.readers._outlines import outlines_from_vertices
from napari_stomics.data.readers._tiff import RGB, TiffImage, open_tiff

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

SPECS = "experiment.xenium"
_PIXEL_UM = 0.2125
_CELLS = ("cells.parquet", "cells.csv.gz", "cells.csv")
_MATRIX = ("cell_feature_matrix.h5", "cell_feature_matrix")
_FOCUS = ("morphology_focus.ome.tif", "morphology_mip.ome.tif", "morphology.ome.tif")
_ALIGNED = ("_he_image.ome.tif", "_if_image.ome.tif", "_he_image.ome.tiff")


def is_folder(path: Path) -> bool:
    """Whether a folder is Xenium's."""
    return (path / SPECS).is_file() or (
        common.first_existing(path, *_MATRIX) is not None
        and common.first_existing(path, *_CELLS) is not None
    )


def read(
    path: Path,
    *,
    name: str,
    um_per_px: float | None = None,
    modality: str | None = None,
    annotation: str | None = None,
    outlines: bool = True,
    transcripts: bool = False,
    images: bool = True,
) -> SpatialData:
    """Read a Xenium section.

    Parameters
    ----------
    path
        Output folder, or ``experiment.xenium`` in it.
    name
        Section name.
    um_per_px
        Micrometres per morphology pixel, instead of the run's own.
    modality
        Name of the first table instead of the one its feature type gives.
    annotation
        Column of ``obs`` with the expert's annotation.
    outlines
        Read the outlines of cells and nuclei.
    transcripts
        Read the transcripts too, lazily.
    images
        Read morphology and aligned images, lazily.
    """
    folder = path.parent if path.is_file() else path
    specs = common.read_json(folder / SPECS) if (folder / SPECS).is_file() else {}
    scale = common.checked_scale(um_per_px) or float(specs.get("pixel_size", 0) or 0)
    if not scale:
        scale = _PIXEL_UM
        common.warn(f"{SPECS} tells no pixel size: Xenium's {_PIXEL_UM} micrometres is assumed.")
    table, cells = _table(folder)
    xy = cells[["x_centroid", "y_centroid"]].to_numpy(dtype=np.float64)
    table.obs = cells.drop(columns=["x_centroid", "y_centroid"])
    table.obsm["spatial"] = xy
    area = cells["cell_area"].to_numpy(dtype=np.float64) if "cell_area" in cells else None
    radius = 0.5 * common.median_spacing(xy) if area is None else np.sqrt(area / np.pi)
    return make_section(
        name,
        images=_images(folder, scale) if images else {},
        coordinates=xy,
        radius=np.where(np.isfinite(radius) & (radius > 0), radius, 1.0),
        tables=common.split_by_modality(table, modality),
        shapes=_outlines(folder) if outlines else {},
        points=_transcripts(folder) if transcripts else {},
        annotation=annotation,
        technology=f"Xenium {specs.get('analysis_sw_version', '')}".strip(),
        source=str(path),
    )


def inspect(path: Path) -> dict[str, Any]:
    """Say what :func:`read` would find, without reading counts."""
    folder = path.parent if path.is_file() else path
    specs = common.read_json(folder / SPECS) if (folder / SPECS).is_file() else {}
    matrix = common.first_existing(folder, *_MATRIX)
    cells = common.first_existing(folder, *_CELLS)
    lost = [SPECS] if not specs else []
    lost += [] if matrix else [_MATRIX[0]]
    lost += [] if cells else [_CELLS[0]]
    from napari_stomics.data.readers.visium import matrix_preview

    modalities = matrix_preview(matrix) if matrix else {}
    modalities.pop("controls", None)
    scale = float(specs.get("pixel_size", _PIXEL_UM))
    return common.preview(
        path,
        name=common.default_name(folder),
        modalities=modalities,
        n_spots=specs.get("num_cells"),
        um_per_px=scale,
        missing=lost,
        images=[
            common.image_preview(short, s.levels[0].shape, s.channels, s.to_um.matrix[0, 0])
            for short, s in _images(folder, scale).items()
        ],
    )


def _table(folder: Path) -> tuple[AnnData, Any]:
    """Return the counts and the cells, in the same order."""
    matrix = common.first_existing(folder, *_MATRIX)
    cells_file = common.first_existing(folder, *_CELLS)
    for found, names, what in (
        (matrix, _MATRIX, "the counts"),
        (cells_file, _CELLS, "the cells' centres"),
    ):
        if found is None:
            raise common.missing(folder, names, what, "Copy it from the Xenium output folder.")
    assert matrix is not None
    assert cells_file is not None
    table = tenx.read_matrix(matrix)
    _unscale_protein(matrix, table)
    cells = read_cells(cells_file)
    common.need_columns(cells, ("cell_id", "x_centroid", "y_centroid"), cells_file)
    cells = cells.set_index(text_ids(cells["cell_id"])).drop(columns="cell_id")
    cells.index.name = None
    known = table.obs_names.isin(cells.index)
    if not known.any():
        raise UserError(
            f"No cell of {matrix.name} stands in {cells_file.name}.",
            "The two files are of different runs: put the matching ones together.",
        )
    if not known.all():
        common.warn(f"{int((~known).sum())} cells have no centre and were left out.")
        table = common.part(table, known)
    cells = cells.loc[table.obs_names].copy()
    common.finite(cells[["x_centroid", "y_centroid"]], cells_file)
    return table, cells


def read_cells(path: Path) -> Any:
    """Read a cell list, parquet or text."""
    import pandas as pd

    if path.suffix == ".parquet":
        with common.reading(common.existing(path), "a parquet table"):
            return pd.read_parquet(path)
    return common.read_table(path)


def text_ids(values: Any) -> Any:
    """Cell ids as text: the first versions wrote bytes or numbers."""
    return values.map(lambda v: v.decode() if isinstance(v, bytes) else str(v)).to_numpy()


def _unscale_protein(matrix: Path, table: AnnData) -> None:
    """Protein intensities are stored as fixed-point numbers: undo their factor."""
    import h5py
    from scipy.sparse import diags

    if matrix.is_dir() or "feature_types" not in table.var:
        return
    with h5py.File(matrix) as file:
        factor = float(file.attrs.get("protein_scaling_factor", 1.0))
    protein = (table.var["feature_types"] == "Protein Expression").to_numpy()
    if factor != 1.0 and protein.any():
        table.X = (table.X @ diags(np.where(protein, 1 / factor, 1.0))).tocsr().astype(np.float32)


def _outlines(folder: Path) -> dict[str, Any]:
    found = {}
    for short, stem in (("cells", "cell_boundaries"), ("nuclei", "nucleus_boundaries")):
        names = [f"{stem}{s}" for s in (".parquet", ".csv.gz", ".csv")]
        file = common.first_existing(folder, *names)
        if file is None:
            continue
        frame = read_cells(file)
        common.need_columns(frame, ("cell_id", "vertex_x", "vertex_y"), file)
        by = "label_id" if "label_id" in frame and short == "nuclei" else "cell_id"
        ids = text_ids(frame[by])
        found[short] = outlines_from_vertices(ids, frame[["vertex_x", "vertex_y"]].to_numpy())
    return found


def _transcripts(folder: Path) -> dict[str, Any]:
    import dask.dataframe as dd

    names = ("transcripts.parquet", "transcripts.csv.gz", "transcripts.csv")
    file = common.first_existing(folder, *names)
    if file is None:
        raise common.missing(folder, names, "the transcripts", "Read it without transcripts.")
    renamed = {"x_location": "x", "y_location": "y", "z_location": "z", "feature_name": "gene"}
    if file.suffix == ".parquet":
        frame = dd.read_parquet(file)
    else:
        frame = dd.from_pandas(common.read_table(file), npartitions=1)
    frame = frame.rename(columns=renamed)
    frame["gene"] = frame["gene"].map(
        lambda v: v.decode() if isinstance(v, bytes) else str(v), meta=("gene", "object")
    )
    return {"transcripts": frame}


def _images(folder: Path, scale: float) -> dict[str, ImageSource]:
    """Morphology, then images aligned to it, with the map of their alignment file."""
    images: dict[str, ImageSource] = {}
    focus = _focus_files(folder)
    if focus:
        images["morphology"] = _morphology(focus, scale)
    for file in sorted(folder.iterdir()):
        suffix = next((s for s in _ALIGNED if file.name.endswith(s)), None)
        if suffix is None:
            continue
        opened = open_tiff(file, alone=True)
        short = "he" if "_he_" in suffix else "if"
        if short == "he" and len(opened.channels) == 3:
            opened.channels = list(RGB)
        matrix = _alignment(folder, file, suffix)
        images[short] = ImageSource(
            opened.levels, matrix.then(common.scaling(scale)), opened.channels
        )
    if "he" in images:
        images = {"he": images.pop("he"), **images}
    return images


def _focus_files(folder: Path) -> list[Path]:
    inside = folder / "morphology_focus"
    if inside.is_dir():
        return sorted(p for p in inside.glob("*.ome.tif") if not p.name.startswith("."))
    found = common.first_existing(folder, *_FOCUS)
    return [found] if found else []


def _morphology(files: list[Path], scale: float) -> ImageSource:
    """One image of all focus files, a channel each; levels that all of them have."""
    import dask.array as da

    opened = [open_tiff(f, alone=len(files) > 1) for f in files]
    names = _focus_names(files, opened)
    depth = min(len(o.levels) for o in opened)
    shapes = {tuple(level.shape[:2] for level in o.levels[:depth]) for o in opened}
    if len(shapes) > 1:
        common.warn("The morphology files differ in size: only the first one is shown.")
        opened, names = opened[:1], names[: opened[0].levels[0].shape[2]]
    levels = [
        da.concatenate([o.levels[i] for o in opened], axis=2)
        if len(opened) > 1
        else opened[0].levels[i]
        for i in range(depth)
    ]
    return ImageSource(levels, common.scaling(scale), names)


def _focus_names(files: list[Path], opened: list[TiffImage]) -> list[str]:
    """Channel names: in ``ch0001_name.ome.tif``, in the OME header, else those of the kit."""
    kit = ["DAPI", "ATP1A1/CD45/E-Cadherin", "18S", "AlphaSMA/Vimentin"]
    if len(files) == 1:
        own = opened[0].channels
        return ["DAPI"] if len(own) == 1 else own
    coded = [f.name.split("_", 1)[1].removesuffix(".ome.tif") for f in files if "_" in f.name]
    if all(f.name.startswith("ch") for f in files) and len(coded) == len(files):
        return [c.upper() if c.lower() == "dapi" else c for c in coded]
    ome = _ome_channel_names(files[0])
    if len(ome) == len(files):
        return ome
    return kit if len(files) == len(kit) else [f"channel_{i}" for i in range(len(files))]


def _ome_channel_names(path: Path) -> list[str]:
    from xml.etree import ElementTree

    import tifffile

    with common.reading(path, "OME-TIFF"), tifffile.TiffFile(path) as file:
        root = ElementTree.fromstring((file.ome_metadata or "<OME/>").encode())
    names = [e.get("Name") or "" for e in root.iter() if e.tag.rpartition("}")[2] == "Channel"]
    return names if all(names) else []


def _alignment(folder: Path, image: Path, suffix: str) -> Affine:
    """Map of an aligned image's pixels to morphology pixels; the identity without a file."""
    stem = image.name.removesuffix(suffix) + suffix.split(".")[0]
    file = folder / f"{stem.removesuffix('_image')}_imagealignment.csv"
    if not file.is_file():
        return Affine.identity()
    matrix = common.read_table(file, header=None).to_numpy(dtype=np.float64)
    if matrix.shape != (3, 3):
        raise UserError(
            f"{file} holds no 3 x 3 matrix.", "Export the alignment from Xenium Explorer again."
        )
    return Affine(matrix)
