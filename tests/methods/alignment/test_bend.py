import numpy as np
import pytest

from napari_stomics.core.transforms import Affine
from napari_stomics.methods.alignment.bend import Grid, fit_bend, fold_fraction, least_area
from napari_stomics.methods.alignment.flow import FeatureMap, Level, Waves, feature_bend
from napari_stomics.methods.alignment.poses import Pose
from napari_stomics.methods.alignment.settle import rigid, settled_bend, settled_pose

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


@pytest.mark.parametrize("seed", [1, 5, 9])
def test_sections_that_do_not_differ_are_not_bent(seed):
    features = smooth_features(POINTS, 1.0, seed), smooth_features(POINTS, 1.0, seed + 1)
    assert feature_bend(POINTS, POINTS, features, LEVELS) is None


def test_noise_alone_asks_for_no_bend():
    rng = np.random.default_rng(8)
    features = tuple(rng.normal(size=(len(POINTS), 10)) for _ in range(2))
    assert feature_bend(POINTS, POINTS + wave(POINTS), features, LEVELS) is None


def test_a_bend_settles_on_the_spots():
    target = POINTS + wave(POINTS)
    features = smooth_features(POINTS, 0.5, 1), smooth_features(POINTS, 0.5, 2)
    rough = feature_bend(POINTS, target, features, LEVELS)
    exact = settled_bend(POINTS, target, features, rough)
    before, after = (
        np.linalg.norm(bend.apply(POINTS) - target, axis=1).mean() for bend in (rough, exact)
    )
    assert after < 0.6 * before
    assert least_area(exact.grid.field(exact.values), POINTS) > 0


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_pose_settles_on_the_spots_of_a_cropped_section(mirrored):
    angle = np.deg2rad(200)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    there = POINTS @ turn.T + [3.0, 4.0]
    kept = np.flatnonzero(POINTS[:, 0] < 25)
    features = smooth_features(POINTS, 0.5, 1), smooth_features(POINTS, 0.5, 2)[kept]
    start = Pose(turn, np.array([3.2, 3.8]))
    pose = settled_pose(POINTS, there[kept], features, start)
    np.testing.assert_allclose(pose.apply(POINTS), there, atol=0.1)


def test_weighted_rigid_motions_keep_or_find_the_handedness():
    there = POINTS @ np.diag([-1.0, 1.0]) + 5.0
    weights = RNG.random(len(POINTS))
    np.testing.assert_allclose(rigid(POINTS, there, weights, None).apply(POINTS), there)
    assert np.linalg.det(rigid(POINTS, there, weights, False).matrix) == pytest.approx(1)


def test_the_same_bend_every_time():
    features = smooth_features(POINTS, 0.5, 1), smooth_features(POINTS, 0.5, 2)
    first, second = (
        feature_bend(POINTS, POINTS + wave(POINTS), features, LEVELS) for _ in range(2)
    )
    np.testing.assert_array_equal(first.values, second.values)
