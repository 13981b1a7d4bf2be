import numpy as np
import pytest

from napari_stomics.methods.alignment._fields import Field
from napari_stomics.methods.alignment.poses import Pose, turn
from napari_stomics.methods.alignment.refine import PoseRefiner, moved, refine_pose
from tests.methods.alignment.pose_cases import case


def _true(made):
    """Best rigid map onto the truth."""
    a, t = made.a, made.true
    u, _, vt = np.linalg.svd((a - a.mean(axis=0)).T @ (t - t.mean(axis=0)))
    matrix = (u @ vt).T
    return Pose(matrix, t.mean(axis=0) - matrix @ a.mean(axis=0))


def _disturbed(pose, centre, degrees, shift):
    matrix = turn(degrees) @ pose.matrix
    return Pose(matrix, pose.apply(centre[None])[0] + shift - matrix @ centre)


@pytest.mark.parametrize("crop", [0.0, 0.3, 0.5])
def test_a_pose_that_is_off_by_pitches_is_made_exact(crop):
    made = case(crop=crop, seed=20, n_spots=1500)
    start = _disturbed(_true(made), made.a.mean(axis=0), 6.0, [2.0, -1.5])
    assert made.error(start) > 2
    found = refine_pose(*made.search, start)
    assert made.error(found) < 1.0
    assert found.score > 0.7


def test_a_mirrored_pose_stays_mirrored():
    made = case(mirror=True, rotation=300.0, seed=5)
    start = _disturbed(_true(made), made.a.mean(axis=0), -5.0, [1.0, 1.0])
    found = refine_pose(*made.search, start)
    assert found.mirrored
    assert made.error(found) < 0.6


def test_the_score_never_falls_and_leaving_the_overlap_never_pays():
    made = case(crop=0.5, seed=21)
    judge = PoseRefiner(*made.search)
    true = _true(made)
    for shift in ([0.0, 0.0], [8.0, 3.0], [-14.0, 6.0], [20.0, -20.0]):
        start = Pose(true.matrix, true.shift + np.array(shift))
        found = judge.refine(start)
        assert found.score >= judge.score(start) - 1e-6
    apart = Pose(true.matrix, true.shift + 1000.0)
    assert judge.score(apart) == 0.0
    assert judge.refine(apart).score == 0.0


def test_a_similarity_finds_the_scale_and_an_affine_map_the_shear():
    made = case(seed=6, domain_shape="blobs", n_spots=1500)
    shear = np.array([[1.05, 0.04], [0.0, 0.97]])
    b = made.b @ shear.T
    true = made.true @ shear.T
    start = _true(made)
    errors = {}
    for model in ("rigid", "similarity", "affine"):
        found = refine_pose(made.a, b, *made.search[2:], start, model=model)
        errors[model] = np.sqrt(((found.apply(made.a) - true) ** 2).sum(axis=1).mean())
    assert errors["affine"] < 0.4 < errors["rigid"]
    assert errors["affine"] < 0.6 * errors["similarity"]
    larger = refine_pose(made.a / 1.06, made.b, *made.search[2:], start, model="similarity")
    assert np.sqrt(abs(np.linalg.det(larger.matrix))) == pytest.approx(1.06, abs=0.02)


def test_without_features_the_pose_is_returned():
    made = case()
    none = [np.zeros((len(x), 0), np.float32) for x in (made.a, made.b)]
    start = _true(made)
    assert refine_pose(made.a, made.b, *none, start) is start


def test_a_step_moves_by_what_it_says():
    pose = Pose(turn(30.0), np.array([3.0, 1.0]))
    centre, radius = np.array([2.0, 5.0]), 10.0
    there = pose.apply(centre[None])[0]
    shifted = moved(pose, np.array([0.5, -0.25, 0.0]), centre, radius)
    np.testing.assert_allclose(shifted.apply(centre[None])[0], there + np.array([0.5, -0.25]))
    turned = moved(pose, np.array([0.0, 0.0, 1.0]), centre, radius)
    np.testing.assert_allclose(turned.apply(centre[None])[0], there)
    assert turned.degrees == pytest.approx(30 + np.degrees(0.1))
    grown = moved(pose, np.array([0.0, 0, 0, 1.0]), centre, radius)
    assert np.linalg.det(grown.matrix) == pytest.approx(np.exp(0.2))


def test_a_field_holds_local_means_their_slopes_and_how_full_it_is():
    grid = np.stack(np.meshgrid(np.arange(30.0), np.arange(20.0)), -1).reshape(-1, 2)
    features = np.stack([0.5 * grid[:, 0] - grid[:, 1], np.ones(600)], axis=1)
    field = Field.of(grid, features, 1.5, 1.0)
    inside = np.array([[10.3, 9.1], [15.0, 12.4]])
    value, filling, slope = field.read_slopes(inside)
    np.testing.assert_allclose(value[:, 0], 0.5 * inside[:, 0] - inside[:, 1], atol=0.02)
    np.testing.assert_allclose(value[:, 1], 1.0, atol=1e-3)
    np.testing.assert_allclose(filling, 1.0, atol=0.02)
    np.testing.assert_allclose(slope[:, 0], [[0.5, -1.0]] * 2, atol=0.02)
    _, rim = field.read(np.array([[0.0, 10.0], [-30.0, 10.0]]))
    assert 0.4 < rim[0] < 0.75
    assert rim[1] == 0.0
