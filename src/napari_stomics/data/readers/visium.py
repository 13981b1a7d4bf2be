"""Space Ranger output of Visium: any version, counts as HDF5 or text, with or without header.

Coordinates are the full-resolution pixels of Space Ranger times the micrometres
per pixel, which come from the distance of 100 um between neighbouring spots.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.data.build import ImageSource, make_section
from napari_stomics.data.readers import _common as common
from napari_stomics.data.readers import tenx
from napari_stomics.data.readers._pitch import VISIUM_SPOT_UM, fit_visium
from napari_stomics.data.readers.images import open_image

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

POSITIONS = ("tissue_positions.parquet", "tissue_positions.csv", "tissue_positions_list.csv")
COLUMNS = (
    "barcode",
    "in_tissue",
    "array_row",
    "array_col",
    "pxl_row_in_fullres",
    "pxl_col_in_fullres",
)
_SCALEFACTORS = "scalefactors_json.json"
_NOMINAL_SPOT_UM = 65.0
"""What spot_diameter_fullres stands for, used only where no pitch can be measured."""


@dataclass(frozen=True)
class Files:
    """Where the parts of one Space Ranger run lie; None: not there."""

    root: Path
    spatial: Path | None
    counts: Path | None
    positions: Path | None
    scalefactors: Path | None
    hires: Path | None
    lowres: Path | None


def is_folder(path: Path) -> bool:
    """Whether a folder looks like Space Ranger's, at the price of a few look-ups."""
    for folder in (path, path / "outs"):
        if find_one(folder / "spatial", *POSITIONS) or find_one(folder / "spatial", _SCALEFACTORS):
            return True
    if path.name == "spatial":
        return find_one(path, *POSITIONS) is not None
    return _is_flat(path)


def _is_flat(path: Path) -> bool:
    """Whether all files of a run lie in one folder, behind a prefix, as archives offer them."""
    names = [p.name.removesuffix(".gz") for p, _ in zip(path.iterdir(), range(2000), strict=False)]
    return any(n.endswith(POSITIONS) for n in names) and any(
        n.endswith(_SCALEFACTORS) for n in names
    )


def read(
    path: Path,
    *,
    name: str,
    um_per_px: float | None = None,
    modality: str | None = None,
    image: str | Path | None = None,
    annotation: str | None = None,
    counts: str = "filtered",
    in_tissue: bool = True,
) -> SpatialData:
    """Read a Visium section.

    Parameters
    ----------
    path
        Folder with ``spatial`` in it (or above it: ``outs``), or the count matrix.
    name
        Section name.
    um_per_px
        Micrometres per full-resolution pixel, instead of the measured one.
    modality
        Name of the first table instead of the one its feature type gives.
    image
        Full-resolution microscope image, whose pixels the positions count.
    annotation
        Column of ``obs`` with the expert's annotation.
    counts
        ``filtered``, ``raw``, or ``none`` to read positions and image alone.
    in_tissue
        Keep only the spots in the tissue.
    """
    if counts not in ("filtered", "raw", "none"):
        raise UserError(
            f"There are no {counts!r} counts.", "Choose filtered, raw or none (positions alone)."
        )
    files = locate(path, ("raw", "filtered") if counts == "raw" else ("filtered", "raw"))
    positions = read_positions(_needed(files, "positions"))
    factors = common.read_json(_needed(files, "scalefactors"))
    table = None if counts == "none" else tenx.read_matrix(_needed_counts(files))
    scale = pixel_size(positions, pixels(positions), factors, common.checked_scale(um_per_px))
    positions = matched(files, positions, table, in_tissue)
    xy = pixels(positions)
    tables: dict[str, AnnData] = {}
    if table is not None:
        tables = common.split_by_modality(placed(table, positions, scale), modality)
    images = section_images(files, factors, scale, image)
    common.check_inside(images, xy * scale)
    return make_section(
        name,
        images=images,
        coordinates=xy * scale,
        radius=VISIUM_SPOT_UM / 2,
        ids=positions.index.to_numpy(dtype=object),
        tables=tables,
        annotation=annotation,
        pixel_size_um=scale,
        technology="Visium",
        source=str(path),
    )


def inspect(path: Path, scale: float | None = None) -> dict[str, Any]:
    """Say what :func:`read` would find, reading names and headers alone.

    Parameters
    ----------
    path
        As for :func:`read`.
    scale
        Micrometres per full-resolution pixel, where the positions need not be asked.
    """
    files = locate(path, ("filtered", "raw"))
    lost = [
        what
        for what, part in (
            ("spatial/tissue_positions.csv", files.positions),
            (f"spatial/{_SCALEFACTORS}", files.scalefactors),
            ("filtered_feature_bc_matrix.h5", files.counts),
        )
        if part is None
    ]
    notes = []
    if not (files.hires or files.lowres):
        notes = ["No image in the folder: give the microscope image."]
    found = common.preview(path, missing=lost, notes=notes, name=common.default_name(files.root))
    if files.positions is not None:
        positions = read_positions(files.positions)
        found["n_spots"] = int((positions["in_tissue"] == 1).sum() or len(positions))
        if files.scalefactors is not None:
            factors = common.read_json(files.scalefactors)
            found["um_per_px"] = scale or pixel_size(positions, pixels(positions), factors, None)
            for short, source in section_images(files, factors, found["um_per_px"], None).items():
                size = float(source.to_um.matrix[0, 0])
                found["images"].append(
                    common.image_preview(short, source.levels[0].shape, source.channels, size)
                )
    if files.counts is not None:
        found["modalities"] = matrix_preview(files.counts)
    return found


def matrix_preview(path: Path) -> dict[str, int]:
    """Number of features per modality of a 10x matrix, without reading the counts."""
    import h5py

    if path.is_dir():
        names = common.read_table(
            tenx.matrix_files(path)["features"], sep="\t", header=None, dtype=str
        )
        kinds = names[2] if names.shape[1] > 2 else ["Gene Expression"] * len(names)
    else:
        with common.reading(path, "a 10x HDF5 matrix"), h5py.File(path) as file:
            if "matrix" not in file:
                return {"rna": int(next(iter(file.values()))["genes"].shape[0])}
            kinds = [k.decode() for k in file["matrix/features/feature_type"][:]]
    counted: dict[str, int] = {}
    for kind in kinds:
        modality = common.modality_of(kind)
        counted[modality] = counted.get(modality, 0) + 1
    return counted


def locate(path: Path, kinds: tuple[str, ...]) -> Files:
    """Find the parts of a run from its folder, its ``spatial`` folder or its matrix."""
    counts: Path | None = None
    root = path
    if path.is_file() or tenx.matrix_files(path):
        counts, root = path, path.parent
    elif path.name == "spatial" and find_one(path, *POSITIONS):
        root = path.parent
    if not (root / "spatial").is_dir() and (root / "outs").is_dir():
        root = root / "outs"
    spatial = root / "spatial"
    if not spatial.is_dir():
        if find_one(root, *POSITIONS) is None:
            return Files(root, None, counts, None, None, None, None)
        spatial = root
    if counts is None:
        counts = tenx.find_matrix(root, kinds)
    suffixes = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
    return Files(
        root,
        spatial,
        counts,
        find_one(spatial, *POSITIONS),
        find_one(spatial, _SCALEFACTORS),
        find_one(spatial, *(f"tissue_hires_image{s}" for s in suffixes)),
        find_one(spatial, *(f"tissue_lowres_image{s}" for s in suffixes)),
    )


def find_one(folder: Path, *names: str) -> Path | None:
    """Return the first of the files, also with a prefix as archives put one before names."""
    exact = common.first_existing(folder, *names)
    if exact is not None:
        return exact
    for name in names:
        for ending in (name, f"{name}.gz"):
            found = sorted(folder.glob(f"*{ending}"))
            if len(found) == 1:
                return found[0]
    return None


def read_positions(path: Path) -> Any:
    """Read tissue positions, from any version, indexed by barcode.

    Raises
    ------
    UserError
        If the file has other columns, or a position is no number.
    """
    import pandas as pd

    if path.suffix == ".parquet":
        with common.reading(common.existing(path), "a parquet table"):
            frame = pd.read_parquet(path)
    else:
        frame = common.read_table(path, header=None, dtype=str)
        if not frame.iloc[0, 1:].map(_is_number).all():
            frame.columns = [str(c).strip() for c in frame.iloc[0]]
            frame = frame.iloc[1:]
        elif frame.shape[1] == len(COLUMNS):
            frame.columns = list(COLUMNS)
    common.need_columns(frame, COLUMNS, path)
    frame = frame.set_index("barcode")
    frame.index = frame.index.astype(str)
    with common.reading(path, "tissue positions"):
        numbers = frame[list(COLUMNS[1:])].apply(pd.to_numeric)
    common.finite(pixels(numbers), path)
    return numbers[~numbers.index.duplicated()]


def pixels(positions: Any) -> NDArray[np.float64]:
    """(n, 2) positions (x, y) in full-resolution pixels."""
    return positions[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(dtype=np.float64)


def pixel_size(
    positions: Any, xy: NDArray[Any], factors: dict[str, Any], given: float | None
) -> float:
    """Micrometres per full-resolution pixel: given, else measured by the pitch of the spots."""
    fit = fit_visium(positions["array_row"], positions["array_col"], xy)
    if fit is not None and fit.odd:
        common.warn(f"The array does not lie as usual: {fit.odd}. The pixel positions are used.")
    if given is not None:
        return given
    if fit is not None:
        return fit.um_per_px
    diameter = float(factors.get("spot_diameter_fullres", 0) or 0)
    if diameter <= 0:
        raise UserError(
            "The pixel size is not known: the positions do not lie on Visium's array and "
            f"{_SCALEFACTORS} has no spot_diameter_fullres.",
            "Give um_per_px, the micrometres per full-resolution pixel (Pixel size in the form).",
        )
    common.warn(
        "The spots do not lie on Visium's array, so the pixel size was taken from the spot "
        f"diameter in {_SCALEFACTORS}; it may be off by a tenth. Give um_per_px if you know it."
    )
    return _NOMINAL_SPOT_UM / diameter


def section_images(
    files: Files, factors: dict[str, Any], scale: float, fullres: str | Path | None
) -> dict[str, ImageSource]:
    """Return the full-resolution image if given, and the best reduced one of the folder."""
    images: dict[str, ImageSource] = {}
    if fullres is not None:
        images["image"] = open_image(common.existing(fullres), scale)
    for short, path in (("hires", files.hires), ("lowres", files.lowres)):
        factor = float(factors.get(f"tissue_{short}_scalef", 0) or 0)
        if path is None or factor <= 0:
            continue
        images[short] = open_image(path, scale / factor)
        if short == "lowres":
            common.warn(
                f"There is only the low-resolution image, {scale / factor:.1f} micrometres a "
                "pixel. Give the microscope image to see cells."
            )
        break
    return images


def placed(table: AnnData, positions: Any, scale: float) -> AnnData:
    """Return the spots of a table that have a position, with what the positions tell."""
    table = common.part(table, positions.index)
    for column in COLUMNS[1:]:
        table.obs[column] = positions[column].to_numpy()
    table.obsm["spatial"] = pixels(positions) * scale
    return table


def matched(files: Files, positions: Any, table: AnnData | None, in_tissue: bool) -> Any:
    """Positions of the spots to keep, in the order of the matrix."""
    if table is not None:
        known = table.obs_names[table.obs_names.isin(positions.index)]
        if len(known) == 0:
            raise UserError(
                f"None of the {table.n_obs} barcodes of {files.counts} stands in "
                f"{files.positions}.",
                "Counts and positions are of different sections: put the matching files together.",
            )
        if len(known) < table.n_obs:
            common.warn(
                f"{table.n_obs - len(known)} of {table.n_obs} barcodes have no position "
                "and were left out."
            )
        positions = positions.loc[known]
    inside = positions["in_tissue"] == 1
    if in_tissue and inside.any() and not inside.all():
        positions = positions[inside]
    return positions


def _needed(files: Files, part: str) -> Path:
    found: Path | None = getattr(files, part)
    if found is not None:
        return found
    names = " or ".join(POSITIONS) if part == "positions" else _SCALEFACTORS
    what = "where the spots lie" if part == "positions" else "how images and positions fit"
    raise common.missing(
        files.spatial or files.root / "spatial",
        names,
        what,
        "Copy it from Space Ranger's outs/spatial folder.",
    )


def _needed_counts(files: Files) -> Path:
    if files.counts is not None:
        return files.counts
    beside = sorted(p.name for p in files.root.glob("*.h5ad"))
    also = f" Or open {' or '.join(beside)}, which lies there too." if beside else ""
    raise common.missing(
        files.root,
        ("filtered_feature_bc_matrix.h5", "filtered_feature_bc_matrix/"),
        "the counts",
        "Copy it from Space Ranger's outs folder, or read positions and image alone with "
        f'counts="none".{also}',
    )


def _is_number(text: Any) -> bool:
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True
