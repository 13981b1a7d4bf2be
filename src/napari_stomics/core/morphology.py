"""What morphology adds to an H&E image: features per spot, dense maps, and where not to trust them.

Spatial coordinates are (x, y) in micrometres; maps are (channel, y, x).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from napari_stomics.core.results import Array, median_of
from napari_stomics.core.transforms import Affine

FLAGS = ("off_image", "background", "blur", "pen", "fold")
"""Reasons not to trust the image under a spot."""


@dataclass(frozen=True)
class Stains:
    """The colours of two stains in one section.

    Attributes
    ----------
    vectors
        (2, 3) unit optical densities (red, green, blue) of haematoxylin and eosin.
    strengths
        (2,) 99th percentile of the amount of each in the tissue.
    background
        (3,) intensities of bare glass.
    estimated
        Whether they were found in the section; else they are the fixed ones.
    """

    vectors: Array
    strengths: Array
    background: Array
    estimated: bool = True


@dataclass(frozen=True)
class DenseMaps:
    """Features of an image on a regular grid.

    Attributes
    ----------
    names
        Names of the channels.
    values
        (c, y, x) float32, NaN where the image shows nothing.
    to_um
        Carries (x, y) cells of the grid, the first one spanning 0 to 1, to micrometres.
    """

    names: tuple[str, ...]
    values: Array
    to_um: Affine


@dataclass(frozen=True)
class MorphologyFeatures:
    """Interpretable features of the H&E image under each spot.

    Attributes
    ----------
    section
        Name of the section.
    ids
        (n,) names of the spots.
    features
        (g,) names; the last part says how many spot diameters wide the patch is.
    values
        (n, g) float32. Spots beside the image have the section's medians.
    flags
        (n,) per name of :data:`FLAGS`: whether the image there is not to be trusted.
    measures
        (n,) per name what the flags were judged by: share of tissue, of pen and of folds
        in the patch, and sharpness as a robust z-score against the section.
    maps
        The same as dense maps.
    stains
        Stains of the section.
    nuclei
        How many nuclei were found; -1 where the pixels are too large to tell them apart.
    pixel_size
        Micrometres per pixel at which the image was read.
    """

    kind: ClassVar[str] = "morphology"

    section: str
    ids: Array
    features: Array
    values: Array
    flags: Mapping[str, Array]
    measures: Mapping[str, Array]
    maps: DenseMaps
    stains: Stains
    nuclei: int
    pixel_size: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    converged: bool = True

    @property
    def usable(self) -> Array:
        """(n,) whether nothing speaks against the image under the spot."""
        bad = np.zeros(len(self.ids), bool)
        for flag in self.flags.values():
            bad |= np.asarray(flag, bool)
        return ~bad

    def summary(self) -> dict[str, Any]:
        """Key figures in plain JSON types."""
        out: dict[str, Any] = {
            "section": self.section,
            "features": len(self.features),
            "spots": len(self.ids),
            "usable_spots": int(self.usable.sum()),
            "pixel_size_um": float(self.pixel_size),
            "haematoxylin": [round(float(v), 3) for v in self.stains.vectors[0]],
            "eosin": [round(float(v), 3) for v in self.stains.vectors[1]],
            "stains_estimated": bool(self.stains.estimated),
            "median_tissue": median_of(self.measures["tissue"]),
        }
        out |= {f"{name}_spots": int(flag.sum()) for name, flag in self.flags.items()}
        if self.nuclei >= 0:
            out["nuclei"] = int(self.nuclei)
        return out
