import numpy as np
import pytest
from sklearn import metrics

from napari_stomics.metrics.clustering import (
    adjusted_mutual_information,
    adjusted_rand_index,
    contingency,
    homogeneity_completeness,
    match_labels,
    matched_labels,
    normalised_mutual_information,
    silhouette,
)


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    truth = rng.choice(np.array(["a", "b", "c", ""], object), 200)
    labels = np.where(rng.random(200) < 0.5, truth, rng.choice(np.array(["a", "b", "d"]), 200))
    return truth, labels.astype(object)


def test_they_equal_scikit_learn_over_labelled_spots(pair):
    truth, labels = pair
    known = (truth != "") & (labels != "")
    here = truth[known], labels[known]
    for ours, theirs in (
        (adjusted_rand_index, metrics.adjusted_rand_score),
        (normalised_mutual_information, metrics.normalized_mutual_info_score),
        (adjusted_mutual_information, metrics.adjusted_mutual_info_score),
    ):
        assert ours(truth, labels) == pytest.approx(theirs(*here), abs=1e-12)
    found = homogeneity_completeness(truth, labels)
    assert found.homogeneity == pytest.approx(metrics.homogeneity_score(*here), abs=1e-12)
    assert found.completeness == pytest.approx(metrics.completeness_score(*here), abs=1e-12)
    assert found.v_measure == pytest.approx(metrics.v_measure_score(*here), abs=1e-12)


def test_numbers_are_labels_too():
    truth = np.array(["a", "a", "b", ""], object)
    assert adjusted_rand_index(truth, np.array([0, 0, 1, 1])) == 1


def test_without_a_label_there_is_no_score():
    blank, labels = np.array(["", ""], object), np.array([0, 1])
    assert np.isnan(adjusted_rand_index(blank, labels))
    assert np.isnan(adjusted_mutual_information(blank, labels))
    assert np.isnan(homogeneity_completeness(blank, labels)).all()
    assert match_labels(blank, labels) == {}
    assert contingency(blank, labels).counts.size == 0


def test_silhouette_equals_scikit_learn_and_can_be_capped(pair):
    truth, _ = pair
    x = np.random.default_rng(1).normal(size=(200, 3)) + (truth == "a")[:, None] * 4
    known = truth != ""
    whole = metrics.silhouette_score(x[known], truth[known])
    assert silhouette(x, truth) == pytest.approx(whole, abs=1e-12)
    some = silhouette(x, truth, cap=80, seed=1)
    assert some != whole
    assert some == silhouette(x, truth, cap=80, seed=1)
    assert some == pytest.approx(whole, abs=0.15)


def test_silhouette_needs_two_clusters_and_finite_spots():
    x = np.arange(8.0)[:, None]
    one = np.full(8, "a", object)
    assert np.isnan(silhouette(x, one))
    assert np.isnan(silhouette(x, np.arange(8).astype(str).astype(object)))
    two = np.array(list("aaaabbbb"), object)
    x[0] = np.nan
    assert silhouette(x, two) == pytest.approx(metrics.silhouette_score(x[1:], two[1:]))


def test_contingency_counts_labelled_spots(pair):
    truth, labels = pair
    found = contingency(truth, labels)
    assert found.rows == ("a", "b", "c")
    assert found.columns == ("a", "b", "c", "d")
    assert found.counts[0, 3] == ((truth == "a") & (labels == "d")).sum()
    assert found.counts.sum() == ((truth != "") & (labels != "")).sum()


def test_contingency_lists_names_in_their_natural_order():
    labels = np.array(["D10", "D2", "D1", "D10"], object)
    found = contingency(np.array(["b", "a", "b", "b"], object), labels)
    assert found.columns == ("D1", "D2", "D10")
    np.testing.assert_array_equal(found.counts, [[0, 1, 0], [1, 0, 2]])


def test_labels_are_matched_one_to_one_by_overlap():
    reference = np.array([0, 0, 0, 1, 1, 2])
    labels = np.array([7, 7, 5, 5, 5, 9])
    assert match_labels(reference, labels) == {7: 0, 5: 1, 9: 2}


def test_names_that_share_no_spot_are_not_matched():
    # x goes to a with four spots; y lies in a alone, and b in x alone: nothing is left for them.
    reference = np.array(list("aaaaab"), object)
    labels = np.array(list("xxxxyx"), object)
    assert match_labels(reference, labels) == {"x": "a"}


def test_matched_labels_take_the_names_they_overlap():
    reference = np.array(["L1", "L1", "L2", "L2", "L2", ""], object)
    labels = np.array(["D2", "D2", "D1", "D1", "L1", "D1"], object)
    np.testing.assert_array_equal(
        matched_labels(reference, labels), ["L1", "L1", "L2", "L2", "L1'", "L2"]
    )
