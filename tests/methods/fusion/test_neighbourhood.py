from dataclasses import replace

import numpy as np
import pytest

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.fusion import FusionInputs
from napari_stomics.methods.fusion.components import Features
from napari_stomics.methods.fusion.neighbourhood import (
    Augmented,
    NeighbourhoodParams,
    augmented_components,
    fuse_neighbourhoods,
    neighbourhood_filters,
)
from tests.methods.fusion.planted import (
    block,
    cancelling_after,
    counts,
    grid,
    inputs_of,
    quarters,
    quiet,
    same_groups,
)

LABELS = quarters(14)


@pytest.fixture(scope="module")
def inputs() -> FusionInputs:
    return inputs_of(
        block("rna", counts(LABELS, 40, 1, effect=1.6)),
        block("protein", counts(LABELS, 12, 2, effect=1.6), kind="protein"),
    )


def _features(x: np.ndarray) -> Features:
    width = x.shape[1]
    names = np.array([f"g{i}" for i in range(width)], object)
    zero = np.zeros(len(x), np.intp)
    return Features(x.astype(np.float32), names, np.zeros((1, width)), np.ones(width), zero)


def test_the_mean_weighs_neighbours_by_their_distance():
    xy = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [9.0, 9.0]])
    filters = neighbourhood_filters(xy, np.zeros(4, np.intp), 2, gradient=False)
    reach = np.sqrt(((xy[:, None] - xy[None]) ** 2).sum(axis=2))
    near = np.sort(reach, axis=1)[:, 1:3]
    width = np.median(near)
    weight = np.exp(-((near[0] / width) ** 2))
    expected = np.zeros(4)
    expected[[1, 2]] = weight / weight.sum()
    np.testing.assert_allclose(filters.mean.toarray()[0], expected, rtol=1e-6)
    np.testing.assert_allclose(filters.mean.sum(axis=1), 1, rtol=1e-6)
    assert filters.real is None


def test_the_gradient_is_zero_where_nothing_changes_and_blind_to_direction():
    xy = grid(15)
    filters = neighbourhood_filters(xy, np.zeros(len(xy), np.intp), 4)
    inner = np.flatnonzero(((xy > 300) & (xy < 1100)).all(axis=1))

    def size(values: np.ndarray) -> np.ndarray:
        return np.hypot(filters.real @ values, filters.imaginary @ values)[inner]

    np.testing.assert_allclose(size(np.ones(len(xy), np.float32)), 0, atol=1e-6)
    along_x, along_y = size(xy[:, 0] / 100), size(xy[:, 1] / 100)
    assert along_x.min() > 0.3
    np.testing.assert_allclose(along_x, along_y, rtol=1e-4)
    np.testing.assert_allclose(size(xy[:, 0] / 50), 2 * along_x, rtol=1e-4)


def test_spots_at_one_place_and_single_spots_do_no_harm():
    xy = np.zeros((6, 2))
    filters = neighbourhood_filters(xy, np.array([0, 0, 0, 0, 0, 1]), 3)
    assert np.isfinite(filters.real.toarray()).all()
    np.testing.assert_allclose(filters.mean.sum(axis=1), [1, 1, 1, 1, 1, 0], rtol=1e-6)
    assert filters.mean.diagonal().max() == 0


def test_neighbours_lie_in_the_same_section():
    of = np.repeat([0, 1], 49)
    filters = neighbourhood_filters(np.tile(grid(7), (2, 1)), of, 5)
    left, right = filters.mean.nonzero()
    assert (of[left] == of[right]).all()


def test_components_are_those_of_the_whole_matrix():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(144, 9)) @ rng.normal(size=(9, 9))
    filters = neighbourhood_filters(grid(12), np.zeros(144, np.intp), 6)
    wide = Augmented(_features(x), filters, 0.4)
    whole = np.zeros((144, wide.width))
    for at, part in wide.chunks():
        whole[:, at] = part
    energy = (whole**2).mean(axis=0)
    np.testing.assert_allclose(energy[:9], 0.6, rtol=1e-4)
    np.testing.assert_allclose(energy[9:18], 0.4 * 2 / 3, rtol=1e-4)
    np.testing.assert_allclose(energy[18:], 0.4 / 3, rtol=1e-4)
    scores, axes = augmented_components(wide, 5)
    _, values, right = np.linalg.svd(whole, full_matrices=False)
    np.testing.assert_allclose(np.linalg.norm(scores, axis=0), values[:5], rtol=1e-3)
    np.testing.assert_allclose(np.abs(np.sum(axes * right[:5], axis=1)), 1, atol=1e-2)


def test_domains_are_seen_through_noise_better_than_without_neighbours(inputs):
    with_them = quiet(fuse_neighbourhoods, inputs, NeighbourhoodParams(basis_steps=0, n_output=5))
    alone = quiet(
        fuse_neighbourhoods, inputs, NeighbourhoodParams(mixing=0.0, basis_steps=0, n_output=5)
    )
    assert same_groups(with_them.values, LABELS) > 0.8
    assert same_groups(with_them.values, LABELS) > same_groups(alone.values, LABELS) + 0.1


def test_loadings_name_each_part(inputs):
    made = quiet(fuse_neighbourhoods, inputs, NeighbourhoodParams(n_output=4))
    names = made.loadings["rna"].features
    assert len(names) == 120
    assert names[0] == "rna_0"
    assert {"rna_3 (neighbours)", "rna_3 (gradient)"} <= set(names)
    assert made.loadings["rna"].values.shape == (4, 120)
    plain = quiet(fuse_neighbourhoods, inputs, NeighbourhoodParams(n_output=4, gradient=False))
    assert len(plain.loadings["rna"].features) == 80


def test_several_sections_and_missing_spots():
    both = np.concatenate([LABELS, LABELS])
    rows = np.arange(100, 2 * len(LABELS))
    protein = block("protein", counts(both, 12, 4)[rows], rows, "protein")
    inputs = inputs_of(block("rna", counts(both, 40, 3)), protein, sections=2)
    made = quiet(fuse_neighbourhoods, inputs, NeighbourhoodParams(n_output=5))
    assert same_groups(made.values, both) > 0.8
    assert (made.spot_weights[:100, 1] == 0).all()
    np.testing.assert_allclose(made.spot_weights.sum(axis=1), 1, rtol=1e-5)


def test_it_repeats_to_the_bit(inputs):
    first = quiet(fuse_neighbourhoods, inputs, NeighbourhoodParams())
    again = quiet(fuse_neighbourhoods, inputs, NeighbourhoodParams())
    np.testing.assert_array_equal(first.values, again.values)


def test_it_stops_when_cancelled(inputs):
    with pytest.raises(JobCancelled):
        fuse_neighbourhoods(inputs, NeighbourhoodParams(), cancelling_after(8))


def test_bad_input_is_refused_with_the_way_out(inputs):
    with pytest.raises(UserError, match="is no weight"):
        quiet(fuse_neighbourhoods, inputs, NeighbourhoodParams(weights="lipids=2"))
    empty = replace(inputs.blocks[0], x=np.zeros_like(inputs.blocks[0].x))
    with pytest.raises(UserError, match="'rna' is empty"):
        quiet(fuse_neighbourhoods, replace(inputs, blocks=(empty,)), NeighbourhoodParams())
