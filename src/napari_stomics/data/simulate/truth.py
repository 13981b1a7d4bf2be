"""What is known of a simulated study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.transforms import Affine, Transform, compose
from napari_stomics.data.schema import LandmarkRecord
from napari_stomics.data.simulate.fields import Tissue
from napari_stomics.data.simulate.omics import CountModel
from napari_stomics.data.simulate.params import SimulationParams

if TYPE_CHECKING:
    from napari_stomics.data.study import Study

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class SectionTruth:
    """What is known of one section; rows are the section's spots in their order.

    Attributes
    ----------
    name
        Name of the section.
    domains
        (n,) index of each spot's domain.
    specimen
        (n, 2) positions (x, y) um in the specimen's frame, before any deformation.
    partners
        (n,) row of the same place in the next section, -1 where it has none
        (and throughout the last section).
    depths
        Expected counts per spot, (n,), by modality.
    z
        Height in the stack in units of the fields' length.
    """

    name: str
    domains: NDArray[np.int16]
    specimen: Floats
    partners: NDArray[np.int64]
    depths: Mapping[str, NDArray[np.float32]]
    z: float


@dataclass(frozen=True)
class Truth:
    """What is known of a simulated study.

    Attributes
    ----------
    sections
        By name, in their order.
    steps
        Map of each section's frame (um) to the next one's.
    domain_names
        Name of each domain, as in the column ``domain``.
    classes
        By modality, (n_domains,) the class that it shows for each domain:
        domains of equal class look alike in that modality.
    informative
        By modality, whether it tells any two domains apart.
    overlap
        By pair of neighbouring sections, both ways round: the share of the
        first one's spots whose tissue the other holds too.
    landmarks
        Exact positions of the study's landmarks.
    tissue, models
        The specimen and the count models, to evaluate anywhere.
    """

    sections: Mapping[str, SectionTruth]
    steps: tuple[Transform, ...]
    domain_names: tuple[str, ...]
    classes: Mapping[str, NDArray[np.int16]]
    informative: Mapping[str, bool]
    overlap: Mapping[tuple[str, str], float]
    landmarks: tuple[LandmarkRecord, ...]
    tissue: Tissue
    models: Mapping[str, CountModel]

    def transform(self, source: str, target: str) -> Transform:
        """Return the true map from one section's micrometres to another's."""
        names = list(self.sections)
        first, last = self._index(source), self._index(target)
        if first > last:
            return self.transform(target, source).inverse()
        out: Transform = Affine.identity()
        for step in self.steps[first : min(last, len(names) - 1)]:
            out = compose(out, step)
        return out

    def expected(
        self, section: str, modality: str, rows: slice | NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """(n, features) mean counts, free of sampling noise; computed when asked for.

        Parameters
        ----------
        section, modality
            Which table.
        rows
            Spots to evaluate: all of them by default, dense, so ask for a part
            of a large section.

        Raises
        ------
        UserError
            If the modality was not simulated.
        """
        if modality not in self.models:
            raise UserError(
                f"No counts of {modality!r} were simulated.",
                f"Choose one of: {', '.join(self.models)}.",
            )
        index, rows = self._index(section), slice(None) if rows is None else rows
        known = self.sections[section]
        gradients = self.tissue.gradient_values(known.specimen[rows], known.z)
        depths = known.depths[modality][rows]
        return self.models[modality].expected(index, known.domains[rows], gradients, depths)

    def _index(self, name: str) -> int:
        names = list(self.sections)
        if name not in names:
            raise UserError(
                f"There is no section {name!r} in this simulation.",
                f"It has: {', '.join(names)}.",
            )
        return names.index(name)


@dataclass(frozen=True)
class Simulation:
    """A simulated study with what is known of it."""

    params: SimulationParams
    study: Study
    truth: Truth
