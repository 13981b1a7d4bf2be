"""What is gathered by area keeps its total, and says how far its contributors agree."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from scipy import sparse

from napari_stomics.core.carried import AggregationInputs
from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.inputs import Spots
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import Affine
from napari_stomics.methods.alignment.aggregate import AggregateParams, aggregate, weighted_moments
from tests.methods.alignment.test_areas import affine, grid


def spots(name, xy, x, modality="rna"):
    ids = np.array([f"{name}{i}" for i in range(len(xy))], object)
    features = np.array([f"g{i}" for i in range(x.shape[1])], object)
    return Spots(name, ids, np.asarray(xy, float), x, features, modality, None, 1.0)


def inputs(fine, x, coarse, *, fine_size=10.0, coarse_size=60.0, move=None, modality="rna"):
    return AggregationInputs(
        giving=spots("fine", fine, x, modality),
        receiving=spots("coarse", coarse, np.zeros((len(coarse), 0))),
        giving_diameters=np.full(len(fine), fine_size),
        receiving_diameters=np.full(len(coarse), coarse_size),
        transform=move or Affine.identity(),
    )


def run(given_inputs, **params):
    return aggregate(given_inputs, AggregateParams(**params), JobContext(on_warning=print))


COARSE = grid(4, 70.0)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0, 360), st.floats(-40, 40), st.floats(0.7, 1.3),
    st.sampled_from(["square", "disc", "point"]), st.sampled_from(["square", "disc"]),
    st.floats(30, 140),
)  # fmt: skip
def test_sums_keep_the_total(degrees, shift, stretch, fine_shape, coarse_shape, coarse_size):
    rng = np.random.default_rng(7)
    x = sparse.csr_array(rng.poisson(0.4, (400, 5)))
    move = affine(degrees, shift, 30, stretch, 1.0)
    case = inputs(grid(20, 10.0), x, COARSE, coarse_size=coarse_size, move=move)
    try:
        result = run(case, statistic="sum", source_shape=fine_shape, target_shape=coarse_shape)
    except UserError:
        reject()  # the sections were moved apart, which another test is about
    inside = np.asarray(result.values.sum(axis=0)).ravel()
    np.testing.assert_allclose(inside + result.outside, result.total, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(result.total, np.asarray(x.sum(axis=0)).ravel())
    assert (result.outside >= -1e-12).all()


def test_counts_are_added_and_intensities_averaged():
    fine = grid(20, 10.0)
    counts = run(inputs(fine, np.ones((400, 2)), COARSE))
    assert counts.statistic == "sum"
    assert counts.shapes == ("square", "disc")
    whole = counts.covered > 0.999
    np.testing.assert_allclose(counts.values[whole], np.pi * 900 / 100, rtol=1e-9)
    shades = run(inputs(fine, np.ones((400, 2)), COARSE, modality="metabolite"))
    assert shades.statistic == "mean"
    np.testing.assert_allclose(shades.values[shades.reached], 1.0, rtol=1e-6)
    np.testing.assert_allclose(shades.sd, 0.0, atol=1e-6)


def test_a_mean_is_weighted_by_area_with_the_spread_of_its_contributors():
    # The disc's centre lies on the border of two halves of the plane, a third over.
    fine, values = np.array([[-50.0, 0], [50.0, 0]]), np.array([[1.0], [4.0]])
    case = inputs(fine, values, np.zeros((1, 2)), fine_size=100.0, coarse_size=40.0)
    result = run(case, statistic="mean", source_shape="square")
    assert result.values[0, 0] == pytest.approx(2.5)
    assert result.sd[0, 0] == pytest.approx(1.5)
    assert result.contributors[0] == pytest.approx(2.0)
    assert result.covered[0] == pytest.approx(1.0)


def test_sparse_and_dense_means_agree():
    rng = np.random.default_rng(1)
    x = rng.poisson(0.7, (400, 6)).astype(float)
    dense = run(inputs(grid(20, 10.0), x, COARSE), statistic="mean")
    thin = run(inputs(grid(20, 10.0), sparse.csr_array(x), COARSE), statistic="mean")
    np.testing.assert_allclose(thin.values.toarray(), dense.values, atol=1e-5)
    np.testing.assert_allclose(thin.sd.toarray(), dense.sd, atol=1e-4)


def test_spots_that_nothing_reaches_say_so():
    told = []
    case = inputs(grid(5, 10.0), np.ones((25, 1)), np.vstack([COARSE, [[900.0, 900.0]]]))
    result = aggregate(case, AggregateParams(), JobContext(on_warning=told.append))
    assert result.covered[-1] == 0
    assert not result.reached[-1]
    assert result.values[-1, 0] == 0
    assert "receive nothing" in told[0]
    assert result.summary()["spots_not_covered"] == int((~result.reached).sum())


def test_overlapping_spots_divide_what_they_share():
    case = inputs(np.zeros((1, 2)), np.ones((1, 1)), np.array([[0.0, 0], [0.5, 0]]))
    result = run(case, source_shape="disc")
    np.testing.assert_allclose(result.values[:, 0], 0.5)
    assert result.outside[0] == pytest.approx(0, abs=1e-12)


def test_the_reverse_repeats_values_and_says_that_it_is_not_finer():
    rng = np.random.default_rng(2)
    coarse_values = rng.poisson(5, (16, 3)).astype(float)
    case = inputs(COARSE, coarse_values, grid(20, 10.0), fine_size=60.0, coarse_size=10.0)
    result = run(case)
    assert result.statistic == "mean"
    assert result.finer
    assert "repeated" in result.summary()["resolution"]
    inner = np.linalg.norm(grid(20, 10.0) - COARSE[5], axis=1) < 20
    np.testing.assert_allclose(result.values[inner], np.tile(coarse_values[5], (inner.sum(), 1)))
    kept = run(case, statistic="sum")
    inside = np.asarray(kept.values.sum(axis=0)).ravel()
    np.testing.assert_allclose(inside + kept.outside, kept.total, rtol=1e-9)


def test_missing_values_are_left_out_of_means_and_refused_in_sums():
    x = np.ones((400, 2))
    x[3::7, 1] = np.nan
    result = run(inputs(grid(20, 10.0), x, COARSE), statistic="mean")
    np.testing.assert_allclose(result.values[result.reached], 1.0)
    with pytest.raises(UserError, match="missing"):
        run(inputs(grid(20, 10.0), x, COARSE), statistic="sum")


def test_moments_are_exact_on_large_offsets():
    rng = np.random.default_rng(3)
    x = 1e8 + rng.normal(size=(50, 2))
    weights = sparse.csr_array(rng.random((4, 50)))
    mean, sd = weighted_moments(weights, x)
    w = weights.toarray() / weights.toarray().sum(axis=1, keepdims=True)
    np.testing.assert_allclose(mean, w @ x, rtol=1e-12)
    np.testing.assert_allclose(sd**2, w @ (x - 1e8) ** 2 - (w @ (x - 1e8)) ** 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"move": affine(0, 1e6, 0)}, "falls on one"),
        ({"x": np.zeros((400, 0))}, "nothing to aggregate"),
        ({"fine_size": 0.0}, "without a size"),
    ],
)
def test_what_cannot_be_gathered_is_refused(change, match):
    settings_ = {"fine": grid(20, 10.0), "x": np.ones((400, 1)), "coarse": COARSE, **change}
    with pytest.raises(UserError, match=match):
        run(inputs(**settings_))


def test_points_receive_no_sums():
    with pytest.raises(UserError, match="no area"):
        run(inputs(COARSE, np.ones((16, 1)), grid(9, 9.0), fine_size=60.0), statistic="sum",
            target_shape="point")  # fmt: skip


def test_it_can_be_cancelled():
    with pytest.raises(JobCancelled):
        aggregate(
            inputs(grid(20, 10.0), np.ones((400, 1)), COARSE),
            AggregateParams(),
            JobContext(is_cancelled=lambda: True),
        )


def test_a_hundred_thousand_pixels_stay_sparse():
    fine = grid(316, 10.0)
    coarse = grid(45, 70.0)
    x = sparse.random_array(
        (len(fine), 50), density=0.02, rng=np.random.default_rng(0), format="csr"
    )
    x.data[:] = 1
    result = run(inputs(fine, x, coarse))
    assert sparse.issparse(result.values)
    inside = np.asarray(result.values.sum(axis=0)).ravel()
    np.testing.assert_allclose(inside + result.outside, result.total, rtol=1e-9)


def test_replacing_the_order_of_the_elements_changes_nothing():
    rng = np.random.default_rng(5)
    x = rng.poisson(1.0, (400, 3)).astype(float)
    case = inputs(grid(20, 10.0), x, COARSE, move=affine(12, 3, 4))
    order = rng.permutation(400)
    giving = case.giving
    shuffled = replace(
        giving, ids=giving.ids[order], coordinates=giving.coordinates[order], x=x[order]
    )
    np.testing.assert_allclose(
        run(replace(case, giving=shuffled)).values, run(case).values, rtol=1e-9
    )
