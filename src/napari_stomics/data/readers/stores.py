"""SpatialData stores, ours and those that other software wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_stomics.core.errors import UserError
from napari_stomics.data.readers import _common as common

if TYPE_CHECKING:
    from spatialdata import SpatialData


def read(
    path: Path, *, name: str, um_per_px: float | None = None, modality: str | None = None
) -> SpatialData:
    """Read all sections of a store; they keep their names.

    Parameters
    ----------
    path
        The zarr store.
    name, um_per_px, modality
        Not used: the store says all of this itself.
    """
    from napari_stomics.data.study import open_study

    return open_study(path).sdata


def inspect(path: Path) -> dict[str, Any]:
    """Say what :func:`read` would find, from the names in the store."""
    found: dict[str, list[str]] = {}
    for group in ("images", "labels", "points", "shapes", "tables", "table"):
        folder = path / group
        if folder.is_dir():
            found[group] = sorted(p.name for p in folder.iterdir() if p.is_dir())
    if not found:
        raise UserError(f"{path} holds no elements.", "Choose a store that SpatialData wrote.")
    tables = [*found.get("tables", []), *found.get("table", [])]
    return common.preview(
        path,
        images=[{"name": n} for n in found.get("images", [])],
        choices={"tables": tables},
    )
