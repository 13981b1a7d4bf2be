"""The translation-integration plane of Chelebian, Avenel and Waehlby 2025.

What a feature says about an annotation, and what another modality says already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.results import Array, median_of

Floats = NDArray[np.floating[Any]]

QUADRANTS = ("translation", "integration", "noise", "overestimation")
"""Relevant and shared; relevant and not shared; neither; shared and not relevant."""

QUADRANT_MEANINGS = {
    "translation": "relevant, and expression says it too: morphology can stand for expression",
    "integration": "relevant, and not in the expression: adds something when both are fused",
    "noise": "neither relevant nor shared, beyond what chance gives",
    "overestimation": "shared with expression, but irrelevant to the annotation",
}


@dataclass(frozen=True)
class PlaneInputs:
    """Two modalities of the same spots and what they are to be relevant to.

    Attributes
    ----------
    section
        Name of the section.
    ids
        (n,) names of the spots.
    coordinates
        (n, 2) centres (x, y) in micrometres.
    pitch
        Median distance to the nearest neighbour, micrometres.
    x, features, modality
        (n, f) features that are judged, their names, and the name of their modality.
    y, genes, other
        (n, g) matrix of the other modality, dense or CSR, raw; its names, and its name.
    kinds
        Kind of the one and of the other modality, see :data:`napari_stomics.core.fusion.KINDS`.
    labels
        (n,) annotation, ``""`` where there is none: those spots are left out.
    label_name
        Name of the annotation, or of the drawn region.
    usable
        (n,) spots whose features can be trusted.
    """

    section: str
    ids: Array
    coordinates: Floats
    pitch: float
    x: Any
    features: Array
    modality: str
    y: Any
    genes: Array
    other: str
    kinds: tuple[str, str]
    labels: Array
    label_name: str
    usable: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Gain:
    """Held-out information about the annotation, in bits per spot.

    Attributes
    ----------
    base, alone, both
        Information that the other modality, the judged one, and both together give about
        labels of spatial blocks that were held out: entropy of the labels less the log-loss.
    low, high
        95 % interval of ``both - base`` over resampled blocks.
    accuracy_base, accuracy_both
        Balanced accuracy on the held-out blocks.
    blocks
        How many blocks there are.
    protocol
        How it was measured.
    """

    base: float
    alone: float
    both: float
    low: float
    high: float
    accuracy_base: float
    accuracy_both: float
    blocks: int
    protocol: str = ""

    @property
    def value(self) -> float:
        """Bits per spot that the judged modality adds."""
        return self.both - self.base

    @property
    def helps(self) -> bool | None:
        """Whether it helps; None where the interval holds zero, or nothing was measured."""
        if not np.isfinite([self.low, self.high]).all() or self.low <= 0 <= self.high:
            return None
        return self.value > 0

    def sentence(self, modality: str, other: str) -> str:
        """Say in plain words whether the modality helps."""
        if not np.isfinite(self.value):
            return f"Whether {modality} helps could not be measured: {self.protocol}"
        figures = (
            f"{self.value:+.3f} bits per spot, 95 % interval {self.low:+.3f} to {self.high:+.3f}"
        )
        if self.helps is None:
            return f"{modality} does not help beyond {other} ({figures}: it includes zero)."
        if self.helps:
            return f"{modality} helps beyond {other} ({figures})."
        return f"{modality} does not help: {other} alone does better ({figures})."


@dataclass(frozen=True)
class MorphologyPlane:
    """Relevance of each feature against what it shares with another modality.

    Attributes
    ----------
    section, modality, other, label_name
        What was judged, against what, by what.
    label_entropy
        Entropy of the annotation, bits.
    features
        (f,) names.
    relevance
        (f,) mutual information with the annotation over its entropy.
    shared
        (f,) largest absolute Pearson correlation with a feature of the other modality.
    gene
        (f,) name of that feature, ``correlation`` (f,) with its sign.
    relevance_floor, shared_floor
        95th percentile for features without any spatial structure: permuted labels.
    relevance_null, shared_null
        (f,) 95th percentile for unrelated features as smooth as this one.
    relevance_z, shared_z
        (f,) standard deviations above the mean of that null.
    relevance_p, shared_p
        (f,) share of the null that reaches the value.
    quadrant
        (f,) one of :data:`QUADRANTS`, by the feature's own spatial null.
    moran
        (f,) Moran's I of the feature over its six nearest neighbours.
    spots
        How many spots took part.
    gain
        What the modality adds as a whole; None where it was not measured.
    """

    kind: ClassVar[str] = "plane"

    section: str
    modality: str
    other: str
    label_name: str
    label_entropy: float
    features: Array
    relevance: Array
    shared: Array
    gene: Array
    correlation: Array
    relevance_floor: float
    shared_floor: float
    relevance_null: Array
    shared_null: Array
    relevance_z: Array
    shared_z: Array
    relevance_p: Array
    shared_p: Array
    quadrant: Array
    moran: Array
    spots: int
    gain: Gain | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    converged: bool = True

    def count(self, quadrant: str) -> int:
        """How many features lie in a quadrant."""
        return int((self.quadrant == quadrant).sum())

    def of(self, quadrant: str) -> list[str]:
        """Names of the features of a quadrant, the most relevant first."""
        order = np.argsort(-self.relevance, kind="stable")
        return [str(self.features[i]) for i in order if self.quadrant[i] == quadrant]

    def verdict(self) -> str:
        """What the plane and the gain say, in plain words."""
        said = [
            f"{self.count(name)} of {len(self.features)} features: {name} "
            f"({QUADRANT_MEANINGS[name]})."
            for name in QUADRANTS
            if self.count(name)
        ]
        if self.gain is not None:
            said.append(self.gain.sentence(self.modality, self.other))
        return "\n".join(said)

    def summary(self) -> dict[str, Any]:
        """Key figures in plain JSON types."""
        out: dict[str, Any] = {
            "section": self.section,
            "modality": self.modality,
            "against": self.other,
            "annotation": self.label_name,
            "label_entropy_bits": float(self.label_entropy),
            "features": len(self.features),
            "spots": int(self.spots),
            **{name: self.count(name) for name in QUADRANTS},
            "median_relevance": median_of(self.relevance),
            "relevance_floor": float(self.relevance_floor),
            "median_relevance_null": median_of(self.relevance_null),
            "median_shared": median_of(self.shared),
            "shared_floor": float(self.shared_floor),
            "median_shared_null": median_of(self.shared_null),
        }
        if self.gain is not None:
            out |= {
                "gain_bits": float(self.gain.value),
                "gain_low": float(self.gain.low),
                "gain_high": float(self.gain.high),
                "verdict": self.gain.sentence(self.modality, self.other),
            }
        return out
