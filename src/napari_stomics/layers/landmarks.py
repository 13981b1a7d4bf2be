"""The session's landmarks as Points layers, one per section, kept in step both ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.core.transforms import Affine
from napari_stomics.layers.palette import PALETTE, hex_rgba
from napari_stomics.layers.tags import (
    TAG,
    UNITS,
    layer_affine,
    new_tag,
    real_viewer,
    remove_layers,
    section_placement,
    shown_sections,
    tag,
    tagged,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Points

    from napari_stomics.session.landmarks import LandmarkModel

_PIXELS = 14
"""Size on screen, whatever the zoom: landmarks are handles, not things of a size."""
_SELECTED = "#ffffff"
_OUTLIER = "#ff1744"


class LandmarkLayers:
    """Show the landmarks of a session and take the user's edits of them.

    What the user does on a layer becomes one undoable action of the model: an
    added point, deleted points, a drag (the model follows while it lasts).
    What the model does is shown on the layers and not sent back.

    Parameters
    ----------
    viewer
        A viewer or napari's viewer model.
    landmarks
        The model.
    sections
        Sections to show landmarks of; by default those shown in the viewer.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        landmarks: LandmarkModel,
        sections: Sequence[str] | None = None,
    ) -> None:
        self.viewer = real_viewer(viewer)
        self.model = landmarks
        self.layers: dict[str, Points] = {}
        self.ghosts: dict[str, Points] = {}
        self._names: dict[str, list[str]] = {}
        self._outliers: frozenset[str] = frozenset()
        self._styled: dict[str, tuple[object, ...]] = {}
        self._quiet = False
        self._dragged: str | None = None
        self.set_sections(shown_sections(self.viewer) if sections is None else sections)
        self.model.changed.connect(self.sync)
        self.model.selection_changed.connect(self._show_selection)
        self.viewer.layers.events.removed.connect(self._on_removed)
        self.viewer.scene.camera.events.zoom.connect(self._follow_zoom)

    def close(self) -> None:
        """Take the layers away and stop listening."""
        self.model.changed.disconnect(self.sync)
        self.model.selection_changed.disconnect(self._show_selection)
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        self.viewer.scene.camera.events.zoom.disconnect(self._follow_zoom)
        layers = [*self.layers.values(), *self.ghosts.values()]
        self.layers.clear()
        self.ghosts.clear()
        remove_layers(self.viewer, layers)

    def set_sections(self, sections: Iterable[str]) -> None:
        """Show landmarks in these sections."""
        wanted = list(dict.fromkeys(sections))
        gone = [name for name in self.layers if name not in wanted]
        layers = [self.layers.pop(name) for name in gone]
        layers += [self.ghosts.pop(name) for name in gone if name in self.ghosts]
        remove_layers(self.viewer, layers)
        for name in wanted:
            if name not in self.layers:
                self._add(name)
        self.sync()

    def set_outliers(self, names: Iterable[str]) -> None:
        """Mark the pairs that disagree with the others."""
        self._outliers = frozenset(names)
        self._restyle()

    def show_predictions(self, section: str, positions: Mapping[str, tuple[float, float]]) -> None:
        """Show where partners are expected, (x, y) um, as open circles; none to clear."""
        layer = self.ghosts.get(section)
        if not positions:
            if layer is not None:
                del self.ghosts[section]
                remove_layers(self.viewer, [layer])
            return
        if layer is None:
            layer = self._new_layer(section, f"Expected · {section}", "ghost")
            layer.mode = "pan_zoom"
            self._insert(layer)
            self.ghosts[section] = layer
        names = list(positions)
        with self._unheard():
            layer.data = _to_yx([positions[name] for name in names])
            layer.features = {"landmark": np.array(names, dtype=object)}
            layer.symbol = "disc"
            layer.face_color = "transparent"
            layer.border_color = self._colours(names)
            layer.border_width = 0.2

    def place_like(self, section: str) -> None:
        """Follow the section's other layers after they were moved."""
        for layers in (self.layers, self.ghosts):
            if section in layers:
                _place(layers[section], section_placement(self.viewer, section))

    def sync(self) -> None:
        """Show the model as it is now."""
        for section, layer in self.layers.items():
            placed = self.model.positions(section)
            names = [name for name in self.model.names if name in placed]
            data = _to_yx([placed[name] for name in names])
            if section == self._dragged and names == self._names[section]:
                continue
            if names == self._names[section] and np.array_equal(data, layer.data):
                continue
            with self._unheard():
                self._names[section] = names
                layer.selected_data = set()
                layer.data = data
                layer.features = {"landmark": np.array(names, dtype=object)}
        self._restyle()

    # -- from the model ----------------------------------------------------------------------

    def _add(self, section: str) -> None:
        layer = self._new_layer(section, f"Landmarks · {section}", "landmarks")
        self._names[section] = []
        self._styled.pop(section, None)
        self.layers[section] = layer
        layer.events.data.connect(self._on_data)
        layer.selected_data.events.items_changed.connect(self._on_selected)
        layer.events.mode.connect(self._last_in_line)
        layer.mouse_drag_callbacks.append(self._follow_drag)
        self._insert(layer)

    def _insert(self, layer: Points) -> None:
        """Add on top without taking the selection away from the layer in use."""
        selection = set(self.viewer.layers.selection)
        self.viewer.add_layer(layer)
        if selection:
            self.viewer.layers.selection = selection

    def _new_layer(self, section: str, name: str, role: str) -> Points:
        from napari.layers import Points

        placed = section_placement(self.viewer, section)
        return Points(
            np.zeros((0, 2)),
            ndim=2,
            name=name,
            size=self._size,
            canvas_size_limits=(0, 10_000),
            border_width=0.12,
            features={"landmark": np.zeros(0, dtype=object)},
            text={
                "string": "{landmark}",
                "size": 10,
                "color": self._text_colour(section),
                "anchor": "upper_left",
                "translation": (0.0, 0.0),
            },
            units=UNITS,
            affine=layer_affine(Affine.identity(), placed),
            metadata={TAG: new_tag(section, role, None, placed)},
        )

    @property
    def _size(self) -> float:
        """Micrometres that are as long as a landmark is wide on screen."""
        return _PIXELS / max(float(self.viewer.scene.camera.zoom), 1e-9)

    def _follow_zoom(self) -> None:
        """Keep the size on screen; a limit on the canvas would do so, but on the border too."""
        for layer in (*self.layers.values(), *self.ghosts.values()):
            with self._unheard():
                if len(layer.data):
                    layer.size = self._size
                layer.current_size = self._size

    def _text_colour(self, section: str) -> str:
        """Dark on a bright picture, white on a dark one."""
        images = tagged(self.viewer, section=section, role="image")
        bright = any(getattr(layer, "rgb", False) for layer in images)
        return "#101010" if bright else "white"

    def _restyle(self) -> None:
        for section, layer in self.layers.items():
            names = self._names[section]
            order = tuple(self.model.names)
            style = (tuple(names), order, self.model.selected, self._outliers)
            # A drag changes none of it, and each change of style redraws the layer.
            if not names or self._styled.get(section) == style:
                continue
            self._styled[section] = style
            bad = np.array([name in self._outliers for name in names])
            chosen = np.array([name == self.model.selected for name in names])
            border = np.tile(np.array([0.0, 0.0, 0.0, 1.0]), (len(names), 1))
            border[bad] = hex_rgba(_OUTLIER)
            border[chosen] = hex_rgba(_SELECTED)
            with self._unheard():
                layer.face_color = self._colours(names)
                layer.border_color = border
                layer.border_width = np.where(chosen | bad, 0.25, 0.12)
                layer.symbol = np.where(bad, "diamond", "disc")

    def _show_selection(self, name: str) -> None:
        self._restyle()
        for section, layer in self.layers.items():
            names = self._names[section]
            if section != self._dragged:
                with self._unheard():
                    layer.selected_data = {names.index(name)} if name in names else set()

    def _colours(self, names: Sequence[str]) -> Any:
        order = {name: i for i, name in enumerate(self.model.names)}
        return np.array([hex_rgba(PALETTE[order.get(n, 0) % len(PALETTE)]) for n in names])

    @contextmanager
    def _unheard(self) -> Iterator[None]:
        """Change layers without hearing of it as of an edit by the user."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    # -- from the user -----------------------------------------------------------------------

    def _section_of(self, layer: Any) -> str:
        return next((name for name, own in self.layers.items() if own is layer), "")

    def _on_data(self, event: Any) -> None:
        if self._quiet:
            return
        section = self._section_of(event.source)
        if not section:
            return
        action = str(getattr(event.action, "value", event.action))
        handler = {"added": self._added, "removed": self._removed, "changed": self._moved}
        if action in handler:
            handler[action](section, [int(i) for i in event.data_indices])

    def _added(self, section: str, indices: list[int]) -> None:
        layer = self.layers[section]
        known = len(self._names[section])
        new = [(float(x), float(y)) for y, x in layer.data[known:]]
        with self.model.undo_stack.group("Add landmarks" if len(new) > 1 else "Add landmark"):
            for position in new:
                partner = self._waiting(section)
                if partner:
                    self.model.place(partner, section, position)
                    self.model.selected = partner
                else:
                    self.model.add(positions={section: position})
        self.sync()

    def _waiting(self, section: str) -> str:
        """Name of the landmark that a new point in a section belongs to, or empty.

        The selected one if the section lacks it, else the first that lacks it
        and is placed in another section shown.
        """
        here = self.model.positions(section)
        others = [self.model.positions(name) for name in self.layers if name != section]
        open_names = [
            n for n in self.model.names if n not in here and any(n in placed for placed in others)
        ]
        if self.model.selected in open_names:
            return self.model.selected
        return open_names[0] if open_names else ""

    def _removed(self, section: str, indices: list[int]) -> None:
        names = [self._names[section][i] for i in indices]
        with self.model.undo_stack.group(f"Delete {', '.join(names)}"):
            for name in names:
                self.model.unplace(name, section)
        self.sync()

    def _moved(self, section: str, indices: list[int]) -> None:
        """Take positions from the layer: one action, or a part of the drag under way."""
        layer = self.layers[section]
        names = self._names[section]
        if len(names) != len(layer.data):
            return
        alone = self._dragged is None
        if alone:
            self._dragged = section
            self.model.begin_drag()
        try:
            for i in indices:
                y, x = layer.data[i]
                self.model.place(names[i], section, (float(x), float(y)))
        finally:
            if alone:
                self._dragged = None
                self.model.end_drag()

    def _follow_drag(self, layer: Any, event: Any) -> Iterator[None]:
        """Let the model follow a drag; it is one action, recorded on release."""
        section = self._section_of(layer)
        if not section or str(layer.mode) != "select":
            return
        self._dragged = section
        self.model.begin_drag()
        try:
            yield
            while event.type == "mouse_move":
                self._moved(section, sorted(layer.selected_data))
                yield
            self._moved(section, sorted(layer.selected_data))
        finally:
            self._dragged = None
            self.model.end_drag()
            self.sync()

    def _last_in_line(self, event: Any) -> None:
        """Come after the callback that moves the points, which napari adds on a change of mode."""
        callbacks = event.source.mouse_drag_callbacks
        if self._follow_drag in callbacks:
            callbacks.remove(self._follow_drag)
            callbacks.append(self._follow_drag)

    def _on_selected(self, *_: Any) -> None:
        if self._quiet:
            return
        for section, layer in self.layers.items():
            if layer is self.viewer.layers.selection.active and len(layer.selected_data) == 1:
                (index,) = layer.selected_data
                if index < len(self._names[section]):
                    self.model.selected = self._names[section][index]

    def _on_removed(self, event: Any) -> None:
        """Forget a layer that the user deleted; its landmarks stay in the model."""
        for layers in (self.layers, self.ghosts):
            for section, layer in list(layers.items()):
                if layer is event.value:
                    del layers[section]


def _to_yx(positions: Sequence[tuple[float, float]]) -> Any:
    return np.array([(y, x) for x, y in positions], dtype=np.float64).reshape(-1, 2)


def _place(layer: Points, placed: Affine) -> None:
    layer.metadata[TAG] = {**tag(layer), "placement": placed.matrix.tolist()}
    layer.affine = layer_affine(Affine.identity(), placed)
