"""Counts of RNA and protein with known means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.data.simulate.fields import Tissue, stream
from napari_stomics.data.simulate.params import Sees, SimulationParams

Floats = NDArray[np.floating[Any]]

_VALUES_AT_A_TIME = 3_000_000


def visible_classes(sees: Sees, n_domains: int) -> NDArray[np.int16]:
    """(n_domains,) class that a modality shows for each domain; equal classes look alike."""
    index = np.arange(n_domains, dtype=np.int16)
    if sees == "all":
        return index
    if sees == "none":
        return np.zeros_like(index)
    return index // 2 if sees == "pairs" else (index + 1) // 2


@dataclass(frozen=True)
class CountModel:
    """Negative binomial counts: domain programmes, smooth gradients, depth, background.

    Attributes
    ----------
    features
        (g,) names.
    base
        (g,) log abundance.
    programmes
        (classes, g) log fold change of each class that the modality tells apart.
    loadings
        (4, g) log fold change along each gradient.
    batches
        (sections, g) log fold change of each section.
    classes
        (n_domains,) class of each domain.
    background
        (g,) profile of the unspecific share, summing to 1.
    noise
        Share of the counts that follow ``background``.
    dispersion
        Size r: variance = mean + mean^2 / r.
    dropout
        Probability that a count is lost.
    depth, depth_variation
        Median counts per spot, and the standard deviation of their logarithm.
    kind
        (g,) ``"housekeeping"``, ``"marker"`` or ``"other"``.
    """

    features: NDArray[Any]
    base: Floats
    programmes: Floats
    loadings: Floats
    batches: Floats
    classes: NDArray[np.int16]
    background: Floats
    noise: float
    dispersion: float
    dropout: float
    depth: float
    depth_variation: float
    kind: NDArray[Any]

    def expected(
        self, section: int, domains: NDArray[np.int16], gradients: Floats, depths: Floats
    ) -> NDArray[np.float32]:
        """(n, g) mean counts of spots in a section, dropout included."""
        log = (gradients.astype(np.float32)) @ self.loadings.astype(np.float32)
        log += (self.programmes + self.base + self.batches[section]).astype(np.float32)[
            self.classes[domains]
        ]
        mean = np.exp(log, out=log)
        mean *= ((1 - self.noise) / mean.sum(axis=1, keepdims=True)).astype(np.float32)
        mean += (self.noise * self.background).astype(np.float32)
        mean *= (depths * (1 - self.dropout)).astype(np.float32)[:, None]
        return mean

    def draw_depths(self, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """(n,) expected counts per spot."""
        return rng.lognormal(np.log(self.depth), self.depth_variation, count).astype(np.float32)

    def draw(
        self,
        section: int,
        domains: NDArray[np.int16],
        gradients: Callable[[slice], Floats],
        depths: Floats,
        seed: tuple[int, ...],
        on_chunk: Callable[[float], None],
    ) -> Any:
        """Draw (n, g) counts, CSR int32, a few million values at a time.

        Each chunk has random numbers of its own, so that memory stays flat and
        the counts depend on the seed alone.
        """
        from scipy import sparse

        n, g = len(domains), len(self.features)
        rows = max(1, _VALUES_AT_A_TIME // g)
        data: list[NDArray[np.int32]] = []
        columns: list[NDArray[np.int32]] = []
        per_row = np.zeros(n, dtype=np.int64)
        for low in range(0, n, rows):
            part = slice(low, min(low + rows, n))
            rng = stream(*seed, low // rows)
            mean = self.expected(section, domains[part], gradients(part), depths[part])
            counts = self._noisy(mean, rng)
            filled = counts > 0
            per_row[part] = np.count_nonzero(filled, axis=1)
            columns.append(np.nonzero(filled)[1].astype(np.int32))
            data.append(counts[filled].astype(np.int32))
            on_chunk(part.stop / n)
        pointers = np.concatenate([[0], np.cumsum(per_row)])
        values = _join(data)
        indices = _join(columns)
        if pointers[-1] < 2**31:
            pointers = pointers.astype(np.int32)
        return sparse.csr_matrix((values, indices, pointers), shape=(n, g))

    def _noisy(self, mean: NDArray[np.float32], rng: np.random.Generator) -> NDArray[Any]:
        rate = rng.standard_gamma(self.dispersion, mean.shape, dtype=np.float32)
        rate *= mean / np.float32(self.dispersion * (1 - self.dropout))
        counts = rng.poisson(rate)
        if self.dropout > 0:
            counts[rng.random(mean.shape, dtype=np.float32) < self.dropout] = 0
        return counts


def rna_model(params: SimulationParams, tissue: Tissue) -> CountModel:
    """Draw the genes' programmes; the unspecific share is the tissue's mean profile."""
    rng = stream(params.seed, 2)
    g = params.n_genes
    classes = visible_classes(params.rna_sees, params.n_domains)
    quiet = np.arange(g) < round(params.housekeeping * g)
    base = rng.normal(0, 1.2, g)
    base[quiet] = rng.normal(1.5, 0.5, int(quiet.sum()))
    shape = (int(classes.max()) + 1, g)
    markers = (rng.random(shape) < 0.35) & ~quiet
    programmes = rng.normal(0, 1, shape) * markers * params.rna_effect
    if params.rna_sees == "none":
        programmes[:] = 0
    loadings = rng.normal(0, params.rna_gradient, (4, g)) * ~quiet
    return CountModel(
        features=_names("Gene", g),
        base=base,
        programmes=programmes,
        loadings=loadings,
        batches=_batches(rng, params, g),
        classes=classes,
        background=_mean_profile(params, tissue, base + programmes[classes]),
        noise=params.rna_noise,
        dispersion=params.rna_dispersion,
        dropout=params.rna_dropout,
        depth=params.rna_depth,
        depth_variation=params.depth_variation,
        kind=_kinds(quiet, programmes),
    )


def protein_model(params: SimulationParams) -> CountModel:
    """Draw the proteins' programmes; the unspecific share is each antibody's own background."""
    rng = stream(params.seed, 3)
    g = params.n_proteins
    classes = visible_classes(params.protein_sees, params.n_domains)
    base = rng.normal(0, 0.7, g)
    shape = (int(classes.max()) + 1, g)
    programmes = rng.normal(0, 1, shape) * (rng.random(shape) < 0.5) * params.protein_effect
    if params.protein_sees == "none":
        programmes[:] = 0
    background = np.exp(rng.normal(0, 0.7, g))
    return CountModel(
        features=_names("Protein", g),
        base=base,
        programmes=programmes,
        loadings=rng.normal(0, 0.1, (4, g)),
        batches=_batches(rng, params, g),
        classes=classes,
        background=background / background.sum(),
        noise=params.protein_noise,
        dispersion=params.protein_dispersion,
        dropout=0.0,
        depth=params.protein_depth,
        depth_variation=params.depth_variation,
        kind=_kinds(np.zeros(g, dtype=bool), programmes),
    )


def _names(word: str, count: int) -> NDArray[Any]:
    width = len(str(count))
    return np.array([f"{word}{i + 1:0{width}d}" for i in range(count)], dtype=object)


def _batches(rng: np.random.Generator, params: SimulationParams, g: int) -> Floats:
    batches = rng.normal(0, params.batch, (params.n_sections, g))
    batches[0] = 0
    return batches


def _mean_profile(params: SimulationParams, tissue: Tissue, log: Floats) -> Floats:
    """Return the mean profile over the domains, weighted by their share of the tissue."""
    rng = stream(params.seed, 4)
    points = rng.uniform(-1, 1, (4000, 2)) * tissue.size
    domains = tissue.domains(points[tissue.inside(points)])
    share = np.bincount(domains, minlength=params.n_domains) + 1e-9
    profiles = np.exp(log)
    profiles /= profiles.sum(axis=1, keepdims=True)
    mean = (share / share.sum()) @ profiles
    return np.asarray(mean / mean.sum())


def _kinds(quiet: NDArray[np.bool_], programmes: Floats) -> NDArray[Any]:
    kinds = np.where(np.abs(programmes).max(axis=0) > 0, "marker", "other").astype(object)
    kinds[quiet] = "housekeeping"
    return kinds


def _join(parts: list[NDArray[np.int32]]) -> NDArray[np.int32]:
    """Concatenate and let go of each part as it is copied, so that the peak stays low."""
    out = np.empty(sum(len(p) for p in parts), dtype=np.int32)
    low = 0
    parts.reverse()
    while parts:
        part = parts.pop()
        out[low : low + len(part)] = part
        low += len(part)
    return out
