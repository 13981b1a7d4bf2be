from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.fusion import FusionInputs
from napari_stomics.methods.fusion.hals import hals, svd_start
from napari_stomics.methods.fusion.joint_nmf import (
    JointNmfParams,
    balanced,
    fuse_joint_nmf,
    joint_factors,
)
from napari_stomics.methods.fusion.nonnegative import Table, tables_of
from tests.methods.fusion.planted import (
    block,
    cancelling_after,
    counts,
    inputs_of,
    quarters,
    quiet,
    same_groups,
)

LABELS = quarters(14)


@pytest.fixture(scope="module")
def inputs() -> FusionInputs:
    rna = sparse.csr_array(counts(LABELS, 40, 1))
    return inputs_of(block("rna", rna), block("protein", counts(LABELS, 12, 2), kind="protein"))


def _table(name: str, x: np.ndarray, rows: np.ndarray) -> Table:
    return Table(name, "rna", x.astype(np.float32), np.arange(x.shape[1]).astype(object), rows)


def test_planted_factors_are_found_again_also_where_a_modality_lacks_spots():
    rng = np.random.default_rng(0)
    truth = rng.exponential(size=(150, 3)) * (rng.random((150, 3)) < 0.5)
    loads = [rng.exponential(size=(3, g)) * (rng.random((3, g)) < 0.5) for g in (40, 15)]
    some = np.arange(0, 110)
    tables = (
        _table("a", truth @ loads[0], np.arange(150)),
        _table("b", truth[some] @ loads[1], some),
    )
    fit = joint_factors(tables, 150, (1.0, 1.0), 3, iterations=400, tolerance=1e-9)
    like = np.abs(np.corrcoef(truth.T, fit.factors.T)[:3, 3:])
    assert (like.max(axis=1) > 0.98).all()
    assert fit.objective[-1] < 1e-3
    assert (fit.factors >= 0).all()
    assert all((h >= 0).all() for h in fit.loadings)


def test_the_objective_never_rises_and_is_what_it_says():
    rng = np.random.default_rng(1)
    rows = np.arange(20, 90)
    tables = (
        _table("a", rng.random((90, 30)), np.arange(90)),
        _table("b", rng.random((70, 9)), rows),
    )
    fit = joint_factors(tables, 90, (0.4, 1.6), 5, iterations=60, tolerance=1e-12)
    assert len(fit.objective) > 20
    assert (np.diff(fit.objective) <= 1e-7).all()
    parts = zip(tables, fit.loadings, (0.4, 1.6), strict=True)
    error = sum(w * ((t.x - fit.factors[t.rows] @ h) ** 2).sum() for t, h, w in parts)
    total = sum(w * (t.x**2).sum() for t, w in zip(tables, (0.4, 1.6), strict=True))
    assert fit.objective[-1] == pytest.approx(error / total, abs=1e-6)


def test_the_update_solves_non_negative_least_squares():
    from scipy.optimize import nnls

    rng = np.random.default_rng(2)
    basis, data = rng.random((30, 4)), rng.random((6, 30))
    found = np.zeros((6, 4))
    for _ in range(200):
        found = hals(found, basis.T @ basis, data @ basis)
    expected = np.stack([nnls(basis, row)[0] for row in data])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_start_is_non_negative_and_better_than_chance():
    x = counts(LABELS, 40, 3)
    start = svd_start(x, 6, 0)
    assert (start >= 0).all()
    assert (start.sum(axis=0) > 0).all()
    assert same_groups(start, LABELS) > 0.5
    assert svd_start(x[:, :4], 6, 0).shape == (len(x), 6)


def test_factors_tell_the_groups_apart_and_their_best_genes_are_the_planted_ones(inputs):
    made = quiet(fuse_joint_nmf, inputs, JointNmfParams(n_factors=4))
    assert (made.values >= 0).all()
    assert same_groups(made.values, LABELS) > 0.9
    assert set(made.loadings) == {"rna", "protein"}
    for factor in range(4):
        mean = [made.values[g == LABELS, factor].mean() for g in range(4)]
        best = [int(name.split("_")[1]) % 4 for name, _ in made.loadings["rna"].top(factor, 5)]
        assert best == [int(np.argmax(mean))] * 5
    assert made.summary()["iterations"] == len(made.objective)


def test_the_balance_moves_the_fit_towards_one_modality(inputs):
    protein = replace(inputs.blocks[1], x=counts(np.zeros_like(LABELS), 12, 5))
    mixed = replace(inputs, blocks=(inputs.blocks[0], protein))
    only_rna = quiet(fuse_joint_nmf, mixed, JointNmfParams(n_factors=4, balance=2.0, steps=0))
    only_noise = quiet(fuse_joint_nmf, mixed, JointNmfParams(n_factors=4, balance=0.0, steps=0))
    assert same_groups(only_rna.values, LABELS) > 0.9
    assert same_groups(only_noise.values, LABELS) < 0.1
    assert only_rna.weights == {"rna": 1.0, "protein": 0.0}


def test_weights_can_be_given_by_name(inputs):
    made = quiet(fuse_joint_nmf, inputs, JointNmfParams(n_factors=3, weights="rna=3, protein=1"))
    assert made.weights == pytest.approx({"rna": 0.75, "protein": 0.25})


def test_weights_keep_their_sum():
    assert balanced(1, 0.3) == (1.0,)
    assert balanced(2, 0.5) == (0.5, 1.5)
    assert balanced(3, 0.5) == (0.5, 1.25, 1.25)


def test_sparse_tables_stay_sparse_and_lose_no_value(inputs):
    tables, _ = tables_of(inputs, JointNmfParams())
    assert sparse.issparse(tables[0].x)
    assert tables[0].x.data.min() > 0
    assert tables[0].x.nnz <= inputs.blocks[0].x.nnz
    assert tables[1].x.min() == 0


def test_spots_without_a_modality_keep_their_place(inputs):
    rows = np.flatnonzero(LABELS != 3)
    protein = replace(inputs.blocks[1], x=inputs.blocks[1].x[rows], rows=rows)
    partly = replace(inputs, blocks=(inputs.blocks[0], protein))
    made = quiet(fuse_joint_nmf, partly, JointNmfParams(n_factors=6))
    assert same_groups(made.values, LABELS) > 0.9
    assert np.isnan(made.disagreement[LABELS == 3]).all()
    assert np.isfinite(made.disagreement[rows]).all()


def test_depths_of_sections_do_not_make_domains_by_default():
    both = np.concatenate([LABELS, LABELS])
    x = counts(both, 40, 6, effect=2.0)
    rng = np.random.default_rng(7)
    gain = np.exp(rng.normal(size=40) * 1.2)
    x[len(LABELS) :] = rng.poisson(x[len(LABELS) :] * gain)
    two = inputs_of(block("rna", x), sections=2)
    made = quiet(fuse_joint_nmf, two, JointNmfParams(n_factors=6))
    plain = quiet(fuse_joint_nmf, two, JointNmfParams(n_factors=6, batch="none"))
    assert (plain.values >= 0).all()
    assert same_groups(made.values, both) > same_groups(plain.values, both) + 0.1


def test_it_repeats_to_the_bit(inputs):
    first = quiet(fuse_joint_nmf, inputs, JointNmfParams(n_factors=5))
    again = quiet(fuse_joint_nmf, inputs, JointNmfParams(n_factors=5))
    np.testing.assert_array_equal(first.values, again.values)


def test_it_stops_when_cancelled(inputs):
    with pytest.raises(JobCancelled):
        fuse_joint_nmf(inputs, JointNmfParams(tolerance=1e-12), cancelling_after(25))


def test_bad_input_is_refused_with_the_way_out(inputs):
    negative = replace(inputs.blocks[0], x=-inputs.blocks[0].x)
    with pytest.raises(UserError, match="negative values"):
        quiet(fuse_joint_nmf, replace(inputs, blocks=(negative,)), JointNmfParams())
    stored = block("deep", np.random.default_rng(0).normal(size=(len(LABELS), 5)), kind="embedding")
    with pytest.raises(UserError, match="stored embedding 'deep' holds negative"):
        quiet(fuse_joint_nmf, replace(inputs, blocks=(stored,)), JointNmfParams())
    with pytest.raises(UserError, match="too few for 196 factors"):
        quiet(fuse_joint_nmf, inputs, JointNmfParams(n_factors=196))
