import numpy as np
import pytest
from scipy import sparse

from napari_stomics.metrics.alignment import (
    best_matches,
    exact_share,
    held_spots,
    registration_error,
    within_share,
)

TARGET = np.array([[0.0, 0.0], [10.0, 0.0], [20.0, 0.0]])
PLAN = sparse.csr_matrix([[0.2, 0.0, 0.0], [0.1, 0.15, 0.0], [0.2, 0.0, 0.1], [0.0, 0.0, 0.0]])


def test_largest_matches_and_empty_rows():
    np.testing.assert_array_equal(best_matches(PLAN), [0, 1, 0, -1])


def test_exact_counts_only_spots_with_a_partner():
    assert exact_share(PLAN, np.array([0, 1, 2, -1])) == pytest.approx(2 / 3)
    assert exact_share(PLAN, np.array([0, 1, 2, 1])) == pytest.approx(2 / 4)
    assert np.isnan(exact_share(PLAN, np.full(4, -1)))


def test_within_and_error_count_only_tissue_that_the_target_holds():
    positions = np.array([[1.0, 0.0], [10.0, 0.0], [20.0, 0.0], [90.0, 0.0]])
    np.testing.assert_array_equal(held_spots(positions, TARGET, 10.0), [True, True, True, False])
    assert within_share(PLAN, positions, TARGET, 10.0) == pytest.approx(2 / 3)
    carried = positions + np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 10.0], [500.0, 0.0]])
    assert registration_error(carried, positions, TARGET, 10.0) == pytest.approx(0.5)


def test_one_pitch_off_is_within_and_two_are_not():
    positions = np.array([[9.6, 0.0], [30.5, 0.0], [20.0, 0.0], [20.0, 0.0]])
    target = np.vstack([TARGET, [[30.0, 0.0]]])
    plan = sparse.csr_matrix([[1.0, 0, 0, 0], [0, 0, 1.0, 0], [1.0, 0, 0, 0], [0, 0, 1.0, 0]])
    assert within_share(plan, positions, target, 10.0) == pytest.approx(3 / 4)
