from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.inputs import HistologySpots, SectionImage, SpotPair
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import Affine
from napari_stomics.methods.alignment import features
from napari_stomics.methods.alignment._components import leading_axes
from napari_stomics.methods.alignment.features import FeatureOptions, compare_features
from napari_stomics.methods.preprocess import log_normalise
from tests.methods.alignment.pose_cases import case, counts, quiet, spots


def _pair(**changes):
    return SpotPair(
        spots(counts(64, 20, 1)), spots(counts(49, 20, 2), **{"section": "b", **changes})
    )


def _reference(pair, count):
    """Cosine distances of joint PCs, each section centred, by the plain way."""
    parts = [np.asarray(s.x.todense(), float) for s in (pair.source, pair.target)]
    total = np.median(np.concatenate([p.sum(axis=1) for p in parts]))
    logs = [log_normalise(p, total).astype(float) for p in parts]
    logs = [x - x.mean(axis=0) for x in logs]
    axes = np.linalg.svd(np.vstack(logs), full_matrices=False)[2][:count]
    unit = [x @ axes.T for x in logs]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in unit]
    return 1 - unit[0] @ unit[1].T


def test_cosine_costs_are_those_of_joint_components_centred_per_section():
    pair = _pair()
    space = compare_features(pair, FeatureOptions(n_components=5), quiet())
    np.testing.assert_allclose(space.dense(), _reference(pair, 5), atol=2e-4)
    assert list(space.names) == list(pair.source.features)


def test_costs_of_some_pairs_are_those_of_the_full_matrix():
    space = compare_features(_pair(), FeatureOptions(), quiet())
    i, j = np.array([0, 5, 63, 5]), np.array([48, 0, 7, 7])
    np.testing.assert_allclose(space.on(i, j), space.dense()[i, j], atol=1e-6)
    assert space.shape == (64, 49)


def test_the_divergence_is_that_of_paste():
    pair = _pair()
    space = compare_features(pair, FeatureOptions(metric="kl"), quiet())
    x, y = (np.asarray(s.x.todense(), float) + 0.01 for s in (pair.source, pair.target))
    x, y = x / x.sum(axis=1, keepdims=True), y / y.sum(axis=1, keepdims=True)
    expected = np.array([[np.sum(p * np.log(p / q)) for q in y] for p in x])
    np.testing.assert_allclose(space.dense(), expected, atol=1e-4)


def test_dense_and_sparse_counts_and_any_order_of_features_give_the_same_costs():
    pair = _pair()
    order = np.random.default_rng(3).permutation(20)
    other = replace(
        pair,
        target=replace(
            pair.target,
            x=np.asarray(pair.target.x.todense())[:, order],
            features=pair.target.features[order],
        ),
    )
    one, two = (compare_features(p, FeatureOptions(), quiet()) for p in (pair, other))
    np.testing.assert_allclose(one.dense(), two.dense(), atol=1e-4)


def test_many_columns_have_the_axes_of_the_singular_value_decomposition(monkeypatch):
    from napari_stomics.methods.alignment import _components

    rng = np.random.default_rng(0)
    x = (rng.normal(size=(300, 6)) * [9, 7, 5, 4, 3, 2]) @ rng.normal(size=(6, 120))
    x = (x + 0.3 * rng.normal(size=x.shape)).astype(np.float32)
    exact = np.linalg.svd(x, full_matrices=False)[2][:6]
    for columns in (1000, 50):
        monkeypatch.setattr(_components, "_GRAM", columns)
        found = leading_axes(x, 6, np.random.default_rng(1))
        np.testing.assert_allclose(np.abs(np.sum(found.T * exact, axis=1)), 1, atol=1e-3)


def test_thinned_rows_give_nearly_the_same_components(monkeypatch):
    from napari_stomics.methods.alignment import _components

    pair = case().pair
    full = compare_features(pair, FeatureOptions(n_components=3), quiet()).dense()
    features._KEPT.clear()
    monkeypatch.setattr(_components, "_CELLS", 300 * 1000)
    thin = compare_features(pair, FeatureOptions(n_components=3), quiet()).dense()
    features._KEPT.clear()
    assert not np.array_equal(full, thin)
    assert np.corrcoef(full.ravel(), thin.ravel())[0, 1] > 0.9


def test_partners_look_alike():
    made = case()
    from scipy.spatial import cKDTree

    gap, partner = cKDTree(made.b).query(made.true)
    rows = np.flatnonzero(gap < 0.5)
    cost = made.space.dense()
    own = cost[rows, partner[rows]].mean()
    assert own < cost.mean() - 3 * cost[rows].mean(axis=1).std()


def test_a_shift_of_one_section_costs_nothing():
    pair = _pair()
    louder = np.asarray(pair.target.x.todense(), float) * 3
    moved = replace(pair, target=replace(pair.target, x=sparse.csr_array(louder)))
    one, two = (compare_features(p, FeatureOptions(), quiet()) for p in (pair, moved))
    assert np.corrcoef(one.dense().ravel(), two.dense().ravel())[0, 1] > 0.95


def test_without_features_every_match_costs_nothing_and_nothing_can_be_searched():
    other = _pair(modality="protein")
    space = compare_features(other, FeatureOptions(metric="none"), quiet())
    assert not space.dense().any()
    assert not space.on(np.array([1]), np.array([2])).any()
    assert not space.searchable
    assert len(space.names) == 0


def test_features_held_out_are_not_used():
    pair = _pair()
    space = compare_features(pair, FeatureOptions(held_out=0.25, seed=4), quiet())
    assert len(space.names) == 15
    out = ~np.isin(pair.source.features, space.names)
    changed = np.asarray(pair.source.x.todense()).copy()
    changed[:, out] = changed[::-1, out] * 7
    other = replace(pair, source=replace(pair.source, x=changed))
    again = compare_features(other, FeatureOptions(held_out=0.25, seed=4), quiet())
    np.testing.assert_allclose(space.dense(), again.dense(), atol=1e-5)
    assert set(compare_features(pair, FeatureOptions(held_out=0.25, seed=5), quiet()).names) != set(
        space.names
    )


def test_too_many_features_held_out_are_refused():
    with pytest.raises(UserError, match="held out"):
        compare_features(_pair(), FeatureOptions(held_out=0.97), quiet())


def test_proteins_and_embeddings_are_compared_in_their_own_way():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(64, 8)) * 5
    pair = SpotPair(
        spots(values, modality="embedding"),
        spots(values[::-1] + 0.0, modality="embedding", section="b"),
    )
    space = compare_features(pair, FeatureOptions(), quiet())
    assert (space.dense().argmin(axis=1) == np.arange(64)[::-1]).all()
    protein = SpotPair(
        spots(counts(), modality="protein"), spots(counts(), modality="protein", section="b")
    )
    assert (
        compare_features(protein, FeatureOptions(), quiet()).dense().argmin(axis=1) == np.arange(64)
    ).all()


def test_empty_spots_keep_their_place_without_any_preference():
    x = np.asarray(counts().todense()).copy()
    x[[3, 9]] = 0
    said = []
    pair = SpotPair(spots(sparse.csr_array(x)), spots(counts(seed=5), section="b"))
    space = compare_features(pair, FeatureOptions(), JobContext(on_warning=said.append))
    np.testing.assert_allclose(space.dense()[[3, 9]], 1.0)
    assert len(said) == 1
    assert "2 spots (s3, s9)" in said[0]
    assert "no counts" in said[0]


def _image(rng, blobs):
    """H&E-like image of 800 x 800 um whose density follows ``blobs`` per 100 um square."""
    dark = np.kron(blobs, np.ones((20, 20)))[..., None] * [90, 140, 60]
    return (235 - dark - rng.uniform(0, 8, (160, 160, 1))).clip(0, 255).astype(np.uint8)


def _histology(made, image):
    to_um = Affine(np.array([[5.0, 0, -50], [0, 5.0, -50], [0, 0, 1]]))
    return HistologySpots(made, SectionImage(made.section, (image,), to_um), 60.0)


def test_image_features_are_mixed_in_by_their_weight():
    rng = np.random.default_rng(1)
    blobs = rng.uniform(0, 1, (8, 8))
    a, b = spots(counts(64, 20, 1)), spots(counts(64, 20, 2), section="b")
    pair = SpotPair(
        a, b, histology=(_histology(a, _image(rng, blobs)), _histology(b, _image(rng, blobs)))
    )
    costs = {
        w: compare_features(pair, FeatureOptions(image_weight=w), quiet()).dense()
        for w in (0.0, 0.5, 1.0)
    }
    right = {w: (c.argmin(axis=1) == np.arange(64)).mean() for w, c in costs.items()}
    assert right[1.0] > 0.6
    assert right[0.0] < 0.2
    # Half and half is halfway, once the image's cost varies as much as the expression's.
    expression, image = costs[0.0], costs[1.0]
    scale = expression.std() / image.std()
    expected = 0.5 * expression + 0.5 * scale * image
    np.testing.assert_allclose(costs[0.5] - costs[0.5].mean(), expected - expected.mean(), atol=0.1)
    alone = compare_features(
        replace(pair, target=replace(b, modality="protein")),
        FeatureOptions(metric="none", image_weight=1.0),
        quiet(),
    )
    assert alone.searchable


def test_image_features_without_images_are_refused():
    with pytest.raises(UserError, match="no images"):
        compare_features(_pair(), FeatureOptions(image_weight=0.5), quiet())


def test_the_same_inputs_are_compared_once_and_warn_each_time(monkeypatch):
    features._KEPT.clear()
    calls = []
    whole = features._compare
    monkeypatch.setattr(features, "_compare", lambda *a: calls.append(1) or whole(*a))
    x = np.asarray(counts().todense()).copy()
    x[0] = 0
    said = []
    for _ in range(2):
        pair = SpotPair(spots(sparse.csr_array(x.copy())), spots(counts(seed=5), section="b"))
        compare_features(pair, FeatureOptions(), JobContext(on_warning=said.append))
    assert len(calls) == 1
    assert len(said) == 2
    compare_features(pair, FeatureOptions(n_components=3), quiet())
    assert len(calls) == 2


def test_it_stops_when_cancelled():
    features._KEPT.clear()
    with pytest.raises(JobCancelled):
        compare_features(_pair(), FeatureOptions(), JobContext(is_cancelled=lambda: True))
