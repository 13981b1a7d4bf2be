"""What an alignment is expected to cost, against what it does cost."""

from __future__ import annotations

import gc
import time
import tracemalloc

import pytest

from napari_stomics.core.params import Params
from napari_stomics.methods.alignment.dense import DenseFGWParams
from napari_stomics.methods.alignment.estimate import Cost, estimate
from napari_stomics.methods.alignment.fgw import FGWParams
from napari_stomics.workflow.steps import Step
from tests.small import hushed, small_simulation


def test_a_method_without_a_model_has_no_estimate():
    assert estimate(100, 100, Params()) is None


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (Cost(0.2, 0.3), "about 1 s and 1 MB"),
        (Cost(23.6, 38.2), "about 24 s and 38 MB"),
        (Cost(131.0, 1960.0), "about 2 min and 2.0 GB"),
        (Cost(8 * 3600.0, 16_000.0), "about 8 h and 16.0 GB"),
    ],
)
def test_it_is_told_in_round_numbers(cost, text):
    assert str(cost) == text


def test_it_follows_what_costs():
    plain = estimate(4000, 4000, FGWParams())
    for dearer in (
        {"marginals": "balanced"},
        {"solver": "exact"},
        {"neighbours": 64},
        {"n_genes": 20_000},
    ):
        assert estimate(4000, 4000, FGWParams(**dearer)).seconds > plain.seconds
    assert estimate(4000, 4000, FGWParams(bend=False)).seconds < plain.seconds
    assert estimate(40_000, 40_000, FGWParams()).megabytes > 5 * plain.megabytes
    dense = estimate(4000, 4000, DenseFGWParams())
    assert dense.seconds > 50 * plain.seconds
    assert dense.megabytes > 5 * plain.megabytes


@pytest.fixture(scope="module")
def study():
    return small_simulation(n_spots=1000, n_genes=600, um_per_px=24.0, rotation=40.0).study


def _cpu_seconds(study, method, params):
    """CPU seconds of an alignment, loaded and compiled, and what was told of it."""
    source, target = list(study.record.sections)[::-1]
    step = Step(method=method, inputs={"source": source, "target": target}, params=params)
    prepared = step.resolve().collect(study)
    prepared.run(hushed())
    gc.collect()
    began = time.process_time()
    prepared.run(hushed())
    taken = time.process_time() - began
    spots = len(prepared.inputs.source.ids), len(prepared.inputs.target.ids)
    return max(taken, 0.3), estimate(*spots, prepared.resolved.params).seconds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("alignment/fgw", {"bend": False, "neighbours": 64}),
        ("alignment/fgw-dense", {}),
    ],
)
def test_how_much_dearer_one_choice_is_than_another(study, method, params):
    """Ratios only: how fast a machine is, is its own affair."""
    taken, told = _cpu_seconds(study, method, params)
    plain, told_plain = _cpu_seconds(study, "alignment/fgw", {})
    assert 1 / 5 <= (taken / plain) / (told / told_plain) <= 5


@pytest.mark.slow
def test_memory_is_right_within_a_factor_of_three(study):
    source, target = list(study.record.sections)[::-1]
    step = Step(method="alignment/fgw", inputs={"source": source, "target": target})
    # As many features as there are, and a seed of its own: nothing is at hand from before.
    prepared = step.model_copy(update={"params": {"n_genes": 600, "seed": 5}}).resolve()
    ready = prepared.collect(study)
    tracemalloc.start()
    try:
        ready.run(hushed())
        peak = tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
    told = estimate(len(ready.inputs.source.ids), len(ready.inputs.target.ids), prepared.params)
    assert told.megabytes / 3 <= peak <= told.megabytes * 3
