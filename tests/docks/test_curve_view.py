"""Curves without a plotting library: where they run, what they say, and that they are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QRectF

from napari_stomics.docks.curve_view import CurveView, limits, scaled

pytestmark = pytest.mark.gui

AREA = QRectF(10, 20, 100, 50)


@pytest.fixture
def view(qtbot):
    view = CurveView("Objective")
    qtbot.addWidget(view)
    view.resize(200, view.sizeHint().height())
    view.show()
    return view


def picture(view):
    image = view.grab().toImage()
    return np.array(
        [
            [image.pixelColor(x, y).getRgb()[:3] for x in range(image.width())]
            for y in range(image.height())
        ]
    )


def test_it_says_what_it_shows(view):
    assert view.text == "Objective: no iteration yet"
    view.set_values([3.0, 2.0, 0.125])
    assert view.text == "Objective: 0.125 (iteration 3)"
    assert view.accessibleDescription() == view.text
    view.set_values([1.0, np.nan])
    assert view.text == "Objective: 1 (iteration 2)"


def test_a_curve_runs_from_corner_to_corner(view):
    view.set_values([4.0, 3.0, 2.0])
    assert view.points(AREA) == [(10, 20), (60, 45), (110, 70)]
    view.set_values([5.0, 5.0])
    assert view.points(AREA) == [(10, 70), (110, 70)]
    view.set_values([])
    assert view.points(AREA) == []
    view.set_values([2.0, np.nan, 1.0])
    assert view.points(AREA) == [(10, 20), (110, 70)]


def test_the_first_steps_do_not_press_the_rest_flat(view):
    values = np.array([1000.0, 3.0, 2.0, 1.5, 1.2, 1.1, 1.0])
    assert limits(values) == (1.0, 3.0)
    view.set_values(values)
    points = view.points(AREA)
    assert points[0] == (10, 20)  # cut off at the frame
    assert points[1][1] == 20
    assert points[2][1] == pytest.approx(45)


def test_on_a_logarithmic_axis_each_power_is_a_step(qtbot):
    view = CurveView("Marginal error", log=True)
    qtbot.addWidget(view)
    view.set_values([1.0, 0.1, 0.01])
    assert view.points(AREA)[1] == (60, pytest.approx(45))
    assert scaled(np.array([0.0]), True)[0] == -12


def test_many_values_take_few_points_and_the_last_is_one(view):
    view.set_values(np.linspace(2, 1, 100_001))
    points = view.points(AREA)
    assert len(points) < 500
    assert points[-1] == (110, 70)


def test_it_is_drawn(view):
    empty = picture(view)
    view.set_values([1.0])
    dot = picture(view)
    view.set_values([3.0, 1.0, 2.0])
    curve = picture(view)
    assert (empty != dot).any()
    blue = (curve[..., 2] > 200) & (curve[..., 0] < 120)
    assert blue.sum() > 100
