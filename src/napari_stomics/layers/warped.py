"""What a warp does to a section: its grid, and how far it goes beyond its linear part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.transforms import Affine, Transform
from napari_stomics.layers.bars import show_bar
from napari_stomics.layers.raster import SpotRaster
from napari_stomics.layers.tags import TAG, UNITS, layer_affine, new_tag, set_tag, tag

if TYPE_CHECKING:
    from napari.layers import Layer

_CELLS = 20
_MAGNITUDE_PIXELS = 160


def grid_segments(transform: Transform, extent: NDArray[Any]) -> NDArray[np.float64]:
    """Lines of a square grid on the source, carried into the target.

    Segments of a Vectors layer, which nobody can edit by mistake; it redraws as
    fast as paths of a Shapes layer would.

    Parameters
    ----------
    transform
        Carries source (x, y) um to target um.
    extent
        (2, 2) lowest and highest (x, y) of the source.

    Returns
    -------
    ndarray
        (n, 2, 2) segments: start and direction as (y, x).
    """
    from napari_stomics.methods.registration.warp_views import warp_grid

    low, high = extent
    spacing = float((high - low).max()) / _CELLS
    lines = warp_grid(transform, (low[0], low[1], high[0], high[1]), spacing)
    start = np.vstack([line[:-1] for line in lines])
    end = np.vstack([line[1:] for line in lines])
    segments = np.stack([start, end - start], axis=1)[..., ::-1]
    return segments[np.isfinite(segments).all(axis=(1, 2))]


def magnitude_layer(
    transform: Transform, extent: NDArray[Any], base: Affine, title: str, section: str
) -> Layer | None:
    """Return an image of how far a map bends or shears, in um; None where it does neither.

    Measured against the map's own best similarity, so that the pose does not
    show. It lies over the source as the map's linear part places it; ``base``
    is where the target's frame is shown.
    """
    from napari.layers import Image

    from napari_stomics.methods.registration.warp_views import displacement_magnitude

    low, high = extent
    size = high - low
    columns, rows = (max(2, round(float(n) / float(size.max()) * _MAGNITUDE_PIXELS)) for n in size)
    image = displacement_magnitude(transform, (low[0], low[1], high[0], high[1]), (rows, columns))
    top = float(np.nanmax(image, initial=0.0))
    if top < 1e-6 * float(size.max()):
        return None
    own = Affine(
        np.array([[size[0] / columns, 0, low[0]], [0, size[1] / rows, low[1]], [0, 0, 1.0]])
    )
    placed = transform.linear_part().then(base)
    layer = Image(
        np.nan_to_num(image).astype(np.float32),
        rgb=False,
        name=title,
        colormap="magma",
        contrast_limits=(0.0, top),
        blending="translucent",
        opacity=0.6,
        translate=(0.5, 0.5),
        affine=layer_affine(own, placed),
        units=UNITS,
        metadata={TAG: new_tag(section, "result", own, placed, limits=[0.0, top])},
    )
    show_bar(layer)
    return layer


def rewarp_overview(layer: Layer, transform: Transform | None) -> bool:
    """Repaint the raster of a section's spots through a map, or as it was (None).

    Returns
    -------
    bool
        Whether the layer is such a raster.
    """
    raster: SpotRaster | None = tag(layer).get("raster")
    if raster is None:
        return False
    straight: SpotRaster = tag(layer).get("straight") or raster
    if transform is None and straight is raster:
        return True
    moved: Any = straight
    if transform is not None:
        moved = SpotRaster(transform.apply(straight.coordinates), 2 * raster.radius, raster.colours)
    else:
        moved.set_colours(raster.colours)
    set_tag(layer, raster=moved, straight=straight)
    layer.data = moved.levels
    layer.scale = (moved.pixel_size, moved.pixel_size)
    layer.translate = moved.origin[::-1] + moved.pixel_size / 2
    return True
