import numpy as np
import pytest
from scipy import sparse

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.inputs import SpotPair, Spots
from napari_stomics.core.transforms import Affine
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.alignment.dense import (
    DenseFGWParams,
    align_dense,
    feature_cost,
    row_entropy,
)


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


def test_the_objective_is_that_of_one_run_of_pot(turned_pair):
    import ot

    pair, _ = turned_pair
    params = DenseFGWParams(alpha=0.5, start="uniform")
    ours = align_dense(pair, params, JobContext())
    cost = feature_cost(pair, params.n_genes, params.n_components, params.seed)
    distances = [
        np.linalg.norm(s.coordinates[:, None] - s.coordinates[None], axis=-1) / 100
        for s in (pair.source, pair.target)
    ]
    n, m = cost.shape
    _, log = ot.gromov.fused_gromov_wasserstein(
        cost, *distances, np.full(n, 1 / n), np.full(m, 1 / m), alpha=0.5, symmetric=True,
        max_iter=200, tol_rel=1e-9, log=True, numItermaxEmd=5_000_000,
    )  # fmt: skip
    assert ours.objective[-1] <= log["fgw_dist"] * 1.001


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
    with pytest.raises(UserError, match="GB"):
        align_dense(pair, DenseFGWParams(max_spots=10), JobContext())


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
