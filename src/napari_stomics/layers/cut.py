"""Cut layers along a line or into squares, and make them whole again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.core.transforms import Affine
from napari_stomics.layers.planes import Checker, Swipe, plane_levels
from napari_stomics.layers.tags import TAG, UNITS, new_tag, remove_layers, swap_axes, tag

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

_LINKED = ("contrast_limits", "gamma", "colormap", "opacity")


class CutLayers:
    """Layers that stand, cut, in the places of the originals, which are hidden.

    Their contrast is linked to the originals', so that what the user sets on
    one is set on the other.

    Parameters
    ----------
    viewer
        Where the originals are.
    masks
        One per section; change them and call :meth:`refresh`.
    """

    def __init__(self, viewer: ViewerModel, masks: list[Any]) -> None:
        self.viewer = viewer
        self.masks = masks
        self._pairs: list[tuple[Layer, Layer, Any, tuple[str, ...]]] = []

    def replace(self, layer: Layer, mask: Any) -> None:
        """Put a cut layer in the place of one that napari cannot cut; leave others alone."""
        from napari.layers import Image, Labels, Points

        if isinstance(layer, Points) and isinstance(mask, Checker) and len(layer.data):
            self._stand_in(layer, points_where(layer, mask), mask, ("opacity",))
        elif isinstance(layer, Labels):
            self._stand_in(layer, _cut_labels(layer, mask), mask, ("opacity",))
        elif isinstance(layer, Image):
            linked = ("opacity",) if layer.rgb else _LINKED
            self._stand_in(layer, _cut_image(layer, mask), mask, linked)

    def _stand_in(self, layer: Layer, cut: Layer, mask: Any, linked: tuple[str, ...]) -> None:
        from napari.experimental import link_layers

        self.viewer.layers.insert(self.viewer.layers.index(layer) + 1, cut)
        self.viewer.layers.selection.discard(cut)
        link_layers([layer, cut], linked)
        self._pairs.append((layer, cut, mask, linked))
        layer.visible = False

    def refresh(self) -> None:
        """Show the masks as they are now."""
        from napari.layers import Points

        for layer, cut, mask, _ in self._pairs:
            if cut not in self.viewer.layers:
                continue
            if isinstance(cut, Points):
                new = points_where(layer, mask)
                cut.data = new.data
                cut.size = new.size
                cut.face_color = new.face_color
            else:
                cut.refresh(extent=False)

    def remove(self) -> None:
        """Take the cut layers away; the originals stay hidden until they are restored."""
        from napari.experimental import unlink_layers

        for layer, cut, _, linked in self._pairs:
            unlink_layers([layer, cut], linked)
        remove_layers(self.viewer, [cut for _, cut, _, _ in self._pairs])
        self._pairs.clear()


def _cut_image(layer: Any, mask: Any) -> Layer:
    from napari.layers import Image

    data, common = _planes(layer, mask)
    if layer.rgb:
        return Image(data, rgb=True, blending="translucent", **common)
    return Image(
        data,
        rgb=False,
        blending=layer.blending,
        colormap=layer.colormap,
        contrast_limits=layer.contrast_limits,
        gamma=layer.gamma,
        **common,
    )


def _cut_labels(layer: Any, mask: Any) -> Layer:
    from napari.layers import Labels

    data, common = _planes(layer, mask, nearest=True)
    return Labels(data, **common)


def _planes(layer: Any, mask: Any, nearest: bool = False) -> tuple[Any, dict[str, Any]]:
    levels = list(layer.data) if layer.multiscale else [layer.data]
    planes, grid = plane_levels(levels, pixels_to_world(layer), mask, nearest)
    common = {
        **_common(layer),
        "multiscale": len(planes) > 1,
        "scale": grid.pixel[::-1],
        "translate": np.add(grid.origin, np.divide(grid.pixel, 2))[::-1],
    }
    return planes if len(planes) > 1 else planes[0], common


def _common(layer: Layer) -> dict[str, Any]:
    return {
        "name": f"{layer.name} (cut)",
        "units": UNITS,
        "opacity": layer.opacity,
        "metadata": {TAG: new_tag(tag(layer)["section"], "cut")},
    }


def pixels_to_world(layer: Layer) -> Affine:
    """Map of pixel positions (x, y), with centres at half-integers, to the world."""
    origin = np.asarray(layer.data_to_world((0.0, 0.0)))
    matrix = np.eye(3)
    matrix[:2, 0] = np.asarray(layer.data_to_world((1.0, 0.0))) - origin
    matrix[:2, 1] = np.asarray(layer.data_to_world((0.0, 1.0))) - origin
    # The layer puts the first pixel's centre at 0, where we say 0.5.
    matrix[:2, 2] = origin - 0.5 * (matrix[:2, 0] + matrix[:2, 1])
    return Affine(swap_axes(matrix))


def clip_to(layer: Layer, mask: Swipe) -> None:
    """Clip a layer of points, shapes or vectors to one side of a line.

    The planes are given in world coordinates, whatever the layer's affine.
    """
    from napari.layers import Image, Labels

    if isinstance(layer, Image | Labels):
        return
    along = (0.0, 1.0) if mask.vertical else (1.0, 0.0)
    sign = 1.0 if mask.after else -1.0
    layer.experimental_clipping_planes = [
        {
            "position": (0.0, *(mask.line * a for a in along)),
            "normal": (0.0, *(sign * a for a in along)),
            "enabled": True,
        }
    ]


def points_where(layer: Any, mask: Checker) -> Any:
    """Return a copy of a Points layer with the points whose centres a checkerboard keeps.

    A copy, since ``Points.shown`` has no effect on points in two dimensions
    (napari 0.9.2).
    """
    from napari.layers import Points

    matrix = np.eye(3)
    origin = np.asarray(layer.data_to_world((0.0, 0.0)))
    matrix[:2, 0] = np.asarray(layer.data_to_world((1.0, 0.0))) - origin
    matrix[:2, 1] = np.asarray(layer.data_to_world((0.0, 1.0))) - origin
    matrix[:2, 2] = origin
    world = Affine(matrix).apply(layer.data)
    keep = mask.at(world[:, ::-1])
    return Points(
        world[keep],
        ndim=2,
        size=layer.size[keep],
        face_color=layer.face_color[keep] if keep.any() else "white",
        border_width=0,
        symbol=layer.symbol[keep],
        antialiasing=layer.antialiasing,
        canvas_size_limits=layer.canvas_size_limits,
        blending=layer.blending,
        **_common(layer),
    )
