"""Single cells without positions, from h5ad, h5mu and 10x HDF5 files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.core.errors import UserError
from napari_stomics.data.readers import _common as common
from napari_stomics.data.single_cells import SingleCells, guess_labels

if TYPE_CHECKING:
    from anndata import AnnData

SUFFIXES = (".h5ad", ".h5mu", ".h5")
_SOME = 1_000_000
"""Values that are looked at to tell whether they are counts."""


def read_reference(
    path: str | Path,
    *,
    name: str | None = None,
    labels: str | None = None,
    modality: str | None = None,
) -> SingleCells:
    """Read single cells.

    Parameters
    ----------
    path
        AnnData (.h5ad), MuData (.h5mu; its modalities may hold different cells) or
        10x Genomics HDF5 (.h5). Positions in it are ignored.
    name
        Name of the reference; by default that of the file.
    labels
        Column of ``obs`` with the cells' labels; by default one whose name says so.
    modality
        Name of the table of an h5ad file; ``rna`` by default.

    Raises
    ------
    UserError
        If the file is missing or broken, has no such column, or holds no counts.
    """
    path = common.existing(path)
    tables = _tables(path, modality)
    for key, table in tables.items():
        common.unique_names(table)
        tables[key] = _with_counts(table, path)
    if labels is not None and not any(labels in t.obs for t in tables.values()):
        columns = sorted({str(c) for t in tables.values() for c in t.obs})
        raise UserError(
            f"{path.name} has no column {labels!r} in obs.",
            f"It has: {', '.join(columns) or 'none'}.",
        )
    found = labels or next(filter(None, (guess_labels(t) for t in tables.values())), None)
    return SingleCells(name or common.default_name(path), tables, found, str(path))


def holds_cells_only(path: str | Path) -> bool:
    """Whether a file is a table of cells without positions; nothing but its structure is read."""
    import h5py

    from napari_stomics.data.readers._modalities import POSITION_KEYS

    path = Path(path)
    if path.suffix.lower() not in (".h5ad", ".h5mu") or not path.is_file():
        return False
    try:
        with h5py.File(path) as file:
            groups = [file["mod"][k] for k in file["mod"]] if "mod" in file else []
            holders = [file, *groups]
            placed = any(k in h.get("obsm", {}) for h in holders for k in POSITION_KEYS)
            axes = (("x", "y"), ("X", "Y"), ("x_centroid", "y_centroid"), ("center_x", "center_y"))
            columns = [set(h["obs"]) for h in holders if "obs" in h and hasattr(h["obs"], "keys")]
            placed |= any(set(pair) <= c for pair in axes for c in columns)
            return not placed and any("var" in h for h in holders)
    except (OSError, KeyError):
        return False


def _tables(path: Path, modality: str | None) -> dict[str, AnnData]:
    import anndata

    suffix = path.suffix.lower()
    if suffix == ".h5mu":
        return _multimodal(path)
    if suffix == ".h5ad":
        with common.reading(path, "an AnnData file (.h5ad)"):
            table = anndata.read_h5ad(path)
    elif suffix == ".h5":
        from napari_stomics.data.readers.tenx import read_matrix

        table = read_matrix(path)
    else:
        raise UserError(
            f"{path.name} is no file of single cells that is known here.",
            "Known are .h5ad, .h5mu and the .h5 matrices of 10x Genomics.",
        )
    if "feature_types" in table.var and table.var["feature_types"].nunique() > 1:
        return common.split_by_modality(table, modality)
    return {modality or "rna": table}


def _multimodal(path: Path) -> dict[str, AnnData]:
    """Modalities as they are; columns that the file keeps for all cells go to each."""
    import warnings

    import mudata

    with common.reading(path, "a MuData file (.h5mu)"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        bundle = mudata.read_h5mu(path)
        tables = {_modality(name): table.copy() for name, table in bundle.mod.items()}
    for table in tables.values():
        for column in bundle.obs:
            if ":" not in column and column not in table.obs:
                table.obs[column] = bundle.obs[column].reindex(table.obs_names).to_numpy()
    return tables


def _modality(name: str) -> str:
    """Our name of what muon calls a modality."""
    known = {"atac": "chromatin", "prot": "protein", "adt": "protein", "gex": "rna"}
    return known.get(name.lower(), name.lower())


def _with_counts(table: AnnData, path: Path) -> AnnData:
    """A table whose X are counts: as it is, or from its layer ``counts`` or ``raw``."""
    if _are_counts(table.X):
        return table
    if "counts" in table.layers and _are_counts(table.layers["counts"]):
        table.X = table.layers["counts"].copy()
        common.warn(f"{path.name}: counts are taken from the layer 'counts'.")
        return table
    if table.raw is not None and _are_counts(table.raw.X):
        raw = table.raw.to_adata()
        raw.obsm.update(table.obsm)
        common.warn(f"{path.name}: counts are taken from 'raw' ({raw.n_vars:,} features).")
        return common.unique_names(raw)
    values = _values(table.X)
    if not np.isfinite(values).all() or (values < 0).any():
        raise UserError(
            f"{path.name} holds no counts: some values are negative or not numbers.",
            "Save raw counts in X, in layers['counts'] or in raw.",
        )
    common.warn(f"{path.name} holds values that are not whole; raw counts are expected.")
    return table


def _are_counts(x: Any) -> bool:
    values = _values(x)
    return bool(np.isfinite(values).all() and (values >= 0).all() and (values % 1 == 0).all())


def _values(x: Any) -> Any:
    """Stored values of a matrix, spread over it where there are very many."""
    if x is None:
        return np.array([np.nan])
    values = np.asarray(x.data if hasattr(x, "indptr") else x).ravel()
    return values[:: max(1, len(values) // _SOME)]
