"""Rendered H&E with known nuclei, and cells that are these nuclei seen by another instrument."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from napari_stomics.core.inputs import SectionImage, Spots
from napari_stomics.core.transforms import Affine
from napari_stomics.data.simulate.fields import draw_tissue
from napari_stomics.data.simulate.geometry import place_sections, site_area
from napari_stomics.data.simulate.histology import Slide, image_source, make_slide
from napari_stomics.data.simulate.params import SimulationParams


@dataclass(frozen=True)
class NuclearTissue:
    """An image, its slide and the true centres (x, y) um of its nuclei."""

    image: SectionImage
    slide: Slide
    extent: tuple[float, float]
    nuclei: np.ndarray


@cache
def nuclear_tissue(n_spots: int = 40, seed: int = 0, px: float = 0.5) -> NuclearTissue:
    """About 0.87 mm^2 of tissue per 100 spots, some 30 nuclei per spot."""
    params = SimulationParams(n_spots=max(n_spots, 50), um_per_px=px, seed=seed, n_sections=1)
    tissue = draw_tissue(seed, n_spots * site_area(params), params.n_domains, "layers")
    ((placed, _),) = place_sections(params.model_copy(update={"n_spots": n_spots}), tissue)
    slide = make_slide(params, tissue, placed, 0)
    source = image_source(params, slide, placed)
    levels = tuple(np.asarray(level) for level in source.levels)
    nuclei = slide.nuclei(np.zeros(2), np.array(placed.extent))
    return NuclearTissue(SectionImage("he", levels, source.to_um), slide, placed.extent, nuclei)


def affine(degrees: float, sx: float, sy: float, shear: float, shift: Any, mirror: bool = False):
    a = np.deg2rad(degrees)
    matrix = np.eye(3)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    flip = np.diag([-1.0 if mirror else 1.0, 1.0])
    matrix[:2, :2] = turn @ np.array([[sx, shear], [0, sy]]) @ flip
    matrix[:2, 2] = shift
    return Affine(matrix)


def seen(nuclei, transform, rng, missing: float = 0.1, spurious: float = 0.1, jitter: float = 1.0):
    """Cells (x, y) um: nuclei carried over, some lost, some added, all misplaced a little."""
    xy = transform.apply(nuclei)
    xy = xy[rng.random(len(xy)) > missing]
    xy = xy + rng.normal(0, jitter, xy.shape)
    count = int(spurious * len(xy))
    strays = xy[rng.integers(len(xy), size=count)] + rng.uniform(-15, 15, (count, 2))
    return np.concatenate([xy, strays])


def off_by(transform: Affine, centre, um: float, rng) -> Affine:
    """A coarse registration: wrong by ``um`` at the centre, half a degree and half a per cent."""
    angle = rng.uniform(0, 2 * np.pi)
    scale = 1 + rng.normal(0, 0.005, 2)
    wobble = affine(rng.normal(0, 0.5), scale[0], scale[1], 0.0, (0, 0)).matrix.copy()
    shift = um * np.array([np.cos(angle), np.sin(angle)])
    wobble[:2, 2] = centre - wobble[:2, :2] @ centre + shift
    return Affine(wobble).then(transform)


def as_cells(xy, name: str = "cells") -> Spots:
    ids = np.array([f"cell{i}" for i in range(len(xy))], object)
    nothing = np.zeros((len(xy), 0), np.float32)
    return Spots(name, ids, np.asarray(xy), nothing, np.zeros(0, object), "", None, 10.0)
