"""Small files in the formats of the instruments, for the readers' tests."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import tifffile
from scipy.io import mmwrite
from scipy.sparse import csc_matrix, csr_matrix

HEX_ROWS, HEX_COLS = 12, 20


def hexagon(turn: float = 0.0, px_per_um: float = 2.0) -> pd.DataFrame:
    """Positions of a small Visium array, turned by some degrees on the pixels."""
    row, col = (a.ravel() for a in np.mgrid[:HEX_ROWS, :HEX_COLS])
    even = (row + col) % 2 == 0
    row, col = row[even], col[even]
    um = np.column_stack([col * 50.0, row * 50.0 * np.sqrt(3)])
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    px = (um - um.mean(axis=0)) @ np.array([[c, -s], [s, c]]).T * px_per_um + 2000
    return pd.DataFrame(
        {
            "barcode": [f"SPOT{i:04d}-1" for i in range(len(row))],
            "in_tissue": (np.arange(len(row)) % 4 > 0).astype(int),
            "array_row": row,
            "array_col": col,
            "pxl_row_in_fullres": px[:, 1],
            "pxl_col_in_fullres": px[:, 0],
        }
    )


def counts(spots: int, features: int, seed: int = 0) -> np.ndarray:
    """A full matrix of small whole numbers."""
    return np.random.default_rng(seed).poisson(1.0, (spots, features)).astype(np.int32)


def write_h5(
    path: Path,
    matrix: np.ndarray,
    barcodes: list[str],
    names: list[str],
    types: list[str] | None = None,
    **attributes: Any,
) -> None:
    """Write a 10x matrix, features by cells in columns, as Cell Ranger 3 and later do."""
    packed = csc_matrix(matrix.T)
    types = types or ["Gene Expression"] * len(names)
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes)
        group = file.create_group("matrix")
        group["barcodes"] = np.array(barcodes, dtype="S")
        for key in ("data", "indices", "indptr"):
            group[key] = getattr(packed, key)
        group["shape"] = np.array(packed.shape, dtype=np.int32)
        features = group.create_group("features")
        features["id"] = np.array([f"ENSG{i:011d}" for i in range(len(names))], dtype="S")
        features["name"] = np.array(names, dtype="S")
        features["feature_type"] = np.array(types, dtype="S")
        features["genome"] = np.array(["GRCh38"] * len(names), dtype="S")
        features["_all_tag_keys"] = np.array([b"genome"])


def write_mtx(folder: Path, matrix: np.ndarray, barcodes: list[str], names: list[str], old=False):
    """Write the three text files: packed, or as Cell Ranger 2 did, plain with genes.tsv."""
    folder.mkdir(parents=True)
    mmwrite(folder / "matrix.mtx", csr_matrix(matrix.T))
    kind = "" if old else "\tGene Expression"
    features = "".join(f"ENSG{i:011d}\t{n}{kind}\n" for i, n in enumerate(names))
    listed = "".join(f"{b}\n" for b in barcodes)
    if old:
        (folder / "genes.tsv").write_text(features)
        (folder / "barcodes.tsv").write_text(listed)
        return
    (folder / "features.tsv.gz").write_bytes(gzip.compress(features.encode()))
    (folder / "barcodes.tsv.gz").write_bytes(gzip.compress(listed.encode()))
    plain = folder / "matrix.mtx"
    (folder / "matrix.mtx.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()


def write_picture(path: Path, height: int, width: int) -> np.ndarray:
    """Write an RGB picture whose red counts rows and green columns; return it."""
    from PIL import Image

    y, x = np.mgrid[:height, :width]
    array = np.stack([y % 256, x % 256, (x + y) % 256], axis=-1).astype(np.uint8)
    Image.fromarray(array).save(path)
    return array


def visium(
    folder: Path,
    *,
    turn: float = 0.0,
    header: bool = True,
    fmt: str = "h5",
    names: list[str] | None = None,
    types: list[str] | None = None,
    hires: bool = True,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Write a Visium run; return positions and counts of its spots in tissue."""
    spatial = folder / "spatial"
    spatial.mkdir(parents=True)
    positions = hexagon(turn)
    inside = positions[positions["in_tissue"] == 1]
    names = names or [f"G{i}" for i in range(5)]
    matrix = counts(len(inside), len(names))
    barcodes = list(inside["barcode"])
    if fmt == "h5":
        path = folder / "filtered_feature_bc_matrix.h5"
        write_h5(path, matrix, barcodes, names, types)
    else:
        write_mtx(folder / "filtered_feature_bc_matrix", matrix, barcodes, names, old=fmt == "old")
    if header:
        positions.to_csv(spatial / "tissue_positions.csv", index=False)
    else:
        positions.to_csv(spatial / "tissue_positions_list.csv", index=False, header=False)
    factors = {"tissue_lowres_scalef": 0.01, "spot_diameter_fullres": 130.0}
    if hires:
        factors["tissue_hires_scalef"] = 0.05
        write_picture(spatial / "tissue_hires_image.png", 200, 190)
    write_picture(spatial / "tissue_lowres_image.png", 40, 38)
    (spatial / "scalefactors_json.json").write_text(json.dumps(factors))
    return inside.reset_index(drop=True), matrix


def visium_hd(folder: Path, bin_um: int = 8, side: int = 6) -> np.ndarray:
    """Write one bin folder of a Visium HD run; return its counts."""
    inside = folder / "binned_outputs" / f"square_{bin_um:03d}um"
    (inside / "spatial").mkdir(parents=True)
    row, col = (a.ravel() for a in np.mgrid[:side, :side])
    px = bin_um / 0.25
    barcodes = [f"s_{bin_um:03d}um_{r:05d}_{c:05d}-1" for r, c in zip(row, col, strict=True)]
    frame = pd.DataFrame(
        {
            "barcode": barcodes,
            "in_tissue": 1,
            "array_row": row,
            "array_col": col,
            "pxl_row_in_fullres": row * px + 40.0,
            "pxl_col_in_fullres": col * px + 60.0,
        }
    )
    frame.to_parquet(inside / "spatial" / "tissue_positions.parquet")
    factors = {
        "bin_size_um": float(bin_um),
        "microns_per_pixel": 0.25,
        "spot_diameter_fullres": px,
        "tissue_hires_scalef": 0.5,
        "tissue_lowres_scalef": 0.05,
    }
    (inside / "spatial" / "scalefactors_json.json").write_text(json.dumps(factors))
    matrix = counts(len(barcodes), 4)
    write_h5(inside / "filtered_feature_bc_matrix.h5", matrix, barcodes, ["A", "B", "C", "D"])
    with h5py.File(folder / "feature_slice.h5", "w") as file:
        file.attrs["metadata_json"] = "{}"
    return matrix


def hd_cells(folder: Path) -> np.ndarray:
    """Write segmented cells of Space Ranger 4: three squares of 40 px."""
    inside = folder / "segmented_outputs"
    (inside / "spatial").mkdir(parents=True)
    features = []
    for k in (1, 2, 3):
        x, y = 100.0 * k, 50.0 * k
        ring = [[x, y], [x + 40, y], [x + 40, y + 40], [x, y + 40], [x, y]]
        features.append(
            {
                "type": "Feature",
                "properties": {"cell_id": k},
                "geometry": {"type": "Polygon", "coordinates": [ring]},
            }
        )
    outline = {"type": "FeatureCollection", "features": features}
    (inside / "cell_segmentations.geojson").write_text(json.dumps(outline))
    factors = {"microns_per_pixel": 0.25, "tissue_hires_scalef": 0.5}
    (inside / "spatial" / "scalefactors_json.json").write_text(json.dumps(factors))
    matrix = counts(3, 4, seed=3)
    names = [f"cellid_{k:09d}-1" for k in (3, 1, 2)]
    write_h5(inside / "filtered_feature_cell_matrix.h5", matrix, names, ["A", "B", "C", "D"])
    return matrix


def xenium(folder: Path, version: str = "xenium-3.1.0.4", images: bool = True) -> np.ndarray:
    """Write a small Xenium output; ids are bytes before 1.3, as they were."""
    folder.mkdir(parents=True)
    new = not version.startswith(("xenium-1.0", "Xenium-1.0"))
    ids = ["aaaaaaab-1", "aaaaaaac-1", "aaaaaaad-1", "aaaaaaae-1"] if new else ["1", "2", "3", "4"]
    specs = {"analysis_sw_version": version, "pixel_size": 0.2125, "num_cells": 4}
    (folder / "experiment.xenium").write_text(json.dumps(specs))
    cells = pd.DataFrame(
        {
            "cell_id": ids if new else [int(i) for i in ids],
            "x_centroid": [10.0, 30.0, 50.0, 70.0],
            "y_centroid": [20.0, 20.0, 40.0, 40.0],
            "transcript_counts": [5, 6, 7, 8],
            "cell_area": np.array([1.0, 4.0, 9.0, 16.0]) * np.pi,
        }
    )
    cells.to_parquet(folder / "cells.parquet")
    if not new:
        cells = cells.assign(cell_id=cells["cell_id"].astype(str))
    corners = np.array([[-2, -2], [2, -2], [2, 2], [-2, 2], [-2, -2]], dtype=float)
    xy = cells[["x_centroid", "y_centroid"]].to_numpy()
    outline = pd.DataFrame(
        {
            "cell_id": np.repeat([i.encode() for i in ids] if not new else ids, 5),
            "vertex_x": (xy[:, None, 0] + corners[:, 0]).ravel(),
            "vertex_y": (xy[:, None, 1] + corners[:, 1]).ravel(),
        }
    )
    outline.to_parquet(folder / "cell_boundaries.parquet")
    names = ["GeneA", "GeneB", "NegControlProbe_1", "BLANK_1", "CD3E"]
    types = [
        "Gene Expression",
        "Gene Expression",
        "Negative Control Probe",
        "Blank Codeword",
        "Protein Expression",
    ]
    matrix = counts(4, 5, seed=1)
    matrix[:, 4] = [10, 20, 30, 40]
    write_h5(
        folder / "cell_feature_matrix.h5", matrix, ids, names, types, protein_scaling_factor=10.0
    )
    pd.DataFrame(
        {
            "transcript_id": np.arange(3),
            "x_location": [11.0, 12.0, 51.0],
            "y_location": [21.0, 22.0, 41.0],
            "z_location": [0.0, 0.0, 0.0],
            "feature_name": ["GeneA", "GeneB", "GeneA"],
        }
    ).to_parquet(folder / "transcripts.parquet")
    if images:
        _xenium_images(folder, new)
    return matrix


def _xenium_images(folder: Path, new: bool) -> None:
    plane = np.arange(300 * 400, dtype=np.uint16).reshape(300, 400)
    if not new:
        write_pyramid(folder / "morphology_focus.ome.tif", plane, {"axes": "YX"}, levels=2)
        return
    inside = folder / "morphology_focus"
    inside.mkdir()
    for k, short in enumerate(("dapi", "boundary")):
        path = inside / f"ch{k:04d}_{short}.ome.tif"
        write_pyramid(path, plane + k, {"axes": "YX"}, levels=2)
    he = np.zeros((60, 80, 3), np.uint8)
    tifffile.imwrite(folder / "run_he_image.ome.tif", he, photometric="rgb", tile=(32, 32))
    matrix = np.array([[4.0, 0.0, 8.0], [0.0, 4.0, 12.0], [0.0, 0.0, 1.0]])
    np.savetxt(folder / "run_he_imagealignment.csv", matrix, delimiter=",")


def write_pyramid(path: Path, plane: np.ndarray, metadata: dict[str, Any], levels: int) -> None:
    """Write an OME-TIFF with reduced levels in SubIFDs."""
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(plane, tile=(128, 128), subifds=levels - 1, metadata=metadata)
        for level in range(1, levels):
            step = 2**level
            small = plane[..., ::step, ::step]
            writer.write(small, tile=(128, 128), subfiletype=1, metadata=None)


def cosmx(folder: Path) -> None:
    """Write CosMx flat files: two fields of view, cell 1 in each, cell 0 outside of cells."""
    folder.mkdir(parents=True)
    pd.DataFrame(
        {
            "fov": [1, 1, 1, 2],
            "cell_ID": [0, 1, 2, 1],
            "GeneA": [9, 1, 2, 3],
            "GeneB": [9, 0, 5, 6],
            "NegPrb1": [9, 1, 0, 0],
        }
    ).to_csv(folder / "run_exprMat_file.csv", index=False)
    pd.DataFrame(
        {
            "fov": [1, 1, 2],
            "cell_ID": [1, 2, 1],
            "Area": [314.0, 314.0, 314.0],
            "CenterX_global_px": [100.0, 300.0, 1100.0],
            "CenterY_global_px": [50.0, 150.0, 250.0],
        }
    ).to_csv(folder / "run_metadata_file.csv", index=False)
    corners = np.array([[-10, -10], [10, -10], [10, 10], [-10, 10]])
    pd.DataFrame(
        {
            "fov": np.repeat([1, 1, 2], 4),
            "cellID": np.repeat([1, 2, 1], 4),
            "x_global_px": (np.array([100, 300, 1100])[:, None] + corners[:, 0]).ravel(),
            "y_global_px": (np.array([50, 150, 250])[:, None] + corners[:, 1]).ravel(),
        }
    ).to_csv(folder / "run-polygons.csv", index=False)


def imzml(path: Path, spectra: list[tuple[Any, Any]], places: list[tuple[int, ...]], mode: str):
    """Write an imzML file with a pixel of 50 um."""
    from pyimzml.ImzMLWriter import ImzMLWriter

    with ImzMLWriter(str(path), mode=mode) as writer:
        for (mz, intensity), place in zip(spectra, places, strict=True):
            writer.addSpectrum(np.asarray(mz), np.asarray(intensity), place)
    text = path.read_text(encoding="utf-8", errors="replace")
    size = "".join(
        f'<cvParam cvRef="IMS" accession="IMS:100004{6 + i}" name="pixel size {a}" value="50"'
        ' unitCvRef="UO" unitAccession="UO:0000017" unitName="micrometer"/>'
        for i, a in enumerate("xy")
    )
    assert "</scanSettings>" in text
    path.write_text(text.replace("</scanSettings>", f"{size}</scanSettings>"), encoding="utf-8")


def h5ad(path: Path, **uns: Any) -> anndata.AnnData:
    """Write an h5ad of nine cells 10 units apart; return it."""
    table = anndata.AnnData(
        csr_matrix(counts(9, 3).astype(np.float32)),
        obs=pd.DataFrame({"kind": pd.Categorical(list("abcabcabc"))}, index=list("ABCDEFGHI")),
        var=pd.DataFrame(index=["x", "y", "z"]),
    )
    table.obsm["spatial"] = np.stack(np.mgrid[:3, :3], axis=-1).reshape(9, 2) * 10.0
    table.uns.update(uns)
    table.write_h5ad(path)
    return table
