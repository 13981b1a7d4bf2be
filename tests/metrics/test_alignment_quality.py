import numpy as np
import pytest
from scipy import sparse

from napari_stomics.metrics.alignment_quality import (
    carried_correlation,
    edge_inconsistency,
    effective_partners,
    median_error,
    nearest_plan,
    partners_mean,
    ratio_error,
    round_trip,
    scattered_inconsistency,
    spatial_blocks,
    spatial_coherence,
)
from napari_stomics.metrics.tissue_geometry import neighbour_edges


def _grid(nx: int = 20, ny: int = 15) -> np.ndarray:
    return 100.0 * np.stack(np.meshgrid(np.arange(nx), np.arange(ny)), -1).reshape(-1, 2)


def test_the_poses_own_plan_joins_nearest_spots_within_reach():
    xy = _grid(5, 4)
    plan = nearest_plan(xy + np.array([30, 0]), np.delete(xy, 3, axis=0), 50)
    mass = np.asarray(plan.sum(axis=1)).ravel()
    assert mass[3] == 0  # its partner is missing and the next one is out of reach
    np.testing.assert_allclose(np.delete(mass, 3), 1 / 20)
    assert effective_partners(plan) == pytest.approx(1)
    assert effective_partners(nearest_plan(xy, xy, 50, 4)) == pytest.approx(4)


def test_a_bootstrap_over_blocks_finds_the_error_of_independent_blocks():
    rng = np.random.default_rng(0)
    blocks = np.repeat(np.arange(100), 9)
    shares = np.repeat(rng.random(100), 9)  # alike within a block
    expected = shares[::9].std(ddof=1) / np.sqrt(100)
    assert ratio_error(shares, np.ones(900), blocks) == pytest.approx(expected, rel=0.2)
    assert ratio_error(shares, np.ones(900), np.arange(900)) < 0.6 * expected
    assert np.isnan(ratio_error(shares[:27], np.ones(27), blocks[:27]))


def test_what_two_ratios_share_cancels_in_their_difference():
    rng = np.random.default_rng(1)
    blocks = np.repeat(np.arange(60), 5)
    shares = np.repeat(rng.random(60), 5)
    other = shares + 0.01 * rng.normal(size=300)
    ones = np.ones(300)
    alone = ratio_error(shares, ones, blocks)
    assert ratio_error(shares, ones, blocks, (other, ones)) < 0.1 * alone


def test_the_error_of_a_median_shrinks_with_the_count():
    rng = np.random.default_rng(2)
    few, many = rng.normal(size=25), rng.normal(size=2500)
    assert 4 < median_error(few) / median_error(many) < 25
    assert np.isnan(median_error(np.array([1.0, np.nan, 2.0])))


def test_the_mean_of_partners_is_weighted_and_missing_without_mass():
    plan = sparse.csr_array(np.array([[0.3, 0.1], [0, 0]]))
    x = np.array([[1.0, 0], [5.0, 4.0]])
    np.testing.assert_allclose(partners_mean(plan, x), [[2, 1], [np.nan, np.nan]])
    np.testing.assert_allclose(partners_mean(plan, sparse.csr_array(x)), partners_mean(plan, x))


def test_fine_matches_beat_the_null_and_coarse_ones_do_not():
    rng = np.random.default_rng(3)
    xy = _grid(24, 24)
    fine = np.repeat(rng.normal(size=(576, 6)), 1, axis=0)  # changes from spot to spot
    a, b = fine + 0.5 * rng.normal(size=fine.shape), fine + 0.5 * rng.normal(size=fine.shape)
    blocks = spatial_blocks(xy, 600)
    right = sparse.eye_array(576, format="csr") / 576
    observed, null = carried_correlation(right, a, b, blocks)
    assert observed.mean() > 0.7
    assert abs(null.mean()) < 0.05
    order = np.empty(576, int)  # spots exchanged within their block: the coarse place is right
    order[np.argsort(blocks, kind="stable")] = np.lexsort((rng.random(576), blocks))
    observed, null = carried_correlation(right[order], a, b, blocks)
    assert observed.mean() < null.mean() + 3 * null.mean(axis=1).std()


def test_the_null_keeps_what_the_coarse_place_explains():
    rng = np.random.default_rng(4)
    xy = _grid(24, 24)
    coarse = np.sin(xy / 700) + 0.2 * rng.normal(size=xy.shape)
    plan = sparse.eye_array(576, format="csr") / 576
    _, null = carried_correlation(plan, coarse, coarse, spatial_blocks(xy, 300))
    assert null.mean() > 0.6


def test_missing_tissue_is_consistent_and_scattered_holes_are_not():
    xy = _grid()
    edges = neighbour_edges(xy)
    rng = np.random.default_rng(5)
    cropped = xy[:, 0] < 1000
    scattered = rng.permutation(cropped)
    chance = scattered_inconsistency(cropped)
    assert edge_inconsistency(edges, cropped) < 0.25 * chance
    assert edge_inconsistency(edges, scattered) == pytest.approx(chance, abs=0.06)
    assert edge_inconsistency(edges, np.ones(len(xy), bool)) == 0


def test_layers_are_coherent_and_shuffled_labels_are_not():
    xy = _grid()
    edges = neighbour_edges(xy)
    layers = np.array(["in", "mid", "out"], object)[(xy[:, 1] // 500).astype(int)]
    shuffled = np.random.default_rng(6).permutation(layers)
    assert spatial_coherence(edges, layers) > 10
    assert abs(spatial_coherence(edges, shuffled)) < 4
    assert np.isnan(spatial_coherence(edges, np.full(len(xy), "one", object)))


def test_a_round_trip_is_zero_one_to_one_and_the_spread_otherwise():
    xy = _grid(6, 5)
    one = sparse.eye_array(30, format="csr")
    np.testing.assert_allclose(round_trip(one, xy), 0, atol=1e-9)
    blind = sparse.csr_array(np.ones((30, 30)))
    np.testing.assert_allclose(round_trip(blind, xy), np.linalg.norm(xy - xy.mean(0), axis=1))
