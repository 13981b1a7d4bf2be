"""Sums over square patches, gathered tile by tile, and the features that they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.methods.morphology.grid import Tile

Floats = NDArray[np.floating[Any]]


class PatchSums:
    """Sums of planes over square patches; exact however the image is cut into tiles.

    Parameters
    ----------
    centres
        (n, 2) centres (x, y) in working pixels.
    half
        Half the width of a patch in working pixels.
    shape
        Rows and columns of the working image.
    """

    def __init__(self, centres: Floats, half: float, shape: tuple[int, int]) -> None:
        half = max(half, 0.5)
        centres = np.asarray(centres, np.float64).reshape(-1, 2)
        low = np.round(centres - half).astype(np.intp)
        high = np.maximum(np.round(centres + half).astype(np.intp), low + 1)
        limit = np.array(shape[::-1])
        self._low, self._high = np.clip(low, 0, limit), np.clip(high, 0, limit)
        self._area = np.prod(np.maximum(high - low, 1), axis=1).astype(np.float64)
        self.sums: dict[str, NDArray[np.float64]] = {}
        self._here: Any = None

    @property
    def area(self) -> NDArray[np.float64]:
        """(n,) pixels of each whole patch, also of those that the image does not cover."""
        return self._area

    def start(self, tile: Tile) -> bool:
        """Turn to a tile; say whether any patch reaches into it."""
        corner = np.array([tile.columns[0], tile.rows[0]])
        end = np.array([tile.columns[1], tile.rows[1]])
        low, high = np.maximum(self._low, corner), np.minimum(self._high, end)
        rows = np.flatnonzero((low < high).all(axis=1))
        self._here = rows, low[rows] - corner, high[rows] - corner
        return len(rows) > 0

    def add(self, name: str, summed: NDArray[np.float64]) -> None:
        """Add a plane of the tile, given as its :func:`summed_area`."""
        rows, low, high = self._here
        if len(rows):
            part = (
                summed[high[:, 1], high[:, 0]]
                - summed[low[:, 1], high[:, 0]]
                - summed[high[:, 1], low[:, 0]]
                + summed[low[:, 1], low[:, 0]]
            )
            self.sums.setdefault(name, np.zeros(len(self._low)))[rows] += part


def summed_area(plane: Floats) -> NDArray[np.float64]:
    """(y + 1, x + 1) sums over all pixels above and to the left (Crow 1984)."""
    out = np.zeros((plane.shape[0] + 1, plane.shape[1] + 1))
    np.cumsum(plane, axis=0, dtype=np.float64, out=out[1:, 1:])
    np.cumsum(out[1:, 1:], axis=1, out=out[1:, 1:])
    return out


def features_of(sums: Mapping[str, Any], pixel_size: float) -> dict[str, Floats]:
    """Features of patches from the sums of their planes.

    Returns
    -------
    dict
        (n,) values by name; NaN where the image shows nothing, and those of nuclei where
        there is none.
    """
    valid = sums["valid"]
    count = np.where(valid > 0, valid, np.nan)
    out: dict[str, Floats] = {}
    for name in ("haematoxylin", "eosin", "density"):
        out[f"{name}_mean"] = sums[name] / count
        out[f"{name}_sd"] = np.sqrt(
            np.maximum(sums[f"{name}²"] / count - out[f"{name}_mean"] ** 2, 0)
        )
    amounts = sums["haematoxylin"] + sums["eosin"]
    out["haematoxylin_share"] = sums["haematoxylin"] / np.where(amounts > 0, amounts, np.nan)
    out["tissue_share"] = sums["tissue"] / count
    for name, values in sums.items():
        word, _, scale = name.partition(" ")
        if word in ("gradient", "contrast", "homogeneity", "edges", "corners", "dots"):
            out[f"{word}_{scale}um"] = values / count
    tensor = np.hypot(sums["tensor 1"], sums["tensor 2"])
    energy = sums["tensor 0"]
    out["orientation_coherence"] = tensor / np.where(energy > 1e-9, energy, np.nan)
    if "nuclei" in sums:
        out |= _nuclear(sums, count * pixel_size**2 / 1e6)
    return out


def _nuclear(sums: Mapping[str, Any], mm2: Floats) -> dict[str, Floats]:
    count = sums["nuclei"]
    some = np.where(count > 0, count, np.nan)
    area = sums["nucleus area"] / some
    axis = np.hypot(sums["nucleus axis 1"], sums["nucleus axis 2"])
    return {
        "nuclei_per_mm2": count / mm2,
        "nucleus_area": area,
        "nucleus_area_sd": np.sqrt(np.maximum(sums["nucleus area²"] / some - area**2, 0)),
        "nucleus_eccentricity": sums["nucleus eccentricity"] / some,
        "nucleus_solidity": sums["nucleus solidity"] / some,
        "nucleus_haematoxylin": sums["nucleus stain"] / some,
        # One nucleus agrees with itself: coherence says something from two on.
        "nucleus_alignment": np.where(count > 1, axis / np.maximum(count, 1), np.nan),
    }
