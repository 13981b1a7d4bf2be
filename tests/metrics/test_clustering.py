import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from napari_stomics.metrics.clustering import (
    adjusted_rand_index,
    match_labels,
    normalised_mutual_information,
)


def test_they_equal_scikit_learn_over_labelled_spots():
    rng = np.random.default_rng(0)
    truth = rng.choice(np.array(["a", "b", "c", ""], object), 200)
    labels = rng.integers(0, 4, 200)
    known = truth != ""
    assert adjusted_rand_index(truth, labels) == pytest.approx(
        adjusted_rand_score(truth[known], labels[known]), abs=1e-12
    )
    assert normalised_mutual_information(truth, labels) == pytest.approx(
        normalized_mutual_info_score(truth[known], labels[known]), abs=1e-12
    )


def test_without_a_label_there_is_no_score():
    assert np.isnan(adjusted_rand_index(np.array(["", ""], object), np.array([0, 1])))


def test_labels_are_matched_one_to_one_by_overlap():
    reference = np.array([0, 0, 0, 1, 1, 2])
    labels = np.array([7, 7, 5, 5, 5, 9])
    assert match_labels(reference, labels) == {7: 0, 5: 1, 9: 2}
