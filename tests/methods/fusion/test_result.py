import numpy as np
import pytest

from napari_stomics.methods.fusion import result
from napari_stomics.methods.fusion.result import disagreement


def test_equal_blocks_never_disagree_and_unrelated_ones_nearly_always():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 200, 5))
    assert (disagreement([a, a], k=10) == 0).all()
    assert disagreement([a, b], k=10).mean() == pytest.approx(1 - 10 / 199, abs=0.02)


def test_disagreement_needs_two_modalities_at_the_spot():
    a, b = np.random.default_rng(0).normal(size=(2, 50, 3))
    assert np.isnan(disagreement([a])).all()
    present = np.ones((50, 2), bool)
    present[4, 1] = False
    found = disagreement([a, b], present)
    assert np.flatnonzero(np.isnan(found)).tolist() == [4]


def test_large_sections_are_compared_by_a_sample(monkeypatch):
    monkeypatch.setattr(result, "_COMPARED", 150)
    a, b = np.random.default_rng(0).normal(size=(2, 400, 4))
    assert (disagreement([a, a], k=10) == 0).all()
    assert disagreement([a, b], k=10).mean() > 0.8
