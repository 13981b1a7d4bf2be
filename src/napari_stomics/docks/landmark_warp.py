"""Grid and displacement magnitude of the map that is shown, following it live."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.transforms import Affine, Transform
from napari_stomics.layers.results import source_extent
from napari_stomics.layers.tags import (
    TAG,
    UNITS,
    layer_affine,
    new_tag,
    place,
    placement,
    remove_layers,
    section_placement,
    set_tag,
)
from napari_stomics.layers.warped import magnitude_layer
from napari_stomics.methods.registration.warp_views import warp_grid

if TYPE_CHECKING:
    from napari.layers import Layer

_CELLS = 12
_STAGES = ((), ("grid",), ("magnitude",), ("grid", "magnitude"))
_STAGE_TEXT = ("no warp", "warp grid", "warp magnitude", "warp grid and magnitude")


@contextmanager
def kept_selection(viewer: Any) -> Iterator[None]:
    """Leave selected what is selected, whatever layers are added within."""
    before = {*viewer.layers.selection}
    yield
    left = {layer for layer in before if layer in viewer.layers}
    if left and left != set(viewer.layers.selection):
        viewer.layers.selection = left


class WarpLayers:
    """Grid and displacement magnitude of the map that is shown, following it.

    Parameters
    ----------
    viewer
        The napari viewer.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._stage = 0
        self._layers: dict[str, Layer] = {}

    @property
    def shown(self) -> str:
        """What is switched on, in words."""
        return _STAGE_TEXT[self._stage]

    @property
    def layers(self) -> dict[str, Layer]:
        """The layers that are there, by part."""
        return {k: q for k, q in self._layers.items() if q in self._viewer.layers}

    def cycle(self) -> None:
        """Switch to the next of: nothing, grid, magnitude, both."""
        self._stage = (self._stage + 1) % len(_STAGES)

    def close(self) -> None:
        """Remove the layers and switch off."""
        remove_layers(self._viewer, self._layers.values())
        self._layers.clear()
        self._stage = 0

    @property
    def waits(self) -> bool:
        """Whether something is switched on that follows only once the hand is still."""
        return "magnitude" in _STAGES[self._stage]

    def show(
        self, source: str, target: str, transform: Transform | None, settled: bool = True
    ) -> None:
        """Draw what is switched on for a map from source to target; nothing for None."""
        wanted = _STAGES[self._stage] if transform is not None else ()
        gone = [q for part, q in self._layers.items() if part not in wanted]
        remove_layers(self._viewer, gone)
        self._layers = {k: q for k, q in self.layers.items() if k in wanted}
        if not wanted or transform is None:
            return
        extent = source_extent(self._viewer, source)
        if extent is None:
            return
        base = section_placement(self._viewer, target)
        with kept_selection(self._viewer):
            if "magnitude" in wanted and settled:
                self._magnitude(target, transform, extent, base)
            if "grid" in wanted:
                self._grid(target, transform, extent, base)

    def _grid(self, target: str, transform: Transform, extent: Any, base: Affine) -> None:
        data = grid_segments(transform, extent)
        layer: Any = self._layers.get("grid")
        if layer is not None:
            layer.data = data
            if not np.array_equal(placement(layer).matrix, base.matrix):
                place(layer, base)
            return
        self._layers["grid"] = self._viewer.add_vectors(
            data,
            name="Warp grid (live)",
            edge_color="#ffd54f",
            edge_width=float(np.ptp(extent, axis=0).max()) / 600,
            vector_style="line",
            units=UNITS,
            affine=layer_affine(Affine.identity(), base),
            metadata={TAG: new_tag(target, "result", None, base, part="live grid")},
        )

    def _magnitude(self, target: str, transform: Transform, extent: Any, base: Affine) -> None:
        name = "Bend and shear (live, µm)"
        fresh: Any = magnitude_layer(transform, extent, base, name, target)
        layer: Any = self._layers.get("magnitude")
        if fresh is None or layer is None or layer.data.shape != fresh.data.shape:
            remove_layers(self._viewer, [layer] if layer is not None else [])
            self._layers.pop("magnitude", None)
            if fresh is not None:
                set_tag(fresh, part="live magnitude")
                self._layers["magnitude"] = self._viewer.add_layer(fresh)
            return
        layer.data, layer.contrast_limits = fresh.data, fresh.contrast_limits
        layer.affine = fresh.affine


def grid_segments(transform: Transform, extent: NDArray[Any]) -> NDArray[np.float64]:
    """(n, 2, 2) starts and directions (y, x) of a warped grid, few enough to follow a drag."""
    low, high = extent
    spacing = float((high - low).max()) / _CELLS
    lines = warp_grid(transform, (low[0], low[1], high[0], high[1]), spacing)
    # The lines of an affine map are straight: their ends are enough.
    if isinstance(transform, Affine):
        lines = [line[[0, -1]] for line in lines]
    else:
        lines = [line[::2] for line in lines]
    start = np.vstack([line[:-1] for line in lines])
    end = np.vstack([line[1:] for line in lines])
    segments = np.stack([start, end - start], axis=1)[..., ::-1]
    return np.asarray(segments[np.isfinite(segments).all(axis=(1, 2))])
