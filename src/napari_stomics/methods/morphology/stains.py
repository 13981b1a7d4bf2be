"""Stains of an H&E section: their colours found, their amounts told apart and evened out.

The plane of the two stains is that of the two largest singular vectors of the
tissue's optical densities, and the stains are the extreme directions within it
(Macenko et al. 2009, ISBI, p. 1107). The fixed vectors are those of Ruifrok and
Johnston 2001 (Anal Quant Cytol Histol 23:291).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.morphology import Stains

Floats = NDArray[np.floating[Any]]

_LEAST = 0.15
"""Optical density (natural logarithm) below which a pixel is glass."""
_EXTREME = 1.0
"""Percentile at which the extreme directions are read off."""
_APART = 8.0
"""Degrees; stains closer than that are one stain."""
_FEWEST = 500

FIXED = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]])
"""Optical densities of haematoxylin and eosin after Ruifrok and Johnston."""

REFERENCE = Stains(
    np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]]),
    np.array([1.9705, 1.0308]),
    np.full(3, 240.0),
)
"""The stain that sections are brought to: vectors and strengths that Macenko et al. give."""


def optical_density(pixels: Any, background: Floats) -> Floats:
    """Natural logarithm of background over intensity, at least 0.

    Parameters
    ----------
    pixels
        (..., 3) intensities.
    background
        (3,) intensities of bare glass on the same scale.

    Returns
    -------
    (..., 3) float32.
    """
    glass = np.maximum(np.asarray(background, np.float32), 1e-6)
    light = np.maximum(np.asarray(pixels, np.float32), glass / 255)
    return np.maximum(np.log(glass / light), 0)


def estimate_stains(density: Floats, background: Floats) -> Stains:
    """Find the colours of haematoxylin and eosin in a sample of pixels.

    Parameters
    ----------
    density
        (n, 3) optical densities, see :func:`optical_density`.
    background
        (3,) intensities of bare glass, kept with the result.

    Returns
    -------
    Stains
        The fixed vectors, and ``estimated=False``, where the sample has too few
        stained pixels or one stain only.
    """
    density = np.asarray(density, np.float64).reshape(-1, 3)
    stained = density[(density > _LEAST).all(axis=1)]
    vectors, estimated = FIXED / np.linalg.norm(FIXED, axis=1, keepdims=True), False
    if len(stained) >= _FEWEST:
        found = _extremes(stained)
        if found is not None:
            vectors, estimated = found, True
    used = stained if len(stained) else density
    amounts = amounts_of(used, vectors)
    strengths = np.percentile(amounts, 99, axis=0) if len(amounts) else np.ones(2)
    return Stains(vectors, np.maximum(strengths, 1e-3), np.asarray(background), estimated)


def _extremes(stained: Floats) -> Floats | None:
    _, axes = np.linalg.eigh(np.cov(stained.T))
    plane = axes[:, :0:-1].T
    plane[0] *= np.sign(plane[0].sum()) or 1.0
    angle = np.arctan2(stained @ plane[1], stained @ plane[0])
    ends = np.percentile(angle, (_EXTREME, 100 - _EXTREME))
    if np.degrees(ends[1] - ends[0]) < _APART:
        return None
    found = np.column_stack([np.cos(ends), np.sin(ends)]) @ plane
    if (found < -0.05).any():
        return None
    found = np.maximum(found, 0)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    # Haematoxylin is blue: it takes away red, which eosin lets through.
    return np.asarray(found[np.argsort(-found[:, 0])])


def amounts_of(density: Floats, vectors: Floats) -> Floats:
    """Amounts of the stains by least squares, at least 0.

    Parameters
    ----------
    density
        (..., 3) optical densities.
    vectors
        (2, 3) optical densities of the stains.

    Returns
    -------
    (..., 2) in the type of ``density``.
    """
    inverse = np.linalg.pinv(np.asarray(vectors, np.float64)).astype(density.dtype)
    return np.maximum(density @ inverse, 0)


def normalised_amounts(density: Floats, stains: Stains) -> Floats:
    """Amounts of the stains as they would be in the reference: (..., 2) float32."""
    factor = REFERENCE.strengths / stains.strengths
    return np.asarray(amounts_of(density, stains.vectors) * factor, np.float32)


def normalised_image(pixels: Any, stains: Stains) -> NDArray[np.uint8]:
    """Return an image in the colours of the reference stain.

    Parameters
    ----------
    pixels
        (y, x, 3) intensities.
    stains
        Stains of the section.
    """
    amounts = normalised_amounts(optical_density(pixels, stains.background), stains)
    light = REFERENCE.background * np.exp(-amounts @ REFERENCE.vectors)
    return np.asarray(np.clip(np.rint(light), 0, 255), np.uint8)
