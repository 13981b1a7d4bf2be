"""Put the parts of a painted result into the viewer, in the places of their former selves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.transforms import Affine
from napari_stomics.layers.tags import (
    placement,
    real_viewer,
    remove_layers,
    section_placement,
    set_tag,
    tag,
    tagged,
)
from napari_stomics.layers.valued import Values, show_bar, value_layer

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_stomics.data.study import Study


class Easel:
    """One result being painted; parts that are not put again are removed at the end.

    Parameters
    ----------
    viewer, study
        Where to paint.
    key
        Name of the result.
    """

    def __init__(self, viewer: ViewerModel, study: Study, key: str) -> None:
        self.viewer = real_viewer(viewer)
        self.study = study
        self.key = key
        self._former = {tag(q)["part"]: q for q in tagged(self.viewer, result=key)}
        self._styles = {part: style_of(layer) for part, layer in self._former.items()}
        self._put: list[Layer] = []

    def placement(self, section: str) -> Affine:
        """Where a section lies now."""
        return section_placement(self.viewer, section)

    def option(self, name: str) -> Any:
        """An option that a former part was painted with, or None."""
        found = [tag(q).get(name) for q in self._former.values()]
        return next((value for value in found if value is not None), None)

    @property
    def former_parts(self) -> list[str]:
        """Names of the parts that were there at the start."""
        return list(self._styles)

    def former(self, part: str, section: str) -> Layer | None:
        """What a part of a section was painted on before, if it is still there."""
        layer = self._former.get(part)
        there = layer is not None and layer in self.viewer.layers
        return layer if there and tag(layer).get("section") == section else None

    def leave(self, part: str) -> None:
        """Keep what a part was painted on before."""
        self._put.append(self._former.pop(part))

    def put(self, part: str, layer: Layer, visible: bool = True) -> None:
        """Add one part, in the place and in the style of its former self."""
        for _ in self.putting(part, layer, visible):
            pass

    def putting(self, part: str, layer: Layer, visible: bool = True) -> Iterator[None]:
        """As :meth:`put`, piece by piece, so that the window can draw in between.

        Napari takes some 50 ms each to add, to remove and to show a layer.
        """
        set_tag(layer, result=self.key, part=part)
        style = {"visible": visible, **self._styles.get(part, {})}
        layer.visible = False
        apply_style(layer, {name: value for name, value in style.items() if name != "visible"})
        former = self._former.pop(part, None)
        self._put.append(layer)
        if former is not None and former in self.viewer.layers:
            neighbour, offset = self._beside(former)
            index = self.viewer.layers.index(former)
            selected = former in self.viewer.layers.selection
            others = [q for q in self.viewer.layers if q is not former]
            remove_layers(self.viewer, [former])
            yield
            # Layers may have been arranged meanwhile; the order within a section was kept.
            if list(self.viewer.layers) != others and neighbour in self.viewer.layers:
                index = self.viewer.layers.index(neighbour) + offset
            self.viewer.layers.insert(index, layer)
            if not selected:
                self.viewer.layers.selection.discard(layer)
        else:
            self.viewer.add_layer(layer)
        if style["visible"]:
            yield
            layer.visible = True

    def _beside(self, layer: Layer) -> tuple[Layer | None, int]:
        """The next layer of the same section, and how far above it this one belongs."""
        section, at = tag(layer).get("section"), self.viewer.layers.index(layer)
        every = list(self.viewer.layers)
        for offset, others in ((1, every[:at][::-1]), (0, every[at + 1 :])):
            for other in others:
                if tag(other).get("section") == section:
                    return other, offset
        return None, 0

    def spots(self, *args: Any, **options: Any) -> None:
        """Add the spots of a section with one value each; see :meth:`putting_spots`."""
        for _ in self.putting_spots(*args, **options):
            pass

    def putting_spots(
        self,
        part: str,
        section: str,
        ids: NDArray[Any],
        shown: Values,
        title: str,
        visible: bool = True,
        options: dict[str, Any] | None = None,
    ) -> Iterator[None]:
        """Add the spots of a section with one value each, piece by piece."""
        layer = value_layer(
            self.study.section(section),
            np.asarray(ids, dtype=object),
            shown,
            f"{section}: {title}",
            self.placement(section),
            visible,
            bar=False,
            **(options or {}),
        )
        yield
        yield from self.putting(part, layer, visible)
        yield
        show_bar(layer)

    def discard_parts(self) -> None:
        """Remove the former parts now; their styles are remembered."""
        remove_layers(self.viewer, self._former.values())
        self._former.clear()

    def discard(self) -> None:
        """Remove all that was put: the painting failed."""
        remove_layers(self.viewer, self._put)
        self._put.clear()

    def keep(self) -> list[Layer]:
        """Return the parts that were put; all others stay as they are."""
        return self._put

    def finish(self) -> list[Layer]:
        """Remove former parts that were not put again and return those that were."""
        self.discard_parts()
        return self._put


def style_of(layer: Layer) -> dict[str, Any]:
    """What the user may have changed on a painted layer."""
    style: dict[str, Any] = {
        "visible": layer.visible,
        "opacity": layer.opacity,
        "blending": layer.blending,
    }
    limits = tag(layer).get("limits")
    for name in _LIMITS:
        value = getattr(layer, name, None)
        if value is not None and limits is not None and not np.allclose(value, limits):
            style[name] = tuple(value)
    return style


_LIMITS = ("face_contrast_limits", "edge_contrast_limits", "contrast_limits")


def apply_style(layer: Layer, style: dict[str, Any]) -> None:
    """Give a layer the style of its former self."""
    for name, value in style.items():
        if hasattr(layer, name):
            setattr(layer, name, value)


__all__ = ["Easel", "apply_style", "placement", "style_of"]
