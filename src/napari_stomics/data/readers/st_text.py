"""The first format of spatial transcriptomics: a count table, a spot selection, an image.

Spots of 100 um lie 200 um apart on a square array; the selection gives their
pixels. A count table alone is read too: its row names are array positions.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.data.build import ImageSource, make_section
from napari_stomics.data.readers import _common as common
from napari_stomics.data.readers._pitch import fit_square
from napari_stomics.data.readers.images import SUFFIXES, open_image

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

PITCH_UM = 200.0
SPOT_UM = 100.0
SUFFIX_TABLES = (".tsv", ".tsv.gz", ".txt", ".txt.gz", ".csv", ".csv.gz")
_SPOT = re.compile(r"^\s*\"?X?(-?\d+(?:\.\d+)?)[x_](-?\d+(?:\.\d+)?)\"?\s*$")
_ENDINGS = re.compile(r"(_stdata|_counts?|_count_matrix|\.stdata|_aligned.*)$", re.IGNORECASE)


def is_count_table(path: Path) -> bool:
    """Whether a text file has array positions such as ``10x21`` for row or column names."""
    if not path.name.lower().endswith(SUFFIX_TABLES):
        return False
    try:
        with common.open_text(path) as text:
            head = [text.readline(10_000_000) for _ in range(2)]
    except (OSError, UnicodeDecodeError, EOFError):
        return False
    cells = re.split(r"[\t,]", head[0].rstrip("\n"))
    second = re.split(r"[\t,]", head[1].rstrip("\n"))
    return bool(_SPOT.match(second[0]) or (len(cells) > 2 and _SPOT.match(cells[1])))


def count_tables(folder: Path) -> list[Path]:
    """Count tables of a folder that has a selection too."""
    files = [p for p in sorted(folder.iterdir()) if p.name.lower().endswith(SUFFIX_TABLES)][:64]
    if not any("selection" in p.name.lower() or "spotfile" in p.name.lower() for p in files):
        return []
    return [p for p in files if "selection" not in p.name.lower() and is_count_table(p)]


def read(
    path: Path,
    *,
    name: str,
    um_per_px: float | None = None,
    modality: str | None = None,
    image: str | Path | None = None,
    annotation: str | None = None,
    selection: str | Path | None = None,
    all_spots: bool = False,
) -> SpatialData:
    """Read a section of the old format.

    Parameters
    ----------
    path
        Count table (spots by genes or genes by spots), or a folder with one.
    name
        Section name.
    um_per_px
        Micrometres per image pixel, instead of those from the pitch of 200 um.
    modality
        Name of the table; ``rna`` by default.
    image
        H&E image whose pixels the selection counts; by default one beside the table
        whose name begins alike.
    annotation
        Column of ``obs`` with the expert's annotation.
    selection
        Table of spots (``x``, ``y``, ``pixel_x``, ``pixel_y`` ...); by default the one beside.
    all_spots
        Keep spots that the selection leaves out, where their pixels are known.
    """
    path = _the_table(path)
    table = _counts(path)
    given = common.checked_scale(um_per_px)
    file = common.existing(selection) if selection else _selection_beside(path)
    images: dict[str, ImageSource] = {}
    if file is None:
        xy, scale = _by_array(table, path, image), None
    else:
        table, pixels = _selected(table, file, all_spots)
        scale = given or _scale(table, pixels, file)
        xy = pixels * scale
        picture = common.existing(image) if image else _image_beside(path)
        if picture is not None:
            images["he"] = open_image(picture, scale)
            common.check_inside(images, xy)
    table.obsm["spatial"] = xy
    return make_section(
        name,
        images=images,
        coordinates=xy,
        radius=SPOT_UM / 2,
        tables={modality or "rna": common.unique_names(table)},
        annotation=annotation,
        pixel_size_um=scale,
        technology="Spatial Transcriptomics",
        source=str(path),
    )


def inspect(path: Path) -> dict[str, Any]:
    """Say what :func:`read` would find."""
    path = _the_table(path)
    with common.reading(path, "a count table"), common.open_text(path) as text:
        head = re.split(r"[\t,]", text.readline().rstrip("\n"))
        rows = sum(1 for line in text if line.strip())
    by_spot = not _SPOT.match(head[1])
    columns = len([c for c in head if c.strip().strip('"')])
    selection, image = _selection_beside(path), _image_beside(path)
    return common.preview(
        path,
        name=_stem(path),
        modalities={"rna": columns if by_spot else rows},
        n_spots=rows if by_spot else columns,
        missing=[] if selection else [f"{_stem(path)}_selection.tsv"],
        notes=[] if image else ["No image beside the table: give one."],
        choices={"selection": str(selection or ""), "image": str(image or "")},
    )


def _by_array(table: AnnData, path: Path, image: Any) -> NDArray[np.float64]:
    """Place spots by their array positions; without a selection no image can be laid below."""
    common.warn("No spot selection: the spots are placed by their array positions, 200 um apart.")
    if image is not None:
        raise common.missing(
            path.parent,
            f"{_stem(path)}_selection.tsv",
            "the spots' pixels in the image",
            "Give selection, or read the table without the image.",
        )
    return table.obs[["array_x", "array_y"]].to_numpy(dtype=np.float64) * PITCH_UM


def _the_table(path: Path) -> Path:
    if path.is_file():
        return path
    found = count_tables(path)
    if len(found) == 1:
        return found[0]
    if not found:
        raise common.missing(
            path, "a count table (.tsv)", "the counts", "Open the table by its own path."
        )
    raise UserError(
        f"{path} holds {len(found)} sections: {', '.join(p.name for p in found[:6])}.",
        "Open one of the tables by its own path.",
    )


def _stem(path: Path) -> str:
    name = path.name
    for suffix in sorted(SUFFIX_TABLES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    return _ENDINGS.sub("", name) or name


def _counts(path: Path) -> AnnData:
    """Read the table as spots by genes, sparse, with array positions in ``obs``."""
    import anndata
    import pandas as pd
    from scipy.sparse import csr_matrix

    separator = "," if path.name.lower().removesuffix(".gz").endswith(".csv") else "\t"
    frame = common.read_table(path, sep=separator, index_col=0)
    if len(frame) and not _SPOT.match(str(frame.index[0])):
        frame = frame.T
    places = [_SPOT.match(str(i)) for i in frame.index]
    if len(frame) == 0 or not all(places):
        raise UserError(
            f"{path} is no count table of the old format: its rows are not named like 10x21.",
            "Open the table of counts with spots as rows, or genes as rows and spots as columns.",
        )
    with common.reading(path, "a count table"):
        matrix = csr_matrix(frame.to_numpy(dtype=np.float32))
    at = np.array([[float(m[1]), float(m[2])] for m in places if m])
    obs = pd.DataFrame({"array_x": at[:, 0], "array_y": at[:, 1]}, index=frame.index.astype(str))
    obs.index.name = None
    return anndata.AnnData(matrix, obs=obs, var=pd.DataFrame(index=frame.columns.astype(str)))


def _selected(table: AnnData, file: Path, all_spots: bool) -> tuple[AnnData, NDArray[np.float64]]:
    """Keep the selected spots; return them and their pixels."""
    frame = common.read_table(file, sep=None, engine="python")
    common.need_columns(frame, ("x", "y"), file)
    columns = ["pixel_x", "pixel_y"]
    common.need_columns(frame, columns, file)
    if "selected" in frame and not all_spots:
        frame = frame[frame["selected"] == 1]
    frame.index = [f"{x:g}x{y:g}" for x, y in zip(frame["x"], frame["y"], strict=True)]
    frame = frame[~frame.index.duplicated()]
    names = [f"{x:g}x{y:g}" for x, y in table.obs[["array_x", "array_y"]].to_numpy()]
    if not frame.index.isin(names).any():
        adjusted = {"new_x", "new_y"} <= set(frame)
        names, frame = _nearest(table, frame) if adjusted else (names, frame)
    keep = np.isin(names, frame.index)
    if not keep.any():
        raise UserError(
            f"No spot of the count table stands in {file}.",
            "Table and selection are of different sections: give the matching selection.",
        )
    table = table[keep].copy()
    rows = frame.loc[np.array(names, dtype=object)[keep]]
    for column in ("new_x", "new_y"):
        if column in rows:
            table.obs[f"array_{column}"] = rows[column].to_numpy()
    table.obs["pixel_x"], table.obs["pixel_y"] = (
        rows["pixel_x"].to_numpy(),
        rows["pixel_y"].to_numpy(),
    )
    return table, rows[columns].to_numpy(dtype=np.float64)


def _nearest(table: AnnData, frame: Any) -> tuple[list[str], Any]:
    """Name spots by adjusted positions, to two digits, as newer count tables do."""
    frame = frame.copy()
    pairs = zip(frame["new_x"], frame["new_y"], strict=True)
    frame.index = [f"{x:.2f}x{y:.2f}" for x, y in pairs]
    names = [f"{x:.2f}x{y:.2f}" for x, y in table.obs[["array_x", "array_y"]].to_numpy()]
    return names, frame[~frame.index.duplicated()]


def _scale(table: AnnData, pixels: NDArray[Any], file: Path) -> float:
    new = ("array_new_x", "array_new_y")
    x, y = new if new[0] in table.obs else ("array_x", "array_y")
    fit = fit_square(table.obs[y], table.obs[x], pixels, PITCH_UM)
    if fit is None:
        raise UserError(
            f"The pixels in {file.name} do not lie on an array of spots 200 um apart.",
            "Give um_per_px, the micrometres per image pixel (Pixel size in the form).",
        )
    if fit.odd:
        common.warn(f"The array does not lie as usual: {fit.odd}. The pixel positions are used.")
    return fit.um_per_px


def _selection_beside(path: Path) -> Path | None:
    stem = _stem(path).lower()
    found = [
        p
        for p in sorted(path.parent.iterdir())
        if "selection" in p.name.lower() and p.suffix.lower() in (".tsv", ".txt", ".gz", ".csv")
    ]
    own = [p for p in found if p.name.lower().startswith(f"{stem}_") or stem in p.name.lower()]
    exact = [p for p in own if re.search(rf"(^|[_\-.]){re.escape(stem)}([_\-.]|$)", p.name.lower())]
    return next(iter(exact), None) or (found[0] if len(found) == 1 and not own else None)


def _image_beside(path: Path) -> Path | None:
    stem = _stem(path).lower()
    found = [
        p
        for p in sorted(path.parent.iterdir())
        if p.suffix.lower() in SUFFIXES
        and re.match(rf"(he[_\-])?{re.escape(stem)}([_\-.]|$)", p.name.lower())
    ]
    return found[0] if len(found) == 1 else None
