"""A small study with two stored alignments of one pair, for tests of what judges them."""

from typing import Any

FIRST, SECOND = "section_1_to_section_2_fine", "section_1_to_section_2_blind"


def aligned_study() -> Any:
    """Two simulated sections with a good alignment and one by expression alone."""
    from napari_stomics.core.results import Registration
    from napari_stomics.data.warp import store_registration
    from napari_stomics.workflow.steps import Step, run_step
    from tests.small import small_simulation

    simulation = small_simulation(um_per_px=None, n_spots=160, n_genes=200, rna_effect=0.4)
    study = simulation.study
    transform = simulation.truth.transform("section_1", "section_2")
    store_registration(
        study, Registration("section_1", "section_2", transform, "affine", "landmarks")
    )
    refs = {"source": "section_1", "target": "section_2"}
    for key, alpha in (("fine", 0.5), ("blind", 0.0)):
        params = {"alpha": alpha, "n_genes": 100, "max_iterations": 20}
        run_step(study, Step(method="alignment/fgw-dense", inputs=refs, params=params, key=key))
    return study
