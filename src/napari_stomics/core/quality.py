"""The judgement of an alignment: figures with their protocol, their baseline and their noise.

Micrometres and (x, y) throughout.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.inputs import Constraint, LandmarkPairs, Spots
from napari_stomics.core.plans import TransportPlan
from napari_stomics.core.results import Array, median_of

Better = Literal["higher", "lower", ""]
NAN = float("nan")


@dataclass(frozen=True)
class QualityInputs:
    """A transport plan and what it can be judged by.

    Attributes
    ----------
    plan
        The plan.
    name
        Name of the plan in the study.
    source, target
        Spots of the two sections with the features to compare; ``labels`` as
        strings, ``""`` where there is none, or None.
    label_name
        Name of the labels.
    source_regions, target_regions
        (n,), (m,) a second set of labels, for agreement in both; or None.
    landmarks
        Landmark pairs between the two sections; those that the plan left out
        judge it.
    constraints
        What the user said about the match of regions.
    """

    plan: TransportPlan
    name: str
    source: Spots
    target: Spots
    label_name: str = ""
    source_regions: NDArray[Any] | None = None
    target_regions: NDArray[Any] | None = None
    landmarks: LandmarkPairs | None = None
    constraints: tuple[Constraint, ...] = ()


@dataclass(frozen=True)
class QualityFigure:
    """One figure of an alignment.

    Attributes
    ----------
    name, title
        Name for programs and for people.
    value
        The figure.
    unit
        Unit, ``""`` for shares and correlations.
    better
        Which way is better; ``""`` where the figure only describes.
    baseline
        The same figure of the linear pose alone, each spot matched to its
        nearest: what transport added is the difference.
    chance
        What chance gives, and ``chance_sd`` its standard deviation.
    ceiling
        The best that can be reached.
    noise
        Standard error of ``value``.
    gain_noise
        Standard error of the difference to the baseline, which is smaller than
        that of either where both err on the same spots.
    meaning
        What the figure says, for a reader who sees it for the first time.
    protocol
        On what it was measured, and how.

    Numbers that are not known are NaN.
    """

    name: str
    title: str
    value: float
    unit: str = ""
    better: Better = ""
    baseline: float = NAN
    chance: float = NAN
    chance_sd: float = NAN
    ceiling: float = NAN
    noise: float = NAN
    gain_noise: float = NAN
    meaning: str = ""
    protocol: str = ""

    @property
    def gain(self) -> float:
        """How much better than the baseline, positive is better; NaN where that has no meaning."""
        if not self.better:
            return NAN
        return (self.value - self.baseline) * (1 if self.better == "higher" else -1)


@dataclass(frozen=True)
class Remark:
    """One sentence of the verdict on an alignment.

    Attributes
    ----------
    level
        ``good``, ``note`` or ``warning``.
    text
        The sentence.
    """

    level: Literal["good", "note", "warning"]
    text: str


@dataclass(frozen=True)
class AlignmentQuality:
    """How far an alignment can be trusted.

    Attributes
    ----------
    source, target
        Section names.
    plan
        Name of the plan that is judged.
    source_ids
        (n,) spot identifiers.
    figures
        The figures, those that could be measured.
    remarks
        The verdict in plain words, the most pressing first.
    label_agreement
        (n,) share of each source spot's labelled mass that lands on its own
        label; NaN where there is none.
    label_agreement_pose
        (n,) the same with each spot matched to its nearest under the pose alone.
    expression_agreement
        (n,) correlation, over the features that the plan has not seen, of each
        source spot with the mean of its partners; NaN where there is none.
    round_trip
        (n,) um between each source spot and where its mass comes back to.
    label_name
        Name of the labels.
    genes
        Names of the features that judged and had no part in the plan.
    gene_correlations
        Correlation of each of them with the mean of the partners, over source spots.
    """

    kind: ClassVar[str] = "alignment_quality"

    source: str
    target: str
    plan: str
    source_ids: Array
    figures: tuple[QualityFigure, ...]
    remarks: tuple[Remark, ...]
    label_agreement: Array
    label_agreement_pose: Array
    expression_agreement: Array
    round_trip: Array
    label_name: str = ""
    genes: Array = field(default_factory=lambda: np.zeros(0, object))
    gene_correlations: Array = field(default_factory=lambda: np.zeros(0))
    converged: bool = True

    def figure(self, name: str) -> QualityFigure | None:
        """Return a figure by its name, None if it could not be measured."""
        return next((f for f in self.figures if f.name == name), None)

    def summary(self) -> dict[str, Any]:
        """Key figures in plain JSON types."""
        out: dict[str, Any] = {"source": self.source, "target": self.target, "plan": self.plan}
        for figure in self.figures:
            name = f"{figure.name}_{figure.unit}" if figure.unit else figure.name
            out[name] = float(figure.value)
            if np.isfinite(figure.baseline):
                out[f"{figure.name}_pose_alone"] = float(figure.baseline)
        out["median_label_agreement"] = median_of(self.label_agreement)
        out["verdict"] = [f"{remark.level}: {remark.text}" for remark in self.remarks]
        return out
