from dataclasses import replace

import numpy as np
import pytest

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.fusion import FusionInputs
from napari_stomics.methods.fusion.inmf import integrate
from napari_stomics.methods.fusion.integrative_nmf import (
    IntegrativeNmfParams,
    fuse_integrative_nmf,
)
from tests.methods.fusion.planted import (
    block,
    cancelling_after,
    counts,
    inputs_of,
    quarters,
    quiet,
    same_groups,
)

LABELS = quarters(12)


@pytest.fixture(scope="module")
def modalities() -> FusionInputs:
    return inputs_of(
        block("rna", counts(LABELS, 40, 1)),
        block("protein", counts(LABELS, 12, 2), kind="protein"),
        side=12,
    )


@pytest.fixture(scope="module")
def sections() -> FusionInputs:
    """Two sections; the second one has a third of its genes lifted everywhere."""
    first, second = counts(LABELS, 40, 1), counts(LABELS, 40, 2)
    second[:, 25:] = np.random.default_rng(3).poisson(second[:, 25:] * 2 + 6)
    return inputs_of(block("rna", np.concatenate([first, second])), side=12, sections=2)


def _planted() -> tuple[dict[tuple[int, int], np.ndarray], np.ndarray, list[np.ndarray]]:
    """Two data sets of shared features: three shared programmes, one of them with own genes."""
    rng = np.random.default_rng(0)
    shared = np.kron(np.eye(3), np.ones(10))
    own = [np.zeros((3, 50)), np.zeros((3, 50))]
    own[0][0, 30:40] = 1.0
    own[1][1, 40:] = 1.0
    shared = np.hstack([shared, np.zeros((3, 20))])
    cells = {}
    for d in (0, 1):
        h = rng.exponential(size=(80, 3)) * (rng.random((80, 3)) < 0.6)
        cells[d, 0] = h @ (shared + own[d])
    return cells, shared, own


def test_shared_and_own_parts_are_told_apart():
    cells, shared, _own = _planted()
    fit = integrate(cells, (0, 1), 3, 0.1, iterations=500, tolerance=1e-9)
    like = np.corrcoef(shared, fit.shared[0])[:3, 3:]
    order = like.argmax(axis=1)
    assert sorted(order) == [0, 1, 2]
    assert (like.max(axis=1) > 0.95).all()
    for d, (factor, genes) in enumerate(((0, slice(30, 40)), (1, slice(40, 50)))):
        part, common = fit.own[d, 0][order[factor], genes], fit.shared[0][order[factor], genes]
        other = fit.own[1 - d, 0][order[factor], genes]
        assert part.mean() > 5 * max(common.mean(), other.mean())
    assert 0.05 < fit.own_share(0) < 0.5


def test_a_high_penalty_leaves_nothing_of_ones_own():
    cells, _, _ = _planted()
    shares = [integrate(cells, (0, 1), 3, p, iterations=100).own_share(0) for p in (0.1, 1.0, 1e3)]
    assert shares[0] > shares[1] > shares[2]
    assert shares[2] < 1e-3


def test_the_objective_never_rises_and_is_what_it_says():
    rng = np.random.default_rng(4)
    cells = {
        (0, 0): rng.random((40, 20)),
        (1, 0): rng.random((30, 20)),
        (1, 1): rng.random((30, 8)),
    }
    fit = integrate(cells, (0, 1), 4, 0.7, iterations=60, tolerance=1e-13)
    assert len(fit.objective) > 20
    assert (np.diff(fit.objective) <= 1e-9).all()
    total = 0.0
    for (g, b), x in cells.items():
        h, v = fit.factors[g], fit.own[g, b]
        total += ((x - h @ (fit.shared[b] + v)) ** 2).sum() + 0.7 * ((h @ v) ** 2).sum()
    assert fit.objective[-1] == pytest.approx(total / sum((x**2).sum() for x in cells.values()))


def test_modalities_of_one_section_share_their_spots(modalities):
    made = quiet(fuse_integrative_nmf, modalities, IntegrativeNmfParams(n_factors=4))
    assert (made.values >= 0).all()
    assert made.values.shape == (144, 4)
    assert same_groups(made.values, LABELS) > 0.9
    assert made.loadings["protein"].values.shape == (4, 12)
    assert set(made.settings["own_share"]) == {"rna", "protein"}
    wide = quiet(
        fuse_integrative_nmf, modalities, IntegrativeNmfParams(n_factors=4, own_factors=True)
    )
    assert wide.values.shape == (144, 12)


def test_sections_are_fused_into_one_set_of_factors(sections):
    both = np.concatenate([LABELS, LABELS])
    made = quiet(fuse_integrative_nmf, sections, IntegrativeNmfParams(n_factors=4, penalty=0.5))
    assert same_groups(made.values, both) > 0.9
    assert same_groups(made.values, sections.of) < 0.1
    assert set(made.settings["own_share"]) == {"s1", "s2"}


def test_spots_without_a_modality_keep_their_place(modalities, sections):
    rows = np.flatnonzero(LABELS != 3)
    protein = replace(modalities.blocks[1], x=modalities.blocks[1].x[rows], rows=rows)
    partly = replace(modalities, blocks=(modalities.blocks[0], protein))
    made = quiet(fuse_integrative_nmf, partly, IntegrativeNmfParams(n_factors=5))
    assert same_groups(made.values, LABELS) > 0.8
    mosaic = replace(
        sections, blocks=(*sections.blocks, block("protein", counts(LABELS, 12, 2), kind="protein"))
    )
    made = quiet(fuse_integrative_nmf, mosaic, IntegrativeNmfParams(n_factors=4))
    assert np.isfinite(made.values).all()
    assert made.loadings["protein"].values.shape == (4, 12)


def test_it_repeats_to_the_bit(modalities):
    first = quiet(fuse_integrative_nmf, modalities, IntegrativeNmfParams(n_factors=4))
    again = quiet(fuse_integrative_nmf, modalities, IntegrativeNmfParams(n_factors=4))
    np.testing.assert_array_equal(first.values, again.values)


def test_it_stops_when_cancelled(modalities):
    with pytest.raises(JobCancelled):
        fuse_integrative_nmf(
            modalities, IntegrativeNmfParams(tolerance=1e-12), cancelling_after(25)
        )


def test_bad_input_is_refused_with_the_way_out(modalities):
    alone = replace(modalities, blocks=modalities.blocks[:1])
    with pytest.raises(UserError, match="one modality of one section"):
        quiet(fuse_integrative_nmf, alone, IntegrativeNmfParams())
    with pytest.raises(UserError, match="too few for 150 factors"):
        quiet(fuse_integrative_nmf, modalities, IntegrativeNmfParams(n_factors=150))
    negative = replace(modalities.blocks[0], x=-modalities.blocks[0].x)
    with pytest.raises(UserError, match="negative values"):
        quiet(fuse_integrative_nmf, replace(modalities, blocks=(negative,)), IntegrativeNmfParams())
