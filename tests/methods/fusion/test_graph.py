import numpy as np
import pytest

from napari_stomics.methods.fusion.graph import coordinate_graph, diffuse, morans_i, walk


def _grid(side):
    at = np.arange(side * side)
    return np.stack([at % side, at // side], 1).astype(float)


def test_the_graph_is_symmetric_without_loops_and_stays_within_sections():
    xy = np.tile(_grid(6), (2, 1))
    of = np.repeat([0, 1], 36)
    graph = coordinate_graph(xy, of, 4)
    assert (graph != graph.T).nnz == 0
    assert graph.diagonal().sum() == 0
    rows, columns = graph.nonzero()
    assert (of[rows] == of[columns]).all()
    assert set(graph.data) == {1.0}


def test_registered_sections_are_joined_where_spots_lie_over_each_other():
    xy = np.tile(_grid(6), (2, 1))
    of = np.repeat([0, 1], 36)
    placed = np.concatenate([xy[:36], xy[:36] + np.array([2.0, 0])])
    graph = coordinate_graph(xy, of, 4, placed, (1.0, 1.0))
    rows, columns = graph.nonzero()
    across = of[rows] != of[columns]
    assert across.any()
    apart = np.linalg.norm(placed[rows] - placed[columns], axis=1)
    assert apart[across].max() <= 1.0


def test_spots_at_one_place_and_lone_sections_are_taken():
    xy = np.zeros((5, 2))
    graph = coordinate_graph(xy, np.array([0, 0, 0, 0, 1]), 3)
    assert graph.diagonal().sum() == 0
    np.testing.assert_allclose(walk(graph).sum(axis=1), 1, rtol=1e-6)
    assert graph[[4]].nnz == 0


def test_a_walk_keeps_constants_and_shrinks_noise():
    step = walk(coordinate_graph(_grid(12), np.zeros(144, int), 4))
    np.testing.assert_allclose(diffuse(step, np.ones((144, 1)), 5), 1, rtol=1e-5)
    noise = np.random.default_rng(0).normal(size=(144, 3))
    assert diffuse(step, noise, 3).std() < 0.5 * noise.std()


@pytest.mark.parametrize("form", ["dense", "csr"])
def test_morans_i_is_that_of_its_definition(form):
    from scipy import sparse

    rng = np.random.default_rng(0)
    xy = _grid(9)
    graph = coordinate_graph(xy, np.zeros(81, int), 4)
    x = rng.poisson(2.0, (81, 4)).astype(np.float32)
    x[:, 1] = xy[:, 0]
    x[:, 3] = 5
    weights = graph.toarray() / graph.toarray().sum(axis=1, keepdims=True)
    z = x - x.mean(axis=0)
    expected = [
        81 / weights.sum() * (z[:, i] @ weights @ z[:, i]) / (z[:, i] @ z[:, i]) for i in range(3)
    ]
    found = morans_i(graph, sparse.csr_array(x) if form == "csr" else x)
    np.testing.assert_allclose(found[:3], expected, atol=1e-5)
    assert found[3] == 0
    assert found[1] > 0.8
