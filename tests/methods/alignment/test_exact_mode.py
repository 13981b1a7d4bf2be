"""The exact mode as users reach it: through the sparse method, with pins, rules and presets."""

from dataclasses import replace

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import Constraint
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.alignment.dense import DenseFGWParams, align_dense
from napari_stomics.methods.alignment.exact_mode import PlacedCosts, solve_placed
from napari_stomics.methods.alignment.features import FeatureOptions, compare_features
from napari_stomics.methods.alignment.fgw import FGWParams, align_fgw
from napari_stomics.methods.alignment.overlap import ask_for, find_overlap
from napari_stomics.methods.alignment.placing import Frame
from napari_stomics.methods.alignment.rules import Pins, Rules
from tests.small import small_simulation


@pytest.fixture(scope="module")
def simulated():
    made = small_simulation(n_spots=500, n_genes=200, rotation=40.0, missing=0.1, um_per_px=None)
    from napari_stomics.core.inputs import SpotPair

    first, second = made.study.sections
    pair = SpotPair(*(made.study.section(s).spots("rna") for s in (first, second)))
    return pair, made.truth.sections[first].partners


@pytest.mark.parametrize(("metric", "alpha"), [("cosine", 0.5), ("kl", 0.1)])
def test_objective_is_within_a_thousandth_of_pots_from_raw_sections(simulated, metric, alpha):
    """Features, pose, band and all: the preset 'paste' is the second of these."""
    pair, _ = simulated
    ours = align_fgw(
        pair,
        FGWParams(alpha=alpha, metric=metric, marginals="balanced", solver="exact", bend=False),
        JobContext(),
    )
    params = DenseFGWParams(alpha=alpha, features=metric)
    theirs = align_dense(pair, params, JobContext(on_warning=lambda text: None))
    pitch = max(pair.source.pitch, pair.target.pitch)
    cost = compare_features(pair, FeatureOptions(metric)).dense().astype(float)
    d1, d2 = (
        np.linalg.norm(s.coordinates[:, None] - s.coordinates[None], axis=-1) / pitch
        for s in (pair.source, pair.target)
    )

    def objective(plan):
        gw = (d1**2 @ plan.sum(1)) @ plan.sum(1) + (d2**2 @ plan.sum(0)) @ plan.sum(0)
        return (1 - alpha) * (cost * plan).sum() + alpha * (
            gw - 2 * ((d1 @ plan @ d2) * plan).sum()
        )

    found = objective(ours.plan.toarray())
    assert ours.converged, ours.reason
    assert ours.marginal_error < 1e-9
    assert found <= 1.001 * objective(theirs.plan.toarray())
    assert ours.objective[-1] == pytest.approx(found, rel=1e-5)


def test_a_rule_holds_off_the_band_too(simulated):
    pair, _ = simulated
    n, m = len(pair.source.ids), len(pair.target.ids)
    left = pair.source.coordinates[:, 0] < np.quantile(pair.source.coordinates[:, 0], 0.3)
    right = pair.target.coordinates[:, 0] < np.quantile(pair.target.coordinates[:, 0], 0.2)
    rule = Constraint("never", "forbid", left, right)
    plan = align_fgw(
        replace(pair, constraints=(rule,)),
        FGWParams(marginals="balanced", solver="exact", bend=False, neighbours=8),
        JobContext(on_warning=lambda text: None),
    )
    assert plan.plan.shape == (n, m)
    assert plan.plan.tocsr()[left][:, right].nnz == 0
    assert plan.marginal_error < 1e-9


def _placed(pair, **more):
    space = compare_features(pair, FeatureOptions())
    frame = Frame.of(pair, space)
    rules = Rules(more.get("constraints", ()), *space.shape)
    return frame, PlacedCosts(frame, rules, more.get("pins"), np.eye(2))


def test_costs_of_rows_and_of_matches_agree_with_pins_and_rules(simulated):
    pair, _ = simulated
    n, m = len(pair.source.ids), len(pair.target.ids)
    rng = np.random.default_rng(0)
    rule = Constraint("never", "forbid", rng.random(n) < 0.5, rng.random(m) < 0.5)
    pitch = pair.source.pitch
    pins = Pins(pair.source.coordinates[:2] / pitch, pair.target.coordinates[:2] / pitch)
    _, plain = _placed(pair)
    _, costs = _placed(pair, constraints=(rule,), pins=pins)
    ids = np.array([0, 3, 7])
    i, j = np.repeat(ids, m), np.tile(np.arange(m), 3)
    rows = costs.rows(ids)
    np.testing.assert_allclose(rows.ravel(), costs.on(i, j))
    np.testing.assert_array_equal(np.isinf(rows), rule.source[ids][:, None] & rule.target)
    extra = rows - plain.rows(ids)
    assert (extra >= -1e-6).all()
    assert extra[0][np.isfinite(extra[0])].max() > 0.5


def test_relaxed_marginals_are_refused(simulated):
    pair, _ = simulated
    frame, costs = _placed(pair)
    masses = ask_for(find_overlap(frame.source, frame.target), "unbalanced")
    with pytest.raises(UserError, match="relax"):
        solve_placed(
            None, costs, masses, np.zeros(0), marginals="unbalanced", points=None, iterations=1,
            tolerance=1e-6, ctx=JobContext(),
        )  # fmt: skip


def test_partial_marginals_transport_most_of_the_estimated_overlap(simulated):
    pair, partners = simulated
    x = pair.target.coordinates[:, 0]
    kept = np.flatnonzero(x > np.quantile(x, 0.3))
    target = replace(
        pair.target, ids=pair.target.ids[kept], coordinates=pair.target.coordinates[kept],
        x=pair.target.x[kept], labels=None,
    )  # fmt: skip
    plan = align_fgw(
        replace(pair, target=target),
        FGWParams(marginals="partial", solver="exact", bend=False),
        JobContext(on_warning=lambda text: None),
    )
    place = np.full(len(x), -1)
    place[kept] = np.arange(len(kept))
    true = np.where(partners >= 0, place[partners], -1)
    assert 0.55 < plan.overlap[0] < 0.8
    assert plan.overlap[1] > 0.95
    assert plan.plan.sum() == pytest.approx(0.9 * min(plan.overlap), rel=0.02)
    assert plan.unmatched[true < 0].mean() > 0.5
    assert plan.unmatched[true >= 0].mean() < 0.2
    best = np.asarray(plan.plan.argmax(axis=1)).ravel()
    sure = (true >= 0) & (plan.unmatched < 0.5)
    distance = np.linalg.norm(
        target.coordinates[best[sure]] - target.coordinates[true[sure]], axis=1
    )
    assert (distance < 1.1 * pair.target.pitch).mean() > 0.9
