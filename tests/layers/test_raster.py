"""Spots painted tile by tile agree with the discs that they stand for."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_stomics.layers.raster import SpotRaster


def make(n: int = 40, seed: int = 0) -> tuple[SpotRaster, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    xy = rng.uniform(0, 400, (n, 2))
    colours = rng.integers(1, 255, (n, 4), dtype=np.uint8)
    colours[:, 3] = 255
    return SpotRaster(xy, 10.0, colours), xy, colours


def test_a_pixel_is_painted_where_it_lies_in_a_disc_and_nowhere_else() -> None:
    raster, xy, _ = make()
    level = raster.levels[0]
    image = level[:]
    rows, columns = np.indices(image.shape[:2])
    x = raster.origin[0] + (columns + 0.5) * raster.pixel_size
    y = raster.origin[1] + (rows + 0.5) * raster.pixel_size
    distance = np.min([np.hypot(x - cx, y - cy) for cx, cy in xy], axis=0)
    clear = np.abs(distance - 5.0) > 1e-9
    np.testing.assert_array_equal((image[..., 3] > 0)[clear], (distance <= 5.0)[clear])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 90), st.integers(1, 90))
def test_a_window_is_a_part_of_the_whole(top: int, left: int, height: int, width: int) -> None:
    raster, _, _ = make(25)
    for factor in (1, 4, 64):
        shape = (raster.levels[0].shape[0] // factor, raster.levels[0].shape[1] // factor)
        whole = raster.paint(factor, (0, shape[0]), (0, shape[1]))
        rows = (min(top, shape[0] - 1), min(top + height, shape[0]))
        columns = (min(left, shape[1] - 1), min(left + width, shape[1]))
        part = raster.paint(factor, rows, columns)
        np.testing.assert_array_equal(part, whole[slice(*rows), slice(*columns)])


def test_levels_are_halves_of_each_other_and_the_last_is_small() -> None:
    rng = np.random.default_rng(0)
    raster = SpotRaster(rng.uniform(0, 9000, (500, 2)), 8.0, np.full((500, 4), 255, np.uint8))
    shapes = np.array([level.shape[:2] for level in raster.levels])
    np.testing.assert_array_equal(shapes[:-1], 2 * shapes[1:])
    assert shapes[-1].max() <= 1025


def test_from_afar_colours_are_averaged() -> None:
    colours = np.array([[200, 0, 0, 255], [0, 100, 0, 255]], np.uint8)
    xy = np.array([[3000.0, 3000.0], [3000.1, 3000.1]])
    far = np.vstack([xy, [[0.0, 0.0], [60000.0, 60000.0]]])
    raster = SpotRaster(far, 1.0, np.vstack([colours, colours]))
    coarse = raster.levels[-1]
    pixel = raster.pixel_size * coarse.factor
    row, column = (int((3000.0 - o) / pixel) for o in raster.origin[::-1])
    np.testing.assert_array_equal(coarse[row, column].ravel(), [100, 50, 0, 255])


def test_new_colours_show_and_come_back_in_order() -> None:
    raster, xy, colours = make()
    np.testing.assert_array_equal(raster.colours, colours)
    np.testing.assert_allclose(raster.coordinates, xy)
    before = raster.levels[-1][:].copy()
    raster.set_colours(np.broadcast_to(np.array([1, 2, 3, 255], np.uint8), (40, 4)))
    after = raster.levels[-1][:]
    assert not np.array_equal(before, after)
    assert set(map(tuple, after.reshape(-1, 4))) == {(0, 0, 0, 0), (1, 2, 3, 255)}
