import numpy as np
import pytest
from scipy import sparse

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import LabelTransferInputs
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.alignment.transfer import LabelTransferParams, transfer_labels
from napari_stomics.metrics.label_transfer import accuracy_ceiling, plan_accuracy

PLAN = sparse.csr_matrix(
    np.array([[0.2, 0.0, 0.0, 0.0], [0.0, 0.1, 0.1, 0.0], [0.0, 0.0, 0.3, 0.0]])
)
SOURCE = np.array(["a", "b", "a"], object)
TARGET = np.array(["a", "b", "b", ""], object)


def _transfer(source=SOURCE, target=TARGET):
    inputs = LabelTransferInputs("s", "t", PLAN, np.array(list("wxyz"), object), source, target)
    return transfer_labels(inputs, LabelTransferParams(), JobContext())


def test_labels_go_where_the_mass_goes():
    result = _transfer()
    assert list(result.labels) == ["a", "b", "a", ""]
    np.testing.assert_allclose(result.probabilities[2], [0.75, 0.25])
    assert np.isnan(result.probabilities[3]).all()


def test_entropy_is_that_of_the_shares():
    expected = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) / np.log(2)
    np.testing.assert_allclose(_transfer().entropy, [0, 0, expected, np.nan], atol=1e-12)


def test_accuracy_counts_mass_between_labelled_spots():
    result = _transfer()
    assert result.accuracy == pytest.approx((0.2 + 0.1 + 0.1) / 0.7)
    assert result.spot_accuracy == pytest.approx(2 / 3)


def test_unlabelled_spots_are_left_out_of_the_accuracy():
    source = np.array(["a", "b", ""], object)
    assert plan_accuracy(PLAN, source, TARGET) == pytest.approx(1.0)


def test_the_ceiling_is_the_overlap_of_the_label_proportions():
    a = np.array(["x"] * 3 + ["y"], object)
    b = np.array(["x"] + ["y"] * 3, object)
    assert accuracy_ceiling(a, b) == pytest.approx(0.5)
    assert accuracy_ceiling(a, a) == pytest.approx(1.0)


def test_without_target_labels_there_is_no_accuracy():
    result = _transfer(target=None)
    assert np.isnan([result.accuracy, result.ceiling, result.spot_accuracy]).all()


def test_a_source_without_labels_is_refused():
    with pytest.raises(UserError, match="label"):
        _transfer(source=np.array(["", "", ""], object))
