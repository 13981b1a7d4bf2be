import numpy as np
import pytest
from scipy import sparse

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import Spots
from napari_stomics.methods.preprocess import (
    centred_log_ratio,
    log_normalise,
    most_variable,
    principal_components,
    shared_features,
    tf_idf,
)

COUNTS = np.array([[1, 3, 0], [10, 0, 10], [0, 0, 0]], float)


def test_log_normalise_equals_scanpy():
    import anndata as ad
    import scanpy as sc

    counts = np.random.default_rng(0).poisson(3, (30, 20)).astype(np.float32)
    table = ad.AnnData(counts.copy())
    sc.pp.normalize_total(table, target_sum=500)
    sc.pp.log1p(table)
    np.testing.assert_allclose(log_normalise(counts, 500), table.X, rtol=1e-5)
    np.testing.assert_allclose(
        log_normalise(sparse.csr_matrix(counts), 500).toarray(), table.X, rtol=1e-5
    )


def test_log_normalise_takes_the_median_total_and_keeps_empty_rows():
    out = log_normalise(COUNTS)
    np.testing.assert_allclose(np.expm1(out).sum(axis=1), [12, 12, 0], rtol=1e-5)


def test_the_input_is_not_changed():
    before = sparse.csr_matrix(COUNTS)
    log_normalise(before)
    tf_idf(before)
    np.testing.assert_array_equal(before.toarray(), COUNTS)


def test_the_centred_log_ratio_is_centred():
    np.testing.assert_allclose(centred_log_ratio(COUNTS).mean(axis=1), 0, atol=1e-6)


def test_tf_idf_weighs_rare_features_more():
    counts = np.array([[1, 1], [1, 0], [1, 0]], float)
    out = tf_idf(counts).toarray()
    assert out[0, 1] > out[0, 0]


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_most_variable_orders_by_variance(form):
    x = np.array([[0, 5, 1], [0, -5, 2], [0, 5, 1], [0, -5, 2]], float)
    assert list(most_variable(form(x), 2)) == [1, 2]


def test_principal_components_are_those_of_the_covariance_and_repeatable():
    x = np.random.default_rng(0).normal(size=(50, 8)) * np.arange(1, 9)
    scores, explained = principal_components(x, 3)
    values = np.linalg.eigvalsh(np.cov(x.T))[::-1]
    np.testing.assert_allclose(explained, values[:3] / values.sum(), rtol=1e-6)
    np.testing.assert_array_equal(scores, principal_components(x, 3)[0])


def test_a_matrix_too_small_for_pca_is_refused():
    with pytest.raises(UserError, match="too small"):
        principal_components(np.zeros((1, 5)), 3)


def _spots(names):
    return Spots(
        "s", np.array(["i"], object), np.zeros((1, 2)), np.arange(len(names))[None].astype(float),
        np.array(names, object), "rna", None, 1.0,
    )  # fmt: skip


def test_shared_features_are_matched_by_name():
    a, b, names = shared_features(_spots(["x", "y", "z"]), _spots(["z", "q", "x"]))
    assert list(names) == ["x", "z"]
    np.testing.assert_array_equal([a[0], b[0]], [[0, 2], [2, 0]])


def test_sections_without_shared_features_are_refused():
    with pytest.raises(UserError, match="share"):
        shared_features(_spots(["x"]), _spots(["y"]))
