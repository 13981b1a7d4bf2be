import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel

from napari_stomics.core.transforms import Affine, ThinPlateSpline
from napari_stomics.layers.bent import Bend, BentLevel
from napari_stomics.layers.results import move_section
from napari_stomics.layers.section import add_section, find_section
from tests.small import small_simulation

UM = 2.0
TO_UM = Affine(np.diag([UM, UM, 1.0]))


def _spline(size: float, amount: float = 20.0) -> ThinPlateSpline:
    """A map that keeps the corners and moves what lies between, in um."""
    g = np.linspace(0, size, 4)
    points = np.stack(np.meshgrid(g, g), -1).reshape(-1, 2)
    moved = points + np.random.default_rng(0).normal(0, amount, points.shape)
    return ThinPlateSpline.fit(points, moved)


def _dot(size: int, x: float, y: float) -> np.ndarray:
    j, i = np.arange(size) + 0.5, np.arange(size) + 0.5
    gauss = np.exp(-((j[None] - x) ** 2 + (i[:, None] - y) ** 2) / 18)
    return (255 * gauss).astype(np.float32)


def _centre(image: np.ndarray) -> np.ndarray:
    j, i = np.arange(image.shape[1]) + 0.5, np.arange(image.shape[0]) + 0.5
    return np.array([(image * j[None]).sum(), (image * i[:, None]).sum()]) / image.sum()


@pytest.mark.parametrize("place", [(200.0, 150.0), (120.0, 260.0), (300.0, 300.0)])
def test_a_dot_is_drawn_where_the_map_carries_it(place):
    size, transform = 400, _spline(800)
    level = BentLevel(_dot(size, *place), Bend(transform, TO_UM, (size, size)), (1, 1), False)
    found = _centre(np.asarray(level))
    # Pixels are drawn through the linear part; together the two must be the whole map.
    drawn = transform.linear_part().apply(TO_UM.apply(found[None]))
    wanted = transform.apply(TO_UM.apply(np.array([place])))
    np.testing.assert_allclose(drawn, wanted, atol=0.5 * UM)


def test_a_coarse_level_shows_the_same_place():
    size, transform = 400, _spline(800)
    image = _dot(size, 200, 150)
    field = Bend(transform, TO_UM, (size, size))
    fine = _centre(np.asarray(BentLevel(image, field, (1, 1), False)))
    half = image.reshape(200, 2, 200, 2).mean(axis=(1, 3))
    coarse = _centre(np.asarray(BentLevel(half, field, (2, 2), False)))
    np.testing.assert_allclose(2 * coarse, fine, atol=0.3)


def test_a_window_is_part_of_the_whole_and_reads_little():
    read = []
    image = np.random.default_rng(0).integers(0, 255, (2000, 2000, 3), dtype=np.uint8)

    def block(block_info=None):
        (y, x, _) = block_info[None]["chunk-location"]
        read.append((y, x))
        return image[y * 250 : y * 250 + 250, x * 250 : x * 250 + 250]

    lazy = da.map_blocks(block, chunks=((250,) * 8, (250,) * 8, (3,)), dtype=np.uint8)
    field = Bend(_spline(4000), TO_UM, (2000, 2000))
    window = BentLevel(lazy, field, (1, 1), False)[700:900, 900:1200]
    assert 0 < len(set(read)) <= 12
    whole = np.asarray(BentLevel(image, field, (1, 1), False))
    np.testing.assert_array_equal(window, whole[700:900, 900:1200])


def test_labels_are_never_mixed():
    labels = np.repeat(np.repeat(np.array([[3, 90], [41, 7]], np.int32), 100, 0), 100, 1)
    field = Bend(_spline(400), TO_UM, (200, 200))
    assert set(np.unique(BentLevel(labels, field, (1, 1), True))) <= {0, 3, 7, 41, 90}


def test_what_no_pixel_reaches_is_empty():
    image = np.full((100, 100), 200, np.uint8)
    shifted = ThinPlateSpline.fit(
        np.array([[0, 0], [200, 0], [0, 200], [200, 200], [100, 100.0]]),
        np.array([[0, 0], [200, 0], [0, 200], [200, 200], [150, 150.0]]),
    )
    bent = np.asarray(BentLevel(image, Bend(shifted, TO_UM, (100, 100)), (1, 1), False))
    assert (bent == 0).any()
    assert (bent == 200).mean() > 0.5


def test_a_section_is_bent_straightened_and_bent_otherwise():
    study = small_simulation().study
    viewer = ViewerModel()
    for name in study.sections:
        add_section(viewer, study, name)
    image = find_section(viewer, "section_2").images[0]
    before = np.asarray(image.data[0] if image.multiscale else image.data)
    size = max(before.shape[:2]) * 12.0
    left = move_section(viewer, "section_2", _spline(size, 60), "section_1")
    assert image not in left
    bent = np.asarray(image.data[0] if image.multiscale else image.data)
    assert bent.shape == before.shape
    assert np.abs(bent.astype(int) - before).mean() > 1
    move_section(viewer, "section_2", _spline(size, 30), "section_1")
    other = np.asarray(image.data[0] if image.multiscale else image.data)
    assert np.abs(other.astype(int) - bent).mean() > 0.5
    move_section(viewer, "section_2", Affine.identity(), "section_1")
    after = image.data[0] if image.multiscale else image.data
    np.testing.assert_array_equal(np.asarray(after), before)
