import numpy as np
import pytest
from scipy.spatial.distance import cdist

from napari_stomics.methods.alignment.band import Band
from napari_stomics.methods.alignment.structure import (
    FusedProblem,
    LowRankDistances,
    common_distances,
    cross_term,
    gw_gradient,
    spread,
)

RNG = np.random.default_rng(1)
POINTS = RNG.uniform(0, 30, (400, 2))


def dense_gw(plan, d1, d2):
    """Sum over all quadruples, written out."""
    p, q = plan.sum(axis=1), plan.sum(axis=0)
    return p @ d1**2 @ p + q @ d2**2 @ q - 2 * np.sum((d1 @ plan @ d2) * plan)


def test_low_rank_distances_are_close_to_the_exact_ones():
    exact = cdist(POINTS, POINTS)
    errors = [
        np.abs(LowRankDistances.euclidean(POINTS, rank).dense() - exact).mean()
        for rank in (16, 48, 128)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[1] < 0.02 * exact.mean()


def test_full_rank_is_exact():
    points = POINTS[:40]
    np.testing.assert_allclose(
        LowRankDistances.euclidean(points, 40).dense(), cdist(points, points), atol=1e-5
    )


def test_landmark_points_are_spread_and_end_at_duplicates():
    chosen = spread(POINTS, 20)
    assert cdist(chosen, chosen)[np.triu_indices(20, 1)].min() > 3
    assert len(spread(np.zeros((5, 2)), 3)) == 1


def test_squares_are_those_of_the_low_rank_matrix():
    distances = LowRankDistances.euclidean(POINTS, 30)
    mass = RNG.random(400)
    np.testing.assert_allclose(distances.squares_dot(mass), distances.dense() ** 2 @ mass)


def test_a_perfect_match_costs_nothing_at_any_rank():
    cos, sin = np.cos(0.7), np.sin(0.7)
    turn = np.array([[cos, -sin], [sin, cos]])
    placed = POINTS @ turn.T @ turn  # there and back: equal up to rounding
    da, db = common_distances(placed, POINTS, 12)
    band = Band.of(np.arange(400), np.arange(400), (400, 400))
    _, value = gw_gradient(band, np.full(400, 1 / 400), da, db)
    assert abs(value) < 1e-9


def test_graph_distances_go_round_a_hole():
    angle = np.linspace(0.1, 2 * np.pi - 0.1, 200)  # an open ring
    ring = 10 * np.column_stack([np.cos(angle), np.sin(angle)])
    distances = LowRankDistances.graph(ring, 40, 4).dense()
    assert distances[0, -1] == pytest.approx(10 * (2 * np.pi - 0.2), rel=0.02)
    assert np.linalg.norm(ring[0] - ring[-1]) < 3


def test_graph_distances_between_separate_pieces_are_finite_and_long():
    both = np.concatenate([POINTS[:50], POINTS[:50] + 1000])
    distances = LowRankDistances.graph(both, 30, 5)
    assert np.isfinite(distances.factors).all()
    between = distances.dense()[:50, 50:]
    assert between.min() > distances.dense()[:50, :50].max()


def problem(alpha=0.3, n=25, m=31):
    a, b = RNG.uniform(0, 6, (n, 2)), RNG.uniform(0, 6, (m, 2))
    band = Band.nearest(a, b, 6)
    da, db = LowRankDistances.euclidean(a, 15), LowRankDistances.euclidean(b, 15)
    cost = RNG.random(len(band))
    return FusedProblem(band, cost, da, db, alpha, np.full(n, 1 / n), np.full(m, 1 / m))


def test_objective_and_cross_term_match_the_dense_formula():
    fused = problem()
    values = RNG.random(len(fused.band)) / len(fused.band)
    plan = fused.band.matrix(values).toarray()
    d1, d2 = fused.source.dense(), fused.target.dense()
    _, objective = fused.gradient(values)
    expected = 0.7 * fused.cost @ values + 0.3 * dense_gw(plan, d1, d2)
    assert objective == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(
        cross_term(fused.band, values, fused.source, fused.target),
        (d1 @ plan @ d2)[fused.band.i, fused.band.j],
    )
    rows, columns = plan.sum(axis=1), plan.sum(axis=0)
    error = np.abs(rows - fused.p).sum() + np.abs(columns - fused.q).sum()
    assert fused.marginal_error(values) == pytest.approx(error)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_the_gradient_agrees_with_finite_differences(alpha):
    fused = problem(alpha)
    values = RNG.random(len(fused.band))
    gradient, _ = fused.gradient(values)
    for edge in (0, 7, len(values) - 1):
        step = np.zeros(len(values))
        step[edge] = 1e-4
        ahead, behind = fused.gradient(values + step)[1], fused.gradient(values - step)[1]
        assert gradient[edge] == pytest.approx((ahead - behind) / 2e-4, rel=1e-6, abs=1e-6)


def test_points_of_a_lattice_are_chosen_alike_whatever_the_rounding():
    grid = np.stack(np.meshgrid(np.arange(15.0), np.arange(15.0)), -1).reshape(-1, 2)
    noise = np.random.default_rng(0).normal(0, 1e-12, grid.shape)
    np.testing.assert_allclose(spread(grid + noise, 40), spread(grid, 40), atol=1e-9)
