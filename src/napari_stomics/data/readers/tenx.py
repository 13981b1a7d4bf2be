"""Count matrices as 10x Genomics writes them: HDF5 or the three text files, any version."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_stomics.core.errors import UserError
from napari_stomics.data.readers._common import existing, open_text, read_table, reading

if TYPE_CHECKING:
    from anndata import AnnData

_MATRIX = ("matrix.mtx.gz", "matrix.mtx")
_FEATURES = ("features.tsv.gz", "features.tsv", "genes.tsv.gz", "genes.tsv")
_BARCODES = ("barcodes.tsv.gz", "barcodes.tsv")


def find_matrix(folder: Path, kinds: tuple[str, ...], cell: str = "bc") -> Path | None:
    """Return the count matrix of a folder, an HDF5 file before a folder of text files.

    Parameters
    ----------
    folder
        Folder of the run's output.
    kinds
        ``filtered``, ``raw`` in the order of preference.
    cell
        ``bc`` for ``filtered_feature_bc_matrix``, ``cell`` for ``filtered_feature_cell_matrix``.

    Raises
    ------
    UserError
        If several files of one kind, told apart by a prefix, could be meant.
    """
    for kind in kinds:
        stem = f"{kind}_feature_{cell}_matrix"
        exact = folder / f"{stem}.h5"
        if exact.is_file():
            return exact
        prefixed = sorted(p for p in folder.glob(f"*{stem}.h5") if p.is_file())
        if len(prefixed) > 1:
            raise UserError(
                f"{folder} holds {len(prefixed)} matrices: {', '.join(p.name for p in prefixed)}.",
                "Open the one that you want by its own path.",
            )
        if prefixed:
            return prefixed[0]
        if matrix_files(folder / stem):
            return folder / stem
        if kind == "filtered":  # Cell Ranger 2 and before
            old = [p for p in folder.glob("filtered_gene_bc_matrices*/*") if matrix_files(p)]
            if len(old) == 1:
                return old[0]
    return None


def matrix_files(folder: Path) -> dict[str, Path]:
    """Return the three files of a text matrix by role; empty unless all are there."""
    found = {}
    roles = {"matrix": _MATRIX, "features": _FEATURES, "barcodes": _BARCODES}
    for role, names in roles.items():
        for name in names:
            if (folder / name).is_file():
                found[role] = folder / name
                break
    return found if len(found) == 3 else {}


def read_matrix(path: Path) -> AnnData:
    """Read a count matrix: spots by features, sparse, symbols as names, all feature types.

    Parameters
    ----------
    path
        HDF5 file, or folder of ``matrix.mtx``, ``features.tsv`` and ``barcodes.tsv``.
    """
    return _read_text(path) if path.is_dir() else _read_h5(path)


def _read_h5(path: Path) -> AnnData:
    import scanpy as sc

    with reading(existing(path), "a 10x HDF5 matrix"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique.*")
        return _tidy(sc.read_10x_h5(path, gex_only=False))


def _read_text(folder: Path) -> AnnData:
    import anndata
    import pandas as pd

    files = matrix_files(folder)
    if not files:
        raise UserError(
            f"{folder} is no 10x matrix: it needs matrix.mtx, features.tsv and barcodes.tsv.",
            "Copy all three files (packed with gzip or not) into the folder.",
        )
    features = read_table(files["features"], sep="\t", header=None, dtype=str)
    barcodes = read_table(files["barcodes"], sep="\t", header=None, dtype=str)[0]
    matrix = _read_mtx(files["matrix"])
    expected = (len(barcodes), len(features))
    if matrix.shape != expected:
        raise UserError(
            f"{folder} does not fit together: the matrix is for {matrix.shape[0]} spots and "
            f"{matrix.shape[1]} features, the lists name {expected[0]} and {expected[1]}.",
            "One of the files is of another sample or cut short: copy all three again.",
        )
    var = pd.DataFrame({"gene_ids": features[0].to_numpy()})
    if features.shape[1] > 2:
        var["feature_types"] = features[2].to_numpy()
    var.index = features[1 if features.shape[1] > 1 else 0].astype(str).to_numpy()
    obs = pd.DataFrame(index=barcodes.astype(str).to_numpy())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique.*")
        return _tidy(anndata.AnnData(matrix, obs=obs, var=var))


def _read_mtx(path: Path) -> Any:
    """Read a Matrix Market file of coordinates, transposed to spots by features.

    Not with scipy's reader: a broken stream ends the whole process there.
    """
    import numpy as np
    import pandas as pd
    from scipy.sparse import csr_matrix

    with reading(existing(path), "a Matrix Market file"), open_text(path) as text:
        head = text.readline(1000)
        if not head.lower().startswith("%%matrixmarket matrix coordinate"):
            raise ValueError("it does not begin with '%%MatrixMarket matrix coordinate'")
        line = text.readline(10_000)
        while line.startswith("%"):
            line = text.readline(10_000)
        rows, columns, count = (int(v) for v in line.split())
        names = ["row", "column"] if "pattern" in head else ["row", "column", "value"]
        dtypes: Any = {n: np.int64 if n != "value" else np.float32 for n in names}
        frame = pd.read_csv(
            text, sep=r"\s+", header=None, names=names, dtype=dtypes, index_col=False
        )
        if len(frame) != count:
            raise ValueError(f"it announces {count} values and holds {len(frame)}")
        values = frame["value"] if "value" in frame else np.ones(count, dtype=np.float32)
        places = (frame["column"].to_numpy() - 1, frame["row"].to_numpy() - 1)
        return csr_matrix((np.asarray(values), places), shape=(columns, rows))


def _tidy(table: AnnData) -> AnnData:
    """Plain strings and no columns that are lists: such a table can be written."""
    for column in list(table.var):
        values: Any = table.var[column]
        if values.dtype == object:
            table.var[column] = values.astype(str)
    with warnings.catch_warnings():  # symbols repeat in 10x matrices
        warnings.filterwarnings("ignore", message=".*names are not unique.*")
        table.var_names = table.var_names.astype(str)
    table.obs_names = table.obs_names.astype(str)
    return table
