"""Registration errors, their summaries, and the fold check."""

import json

import numpy as np
import pytest

from napari_stomics.core.transforms import Affine, DisplacementField, ThinPlateSpline
from napari_stomics.metrics.registration import (
    extent_of,
    fold_fraction,
    grid_points,
    registration_report,
    relative_registration_error,
    summarise_errors,
    target_registration_error,
)

SHIFT = Affine(np.array([[1, 0, 3], [0, 1, 4], [0, 0, 1.0]]))
MIRROR = Affine(np.diag([-1.0, 1.0, 1.0]))


def test_error_is_the_distance_to_the_partner():
    source = np.array([[0, 0], [10, 0.0]])
    target = np.array([[3, 4], [10, 0.0]])
    np.testing.assert_allclose(target_registration_error(SHIFT, source, target), [0, 5])
    with pytest.raises(ValueError, match="pairs"):
        target_registration_error(SHIFT, source, target[:1])


def test_summary_counts_finite_errors_and_converts_to_pixels():
    errors = np.array([1.0, 2, 3, 4, np.nan])
    summary = summarise_errors(errors, pixel_size=0.5)
    assert summary.count == 4
    assert summary.median_um == 2.5
    assert summary.median_px == 5
    assert summary.p90_um == pytest.approx(3.7)
    assert summary.p90_px == pytest.approx(7.4)
    assert np.isnan(summarise_errors(errors).median_px)
    empty = summarise_errors(np.array([np.nan]))
    assert empty.count == 0
    assert np.isnan(empty.median_um)


def test_relative_error_is_a_share_of_the_diagonal():
    np.testing.assert_allclose(relative_registration_error(np.array([5.0]), (0, 0, 30, 40)), 0.1)


def test_grid_points_are_the_centres_of_cells():
    np.testing.assert_allclose(grid_points((0, 10, 4, 12), (1, 2)), [[1, 11], [3, 11]])
    assert extent_of(np.array([[0, 0], [10, 20.0]]), 0.1) == (-1, -2, 11, 22)


def fold(amount: float) -> DisplacementField:
    """A quarter of the extent, in x from 500 to 750, is turned back where amount exceeds 1."""
    u = np.zeros((2, 5, 2))
    u[:, 3:, 0] = -250 * amount
    return DisplacementField(u, (0.0, 0.0), (250.0, 1000.0))


def test_fold_fraction_is_the_share_turned_back():
    extent = (0.0, 0.0, 1000.0, 1000.0)
    assert fold_fraction(fold(0.9), extent) == 0
    assert fold_fraction(fold(1.5), extent) == pytest.approx(0.25)


def test_a_mirror_is_no_fold_unless_none_was_meant():
    extent = (0.0, 0.0, 1000.0, 1000.0)
    assert fold_fraction(MIRROR, extent) == 0
    assert fold_fraction(MIRROR, extent, mirrored=False) == 1
    rng = np.random.default_rng(0)
    source = rng.uniform(0, 1000, (12, 2))
    spline = ThinPlateSpline.fit(source, MIRROR.apply(source) + rng.normal(0, 5, source.shape), 0.1)
    assert fold_fraction(spline, extent) == 0


def test_no_answer_counts_as_folded():
    class Nowhere(type(fold(0))):
        def jacobian_determinant(self, points):
            return np.full(len(points), np.nan)

    base = fold(0)
    nowhere = Nowhere(base.displacements, base.origin, base.spacing)
    assert fold_fraction(nowhere, (0, 0, 1, 1)) == 1


def test_report_is_plain_json():
    source = np.random.default_rng(0).uniform(0, 100, (6, 2))
    report = registration_report(SHIFT, source, source, pixel_size=2.0)
    assert json.loads(json.dumps(report)) == report
    assert report["median_um"] == pytest.approx(5)
    assert report["median_px"] == pytest.approx(2.5)
    assert report["fold_fraction"] == 0
    assert "median_px" not in registration_report(SHIFT, source, source)
