"""An H&E-like image as a function of position, so that any tile can be made alone.

The absorbance of haematoxylin is that of Ruifrok & Johnston, Anal. Quant. Cytol.
Histol. 23:291 (2001); that of eosin lies nearer to the pink of slide
scanners. Nuclei sit in cells of a fixed lattice and every random number is a
hash of lattice indices: tiles fit without seams, in any order, at any pixel size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.transforms import Affine, DisplacementField, Transform
from napari_stomics.data.build import ImageSource
from napari_stomics.data.simulate.fields import SmoothField, Tissue, stream
from napari_stomics.data.simulate.geometry import Placed, Window
from napari_stomics.data.simulate.omics import visible_classes
from napari_stomics.data.simulate.params import SimulationParams

Floats = NDArray[np.floating[Any]]
Single = NDArray[np.float32]

_HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
_EOSIN = np.array([0.12, 0.95, 0.35])
_CELL_UM = 12.0
"""Side of the lattice that holds one nucleus per cell at most."""
_COARSEST_NUCLEI_UM = 6.0
"""Pixels above this size show the nuclei's mean absorbance."""
_EAGER_PIXELS = 16_000_000
_TILE = 1024
_CELLULARITY, _EOSIN_LEVEL, _FIBRES = 0, 1, 2


@dataclass(frozen=True)
class Slide:
    """The image of one section.

    Attributes
    ----------
    tissue, window, z
        What the section shows.
    to_specimen
        Map of the section's um to the specimen's.
    look
        (n_domains, 3) cellularity, eosin and fibres of each domain, 0 to 1.
    blotches
        Field of uninformative staining differences within the section.
    blotch
        Their strength.
    stains
        (2,) strength of haematoxylin and eosin.
    glass
        (3,) colour of bare glass, 0 to 255.
    node_um
        Distance of the nodes at which the specimen is evaluated.
    salt
        Seed of the hashes.
    """

    tissue: Tissue
    window: Window
    z: float
    to_specimen: Transform
    look: Floats
    blotches: SmoothField
    blotch: float
    stains: Floats
    glass: Floats
    node_um: float
    salt: int

    def render(
        self, row: int, column: int, height: int, width: int, px: float
    ) -> NDArray[np.uint8]:
        """Return the tile (height, width, 3) that starts at a pixel, with ``px`` um a pixel."""
        ys = (row + np.arange(height) + 0.5) * px
        xs = (column + np.arange(width) + 0.5) * px
        nodes = self._nodes(xs, ys, max(self.node_um, px))
        if not (nodes.values[0] > -2 * px).any():
            blank = np.broadcast_to(self.glass, (height, width, 3))
            return self._grain(blank.astype(np.float32), row, column)
        maps = nodes.at(xs, ys)
        mask = np.clip(maps[0] / px + 0.5, 0, 1)
        h, e = self._stained(maps, nodes, xs, ys, px)
        h *= mask
        e *= mask
        image = np.empty((height, width, 3), dtype=np.float32)
        for channel in range(3):
            density = h * np.float32(_HAEMATOXYLIN[channel]) + e * np.float32(_EOSIN[channel])
            image[..., channel] = self.glass[channel] * np.exp(-density)
        return self._grain(image, row, column)

    def nuclei(self, low: Floats, high: Floats) -> Floats:
        """(n, 2) centres (x, y) um of the nuclei that lie between two corners of the section."""
        ix, iy = (
            np.arange(int(low[axis] // _CELL_UM), int(high[axis] // _CELL_UM) + 1)
            for axis in (0, 1)
        )
        nodes = self._nodes((ix + 0.5) * _CELL_UM, (iy + 0.5) * _CELL_UM, self.node_um)
        cx, cy, *_, dark = self._cells(ix, iy, nodes)
        centres = np.column_stack([cx[dark > 0], cy[dark > 0]]).astype(np.float64)
        return centres[((centres >= low) & (centres < high)).all(axis=1)]

    def _nodes(self, xs: Floats, ys: Floats, step: float) -> _Nodes:
        """Evaluate tissue depth, specimen position, blotches and look on a coarse lattice."""
        pad = int(np.ceil(2 * _CELL_UM / step)) + 1
        ix = np.arange(int(xs[0] // step) - pad, int(xs[-1] // step) + pad + 2)
        iy = np.arange(int(ys[0] // step) - pad, int(ys[-1] // step) + pad + 2)
        gx, gy = np.meshgrid(ix * step, iy * step)
        at = self.to_specimen.apply(np.column_stack([gx.ravel(), gy.ravel()]))
        depth = np.minimum(self.tissue.depth(at), self.window.depth(at))
        look = self.look[self.tissue.domains(at, self.z)]
        blotch = self.blotch * self.blotches(at / self.tissue.size)[:, 0]
        values = np.column_stack([depth, at, blotch, look]).T.reshape(-1, len(iy), len(ix))
        return _Nodes(values.astype(np.float32), float(ix[0] * step), float(iy[0] * step), step)

    def _stained(
        self, maps: Single, nodes: _Nodes, xs: Floats, ys: Floats, px: float
    ) -> tuple[Single, Single]:
        """Return the amounts of haematoxylin and eosin (height, width)."""
        _, u, v, blotch, cellularity, eosin, fibres = maps
        nuclei = self._nuclei(nodes, xs, ys, px)
        if nuclei is None:
            nuclei = cellularity * np.float32(0.3)
        texture = np.full_like(u, 0.5)
        waves = np.full_like(u, 0.5)
        if px < 20:
            texture = _value_noise(u / 45, v / 45, self.salt)
            wobble = _value_noise(u / 160, v / 160, self.salt + 1)
            waves = 0.5 + 0.5 * np.sin(v / 6 + u / 25 + 14 * wobble)
        e = 0.12 + 0.45 * eosin * (0.7 + 0.6 * texture) + 0.35 * fibres * (waves - 0.5)
        gain = 1 + blotch
        h = np.float32(self.stains[0]) * gain * (0.06 + 1.6 * nuclei)
        e = np.float32(self.stains[1]) * gain * np.maximum(e, 0.02) * (1 - 0.5 * nuclei)
        return h.astype(np.float32), e.astype(np.float32)

    def _nuclei(self, nodes: _Nodes, xs: Floats, ys: Floats, px: float) -> Single | None:
        """Return how much of each pixel nuclei cover; None where pixels are too large for them."""
        if px > _COARSEST_NUCLEI_UM:
            return None
        size = _CELL_UM
        left, top = (np.floor(p / size - 0.5).astype(np.int64) for p in (xs, ys))
        ix, iy = np.arange(left[0], left[-1] + 2), np.arange(top[0], top[-1] + 2)
        cell = self._cells(ix, iy, nodes)
        cover = np.zeros((len(ys), len(xs)), dtype=np.float32)
        for down in range(2):
            rows = (top - iy[0] + down)[:, None]
            for right in range(2):
                columns = (left - ix[0] + right)[None, :]
                cx, cy, cos, sin, long, short, dark = (c[rows, columns] for c in cell)
                dx = xs.astype(np.float32)[None, :] - cx
                dy = ys.astype(np.float32)[:, None] - cy
                along = (cos * dx + sin * dy) / long
                across = (cos * dy - sin * dx) / short
                away = np.sqrt(along * along + across * across)
                edge = np.clip((1 - away) * short / np.float32(px) + np.float32(0.5), 0, 1)
                np.maximum(cover, edge * dark, out=cover)
        return cover

    def _cells(self, ix: NDArray[Any], iy: NDArray[Any], nodes: _Nodes) -> list[Single]:
        """Return centre x, y, cosine, sine, half axes and darkness of one nucleus per cell."""
        salt = self.salt
        random = [_hash(ix[None, :], iy[:, None], salt + 10 + i) for i in range(6)]
        maps = nodes.at((ix + 0.5) * _CELL_UM, (iy + 0.5) * _CELL_UM)
        cellularity, fibres = maps[4 + _CELLULARITY], maps[4 + _FIBRES]
        present = (random[0] < cellularity) & (maps[0] > 0)
        cx = ((ix[None, :] + 0.2 + 0.6 * random[1]) * _CELL_UM).astype(np.float32)
        cy = ((iy[:, None] + 0.2 + 0.6 * random[2]) * _CELL_UM).astype(np.float32)
        angle = np.pi * random[3]
        area = 3.0 + 1.6 * random[4]
        stretch = np.minimum(1 + 0.25 * random[5] + 0.5 * fibres, (_CELL_UM / 2 / area) ** 2)
        long, short = area * np.sqrt(stretch), area / np.sqrt(stretch)
        dark = np.where(present, 0.75 + 0.25 * random[5], 0)
        cells = (cx, cy, np.cos(angle), np.sin(angle), long, short, dark)
        return [np.asarray(c, dtype=np.float32) for c in cells]

    def _grain(self, image: Single, row: int, column: int) -> NDArray[np.uint8]:
        height, width = image.shape[:2]
        grain = _hash(
            (column + np.arange(width))[None, :],
            (row + np.arange(height))[:, None],
            self.salt + 30,
        )
        image = image + (8 * (grain - np.float32(0.5)))[..., None]
        return np.clip(image, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class _Nodes:
    """(channels, rows, columns) values on a lattice, interpolated bilinearly between."""

    values: Single
    x0: float
    y0: float
    step: float

    def at(self, xs: Floats, ys: Floats) -> Single:
        """(channels, len(ys), len(xs)) values at the crossings of rows and columns."""
        column, row = (xs - self.x0) / self.step, (ys - self.y0) / self.step
        i, j = np.floor(column).astype(np.intp), np.floor(row).astype(np.intp)
        s, t = (column - i).astype(np.float32), (row - j).astype(np.float32)[:, None]
        lines = self.values[:, j] * (1 - t) + self.values[:, j + 1] * t
        return np.asarray(lines[:, :, i] * (1 - s) + lines[:, :, i + 1] * s)


def _hash(i: Any, j: Any, salt: int) -> Single:
    """Return numbers in [0, 1) that depend on two (broadcast) integers and the salt."""
    a = np.asarray(i).astype(np.int64).astype(np.uint32)
    b = np.asarray(j).astype(np.int64).astype(np.uint32)
    x = a * np.uint32(0x9E3779B1) ^ b * np.uint32(0x85EBCA77)
    x = x ^ np.uint32((salt * 0xC2B2AE3D) & 0xFFFFFFFF)
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    x ^= x >> np.uint32(15)
    return (x >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def _value_noise(x: Single, y: Single, salt: int) -> Single:
    """Return smooth noise in [0, 1] at positions in lattice units."""
    i, j = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    s, t = (x - i).astype(np.float32), (y - j).astype(np.float32)
    s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
    above = _hash(i, j, salt) * (1 - s) + _hash(i + 1, j, salt) * s
    below = _hash(i, j + 1, salt) * (1 - s) + _hash(i + 1, j + 1, salt) * s
    return np.asarray(above * (1 - t) + below * t)


def make_slide(params: SimulationParams, tissue: Tissue, placed: Placed, index: int) -> Slide:
    """Draw how a section looks; the domains' look is the same in all of them."""
    shared, own = stream(params.seed, 20), stream(params.seed, 21, index)
    classes = visible_classes(params.image_sees, params.n_domains)
    count = int(classes.max()) + 1
    # Looks are spread out evenly and then shuffled: neighbours differ visibly.
    ladder = (np.arange(count) + 0.5) / count
    looks = np.column_stack([shared.permutation(ladder) for _ in range(3)])
    looks = looks * (0.65, 0.9, 0.8) + (0.12, 0.1, 0.0)
    if params.image_sees == "none":
        looks[:] = looks.mean(axis=0)
    look = looks[classes]
    look = (1 - params.image_noise) * look + params.image_noise * look.mean(axis=0)
    return Slide(
        tissue=tissue,
        window=placed.window,
        z=index * params.section_change,
        to_specimen=_inverse(params, tissue, placed),
        look=look,
        blotches=SmoothField.draw(own, 0.15),
        blotch=0.25 * params.image_noise,
        stains=np.exp(own.normal(0, params.stain_variation, 2)) * (1.0, 0.75),
        glass=np.clip(own.normal(241, 12 * params.stain_variation, 3), 200, 250),
        node_um=max(params.pitch / 6, 2.0),
        salt=int(own.integers(2**31)),
    )


def image_source(params: SimulationParams, slide: Slide, placed: Placed) -> ImageSource:
    """Return the image: computed when it is small, else a pyramid whose tiles are made on demand.

    Every level is rendered at its own pixel size: no finer one is read for it.
    """
    px = float(params.um_per_px or 1.0)
    to_um = Affine(np.diag([px, px, 1.0]))
    width, height = (max(1, int(np.ceil(e / px))) for e in placed.extent)
    if width * height <= _EAGER_PIXELS:
        image = np.empty((height, width, 3), dtype=np.uint8)
        for row in range(0, height, _TILE):
            rows = min(_TILE, height - row)
            for column in range(0, width, _TILE):
                columns = min(_TILE, width - column)
                tile = slide.render(row, column, rows, columns, px)
                image[row : row + rows, column : column + columns] = tile
        return ImageSource([image], to_um)
    levels = [_lazy(slide, height, width, px)]
    while max(width, height) > _TILE:
        width, height, px = (width + 1) // 2, (height + 1) // 2, px * 2
        levels.append(_lazy(slide, height, width, px))
    return ImageSource(levels, to_um)


def _lazy(slide: Slide, height: int, width: int, px: float) -> Any:
    import dask.array as da

    chunks = (_pieces(height), _pieces(width), (3,))
    return da.map_blocks(  # type: ignore[no-untyped-call]
        _block, chunks=chunks, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8),
        slide=slide, px=px,
    )  # fmt: skip


def _block(slide: Slide, px: float, block_info: Any = None) -> NDArray[np.uint8]:
    (top, bottom), (left, right), _ = block_info[None]["array-location"]
    return slide.render(top, left, bottom - top, right - left, px)


def _pieces(size: int) -> tuple[int, ...]:
    whole, rest = divmod(size, _TILE)
    return (_TILE,) * whole + ((rest,) if rest else ())


def _inverse(params: SimulationParams, tissue: Tissue, placed: Placed) -> Transform:
    """Return the map to the specimen, on a grid: a tile then costs no search of its own."""
    exact = placed.from_specimen.inverse()
    if isinstance(exact, Affine):
        return exact
    low, high = np.zeros(2), np.array(placed.extent)
    step = min(params.warp_length, 0.35) * tissue.size * params.scale / 10
    count = np.maximum(4, np.ceil((high - low) / step).astype(int) + 1)
    spacing = (high - low) / (count - 1)
    column, row = np.meshgrid(*(np.arange(c) for c in count))
    nodes = (low + np.stack([column, row], axis=-1) * spacing).reshape(-1, 2)
    away = exact.apply(nodes) - nodes
    known = np.isfinite(away).all(axis=1)
    if not known.all():
        from scipy.spatial import cKDTree

        nearest = cKDTree(nodes[known]).query(nodes[~known])[1]
        away[~known] = away[known][nearest]
    return DisplacementField(away.reshape(*row.shape, 2), low, spacing, "cubic")
