"""Stacks of serial sections: what their alignment takes and what it returns.

Micrometres and (x, y) throughout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from napari_stomics.core.inputs import LandmarkPairs, SpotPair, Spots
from napari_stomics.core.results import Array, Registration, median_of
from napari_stomics.core.transforms import Affine, Transform

NAN = float("nan")


@dataclass(frozen=True)
class StackInputs:
    """Serial sections with features that can be compared.

    Attributes
    ----------
    sections
        Their spots, in the order in which they lie in the stack.
    reference
        Name of the section whose frame the others are carried into.
    heights
        (s,) um; NaN where they are not known.
    initial
        Maps that are known beforehand, by (source, target).
    landmarks
        Landmark pairs, by (source, target).
    """

    sections: tuple[Spots, ...]
    reference: str
    heights: Array
    initial: Mapping[tuple[str, str], Transform] = field(default_factory=dict)
    landmarks: Mapping[tuple[str, str], LandmarkPairs] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sections in their order."""
        return tuple(spots.section for spots in self.sections)

    def pair(self, source: int, target: int) -> SpotPair:
        """Two of the sections, to be aligned."""
        a, b = self.sections[source], self.sections[target]
        key = (a.section, b.section)
        return SpotPair(a, b, self.initial.get(key), self.landmarks.get(key))


@dataclass(frozen=True)
class StackEdge:
    """The alignment of two sections of a stack.

    Attributes
    ----------
    source, target
        Names of the sections.
    transform
        Rigid map from source to target that the alignment implies, um.
    weight
        How far it was trusted beforehand, in [0, 1]: by overlap, margin and distance.
    kept
        Weight that the joint solution left it, in [0, 1]: near 0 where all
        others contradict it.
    residual
        Root mean square distance over the spots between where it carries them
        and where the joint solution does, um.
    margin
        Lead of its pose over the runner-up; NaN where none was searched.
    overlap
        Share of the two sections that has a counterpart.
    converged
        Whether its solver did.
    label_accuracy
        Share of its mass between labelled spots that joins equal labels; NaN
        without labels.
    """

    source: str
    target: str
    transform: Affine
    weight: float
    kept: float = 1.0
    residual: float = NAN
    margin: float = NAN
    overlap: float = 1.0
    converged: bool = True
    label_accuracy: float = NAN


@dataclass(frozen=True)
class Stack:
    """Serial sections in one frame.

    Attributes
    ----------
    reference
        The section whose frame it is.
    sections
        Names in the order of the stack.
    heights
        (s,) um; NaN where they are not known.
    transforms
        Map of each section to the reference, um.
    edges
        The alignments of pairs that it rests on.
    loops
        (k,) um: by how far three alignments that lead round in a circle miss the
        start, root mean square over the spots; each with the names of its
        sections in ``loop_names``.
    drift
        (s,) um: how far chaining the neighbours alone would put each section
        from where the joint solution puts it.
    uncertainty
        (s,) um: root mean square disagreement of each section's alignments with
        the joint solution, weighted by trust; NaN where only one holds it.
    """

    kind: ClassVar[str] = "stack"

    reference: str
    sections: tuple[str, ...]
    heights: Array
    transforms: tuple[Transform, ...]
    edges: tuple[StackEdge, ...]
    loops: Array
    loop_names: tuple[tuple[str, str, str], ...]
    drift: Array
    uncertainty: Array
    converged: bool = True

    def transform(self, section: str) -> Transform:
        """Map of a section to the reference, um."""
        return self.transforms[self.sections.index(section)]

    @property
    def registrations(self) -> tuple[Registration, ...]:
        """The map of each section but the reference, as a registration."""
        out = []
        for name, transform in zip(self.sections, self.transforms, strict=True):
            if name == self.reference:
                continue
            own = [e for e in self.edges if name in (e.source, e.target)]
            margins = [e.margin for e in own if np.isfinite(e.margin)]
            out.append(
                Registration(
                    source=name,
                    target=self.reference,
                    transform=transform,
                    model="rigid" if isinstance(transform, Affine) else "field",
                    driver="plan",
                    margin=max(margins) if margins else NAN,
                    converged=self.converged,
                )
            )
        return tuple(out)

    def summary(self) -> dict[str, Any]:
        """Key figures in plain JSON types; distances in micrometres."""
        rejected = [f"{e.source} → {e.target}" for e in self.edges if e.kept < 0.1]
        accuracy = np.array([e.label_accuracy for e in self.edges])
        out: dict[str, Any] = {
            "reference": self.reference,
            "sections": list(self.sections),
            "alignments": len(self.edges),
            "median_loop_error_um": median_of(np.asarray(self.loops, float)),
            "largest_drift_of_the_chain_um": float(np.nanmax(self.drift)),
            "median_uncertainty_um": median_of(np.asarray(self.uncertainty, float)),
            "not_trusted": rejected,
            "mirrored": [
                name
                for name, t in zip(self.sections, self.transforms, strict=True)
                if np.linalg.det(t.linear_part().matrix[:2, :2]) < 0
            ],
            "converged": bool(self.converged),
        }
        if np.isfinite(accuracy).any():
            out["median_label_accuracy"] = median_of(accuracy)
        return out


@dataclass(frozen=True)
class CentreSlice:
    """The consensus of several sections on the spots of one of them.

    Attributes
    ----------
    section
        The section whose spots and distances it has.
    sections
        The sections that it was made from, in the order of ``weights``.
    ids
        (n,) spots.
    features
        (g,) names.
    factors
        (n, k) non-negative weights of each spot (W).
    loadings
        (k, g) non-negative profiles of the factors (H); the consensus
        expression is their product, on the scale of counts.
    weights
        (s,) weight of each section.
    mass
        (n, s) mass that each of its spots sends to each section, over what was asked.
    entropy
        (n, s) entropy of each spot's matches in each section, in [0, 1].
    objective
        Value of the objective per round.
    label_accuracy
        (s,) share of each plan's mass between labelled spots that joins equal
        labels; NaN without labels.
    """

    kind: ClassVar[str] = "centre_slice"

    section: str
    sections: tuple[str, ...]
    ids: Array
    features: Array
    factors: Array
    loadings: Array
    weights: Array
    mass: Array
    entropy: Array
    objective: Array
    label_accuracy: Array
    converged: bool = True
    reason: str = ""

    @property
    def expression(self) -> Array:
        """(n, g) consensus expression."""
        return np.asarray(self.factors @ self.loadings)

    def summary(self) -> dict[str, Any]:
        """Key figures in plain JSON types."""
        out: dict[str, Any] = {
            "section": self.section,
            "sections": list(self.sections),
            "spots": len(self.ids),
            "features": len(self.features),
            "factors": int(self.factors.shape[1]),
            "rounds": len(self.objective),
            "objective": float(self.objective[-1]) if len(self.objective) else None,
            "median_entropy": median_of(np.asarray(self.entropy)),
            "converged": bool(self.converged),
            "reason": self.reason,
        }
        if np.isfinite(self.label_accuracy).any():
            out["median_label_accuracy"] = median_of(np.asarray(self.label_accuracy))
        return out
