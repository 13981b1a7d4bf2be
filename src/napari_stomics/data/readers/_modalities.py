"""Tables of one file, by modality: which spots they have between them, and where these lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.data.readers import _common as common

if TYPE_CHECKING:
    from anndata import AnnData

POSITION_KEYS = ("spatial", "X_spatial", "spatial_um", "coords")
"""Names in ``obsm`` under which positions usually lie."""


def read_h5mu(path: Path) -> dict[str, AnnData]:
    """Return the tables of an h5mu file by modality; each may lack spots of the others."""
    import warnings

    import mudata

    with common.reading(path, "a MuData file (.h5mu)"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        bundle = mudata.read_h5mu(path)
    tables = dict(bundle.mod)
    first = max(tables.values(), key=lambda table: table.n_obs)
    spots = first.obs_names
    for key in bundle.obsm:
        if key in POSITION_KEYS:
            for table in tables.values():  # they are of all spots, whatever a table lacks
                if table is first or key not in table.obsm:
                    rows = bundle.obs_names.get_indexer(table.obs_names)
                    table.obsm[key] = np.asarray(bundle.obsm[key])[rows]
    for key, value in bundle.uns.items():
        first.uns.setdefault(key, value)
    for column in bundle.obs:
        if ":" not in column and column not in first.obs:
            first.obs[column] = bundle.obs[column].reindex(spots).to_numpy()
    return tables


def position_key(obsm: Any, given: str | None) -> str | None:
    """Name in ``obsm`` of the positions: the given one, or a usual one; None without."""
    return next((k for k in ([given] if given else POSITION_KEYS) if k in obsm), None)


def further_spots(
    tables: dict[str, AnnData], first: str, xy: NDArray[np.float64], given: str | None
) -> tuple[Any, NDArray[np.float64]]:
    """Names and places of the first table's spots and, behind them, of those that only others have.

    Another table adds spots where it places those that it shares as the first one does.
    """
    import pandas as pd

    spots = tables[first].obs_names
    for modality, table in tables.items():
        key = position_key(table.obsm, given)
        if modality == first or key is None or not spots.is_unique:
            continue
        theirs = np.asarray(table.obsm[key], np.float64)[:, :2]
        new = ~table.obs_names.isin(spots)
        at = spots.get_indexer(table.obs_names[~new])
        same = np.allclose(xy[at], theirs[~new], rtol=1e-6, atol=1e-6, equal_nan=True)
        if new.any() and same and table.obs_names.is_unique:
            spots = pd.Index(np.concatenate([spots, table.obs_names[new]]), dtype=object)
            xy = np.vstack([xy, theirs[new]])
    return spots, xy


def among(tables: dict[str, AnnData], first: str, spots: Any, path: Path) -> dict[str, AnnData]:
    """Keep the spots that have a place, in their order.

    Raises
    ------
    UserError
        If a table shares no spot with the one that holds the positions.
    """
    if len(tables) == 1:
        return tables
    out: dict[str, AnnData] = {}
    for modality, table in tables.items():
        if not table.obs_names.isin(tables[first].obs_names).any():
            raise UserError(
                f"The modalities {first!r} and {modality!r} of {path.name} share no spot.",
                "They are different sections: save each as .h5ad and add them one by one.",
            )
        left = int((~table.obs_names.isin(spots)).sum())
        if left:
            common.warn(f"Left out {left} spots of {modality!r}: they have no position.")
        here = spots[spots.isin(table.obs_names)]
        out[modality] = table if table.obs_names.equals(here) else table[here].copy()
    return out
