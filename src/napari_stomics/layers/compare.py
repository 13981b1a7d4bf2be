"""Compare two sections in one frame: overlay, swipe, checkerboard, flicker, side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from psygnal import Signal

from napari_stomics.core.errors import UserError
from napari_stomics.layers.cut import CutLayers, clip_to
from napari_stomics.layers.planes import Checker, Swipe
from napari_stomics.layers.snapshot import Snapshot
from napari_stomics.layers.tags import TAG, new_tag, real_viewer, remove_layers, tag, tagged

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

Mode = Literal["normal", "overlay", "swipe", "checkerboard", "flicker", "side by side", "results"]
MODES: tuple[Mode, ...] = (
    "normal",
    "overlay",
    "swipe",
    "checkerboard",
    "flicker",
    "side by side",
)
"""The views of two sections; ``results`` is one of two answers about them."""


class CompareController:
    """One way at a time of looking at two sections; leaving it restores every layer.

    Each mode starts from the layers as they were in ``normal``. Contrast that
    the user changes meanwhile is kept; visibility, opacity, blending, order,
    clipping and the grid go back.

    Parameters
    ----------
    viewer
        A viewer or napari's viewer model.
    source, target
        Names of the sections; the source lies where its registration puts it.
    """

    changed = Signal()
    """Another mode is on."""

    def __init__(self, viewer: ViewerModel, source: str, target: str) -> None:
        self.viewer = real_viewer(viewer)
        self.source = source
        self.target = target
        self._mode: Mode = "normal"
        self._options: dict[str, Any] = {}
        self._snapshot: Snapshot | None = None
        self._cut: CutLayers | None = None
        self._copies: list[Layer] = []
        self._source_on_top = True
        self._arranging = False

    @property
    def mode(self) -> Mode:
        """The mode that is on."""
        return self._mode

    @property
    def options(self) -> dict[str, Any]:
        """The options of the mode that is on."""
        return dict(self._options)

    def set(self, mode: Mode, **options: Any) -> None:
        """Change to a mode, or change the options of the one that is on.

        Parameters
        ----------
        mode
            ``overlay``: ``opacity`` of the source (0 to 1, by default 0.5) and
            ``blending``. ``swipe``: ``position`` (0 to 1 of the view's extent,
            by default 0.5) and ``orientation`` (``vertical`` or
            ``horizontal`` line; the target is before it). ``checkerboard``:
            ``size`` of a square in um (by default an eighth of the extent).
            ``flicker``: see :meth:`toggle`. ``side by side``: ``source_first``.
            ``results``: ``left`` and ``right``, each a pair of a result's key and
            the name of one of its parts; two answers in two views.
            ``normal``: as it was.

        Raises
        ------
        UserError
            If a section has no visible layer, or an option is out of range.
        """
        if mode not in (*MODES, "results"):
            raise UserError(f"There is no view {mode!r}.", f"Choose one of {', '.join(MODES)}.")
        if mode == "normal":
            self.leave()
            return
        options = _checked(mode, {**(self._options if mode == self._mode else {}), **options})
        if mode == self._mode and mode in _ADJUST:
            _ADJUST[mode](self, options)
            self._options = options
            return
        self.leave()
        if mode != "results":
            self._require_layers()
        self._snapshot = Snapshot(self.viewer)
        self._mode, self._options = mode, options
        self.viewer.canvas.grid.enabled = False
        try:
            _ENTER[mode](self, options)
        except Exception:
            self.leave()
            raise
        self.changed.emit()

    def leave(self) -> None:
        """Go back to normal: every layer, the order and the grid as they were."""
        if self._mode == "side by side":
            events = self.viewer.layers.events
            events.inserted.disconnect(self._on_inserted)
            events.removed.disconnect(self._on_removed)
        if self._cut is not None:
            self._cut.remove()
            self._cut = None
        remove_layers(self.viewer, self._copies)
        self._copies = []
        if self._snapshot is not None:
            self._snapshot.restore()
            self._snapshot = None
        was, self._mode, self._options = self._mode, "normal", {}
        if was != "normal":
            self.changed.emit()

    def toggle(self) -> None:
        """Show the other section; a timer calls this in ``flicker``."""
        if self._mode != "flicker" or self._snapshot is None:
            return
        self._source_on_top = not self._source_on_top
        for layer in self._snapshot.visible(self.source):
            layer.visible = self._source_on_top
        for layer in self._snapshot.visible(self.target):
            layer.visible = not self._source_on_top

    @property
    def extent(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest (x, y) um of the two sections in the frame shown."""
        boxes = [
            layer.extent.world[:, ::-1]
            for layer in tagged(self.viewer, section=(self.source, self.target))
            if np.isfinite(layer.extent.world).all()
        ]
        low = np.min([box[0] for box in boxes], axis=0)
        high = np.max([box[1] for box in boxes], axis=0)
        return low, high

    def layers(self, section: str) -> list[Layer]:
        """Layers of a section that take part: visible, and not landmarks."""
        return [
            layer
            for layer in tagged(self.viewer, section=section)
            if layer.visible and tag(layer)["role"] not in ("landmarks", "cut")
        ]

    def _require_layers(self) -> None:
        for section in (self.source, self.target):
            if not self.layers(section):
                raise UserError(
                    f"Section {section!r} has no visible layer to compare.",
                    "Switch on its image or its spots in the layer list.",
                )

    # -- the modes ---------------------------------------------------------------------------

    def _enter_overlay(self, options: dict[str, Any]) -> None:
        self._raise_source()
        self._adjust_overlay(options)

    def _adjust_overlay(self, options: dict[str, Any]) -> None:
        assert self._snapshot is not None
        for layer in self.layers(self.source):
            layer.opacity = self._snapshot.opacity(layer) * options["opacity"]
            if options["blending"] is not None and tag(layer)["role"] in ("image", "overview"):
                layer.blending = options["blending"]

    def _enter_swipe(self, options: dict[str, Any]) -> None:
        line, vertical = self._line(options)
        masks = [Swipe(line, vertical, after) for after in (False, True)]
        self._enter_cut(masks)
        for section, mask in zip((self.target, self.source), masks, strict=True):
            for layer in self.layers(section):
                clip_to(layer, mask)

    def _adjust_swipe(self, options: dict[str, Any]) -> None:
        assert self._cut is not None
        line, vertical = self._line(options)
        for section, mask in zip((self.target, self.source), self._cut.masks, strict=True):
            mask.line, mask.vertical = line, vertical
            for layer in self.layers(section):
                clip_to(layer, mask)
        self._cut.refresh()

    def _enter_checkerboard(self, options: dict[str, Any]) -> None:
        low, _ = self.extent
        size = self._size(options)
        masks = [Checker(size, (float(low[0]), float(low[1])), odd) for odd in (False, True)]
        self._enter_cut(masks)

    def _adjust_checkerboard(self, options: dict[str, Any]) -> None:
        assert self._cut is not None
        for mask in self._cut.masks:
            mask.size = self._size(options)
        self._cut.refresh()

    def _enter_cut(self, masks: list[Any]) -> None:
        self._raise_source()
        self._cut = CutLayers(self.viewer, masks)
        for section, mask in zip((self.target, self.source), masks, strict=True):
            for layer in self.layers(section):
                self._cut.replace(layer, mask)

    def _enter_flicker(self, options: dict[str, Any]) -> None:
        self._source_on_top = False
        self.toggle()

    def _enter_side_by_side(self, options: dict[str, Any]) -> None:
        self._arrange_sides(fill=True)
        events = self.viewer.layers.events
        events.inserted.connect(self._on_inserted)
        events.removed.connect(self._on_removed)

    def _on_inserted(self) -> None:
        self._arrange_sides(fill=True)

    def _on_removed(self) -> None:
        # The whole list may be on its way out: nothing may be added now.
        self._arrange_sides(fill=False)

    def _arrange_sides(self, fill: bool) -> None:
        """Make two groups of layers; also those that are hidden now, which may be shown later.

        Groups are counted by position in the list, from the bottom: a shorter
        first one has to be filled up with hidden layers, of the viewer's own as
        far as they go. Where none may be added the longer one comes first.
        """
        if self._arranging or self._snapshot is None:
            return
        order = (self.target, self.source)
        first, second = order[::-1] if self._options["source_first"] else order
        left, right = (tagged(self.viewer, section=name) for name in (first, second))
        if not left or not right:
            return
        self._arranging = True
        try:
            others = [q for q in self.viewer.layers if q not in left and q not in right]
            for layer in others:
                layer.visible = False
            while len(left) < len(right) and (others or fill):
                left.append(others.pop() if others else self._snapshot.add_spacer())
            if len(left) < len(right):
                left, right = right, left
            self._snapshot.arrange([*left, *right])
            grid = self.viewer.canvas.grid
            grid.stride, grid.shape, grid.spacing = len(left), (1, 2), 0.0
            grid.enabled = True
            self.viewer.canvas.overlays.scale_bar.gridded = True
        finally:
            self._arranging = False

    def _enter_results(self, options: dict[str, Any]) -> None:
        """Show two parts of results in two views, each over the images of its section."""
        assert self._snapshot is not None
        sides = [tagged(self.viewer, result=k, part=p) for k, p in _sides(options)]
        for found, (key, part) in zip(sides, _sides(options), strict=True):
            if not found:
                raise UserError(
                    f"The result {key!r} has no layer {part!r} in the viewer.",
                    "Paint it first: tick it in the list of the plan's layers.",
                )
        behind = [[q for s in _sections(side) for q in self._images(s)] for side in sides]
        groups = [[*behind[0], *sides[0]], [*map(self._copy, behind[1]), *sides[1]]]
        for layer in self.viewer.layers:
            layer.visible = any(layer in group for group in groups)
        longer = max(map(len, groups))
        for group in groups:
            while len(group) < longer:
                group.insert(0, self._snapshot.add_spacer())
        self._snapshot.arrange([*groups[0], *groups[1]])
        grid = self.viewer.canvas.grid
        grid.stride, grid.shape, grid.spacing = longer, (1, 2), 0.0
        grid.enabled = True
        self.viewer.canvas.overlays.scale_bar.gridded = True

    def _images(self, section: str) -> list[Layer]:
        assert self._snapshot is not None
        return [q for q in self._snapshot.visible(section) if tag(q)["role"] == "image"]

    def _copy(self, layer: Layer) -> Layer:
        """A layer belongs to one view: what lies behind both sides is there twice."""
        from napari.layers import Layer

        data, options, kind = layer.as_layer_data_tuple()
        entry = new_tag(tag(layer)["section"], "cut")
        options = {**options, "name": f"{layer.name} (copy)", "metadata": {TAG: entry}}
        copy = Layer.create(data, options, kind)
        self.viewer.add_layer(copy)
        self._copies.append(copy)
        return copy

    # -- helpers -----------------------------------------------------------------------------

    def _raise_source(self) -> None:
        """Put the source's layers above the target's, so that its opacity tells."""
        assert self._snapshot is not None
        source = tagged(self.viewer, section=self.source)
        rest = [q for q in self.viewer.layers if q not in source]
        self._snapshot.arrange([*rest, *source])

    def _line(self, options: dict[str, Any]) -> tuple[float, bool]:
        vertical = options["orientation"] == "vertical"
        low, high = self.extent
        axis = 0 if vertical else 1
        return float(low[axis] + options["position"] * (high[axis] - low[axis])), vertical

    def _size(self, options: dict[str, Any]) -> float:
        low, high = self.extent
        return float(options["size"] or max(high - low) / 8)


_ENTER: dict[str, Callable[[CompareController, dict[str, Any]], None]] = {
    "overlay": CompareController._enter_overlay,
    "swipe": CompareController._enter_swipe,
    "checkerboard": CompareController._enter_checkerboard,
    "flicker": CompareController._enter_flicker,
    "side by side": CompareController._enter_side_by_side,
    "results": CompareController._enter_results,
}
_ADJUST: dict[str, Callable[[CompareController, dict[str, Any]], None]] = {
    "overlay": CompareController._adjust_overlay,
    "swipe": CompareController._adjust_swipe,
    "checkerboard": CompareController._adjust_checkerboard,
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "overlay": {"opacity": 0.5, "blending": None},
    "swipe": {"position": 0.5, "orientation": "vertical"},
    "checkerboard": {"size": None},
    "flicker": {},
    "side by side": {"source_first": False},
    "results": {"left": None, "right": None},
}


def _sides(options: dict[str, Any]) -> list[tuple[str, str]]:
    return [options["left"], options["right"]]


def _sections(layers: list[Layer]) -> list[str]:
    return list(dict.fromkeys(str(tag(layer)["section"]) for layer in layers))


def _checked(mode: str, options: dict[str, Any]) -> dict[str, Any]:
    known = _DEFAULTS[mode]
    unknown = set(options) - set(known)
    if unknown:
        raise UserError(
            f"The view {mode!r} has no option {', '.join(sorted(unknown))}.",
            f"It has: {', '.join(known) or 'none'}.",
        )
    merged = {**known, **options}
    if mode == "results" and not (merged["left"] and merged["right"]):
        raise UserError("Two results are needed to compare them.", "Choose a layer of each.")
    for name in ("opacity", "position"):
        if name in merged and not 0 <= float(merged[name]) <= 1:
            raise UserError(f"{name.capitalize()} {merged[name]} is out of range.", "Give 0 to 1.")
    if merged.get("orientation", "vertical") not in ("vertical", "horizontal"):
        raise UserError(
            f"There is no orientation {merged['orientation']!r}.", "Give vertical or horizontal."
        )
    if merged.get("size") is not None and not float(merged["size"]) > 0:
        raise UserError(f"A square of {merged['size']} um has no size.", "Give a positive number.")
    return merged
