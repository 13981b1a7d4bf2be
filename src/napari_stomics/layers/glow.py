"""Spots that glow, each as strongly as it is told; quick enough to follow the mouse."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.transforms import Affine
from napari_stomics.layers.tags import TAG, UNITS, layer_affine, new_tag, remove_layers, set_tag

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_stomics.layers.displayed import DisplayedSpots

OWN = 2.0
"""Strength by which the spot asked about is drawn."""
SELECTED = 3.0
"""Strength by which a partner that stands out is drawn."""
_SIDES = 20
_ANGLES = 2 * np.pi * np.arange(_SIDES) / _SIDES
CORNERS = 1 + 5 * _SIDES
"""Vertices of one spot that glows; the first is its middle."""
_CIRCLE = np.column_stack([np.sin(_ANGLES), np.cos(_ANGLES)])
_RIM = (1.0, 1.45, 1.65)
"""Radii of the ring's inner edge, outer edge and dark border, in radii of a spot."""
_DARK = 4.0
_FAINTEST = 0.12
_FILL = 0.55
"""How much of the ring's opacity the disc within it has."""


class GlowLayer:
    """A ring round, and a veil over, some spots of one section.

    A mesh, since napari takes twenty times as long to take other points,
    sizes and colours for a Points layer as it takes for other triangles.

    Parameters
    ----------
    viewer
        The viewer.
    spots
        The section's spots where they are shown.
    """

    def __init__(self, viewer: ViewerModel, spots: DisplayedSpots) -> None:
        self._viewer = viewer
        self._spots = spots
        self._layer: Any = None

    @property
    def layer(self) -> Any:
        """The layer; None while nothing has glowed yet, or after the user removed it."""
        return (
            self._layer if self._layer is not None and self._layer in self._viewer.layers else None
        )

    def open(self) -> None:
        """Add the layer, so that nothing has to make room once it glows."""
        if self.layer is None:
            self._add()

    def close(self) -> None:
        """Take the layer away."""
        if self.layer is not None:
            remove_layers(self._viewer, [self._layer])
        self._layer = None

    def show(self, indices: NDArray[np.intp], strength: NDArray[np.float64]) -> None:
        """Let these spots glow and no others.

        Parameters
        ----------
        indices
            (k,) which spots.
        strength
            (k,) between 0 and 1, or :data:`OWN`, or :data:`SELECTED`.
        """
        layer = self.layer
        if layer is None:
            if not len(indices):
                return
            layer = self._add()
        # Switching a layer on and off takes longer than drawing nothing.
        mesh = self._mesh(indices, strength) if len(indices) else self._nothing()
        # Whoever listens would recompute the extent of all layers, which does not
        # change: what glows are spots that are there already.
        with layer.events.blocker_all():
            layer.data = mesh
        layer.refresh(extent=False, thumbnail=False, highlight=False)
        wanted = layer_affine(Affine.identity(), self._spots.frame)
        if not np.array_equal(layer.affine.affine_matrix[-3:, -3:], wanted):
            set_tag(layer, placement=self._spots.frame.matrix.tolist())
            layer.affine = wanted
        if len(indices) and not layer.visible:
            layer.visible = True

    def _mesh(self, indices: NDArray[np.intp], strength: NDArray[np.float64]) -> Any:
        centres = self._spots.points[indices][:, ::-1]
        return glow_mesh(centres, self._spots.diameter / 2, strength)

    def _nothing(self) -> Any:
        """One triangle on a spot that cannot be seen."""
        at = self._spots.points[:1][:, ::-1] if len(self._spots.points) else np.zeros((1, 2))
        return np.repeat(at, 3, axis=0), np.array([[0, 1, 2]]), np.zeros(3)

    def _add(self) -> Any:
        from napari.layers import Surface

        placed = self._spots.frame
        self._layer = Surface(
            self._nothing(),
            name=f"Partners · {self._spots.section}",
            colormap=glow_colours(),
            contrast_limits=(0.0, _DARK),
            shading="none",
            blending="translucent_no_depth",
            units=UNITS,
            affine=layer_affine(Affine.identity(), placed),
            metadata={TAG: new_tag(self._spots.section, "glow", None, placed)},
        )
        selection = set(self._viewer.layers.selection)
        self._viewer.add_layer(self._layer)
        if selection:
            self._viewer.layers.selection = selection
        return self._layer


def glow_mesh(
    centres: NDArray[Any], radius: float, strength: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return vertices (y, x), triangles and values of discs with a bright ring.

    Parameters
    ----------
    centres
        (k, 2) as (y, x).
    radius
        Of a spot.
    strength
        (k,) as in :meth:`GlowLayer.show`; also makes the ring wider.
    """
    k = len(centres)
    share = np.clip(strength, 0, 1)
    special = strength > 1
    size = radius * (0.75 + 0.25 * share + 0.2 * special)
    rims = [centres[:, None] + (size * rim)[:, None, None] * _CIRCLE for rim in _RIM]
    inner, outer, border = rims
    # Neighbouring bands share no vertices: each has one value throughout.
    parts = [centres[:, None], inner, inner, outer, outer, border]
    vertices = np.concatenate(parts, axis=1)
    bright = np.where(special, strength, _FAINTEST + (1 - _FAINTEST) * share)
    # A spot that is asked about, or stands out, is only ringed: its colour is to be seen.
    veil = np.where(special, 0.0, _FILL * bright)
    inside = np.repeat(veil[:, None], 1 + _SIDES, axis=1)
    ring = np.repeat(bright[:, None], 2 * _SIDES, axis=1)
    values = np.hstack([inside, ring, np.full((k, 2 * _SIDES), _DARK)])
    faces = _triangles() + (np.arange(k) * CORNERS)[:, None, None]
    return vertices.reshape(-1, 2), faces.reshape(-1, 3), values.ravel()


@lru_cache(maxsize=1)
def _triangles() -> NDArray[np.int64]:
    """(t, 3) triangles of one disc with its ring."""
    here = np.arange(_SIDES)
    after = (here + 1) % _SIDES
    disc = np.column_stack([np.zeros(_SIDES, int), 1 + here, 1 + after])
    bands = [disc]
    for first in (1 + _SIDES, 1 + 3 * _SIDES):
        b, c = first, first + _SIDES
        bands.append(np.column_stack([b + here, b + after, c + here]))
        bands.append(np.column_stack([b + after, c + after, c + here]))
    return np.vstack(bands)


@lru_cache(maxsize=1)
def glow_colours() -> Any:
    """Clear to amber up to 1, then cyan at :data:`OWN`, white at :data:`SELECTED`, dark."""
    from napari.utils.colormaps import Colormap

    amber, cyan, white = (1.0, 0.78, 0.05), (0.1, 0.95, 1.0), (1.0, 1.0, 1.0)
    return Colormap(
        [(*amber, 0.0), (*amber, 1.0), (*cyan, 1.0), (*white, 1.0), (0.0, 0.0, 0.0, 0.55)],
        controls=[0.0, 1 / _DARK, OWN / _DARK, SELECTED / _DARK, 1.0],
        name="partners",
    )
