from dataclasses import replace

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.plane import PlaneInputs
from napari_stomics.methods.morphology.fields import (
    correlogram,
    normal_scores,
    random_fields,
    standardised,
)
from napari_stomics.methods.morphology.gain import held_out_gain, spatial_blocks
from napari_stomics.methods.morphology.plane import PlaneParams, morphology_plane
from napari_stomics.methods.morphology.relevance import (
    entropy_of,
    largest_correlation,
    mutual_information,
)
from napari_stomics.metrics.spatial import morans_i, neighbour_graph
from tests.small import hushed


class Ground:
    """Irregular tissue with smooth fields on it, by another recipe than the null's."""

    def __init__(self, seed: int, spots: int = 500) -> None:
        from scipy import ndimage

        self.rng = np.random.default_rng(seed)
        self.side = int(np.sqrt(spots / 0.6))
        height = ndimage.gaussian_filter(
            self.rng.standard_normal((self.side, self.side)), self.side / 6
        )
        self.at = np.nonzero(height > np.quantile(height, 0.4))
        self.xy = 100.0 * np.column_stack([self.at[1] + 0.5 * (self.at[0] % 2), self.at[0] * 0.866])

    def field(self, smooth: float, noise: float = 0.0) -> np.ndarray:
        from scipy import ndimage

        wide = self.rng.standard_normal((self.side + 60, self.side + 60))
        if smooth:
            wide = ndimage.gaussian_filter(wide, smooth)
        own = wide[30:-30, 30:-30][self.at]
        own = (own - own.mean()) / own.std()
        return np.sqrt(1 - noise) * own + np.sqrt(noise) * self.rng.standard_normal(len(own))

    def inputs(self, features, genes, labels) -> PlaneInputs:
        names = [np.array([f"{w}{i}" for i in range(m.shape[1])], object)
                 for w, m in (("f", features), ("g", genes))]  # fmt: skip
        return PlaneInputs(
            "s", np.arange(len(self.xy)).astype(str).astype(object), self.xy, 100.0, features,
            names[0], "image", genes, names[1], "rna", ("image", "embedding"),
            np.asarray(labels).astype(str).astype(object), "annotation",
        )  # fmt: skip


def _labels(field, shares=(0.3, 0.6, 0.8)):
    return np.digitize(field, np.quantile(field, shares))


def test_planted_features_land_in_their_quadrants():
    ground = Ground(4, 900)
    label, program = ground.field(3), ground.field(3)
    features = np.column_stack(
        [
            label + 0.2 * ground.field(0),  # also a gene: translation
            np.abs(label - 0.7) + 0.1 * ground.field(0),  # monotone in no gene: integration
            ground.field(0),  # noise
            program + 0.2 * ground.field(0),  # a gene that has nothing to do with the labels
        ]
    )
    genes = np.column_stack(
        [label + 0.3 * ground.field(0), program + 0.3 * ground.field(0)]
        + [ground.field(2, 0.7) for _ in range(20)]
    )
    labels = (np.abs(label - 0.7) > 0.9).astype(int) + 2 * (label > 0.7)
    found = morphology_plane(
        ground.inputs(features, genes, labels), PlaneParams(gain=False), hushed()
    )
    assert found.quadrant[0] == "translation"
    assert found.gene[0] == "g0"
    assert found.quadrant[2] == "noise"
    assert found.quadrant[3] == "overestimation"
    assert found.gene[3] == "g1"
    assert found.relevance[1] > found.relevance_null[1]
    assert found.moran[0] > 0.5 > abs(found.moran[2]) + 0.3


def test_a_relevant_feature_that_no_gene_shares_is_for_integration():
    ground = Ground(0, 700)
    label = ground.field(3)
    genes = np.column_stack([ground.field(0) for _ in range(15)])
    features = np.column_stack([label + 0.3 * ground.field(0)])
    found = morphology_plane(
        ground.inputs(features, genes, _labels(label)), PlaneParams(gain=False), hushed()
    )
    assert found.quadrant[0] == "integration"
    assert found.of("integration") == ["f0"]
    assert "integration" in found.verdict()


def test_unrelated_smooth_fields_pass_the_spatial_null_at_about_five_in_a_hundred():
    hits = {"relevance": [], "shared": [], "floor": []}
    for seed in range(12):
        ground = Ground(seed)
        smooth = [0, 1, 2, 4, 6] * 8
        noise = np.repeat([0.0, 0.5], 20)
        features = np.column_stack([ground.field(s, e) for s, e in zip(smooth, noise, strict=True)])
        features[:, ::3] = np.exp(features[:, ::3])
        genes = np.column_stack(
            [ground.field(ground.rng.choice([0, 1, 2, 4]), 0.4) for _ in range(30)]
        )
        labels = _labels(ground.field(ground.rng.choice([2, 4])))
        found = morphology_plane(
            ground.inputs(features, genes, labels), PlaneParams(gain=False, seed=seed), hushed()
        )
        hits["relevance"].append(found.relevance > found.relevance_null)
        hits["shared"].append(found.shared > found.shared_null)
        hits["floor"].append(found.shared > found.shared_floor)
    rates = {name: float(np.mean(values)) for name, values in hits.items()}
    assert 0.01 < rates["relevance"] < 0.11
    assert 0.01 < rates["shared"] < 0.09
    assert rates["floor"] > 0.4  # what permuted labels would have let through


def test_information_is_that_of_known_distributions():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 3000)
    x = np.column_stack([labels + 0.01 * rng.random(3000), rng.random(3000), np.zeros(3000)])
    found = mutual_information(x, labels, hushed()) / entropy_of(labels)
    np.testing.assert_allclose(found, [1, 0, 0], atol=0.1)  # bins and labels do not align
    np.testing.assert_allclose(found[1:], 0, atol=0.01)
    shuffled = mutual_information(np.exp(3 * x), labels, hushed()) / entropy_of(labels)
    np.testing.assert_allclose(shuffled, found, atol=1e-6)


def test_information_agrees_with_the_nearest_neighbour_estimate():
    from sklearn.feature_selection import mutual_info_classif

    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 1500)
    x = labels[:, None] * np.linspace(0, 1.5, 8) + rng.standard_normal((1500, 8))
    ours = mutual_information(x, labels, hushed())
    theirs = mutual_info_classif(x, labels, n_neighbors=3, random_state=0)
    np.testing.assert_allclose(ours, theirs, atol=0.05)


def test_the_largest_correlation_is_found_across_blocks_dense_and_sparse():
    from scipy import sparse

    rng = np.random.default_rng(2)
    y = rng.poisson(0.4, (300, 1200)).astype(np.float32)
    x = standardised(rng.standard_normal((300, 3)))
    x[:, 1] = standardised(-y[:, [1100]])[:, 0]
    full = np.corrcoef(x.T, y.T)[:3, 3:]
    for matrix in (y, sparse.csr_array(y)):
        value, column = largest_correlation(x, matrix, hushed())
        np.testing.assert_array_equal(column, np.abs(full).argmax(axis=1))
        np.testing.assert_allclose(value, full[np.arange(3), column], atol=1e-5)
    assert column[1] == 1100
    assert value[1] == pytest.approx(-1, abs=1e-5)


def test_random_fields_range_from_noise_to_gradients_and_are_the_same_again():
    ground = Ground(0)
    fields, white = random_fields(ground.xy, 100.0, 200, 5, hushed())
    again, _ = random_fields(ground.xy, 100.0, 200, 5, hushed())
    np.testing.assert_array_equal(fields, again)
    moran = morans_i(neighbour_graph(ground.xy), fields)
    assert np.abs(moran[white]).max() < 0.2
    assert moran.max() > 0.9
    near = correlogram(ground.xy, 100.0, 0).of(fields)[0]
    assert np.corrcoef(near, moran)[0, 1] > 0.95


def test_normal_scores_keep_the_order_and_forget_the_tails():
    x = np.exp(3 * np.random.default_rng(0).standard_normal((500, 2)))
    scores = normal_scores(x)
    np.testing.assert_array_equal(np.argsort(scores, axis=0), np.argsort(x, axis=0))
    assert np.abs(scores).max() < 4


def test_a_modality_that_knows_more_gains_and_noise_does_not():
    ground = Ground(6, 800)
    label = ground.field(3)
    labels = _labels(label)
    base = np.column_stack([label + 2.0 * ground.field(0), ground.field(2)])
    helps = np.column_stack([label + 0.2 * ground.field(0)])
    noise = np.column_stack([ground.field(0), ground.field(3)])
    good = held_out_gain(base, helps, labels, ground.xy, hushed())
    assert good.helps is True
    assert good.low > 0.1
    assert "helps" in good.sentence("image", "rna")
    none = held_out_gain(base, noise, labels, ground.xy, hushed())
    assert not none.helps
    assert "does not help" in none.sentence("image", "rna")
    assert none.low < none.value < none.high


def test_the_gain_is_not_fooled_by_neighbours():
    """A field of its own identifies places: blocks held out, it is worth nothing."""
    ground = Ground(8, 700)
    labels = _labels(ground.field(2))
    places = np.column_stack([ground.field(2) for _ in range(6)])
    found = held_out_gain(np.zeros((len(labels), 1)), places, labels, ground.xy, hushed())
    assert found.value < 0.1


def test_too_little_to_measure_is_said_in_words():
    xy = np.random.default_rng(0).random((40, 2)) * 100
    found = held_out_gain(np.ones((40, 1)), np.ones((40, 1)), np.arange(40), xy, hushed())
    assert found.helps is None
    assert "could not be measured" in found.sentence("image", "rna")


def test_blocks_are_as_many_as_asked_for():
    ground = Ground(3)
    blocks = spatial_blocks(ground.xy, 30)
    assert 25 <= blocks.max() + 1 <= 45


def test_what_cannot_be_judged_is_refused():
    ground = Ground(0)
    x, y = np.column_stack([ground.field(1)]), np.column_stack([ground.field(1)])
    labels = _labels(ground.field(3)).astype(str).astype(object)
    good = ground.inputs(x, y, labels)
    for change, words in (
        ({"labels": np.full(len(labels), "", object)}, "too few"),
        ({"labels": np.full(len(labels), "one", object)}, "same label"),
        ({"x": np.ones_like(x)}, "varies"),
        ({"y": np.where(np.arange(len(y))[:, None] == 3, np.nan, y)}, "NaN"),
    ):
        with pytest.raises(UserError, match=words):
            morphology_plane(replace(good, **change), PlaneParams(), hushed())


def test_spots_that_are_not_to_be_trusted_have_no_say():
    ground = Ground(2)
    labels = _labels(ground.field(3)).astype(str).astype(object)
    x = np.column_stack([ground.field(1)])
    inputs = ground.inputs(x, np.column_stack([ground.field(1)]), labels)
    usable = np.arange(len(labels)) % 3 > 0
    spoiled = np.where(usable[:, None], x, 1e6)
    params = PlaneParams(gain=False, null_fields=200)
    a = morphology_plane(replace(inputs, usable=usable), params, hushed())
    b = morphology_plane(replace(inputs, x=spoiled, usable=usable), params, hushed())
    assert a.spots == usable.sum()
    assert a.relevance[0] == b.relevance[0]


def test_of_very_many_spots_a_sample_is_judged():
    ground = Ground(2)
    labels = _labels(ground.field(3)).astype(str).astype(object)
    inputs = ground.inputs(
        np.column_stack([ground.field(1)]), np.column_stack([ground.field(1)]), labels
    )
    params = PlaneParams(gain=False, null_fields=200, most_spots=150)
    found = morphology_plane(inputs, params, hushed())
    assert found.spots == 150
    assert found.relevance[0] == morphology_plane(inputs, params, hushed()).relevance[0]
