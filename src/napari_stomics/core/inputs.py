"""What methods take: small frozen bundles of arrays, collected from a study by the data layer.

Spatial coordinates are (x, y) in micrometres of the section's own coordinate
system, x to the right and y down; pixel arrays are (y, x) or (y, x, channel).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.plans import TransportPlan
from napari_stomics.core.transforms import Affine, Transform

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class LandmarkPairs:
    """Corresponding points of two sections.

    Attributes
    ----------
    source, target
        Names of the sections: the source is carried into the target's frame.
    names
        Name of each pair.
    source_points, target_points
        (n, 2) arrays of (x, y) in micrometres.
    source_pixel_size, target_pixel_size
        Micrometres per pixel, to report errors in pixels too; None if unknown.
    """

    source: str
    target: str
    names: tuple[str, ...]
    source_points: Floats
    target_points: Floats
    source_pixel_size: float | None = None
    target_pixel_size: float | None = None


@dataclass(frozen=True)
class SectionImage:
    """One image of a section as a (lazy) pyramid.

    Attributes
    ----------
    section
        Name of the section.
    levels
        Arrays (y, x, channel), the finest first; numpy or dask, uint8 or any
        other real type. Read only the level that is needed.
    to_um
        Carries (x, y) pixel positions of ``levels[0]`` to micrometres. Pixel
        centres lie at half-integers: the image spans [0, width] x [0, height].
    channels
        Channel names; ``("r", "g", "b")`` for brightfield images.
    """

    section: str
    levels: tuple[Any, ...]
    to_um: Affine
    channels: tuple[str, ...] = ("r", "g", "b")


@dataclass(frozen=True)
class ImagePair:
    """Images of two sections to be registered; the source is carried into the target's frame."""

    source: SectionImage
    target: SectionImage


@dataclass(frozen=True)
class Spots:
    """Spots or cells of one section with one matrix of features.

    Attributes
    ----------
    section
        Name of the section.
    ids
        (n,) identifiers, as in the table's ``obs_names``.
    coordinates
        (n, 2) centres (x, y) in micrometres of the section's own frame.
    x
        (n, g) matrix, dense or CSR; raw counts for omics.
    features
        (g,) names of the features.
    modality
        ``rna``, ``protein``, ``chromatin``, ``metabolite``, ``image`` ...
    labels
        (n,) annotation as strings, ``""`` where there is none; None without one.
    pitch
        Median distance to the nearest neighbour in micrometres.
    """

    section: str
    ids: NDArray[Any]
    coordinates: Floats
    x: Any
    features: NDArray[Any]
    modality: str
    labels: NDArray[Any] | None
    pitch: float


@dataclass(frozen=True)
class HistologySpots:
    """Spots of one section on its H&E image.

    Attributes
    ----------
    spots
        The spots; ``spots.x`` are the measured counts.
    image
        The H&E image.
    diameter
        Spot diameter in micrometres: the width of the patch that belongs to it.
    """

    spots: Spots
    image: SectionImage
    diameter: float


@dataclass(frozen=True)
class Constraint:
    """What the user says about the match of two regions.

    Attributes
    ----------
    name
        Name of the constraint.
    kind
        ``match``: spots of the source region go to the target region only, and
        those of the target region come from there only. ``forbid``: nothing
        goes from the one to the other.
    source, target
        (n,), (m,) flags of the spots within the regions.
    """

    name: str
    kind: str
    source: NDArray[np.bool_]
    target: NDArray[np.bool_]


@dataclass(frozen=True)
class SpotPair:
    """Two sections to be aligned spot to spot.

    Coordinates are each section's own micrometres.

    Attributes
    ----------
    source, target
        Spots with the features to compare; of one modality, or of two with a
        shared embedding, or unrelated (pure Gromov-Wasserstein).
    initial
        Map from source to target micrometres that is known beforehand; None
        where the sections are not registered.
    landmarks
        Landmark pairs between the two sections, in their own micrometres.
    constraints
        Regions painted as matching, and forbidden matches.
    histology
        Spots on the H&E image of each section, where image features are to be
        compared too.
    start
        A former plan of the same spots to go on from.
    """

    source: Spots
    target: Spots
    initial: Transform | None = None
    landmarks: LandmarkPairs | None = None
    constraints: tuple[Constraint, ...] = ()
    histology: tuple[HistologySpots, HistologySpots] | None = None
    start: TransportPlan | None = None

    @property
    def registered(self) -> bool:
        """Whether a map between the sections is known beforehand."""
        return self.initial is not None

    def placed(self) -> Floats:
        """(n, 2) source spots in the target's frame, or in their own if nothing is known."""
        own = self.source.coordinates
        return own if self.initial is None else self.initial.apply(own)


@dataclass(frozen=True)
class Cells:
    """Single cells without positions, with one matrix of features.

    Attributes
    ----------
    name
        Name of the reference that they belong to.
    ids
        (n,) identifiers, as in the table's ``obs_names``.
    x
        (n, g) matrix, dense or CSR; raw counts.
    features
        (g,) names of the features.
    modality
        ``rna``, ``protein``, ``chromatin`` ...
    labels
        (n,) labels as strings, ``""`` where there is none; None without them.
    """

    name: str
    ids: NDArray[Any]
    x: Any
    features: NDArray[Any]
    modality: str = "rna"
    labels: NDArray[Any] | None = None


@dataclass(frozen=True)
class MappingInputs:
    """Single cells, and the section that they are to be placed in.

    Attributes
    ----------
    cells
        Cells of the modality that the section's features can be compared with.
    space
        Spots of the section, with their features.
    more
        Cells of further modalities, the same cells or others, to be placed
        through ``cells``.
    """

    cells: Cells
    space: Spots
    more: tuple[Cells, ...] = ()


@dataclass(frozen=True)
class LabelTransferInputs:
    """A transport plan and the labels that it carries.

    Attributes
    ----------
    plan
        Sparse (n_source, n_target) plan.
    source_labels
        (n_source,) labels as strings.
    target_labels
        (n_target,) labels to score against, or None.
    """

    source: str
    target: str
    plan: Any
    target_ids: NDArray[Any]
    source_labels: NDArray[Any]
    target_labels: NDArray[Any] | None = None


@dataclass(frozen=True)
class NucleiInputs:
    """An image that shows nuclei and the cells of another section.

    Attributes
    ----------
    image
        H&E, or a nuclear stain; it is carried into the cells' frame.
    cells
        The cells; only their positions are used.
    initial
        Map from the image's to the cells' micrometres that is known beforehand.
    """

    image: SectionImage
    cells: Spots
    initial: Transform | None = None


@dataclass(frozen=True)
class PredictionInputs:
    """Sections to learn from and the section to predict.

    The measured counts of ``test`` are used only to score the prediction and
    are absent (``test.spots.x`` has no columns) where nothing was measured.
    """

    train: tuple[HistologySpots, ...]
    test: HistologySpots
