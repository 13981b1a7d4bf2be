"""A small study with an embedding and domains, for tests of what judges them."""

from functools import cache
from typing import Any

SECTION = "section_1"


def scored_study() -> Any:
    """A fresh study whose first section has ``joint`` and ``domains``, and domains by RNA alone."""
    from spatialdata import deepcopy

    from napari_stomics.data.study import Study

    return Study(deepcopy(_made().sdata))


@cache
def _made() -> Any:
    from napari_stomics.workflow.steps import Step, run_step
    from tests.small import small_simulation

    study = small_simulation(um_per_px=None, n_spots=150).study
    for embedding, domains, modalities in (
        ("alone", "by_rna", ["rna"]),
        ("joint", "domains", ["rna", "protein"]),
    ):
        inputs = {"section": SECTION, "modalities": modalities, "histology": False}
        run_step(study, Step(method="fusion/concat-pcs", inputs=inputs, key=embedding))
        inputs = {"section": SECTION, "embedding": embedding}
        run_step(
            study,
            Step(method="domains/gmm", inputs=inputs, params={"n_domains": 3}, key=domains),
        )
    study.sync()
    return study
