"""Cells from a label image: their centres, sizes and mean intensities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.data.build import ImageSource
from napari_stomics.data.readers._tiff import open_tiff


def cells_of_mask(source: ImageSource, mask: Path, modality: str) -> dict[str, Any]:
    """Return what :func:`make_section` needs to hold the cells of a mask on an image.

    Parameters
    ----------
    source
        The image.
    mask
        TIFF with a number per cell, zero outside, on the same pixels.
    modality
        Name of the table of mean intensities.

    Returns
    -------
    dict
        ``coordinates``, ``radius``, ``tables`` and ``labels``.
    """
    import anndata
    import pandas as pd

    labels = np.asarray(open_tiff(mask).levels[0])[..., 0]
    image = source.levels[0]
    if labels.shape != image.shape[:2] or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"{mask.name} does not fit its image: {labels.shape} {labels.dtype} against "
            f"{image.shape[:2]}.",
            "A mask has whole numbers, one per cell, on the pixels of the image.",
        )
    ids, inverse = np.unique(labels, return_inverse=True)
    inverse = inverse.ravel()
    area = np.bincount(inverse).astype(np.float64)
    ny, nx = labels.shape
    centre = np.column_stack(
        [
            np.bincount(inverse, np.tile(np.arange(nx) + 0.5, ny)) / area,
            np.bincount(inverse, np.repeat(np.arange(ny) + 0.5, nx)) / area,
        ]
    )
    means = _means(image, inverse, area)
    cells = ids > 0
    if not cells.any():
        raise UserError(f"{mask.name} holds no cell.", "Choose the mask that goes with the image.")
    names = [str(i) for i in ids[cells]]
    px = float(np.sqrt(abs(np.linalg.det(source.to_um.matrix[:2, :2]))))
    table = anndata.AnnData(
        means[cells].astype(np.float32),
        obs=pd.DataFrame({"area_um2": area[cells] * px**2}, index=names),
        var=pd.DataFrame(index=[str(c) for c in source.channels]),
    )
    return {
        "coordinates": source.to_um.apply(centre[cells]),
        "radius": np.sqrt(area[cells] / np.pi) * px,
        "tables": {modality: table},
        "labels": {"cells": (labels, source.to_um)},
    }


def _means(image: Any, inverse: NDArray[Any], area: NDArray[Any]) -> NDArray[np.float64]:
    """(labels, channels) mean intensity, one channel in memory at a time."""
    columns = []
    for c in range(image.shape[2]):
        plane = np.asarray(image[..., c], dtype=np.float64).ravel()
        columns.append(np.bincount(inverse, plane) / area)
    return np.column_stack(columns)
