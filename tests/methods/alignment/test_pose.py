import numpy as np
import pytest

from napari_stomics.core.errors import JobCancelled
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import Affine
from napari_stomics.methods.alignment._correlation import (
    ShiftScores,
    Turner,
    information,
    rasterise,
)
from napari_stomics.methods.alignment.pose import Window, find_pose
from napari_stomics.methods.alignment.poses import UNSURE, Pose, own_pitch, pooled, turn
from tests.methods.alignment.pose_cases import case


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0.0, 40.0, 190.0, 359.0])
def test_a_turn_knows_its_angle_and_side(degrees, mirrored):
    pose = Pose(turn(degrees, mirrored), np.zeros(2))
    assert pose.degrees == pytest.approx(degrees, abs=1e-9)
    assert pose.mirrored == mirrored


def test_a_pose_and_its_map_of_micrometres_do_the_same():
    pose = Pose(turn(33.0, True), np.array([4.0, -7.0]))
    points = np.random.default_rng(0).normal(size=(5, 2))
    for onto in (None, 55.0):
        there = pose.affine(100.0, onto).apply(100.0 * points)
        np.testing.assert_allclose(there / (onto or 100.0), pose.apply(points))
        back = Pose.from_affine(pose.affine(100.0, onto), 100.0, onto)
        np.testing.assert_allclose(back.apply(points), pose.apply(points))
    np.testing.assert_allclose(
        Pose.from_affine(Affine.identity(), 3.0).apply(points), points, atol=1e-12
    )


def test_shift_scores_are_the_masked_correlations_computed_one_by_one():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(9.0), np.arange(7.0)), -1).reshape(-1, 2)
    fixed = rasterise(grid, rng.normal(size=(63, 2)), 1.0, 0.5)
    moving = rasterise(grid[:40] - 3, rng.normal(size=(40, 2)), 1.0, 0.5)
    values, mask = Turner(moving, grid[:40].mean(axis=0) - 3).turn(np.eye(2))
    side = len(mask)
    score, share = ShiftScores(fixed, side)(values, mask)
    height, width = fixed.mask.shape
    tried = 0
    for row, column in [(side + 1, side + 2), (side - 2, side), (side + 3, side - 1)]:
        wide = np.zeros((3, height + 2 * side, width + 2 * side))
        wide[:, side : side + height, side : side + width] = [*fixed.values, fixed.mask]
        window = wide[:, row + 1 : row + 1 + side, column + 1 : column + 1 + side]
        both = window[2] * mask > 0
        if both.sum() < 9:
            continue
        x, y = window[:2][:, both], values[:, both]
        x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
        part = both.sum() / min(fixed.cells, mask.sum())
        assert share[row, column] == pytest.approx(min(part, 1.0), abs=1e-4)
        expected = information((x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum()), min(part, 1.0))
        assert score[row, column] == pytest.approx(expected, abs=2e-3)
        tried += 1
    assert tried >= 2


def test_a_correlation_over_less_tissue_tells_less():
    assert information(0.8, 1.0) == pytest.approx(0.8)
    assert information(0.8, 0.5) < 0.8
    assert information(0.8, 0.0) == 0.0
    assert information(-0.8, 1.0) == 0.0


SHAPES = {
    "turned": {"rotation": 40.0},
    "upside down": {"rotation": 185.0, "seed": 4},
    "mirrored": {"mirror": True, "rotation": 300.0, "seed": 5},
    "patches": {"domain_shape": "blobs", "rotation": 111.0, "seed": 6},
    "an array of its own": {"array": "own", "seed": 7},
    "30 % cropped": {"crop": 0.3, "seed": 8},
    "half cropped": {"crop": 0.5, "seed": 9},
    "both cropped": {"crop": 0.3, "crop_first": 0.3, "seed": 10},
    "warped": {"warp_rms": 2.0, "warp_length": 0.5, "seed": 12},
    "warped and cropped": {"warp_rms": 2.0, "warp_length": 0.5, "crop": 0.3, "seed": 13},
    "few counts": {"rna_depth": 200.0, "seed": 14},
    "few spots": {"n_spots": 250, "seed": 15},
    "cells": {"layout": "cells", "seed": 16},
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_pose_is_found(name):
    made = case(**SHAPES[name])
    found = find_pose(*made.search)
    warp = SHAPES[name].get("warp_rms", 0.0)
    assert made.error(found.best) < 1.5 + 1.5 * warp
    assert found.best.mirrored == SHAPES[name].get("mirror", False)
    assert found.sure


def test_poses_are_distinct_and_the_best_comes_first():
    made = case()
    found = find_pose(*made.search)
    scores = [p.score for p in found.poses]
    assert scores == sorted(scores, reverse=True)
    placed = [p.apply(made.a) for p in found.poses]
    for i, one in enumerate(placed):
        for other in placed[:i]:
            assert np.sqrt(((one - other) ** 2).sum(axis=1).mean()) > 0.2 * made.radius


def test_where_mirroring_is_excluded_no_pose_is_mirrored():
    made = case(mirror=True, rotation=300.0, seed=5)
    found = find_pose(*made.search, mirror=False)
    assert not any(p.mirrored for p in found.poses)
    assert found.best.score < find_pose(*made.search).best.score


def test_features_of_noise_leave_the_pose_open():
    rng = np.random.default_rng(0)
    made = case()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        noise = [rng.normal(size=x.shape) for x in made.search[2:]]
        assert find_pose(made.a, made.b, *noise).margin < UNSURE


def test_tissue_that_is_its_own_mirror_image_leaves_the_pose_open():
    grid = np.stack(np.meshgrid(np.arange(-12.0, 12.5), np.arange(-9.0, 9.5)), -1).reshape(-1, 2)
    x, y = grid.T
    features = np.stack([np.cos(x / 4), np.cos(y / 3), np.cos(x / 6) * np.cos(y / 5)], axis=1)
    rng = np.random.default_rng(0)
    noisy = [features + 0.2 * rng.normal(size=features.shape) for _ in range(2)]
    found = find_pose(grid, grid + 3, *noisy)
    assert found.margin < UNSURE
    assert found.best.score > 0.8


def test_sections_of_other_pitch_and_other_sizes_of_spots_are_found():
    made = case()
    rng = np.random.default_rng(1)
    fine = np.repeat(made.b, 4, axis=0) + rng.uniform(-0.4, 0.4, (4 * len(made.b), 2))
    features = np.repeat(made.search[3], 4, axis=0)
    assert own_pitch(fine) < 0.5
    found = find_pose(made.a, fine, made.search[2], features)
    assert made.error(found.best) < 1.0


def test_a_section_of_another_scale_is_found_where_that_is_asked_for():
    made = case(seed=6, domain_shape="blobs")
    found = find_pose(made.a / 1.25, made.b, *made.search[2:], scales=(0.8, 1.0, 1.25))
    np.testing.assert_allclose(abs(np.linalg.det(found.best.matrix)), 1.25**2, rtol=1e-6)
    there = found.best.apply(made.a / 1.25)
    assert np.sqrt(((there - made.true) ** 2).sum(axis=1).mean()) < 1.0


def test_without_features_the_outlines_are_laid_over_each_other():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(40.0), np.arange(30.0)), -1).reshape(-1, 2)
    # A shape without any symmetry: its outline tells the pose.
    shape = grid[~((grid[:, 0] > 22) & (grid[:, 1] > 9)) & (grid.sum(axis=1) > 7)]
    true = Pose(turn(70.0), np.array([5.0, 2.0]))
    there = true.apply(shape) + 0.1 * rng.normal(size=shape.shape)
    none = np.zeros((len(shape), 0), np.float32)
    found = find_pose(shape, there, none, none)
    assert np.abs(found.best.apply(shape) - there).max() < 2.0
    assert found.sure


def test_a_window_keeps_the_search_near_a_pose():
    made = case()
    right = find_pose(*made.search).best
    near = Window(Pose(turn(8.0) @ right.matrix, right.shift), 15.0, 30.0)
    found = find_pose(*made.search, windows=(near,))
    assert made.error(found.best) < 1.0
    far = Window(Pose(turn(120.0) @ right.matrix, right.shift), 15.0, 6.0)
    found = find_pose(*made.search, windows=(far,))
    turned = (found.best.degrees - far.pose.degrees + 180) % 360 - 180
    assert abs(turned) <= 21
    assert found.best.score < 0.8 * right.score


def test_many_spots_are_pooled_without_moving_them():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 100, (40_000, 2))
    features = np.stack([points[:, 0], points[:, 1] ** 2], axis=1)
    where, what = pooled(points, features, 2.0)
    assert len(where) < 4000
    np.testing.assert_allclose(what[:, 0], where[:, 0])
    few, same = pooled(points[:100], features[:100], 2.0)
    assert few is not None
    np.testing.assert_array_equal(few, points[:100])
    np.testing.assert_array_equal(same, features[:100])


def test_the_search_can_be_cancelled_and_says_how_far_it_is():
    made = case()
    told = []
    find_pose(*made.search, ctx=JobContext(on_progress=lambda f, m: told.append(f)))
    assert told == sorted(told)
    assert len(told) > 20
    with pytest.raises(JobCancelled):
        find_pose(*made.search, ctx=JobContext(is_cancelled=lambda: True))


def test_a_pose_is_less_sure_where_its_neighbours_tell_nearly_as_much():
    """Little tissue and hardly a signal: no other pose comes near, but it may lie spots off."""
    small = {"seed": 1, "n_spots": 250, "n_domains": 3, "crop": 0.3}
    weak, clear = (case(**small, rna_effect=effect) for effect in (0.04, 0.25))
    found = find_pose(*weak.search)
    assert found.poses[1].score < 0.75 * found.best.score
    assert not found.sure
    assert find_pose(*clear.search).sure
