import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.methods.alignment.band import Band
from napari_stomics.methods.alignment.exact import solve_exact
from napari_stomics.methods.alignment.partial import partial_error, partial_masses
from napari_stomics.methods.alignment.sparse_transport import SparseTransport

from .exact_cases import sections


@pytest.fixture(scope="module")
def cut():
    """The target lacks a third of the tissue."""
    return sections(kept=1.0, cut=1 / 3)


def _solve(pair, mass, p, q, **more):
    band = Band.nearest(pair.source, pair.target, 12)
    start = np.exp(-2 * band.gaps(pair.source, pair.target))
    return solve_exact(pair.problem(band, p=p, q=q, mass=mass, start=start, **more))


def _objective(pair, plan, alpha=0.5):
    cost, a, b = pair.dense()
    gw = (a**2 @ plan.sum(1)) @ plan.sum(1) + (b**2 @ plan.sum(0)) @ plan.sum(0)
    gw -= 2 * ((a @ plan @ b) * plan).sum()
    return (1 - alpha) * (cost * plan).sum() + alpha * gw


def test_masses_make_both_overlaps_equally_heavy():
    p, q, mass = partial_masses(100, 70, (0.7, 1.0))
    assert (len(p), len(q)) == (100, 70)
    assert p.sum() == pytest.approx(1.0)
    assert q.sum() == pytest.approx(0.7)
    assert mass == pytest.approx(0.7)
    np.testing.assert_allclose(p[0], q[0])
    assert partial_masses(10, 10, (0.5, 0.8), share=0.9)[2] == pytest.approx(0.45)
    with pytest.raises(UserError, match=r"Target overlap 1\.2"):
        partial_masses(10, 10, (0.5, 1.2))


def test_error_counts_excess_and_missing_mass():
    p = np.array([0.5, 0.5])
    assert partial_error(np.array([0.5, 0.1]), np.array([0.3, 0.3]), p, p, 0.6) == 0.0
    found = partial_error(np.array([0.6, 0.1]), np.array([0.35, 0.35]), p, p, 0.6)
    assert found == pytest.approx(0.2)


def test_tissue_that_was_cut_off_stays_unmatched_and_the_rest_finds_its_partners(cut):
    n, m = len(cut.source), len(cut.target)
    p, q, mass = partial_masses(n, m, (m / n, 1.0))
    solution = _solve(cut, mass, p, q)
    assert solution.converged, solution.reason
    plan = solution.band.matrix(solution.values)
    rows, columns = solution.band.marginals(solution.values)
    assert solution.values.sum() == pytest.approx(mass, rel=1e-9)
    assert (rows <= p * (1 + 1e-9)).all()
    assert (columns <= q * (1 + 1e-9)).all()
    assert solution.marginal_errors[-1] < 1e-10
    there = cut.partners >= 0
    assert (rows[there] > 0.5 * p[0]).mean() > 0.97
    assert (rows[~there] < 0.5 * p[0]).mean() > 0.94
    best = np.asarray(plan.argmax(axis=1)).ravel()
    assert (best == cut.partners)[there].mean() > 0.9


def test_objective_is_that_of_pots_partial_solver_from_the_same_start(cut):
    import ot

    n, m = len(cut.source), len(cut.target)
    p, q, mass = np.full(n, 1 / n), np.full(m, 1 / m), 0.6
    ours = _solve(cut, mass, p, q)
    gaps = ((cut.source[:, None] - cut.target) ** 2).sum(-1)
    start = ot.partial.partial_wasserstein(p, q, gaps, m=mass)
    start *= 1 - 1e-9  # its marginals may not be above p and q by rounding
    cost, a, b = cut.dense()
    theirs = ot.gromov.partial_fused_gromov_wasserstein(
        cost, a, b, p, q, m=mass, alpha=0.5, G0=start, symmetric=True, numItermax=5_000_000,
        tol=1e-9,  # numItermax is its simplex's limit too
    )  # fmt: skip
    plan = ours.band.matrix(ours.values).toarray()
    assert ours.objective[-1] == pytest.approx(_objective(cut, plan), rel=1e-6)
    assert theirs.sum() == pytest.approx(mass)
    assert ours.objective[-1] <= _objective(cut, theirs) * 1.01


def test_a_band_that_cannot_carry_the_mass_widens(cut):
    n, m = len(cut.source), len(cut.target)
    p, q, mass = partial_masses(n, m, (m / n, 1.0))
    far = Band.of(np.arange(n), np.zeros(n, int), (n, m))  # all to one spot
    solution = solve_exact(cut.problem(far, p=p, q=q, mass=mass))
    assert solution.values.sum() == pytest.approx(mass, rel=1e-9)
    assert len(solution.band) > n


def test_any_mass_between_any_marginals_is_transported_without_rounding():
    rng = np.random.default_rng(0)
    for _ in range(30):
        n, m = rng.integers(5, 40, 2)
        p, q = rng.random(n) + 0.01, rng.random(m) + 0.01
        mass = rng.uniform(0.1, 1.0) * min(p.sum(), q.sum())
        cost = rng.random((n, m))
        flow = SparseTransport(p, q, mass).solve(Band.full(n, m), cost.ravel())
        plan = flow.values.reshape(n, m)
        assert plan.sum() == pytest.approx(mass, rel=1e-12)
        assert (plan.sum(1) <= p * (1 + 1e-12)).all()
        assert (plan.sum(0) <= q * (1 + 1e-12)).all()
        assert flow.stranded == 0.0


def test_partial_transport_costs_what_pot_says():
    import ot

    rng = np.random.default_rng(1)
    p, q = rng.dirichlet(np.ones(30)), rng.dirichlet(np.ones(25))
    cost = rng.random((30, 25))
    flow = SparseTransport(p, q, 0.6).solve(Band.full(30, 25), cost.ravel())
    theirs = ot.partial.partial_wasserstein(p, q, cost, m=0.6, nb_dummies=1)
    assert float(flow.values @ cost.ravel()) == pytest.approx((theirs * cost).sum(), rel=1e-6)
