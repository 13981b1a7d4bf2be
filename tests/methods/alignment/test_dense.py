import numpy as np
import pytest
from scipy import sparse

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.inputs import SpotPair, Spots
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import Affine
from napari_stomics.methods.alignment.dense import (
    DenseFGWParams,
    align_dense,
    row_entropy,
)
from napari_stomics.methods.alignment.features import FeatureOptions, compare_features


def _spots(section: str, xy: np.ndarray, x: np.ndarray) -> Spots:
    return Spots(
        section=section,
        ids=np.array([f"s{i}" for i in range(len(xy))], object),
        coordinates=xy,
        x=sparse.csr_matrix(x),
        features=np.array([f"g{i}" for i in range(x.shape[1])], object),
        modality="rna",
        labels=None,
        pitch=100.0,
    )


@pytest.fixture(scope="module")
def turned_pair() -> tuple[SpotPair, np.ndarray]:
    """A section and the same one turned by 70 degrees, its spots shuffled, newly counted."""
    rng = np.random.default_rng(0)
    xy = 100.0 * np.stack(np.meshgrid(np.arange(9), np.arange(7)), -1).reshape(-1, 2)
    waves = np.stack(
        [np.sin(xy @ rng.normal(0, 0.006, 2) + rng.uniform(0, 6)) for _ in range(60)], 1
    )
    rates = 60 * np.exp(0.8 * waves)
    order = rng.permutation(len(xy))
    angle = np.deg2rad(70)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    source = _spots("a", xy, rng.poisson(rates))
    target = _spots("b", xy[order] @ turn.T + 500, rng.poisson(rates[order]))
    return SpotPair(source, target), np.argsort(order)


def test_a_turned_section_is_matched_spot_by_spot(turned_pair):
    pair, partner = turned_pair
    plan = align_dense(pair, DenseFGWParams(), JobContext())
    found = np.asarray(plan.plan.argmax(axis=1)).ravel()
    assert (found == partner).mean() > 0.95
    assert plan.converged
    np.testing.assert_allclose(plan.barycentres, pair.target.coordinates[partner], atol=120)


def test_marginals_are_those_asked_for_and_the_objective_falls(turned_pair):
    pair, _ = turned_pair
    plan = align_dense(pair, DenseFGWParams(), JobContext())
    n, m = plan.plan.shape
    np.testing.assert_allclose(np.asarray(plan.plan.sum(axis=1)).ravel(), 1 / n, atol=1e-9)
    np.testing.assert_allclose(np.asarray(plan.plan.sum(axis=0)).ravel(), 1 / m, atol=1e-9)
    assert plan.marginal_error < 1e-9
    assert (np.diff(plan.objective) <= 1e-9).all()


def _distances(pair: SpotPair) -> list[np.ndarray]:
    return [
        np.linalg.norm(s.coordinates[:, None] - s.coordinates[None], axis=-1) / 100
        for s in (pair.source, pair.target)
    ]


@pytest.mark.parametrize(("metric", "alpha"), [("cosine", 0.5), ("kl", 0.1)])
def test_the_objective_is_that_of_one_run_of_pot(turned_pair, metric, alpha):
    import ot

    pair, _ = turned_pair
    ours = align_dense(
        pair, DenseFGWParams(alpha=alpha, features=metric, start="uniform"), JobContext()
    )
    cost = compare_features(pair, FeatureOptions(metric)).dense().astype(float)
    n, m = cost.shape
    _, log = ot.gromov.fused_gromov_wasserstein(
        cost, *_distances(pair), np.full(n, 1 / n), np.full(m, 1 / m), alpha=alpha,
        symmetric=True, max_iter=200, tol_rel=1e-9, log=True, numItermaxEmd=5_000_000,
    )  # fmt: skip
    assert ours.objective[-1] <= log["fgw_dist"] * 1.001


def test_partial_masses_leave_tissue_that_was_cut_off_unmatched(turned_pair):
    pair, partner = turned_pair
    kept = pair.target.coordinates[:, 0] > np.quantile(pair.target.coordinates[:, 0], 0.3)
    target = _spots("b", pair.target.coordinates[kept], pair.target.x.toarray()[kept])
    n, m = len(partner), int(kept.sum())
    cut = SpotPair(pair.source, target)
    params = DenseFGWParams(marginals="partial", overlap=0.95 * m / n, start="uniform")
    plan = align_dense(cut, params, JobContext())
    assert plan.plan.sum() == pytest.approx(0.95 * m / n)
    assert plan.marginal_error < 1e-9
    assert plan.marginals == "partial"
    has = kept[partner]
    assert plan.unmatched[~has].mean() > 3 * plan.unmatched[has].mean()
    found = np.asarray(plan.plan.argmax(axis=1)).ravel()
    place = np.cumsum(kept) - 1
    sent = has & (plan.row_mass > 0.5 / n)
    assert (found[sent] == place[partner[sent]]).mean() > 0.8


def test_unbalanced_masses_deviate_the_less_the_more_that_costs(turned_pair):
    pair, partner = turned_pair
    errors = []
    for price in (0.3, 3.0):
        params = DenseFGWParams(marginals="unbalanced", relaxation=price, epsilon=0.1)
        plan = align_dense(pair, params, JobContext(on_warning=lambda text: None))
        errors.append(plan.marginal_error)
    assert errors[0] > 2 * errors[1] > 0
    found = np.asarray(plan.plan.argmax(axis=1)).ravel()
    assert (found == partner).mean() > 0.9


def test_entropy_blurs_the_plan_and_keeps_its_marginals(turned_pair):
    pair, _ = turned_pair
    params = {"structure": "squared", "unit": "mean", "tolerance": 1e-5}
    sharp, blurred = (
        align_dense(pair, DenseFGWParams(epsilon=e, **params), JobContext()) for e in (0.01, 0.1)
    )
    assert np.nanmedian(blurred.entropy) > 1.3 * np.nanmedian(sharp.entropy) > 0
    assert blurred.marginal_error < 1e-3
    assert sharp.converged


def test_entropic_plan_is_a_fixed_point_of_pots_own_step(turned_pair):
    import ot

    pair, _ = turned_pair
    params = DenseFGWParams(epsilon=0.05, structure="squared", unit="mean", tolerance=1e-9)
    plan = align_dense(pair, params, JobContext()).plan.toarray()
    cost = compare_features(pair, FeatureOptions()).dense().astype(float)
    d1, d2 = (d**2 / (d**2).mean() for d in _distances(pair))
    n, m = cost.shape
    again = ot.gromov.entropic_fused_gromov_wasserstein(
        cost / cost.mean(), d1, d2, np.full(n, 1 / n), np.full(m, 1 / m), epsilon=0.05,
        alpha=0.5, G0=plan, symmetric=True, max_iter=1, solver="PGD",
    )  # fmt: skip
    assert np.abs(again - plan).sum() < 0.01


def test_what_pot_cannot_solve_is_refused(turned_pair):
    pair, _ = turned_pair
    for changes, reason in (
        ({"marginals": "partial", "epsilon": 0.1}, "entropic"),
        ({"marginals": "unbalanced", "alpha": 0.0}, "structure"),
    ):
        with pytest.raises(UserError, match=reason):
            align_dense(pair, DenseFGWParams(**changes), JobContext())


def test_a_registered_pair_starts_from_its_positions():
    """With features that say nothing, only the start can tell a section from its mirror image."""
    rng = np.random.default_rng(1)
    xy = 100.0 * np.stack(np.meshgrid(np.arange(8), np.arange(6)), -1).reshape(-1, 2)
    noise = rng.poisson(5, (len(xy), 20))
    pair = SpotPair(
        _spots("a", xy, noise),
        _spots("b", xy + 7, noise[::-1] * 0 + 5 + rng.poisson(1, noise.shape)),
        Affine.identity(),
    )
    plan = align_dense(pair, DenseFGWParams(alpha=0.9), JobContext())
    assert (np.asarray(plan.plan.argmax(axis=1)).ravel() == np.arange(len(xy))).mean() > 0.95


def test_a_section_that_is_too_large_is_refused_with_the_memory_it_would_need(turned_pair):
    pair, _ = turned_pair
    with pytest.raises(UserError, match=r"GB and \d+ min"):
        align_dense(pair, DenseFGWParams(max_spots=10), JobContext())
    assert DenseFGWParams().max_spots == 1000


def test_it_stops_when_cancelled(turned_pair):
    pair, _ = turned_pair
    calls = []
    ctx = JobContext(on_progress=lambda f, m: calls.append(m), is_cancelled=lambda: len(calls) > 1)
    with pytest.raises(JobCancelled):
        align_dense(pair, DenseFGWParams(), ctx)


def test_stopping_early_is_said(turned_pair):
    pair, _ = turned_pair
    warned = []
    params = DenseFGWParams(max_iterations=1, start="uniform")
    plan = align_dense(pair, params, JobContext(on_warning=warned.append))
    assert not plan.converged
    assert "1 iterations" in plan.reason
    assert warned


def test_row_entropy_is_zero_for_a_certain_and_one_for_a_blind_match():
    plan = sparse.csr_array(np.array([[1.0, 0, 0, 0], [0.25] * 4, [0, 0, 0, 0], [0.5, 0.5, 0, 0]]))
    np.testing.assert_allclose(row_entropy(plan), [0, 1, np.nan, 0.5])
