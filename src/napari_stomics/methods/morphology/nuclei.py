"""Shapes of the nuclei of one tile, as planes that can be summed over patches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.registration.segment import (
    blob_response,
    blob_strengths,
    divide,
    usual_areas,
)

Floats = NDArray[np.floating[Any]]

FEWEST_PIXELS = 3.0
"""Pixels across a nucleus below which nuclei cannot be told apart."""


@dataclass(frozen=True)
class NucleusShapes:
    """Nuclei of one tile.

    Attributes
    ----------
    centres
        (n, 2) centres (row, column) in pixels of the tile with its margin.
    area
        (n,) um^2.
    eccentricity
        (n,) of the ellipse of the same second moments: 0 for a circle.
    solidity
        (n,) area over that of the convex hull.
    orientation
        (n,) radians of the long axis against the columns' direction.
    stain
        (n,) mean amount of haematoxylin.
    """

    centres: Floats
    area: Floats
    eccentricity: Floats
    solidity: Floats
    orientation: Floats
    stain: Floats


def strengths_of(stain: Floats, valid: Floats, width: float) -> Floats:
    """Strengths of all blobs of a sample, from which the threshold is learnt."""
    return blob_strengths(blob_response(stain, valid, width), width)


def shapes_of(
    stain: Floats,
    valid: Floats,
    diameter: float,
    pixel_size: float,
    threshold: float,
    ctx: JobContext,
) -> NucleusShapes:
    """Find the nuclei of a tile and measure them.

    Parameters
    ----------
    stain
        (y, x) amount of haematoxylin.
    valid
        (y, x) 1 where the image shows something.
    diameter
        Usual diameter of a nucleus, um.
    pixel_size
        Micrometres per pixel.
    threshold
        Strength of a blob from which it is a nucleus.
    ctx
        Cancellation.
    """
    width = diameter / pixel_size
    response = blob_response(stain, valid, width)
    ctx.step()
    labels = divide(response, width, threshold)
    ctx.step()
    rows, columns = np.nonzero(labels)
    of = labels[rows, columns]
    count = int(of.max(initial=0))

    def total(weights: Any = None) -> Floats:
        return np.bincount(of, weights, minlength=count + 1)[1:].astype(np.float64)

    pixels = total()
    least, most = (area / pixel_size**2 for area in usual_areas(diameter))
    right = (pixels > max(least, 4)) & (pixels < most)
    area = np.maximum(pixels, 1)
    y, x = total(rows) / area, total(columns) / area
    dy, dx = rows - np.r_[0, y][of], columns - np.r_[0, x][of]
    # A pixel is a square, whose own second moment is a twelfth.
    yy, xx = total(dy * dy) / area + 1 / 12, total(dx * dx) / area + 1 / 12
    xy = total(dx * dy) / area
    middle, apart = (yy + xx) / 2, np.hypot((xx - yy) / 2, xy)
    eccentricity = np.sqrt(np.clip(2 * apart / (middle + apart), 0, 1))
    solid = _solidity(rows, columns, of, pixels, right, ctx)
    return NucleusShapes(
        centres=np.column_stack([y, x])[right],
        area=pixels[right] * pixel_size**2,
        eccentricity=eccentricity[right],
        solidity=solid[right],
        orientation=(0.5 * np.arctan2(2 * xy, xx - yy))[right],
        stain=(total(stain[rows, columns]) / area)[right],
    )


def _solidity(
    rows: NDArray[Any],
    columns: NDArray[Any],
    of: NDArray[Any],
    pixels: Floats,
    wanted: Any,
    ctx: JobContext,
) -> Floats:
    from scipy.spatial import ConvexHull

    order = np.argsort(of, kind="stable")
    ends = np.cumsum(pixels).astype(int)
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    out = np.ones(len(pixels))
    for count, i in enumerate(np.flatnonzero(wanted)):
        if count % 100 == 0:
            ctx.step()
        own = order[ends[i] - int(pixels[i]) : ends[i]]
        points = np.column_stack([rows[own], columns[own]])[:, None] + corners
        out[i] = pixels[i] / ConvexHull(points.reshape(-1, 2)).volume
    return out


def nucleus_planes(shapes: NucleusShapes, shape: tuple[int, int]) -> Iterator[tuple[str, Floats]]:
    """Yield planes that hold each nucleus' measures in the pixel of its centre."""
    row, column = np.floor(shapes.centres + 0.5).astype(int).T
    inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    at = row[inside] * shape[1] + column[inside]
    measures = {
        "nuclei": np.ones(len(shapes.area)),
        "nucleus area": shapes.area,
        "nucleus area²": shapes.area**2,
        "nucleus eccentricity": shapes.eccentricity,
        "nucleus solidity": shapes.solidity,
        "nucleus stain": shapes.stain,
        "nucleus axis 1": np.cos(2 * shapes.orientation),
        "nucleus axis 2": np.sin(2 * shapes.orientation),
    }
    for name, values in measures.items():
        plane = np.bincount(at, values[inside], minlength=shape[0] * shape[1])
        yield name, plane.astype(np.float64).reshape(shape)
