"""From references (which sections, which tables) to the arrays that a method takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.core.carried import AggregationInputs, ValueTransferInputs
from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import (
    DomainInputs,
    EmbeddingInputs,
    FusionInputs,
    SpotsOnImage,
)
from napari_stomics.core.inputs import (
    HistologySpots,
    ImagePair,
    LabelTransferInputs,
    LandmarkPairs,
    MappingInputs,
    NucleiInputs,
    PredictionInputs,
    SpotPair,
    Spots,
)
from napari_stomics.core.markers import MarkerInputs
from napari_stomics.core.params import Params
from napari_stomics.core.plane import PlaneInputs
from napari_stomics.core.quality import QualityInputs
from napari_stomics.core.scores import ScoreInputs
from napari_stomics.core.stacks import StackInputs
from napari_stomics.data.carry import (
    AggregationRefs,
    LabelTransferRefs,
    NucleiRefs,
    ValueTransferRefs,
    collect_aggregation,
    collect_labels,
    collect_nuclei,
    collect_values,
)
from napari_stomics.data.fusion import (
    DomainRefs,
    EmbeddingRefs,
    FusionRefs,
    SpotsOnImageRefs,
    collect_domains,
    collect_embedding,
    collect_fusion,
    collect_spots_on_image,
)
from napari_stomics.data.mappings import MappingRefs, collect_mapping
from napari_stomics.data.morphology import (
    HistologyRefs,
    PlaneRefs,
    collect_histology,
    collect_plane,
)
from napari_stomics.data.quality import QualityRefs, collect_quality
from napari_stomics.data.references import (
    Collector,
    LandmarkRefs,
    collect_landmarks,
    distinct,
    ref,
)
from napari_stomics.data.scores import MarkerRefs, ScoreRefs, collect_markers, collect_scores
from napari_stomics.data.spot_pairs import SpotPairRefs, collect_spot_pair
from napari_stomics.data.stacks import StackRefs, collect_stack

if TYPE_CHECKING:
    from napari_stomics.data.study import Study


class ImagePairRefs(Params):
    """Two sections and, where they have several, which images to compare."""

    source: str = ref("section", "Moving section")
    target: str = ref("section", "Fixed section")
    source_image: str | None = ref("image:source", "Moving image", None)
    target_image: str | None = ref("image:target", "Fixed image", None)


class PredictionRefs(Params):
    """Sections to learn from and one to predict."""

    train: tuple[str, ...] = ref("sections", "Train on")
    test: str = ref("section", "Predict")
    modality: str = ref("modality:test", "Modality", "rna")


def _image_pair(study: Study, refs: ImagePairRefs) -> ImagePair:
    distinct(refs.source, refs.target)
    return ImagePair(
        source=study.section(refs.source).image(refs.source_image),
        target=study.section(refs.target).image(refs.target_image),
    )


def _prediction(study: Study, refs: PredictionRefs) -> PredictionInputs:
    if not refs.train or refs.test in refs.train:
        raise UserError(
            "A section cannot be predicted from itself."
            if refs.train
            else "No section to learn from is selected.",
            "Choose other sections to train on; the predicted one must be held out.",
        )
    train = tuple(study.section(name).histology(refs.modality) for name in refs.train)
    test = study.section(refs.test)
    if refs.modality in test.modalities:
        return PredictionInputs(train, test.histology(refs.modality))
    return PredictionInputs(train, _unmeasured(study, refs))


def _unmeasured(study: Study, refs: PredictionRefs) -> Any:
    """Spots of a section where the modality was not measured: positions without counts."""
    from napari_stomics.core.inputs import HistologySpots

    test = study.section(refs.test)
    spots = Spots(
        section=test.name,
        ids=test.ids,
        coordinates=test.coordinates,
        x=np.zeros((len(test.ids), 0), np.float32),
        features=np.zeros(0, object),
        modality=refs.modality,
        labels=test.labels(),
        pitch=test.pitch,
    )
    return HistologySpots(spots, test.image(), test.diameter)


COLLECTORS: dict[type, Collector] = {
    LandmarkPairs: Collector(LandmarkRefs, collect_landmarks),
    ImagePair: Collector(ImagePairRefs, _image_pair),
    SpotPair: Collector(SpotPairRefs, collect_spot_pair),
    StackInputs: Collector(StackRefs, collect_stack),
    QualityInputs: Collector(QualityRefs, collect_quality),
    LabelTransferInputs: Collector(LabelTransferRefs, collect_labels),
    ValueTransferInputs: Collector(ValueTransferRefs, collect_values),
    AggregationInputs: Collector(AggregationRefs, collect_aggregation),
    NucleiInputs: Collector(NucleiRefs, collect_nuclei),
    MappingInputs: Collector(MappingRefs, collect_mapping),
    FusionInputs: Collector(FusionRefs, collect_fusion),
    EmbeddingInputs: Collector(EmbeddingRefs, collect_embedding),
    DomainInputs: Collector(DomainRefs, collect_domains),
    SpotsOnImage: Collector(SpotsOnImageRefs, collect_spots_on_image),
    ScoreInputs: Collector(ScoreRefs, collect_scores),
    MarkerInputs: Collector(MarkerRefs, collect_markers),
    HistologySpots: Collector(HistologyRefs, collect_histology),
    PlaneInputs: Collector(PlaneRefs, collect_plane),
    PredictionInputs: Collector(PredictionRefs, _prediction),
}
"""Every kind of inputs that a method may take."""
