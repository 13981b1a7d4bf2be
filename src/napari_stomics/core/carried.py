"""Values carried across sections, along a plan or by the area in common: inputs and results.

Spatial coordinates are (x, y) in micrometres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from napari_stomics.core.inputs import Floats, Spots
from napari_stomics.core.results import Array, median_of
from napari_stomics.core.transforms import Transform

SEEN, HELD_OUT, UNKNOWN = "seen", "held out", "unknown"
"""Whether a plan was made by comparing a feature; unknown where it compared an
embedding, for which nobody can tell, and for annotations."""


@dataclass(frozen=True)
class ValueTransferInputs:
    """A transport plan and the numbers that it carries.

    Attributes
    ----------
    source, target
        Section that gives and section that receives, whichever way the plan was solved.
    plan
        Sparse (n, m) mass from each giving to each receiving spot.
    coordinates
        (n, 2) giving spots (x, y) um.
    target_ids
        (m,) receiving spots.
    asked
        (m,) mass that each receiving spot was asked to take.
    spots
        The giving spots with their raw matrix; None to carry columns alone.
    measured
        The receiving spots with theirs, where the modality was measured there.
    genes
        Features to carry; the most variable ones where it is empty.
    columns
        (n,) numbers by name, NaN where there is none.
    measured_columns
        (m,) numbers of the receiving section by name, of those that it has.
    plan_features
        Features that the plan was made from; None where that cannot be told.
    """

    source: str
    target: str
    plan: Any
    coordinates: Floats
    target_ids: Array
    asked: Floats
    spots: Spots | None
    measured: Spots | None
    genes: tuple[str, ...]
    columns: Mapping[str, Floats]
    measured_columns: Mapping[str, Floats]
    plan_features: frozenset[str] | None


@dataclass(frozen=True)
class AggregationInputs:
    """Pixels, spots or cells of two registered sections.

    Attributes
    ----------
    giving
        The elements with what is to be aggregated.
    receiving
        The elements that take it up; without features.
    giving_diameters, receiving_diameters
        (n,), (m,) diameters in micrometres.
    transform
        Carries the giving section's (x, y) um to the receiving section's.
    """

    giving: Spots
    receiving: Spots
    giving_diameters: Floats
    receiving_diameters: Floats
    transform: Transform


@dataclass(frozen=True)
class CarriedValues:
    """Genes and numeric columns of one section carried to another along a plan.

    Attributes
    ----------
    source, target
        Section that the values come from and section that receives them,
        whichever way the plan itself was solved.
    target_ids
        (m,) spots that receive.
    names
        (g,) genes and columns.
    values
        (m, g) mean over the partners of a spot, weighted by the mass that they
        send, on the scale that ``scales`` names; NaN where no mass arrives.
    sd
        (m, g) standard deviation among these partners, weighted alike.
    partners
        (m,) effective number of partners: the squared sum of their masses over
        the sum of the squares. NaN where no mass arrives.
    mass
        (m,) mass received over the mass asked for.
    measured
        (m, g) what was measured in the receiving section on the same scale, NaN
        where nothing was; None where none of the names was measured there.
    scales
        (g,) scale of each: ``log1p of counts per median depth`` or ``as measured``.
    status
        (g,) :data:`SEEN`, :data:`HELD_OUT` or :data:`UNKNOWN`: a correlation of a
        feature that the plan was made from says little about the plan.
    pearson, spearman
        (g,) correlation of carried and measured values over the spots that have
        both; NaN where there is nothing to compare with.
    """

    kind: ClassVar[str] = "carried_values"

    source: str
    target: str
    target_ids: Array
    names: Array
    values: Array
    sd: Array
    partners: Array
    mass: Array
    measured: Array | None
    scales: Array
    status: Array
    pearson: Array
    spearman: Array
    converged: bool = True

    @property
    def residual(self) -> Array | None:
        """(m, g) measured less carried; None where nothing was measured."""
        return None if self.measured is None else np.asarray(self.measured - self.values)

    def summary(self) -> dict[str, Any]:
        """Key figures in plain JSON types; correlations apart for what the plan had seen."""
        out: dict[str, Any] = {
            "source": self.source,
            "target": self.target,
            "carried": len(self.names),
            "scales": sorted(set(map(str, self.scales))),
            "spots_without_mass": int(np.isnan(self.partners).sum()),
            "median_partners": median_of(self.partners),
            "median_sd": median_of(self.sd),
        }
        for status in (HELD_OUT, SEEN, UNKNOWN):
            here = self.status == status
            if here.any():
                name = status.replace(" ", "_")
                out[f"features_{name}"] = int(here.sum())
                out[f"median_pearson_{name}"] = median_of(self.pearson[here])
                out[f"median_spearman_{name}"] = median_of(self.spearman[here])
        return out


@dataclass(frozen=True)
class Aggregation:
    """Values of one section on the spots of another, by the area that they share.

    Attributes
    ----------
    source, target
        Section that gives and section that receives.
    target_ids
        (m,) elements that receive.
    features
        (g,) names.
    modality
        What the values are, as in the giving section.
    values
        (m, g) dense or CSR. Sums: each giving element divided by area over the
        receiving ones and the outside. Means: weighted by the area in common. A row
        of zeros where nothing lies in it (``covered`` or ``contributors`` is 0).
    statistic
        ``sum`` or ``mean``.
    sd
        (m, g) standard deviation among the contributors of a mean, weighted by
        area; None for sums.
    covered
        (m,) share of the receiving element's area that giving elements cover, above 1
        where these overlap; NaN for points.
    contributors
        (m,) effective number of contributors: the squared sum of their areas in
        common over the sum of the squares; 0 without any.
    total, outside
        (g,) sum over all giving elements, and the part of it that falls outside the
        receiving ones; NaN for means. The columns of ``values`` make up the rest.
    outside_share
        Share of the giving elements' area that falls outside.
    shapes
        Shape of the giving and of the receiving elements.
    finer
        Whether the receiving elements are smaller than the giving ones: values are
        then repeated, and the resolution remains that of the giving section.
    """

    kind: ClassVar[str] = "aggregation"

    source: str
    target: str
    target_ids: Array
    features: Array
    modality: str
    values: Any
    statistic: str
    sd: Any
    covered: Array
    contributors: Array
    total: Array
    outside: Array
    outside_share: float
    shapes: tuple[str, str]
    finer: bool = False
    converged: bool = True

    @property
    def reached(self) -> Array:
        """(m,) whether anything lies in a receiving element."""
        return np.asarray(self.contributors > 0)

    def summary(self) -> dict[str, Any]:
        """Key figures in plain JSON types."""
        out: dict[str, Any] = {
            "source": self.source,
            "target": self.target,
            "modality": self.modality,
            "features": len(self.features),
            "statistic": self.statistic,
            "shapes": list(self.shapes),
            "spots": len(self.target_ids),
            "spots_not_covered": int((~self.reached).sum()),
            "median_covered": median_of(self.covered[self.reached]),
            "median_contributors": median_of(self.contributors[self.reached]),
            "outside_share": float(self.outside_share),
        }
        if self.statistic == "sum":
            out["total"] = float(np.sum(self.total))
            out["outside"] = float(np.sum(self.outside))
        if self.finer:
            out["resolution"] = f"that of {self.source}: values are repeated, not resolved"
        return out
