import numpy as np
import pytest
from scipy import sparse

from napari_stomics.core.errors import JobCancelled
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.fusion.nets._sparse import Edges, feature_graph, normalised, product


def _graph(n=40, seed=0):
    rng = np.random.default_rng(seed)
    half = sparse.random_array((n, n), density=0.1, rng=rng, format="csr", dtype=np.float32)
    half.data[:] = 1.0
    full = sparse.csr_array(half + half.T)
    full.setdiag(0)
    full.eliminate_zeros()
    full.data[:] = 1.0
    return full


def test_the_normalised_graph_is_symmetric_and_of_spectral_radius_one():
    matrix = normalised(_graph()).toarray()
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-7)
    assert np.abs(np.linalg.eigvalsh(matrix)).max() == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_array_equal(np.diag(matrix) > 0, True)


def test_spots_that_take_no_part_keep_their_loop_alone():
    present = np.arange(40) % 3 > 0
    matrix = normalised(_graph(), present).toarray()
    gone = np.flatnonzero(~present)
    np.testing.assert_array_equal(matrix[gone][:, gone], np.eye(len(gone)))
    assert not matrix[np.ix_(gone, np.flatnonzero(present))].any()


@pytest.mark.parametrize("symmetric", [True, False])
def test_gradients_of_the_sparse_product_are_those_of_the_dense_one(symmetric):
    import torch

    matrix = normalised(_graph())
    if not symmetric:
        matrix = sparse.csr_array(matrix.multiply(np.arange(1, 41)[:, None])).astype(np.float32)
    dense = torch.from_numpy(matrix.toarray())
    start = torch.from_numpy(np.random.default_rng(1).standard_normal((40, 5)).astype(np.float32))
    answers = []
    for times in (product(matrix, JobContext()), lambda x: dense @ x):
        x = start.clone().requires_grad_()
        out = times(times(x).tanh()).square().sum()
        out.backward()
        answers.append((out.item(), x.grad.numpy()))
    assert answers[0][0] == pytest.approx(answers[1][0], rel=1e-5)
    np.testing.assert_allclose(answers[0][1], answers[1][1], rtol=1e-4, atol=1e-4)


def test_attention_over_edges_and_its_gradients_are_those_of_the_dense_one():
    import torch

    graph = sparse.csr_array(_graph() + sparse.eye_array(40, dtype=np.float32))
    edges = Edges(graph, JobContext())
    rng = np.random.default_rng(2)
    rows, columns = torch.from_numpy(edges.rows), torch.from_numpy(edges.columns).long()
    answers = []
    for dense in (False, True):
        left = torch.from_numpy(rng.standard_normal(40).astype(np.float32))
        rng = np.random.default_rng(2)
        left = torch.from_numpy(rng.standard_normal(40).astype(np.float32)).requires_grad_()
        x = torch.from_numpy(rng.standard_normal((40, 6)).astype(np.float32)).requires_grad_()
        logits = left[rows] * 1.5 + left[columns].tanh()
        if dense:
            full = torch.full((40, 40), -torch.inf)
            full[rows, columns] = logits
            out = torch.softmax(full, 1) @ x
        else:
            out = edges.sum(edges.softmax(logits), x)
        out.pow(3).sum().backward()
        answers.append([t.detach().numpy() for t in (out, left.grad, x.grad)])
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_attention_of_every_spot_sums_to_one():
    import torch

    edges = Edges(sparse.csr_array(_graph() + sparse.eye_array(40)), JobContext())
    weights = edges.softmax(torch.linspace(-90, 90, len(edges.rows)))
    np.testing.assert_allclose(edges.matrix(weights.numpy()).sum(axis=1), 1.0, atol=1e-5)


def test_the_feature_graph_joins_the_most_correlated_spots_that_have_the_modality():
    rng = np.random.default_rng(3)
    scores = rng.standard_normal((60, 8)).astype(np.float32)
    present = np.arange(60) < 50
    graph = feature_graph(scores, present, 4, JobContext()).toarray()
    np.testing.assert_array_equal(graph, graph.T)
    assert not np.diag(graph).any()
    assert not graph[50:].any()
    alike = np.corrcoef(scores[:50])
    np.fill_diagonal(alike, -2)
    for i in range(50):
        assert graph[i, np.argsort(-alike[i])[:4]].all()


def test_a_cancelled_job_ends_within_the_product_and_within_its_gradient():
    import torch

    stop = []
    times = product(normalised(_graph()), JobContext(is_cancelled=lambda: bool(stop)))
    out = times(torch.ones(40, 2, requires_grad=True)).sum()
    stop.append(True)
    with pytest.raises(JobCancelled):
        out.backward()
    with pytest.raises(JobCancelled):
        times(torch.ones(40, 2))
