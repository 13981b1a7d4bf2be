"""A stack of sections in three dimensions: each at its height, and back without a trace.

What is visible is copied into layers with a height: spots as points, images as
textured surfaces. The layers themselves are hidden meanwhile and not changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.layers.tags import real_viewer, remove_layers, tag, tagged

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_stomics.data.study import Study

RAISED = "napari_stomics_raised"
"""Key in the metadata of a copy with a height: the section that it shows."""

_UNITS = ("um", "um", "um")
_PIXELS = 1024
_SPACING = 0.2
"""Distance of neighbouring sections over the stack's width, where nothing else is said."""
_MANY_POINTS = 100_000
_LOOK = (0.75, -0.62, 0.25)
"""Direction (z, y, x) of the first look: down and aside; heights point up."""
_CLEAR = (0.03, 0.06)
"""Darker than the slide by so much, tissue begins to show, and is opaque."""


def heights_of(
    study: Study, sections: Sequence[str], spacing: float | None = None, width: float = 0.0
) -> dict[str, float]:
    """Height of each section, um.

    Parameters
    ----------
    study, sections
        The sections in the order of the stack.
    spacing
        Distance between neighbours in um; None takes the recorded heights, where
        all are known and differ, and a fifth of ``width`` otherwise.
    width
        Extent of the sections, um.

    Raises
    ------
    UserError
        If the spacing is not positive.
    """
    if spacing is not None and not spacing > 0:
        raise UserError("The spacing of sections must be positive.", "Give micrometres, or none.")
    known = [study.section(name).record.z_um for name in sections]
    if spacing is None and None not in known and len(set(known)) == len(known) > 1:
        return dict(zip(sections, map(float, known), strict=True))  # type: ignore[arg-type]
    step = spacing if spacing is not None else _SPACING * (width or 1000.0)
    return {name: i * step for i, name in enumerate(sections)}


class StackView:
    """The view of a stack in three dimensions.

    Parameters
    ----------
    viewer
        The viewer.
    heights
        Height of each section, um; upwards.
    images
        Whether images are shown too, where they are visible.
    """

    def __init__(
        self, viewer: ViewerModel, heights: Mapping[str, float], *, images: bool = True
    ) -> None:
        self.viewer = real_viewer(viewer)
        self.heights = dict(heights)
        self.images = images
        self._hidden: list[tuple[Layer, bool]] = []
        self._raised: list[Layer] = []
        self._before: dict[str, Any] = {}

    @property
    def is_shown(self) -> bool:
        """Whether the viewer shows the stack now."""
        return bool(self._before)

    def show(self) -> list[Layer]:
        """Show the stack and return the layers that were added.

        Raises
        ------
        UserError
            If nothing of the sections is visible.
        """
        if self.is_shown:
            return list(self._raised)
        made = []
        for name, height in sorted(self.heights.items(), key=lambda item: item[1]):
            for layer in tagged(self.viewer, section=name):
                if layer.visible:
                    made += _raised(layer, name, height, self.images)
        if not made:
            raise UserError(
                "Nothing of these sections is visible.", "Show their spots or images first."
            )
        viewer = self.viewer
        self._before = {
            "ndisplay": viewer.dims.ndisplay,
            "order": tuple(viewer.dims.order),
            "grid": viewer.canvas.grid.enabled,
            "camera": _camera(viewer),
            "selection": list(viewer.layers.selection),
        }
        self._hidden = [(layer, bool(layer.visible)) for layer in viewer.layers]
        viewer.canvas.grid.enabled = False
        for layer, _ in self._hidden:
            layer.visible = False
        for layer in made:
            viewer.add_layer(layer)
        self._raised = made
        viewer.dims.ndisplay = 3
        viewer.reset_view()
        viewer.scene.camera.set_view_direction(_LOOK, up_direction=(-1, 0, 0))
        viewer.layers.events.removed.connect(self._on_removed)
        return list(made)

    def leave(self) -> None:
        """Show everything as it was before."""
        if not self.is_shown:
            return
        viewer, before = self.viewer, self._before
        viewer.layers.events.removed.disconnect(self._on_removed)
        self._before = {}
        remove_layers(viewer, self._raised)
        self._raised = []
        for layer, visible in self._hidden:
            if layer in viewer.layers:
                layer.visible = visible
        self._hidden = []
        viewer.dims.ndisplay = before["ndisplay"]
        if viewer.dims.ndim == len(before["order"]):
            viewer.dims.order = before["order"]
        viewer.canvas.grid.enabled = before["grid"]
        for name, value in before["camera"].items():
            setattr(viewer.scene.camera, name, value)
        viewer.layers.selection = {q for q in before["selection"] if q in viewer.layers}

    def set_heights(self, heights: Mapping[str, float]) -> None:
        """Give the sections other heights; the camera stays where it is."""
        self.heights |= heights
        for layer in self._raised:
            height = self.heights[layer.metadata[RAISED]]
            data = layer.data[0] if isinstance(layer.data, tuple) else layer.data
            moved = np.array(data)
            moved[:, 0] = -height
            layer.data = (moved, *layer.data[1:]) if isinstance(layer.data, tuple) else moved

    def _on_removed(self, event: Any) -> None:
        """Leave when the sections are gone: another study was opened."""
        if event.value in self._raised:
            self._raised.remove(event.value)
        elif not any(tagged(self.viewer, section=name) for name in self.heights):
            self.leave()


_views: WeakKeyDictionary[Any, StackView] = WeakKeyDictionary()


def show_stack(
    viewer: ViewerModel,
    study: Study,
    sections: Sequence[str],
    spacing: float | None = None,
    *,
    images: bool = True,
) -> StackView:
    """Show sections above each other in three dimensions.

    Parameters
    ----------
    viewer, study
        The viewer, and the study whose sections it shows.
    sections
        Their names in the order of the stack.
    spacing
        Distance between neighbours in um; see :func:`heights_of`.
    images
        Whether visible images are shown too.

    Raises
    ------
    UserError
        If nothing of the sections is visible, or the spacing is not positive.
    """
    leave_stack(viewer)
    viewer = real_viewer(viewer)
    view = StackView(
        viewer, heights_of(study, sections, spacing, _width(viewer, sections)), images=images
    )
    view.show()
    _views[viewer] = view
    return view


def leave_stack(viewer: ViewerModel) -> None:
    """Leave the view of a stack, if there is one."""
    view = _views.pop(real_viewer(viewer), None)
    if view is not None:
        view.leave()


def stack_view(viewer: ViewerModel) -> StackView | None:
    """Return the view of a stack that a viewer shows, or None."""
    view = _views.get(real_viewer(viewer))
    return view if view is not None and view.is_shown else None


def _width(viewer: ViewerModel, sections: Sequence[str]) -> float:
    boxes = [
        layer.extent.world[:, -2:]
        for name in sections
        for layer in tagged(viewer, section=name)
        if layer.visible
    ]
    if not boxes:
        return 0.0
    low, high = np.min([b[0] for b in boxes], axis=0), np.max([b[1] for b in boxes], axis=0)
    return float((high - low).max())


def _camera(viewer: ViewerModel) -> dict[str, Any]:
    camera = viewer.scene.camera
    return {name: getattr(camera, name) for name in ("center", "zoom", "angles", "perspective")}


def _raised(layer: Any, section: str, height: float, images: bool) -> list[Layer]:
    """A copy of a layer at a height; none of what has no place in three dimensions."""
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
