"""Where the spots of each section lie, and the maps between sections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.transforms import Affine, DisplacementField, Transform, compose
from napari_stomics.data.simulate.fields import SmoothField, Tissue, stream
from napari_stomics.data.simulate.params import SimulationParams

Floats = NDArray[np.floating[Any]]

_LEAST_AREA_FACTOR = 0.1
"""A warp is refused where it squeezes the tissue's area below this share."""

_REACH = 0.6
"""Spots of two regular arrays are partners up to this many pitches apart."""


@dataclass(frozen=True)
class Window:
    """The part of the tissue that a section holds: a band across it.

    Attributes
    ----------
    direction
        (2,) unit vector in the specimen's frame.
    low, high
        Borders along ``direction``, um.
    """

    direction: Floats
    low: float
    high: float

    def depth(self, points: Floats) -> Floats:
        """(n,) distance to the nearer border, um, negative outside."""
        along = points @ self.direction
        return np.minimum(along - self.low, self.high - along)


@dataclass(frozen=True)
class Placed:
    """Spots of one section.

    Attributes
    ----------
    site
        (n,) index of the specimen's site that a spot lies on, -1 on an array of its own.
    specimen
        (n, 2) position in the specimen's frame, um.
    coordinates
        (n, 2) position in the section's frame, um.
    window
        The part of the tissue that the section holds.
    extent
        Width and height of the section's frame, um; it starts at (0, 0).
    from_specimen
        Map of the specimen's frame to the section's.
    """

    site: NDArray[np.int64]
    specimen: Floats
    coordinates: Floats
    window: Window
    extent: tuple[float, float]
    from_specimen: Transform


def lay_out(params: SimulationParams, tissue: Tissue) -> Floats:
    """(n_spots, 2) sites in the specimen's frame, row by row, the most central of a grid."""
    reach = tissue.limit * tissue.size * 1.35 + 2 * params.pitch
    sites = _grid(params.layout, params.pitch, (-reach, -reach), (reach, reach))
    if params.layout == "cells":
        rng = stream(params.seed, 10)
        radius = 0.35 * params.pitch * np.sqrt(rng.random(len(sites)))
        angle = rng.uniform(0, 2 * np.pi, len(sites))
        sites = sites + np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    kept = np.argpartition(tissue.key(sites), params.n_spots - 1)[: params.n_spots]
    return sites[np.sort(kept)]


def site_area(params: SimulationParams) -> float:
    """Area of tissue per spot, um^2."""
    return params.pitch**2 * (1.0 if params.layout == "square" else np.sqrt(3) / 2)


def place_sections(params: SimulationParams, tissue: Tissue) -> Iterator[tuple[Placed, Transform]]:
    """Yield each section's spots with the map from the section before (identity at first)."""
    sites = lay_out(params, tissue)
    windows = _windows(params, sites)
    before: Transform = Affine.identity()
    for index, window in enumerate(windows):
        rng = stream(params.seed, 11, index)
        held = sites[window.depth(sites) >= 0]
        if index == 0:
            step: Transform = _into_frame(held, params, rng)
            from_specimen = step
        else:
            step = _next_map(params, tissue, before.apply(sites), before.apply(held), rng)
            from_specimen = compose(before, step)
        placed = _place(params, tissue, sites, window, from_specimen, index, rng)
        if len(placed.site) < 4:
            raise UserError(
                f"Section {index + 1} would hold {len(placed.site)} spots.",
                "Raise n_spots, or lower crop or missing.",
            )
        yield placed, (Affine.identity() if index == 0 else step)
        before = from_specimen


def partners(here: Placed, there: Placed, step: Transform, pitch: float) -> NDArray[np.int64]:
    """(n,) index in the next section of each spot's partner, -1 where it has none."""
    if (here.site >= 0).all() and (there.site >= 0).all():
        found = np.full(int(max(here.site.max(), there.site.max())) + 1, -1, dtype=np.int64)
        found[there.site] = np.arange(len(there.site))
        return found[here.site]
    from scipy.spatial import cKDTree

    distance, nearest = cKDTree(there.coordinates).query(step.apply(here.coordinates))
    return np.where(distance <= _REACH * pitch, nearest, -1).astype(np.int64)


def overlap(here: Placed, there: Placed) -> float:
    """Share of a section's spots whose tissue the other section holds too."""
    return float(np.mean(there.window.depth(here.specimen) >= 0))


def _grid(layout: str, pitch: float, low: Any, high: Any) -> Floats:
    rows = pitch * (1.0 if layout == "square" else np.sqrt(3) / 2)
    y = np.arange(low[1], high[1] + rows, rows)
    x = np.arange(low[0], high[0] + pitch, pitch)
    shift = 0.0 if layout == "square" else pitch / 2
    xx = x[None, :] + shift * (np.arange(len(y)) % 2)[:, None]
    return np.column_stack([xx.ravel(), np.repeat(y, len(x))])


def _windows(params: SimulationParams, sites: Floats) -> list[Window]:
    angle = stream(params.seed, 12).uniform(0, 2 * np.pi)
    direction = np.array([np.cos(angle), np.sin(angle)])
    along = sites @ direction
    far = 10 * float(np.abs(along).max() + params.pitch)
    windows = []
    for index in range(params.n_sections):
        share = params.crop_first if index == 0 else params.crop
        low, high = -far, far
        if share > 0 and index % 2:
            low = float(np.quantile(along, share))
        elif share > 0:
            high = float(np.quantile(along, 1 - share))
        windows.append(Window(direction, low, high))
    return windows


def _margin(params: SimulationParams, points: Floats) -> float:
    return 3 * params.pitch + 0.04 * float(np.ptp(points, axis=0).max())


def _into_frame(points: Floats, params: SimulationParams, rng: np.random.Generator) -> Affine:
    """Return the shift that brings points to positive coordinates, with some glass around."""
    matrix = np.eye(3)
    glass = _margin(params, points) + rng.uniform(0, 2 * params.pitch, 2)
    matrix[:2, 2] = glass - points.min(axis=0)
    return Affine(matrix)


def _next_map(
    params: SimulationParams,
    tissue: Tissue,
    everywhere: Floats,
    held: Floats,
    rng: np.random.Generator,
) -> Transform:
    """Return the map to the next section: a smooth warp, then a similarity.

    Parameters
    ----------
    everywhere
        (n, 2) all sites of the specimen in this section's frame.
    held
        (m, 2) those that the next section holds.
    """
    warp = _warp(params, tissue, everywhere, rng) if params.warp_rms > 0 else None
    angle = np.deg2rad(params.rotation)
    linear = params.scale * np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    if params.mirror:
        linear = linear @ np.diag([-1.0, 1.0])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    turned = Affine(matrix) if warp is None else compose(warp, Affine(matrix))
    return compose(turned, _into_frame(turned.apply(held), params, rng))


def _warp(
    params: SimulationParams, tissue: Tissue, points: Floats, rng: np.random.Generator
) -> DisplacementField:
    """Return a smooth displacement field of the asked RMS beyond the best affine map."""
    length = params.warp_length * tissue.size
    field = SmoothField.draw(rng, params.warp_length, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    reach = 0.25 * (high - low) + 2 * params.pitch
    low, high = low - reach, high + reach
    count = np.maximum(4, np.ceil((high - low) / (length / 5)).astype(int) + 1)
    spacing = (high - low) / (count - 1)
    column, row = np.meshgrid(*(np.arange(c) for c in count))
    nodes = low + np.stack([column, row], axis=-1) * spacing
    raw = field(nodes.reshape(-1, 2) / tissue.size).reshape(nodes.shape)
    some = points[:: max(1, len(points) // 20_000)]
    unit = DisplacementField(raw, low, spacing, "cubic").apply(some) - some
    design = np.column_stack([some, np.ones(len(some))])
    fit = np.linalg.lstsq(design, unit, rcond=None)[0]
    rest = unit - design @ fit
    factor = params.warp_rms * params.pitch / np.sqrt(np.mean(np.sum(rest**2, axis=1)))
    raw = raw - (nodes @ fit[:2] + fit[2])
    warp = DisplacementField(raw * factor, low, spacing, "cubic")
    least = float(warp.jacobian_determinant(some).min())
    if least < _LEAST_AREA_FACTOR:
        raise UserError(
            f"A warp of {params.warp_rms:g} pitches RMS folds this tissue "
            f"(least area factor {least:.2f}).",
            f"Lower warp_rms, raise warp_length (now {params.warp_length:g} of the tissue's "
            "size), or take more spots: the same number of pitches then bends less.",
        )
    return warp


def _place(
    params: SimulationParams,
    tissue: Tissue,
    sites: Floats,
    window: Window,
    from_specimen: Transform,
    index: int,
    rng: np.random.Generator,
) -> Placed:
    if index and params.array == "own":
        site, specimen, xy = _own_array(params, tissue, sites, window, from_specimen, rng)
    else:
        site = np.flatnonzero(window.depth(sites) >= 0)
        if index:
            site = rng.permutation(site[rng.random(len(site)) >= params.missing])
        specimen = sites[site]
        xy = from_specimen.apply(specimen)
        if index:
            xy = xy + rng.normal(0, params.jitter * params.pitch, xy.shape)
    held = from_specimen.apply(sites[window.depth(sites) >= 0])
    extent = held.max(axis=0) + _margin(params, held)
    size = (float(extent[0]), float(extent[1]))
    return Placed(site, specimen, xy, window, size, from_specimen)


def _own_array(
    params: SimulationParams,
    tissue: Tissue,
    sites: Floats,
    window: Window,
    from_specimen: Transform,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return the spots of a regular array laid at random over the section's tissue."""
    held = from_specimen.apply(sites[window.depth(sites) >= 0])
    start = held.min(axis=0) - params.pitch * (1 + rng.random(2))
    xy = _grid(params.layout, params.pitch, start, held.max(axis=0) + params.pitch)
    if params.layout == "cells":
        xy = xy + rng.uniform(-0.3, 0.3, xy.shape) * params.pitch
    xy = xy[rng.random(len(xy)) >= params.missing]
    specimen = from_specimen.inverse().apply(xy)
    specimen, xy = (p[np.isfinite(specimen).all(axis=1)] for p in (specimen, xy))
    good = tissue.inside(specimen) & (window.depth(specimen) >= 0)
    order = rng.permutation(np.flatnonzero(good))
    return np.full(len(order), -1, dtype=np.int64), specimen[order], xy[order]
