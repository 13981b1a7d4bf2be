"""Neighbourhoods kept by a joint embedding, and the gain of fusing."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from napari_stomics.metrics.fusion import (
    fusion_gain,
    neighbourhood_overlap,
    neighbourhood_preservation,
)


def test_it_equals_sets_of_neighbours():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(90, 4)), rng.normal(size=(90, 3))
    sets = []
    for x in (a, b):
        found = NearestNeighbors(n_neighbors=8).fit(x).kneighbors(return_distance=False)
        sets.append([set(row) for row in found])
    expected = [len(p & q) / len(p | q) for p, q in zip(*sets, strict=True)]
    np.testing.assert_allclose(neighbourhood_overlap(a, b, 8), expected, atol=1e-12)
    assert neighbourhood_preservation(a, b, 8) == pytest.approx(np.mean(expected), abs=1e-12)


def test_the_same_space_keeps_everything_and_noise_keeps_chance():
    rng = np.random.default_rng(1)
    a = rng.normal(size=(400, 5))
    assert neighbourhood_preservation(a, 3 * a) == 1
    chance = neighbourhood_preservation(a, rng.normal(size=(400, 5)))
    assert chance == pytest.approx(50 / (2 * 399 - 50), abs=0.02)


def test_by_hand():
    # Nearest of 0, 1, 3, 7 on a line, and with the ends swapped.
    a = np.array([[0.0], [1.0], [3.0], [7.0]])
    b = np.array([[7.0], [1.0], [3.0], [0.0]])
    np.testing.assert_array_equal(neighbourhood_overlap(a, b, 1), [0, 0, 1, 0])


def test_missing_rows_sections_and_a_cap():
    rng = np.random.default_rng(2)
    a = rng.normal(size=(60, 3))
    b = a.copy()
    b[5] = np.nan
    found = neighbourhood_overlap(a, b, 5, of=np.repeat([0, 1, 2], [30, 29, 1]))
    assert np.isnan(found[[5, 59]]).all()
    assert (found[[i for i in range(59) if i != 5]] == 1).all()
    some = neighbourhood_overlap(a, a, 5, cap=20, seed=4)
    assert np.isfinite(some).sum() == 20
    np.testing.assert_array_equal(some, neighbourhood_overlap(a, a, 5, cap=20, seed=4))
    assert np.isnan(neighbourhood_preservation(a[:1], a[:1]))


def test_spots_that_coincide_have_k_neighbours():
    assert neighbourhood_preservation(np.zeros((9, 2)), np.zeros((9, 2)), 3) > 0


def test_the_gain_is_over_the_best_single_modality():
    assert fusion_gain(0.9, [0.5, 0.7, float("nan")]) == pytest.approx(0.2)
    assert fusion_gain(0.4, (0.5,)) == pytest.approx(-0.1)
    assert np.isnan(fusion_gain(0.9, []))
