"""What fusion takes and returns: modalities of one or several sections, and a joint embedding.

Rows are spots (or cells): all spots of the first section, then all of the
next. A modality that was not measured on a spot lacks that row; the spot keeps
its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.inputs import HistologySpots
from napari_stomics.core.results import median_of
from napari_stomics.core.transforms import Affine

Array = NDArray[Any]
Floats = NDArray[np.floating[Any]]

KINDS = ("rna", "protein", "chromatin", "metabolite", "image", "embedding")
"""Kinds of modality; each has a usual preparation. Other names are treated as ``rna``."""


@dataclass(frozen=True)
class Block:
    """One modality of all sections that are fused together.

    Attributes
    ----------
    name
        Name of the modality, as the user sees it.
    kind
        One of :data:`KINDS`: says how it is prepared.
    x
        (m, g) matrix, dense or CSR: raw counts or intensities of omics, features of an
        image, coordinates of an embedding.
    features
        (g,) names; the features that all sections share.
    rows
        (m,) increasing rows of the fusion's spots on which it was measured.
    """

    name: str
    kind: str
    x: Any
    features: Array
    rows: NDArray[np.intp]


@dataclass(frozen=True)
class FusionInputs:
    """Modalities of one section, or of several that are fused together.

    Attributes
    ----------
    sections
        Names of the sections.
    of
        (n,) index of each spot's section.
    ids
        (n,) names of the spots, unique within a section.
    coordinates
        (n, 2) centres (x, y) in micrometres, in each section's own frame.
    pitches
        Median distance to the nearest neighbour per section, micrometres.
    blocks
        The modalities.
    histology
        Spots on the H&E image, per section, where image features are to be a
        modality too; empty without. Sections may lack an image (None).
    placed
        (n, 2) centres in one common frame, micrometres, where the sections are
        registered; None where they are not.
    """

    sections: tuple[str, ...]
    of: NDArray[np.intp]
    ids: Array
    coordinates: Floats
    pitches: tuple[float, ...]
    blocks: tuple[Block, ...]
    histology: tuple[HistologySpots | None, ...] = ()
    placed: Floats | None = None

    @property
    def n(self) -> int:
        """Number of spots of all sections."""
        return len(self.ids)


@dataclass(frozen=True)
class EmbeddingInputs:
    """An embedding to be clustered.

    Attributes
    ----------
    section
        Name of the (first) section.
    ids
        (n,) names of the spots.
    values
        (n, k) embedding.
    coordinates
        (n, 2) centres (x, y) in micrometres, in each section's own frame.
    labels
        (n,) annotation to compare with, ``""`` where there is none; None without one.
    sections, of
        Names of all sections, and the index of each spot's section.
    name
        Name under which the embedding is stored.
    """

    section: str
    ids: Array
    values: Floats
    coordinates: Floats
    labels: Array | None = None
    sections: tuple[str, ...] = ()
    of: NDArray[np.intp] = None  # type: ignore[assignment]
    name: str = ""

    def __post_init__(self) -> None:
        _default_sections(self)


@dataclass(frozen=True)
class SpotsOnImage:
    """Spots of one section, with where they lie on its image, without any measurement.

    Attributes
    ----------
    section
        Name of the section.
    ids
        (n,) names of the spots.
    coordinates
        (n, 2) centres (x, y) in micrometres.
    diameter
        Median diameter of the spots in micrometres.
    to_um
        Carries (x, y) pixels of the image's finest level to micrometres; None
        without an image.
    """

    section: str
    ids: Array
    coordinates: Floats
    diameter: float
    to_um: Affine | None = None


@dataclass(frozen=True)
class Loadings:
    """What the factors of an embedding are made of, in one modality.

    Attributes
    ----------
    features
        (g,) names.
    values
        (k, g) loading of each feature on each factor; non-negative in a
        non-negative factorisation.
    """

    features: Array
    values: Floats

    def top(self, factor: int, count: int = 10) -> list[tuple[str, float]]:
        """Features of largest loading on a factor, the largest first."""
        row = self.values[factor]
        order = np.argsort(-row, kind="stable")[:count]
        return [(str(self.features[i]), float(row[i])) for i in order]


@dataclass(frozen=True)
class Embedding:
    """A joint embedding of the spots of one or several sections.

    Attributes
    ----------
    section
        Name of the (first) section.
    ids
        (n,) names of the spots.
    values
        (n, k) embedding.
    modalities
        Names of the fused modalities.
    disagreement
        (n,) share of each spot's neighbours that the modalities do not share,
        in [0, 1]: high where they tell different stories. NaN with one modality.
    explained_variance
        (k,) share of the variance of the fused space per component; empty where
        the method has no such measure.
    converged
        Whether the computation reached its stopping rule.
    sections, of
        Names of all sections, and the index of each spot's section.
    weights
        Weight of each modality, summing to 1; empty where the method has none.
    spot_weights
        (n, m) weight of each modality at each spot, rows summing to 1 over
        ``modalities``; (n, 0) where the method has none.
    loadings
        Per modality the loadings of the factors, where the components are factors.
    objective
        Objective per iteration or epoch; empty where nothing is iterated.
    settings
        What an automatic choice came to (steps, genes, components ...), plain JSON types.
    """

    kind: ClassVar[str] = "embedding"

    section: str
    ids: Array
    values: Array
    modalities: tuple[str, ...]
    disagreement: Array
    explained_variance: Array
    converged: bool = True
    sections: tuple[str, ...] = ()
    of: NDArray[np.intp] = None  # type: ignore[assignment]
    weights: Mapping[str, float] = field(default_factory=dict)
    spot_weights: Any = None
    loadings: Mapping[str, Loadings] = field(default_factory=dict)
    objective: tuple[float, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _default_sections(self)
        if self.spot_weights is None:
            object.__setattr__(self, "spot_weights", np.zeros((len(self.ids), 0), np.float32))

    def summary(self) -> dict[str, Any]:
        """Key figures in plain JSON types."""
        out: dict[str, Any] = {
            "section": self.section,
            "spots": int(self.values.shape[0]),
            "components": int(self.values.shape[1]),
            "modalities": list(self.modalities),
            "explained_variance": float(np.sum(self.explained_variance)),
            "median_disagreement": median_of(self.disagreement),
        }
        if len(self.sections) > 1:
            out["sections"] = list(self.sections)
        if self.weights:
            out["weights"] = {name: float(w) for name, w in self.weights.items()}
        if self.objective:
            out["iterations"] = len(self.objective)
            out["objective"] = float(self.objective[-1])
        return out | dict(self.settings)


@dataclass(frozen=True)
class DomainCurve:
    """How the number of domains was judged.

    Attributes
    ----------
    counts
        (c,) numbers of domains tried.
    bic
        (c,) Bayesian information criterion of the mixture: lower is better.
    stability
        (c,) median pairwise adjusted Rand index of reruns, higher is better.
    proposed
        The number proposed.
    """

    counts: NDArray[np.intp]
    bic: Floats
    stability: Floats
    proposed: int


@dataclass(frozen=True)
class Domains:
    """Spatial domains with the certainty of each spot.

    Attributes
    ----------
    section
        Name of the (first) section.
    ids
        (n,) names of the spots.
    labels
        (n,) domain names.
    names
        Names of the domains, in the order of the columns of ``probabilities``.
    probabilities
        (n, k) posterior of each domain.
    entropy
        (n,) entropy of the posterior over ``log(k)``, in [0, 1].
    stability
        (n,) share of runs under other seeds and neighbouring settings that agree
        with the label, in [0, 1]; NaN of a single run.
    ari, nmi
        Agreement with the annotation; NaN without one.
    converged
        Whether the computation reached its stopping rule.
    sections, of
        Names of all sections, and the index of each spot's section.
    curve
        How the number of domains was chosen; None where it was given.
    rerun_ari
        Adjusted Rand index of what two halves of the runs come to, the median over
        several divisions; NaN where there are too few runs.
    embedding
        Name of the embedding that was clustered.
    colours
        Colours (#rrggbb) by name that somebody chose; the others are chosen when stored.
    """

    kind: ClassVar[str] = "domains"

    section: str
    ids: Array
    labels: Array
    names: tuple[str, ...]
    probabilities: Array
    entropy: Array
    stability: Array
    ari: float = float("nan")
    nmi: float = float("nan")
    converged: bool = True
    sections: tuple[str, ...] = ()
    of: NDArray[np.intp] = None  # type: ignore[assignment]
    curve: DomainCurve | None = None
    rerun_ari: float = float("nan")
    embedding: str = ""
    colours: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _default_sections(self)

    def summary(self) -> dict[str, Any]:
        """Key figures in plain JSON types."""
        names, counts = np.unique(self.labels, return_counts=True)
        out: dict[str, Any] = {
            "section": self.section,
            "sizes": {str(n): int(c) for n, c in zip(names, counts, strict=True)},
            "median_entropy": median_of(self.entropy),
            "median_stability": median_of(self.stability),
            "rerun_ari": float(self.rerun_ari),
            "ari": float(self.ari),
            "nmi": float(self.nmi),
            "converged": bool(self.converged),
        }
        if len(self.sections) > 1:
            out["sections"] = list(self.sections)
        if self.curve is not None:
            out["proposed"] = int(self.curve.proposed)
        return out


@dataclass(frozen=True)
class DomainInputs:
    """Domains to be edited, with what they were found from.

    Attributes
    ----------
    domains
        The domains.
    values
        (n, k) embedding that was clustered; None where it is no longer stored.
    coordinates
        (n, 2) centres (x, y) in micrometres, in each section's own frame.
    labels
        (n,) annotation to compare with, ``""`` where there is none; None without one.
    """

    domains: Domains
    values: Floats | None
    coordinates: Floats
    labels: Array | None = None


def _default_sections(made: Any) -> None:
    """One section where none is said."""
    if not made.sections:
        object.__setattr__(made, "sections", (made.section,))
    if made.of is None:
        object.__setattr__(made, "of", np.zeros(len(made.ids), np.intp))
