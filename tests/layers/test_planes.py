"""An image read in another frame is the image that one would resample by hand."""

import numpy as np
import pytest

from napari_stomics.core.transforms import Affine
from napari_stomics.layers.planes import Checker, Swipe, plane_levels
from tests.layers.studies import brightfield, to_um, turned


def everything(x: np.ndarray, y: np.ndarray, pixel: float) -> np.ndarray:
    return np.ones((len(y), len(x)), bool)


def test_an_image_in_its_own_axes_is_unchanged() -> None:
    image = brightfield(700, 600)
    (plane,), grid = plane_levels([image], to_um(), everything)
    out = plane[:]
    np.testing.assert_array_equal(out[:700, :600, :3], image)
    assert (out[:700, :600, 3] == 255).all()
    assert grid.origin == pytest.approx((100.0, 40.0))
    np.testing.assert_array_equal(plane[513:530, 3:9], out[513:530, 3:9])


def test_a_turned_image_shows_the_pixel_that_lies_there() -> None:
    image = np.zeros((60, 80), np.uint8)
    image[20:30, 40:55] = 200
    to_world = to_um().then(turned(30))
    (plane, *_), grid = plane_levels([image], to_world, everything)
    out = plane[:]
    rows, columns = np.indices(out.shape)
    pixels = np.stack([columns + 0.5, rows + 0.5], axis=-1)
    world = np.asarray(grid.origin) + pixels * np.asarray(grid.pixel)
    there = to_world.inverse().apply(world.reshape(-1, 2)).reshape(*out.shape, 2)
    deep = (np.abs(there - [47.5, 25.0]) < [6.5, 4.0]).all(axis=-1)
    far = (np.abs(there - [47.5, 25.0]) > [8.5, 6.0]).any(axis=-1)
    assert deep.sum() > 50
    assert (out[deep] == 200).all()
    assert (out[far] == 0).all()


def test_a_coarse_level_reads_a_coarse_level() -> None:
    class Recorder:
        def __init__(self, array: np.ndarray) -> None:
            self.array, self.reads = array, 0
            self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

        def __getitem__(self, key: object) -> np.ndarray:
            self.reads += 1
            return self.array[key]

    levels = [Recorder(np.full((4096 // f, 4096 // f), f, np.uint8)) for f in (1, 2, 4)]
    planes, _ = plane_levels(levels, to_um(0.5), everything)
    assert [plane.shape for plane in planes] == [(4096, 4096), (2048, 2048), (1024, 1024)]
    assert (planes[2][:] == 4).all()
    assert levels[0].reads == levels[1].reads == 0


def test_a_swipe_keeps_each_place_once() -> None:
    x, y = np.arange(0, 100, 3.0), np.arange(0, 50, 3.0)
    before, after = (Swipe(40.0, True, side)(x, y) for side in (False, True))
    np.testing.assert_array_equal(before, ~after)
    np.testing.assert_array_equal(after[0], x >= 40)
    np.testing.assert_array_equal(Swipe(20.0, False, True)(x, y)[:, 0], y >= 20)


def test_a_checkerboard_keeps_each_place_once_and_its_squares_have_their_size() -> None:
    x, y = np.arange(0.5, 100), np.arange(0.5, 80)
    even, odd = (Checker(20.0, (0.0, 0.0), which)(x, y) for which in (False, True))
    np.testing.assert_array_equal(even, ~odd)
    assert even[5, 5]
    assert not even[5, 25]
    assert not even[25, 5]
    assert even[25, 25]
    assert even[:20, :20].all()
    points = np.array([[5.0, 5.0], [25.0, 5.0], [-5.0, 5.0]])
    np.testing.assert_array_equal(Checker(20.0, (0.0, 0.0), False).at(points), [True, False, False])


def test_the_lower_side_keeps_a_pixel_more_so_that_no_seam_shows() -> None:
    x, y = np.arange(0.5, 100), np.arange(0.5, 80)
    for lower, upper in (
        (Swipe(40.0, True, False), Swipe(40.0, True, True)),
        (Checker(20.0, (0.0, 0.0), False), Checker(20.0, (0.0, 0.0), True)),
    ):
        shifted = upper(x + 0.4, y + 0.4, 1.0)
        assert (lower(x, y, 1.0) | shifted).all()


def test_labels_are_not_mixed() -> None:
    image = np.zeros((50, 50), np.int32)
    image[:, 25:] = 9
    (plane, *_), _ = plane_levels([image], to_um().then(turned(13)), everything, nearest=True)
    assert set(np.unique(plane[:])) == {0, 9}


def test_a_mask_that_changes_shows_at_the_next_read() -> None:
    mask = Swipe(0.0, True, True)
    (plane, *_), _ = plane_levels([np.ones((40, 40), np.uint8)], Affine.identity(), mask)
    assert (plane[:] == 1).all()
    mask.line = 10.0
    np.testing.assert_array_equal(plane[:][0], np.arange(40) >= 10)
