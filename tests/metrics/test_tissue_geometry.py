import numpy as np
import pytest

from napari_stomics.core.transforms import Affine, DisplacementField, ThinPlateSpline
from napari_stomics.metrics.tissue_geometry import (
    carry_points,
    dice_of_tissue,
    fold_share,
    inverse_error,
    linear_pose,
    neighbour_edges,
    principal_strain,
    tissue_points,
    triangles,
    turned_over,
)


def _grid(nx: int = 12, ny: int = 9) -> np.ndarray:
    return 100.0 * np.stack(np.meshgrid(np.arange(nx), np.arange(ny)), -1).reshape(-1, 2)


def _turn(degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def test_neighbours_do_not_reach_across_a_gap():
    left = _grid(4, 9)
    xy = np.vstack([left, left + np.array([2000, 0])])
    edges = neighbour_edges(xy)
    assert ((edges[:, 0] < 36) == (edges[:, 1] < 36)).all()
    assert np.linalg.norm(xy[edges[:, 0]] - xy[edges[:, 1]], axis=1).max() < 150


def test_spots_on_a_line_have_no_triangles():
    line = np.column_stack([np.arange(10.0), np.zeros(10)])
    assert triangles(line).shape == (0, 3)
    assert neighbour_edges(line).shape == (0, 2)


def test_dice_is_one_for_the_same_tissue_on_another_array_and_falls_with_a_shift():
    xy = _grid()
    assert dice_of_tissue(xy, xy + np.array([50, 50]), (100, 100)) > 0.88
    assert dice_of_tissue(xy, xy, (100, 100)) == 1
    half = dice_of_tissue(xy, xy + np.array([600, 0]), (100, 100))
    assert half == pytest.approx(0.5, abs=0.07)
    assert dice_of_tissue(xy, xy + 9999, (100, 100)) == 0


def test_a_mirror_image_does_not_fold_and_a_fold_does():
    points = tissue_points(_grid(), 100)
    assert fold_share(Affine(np.diag([-1.0, 1.0, 1.0])), points) == 0
    x = np.linspace(-200, 1400, 65)
    shift = np.zeros((65, 65, 2))
    shift[..., 0] = -2 * (x - 550) * np.exp(-(((x - 550) / 300) ** 2))
    fold = DisplacementField(shift, np.array([-200.0, -200.0]), np.array([25.0, 25.0]))
    assert 0.1 < fold_share(fold, points) < 0.6


def test_strain_is_zero_for_a_rigid_map_and_known_for_a_stretch():
    matrix = np.eye(3)
    matrix[:2, :2] = _turn(33)
    points = _grid()
    np.testing.assert_allclose(principal_strain(Affine(matrix), points), 0, atol=1e-12)
    np.testing.assert_allclose(
        principal_strain(Affine(np.diag([1.0, 0.8, 1.0])), points), 0.2, atol=1e-12
    )


def test_a_spline_comes_back_through_its_inverse():
    xy = _grid()
    rng = np.random.default_rng(0)
    marks = xy[rng.choice(len(xy), 10, replace=False)]
    spline = ThinPlateSpline.fit(marks, marks + rng.normal(0, 20, marks.shape))
    assert inverse_error(spline, xy).max() < 1e-3


def test_neighbourhoods_are_turned_over_by_a_mirror_unless_it_is_meant():
    xy = _grid()
    corners = triangles(xy)
    assert turned_over(corners, xy, xy @ _turn(70).T, mirrored=False) == 0
    assert turned_over(corners, xy, xy * [-1, 1], mirrored=False) == 1
    assert turned_over(corners, xy, xy * [-1, 1], mirrored=True) == 0
    shuffled = np.random.default_rng(1).permutation(xy)
    assert turned_over(corners, xy, shuffled, mirrored=False) == pytest.approx(0.5, abs=0.12)


def test_points_are_carried_by_pose_and_local_displacement():
    xy = _grid()
    placed = xy @ _turn(25).T + [300, -50]
    landed = placed + np.column_stack([0.05 * xy[:, 0], np.zeros(len(xy))])
    landed[5] = np.nan
    points = np.array([[350.0, 250.0], [620.0, 410.0]])
    expected = points @ _turn(25).T + [300, -50] + [[17.5, 0], [31.0, 0]]
    np.testing.assert_allclose(carry_points(points, xy, placed, landed), expected, atol=2.0)
    np.testing.assert_allclose(linear_pose(xy, placed)[:2], _turn(25).T, atol=1e-12)
