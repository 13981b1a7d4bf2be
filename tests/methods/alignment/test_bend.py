import numpy as np
import pytest

from napari_stomics.core.transforms import Affine
from napari_stomics.methods.alignment.bend import Grid, fit_bend, fold_fraction, least_area
from napari_stomics.methods.alignment.flow import FeatureMap, Level, Waves, feature_bend

RNG = np.random.default_rng(0)
POINTS = RNG.uniform(0, 40, (1500, 2))


def wave(points, size=3.0):
    """A smooth displacement over the tissue."""
    x, y = points[:, 0] / 40, points[:, 1] / 40
    return size * np.column_stack([np.sin(2.2 * y + 0.3), np.cos(2.5 * x) * y])


def test_interpolation_and_the_field_agree_at_the_nodes():
    grid = Grid.over(POINTS, 4.0)
    values = wave(grid.nodes())
    np.testing.assert_allclose(grid.weights(grid.nodes()) @ values, values, atol=1e-12)
    np.testing.assert_allclose(grid.field(values).apply(grid.nodes()), grid.nodes() + values)
    inside = grid.weights(POINTS)
    np.testing.assert_allclose(np.asarray(inside.sum(axis=1)).ravel(), 1.0)


def test_the_bending_energy_is_that_of_the_thin_plate():
    grid = Grid.over(POINTS, 1.0)
    x, y = grid.nodes().T
    energy = grid.bending()
    for plane in (np.ones_like(x), x, y, x + 3 * y):
        assert plane @ energy @ plane == pytest.approx(0.0, abs=1e-6)
    area = (np.array(grid.shape) - 2).prod()
    assert x**2 @ energy @ x**2 == pytest.approx(4 * area, rel=0.05)
    assert (x * y) @ energy @ (x * y) == pytest.approx(2 * area, rel=0.1)


def test_a_smooth_displacement_is_recovered_from_noisy_matches_and_beyond_their_edge():
    seen = wave(POINTS) + RNG.normal(0, 1.0, POINTS.shape)
    weights = (POINTS[:, 0] < 36).astype(float)
    bend = fit_bend(POINTS, seen, weights, length=8.0, density=1500 / 1600)
    error = np.linalg.norm(bend.apply(POINTS) - POINTS - wave(POINTS), axis=1)
    assert error[weights > 0].mean() < 0.35 * np.linalg.norm(seen - wave(POINTS), axis=1).mean()
    assert error[weights == 0].mean() < 0.8


def test_matches_that_cross_are_made_stiffer_until_nothing_folds():
    shifts = np.where(POINTS[:, :1] < 20, [[8.0, 0.0]], [[-8.0, 0.0]])
    bend = fit_bend(POINTS, shifts, np.ones(len(POINTS)), length=1.0)
    assert bend.length > 1.0
    field = bend.grid.field(bend.values)
    assert least_area(field, POINTS) > 0
    assert fold_fraction(field, POINTS) == 0


def test_folds_are_counted_relative_to_a_mirror_image():
    assert fold_fraction(Affine(np.diag([-1.0, 1.0, 1.0])), POINTS) == 0
    grid = Grid.over(POINTS, 2.0)
    folded = np.column_stack([-1.5 * (grid.nodes()[:, 0] - 20), np.zeros(len(grid.nodes()))])
    assert fold_fraction(grid.field(folded), POINTS) == 1.0


def smooth_features(points, noise, seed):
    rng = np.random.default_rng(3)
    way, phase = rng.normal(0, 0.25, (2, 10)), rng.uniform(0, 2 * np.pi, 10)
    clean = np.cos(points @ way + phase)
    return clean + noise * np.random.default_rng(seed).normal(size=clean.shape)


def test_a_map_of_features_gives_values_slopes_and_where_tissue_is():
    linear = np.column_stack([2 * POINTS[:, 0] - POINTS[:, 1]])
    read = FeatureMap(POINTS, linear, 1.5).at(np.array([[20.0, 20.0], [100.0, 0.0]]))
    assert read[0][0, 0] == pytest.approx(20, abs=1.5)
    np.testing.assert_allclose(read[1][0, 0], [2, -1], atol=0.5)
    assert read[2][0] > 0.5
    assert read[2][1] == 0


def test_waves_have_the_size_that_they_are_told():
    waves = Waves.over(POINTS, 6)
    box = waves.low + np.random.default_rng(2).random((2000, 2)) * waves.size
    basis, spread = waves.basis(box), waves.spread()
    draws = np.random.default_rng(1).normal(size=(400, len(spread) - 3)) * spread[3:]
    assert (basis[:, 3:] @ draws.T).std() == pytest.approx(1.0, rel=0.1)


LEVELS = (Level(4.0, 4), Level(2.0, 6))


def test_a_bend_is_found_from_features_alone():
    target = POINTS + wave(POINTS)
    features = smooth_features(POINTS, 0.5, 1), smooth_features(POINTS, 0.5, 2)
    bend = feature_bend(POINTS, target, features, LEVELS)
    error = np.linalg.norm(bend.apply(POINTS) - target, axis=1)
    assert error.mean() < 0.15 * np.linalg.norm(wave(POINTS), axis=1).mean()
    assert least_area(bend.grid.field(bend.values), POINTS) > 0


def test_sections_that_do_not_differ_are_hardly_bent():
    features = smooth_features(POINTS, 1.0, 1), smooth_features(POINTS, 1.0, 2)
    bend = feature_bend(POINTS, POINTS, features, LEVELS)
    assert np.linalg.norm(bend.apply(POINTS) - POINTS, axis=1).mean() < 0.35


def test_the_same_bend_every_time():
    features = smooth_features(POINTS, 0.5, 1), smooth_features(POINTS, 0.5, 2)
    first, second = (feature_bend(POINTS, POINTS + 1, features, LEVELS) for _ in range(2))
    np.testing.assert_array_equal(first.values, second.values)
