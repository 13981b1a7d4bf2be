import numpy as np
import pytest
from scipy import sparse

from napari_stomics.core.errors import JobCancelled
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.alignment.band import Band
from napari_stomics.methods.alignment.exact import fused_objective, line_search, solve_exact
from napari_stomics.methods.alignment.pricing import FeatureCosts, Prices
from napari_stomics.methods.alignment.sparse_transport import SparseTransport
from napari_stomics.methods.alignment.support import structure_cost

from .exact_cases import sections


@pytest.fixture(scope="module")
def pair():
    return sections()


@pytest.fixture(scope="module")
def oracle(pair):
    """POT's dense solver on the same objective."""
    import ot

    cost, a, b = pair.dense()
    n, m = cost.shape
    plan, log = ot.gromov.fused_gromov_wasserstein(
        cost, a, b, np.full(n, 1 / n), np.full(m, 1 / m), alpha=0.5, symmetric=True,
        max_iter=500, tol_rel=1e-9, numItermaxEmd=5_000_000, log=True,
    )  # fmt: skip
    return plan, float(log["fgw_dist"])


def test_transport_costs_what_the_dense_simplex_says_also_when_solved_again():
    import ot

    rng = np.random.default_rng(0)
    n, m = 40, 33
    p, q = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
    band = Band.full(n, m)
    transport = SparseTransport(p, q)
    cost = rng.random((n, m))
    for _ in range(4):
        flow = transport.solve(band, cost.ravel())
        plan = flow.values.reshape(n, m)
        np.testing.assert_allclose(plan.sum(1), p, atol=1e-12)
        np.testing.assert_allclose(plan.sum(0), q, atol=1e-12)
        assert (plan * cost).sum() == pytest.approx(ot.emd2(p, q, cost), rel=1e-9)
        reduced = cost - flow.u[:, None] - flow.w
        assert reduced.min() > -1e-8
        assert np.abs(reduced[plan > 0]).max() < 1e-8
        cost = cost + 0.3 * rng.random((n, m))


def test_transport_gives_the_simplex_few_edges_and_misses_none():
    """On a band wide enough for edges to be left out at first, the answer is still optimal."""
    import ot

    rng = np.random.default_rng(1)
    n = m = 60
    p = np.full(n, 1 / n)
    band = Band.full(n, m)
    transport = SparseTransport(p, p)
    transport.solve(band, rng.random(n * m))
    cost = rng.random((n, m))  # nothing to do with the former one
    flow = transport.solve(band, cost.ravel())
    assert float(flow.values @ cost.ravel()) == pytest.approx(ot.emd2(p, p, cost), rel=1e-9)


def test_transport_says_what_it_cannot_carry_and_between_which_spots():
    p, q = np.full(4, 0.25), np.array([0.25, 0.25, 0.5])
    band = Band.of([0, 1, 2, 3, 3], [0, 0, 1, 1, 2], (4, 3))
    flow = SparseTransport(p, q).solve(band, np.zeros(5))
    assert flow.stranded == pytest.approx(0.25)  # of 0 and 1; target 2 lacks as much
    assert flow.stuck_rows[:2].all()
    assert not flow.stuck_rows[3]
    np.testing.assert_array_equal(flow.stuck_columns, [False, False, True])


def test_structure_cost_is_the_sum_over_all_pairs_of_matches(pair):
    rng = np.random.default_rng(0)
    n, m = len(pair.source), len(pair.target)
    plan = sparse.random_array((n, m), density=0.02, rng=rng).toarray()
    _, a, b = pair.dense()
    direct = sum(
        plan[i, j] * (((a[i][:, None] - b[j]) ** 2) * plan).sum() for i, j in np.argwhere(plan > 0)
    )
    i, j = np.nonzero(plan)
    assert structure_cost(i, j, plan[i, j], pair.source, pair.target) == pytest.approx(direct)


def test_objective_is_that_of_pot_at_the_same_marginals(pair, oracle):
    solution = solve_exact(pair.problem(Band.nearest(pair.source, pair.target, 16)))
    assert solution.converged, solution.reason
    assert solution.objective[-1] <= oracle[1] * 1.001
    assert solution.marginal_errors[-1] < 1e-12
    plan = solution.band.matrix(solution.values)
    n, m = plan.shape
    np.testing.assert_allclose(np.asarray(plan.sum(1)).ravel(), 1 / n, rtol=1e-9)
    np.testing.assert_allclose(np.asarray(plan.sum(0)).ravel(), 1 / m, rtol=1e-9)


def test_reported_objective_is_recomputed_from_the_plan(pair):
    problem = pair.problem(Band.nearest(pair.source, pair.target, 16), rank=12)
    solution = solve_exact(problem)
    cost, a, b = pair.dense()
    plan = solution.band.matrix(solution.values).toarray()
    gw = (a**2 @ plan.sum(1)) @ plan.sum(1) + (b**2 @ plan.sum(0)) @ plan.sum(0)
    gw -= 2 * ((a @ plan @ b) * plan).sum()
    assert solution.objective[-1] == pytest.approx(0.5 * (cost * plan).sum() + 0.5 * gw, rel=1e-6)
    assert (np.diff(solution.objective) <= 1e-12).all()


def test_a_band_that_is_too_narrow_widens_until_it_does_not_matter(pair):
    """Three neighbours cannot carry the balanced plan; the answer is that of a full band."""
    narrow = Band.nearest(pair.source, pair.target, 3, back=1)
    n, m = narrow.shape
    uniform = SparseTransport(np.full(n, 1 / n), np.full(m, 1 / m))
    assert uniform.solve(narrow, np.zeros(len(narrow))).stranded > 1e-3
    found = solve_exact(pair.problem(narrow))
    full = solve_exact(pair.problem(Band.full(n, m)))
    assert found.converged
    assert found.marginal_errors[-1] < 1e-12
    assert len(found.band) > len(narrow)
    assert found.objective[-1] == pytest.approx(full.objective[-1], rel=2e-3)


def test_no_match_off_the_band_would_lower_the_settled_objective(pair):
    problem = pair.problem(Band.nearest(pair.source, pair.target, 6))
    solution = solve_exact(problem)
    cost, a, b = pair.dense()
    plan = solution.band.matrix(solution.values).toarray()
    slope = 0.5 * cost + 0.5 * 2 * (
        (a**2 @ plan.sum(1))[:, None] + b**2 @ plan.sum(0) - 2 * a @ plan @ b
    )
    import ot

    best = ot.emd2(plan.sum(1), plan.sum(0), slope, numItermax=1_000_000)
    assert (slope * plan).sum() - best < 1e-3 * solution.objective[-1]


def test_prices_are_the_gradient_less_the_potentials(pair):
    band = Band.nearest(pair.source, pair.target, 4)
    n, m = band.shape
    problem = pair.problem(band)
    rng = np.random.default_rng(2)
    values = rng.random(len(band)) / len(band)
    u, w = rng.normal(size=n), rng.normal(size=m)
    cost, a, b = pair.dense()
    plan = band.matrix(values).toarray()
    dense = 0.5 * cost + (a**2 @ plan.sum(1))[:, None] + b**2 @ plan.sum(0) - 2 * a @ plan @ b
    dense = dense - u[:, None] - w
    found = Prices(problem.fused, values, FeatureCosts(pair.space), u, w).better(0.0, 1)
    expected = set(enumerate(dense.argmin(1).tolist()))
    expected |= {(i, j) for j, i in enumerate(dense.argmin(0).tolist())}
    expected = {(i, j) for i, j in expected if dense[i, j] < 0}
    agreed = expected & set(zip(found.i.tolist(), found.j.tolist(), strict=True))
    assert len(agreed) > 0.98 * len(expected) > 50  # ties within the low rank's error


def test_it_starts_from_a_given_plan_and_ends_at_once_at_the_optimum(pair):
    first = solve_exact(pair.problem(Band.nearest(pair.source, pair.target, 16)))
    again = pair.problem(first.band, start=first.values)
    second = solve_exact(again)
    assert len(second.objective) <= 2
    assert second.objective[-1] == pytest.approx(first.objective[-1], rel=1e-5)


def test_forbidden_matches_stay_empty_and_an_impossible_demand_is_said(pair):
    class Forbidding(FeatureCosts):
        """Nothing may go to the right half."""

        def rows(self, ids):
            out = super().rows(ids)
            out[:, pair.target[:, 0] > 5] = np.inf
            return out

    band = Band.nearest(pair.source, pair.target, 16)
    band = band.keep(pair.target[band.j, 0] <= 5)
    from dataclasses import replace

    problem = replace(pair.problem(band), costs=Forbidding(pair.space))
    solution = solve_exact(problem)
    assert not solution.converged
    assert "no allowed way" in solution.reason
    assert (pair.target[solution.band.j, 0] <= 5).all()


def test_finishing_keeps_the_plan_and_cancelling_ends_it(pair):
    problem = pair.problem(Band.nearest(pair.source, pair.target, 16))
    seen = []
    solution = solve_exact(
        problem,
        JobContext(is_finishing=lambda: len(seen) >= 1),
        lambda band, values, objective, errors: seen.append(objective[-1]),
    )
    assert len(seen) == 1
    assert not solution.converged
    assert solution.reason == "stopped by the user"
    assert solution.marginal_errors[-1] < 1e-12
    with pytest.raises(JobCancelled):
        solve_exact(problem, JobContext(is_cancelled=lambda: True))


def test_too_few_iterations_are_said(pair):
    solution = solve_exact(pair.problem(Band.nearest(pair.source, pair.target, 8), iterations=1))
    assert not solution.converged
    assert "1 iterations" in solution.reason


def test_objective_without_points_is_that_of_the_low_rank_distances(pair):
    problem = pair.problem(Band.nearest(pair.source, pair.target, 8), rank=6)
    values = np.full(len(problem.fused.band), 1 / len(problem.fused.band))
    assert fused_objective(problem.fused, values, None) == problem.fused.gradient(values)[1]


@pytest.mark.parametrize(
    ("first", "second", "step"),
    [(-2.0, 1.0, 1.0), (-1.0, 1.0, 0.5), (-1.0, -3.0, 1.0), (1.0, -0.5, 0.0), (1.0, -2.0, 1.0)],
)
def test_line_search_finds_the_lowest_point_of_a_parabola(first, second, step):
    assert line_search(first, second) == pytest.approx(step)
