"""Markers of domains: the features that set each of them apart, with effect and test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.fusion import Block

Array = NDArray[Any]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class MarkerInputs:
    """Domains and one modality of the same spots.

    Attributes
    ----------
    sections, of
        Names of the sections, and the (n,) index of each spot's section.
    ids
        (n,) names of the spots, unique within a section.
    coordinates
        (n, 2) centres (x, y) in micrometres, in each section's own frame.
    label_name, labels
        The partition: its name, and (n,) names of domains, ``""`` where a spot has none.
    block
        The modality.
    """

    sections: tuple[str, ...]
    of: NDArray[np.intp]
    ids: Array
    coordinates: Floats
    label_name: str
    labels: Array
    block: Block


@dataclass(frozen=True)
class DomainMarkers:
    """Features that are higher in one domain than in all others, the surest first.

    Attributes
    ----------
    domain
        Name of the domain.
    spots
        How many spots it has.
    features
        (m,) names.
    effect
        (m,) log2 fold change to all other spots, or what :attr:`Markers.effect` says.
    score
        (m,) statistic of the test, by which they are ranked.
    p, p_adjusted
        (m,) p value, and the same after Benjamini and Hochberg over all features.
    morans_i, gearys_c
        (m,) spatial autocorrelation of each over the sections.
    """

    domain: str
    spots: int
    features: Array
    effect: Floats
    score: Floats
    p: Floats
    p_adjusted: Floats
    morans_i: Floats
    gearys_c: Floats

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True)
class Markers:
    """Markers of every domain in one modality.

    Attributes
    ----------
    section
        Name of the (first) section.
    modality
        Name of the modality.
    label_name
        Name of the partition.
    test
        The test, as scanpy names it.
    effect
        What the effect is, in words.
    protocol
        How it was measured.
    tables
        Markers per domain; domains too small for a test are missing.
    sections
        Names of all sections.
    """

    kind: ClassVar[str] = "markers"

    section: str
    modality: str
    label_name: str
    test: str
    effect: str
    protocol: str
    tables: tuple[DomainMarkers, ...]
    sections: tuple[str, ...] = ()
    converged: bool = True

    def __post_init__(self) -> None:
        if not self.sections:
            object.__setattr__(self, "sections", (self.section,))

    @property
    def features(self) -> tuple[str, ...]:
        """All features that mark a domain, each once."""
        return self.top(max((len(table) for table in self.tables), default=0))

    def of_domain(self, name: str) -> DomainMarkers | None:
        """Return the markers of a domain, None if it has none."""
        return next((table for table in self.tables if table.domain == name), None)

    def top(self, count: int = 5) -> tuple[str, ...]:
        """The first few features of every domain, each once."""
        found = (str(f) for table in self.tables for f in table.features[:count])
        return tuple(dict.fromkeys(found))

    def median_autocorrelation(self, count: int = 5) -> tuple[float, float]:
        """Median Moran's I and Geary's C over the first few markers of every domain."""
        moran = [v for table in self.tables for v in table.morans_i[:count]]
        geary = [v for table in self.tables for v in table.gearys_c[:count]]
        known = np.isfinite(moran)
        if not known.any():
            return float("nan"), float("nan")
        return float(np.median(np.array(moran)[known])), float(np.median(np.array(geary)[known]))

    def summary(self) -> dict[str, Any]:
        """Key figures in plain JSON types."""
        moran, geary = self.median_autocorrelation()
        return {
            "section": self.section,
            "labels": self.label_name,
            "modality": self.modality,
            "test": self.test,
            "markers": {t.domain: [str(f) for f in t.features[:3]] for t in self.tables},
            "median_morans_i_top5": moran,
            "median_gearys_c_top5": geary,
        }
