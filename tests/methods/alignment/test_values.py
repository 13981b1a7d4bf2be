"""Genes and numbers go where the mass goes, with the spread among the partners."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from napari_stomics.core.carried import HELD_OUT, SEEN, UNKNOWN, ValueTransferInputs
from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import Spots
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.alignment.values import (
    AS_MEASURED,
    LOG_DEPTH,
    ValueTransferParams,
    scaled,
    transfer_values,
)

PLAN = sparse.csr_matrix(
    np.array([[0.2, 0.0, 0.0, 0.0], [0.0, 0.1, 0.1, 0.0], [0.0, 0.0, 0.3, 0.0]])
)
COUNTS = np.array([[8, 2, 0, 10], [0, 5, 5, 0], [4, 4, 2, 0]])
GENES = np.array(["a", "b", "c", "d"], object)


def spots(name, x, genes=GENES, modality="rna"):
    ids = np.array([f"{name}{i}" for i in range(len(x))], object)
    xy = np.column_stack([np.arange(len(x)), np.zeros(len(x))])
    return Spots(name, ids, xy, sparse.csr_array(x), genes, modality, None, 1.0)


def case(**changes):
    m = PLAN.shape[1]
    given = ValueTransferInputs(
        source="s",
        target="t",
        plan=PLAN,
        coordinates=np.column_stack([np.arange(3.0), np.zeros(3)]),
        target_ids=np.array(list("wxyz"), object),
        asked=np.full(m, 0.25),
        spots=spots("s", COUNTS),
        measured=spots("t", np.array([[1, 2, 3, 4], [4, 3, 2, 1], [0, 9, 9, 0], [1, 1, 1, 1]])),
        genes=(),
        columns={},
        measured_columns={},
        plan_features=frozenset({"a", "b"}),
    )
    return replace(given, **changes)


def run(given, **params):
    return transfer_values(given, ValueTransferParams(**params), JobContext())


def log_depth(counts):
    depth = counts.sum(axis=1, keepdims=True)
    return np.log1p(counts * np.median(depth) / depth)


def test_a_value_is_the_mean_of_the_partners_weighted_by_mass():
    result = run(case(genes=("a", "c")))
    logs = log_depth(COUNTS)[:, [0, 2]]
    np.testing.assert_allclose(result.values[0], logs[0], rtol=1e-6)
    np.testing.assert_allclose(result.values[2], 0.25 * logs[1] + 0.75 * logs[2], rtol=1e-6)
    assert np.isnan(result.values[3]).all()
    assert set(result.scales) == {LOG_DEPTH}


def test_the_spread_is_that_among_the_partners():
    result = run(case(genes=("a",)))
    logs = log_depth(COUNTS)[:, 0]
    spread = np.sqrt(0.25 * 0.75) * abs(logs[1] - logs[2])
    np.testing.assert_allclose(result.sd[:, 0], [0, 0, spread, np.nan], atol=1e-6)
    np.testing.assert_allclose(result.partners, [1, 1, 1 / (0.25**2 + 0.75**2), np.nan])
    np.testing.assert_allclose(result.mass, [0.8, 0.4, 1.6, 0])


def test_depth_is_that_of_all_features_of_the_own_section():
    result = run(case(genes=("b",)))
    there = log_depth(np.array([[1, 2, 3, 4], [4, 3, 2, 1], [0, 9, 9, 0], [1, 1, 1, 1]]))
    np.testing.assert_allclose(result.measured[:, 0], there[:, 1], rtol=1e-6)
    left = there[:3, 1] - result.values[:3, 0]
    np.testing.assert_allclose(result.residual[:3, 0], left, rtol=1e-5)


def test_what_the_plan_has_seen_is_told_apart():
    result = run(case())
    told = dict(zip(result.names, result.status, strict=True))
    assert told == {"a": SEEN, "b": SEEN, "c": HELD_OUT, "d": HELD_OUT}
    assert result.summary()["features_held_out"] == 2
    assert set(run(case(plan_features=None)).status) == {UNKNOWN}


def test_an_empty_spot_has_measured_nothing():
    empty = COUNTS.copy()
    empty[1] = 0
    result = run(case(spots=spots("s", empty), genes=("a",)))
    values, _ = scaled(spots("s", empty), ["a"])
    assert np.isnan(values[1, 0])
    assert np.isnan(result.values[1, 0])
    np.testing.assert_allclose(result.values[2, 0], values[2, 0], rtol=1e-6)


def test_columns_are_carried_as_they_are_and_gaps_left_out():
    depth = np.array([10.0, np.nan, 30.0])
    there = np.array([1.0, 2.0, 3.0, 4.0])
    result = run(
        case(spots=None, measured=None, columns={"depth": depth}, measured_columns={"depth": there})
    )
    np.testing.assert_allclose(result.values[:, 0], [10, np.nan, 30, np.nan])
    assert list(result.scales) == [AS_MEASURED]
    assert list(result.status) == [UNKNOWN]
    np.testing.assert_allclose(result.measured[:, 0], there)


def test_correlations_compare_with_what_was_measured():
    rng = np.random.default_rng(0)
    n = 60
    plan = sparse.csr_array(np.eye(n) / n)
    mine, theirs = rng.normal(size=n), rng.normal(size=n)
    result = run(
        case(
            plan=plan, target_ids=np.arange(n).astype(object), asked=np.full(n, 1 / n), spots=None,
            measured=None, columns={"same": mine, "other": mine},
            measured_columns={"same": mine**3, "other": theirs},
        )
    )  # fmt: skip
    assert result.spearman[0] == pytest.approx(1)
    assert result.pearson[0] == pytest.approx(np.corrcoef(mine, mine**3)[0, 1], abs=1e-6)
    assert abs(result.pearson[1]) < 0.4


def test_nothing_measured_means_no_score():
    result = run(case(measured=None))
    assert result.measured is None
    assert result.residual is None
    assert np.isnan(result.pearson).all()


def test_the_most_variable_that_can_be_judged_come_first():
    less = spots("t", np.ones((4, 1)), GENES[1:2])
    result = run(case(measured=less), n_features=2)
    assert result.names[0] == "b"
    assert len(result.names) == 2


def test_other_modalities_than_counts_are_carried_as_measured():
    x = np.array([[0.5, -1.0], [2.5, 3.0], [1.0, 1.0]])
    image = Spots(
        "s", np.arange(3).astype(object), np.zeros((3, 2)), x, GENES[:2], "image", None, 1
    )
    result = run(case(spots=image, measured=None))
    np.testing.assert_allclose(result.values[0], x[0][[list(GENES).index(n) for n in result.names]])
    assert set(result.scales) == {AS_MEASURED}


def test_smoothing_averages_the_neighbourhood_and_keeps_the_mass():
    far = np.column_stack([[0.0, 1.0, 90.0], np.zeros(3)])
    plain = run(case(coordinates=far, genes=("a",)))
    smooth = run(case(coordinates=far, genes=("a",)), smoothing=1.0)
    logs = log_depth(COUNTS)[:, 0]
    share = 1 / (1 + np.exp(-0.5))
    expected = share * logs[0] + (1 - share) * logs[1]
    assert smooth.values[0, 0] == pytest.approx(expected, rel=1e-5)
    assert smooth.partners[0] > 1.5
    assert smooth.sd[0, 0] > 0
    np.testing.assert_allclose(smooth.mass, plain.mass)


def test_bad_wishes_are_refused():
    with pytest.raises(UserError, match="no rna feature 'zzz'"):
        run(case(genes=("a", "zzz")))
    with pytest.raises(UserError, match="Nothing is chosen"):
        run(case(spots=None))
    many = sparse.csr_array((3, 300_000_000))
    with pytest.raises(UserError, match="too much"):
        run(case(plan=many, target_ids=range(300_000_000), genes=("a", "b")))
