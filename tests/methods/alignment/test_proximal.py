import numpy as np
import ot
import pytest
from scipy.spatial.distance import cdist

from napari_stomics.core.errors import JobCancelled
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.alignment.band import Band
from napari_stomics.methods.alignment.proximal import (
    ProximalOptions,
    Scaling,
    divergence,
    solve_proximal,
)
from napari_stomics.methods.alignment.structure import FusedProblem, LowRankDistances


def turned(points, degrees):
    angle = np.deg2rad(degrees)
    return points @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).T


def full_problem(n=40, m=40, alpha=0.4, noise=0.3, seed=0):
    """A section and its turned, shuffled copy with noisy features, every pair allowed."""
    rng = np.random.default_rng(seed)
    a = rng.uniform(0, np.sqrt(n), (n, 2))
    partner = rng.permutation(n)[:m]  # of each target spot
    b = turned(a, 70)[partner]
    f = rng.normal(size=(n, 8))
    cost = cdist(f, f[partner] + noise * rng.normal(size=(m, 8)), "cosine")
    band = Band.full(n, m)
    da, db = LowRankDistances.euclidean(a, n), LowRankDistances.euclidean(b, m)
    fused = FusedProblem(band, cost.ravel(), da, db, alpha, np.full(n, 1 / n), np.full(m, 1 / m))
    return fused, cdist(a, a), cdist(b, b), cost, partner


EXACT = ProximalOptions(
    tau=np.inf, epsilon=0.02, iterations=300, tolerance=1e-6, inner=2000, inner_tolerance=1e-9
)


def test_scaling_reaches_both_marginals_and_is_the_entropic_optimum():
    rng = np.random.default_rng(3)
    cost = rng.random((12, 15))
    p, q = rng.dirichlet(np.ones(12)), rng.dirichlet(np.ones(15))
    band = Band.full(12, 15)
    plan = Scaling(band, p, q)(-cost.ravel() / 0.1, 0.1, iterations=5000, tolerance=1e-13)
    np.testing.assert_allclose(
        plan.reshape(12, 15), ot.sinkhorn(p, q, cost, 0.1, stopThr=1e-13), atol=1e-9
    )


def test_relaxed_scaling_is_the_unbalanced_optimum_at_its_mass():
    rng = np.random.default_rng(4)
    cost = rng.random((10, 9))
    p, q = rng.dirichlet(np.ones(10)), rng.dirichlet(np.ones(9))
    expected = ot.unbalanced.sinkhorn_unbalanced(
        p, q, cost, 0.1, 0.7, reg_type="entropy", numItermax=20_000, stopThr=1e-14
    )
    scale = Scaling(Band.full(10, 9), p, q)
    for _ in range(3):  # from wherever the potentials stand
        plan = scale(
            -cost.ravel() / 0.1, 0.1, 0.7, mass=expected.sum(), iterations=5000, tolerance=1e-13
        )
        np.testing.assert_allclose(plan.reshape(10, 9), expected, atol=1e-8)


def test_costs_of_any_size_do_not_overflow():
    band = Band.full(4, 4)
    cost = np.full((4, 4), 1e4)
    np.fill_diagonal(cost, -1e4)
    p = np.full(4, 0.25)
    for tau in (np.inf, 0.5):
        plan = Scaling(band, p, p)(-cost.ravel() / 1e-2, 1e-2, tau)
        np.testing.assert_allclose(plan.reshape(4, 4), np.eye(4) / 4, atol=1e-12)


def test_spots_without_mass_or_edges_are_left_out():
    band = Band.of([0, 0, 1, 3], [0, 1, 1, 1], (4, 3))
    p = np.array([0.5, 0.5, 0.0, 0.0])
    for tau in (np.inf, 0.5):
        plan = Scaling(band, p, np.array([0.5, 0.5, 0.0]))(np.zeros(4), 0.1, tau, iterations=500)
        dense = band.matrix(plan).toarray()
        assert np.isfinite(plan).all()
        assert dense.sum() == pytest.approx(1.0)
        assert dense[2:].sum() == 0


def test_the_partners_are_found_and_the_optimum_is_that_of_the_dense_solver():
    fused, d1, d2, cost, partner = full_problem()
    start = np.outer(fused.p, fused.q).ravel()
    solution = solve_proximal(fused, start, EXACT)
    plan = solution.values.reshape(cost.shape)
    np.testing.assert_array_equal(plan.argmax(axis=0), partner)
    expected, log = ot.gromov.fused_gromov_wasserstein(
        cost, d1, d2, fused.p, fused.q, alpha=0.4, log=True, numItermaxEmd=5_000_000
    )
    assert solution.objective[-1] == pytest.approx(log["fgw_dist"], rel=2e-3)
    np.testing.assert_allclose(plan, expected, atol=1e-4)
    assert solution.converged
    assert solution.marginal_errors[-1] < 1e-6


def test_the_objective_falls_at_every_step_at_exact_marginals():
    fused, *_ = full_problem(noise=1.0, seed=5)
    objective = solve_proximal(fused, np.outer(fused.p, fused.q).ravel(), EXACT).objective
    # The low-rank distances are conditionally negative only up to their accuracy.
    assert (np.diff(objective) <= 1e-4 * objective[:-1]).all()
    assert objective[-1] < 0.1 * objective[0]


def test_spots_without_partner_lose_mass_only_where_marginals_are_relaxed():
    fused, *_, partner = full_problem(60, 50, noise=0.5)
    lost = np.setdiff1d(np.arange(60), partner)
    start = np.outer(fused.p, fused.q).ravel()
    relaxed = solve_proximal(fused, start, ProximalOptions(iterations=300))
    held = solve_proximal(fused, start, EXACT)
    rows = fused.band.marginals(relaxed.values)[0] * 60
    assert rows[lost].mean() < 0.7 * rows[np.unique(partner)].mean()
    assert relaxed.values.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(fused.band.marginals(held.values)[0] * 60, 1.0, atol=1e-5)


def test_the_relaxed_objective_holds_the_price_of_its_marginals():
    fused, *_ = full_problem(30, 25)
    options = ProximalOptions(tau=0.3, mass=0.8)
    solution = solve_proximal(fused, np.outer(fused.p, fused.q).ravel(), options)
    rows, columns = fused.band.marginals(solution.values)
    price = 0.3 * (divergence(rows, fused.p) + divergence(columns, fused.q))
    expected = fused.gradient(solution.values)[1] + price
    assert solution.objective[-1] == pytest.approx(expected)
    assert price > 0


def test_divergence_by_hand():
    mass, asked = np.array([0.5, 0.0, 0.2]), np.array([0.25, 0.25, 0.5])
    expected = 0.5 * np.log(2) - 0.25 + 0.25 + 0.2 * np.log(0.4) + 0.3
    assert divergence(mass, asked) == pytest.approx(expected)


def test_a_run_cut_short_says_so():
    fused, *_ = full_problem(noise=1.0)
    start = np.outer(fused.p, fused.q).ravel()
    solution = solve_proximal(fused, start, ProximalOptions(iterations=2, tolerance=1e-9))
    assert not solution.converged
    assert "2 iterations" in solution.reason
    assert len(solution.objective) == 3


def test_the_user_can_watch_finish_and_cancel():
    fused, *_ = full_problem(noise=1.0)
    start = np.outer(fused.p, fused.q).ravel()
    seen = []
    ctx = JobContext(is_finishing=lambda: len(seen) == 3)
    options = ProximalOptions(tolerance=1e-12)
    solution = solve_proximal(fused, start, options, ctx, watch=lambda *state: seen.append(state))
    assert len(seen) == 3
    assert not solution.converged
    assert solution.reason == "stopped by the user"
    assert seen[0][1] is not seen[2][1]
    with pytest.raises(JobCancelled):
        solve_proximal(fused, start, options, JobContext(is_cancelled=lambda: True))
