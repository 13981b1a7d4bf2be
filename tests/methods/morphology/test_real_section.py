"""A real section: HER2+ breast cancer with a pathologist's labels."""

import numpy as np

from napari_stomics.data.readers import read_section
from napari_stomics.data.study import Study
from napari_stomics.workflow.steps import Step, run_step
from tests.small import hushed


def test_image_features_of_a_tumour_tell_its_compartments(stomics_data):
    study = Study(read_section(stomics_data / "her2st" / "A" / "A1.h5ad"))
    features = run_step(
        study,
        Step(
            method="morphology/features",
            inputs={"section": "A1"},
            params={"scales": [1.0, 2.0], "maps": False},
        ),
        hushed(),
    )
    assert features.stains.estimated
    haematoxylin, eosin = features.stains.vectors
    assert haematoxylin[0] > eosin[0]  # haematoxylin takes away more red than eosin
    labels = study.section("A1").labels("pathologist_label")
    tissue = features.measures["tissue"]
    assert np.median(tissue[labels == "adipose tissue"]) < 0.5
    assert np.median(tissue[labels == "invasive cancer"]) > 0.7
    assert features.flags["pen"].mean() < 0.02
    plane = run_step(
        study,
        Step(
            method="morphology/plane",
            inputs={"section": "A1", "annotation": "pathologist_label"},
            params={"null_fields": 800},
        ),
        hushed(),
    )
    assert plane.count("translation") > 0.5 * len(plane.features)
    assert (plane.relevance_null > plane.relevance_floor).mean() > 0.9
    assert plane.gain is not None
    assert plane.gain.low < plane.gain.value < plane.gain.high
