"""Copies of a section's layers with a height: spots as points, images as textured surfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.layers.tags import tag

if TYPE_CHECKING:
    from napari.layers import Layer

RAISED = "napari_stomics_raised"
"""Key in the metadata of a copy with a height: the section that it shows."""

_UNITS = ("um", "um", "um")
_PIXELS = 1024
_MANY_POINTS = 100_000
_CLEAR = (0.03, 0.06)
"""Darker than the slide by so much, tissue begins to show, and is opaque."""


def raised(layer: Any, section: str, height: float, images: bool) -> list[Layer]:
    """Copies of a layer at a height; none of what has no place in three dimensions.

    Parameters
    ----------
    layer, section
        A layer, and the section that it shows.
    height
        Height in um.
    images
        Whether images are copied too.
    """
    if hasattr(layer, "symbol"):
        return [_raised_points(layer, section, height)] if len(layer.data) else []
    if images and hasattr(layer, "rgb") and tag(layer)["role"] in ("image", "overview", "result"):
        return [_raised_image(layer, section, height)]
    return []


def _world(layer: Any, points: NDArray[Any]) -> NDArray[np.float64]:
    """(n, 2) points (y, x) of a layer's data in world coordinates."""
    own = np.asarray(points, float) * layer.scale[-2:] + layer.translate[-2:]
    matrix = np.asarray(layer.affine.affine_matrix)[-3:, -3:]
    return np.asarray(own @ matrix[:2, :2].T + matrix[:2, 2])


def _raised_points(layer: Any, section: str, height: float) -> Layer:
    from napari.layers import Points

    rows = np.arange(len(layer.data))
    shown = np.asarray(layer.shown)
    if shown.shape == rows.shape:
        rows = rows[shown]
    rows = rows[:: max(1, -(-len(rows) // _MANY_POINTS))]
    # Heights point up, the third axis of napari away from the eye.
    flat = _world(layer, layer.data[rows])
    return Points(
        np.column_stack([np.full(len(rows), -height), flat]),
        size=np.broadcast_to(layer.size, len(layer.data))[rows],
        face_color=np.asarray(layer.face_color)[rows],
        border_width=0,
        opacity=layer.opacity,
        blending="translucent",
        shading="none",
        canvas_size_limits=(1, 10_000),
        name=f"{layer.name} (3D)",
        units=_UNITS,
        metadata={RAISED: section},
    )


def _raised_image(layer: Any, section: str, height: float) -> Layer:
    from napari.layers import Surface

    levels = list(layer.data) if layer.multiscale else [layer.data]
    full = levels[0].shape[:2]
    level = next((q for q in levels if max(q.shape[:2]) <= _PIXELS), levels[-1])
    step = max(1, -(-max(level.shape[:2]) // _PIXELS))
    texture = _rgba(layer, np.asarray(level)[::step, ::step])
    # Pixel centres are on integers: the image spans half a pixel more on each side.
    corners = np.array([[0, 0], [0, full[1]], [full[0], full[1]], [full[0], 0]], float) - 0.5
    vertices = np.column_stack([np.full(4, -height), _world(layer, corners)])
    return Surface(
        (vertices, np.array([[0, 1, 2], [0, 2, 3]])),
        texture=texture,
        texcoords=np.array([[0, 1], [1, 1], [1, 0], [0, 0]], float),
        shading="none",
        opacity=layer.opacity,
        # Drawn from the lowest section up; with a depth the sheet would cut its own spots in half.
        blending="translucent_no_depth",
        name=f"{layer.name} (3D)",
        units=_UNITS,
        metadata={RAISED: section},
    )


def _rgba(layer: Any, pixels: NDArray[Any]) -> NDArray[np.float32]:
    """(y, x, 4) colours in [0, 1] as the layer shows them; the white of the slide is clear."""
    if not layer.rgb:
        low, high = layer.contrast_limits
        share = np.clip((pixels - low) / max(high - low, 1e-12), 0, 1)
        colours = layer.colormap.map(share.ravel()).reshape(*share.shape, 4).astype(np.float32)
        colours[..., 3] = share
        return colours
    top = 255.0 if pixels.dtype == np.uint8 else 1.0
    colours = np.ones((*pixels.shape[:2], 4), np.float32)
    colours[..., : pixels.shape[2]] = pixels / top
    if tag(layer)["role"] == "image":
        colours[..., 3] *= _tissue(colours[..., :3])
    return colours


def _tissue(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """(y, x) how much each pixel of a bright-field image is tissue: 0 on the slide, 1 inside."""
    from scipy.ndimage import gaussian_filter

    brightness = colours.min(axis=2)
    edge = np.concatenate([brightness[0], brightness[-1], brightness[:, 0], brightness[:, -1]])
    slide = float(np.median(edge))
    smooth = gaussian_filter(brightness, 2.0)
    # Some slides are masked: black round the tissue.
    away = slide - smooth if slide > 0.5 else smooth - slide
    return np.clip((away - _CLEAR[0]) / (_CLEAR[1] - _CLEAR[0]), 0, 1).astype(np.float32)
