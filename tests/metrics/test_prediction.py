import numpy as np

from napari_stomics.metrics.prediction import pearson_per_column, rmse_per_column


def test_pearson_equals_numpy_per_column():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 50, 4)).astype(np.float32)
    expected = [np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(4)]
    np.testing.assert_allclose(pearson_per_column(a, b), expected, rtol=1e-5)


def test_a_constant_prediction_scores_zero_and_a_constant_truth_nothing():
    rng = np.random.default_rng(0)
    varied = rng.normal(size=(30, 1)).astype(np.float32)
    constant = np.full((30, 1), np.float32(0.1) * 7)
    assert pearson_per_column(varied, constant)[0] == 0
    assert np.isnan(pearson_per_column(constant, varied)[0])


def test_rmse():
    np.testing.assert_allclose(
        rmse_per_column(np.zeros((2, 1)), np.array([[3.0], [4.0]])), 12.5**0.5
    )
