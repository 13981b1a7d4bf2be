import numpy as np
import pytest

from napari_stomics.methods.alignment.band import Band

RNG = np.random.default_rng(0)


@pytest.fixture
def band():
    return Band.of([2, 0, 0, 2, 3, 0], [1, 4, 0, 1, 2, 0], (4, 5))


def test_edges_are_sorted_and_unique_with_a_column_view(band):
    np.testing.assert_array_equal(band.i, [0, 0, 2, 3])
    np.testing.assert_array_equal(band.j, [0, 4, 1, 2])
    np.testing.assert_array_equal(band.indptr, [0, 2, 2, 3, 4])
    for column in range(5):
        ids = band.order[band.column_indptr[column] : band.column_indptr[column + 1]]
        np.testing.assert_array_equal(np.flatnonzero(band.j == column), ids)


def test_the_matrix_holds_the_values(band):
    dense = band.matrix(np.array([1.0, 2.0, 3.0, 4.0])).toarray()
    expected = np.zeros((4, 5))
    expected[[0, 0, 2, 3], [0, 4, 1, 2]] = [1, 2, 3, 4]
    np.testing.assert_array_equal(dense, expected)


def test_nearest_joins_both_ways():
    placed, target = RNG.normal(size=(30, 2)), RNG.normal(size=(50, 2))
    gaps = np.linalg.norm(placed[:, None] - target, axis=2)
    dense = Band.nearest(placed, target, 5, back=2).matrix
    band = Band.nearest(placed, target, 5, back=2)
    found = dense(np.ones(len(band))).toarray() > 0
    expected = np.zeros((30, 50), bool)
    np.put_along_axis(expected, np.argsort(gaps, axis=1)[:, :5], True, axis=1)
    np.put_along_axis(expected, np.argsort(gaps, axis=0)[:2], True, axis=0)
    np.testing.assert_array_equal(found, expected)


def test_spots_without_a_place_get_no_edge():
    placed = RNG.normal(size=(6, 2))
    placed[2] = np.nan
    band = Band.nearest(placed, RNG.normal(size=(9, 2)), 3)
    assert 2 not in band.i
    assert set(band.i) == {0, 1, 3, 4, 5}


def test_more_neighbours_than_spots_gives_all_pairs():
    band = Band.nearest(RNG.normal(size=(4, 2)), RNG.normal(size=(3, 2)), 10)
    assert len(band) == 12
    assert len(Band.full(4, 3)) == 12


def test_union_keep_and_carried_values(band):
    other = Band.of([0, 1], [0, 3], (4, 5))
    both = band.union(other)
    np.testing.assert_array_equal(both.keys, [0, 4, 8, 11, 17])
    kept = both.keep(both.j != 3)
    np.testing.assert_array_equal(kept.keys, band.keys)
    carried = both.values_from(band, np.array([1.0, 2.0, 3.0, 4.0]), missing=-1)
    np.testing.assert_array_equal(carried, [1, 2, -1, 3, 4])


def test_products_gaps_and_marginals_match_dense_ones():
    band = Band.nearest(RNG.normal(size=(20, 2)), RNG.normal(size=(25, 2)), 4)
    x, y = RNG.normal(size=(20, 7)), RNG.normal(size=(25, 7))
    np.testing.assert_allclose(band.dot(x, y), (x @ y.T)[band.i, band.j])
    assert band.dot(x.astype(np.float32), y.astype(np.float32)).dtype == np.float32
    a, b = RNG.normal(size=(20, 2)), RNG.normal(size=(25, 2))
    np.testing.assert_allclose(
        band.gaps(a, b), ((a[band.i] - b[band.j]) ** 2).sum(axis=1), rtol=1e-12
    )
    values = RNG.random(len(band))
    rows, columns = band.marginals(values)
    dense = band.matrix(values).toarray()
    np.testing.assert_allclose(rows, dense.sum(axis=1))
    np.testing.assert_allclose(columns, dense.sum(axis=0))
