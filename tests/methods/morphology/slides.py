"""Small drawn H&E sections of known content."""

from typing import Any

import numpy as np

from napari_stomics.core.inputs import HistologySpots, SectionImage, Spots
from napari_stomics.core.transforms import Affine

HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
EOSIN = np.array([0.25, 0.85, 0.46])
GLASS = 240.0


def coloured(
    haematoxylin: Any, eosin: Any, stains: Any = (HAEMATOXYLIN, EOSIN), strength: Any = (1.0, 1.0)
) -> np.ndarray:
    """Return (y, x, 3) uint8 pixels of given stain amounts."""
    density = sum(
        np.asarray(amount)[..., None] * s * np.asarray(v) / np.linalg.norm(v)
        for amount, v, s in zip((haematoxylin, eosin), stains, strength, strict=True)
    )
    return np.clip(np.rint(GLASS * np.exp(-density)), 0, 255).astype(np.uint8)


def amounts(
    shape: tuple[int, int] = (480, 640), seed: int = 0, margin: int = 60
) -> tuple[np.ndarray, np.ndarray]:
    """Amounts of the stains of tissue with dark round nuclei, bare glass round it."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    tissue = np.zeros(shape)
    tissue[margin:-margin, margin:-margin] = 1
    wave = ndimage.gaussian_filter(rng.standard_normal(shape), 3)
    eosin = tissue * (0.5 + 0.25 * wave / wave.std()).clip(0.05, 1.2)
    haematoxylin = 0.06 * tissue
    yy, xx = np.mgrid[-6:7, -6:7]
    disc = (yy**2 + xx**2 <= 16).astype(float)
    area = (shape[0] - 2 * margin) * (shape[1] - 2 * margin)
    for _ in range(area // 400):
        y = rng.integers(margin + 8, shape[0] - margin - 8)
        x = rng.integers(margin + 8, shape[1] - margin - 8)
        part = haematoxylin[y - 6 : y + 7, x - 6 : x + 7]
        np.maximum(part, disc * rng.uniform(1.0, 1.6), out=part)
    return haematoxylin, eosin


def spots_on(
    pixels: np.ndarray,
    um_per_px: float = 1.0,
    diameter: float = 50.0,
    levels: Any = None,
    matrix: Any = None,
) -> HistologySpots:
    """Put a lattice of spots on the tissue of a slide."""
    height, width = pixels.shape[:2]
    step = diameter * 1.0
    y, x = np.mgrid[80 : height - 79 : step / um_per_px, 80 : width - 79 : step / um_per_px]
    xy = np.column_stack([x.ravel(), y.ravel()])
    to_um = Affine(np.diag([um_per_px, um_per_px, 1]) if matrix is None else matrix)
    ids = np.array([f"spot{i}" for i in range(len(xy))], object)
    spots = Spots(
        "s", ids, to_um.apply(xy), np.zeros((len(xy), 0)), np.zeros(0, object), "rna", None, step
    )
    return HistologySpots(spots, SectionImage("s", levels or (pixels,), to_um), diameter)
