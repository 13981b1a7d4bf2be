"""A stack of sections in three dimensions: each at its height, and back without a trace.

What is visible is copied into layers with a height: spots as points, images as
textured surfaces. The layers themselves are hidden meanwhile and not changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from psygnal import Signal

from napari_stomics.core.errors import UserError
from napari_stomics.layers.raised import RAISED, raised
from napari_stomics.layers.tags import real_viewer, remove_layers, tag, tagged

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_stomics.data.study import Study

_SPACING = 0.3
"""Distance of neighbouring sections over the stack's width, where nothing else is said."""
_SEEN = {
    *("affine", "data", "set_data", "size", "visible"),
    *("colormap", "contrast_limits", "face_color", "gamma", "opacity"),
}
"""What of a layer its copy shows."""
_LOOK = (0.42, -0.85, 0.3)
"""Direction (z, y, x) of the first look: down and aside; heights point up."""


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
        all are known and differ, and three tenths of ``width`` otherwise.
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

    left = Signal()
    """Everything is shown as before."""
    outdated = Signal()
    """What is shown of a section has changed; :meth:`renew` follows."""

    def __init__(
        self, viewer: ViewerModel, heights: Mapping[str, float], *, images: bool = True
    ) -> None:
        self.viewer = real_viewer(viewer)
        self.heights = dict(heights)
        self.images = images
        self._hidden: dict[Layer, bool] = {}
        self._copies: dict[Layer, Layer] = {}
        self._changed: set[Layer] = set()
        self._before: dict[str, Any] = {}
        self._busy = False

    @property
    def is_shown(self) -> bool:
        """Whether the viewer shows the stack now."""
        return bool(self._before)

    @property
    def before(self) -> dict[str, Any]:
        """Camera and grid as they were: ``center``, ``zoom``, ``grid``."""
        return {**self._before, **self._before.get("camera", {})}

    def was_visible(self, layer: Layer) -> bool:
        """Whether a layer is visible but for this view."""
        return self._hidden.get(layer, bool(layer.visible))

    def show(self) -> list[Layer]:
        """Show the stack and return the layers that were added.

        Raises
        ------
        UserError
            If nothing of the sections is visible.
        """
        if self.is_shown:
            return list(self._copies.values())
        made = self._made(self._wanted(self.heights), self.heights)
        viewer = self.viewer
        self._before = {
            "ndisplay": viewer.dims.ndisplay,
            "order": tuple(viewer.dims.order),
            "grid": viewer.canvas.grid.enabled,
            "camera": _camera(viewer),
            "selection": list(viewer.layers.selection),
        }
        viewer.canvas.grid.enabled = False
        self._hide()
        for layer in made.values():
            viewer.add_layer(layer)
        self._copies = made
        viewer.dims.ndisplay = 3
        viewer.reset_view()
        viewer.scene.camera.set_view_direction(_LOOK, up_direction=(-1, 0, 0))
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.dims.events.ndisplay.connect(self._on_ndisplay)
        return list(made.values())

    def leave(self) -> None:
        """Show everything as it was before."""
        if not self.is_shown or self._busy:
            return
        self._busy = True
        viewer, before = self.viewer, self._before
        viewer.layers.events.removed.disconnect(self._on_removed)
        viewer.dims.events.ndisplay.disconnect(self._on_ndisplay)
        remove_layers(viewer, self._copies.values())
        self._copies = {}
        for layer, visible in self._hidden.items():
            layer.events.disconnect(self._on_layer)
            if layer in viewer.layers:
                layer.visible = visible or layer.visible
        self._hidden = {}
        self._changed = set()
        viewer.dims.ndisplay = before["ndisplay"]
        if viewer.dims.ndim == len(before["order"]):
            viewer.dims.order = before["order"]
        viewer.canvas.grid.enabled = before["grid"]
        for name, value in before["camera"].items():
            setattr(viewer.scene.camera, name, value)
        viewer.layers.selection = {q for q in before["selection"] if q in viewer.layers}
        # Last: whoever keeps the grid in order looks at this.
        self._before, self._busy = {}, False
        self.left.emit()

    def renew(self, heights: Mapping[str, float] | None = None) -> None:
        """Follow what has changed of the layers; the camera stays where it is.

        Parameters
        ----------
        heights
            Show these sections from now on, at these heights in um.

        Raises
        ------
        UserError
            If nothing of the sections is visible; the view stays as it is then.
        """
        if not self.is_shown or self._busy:
            return
        heights = self.heights if heights is None else dict(heights)
        wanted = self._wanted(heights)
        kept = {
            layer: copy
            for layer, copy in self._copies.items()
            if layer in wanted and layer not in self._changed
        }
        made = self._made([q for q in wanted if q not in kept], heights, kept)
        self._busy = True
        try:
            self.heights, self._changed = heights, set()
            self._hide()
            chosen = set(self.viewer.layers.selection)
            for layer in made.values():
                self.viewer.add_layer(layer)
            gone = [copy for layer, copy in self._copies.items() if layer not in kept]
            self._copies = {q: (kept | made)[q] for q in wanted if q in kept or q in made}
            remove_layers(self.viewer, gone)
            self.viewer.layers.selection = {q for q in chosen if q in self.viewer.layers}
            self.set_heights({})
        finally:
            self._busy = False

    def set_heights(self, heights: Mapping[str, float]) -> None:
        """Give the sections other heights; the camera stays where it is."""
        self.heights |= heights
        for layer in self._copies.values():
            height = self.heights[layer.metadata[RAISED]]
            data = layer.data[0] if isinstance(layer.data, tuple) else layer.data
            if np.all(data[:, 0] == -height):
                continue
            moved = np.array(data)
            moved[:, 0] = -height
            layer.data = (moved, *layer.data[1:]) if isinstance(layer.data, tuple) else moved
        self._pile()

    def _pile(self) -> None:
        """Have the lowest section drawn first."""
        layers = self.viewer.layers
        wanted = sorted(self._copies.values(), key=lambda copy: self.heights[copy.metadata[RAISED]])
        if [q for q in layers if RAISED in q.metadata] != wanted:
            for copy in wanted:
                layers.move(layers.index(copy), len(layers))

    def _wanted(self, heights: Mapping[str, float]) -> list[Layer]:
        """What is to be seen of these sections, the lowest first."""
        return [
            layer
            for name in sorted(heights, key=lambda name: heights[name])
            for layer in tagged(self.viewer, section=name)
            if self.was_visible(layer) or layer.visible
        ]

    def _made(
        self,
        layers: Iterable[Layer],
        heights: Mapping[str, float],
        others: Mapping[Layer, Layer] | None = None,
    ) -> dict[Layer, Layer]:
        made = {}
        for layer in layers:
            name = tag(layer)["section"]
            for copy in raised(layer, name, heights[name], self.images):
                made[layer] = copy
        if not made and not others:
            raise UserError(
                "Nothing of these sections is visible.", "Show their spots or images first."
            )
        return made

    def _hide(self) -> None:
        """Hide every layer that is no copy; one that was shown meanwhile is to be seen."""
        for layer in self.viewer.layers:
            if RAISED in layer.metadata:
                continue
            if layer not in self._hidden:
                layer.events.connect(self._on_layer)
            self._hidden[layer] = self.was_visible(layer) or bool(layer.visible)
            layer.visible = False

    def _on_layer(self, event: Any) -> None:
        layer = event.source
        if self._busy or event.type not in _SEEN or (event.type == "visible" and not layer.visible):
            return
        self._changed.add(layer)
        self.outdated.emit()

    def touch(self) -> None:
        """Have everything raised anew next time: not every layer tells what changed of it."""
        self._changed |= set(self._copies)

    def _on_ndisplay(self) -> None:
        if self.viewer.dims.ndisplay == 2:
            self.leave()

    def _on_removed(self, event: Any) -> None:
        """Leave when the sections are gone: another study was opened."""
        if self._busy:
            return
        gone = [layer for layer, copy in self._copies.items() if event.value in (layer, copy)]
        for layer in gone:
            copy = self._copies.pop(layer)
            if copy is not event.value and copy in self.viewer.layers:
                self.viewer.layers.remove(copy)
        if event.value in self._hidden:
            event.value.events.disconnect(self._on_layer)
            del self._hidden[event.value]
        if not any(tagged(self.viewer, section=name) for name in self.heights):
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
    # Known before it is shown: the grid is off because of it.
    _views[viewer] = view
    view.show()
    return view


def leave_stack(viewer: ViewerModel) -> None:
    """Leave the view of a stack, if there is one."""
    view = _views.get(real_viewer(viewer))
    if view is not None:
        view.leave()
        del _views[real_viewer(viewer)]


def stack_view(viewer: ViewerModel) -> StackView | None:
    """Return the view of a stack that a viewer shows, or None."""
    view = _views.get(real_viewer(viewer))
    return view if view is not None and view.is_shown else None


def natural_spacing(viewer: ViewerModel, sections: Sequence[str]) -> float:
    """Distance between neighbours, um, that lets one look between sections as they are shown."""
    width = _width(real_viewer(viewer), sections)
    return float(f"{_SPACING * (width or 1000.0):.2g}")


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
