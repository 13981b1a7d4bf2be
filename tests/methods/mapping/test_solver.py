"""The solver against POT, and what it promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.mapping.solver import (
    Options,
    Problem,
    Scaling,
    solve,
    tensor,
    value,
)
from napari_stomics.methods.mapping.structure import distances_within

CTX = JobContext()


def masses(n: int, seed: int = 0) -> Any:
    p = np.random.default_rng(seed).uniform(0.5, 1.5, n)
    return p / p.sum()


def distances(n: int, seed: int) -> Any:
    points = np.random.default_rng(seed).normal(size=(n, 2))
    return distances_within(
        points, "euclidean", neighbours=5, exact_up_to=1000, landmarks=10, seed=0, ctx=CTX
    )


@pytest.mark.parametrize("epsilon", [0.5, 0.02, 0.003])
def test_linear_transport_is_that_of_pot(epsilon):
    import ot

    cost = np.random.default_rng(0).uniform(0, 2, (30, 20)).astype(np.float32)
    p, q = masses(30), masses(20, 1)
    options = Options(epsilon, sinkhorn=20_000, marginal_tolerance=1e-7)
    found = solve(Problem(cost, None, 1.0, p, q), options, CTX)
    expected = ot.sinkhorn(p, q, cost, epsilon, method="sinkhorn_log", numItermax=50_000)
    np.testing.assert_allclose(found.plan, expected, atol=2e-5)
    assert found.converged
    assert found.marginal_error < 1e-4


@pytest.mark.parametrize("rho", [0.05, 1.0])
def test_unbalanced_transport_is_that_of_pot(rho):
    import ot

    cost = np.random.default_rng(0).uniform(0, 2, (30, 20)).astype(np.float32)
    p, q = masses(30), masses(20, 1)
    options = Options(0.05, rho=rho, sinkhorn=20_000, marginal_tolerance=1e-7)
    found = Scaling(p, q, options).solve(cost, 0.05, CTX)
    expected = ot.unbalanced.sinkhorn_unbalanced(
        p, q, cost, 0.05, rho, method="sinkhorn_stabilized", reg_type="kl", numItermax=50_000
    )
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert found.sum() < 0.99


def test_the_tensor_and_the_value_are_those_of_gromov_wasserstein():
    import ot

    a, b = distances(25, 0), distances(15, 1)
    p, q = masses(25), masses(15, 1)
    plan = np.outer(p, q) * np.random.default_rng(2).uniform(0.5, 1.5, (25, 15))
    for scale in (1.0, 0.3):
        part = (plan * scale / plan.sum()).astype(np.float32)
        first, second = a.left.astype(float), b.left.astype(float)
        gaps = np.square(first[:, None, :, None] - second[None, :, None, :])
        expected = np.einsum("ijkl,kl->ij", gaps, part) / part.sum()
        np.testing.assert_allclose(tensor((a, b), part), expected, rtol=2e-4, atol=2e-4)
    problem = Problem(None, (a, b), 0.0, p, q)
    part = np.outer(p, q).astype(np.float32)
    constant, h1, h2 = ot.gromov.init_matrix(first, second, p, q, "square_loss")
    expected_value = ot.gromov.gwloss(constant, h1, h2, np.outer(p, q))
    assert value(problem, part) == pytest.approx(expected_value, rel=1e-4)


def test_entropic_fused_transport_reaches_the_value_of_pot():
    import ot

    rng = np.random.default_rng(4)
    cost = rng.uniform(0, 2, (25, 25)).astype(np.float32)
    a, b = distances(25, 0), distances(25, 1)
    p = np.full(25, 1 / 25)
    problem = Problem(cost, (a, b), 0.5, p, p)
    found = solve(problem, Options(0.05, tolerance=1e-6, iterations=500), CTX)
    assert found.converged
    expected = ot.gromov.entropic_fused_gromov_wasserstein(
        cost, a.left.astype(float), b.left.astype(float), p, p, alpha=0.5, epsilon=0.05,
        max_iter=500, tol=1e-10,
    )  # fmt: skip
    other = value(problem, np.asarray(expected, np.float32))
    assert found.objective[-1] == pytest.approx(other, rel=0.02)


def test_a_spot_that_asks_for_nothing_gets_nothing():
    cost = np.random.default_rng(0).uniform(0, 2, (20, 10)).astype(np.float32)
    q = np.full(10, 1 / 9)
    q[3] = 1e-9
    found = solve(Problem(cost, None, 1.0, masses(20), q / q.sum()), Options(0.05), CTX)
    assert np.isfinite(found.plan).all()
    assert found.plan[:, 3].sum() < 1e-7


def test_numbers_out_of_range_are_told():
    cost = np.full((5, 4), np.nan, np.float32)
    with pytest.raises(UserError, match="floating point"):
        solve(Problem(cost, None, 1.0, masses(5), masses(4)), Options(0.05), CTX)


def test_it_can_be_cancelled_and_finished_early():
    a, b = distances(25, 0), distances(25, 1)
    p = np.full(25, 1 / 25)
    problem = Problem(None, (a, b), 0.0, p, p)
    start = np.outer(p, p) * np.random.default_rng(0).uniform(0.5, 1.5, (25, 25))
    asked = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 5

    with pytest.raises(JobCancelled):
        solve(problem, Options(0.01), JobContext(is_cancelled=cancelled), start.astype(np.float32))
    early = solve(
        problem, Options(0.01), JobContext(is_finishing=lambda: True), start.astype(np.float32)
    )
    assert not early.converged
    assert early.reason == "stopped by the user"
    assert len(early.objective) == 1


def test_a_run_that_does_not_settle_says_so():
    a, b = distances(40, 0), distances(40, 1)
    p = np.full(40, 1 / 40)
    start = np.outer(p, p) * np.random.default_rng(0).uniform(0.5, 1.5, (40, 40))
    options = Options(0.005, iterations=2, tolerance=1e-9)
    found = solve(Problem(None, (a, b), 0.0, p, p), options, CTX, start.astype(np.float32))
    assert not found.converged
    assert "2 iterations" in found.reason
