"""The dock for morphology and expression, as a person uses it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication, QLineEdit, QVBoxLayout, QWidget

from napari_stomics.core.plane import QUADRANTS
from napari_stomics.data.fusion import FusionRefs
from napari_stomics.docks.plane_cloud import AXES, cloud_of, describe
from napari_stomics.docks.plane_dock import PlaneDock
from napari_stomics.docks.refs_form import RefsForm
from napari_stomics.docks.scatter_view import Cloud, ScatterView
from napari_stomics.docks.workbench import workbench
from napari_stomics.layers.tags import tag, tagged
from tests.data.test_morphology import judged  # noqa: F401 - a fixture
from tests.docks.desk import finish
from tests.scored import scored_study
from tests.small import small_simulation

pytestmark = pytest.mark.gui


class Desk:
    """A dock on a viewer, and a hand for its buttons."""

    def __init__(self, qtbot: Any, frame: QWidget) -> None:
        self.qtbot, self.viewer = qtbot, ViewerModel()
        self.bench = workbench(self.viewer)
        self.dock = PlaneDock(self.viewer)
        frame.layout().addWidget(self.dock)

    def click(self, button: Any) -> None:
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        finish(self.qtbot, self.bench)


@pytest.fixture
def desk(qtbot: Any) -> Any:
    frame = QWidget()
    qtbot.addWidget(frame)
    QVBoxLayout(frame)
    frame.resize(420, 1200)
    frame.show()
    found = Desk(qtbot, frame)
    yield found
    found.bench.runner.stop_all()
    found.__dict__.clear()


@pytest.fixture
def open_desk(desk: Any, judged: Any) -> Any:  # noqa: F811
    desk.bench.session.open(judged[0])
    finish(desk.qtbot, desk.bench)
    return desk


def test_opened_alone_it_says_what_to_do(desk):
    assert "Open a study first" in desk.dock.note.text()
    assert not desk.dock.judge.isEnabled()
    assert not desk.dock.read.isEnabled()
    desk.dock.select([])
    desk.dock.show_feature("nothing")


def test_features_are_read_and_judged_from_the_buttons(desk):
    study = small_simulation(um_per_px=4.0).study
    desk.bench.session.open(study)
    finish(desk.qtbot, desk.bench)
    dock = desk.dock
    assert "First read the features" in dock.note.text()
    assert not dock.judge.isEnabled()  # there is nothing but RNA, and no use in judging it by RNA
    assert not dock.draw.isEnabled()
    desk.click(dock.read)
    assert dock.refs.values()["modality"] == "image"
    desk.click(dock.judge)
    assert dock.plane is not None
    assert dock.shown.currentText() == "plane"
    assert dock.verdict.text() == dock.plane.verdict()
    assert len(dock.view.cloud.names) == len(dock.plane.features)


def test_a_click_shows_the_feature_beside_its_gene(open_desk, judged):  # noqa: F811
    dock, plane = open_desk.dock, judged[3]
    at = dock.view.places()[2]
    name = dock.view.near(*at)
    open_desk.qtbot.mouseClick(
        dock.view, Qt.MouseButton.LeftButton, pos=QPoint(*(round(v) for v in at))
    )
    row = [str(f) for f in plane.features].index(name)
    parts = {tag(q)["part"]: q for q in tagged(open_desk.viewer, result="plane")}
    assert name in parts["feature"].name
    assert str(plane.gene[row]) in parts["gene"].name
    assert dock.about.text() == describe(plane, name)


def test_the_pair_hides_other_results_on_its_spots_and_names_its_bars(open_desk):
    dock, viewer = open_desk.dock, open_desk.viewer
    features = tagged(viewer, result="features", part="feature")[0]
    features.visible = True
    dock.show_feature(str(dock.plane.features[0]))
    assert not features.visible
    pair = tagged(viewer, result="plane")
    assert len(pair) == 2
    for layer in pair:
        assert layer.visible
        assert layer.face_colorbar.visible
        assert layer.name_overlay.visible
        assert layer.name_overlay.position == layer.face_colorbar.position
    # One below the other, so that no name runs over its neighbour's bar.
    assert viewer.canvas.overlay_tiling.top_left == "vertical"


def test_a_section_without_an_image_says_what_is_needed(desk):
    desk.bench.session.open(scored_study())
    finish(desk.qtbot, desk.bench)
    assert not desk.dock.read.isEnabled()
    assert "two different modalities" in desk.dock.note.text()


def test_the_pair_is_brought_into_sight_and_stays_where_it_is_seen(open_desk, judged):  # noqa: F811
    viewer, plane = open_desk.viewer, judged[3]
    viewer.scene.camera.zoom *= 20
    open_desk.dock.show_feature(str(plane.features[0]))
    fitted = viewer.scene.camera.zoom
    gene = next(q for q in tagged(viewer, result="plane") if tag(q)["part"] == "gene")
    low, high = gene.extent.world[:, -2:]
    half = np.array(viewer.canvas.viewbox_size(viewer.layers)) / fitted / 2
    middle = np.array(viewer.scene.camera.center)[-2:]
    assert (low >= middle - half).all()
    assert (high <= middle + half).all()
    viewer.scene.camera.zoom = 0.9 * fitted
    open_desk.dock.show_feature(str(plane.features[1]))
    assert viewer.scene.camera.zoom == 0.9 * fitted


def test_a_quadrant_is_left_out_and_used_again(open_desk, judged):  # noqa: F811
    dock, plane = open_desk.dock, judged[3]
    quadrant = max(QUADRANTS, key=plane.count)
    dock.quadrant.setCurrentText(quadrant)
    dock.quadrant.activated.emit(dock.quadrant.currentIndex())
    assert f"{plane.count(quadrant)} features chosen" in dock.chosen.text()
    open_desk.click(dock.leave)
    left = open_desk.bench.session.left_out
    assert set(left.of("image")) == set(plane.of(quadrant))
    assert "left out" in dock.chosen.text()
    open_desk.click(dock.copy)
    assert QApplication.clipboard().text().split(", ") == plane.of(quadrant)
    open_desk.click(dock.use)
    assert left.text == ""


def test_the_form_of_a_fusion_takes_over_what_is_left_out(open_desk, qtbot):
    form = RefsForm(FusionRefs, open_desk.bench.session)
    qtbot.addWidget(form)
    open_desk.bench.session.left_out.add("image", ["a", "b"])
    form.refresh()
    assert form.values()["leave_out"] == ["a", "b"]
    form.findChild(QLineEdit, "leave_out").setText("mine")
    open_desk.bench.session.left_out.add("image", ["c"])
    form.refresh()
    assert form.values()["leave_out"] == ["mine"]


def test_points_are_chosen_by_drawing_round_them(open_desk):
    dock, view = open_desk.dock, open_desk.dock.view
    corners = [(1, 1), (view.width() - 1, 1), (view.width() - 1, 299), (1, 299)]
    assert set(view.within(corners)) == set(view.cloud.names)
    open_desk.qtbot.mousePress(view, Qt.MouseButton.LeftButton, pos=QPoint(*corners[0]))
    for corner in corners[1:]:
        open_desk.qtbot.mouseMove(view, QPoint(*corner))
    open_desk.qtbot.mouseRelease(view, Qt.MouseButton.LeftButton, pos=QPoint(*corners[-1]))
    assert len(view.within(corners)) > 0
    assert f"{len(view.cloud.names)} features chosen" in dock.chosen.text()


def test_a_region_that_is_drawn_is_judged_at_once(open_desk, judged):  # noqa: F811
    dock, study, section = open_desk.dock, judged[0], judged[1]
    runs = len(study.record.runs)
    open_desk.click(dock.draw)
    xy = study.section(section).coordinates
    low, high, middle = xy.min(axis=0), xy.max(axis=0), float(np.median(xy[:, 0]))
    layer = open_desk.viewer.layers.selection.active
    ring = [[low[1], low[0]], [low[1], middle], [high[1], middle], [high[1], low[0]]]
    layer.add([ring], shape_type="polygon")
    finish(open_desk.qtbot, open_desk.bench)
    assert dock.plane.label_name == "drawn region"
    assert dock.plane.gain is None
    assert dock.shown.names() == ["plane", "plane_region"]
    for text in dock.former.names():
        dock.former.setCurrentText(text)
    assert len(dock.view.cloud.arrows) > 0
    dock.let_go()
    while len(study.record.runs) > runs:  # the study is shared with other tests
        open_desk.bench.undo()
    layer.data = []


def test_arrows_lead_from_the_same_feature_or_from_the_middle(judged):  # noqa: F811
    from dataclasses import replace

    plane = judged[3]
    moved = replace(plane, relevance=plane.relevance + 0.1)
    for axes in AXES:
        cloud = cloud_of(plane, axes, plane)
        np.testing.assert_allclose(cloud.arrows[:, :2], cloud.arrows[:, 2:])
    cloud = cloud_of(moved, AXES[1], plane)
    np.testing.assert_allclose(cloud.arrows[:, 3] - cloud.arrows[:, 1], 0.1)
    other = replace(plane, features=np.array([f"n{i}" for i in range(len(plane.features))], object))
    assert cloud_of(plane, AXES[1], other).arrows.shape == (1, 4)


def test_over_its_null_the_border_parts_the_quadrants(judged):  # noqa: F811
    plane = judged[3]
    cloud = cloud_of(plane, AXES[0])
    relevant, shared = cloud.y > 1, cloud.x > 1
    assert list(relevant) == [q in ("translation", "integration") for q in plane.quadrant]
    assert list(shared) == [q in ("translation", "overestimation") for q in plane.quadrant]


def test_the_view_draws_points_borders_and_arrows(qtbot):
    view = ScatterView()
    qtbot.addWidget(view)
    view.resize(300, 300)
    empty = view.grab().toImage()
    view.show_cloud(
        Cloud(
            names=["a", "b"], x=np.array([0.0, 1.0]), y=np.array([0.0, 1.0]),
            colours=["#ff0000", "#00ff00"], sizes=np.array([20.0, 20.0]), titles=("x", "y"),
            borders=[(0, 0.5, True), (1, 0.5, False)],
            arrows=np.array([[0.2, 0.1, 0.8, 0.4]]),
        )
    )  # fmt: skip
    view.mark(current="a", selected=["b"], hollow=["b"])
    drawn = view.grab().toImage()
    assert drawn != empty
    x, y = (int(v) for v in view.places()[0])
    assert drawn.pixelColor(x, y).red() > 150
    assert drawn.pixelColor(x, y).green() < 100
    x, y = (int(v) for v in view.places()[1])
    assert drawn.pixelColor(x, y).red() > 150  # hollow: the light ground, not green
