from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.fusion import FusionInputs
from napari_stomics.methods.fusion.wnn import WnnParams, fuse_wnn
from napari_stomics.methods.fusion.wnn_graph import (
    joint_graph,
    modality_weights,
    spectral_embedding,
)
from napari_stomics.methods.preprocess import unit_rows
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
    return inputs_of(
        block("rna", counts(LABELS, 40, 1)),
        block("protein", counts(LABELS, 12, 2), kind="protein"),
    )


def _clusters(labels: np.ndarray, seed: int, noise: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = 3 * np.eye(int(labels.max()) + 1, 5)
    return unit_rows(centres[labels] + rng.normal(size=(len(labels), 5)) * noise)


def test_weights_favour_the_informative_modality():
    noise = unit_rows(np.random.default_rng(0).normal(size=(len(LABELS), 5)))
    present = np.ones((len(LABELS), 2), bool)
    weights = modality_weights([_clusters(LABELS, 1), noise], present, 10)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert np.median(weights[:, 0]) > 0.75
    turned = modality_weights([noise, _clusters(LABELS, 1)], present, 10)
    np.testing.assert_allclose(turned, weights[:, ::-1])


def test_weights_differ_from_place_to_place():
    """Each modality tells the groups of one half apart and is noise within the other half."""
    upper, lower = np.flatnonzero(LABELS < 2), np.flatnonzero(LABELS >= 2)
    rng = np.random.default_rng(3)
    first, second = _clusters(LABELS, 1), _clusters(LABELS, 2)
    first[lower] = unit_rows(rng.normal(size=(len(lower), 5)))
    second[upper] = unit_rows(rng.normal(size=(len(upper), 5)))
    weights = modality_weights([first, second], np.ones((len(LABELS), 2), bool), 10)
    assert np.median(weights[upper, 0]) > 0.6
    assert np.median(weights[lower, 0]) < 0.4


def test_a_spot_rests_on_the_modalities_it_has():
    present = np.ones((len(LABELS), 3), bool)
    present[:40, 1] = False
    present[0] = False
    blocks = [np.where(present[:, [m]], _clusters(LABELS, m), 0) for m in range(3)]
    weights = modality_weights(blocks, present, 8)
    assert (weights[1:40, 1] == 0).all()
    np.testing.assert_allclose(weights[0], 1 / 3)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    graph = joint_graph(blocks, present, weights, 8)
    assert graph[[0]].nnz == 0
    assert (np.diff(graph.indptr)[1:] >= 8).all()


def test_the_joint_graph_joins_spots_of_the_same_group():
    pairs, shifted = LABELS // 2, np.array([0, 1, 1, 0])[LABELS]
    blocks = [_clusters(pairs, 1), _clusters(shifted, 2)]
    present = np.ones((len(LABELS), 2), bool)
    graph = joint_graph(blocks, present, np.full((len(LABELS), 2), 0.5), 10).tocoo()
    same = LABELS[graph.row] == LABELS[graph.col]
    assert graph.data[same].sum() > 0.95 * graph.data.sum()
    assert abs(graph - graph.T).max() == 0
    assert graph.diagonal().max() == 0


def test_the_spectrum_is_that_of_the_laplacian():
    rng = np.random.default_rng(0)
    dense = np.triu(rng.random((40, 40)) * (rng.random((40, 40)) < 0.3), 1)
    dense += dense.T
    found = spectral_embedding(sparse.csr_array(dense), 3)
    degrees = dense.sum(axis=1)
    walk = dense / degrees[:, None]
    for j in range(3):
        value = float(found[:, j] @ (walk @ found[:, j]) / (found[:, j] @ found[:, j]))
        np.testing.assert_allclose(walk @ found[:, j], value * found[:, j], atol=1e-6)
        assert abs(float(degrees @ found[:, j])) < 1e-6
    expected = np.sort(np.linalg.eigvals(walk).real)[::-1][1:4]
    sizes = np.sqrt((degrees[:, None] * found**2).sum(axis=0) / degrees.sum())
    np.testing.assert_allclose(sizes, np.clip(expected, 0, 1), atol=1e-6)


def test_separate_parts_of_a_graph_are_told_apart():
    dense = np.kron(np.eye(3), np.ones((10, 10))) - np.eye(30)
    found = spectral_embedding(sparse.csr_array(dense), 3)
    assert same_groups(found, np.repeat([0, 1, 2], 10)) == 1.0


def test_groups_are_found_and_weights_reported(inputs):
    made = quiet(fuse_wnn, inputs, WnnParams(k=10))
    assert same_groups(made.values[:, :4], LABELS) > 0.9
    np.testing.assert_allclose(made.spot_weights.sum(axis=1), 1, rtol=1e-5)
    assert sum(made.weights.values()) == pytest.approx(1)
    noise = replace(inputs.blocks[1], x=counts(np.zeros_like(LABELS), 12, 5))
    made = quiet(fuse_wnn, replace(inputs, blocks=(inputs.blocks[0], noise)), WnnParams(k=10))
    assert made.weights["rna"] > made.weights["protein"]


def test_several_sections_and_missing_spots(inputs):
    both = np.concatenate([LABELS, LABELS])
    rows = np.arange(100, 2 * len(LABELS))
    protein = block("protein", counts(both, 12, 4)[rows], rows, "protein")
    two = inputs_of(block("rna", counts(both, 40, 3)), protein, sections=2)
    made = quiet(fuse_wnn, two, WnnParams(k=10))
    assert same_groups(made.values[:, :4], both) > 0.8
    assert (made.spot_weights[:100, 1] == 0).all()


def test_it_repeats_to_the_bit(inputs):
    first = quiet(fuse_wnn, inputs, WnnParams(k=10))
    np.testing.assert_array_equal(first.values, quiet(fuse_wnn, inputs, WnnParams(k=10)).values)


def test_it_stops_when_cancelled(inputs):
    with pytest.raises(JobCancelled):
        fuse_wnn(inputs, WnnParams(k=10), cancelling_after(8))


def test_bad_input_is_refused_with_the_way_out(inputs):
    with pytest.raises(UserError, match="compare at least two"):
        quiet(fuse_wnn, replace(inputs, blocks=inputs.blocks[:1]), WnnParams())
    with pytest.raises(UserError, match="196 neighbours are asked for"):
        quiet(fuse_wnn, inputs, WnnParams(k=196))
