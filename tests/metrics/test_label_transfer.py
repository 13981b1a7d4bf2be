import numpy as np
import pytest
from scipy import sparse

from napari_stomics.metrics.label_transfer import (
    accuracy_ceiling,
    best_partners,
    carried_labels,
    label_agreement,
    label_masses,
    macro_f1,
    plan_accuracy,
    type_and_region_agreement,
)

PLAN = sparse.csr_array(
    np.array([[0.2, 0.0, 0.0, 0.0], [0.0, 0.1, 0.1, 0.0], [0.0, 0.0, 0.3, 0.0], [0, 0, 0, 0]])
)
SOURCE = np.array(["a", "b", "a", "b"], object)
TARGET = np.array(["a", "b", "b", ""], object)


def test_agreement_is_the_share_of_a_spots_mass_on_its_own_label():
    np.testing.assert_allclose(label_agreement(PLAN, SOURCE, TARGET), [1, 1, 0, np.nan])


def test_masses_add_up_to_the_accuracy():
    own, labelled = label_masses(PLAN, SOURCE, TARGET)
    assert own.sum() / labelled.sum() == pytest.approx(plan_accuracy(PLAN, SOURCE, TARGET))
    assert plan_accuracy(PLAN, SOURCE, TARGET) == pytest.approx(0.4 / 0.7)


def test_without_labels_there_is_no_accuracy():
    none = np.array([""] * 4, object)
    assert np.isnan([plan_accuracy(PLAN, none, none), accuracy_ceiling(none, none)]).all()
    assert (carried_labels(PLAN, none) == "").all()


def test_carried_labels_are_those_of_most_of_the_mass():
    assert list(carried_labels(PLAN, SOURCE)) == ["a", "b", "a", ""]


def test_macro_f1_is_that_of_scikit_learn():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    truth = rng.choice(["a", "b", "c"], 200, p=[0.7, 0.2, 0.1]).astype(object)
    found = np.where(rng.random(200) < 0.6, truth, rng.choice(["a", "b", "c"], 200))
    assert macro_f1(truth, found) == pytest.approx(f1_score(truth, found, average="macro"))


def test_a_spot_without_an_answer_counts_as_wrong_in_macro_f1():
    truth = np.array(["a", "a", "b", ""], object)
    assert macro_f1(truth, np.array(["a", "", "b", "b"], object)) == pytest.approx((2 / 3 + 1) / 2)


def test_best_partner_is_the_largest_entry_of_a_row():
    assert list(best_partners(PLAN)) == [0, 1, 2, -1]


def test_type_and_region_must_both_agree():
    regions = np.array(["x", "x", "y", "y"], object)
    target_regions = np.array(["x", "y", "y", "y"], object)
    # Rows 0 to 2 have partners 0 to 2: type a-a, b-b, a-b; region x-x, x-y, y-y.
    found = type_and_region_agreement(PLAN, SOURCE, TARGET, regions, target_regions)
    assert found == pytest.approx(1 / 3)
