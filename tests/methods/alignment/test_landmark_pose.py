import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.methods.alignment.landmark_pose import pose_from_landmarks
from tests.methods.alignment.pose_cases import case


def _misplaced(made, sigma, seed, count=None):
    rng = np.random.default_rng(seed)
    return [m[:count] + rng.normal(0, sigma, m[:count].shape) for m in made.landmarks]


@pytest.mark.parametrize("seed", range(4))
def test_landmarks_off_by_four_pitches_still_lead_to_the_exact_pose(seed):
    made = case(n_spots=1500, n_landmarks=4, seed=30 + seed)
    found = pose_from_landmarks(*_misplaced(made, 4.0, seed), *made.search)
    assert made.error(found.fitted) > 1.0
    assert made.error(found.pose) < 0.5
    assert 1.0 < found.error < 8.0


def test_exact_landmarks_are_hardly_moved():
    made = case(n_landmarks=6, seed=31)
    found = pose_from_landmarks(*made.landmarks, *made.search)
    assert made.error(found.fitted) < 0.1
    assert made.error(found.pose) < 0.5


def test_two_pairs_do_and_do_not_fix_the_side():
    made = case(mirror=True, rotation=300.0, n_landmarks=8, seed=5)
    found = pose_from_landmarks(*_misplaced(made, 1.0, 0, count=2), *made.search)
    assert found.pose.mirrored
    assert made.error(found.pose) < 0.8
    plain = pose_from_landmarks(*_misplaced(made, 1.0, 0, count=2), *made.search, mirror=False)
    assert not plain.pose.mirrored


def test_a_pair_that_is_plainly_wrong_is_left_out():
    made = case(n_landmarks=8, seed=33)
    source, target = _misplaced(made, 0.3, 0)
    target[3] += [15.0, -12.0]
    found = pose_from_landmarks(source, target, *made.search)
    np.testing.assert_array_equal(np.flatnonzero(found.outliers), [3])
    assert made.error(found.fitted) < 1.0
    assert made.error(found.pose) < 0.5


def test_features_that_say_nothing_do_not_move_what_was_clicked():
    made = case(n_landmarks=6, seed=34)
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=x.shape) for x in made.search[2:]]
    found = pose_from_landmarks(*_misplaced(made, 0.5, 0), made.a, made.b, *noise)
    assert made.error(found.pose) < made.radius / 4
    none = [np.zeros((len(x), 0), np.float32) for x in (made.a, made.b)]
    plain = pose_from_landmarks(*_misplaced(made, 0.5, 0), made.a, made.b, *none)
    assert plain.pose is plain.fitted


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_pairs_are_refused(count):
    made = case()
    with pytest.raises(UserError, match="needs two"):
        pose_from_landmarks(*(m[:count] for m in made.landmarks), *made.search)


def test_landmarks_at_one_place_are_refused():
    made = case()
    with pytest.raises(UserError, match="one place"):
        pose_from_landmarks(np.ones((3, 2)), made.landmarks[1][:3], *made.search)
