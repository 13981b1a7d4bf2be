from dataclasses import replace

import numpy as np
import pytest

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.fusion import Block
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.fusion import preparation
from napari_stomics.methods.fusion.components import spatial_components
from napari_stomics.methods.fusion.features import features_of, robust_z
from napari_stomics.methods.fusion.graph import diffuse, walk
from napari_stomics.methods.fusion.preparation import (
    PreparationParams,
    cached_graph,
    clear_cache,
    prepare,
)
from tests.methods.fusion.cases import quadrants


def _with(inputs, x, kind="rna"):
    block = replace(inputs.blocks[0], x=x, kind=kind)
    return replace(inputs, blocks=(block,))


@pytest.mark.parametrize("kind", ["rna", "protein", "chromatin", "metabolite", "image"])
def test_every_kind_gives_finite_scores_that_follow_the_tissue(kind):
    inputs, _ = quadrants((kind,))
    made = prepare(inputs, PreparationParams(n_components=8))
    left = inputs.coordinates[:, 0] < 800
    assert made.scores[0].dtype == np.float32
    assert np.isfinite(made.scores[0]).all()
    assert max(abs(np.corrcoef(s, left)[0, 1]) for s in made.scores[0].T[:2]) > 0.8
    assert made.components[0].values.shape == (made.scores[0].shape[1], 40)


def test_sparse_and_dense_tables_give_the_same():
    from scipy import sparse

    inputs, _ = quadrants(("rna",))
    dense = prepare(inputs, PreparationParams(n_components=5))
    thin = prepare(
        _with(inputs, sparse.csr_matrix(inputs.blocks[0].x)), PreparationParams(n_components=5)
    )
    np.testing.assert_allclose(dense.scores[0], thin.scores[0], atol=2e-3)


def test_the_basis_explains_the_smoothed_values_as_an_exact_decomposition_does():
    inputs, _ = quadrants(("rna",))
    params = PreparationParams()
    graph = cached_graph(inputs, 6)
    features = features_of(inputs.blocks[0], inputs.of, graph, params)
    scores, axes = spatial_components(features, graph, 6, 2)
    smooth = diffuse(walk(graph), features.dense().astype(float), 2)
    exact = np.linalg.svd(smooth, compute_uv=False)[:6]
    found = np.linalg.norm(diffuse(walk(graph), scores.astype(float), 2), axis=0)
    np.testing.assert_allclose(found, exact, rtol=2e-3)
    np.testing.assert_allclose(axes @ axes.T, np.eye(6), atol=1e-4)


def test_the_operator_for_large_tables_does_the_same(monkeypatch):
    from napari_stomics.methods.fusion import components

    inputs, _ = quadrants(("rna",))
    graph = cached_graph(inputs, 6)
    features = features_of(inputs.blocks[0], inputs.of, graph, PreparationParams())
    small, _ = spatial_components(features, graph, 4, 2)
    monkeypatch.setattr(components, "_DENSE_ENTRIES", 0)
    large, _ = spatial_components(features, graph, 4, 2)
    np.testing.assert_allclose(small, large, atol=5e-3)


def test_genes_of_high_autocorrelation_are_chosen():
    inputs, _ = quadrants(("rna",))
    noise = np.random.default_rng(1).poisson(20, (256, 40)).astype(np.float32)
    x = np.hstack([inputs.blocks[0].x, noise])
    names = np.array([f"g{i}" for i in range(80)], object)
    both = replace(inputs, blocks=(Block("rna", "rna", x, names, np.arange(256)),))
    made = prepare(both, PreparationParams(n_features=20, n_components=5))
    kept = set(made.components[0].features)
    assert len(kept) == 20
    assert len(kept & set(names[:40])) >= 18


def test_it_is_not_computed_again_for_the_same_content(monkeypatch):
    clear_cache()
    inputs, _ = quadrants()
    calls = []
    real = preparation.prepare_block
    monkeypatch.setattr(
        preparation, "prepare_block", lambda *a, **k: calls.append(1) or real(*a, **k)
    )
    first = prepare(inputs, PreparationParams())
    copied = replace(inputs, blocks=tuple(replace(b, x=b.x.copy()) for b in inputs.blocks))
    again = prepare(copied, PreparationParams())
    assert len(calls) == 2
    assert again.scores[0] is first.scores[0]
    prepare(inputs, PreparationParams(n_components=7))
    assert len(calls) == 4


def test_missing_rows_keep_their_place():
    inputs, _ = quadrants()
    block = inputs.blocks[1]
    rows = np.delete(np.arange(256), [3, 7])
    fewer = replace(inputs, blocks=(inputs.blocks[0], replace(block, x=block.x[rows], rows=rows)))
    made = prepare(fewer, PreparationParams())
    assert made.present[:, 0].all()
    assert np.flatnonzero(~made.present[:, 1]).tolist() == [3, 7]
    assert (made.scores[1][[3, 7]] == 0).all()
    assert made.scores[1].shape[0] == 256


def test_rows_of_nan_in_a_stored_embedding_are_spots_that_lack_it():
    inputs, _ = quadrants(("rna",))
    values = np.random.default_rng(0).normal(size=(256, 6)).astype(np.float32)
    values[5] = np.nan
    names = np.array([f"e{i}" for i in range(6)], object)
    more = Block("e", "embedding", values, names, np.arange(256))
    made = prepare(replace(inputs, blocks=(*inputs.blocks, more)), PreparationParams())
    assert np.flatnonzero(~made.present[:, 1]).tolist() == [5]
    assert np.isfinite(made.scores[1]).all()


def test_several_sections_are_centred_each():
    inputs, _ = quadrants(("rna",))
    x = np.concatenate([inputs.blocks[0].x, inputs.blocks[0].x * 1.0])
    x[256:, :10] *= 6  # a batch shift
    rows = np.arange(512)
    both = replace(
        inputs,
        sections=("a", "b"),
        of=np.repeat([0, 1], 256),
        ids=np.tile(inputs.ids, 2),
        coordinates=np.tile(inputs.coordinates, (2, 1)),
        pitches=(100.0, 100.0),
        blocks=(replace(inputs.blocks[0], x=x, rows=rows),),
    )
    made = prepare(both, PreparationParams(n_components=4)).scores[0]
    gap = np.abs(made[:256].mean(axis=0) - made[256:].mean(axis=0))
    assert gap.max() < 0.02 * made.std(axis=0).max()


def test_shuffled_spots_tell_how_much_autocorrelation_is_chance():
    inputs, _ = quadrants(("rna", "protein"))
    noise = np.random.default_rng(2).poisson(5, (256, 40)).astype(np.float32)
    block = replace(inputs.blocks[1], x=noise)
    made = prepare(replace(inputs, blocks=(inputs.blocks[0], block)), PreparationParams())
    gains = [m[:5].mean() - null for m, null in zip(made.moran, made.moran_null, strict=True)]
    assert gains[0] > 3 * abs(gains[1])


def test_robust_z_scores_bear_outliers():
    x = np.random.default_rng(0).normal(3, 2, (500, 2)).astype(np.float32)
    x[0, 0] = 1e6
    z = robust_z(x)
    assert np.abs(z).max() <= 10
    assert z[1:, 0].std() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (lambda x: np.zeros_like(x), "empty"),
        (lambda x: np.ones_like(x), "same on every spot"),
        (lambda x: x - 2, "negative"),
        (lambda x: np.where(x > 3, np.nan, x), "NaN"),
        (lambda x: np.where(x > 3, np.inf, x), "infinite"),
        (lambda x: x[:, :0], "empty"),
    ],
)
def test_values_that_cannot_be_prepared_are_refused_with_a_way_out(x, said):
    inputs, _ = quadrants(("rna",))
    with pytest.raises(UserError, match=said) as refused:
        prepare(_with(inputs, x(inputs.blocks[0].x)), PreparationParams())
    assert refused.value.hint


def test_modalities_without_shared_spots_are_refused():
    inputs, _ = quadrants()
    a, b = inputs.blocks
    left, right = np.arange(128), np.arange(128, 256)
    apart = (replace(a, x=a.x[left], rows=left), replace(b, x=b.x[right], rows=right))
    with pytest.raises(UserError, match="share no spots"):
        prepare(replace(inputs, blocks=apart), PreparationParams())


def test_too_few_spots_and_no_modality_are_refused():
    inputs, _ = quadrants(("rna",))
    block = inputs.blocks[0]
    few = replace(block, x=block.x[:4], rows=block.rows[:4])
    with pytest.raises(UserError, match="Only 4 spots"):
        prepare(replace(inputs, blocks=(few,)), PreparationParams())
    with pytest.raises(UserError, match="No modality"):
        prepare(replace(inputs, blocks=()), PreparationParams())


def test_it_stops_when_cancelled():
    clear_cache()
    with pytest.raises(JobCancelled):
        prepare(quadrants()[0], PreparationParams(), JobContext(is_cancelled=lambda: True))
