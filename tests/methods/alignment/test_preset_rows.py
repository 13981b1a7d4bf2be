import numpy as np
import pytest

from napari_stomics.core.inputs import SpotPair
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.presets import Preset
from napari_stomics.core.registry import registry
from napari_stomics.methods.alignment.preset_rows import PRESET_ROWS
from tests.small import small_simulation


@pytest.fixture(scope="module")
def simulated():
    made = small_simulation(n_spots=400, n_genes=200, rotation=40.0, missing=0.1, um_per_px=None)
    first, second = made.study.sections
    pair = SpotPair(*(made.study.section(s).spots("rna") for s in (first, second)))
    return pair, made.truth.sections[first].partners


@pytest.mark.parametrize("row", PRESET_ROWS, ids=lambda row: row["name"])
def test_every_row_is_a_preset_that_runs(row, simulated):
    pair, partners = simulated
    preset = Preset(**row)
    spec = preset.spec(registry().get(preset.method))
    plan = spec.run(pair, spec.params(), JobContext(on_warning=lambda text: None))
    known = partners >= 0
    best = np.asarray(plan.plan.argmax(axis=1)).ravel()
    gap = pair.target.coordinates[best[known]] - pair.target.coordinates[partners[known]]
    near = np.linalg.norm(gap, axis=1) < 2.1 * pair.target.pitch
    # At alpha 0.1 features lead, and their noise scatters matches among neighbours. moscot's
    # objective, in units that drown the features, finds far fewer: as the library does.
    assert near.mean() > (0.9 if preset.name.startswith("paste") else 0.3)
    assert plan.marginal_error < 1e-3
    assert plan.marginals == row["params"].get("marginals", "balanced")
