"""Areas in common are exact: against polygons of many corners, and by their sums."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_stomics.core.errors import UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import Affine, ThinPlateSpline
from napari_stomics.methods.alignment.areas import (
    disc_disc_area,
    disc_polygon_area,
    footprints,
    shared_areas,
    square_lattice,
)

RING = np.exp(2j * np.pi * np.arange(20_000) / 20_000)
CIRCLE = np.column_stack([RING.real, RING.imag])
SQUARE = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
size = st.floats(0.05, 3)
place = st.floats(-3, 3)


def affine(degrees: float, x: float = 0.0, y: float = 0.0, sx: float = 1.0, sy: float = 1.0):
    a = np.deg2rad(degrees)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ np.diag([sx, sy])
    return Affine(np.block([[turn, np.array([[x], [y]])], [np.zeros((1, 2)), np.ones((1, 1))]]))


def grid(n: int, pitch: float) -> np.ndarray:
    x, y = np.meshgrid(np.arange(n) * pitch, np.arange(n) * pitch)
    return np.column_stack([x.ravel(), y.ravel()])


def areas(giving, receiving):
    return shared_areas(giving, receiving, JobContext()).toarray()


@settings(max_examples=60, deadline=None)
@given(place, place, size, size, st.floats(0, 360))
def test_a_square_and_a_disc_share_what_a_fine_polygon_says(x, y, side, radius, degrees):
    corners = affine(degrees, x, y).apply(side * SQUARE)
    truth = shapely.Polygon(corners).intersection(shapely.Polygon(radius * CIRCLE)).area
    found = disc_polygon_area(corners[None], np.array([radius]))[0]
    assert found == pytest.approx(truth, abs=1e-6)
    assert disc_polygon_area(corners[None, ::-1], np.array([radius]))[0] == pytest.approx(found)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 4), size, size)
def test_two_discs_share_what_fine_polygons_say(distance, a, b):
    other = shapely.Polygon(b * CIRCLE + [distance, 0])
    truth = shapely.Polygon(a * CIRCLE).intersection(other).area
    assert disc_disc_area(distance, a, b) == pytest.approx(truth, abs=1e-5)


def test_known_cases_in_closed_form():
    lens = 2 * np.pi / 3 - np.sqrt(3) / 2
    assert disc_disc_area(1.0, 1.0, 1.0) == pytest.approx(lens, rel=1e-12)
    assert disc_disc_area(0.0, 1.0, 3.0) == pytest.approx(np.pi)
    assert disc_disc_area(2.0, 1.0, 1.0) == 0.0
    quarter = SQUARE * 10 + 5
    assert disc_polygon_area(quarter[None], np.array([1.0]))[0] == pytest.approx(np.pi / 4)
    assert disc_polygon_area(SQUARE[None], np.array([5.0]))[0] == pytest.approx(1.0)
    assert disc_polygon_area(SQUARE[None] + 9.0, np.array([5.0]))[0] == pytest.approx(0, abs=1e-12)


def test_pixels_tile_the_disc_that_they_cover_under_any_map():
    points = np.array([[0, 0], [190, 0], [0, 190], [190, 190], [95, 95.0]])
    moved = points.copy()
    moved[4] += 14, -9
    bent = ThinPlateSpline.fit(points, moved)
    for move in (affine(33, 20, 5, 1.1, 0.8), bent):
        pixels = footprints(grid(20, 10.0), "square", diameters=np.full(400, 10.0), transform=move)
        centre = move.apply(np.array([[95.0, 95.0]]))
        disc = footprints(centre, "disc", diameters=np.array([60.0]))
        found = areas(pixels, disc)
        assert found.sum() == pytest.approx(np.pi * 900, rel=1e-9)
        assert (found[:, 0] <= pixels.areas + 1e-9).all()


def test_discs_under_a_stretch_are_ellipses():
    move = affine(25, 3, -2, 1.4, 0.7)
    disc = footprints(np.zeros((1, 2)), "disc", diameters=np.array([10.0]), transform=move)
    other = footprints(np.array([[6.0, 1.0]]), "disc", diameters=np.array([8.0]))
    ellipse = shapely.Polygon(move.apply(5 * CIRCLE))
    truth = ellipse.intersection(shapely.Polygon(4 * CIRCLE + [6, 1])).area
    assert areas(disc, other)[0, 0] == pytest.approx(truth, rel=2e-4)
    square = footprints(np.array([[6.0, 1.0]]), "square", diameters=np.array([8.0]))
    truth = ellipse.intersection(shapely.Polygon(8 * SQUARE + [6, 1])).area
    assert areas(disc, square)[0, 0] == pytest.approx(truth, rel=1e-6)


def test_points_count_where_they_lie_within():
    points = footprints(np.array([[1.0, 1], [4, 4], [9, 9]]), "point", diameters=np.zeros(3))
    disc = footprints(np.zeros((1, 2)), "disc", diameters=np.array([12.0]))
    square = footprints(np.zeros((1, 2)), "square", diameters=np.array([7.9]), transform=affine(45))
    assert areas(points, disc)[:, 0].tolist() == [1, 1, 0]
    assert areas(points, square)[:, 0].tolist() == [1, 0, 0]
    assert areas(square, points)[0].tolist() == [1, 0, 0]
    with pytest.raises(UserError, match="no area"):
        areas(points, points)


def test_squares_share_rectangles():
    a = footprints(grid(3, 2.0), "square", diameters=np.full(9, 2.0))
    b = footprints(grid(3, 2.0) + 0.5, "square", diameters=np.full(9, 2.0))
    found = areas(a, b)
    assert found[0, 0] == pytest.approx(1.5 * 1.5)
    assert found.sum() == pytest.approx(5.5 * 5.5)


def test_places_that_a_map_does_not_reach_share_nothing():
    class Half(Affine):
        def apply(self, points):
            out = super().apply(points)
            out[out[:, 0] < 0] = np.nan
            return out

    for shape in ("square", "disc"):
        where = np.array([[-9.0, 0], [9, 0]])
        part = footprints(where, shape, diameters=np.full(2, 2.0), transform=Half(np.eye(3)))
        whole = footprints(where, "disc", diameters=np.full(2, 4.0))
        found = areas(part, whole)
        assert found[0].sum() == 0
        assert found[1, 1] > 0


@pytest.mark.parametrize("degrees", [0, 17, 45, 80])
def test_a_lattice_of_pixels_is_found_however_it_is_turned(degrees):
    rng = np.random.default_rng(0)
    places = grid(20, 1.0)[rng.random(400) > 0.15] * [20.0, 30.0]
    sides = square_lattice(affine(degrees).apply(places))
    assert np.sort(np.linalg.norm(sides, axis=0)).tolist() == pytest.approx([20, 30])
    assert abs(sides[:, 0] @ sides[:, 1]) < 1e-6
    turned = affine(degrees).matrix[:2, :2] @ np.diag([20.0, 30.0])
    assert abs(np.linalg.det(sides)) == pytest.approx(abs(np.linalg.det(turned)))


def test_spots_and_cells_are_no_lattice_of_pixels():
    rng = np.random.default_rng(0)
    hexagonal = grid(20, 1.0)
    hexagonal[:, 0] += 0.5 * (hexagonal[:, 1] % 2)
    assert square_lattice(hexagonal * [1, np.sqrt(3) / 2]) is None
    assert square_lattice(rng.uniform(0, 100, (500, 2))) is None
    assert square_lattice(grid(2, 1.0)) is None
