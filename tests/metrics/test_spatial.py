"""Spatial scores: equal to squidpy and esda, and to what can be worked out by hand."""

import warnings

import numpy as np
import pytest
from scipy import sparse

from napari_stomics.metrics.spatial import (
    autocorrelation,
    chaos,
    domain_indicators,
    gearys_c,
    isolated_spots,
    morans_i,
    neighbour_graph,
    pas,
    row_standardised,
)

LINE = np.column_stack([np.arange(6.0), np.zeros(6)])


@pytest.fixture(scope="module")
def field():
    """Some spots, their graph with one spot that has no neighbour, and values."""
    rng = np.random.default_rng(3)
    xy = rng.uniform(0, 100, (120, 2))
    graph = neighbour_graph(xy, 5).tolil()
    graph[7, :] = 0
    graph[:, 7] = 0
    smooth = np.sin(xy @ rng.normal(0, 0.05, (2, 4))) + rng.normal(0, 0.3, (120, 4))
    counts = rng.poisson(np.exp(smooth[:, :2])).astype(float)
    return sparse.csr_array(graph), np.hstack([smooth, counts])


def test_they_equal_esda(field):
    graph, x = field
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from esda import Geary, Moran
        from libpysal.weights import WSP

        weights = WSP(sparse.csr_matrix(graph)).to_W(silence_warnings=True)
        found = autocorrelation(graph, x)
        for g in range(x.shape[1]):
            moran = Moran(x[:, g], weights, transformation="r", permutations=0)
            geary = Geary(x[:, g], weights, transformation="r", permutations=0)
            assert found.morans_i[g] == pytest.approx(moran.I, abs=1e-9)
            assert found.morans_z[g] == pytest.approx(moran.z_rand, abs=1e-6)
            assert found.morans_p[g] == pytest.approx(moran.p_rand, abs=1e-6)
            assert found.gearys_c[g] == pytest.approx(geary.C, abs=1e-9)
            assert found.gearys_z[g] == pytest.approx(geary.z_rand, abs=1e-6)
            assert found.gearys_p[g] == pytest.approx(2 * geary.p_rand, abs=1e-6)
        binary = Moran(x[:, 0], weights, transformation="b", permutations=0)
        assert morans_i(graph, x[:, :1], standardise=False)[0] == pytest.approx(binary.I, abs=1e-9)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_they_equal_squidpy(field, kind):
    import squidpy as sq
    from anndata import AnnData

    graph, x = field
    matrix = sparse.csr_matrix(x) if kind == "sparse" else x
    table = AnnData(matrix, obsp={"spatial_connectivities": sparse.csr_matrix(graph)})
    options = {"n_perms": None, "n_jobs": 1, "copy": True, "show_progress_bar": False}
    moran = sq.gr.spatial_autocorr(table, mode="moran", **options).loc[table.var_names]
    geary = sq.gr.spatial_autocorr(table, mode="geary", **options).loc[table.var_names]
    np.testing.assert_allclose(morans_i(graph, matrix), moran["I"], atol=1e-6)
    np.testing.assert_allclose(gearys_c(graph, matrix), geary["C"], atol=1e-6)


def test_many_columns_come_out_as_one_by_one():
    rng = np.random.default_rng(0)
    graph = neighbour_graph(rng.uniform(0, 1, (60, 2)), 4)
    x = sparse.random_array((60, 600), density=0.2, rng=rng, format="csr")
    together = morans_i(graph, x)
    for g in (0, 255, 256, 599):
        assert together[g] == pytest.approx(morans_i(graph, x.toarray()[:, [g]])[0], abs=1e-12)


def test_autocorrelation_by_hand():
    # A line of four with values 1, 1, -1, -1: 3 edges, both ways 6; 4/6 * (1 - 1 + 1) * 2 / 4.
    graph = neighbour_graph(LINE[:4], 1)
    graph = sparse.csr_array(np.eye(4, k=1) + np.eye(4, k=-1))
    x = np.array([[1.0], [1.0], [-1.0], [-1.0]])
    found = autocorrelation(graph, x, standardise=False)
    assert found.morans_i[0] == pytest.approx(1 / 3)
    # Only the middle edge differs: 3 * 2 * 4 / (2 * 6 * 4).
    assert found.gearys_c[0] == pytest.approx(0.5)
    assert found.likeness[0] == pytest.approx(0.5)


def test_what_has_no_variation_or_no_neighbour_has_no_score():
    graph = neighbour_graph(LINE, 2)
    found = autocorrelation(graph, np.column_stack([np.full(6, 3.3), np.arange(6)]))
    assert np.isnan(found.morans_i[0])
    assert np.isnan(found.gearys_c[0])
    assert np.isnan(found.morans_p[0])
    assert np.isfinite(found.morans_i[1])
    nothing = autocorrelation(sparse.csr_array((6, 6)), np.arange(6.0)[:, None])
    assert np.isnan(nothing.morans_i[0])
    assert np.isnan(nothing.gearys_p[0])
    two = autocorrelation(neighbour_graph(LINE[:2]), np.array([[0.0], [1.0]]))
    assert two.morans_i[0] == pytest.approx(-1)
    assert np.isnan(two.morans_z[0])


def test_neighbours_are_of_the_same_section():
    xy = np.vstack([LINE, LINE])
    graph = neighbour_graph(xy, 2, np.repeat([0, 1], 6)).toarray()
    assert not graph[:6, 6:].any()
    np.testing.assert_array_equal(graph[:6, :6], graph[6:, 6:])
    np.testing.assert_array_equal(graph, graph.T)
    assert not graph.diagonal().any()
    assert graph[0, 1] == 1


def test_spots_at_one_place_are_neighbours_and_never_their_own():
    graph = neighbour_graph(np.zeros((4, 2)), 2).toarray()
    assert not graph.diagonal().any()
    assert (graph.sum(axis=1) >= 2).all()


def test_a_spot_without_a_place_has_no_neighbour():
    xy = LINE.copy()
    xy[2] = np.nan
    graph = neighbour_graph(xy, 1)
    assert graph[[2], :].sum() == 0
    assert row_standardised(graph)[[2], :].sum() == 0


def test_pas_by_hand():
    # Of four neighbours in a row, spot 2 (b among a) has all four different, the others one.
    labels = np.array(["a", "a", "b", "a", "a", "a"], object)
    np.testing.assert_array_equal(isolated_spots(LINE, labels, k=4), [0, 0, 1, 0, 0, 0])
    assert pas(LINE, labels, k=4) == pytest.approx(1 / 6)
    # Exactly half is not more than half.
    halves = np.array(["a", "b", "a", "b", "a", "b"], object)
    np.testing.assert_array_equal(isolated_spots(LINE, halves, k=4)[2:4], [0, 0])
    assert pas(LINE, np.full(6, "a", object)) == 0


def test_pas_equals_all_distances_compared():
    rng = np.random.default_rng(5)
    xy, labels = rng.uniform(0, 1, (80, 2)), rng.choice(np.array(["a", "b", "c"], object), 80)
    apart = np.linalg.norm(xy[:, None] - xy[None], axis=2)
    near = np.argsort(apart, axis=1)[:, :11]
    expected = [(labels[near[i]] != labels[i]).sum() > 5 for i in range(80)]
    assert pas(xy, labels) == pytest.approx(np.mean(expected))


def test_chaos_by_hand():
    # z-scored x of 0..5 has steps of 1 / sqrt(35 / 12); a: 0, 1, 2 (3 steps), b: 3, 5 is too few.
    labels = np.array(["a", "a", "a", "b", "", "b"], object)
    x = np.array([0.0, 1, 2, 3, 5])
    step = 1 / x.std()
    assert chaos(LINE, labels) == pytest.approx(3 * step / 5)


def test_chaos_equals_all_distances_compared():
    rng = np.random.default_rng(6)
    xy, labels = rng.uniform(0, 9, (70, 2)), rng.choice(np.array(["a", "b"], object), 70)
    scaled = (xy - xy.mean(axis=0)) / xy.std(axis=0)
    apart = np.linalg.norm(scaled[:, None] - scaled[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    apart[labels[:, None] != labels[None]] = np.inf
    assert chaos(xy, labels) == pytest.approx(apart.min(axis=1).sum() / 70)


def test_spots_without_a_label_are_left_out():
    labels = np.array(["a", "a", "", "", "a", "a"], object)
    flags = isolated_spots(LINE, labels, k=2)
    np.testing.assert_array_equal(flags, [0, 0, np.nan, np.nan, 0, 0])
    assert pas(LINE, labels, k=2) == 0
    blank = np.full(6, "", object)
    assert np.isnan(pas(LINE, blank))
    assert np.isnan(chaos(LINE, blank))


def test_a_spot_alone_in_its_section_has_no_flag():
    labels = np.array(["a"] * 6, object)
    flags = isolated_spots(LINE, labels, of=np.array([0, 0, 0, 0, 0, 1]))
    assert np.isnan(flags[5])
    assert not flags[:5].any()


def test_indicators_of_domains():
    names, found = domain_indicators(np.array(["b", "", "a", "b"], object))
    assert list(names) == ["a", "b"]
    np.testing.assert_array_equal(found, [[0, 1], [0, 0], [1, 0], [0, 1]])
