"""What a layer is and where it lies: the tag in ``layer.metadata`` and its placement.

A tag names the section, the element and the role of a layer; other plugins
rename layers and replace their features, so nothing else identifies a layer.
Two maps place it: *own* carries element coordinates to the section's
micrometres, *placement* carries those to the frame shown, which is another
section's once the two are registered. The layer's affine is always the two in
a row.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.transforms import Affine, Transform

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

TAG = "napari_stomics"
"""Key of our tag in ``layer.metadata``."""

UNITS = ("um", "um")

Matrix = NDArray[np.float64]

_ON_IMAGES = ("landmarks", "ghost")
"""Points that mark a place on an image follow it; their positions are the session's."""


def tag(layer: Layer) -> dict[str, Any]:
    """Our tag of a layer; empty where the layer is not ours."""
    return layer.metadata.get(TAG, {})


def set_tag(layer: Layer, **entries: Any) -> None:
    """Add entries to a layer's tag."""
    layer.metadata[TAG] = {**tag(layer), **entries}


def tagged(viewer: ViewerModel, **wanted: Any) -> list[Layer]:
    """Layers whose tag has all the entries wanted, from the bottom up.

    A tuple stands for any of its members: ``role=("image", "labels")``.
    """
    return [layer for layer in viewer.layers if tag(layer) and _matches(tag(layer), wanted)]


def _matches(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    for key, value in wanted.items():
        choices = value if isinstance(value, tuple) else (value,)
        if found.get(key) not in choices:
            return False
    return True


def shown_sections(viewer: ViewerModel) -> list[str]:
    """Names of the sections that have layers in the viewer, from the bottom up."""
    names = [tag(layer).get("section") for layer in viewer.layers]
    return list(dict.fromkeys(name for name in names if name))


def swap_axes(matrix: NDArray[Any]) -> Matrix:
    """Turn a homogeneous matrix on (x, y) into one on (y, x), or the other way round."""
    order = np.array([1, 0, 2])
    return np.asarray(matrix, dtype=np.float64)[np.ix_(order, order)]


def new_tag(
    section: str, role: str, own: Affine | None = None, placement: Affine | None = None, **more: Any
) -> dict[str, Any]:
    """Return the tag of a new layer, to be given in its metadata."""
    return {
        "section": section,
        "role": role,
        "own": (own or Affine.identity()).matrix.tolist(),
        "placement": (placement or Affine.identity()).matrix.tolist(),
        **more,
    }


def own(layer: Layer) -> Affine:
    """Map from the layer's element coordinates (x, y) to its section's micrometres."""
    return Affine(np.array(tag(layer).get("own", np.eye(3).tolist())))


def placement(layer: Layer) -> Affine:
    """Map from the layer's section's micrometres (x, y) to the frame shown."""
    return Affine(np.array(tag(layer).get("placement", np.eye(3).tolist())))


def layer_affine(own_map: Affine, placed: Affine) -> Matrix:
    """(3, 3) affine on (y, x) for napari."""
    return swap_axes(own_map.then(placed).matrix)


def place(layer: Layer, placed: Affine) -> None:
    """Show a layer where ``placed`` carries its section's micrometres."""
    unwarp(layer)
    set_tag(layer, placement=placed.matrix.tolist())
    layer.affine = layer_affine(own(layer), placed)
    _resize(layer, own(layer).then(placed))


def warp(layer: Layer, transform: Transform, placed: Affine) -> bool:
    """Carry the points of a layer through a map that is not linear; say whether it can be done.

    The layer keeps its former data until :func:`unwarp`. ``placed`` is where the
    frame that ``transform`` leads to is shown. Images cannot be carried this way.
    """
    data = tag(layer).get("unwarped", None)
    data = layer.data if data is None else data
    if isinstance(data, list) and tag(layer)["role"] in ("shapes", "outline"):
        moved: Any = [_carried(ring, own(layer), transform) for ring in data]
    elif hasattr(layer, "symbol") and tag(layer)["role"] not in _ON_IMAGES:
        moved = _carried(data, own(layer), transform)
    else:
        return False
    set_tag(layer, unwarped=data)
    layer.data = moved
    layer.affine = layer_affine(Affine.identity(), placed)
    linear = transform.linear_part().then(placed)
    set_tag(layer, placement=linear.matrix.tolist())
    _resize(layer, own(layer).then(linear))
    return True


def unwarp(layer: Layer) -> None:
    """Take back what :func:`warp` did to the data of a layer."""
    data = tag(layer).get("unwarped", None)
    if data is not None:
        layer.data = data
        set_tag(layer, unwarped=None)


def _carried(data: Any, own_map: Affine, transform: Transform) -> Any:
    return transform.apply(own_map.apply(np.asarray(data)[:, ::-1]))[:, ::-1]


def _resize(layer: Layer, to_world: Affine) -> None:
    diameter = tag(layer).get("diameter")
    if diameter is not None:
        size = true_size(diameter, to_world)
        if not np.allclose(layer.size, size, rtol=1e-6):
            layer.size = size


def true_size(diameter: Any, to_world: Affine) -> Any:
    """Size for a Points layer: napari moves points by the affine but does not scale their size."""
    factor = float(np.sqrt(abs(np.linalg.det(to_world.matrix[:2, :2]))))
    return np.asarray(diameter, dtype=np.float64) * factor


def section_placement(viewer: ViewerModel, section: str) -> Affine:
    """Where a section lies now: the placement that its layers share."""
    for layer in tagged(viewer, section=section):
        return placement(layer)
    return Affine.identity()


def place_section(viewer: ViewerModel, section: str, placed: Affine) -> list[Layer]:
    """Move all layers of a section and return them."""
    layers = tagged(viewer, section=section)
    for layer in layers:
        place(layer, placed)
    return layers


def real_viewer(viewer: Any) -> Any:
    """Return the viewer itself where napari hands its proxy to a plugin.

    A weak reference to the proxy dies with the proxy, one to the viewer does not.
    """
    return getattr(viewer, "__wrapped__", viewer)


def remove_layers(viewer: ViewerModel, layers: Iterable[Layer]) -> None:
    """Remove those of the layers that are still in the viewer."""
    # napari looks for garbage after each removal, which takes a third of a second where
    # large tables are open. What is alive now is set aside meanwhile.
    gc.freeze()
    try:
        for layer in list(layers):
            if layer in viewer.layers:
                viewer.layers.remove(layer)
    finally:
        gc.unfreeze()
