"""The landmark dock in a window: driven with the mouse and the keyboard, on real sections."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QLabel, QMainWindow, QPushButton, QWidget

from napari_stomics.core.results import Registration
from napari_stomics.data.samples import olfactory_bulb
from napari_stomics.docks.landmark_dock import LandmarkDock
from napari_stomics.docks.landmark_io import LoadChoice, SaveChoice
from napari_stomics.docks.workbench import workbench
from napari_stomics.layers.tags import section_placement, tagged
from napari_stomics.methods.registration.suggest import Suggestion
from napari_stomics.session.landmarks import Landmark
from tests.layers.studies import pair, section, turned

pytestmark = pytest.mark.gui

LEFT, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


class Desk:
    """A viewer with the dock, and a hand for mouse and keyboard."""

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        self.dock = LandmarkDock(viewer)
        self.frame = viewer.window.add_dock_widget(self.dock, name="Landmarks", area="right")
        self.bench = workbench(viewer)
        self.session = self.bench.session
        windows = [w for w in QApplication.topLevelWidgets() if isinstance(w, QMainWindow)]
        boards = [
            w
            for window in windows
            for w in window.findChildren(QWidget)
            if "CanvasBackend" in type(w).__name__ and w.isVisible()
        ]
        self.canvas = boards[-1]
        self.settle()

    def settle(self) -> None:
        for _ in range(4):
            self.qtbot.wait(10)

    def open(self, study: Any) -> None:
        self.session.open(study)
        self.settle()
        self.viewer.reset_view()
        self.settle()

    def pixel(self, name: str, position: tuple[float, float]) -> QPoint:
        """Where (x, y) um of a section lies on the canvas."""
        y, x = self.dock.view.to_world(name, position)
        height, width = self.viewer.canvas.viewbox_size(self.viewer.layers)
        camera = self.viewer.scene.camera
        across = width / 2 + (x - camera.center[-1]) * camera.zoom
        down = height / 2 + (y - camera.center[-2]) * camera.zoom
        grid = self.viewer.canvas.grid
        if grid.enabled:
            of_name = tagged(self.viewer, section=name)[0]
            index = self.viewer.layers.index(of_name)
            row, column = grid.position(index, self.viewer.layers)
            across, down = across + column * width, down + row * height
        return QPoint(round(across), round(down))

    def click(self, name: str, position: tuple[float, float]) -> None:
        where = self.pixel(name, position)
        self.qtbot.mouseMove(self.canvas, where)
        self.qtbot.mouseClick(self.canvas, LEFT, NONE, where)
        self.settle()

    def drag(self, start: QPoint, by: QPoint, steps: int = 6) -> None:
        self.qtbot.mousePress(self.canvas, LEFT, NONE, start)
        for i in range(1, steps + 1):
            at = start + by * i / steps
            event = QMouseEvent(
                QEvent.Type.MouseMove,
                QPointF(at),
                QPointF(self.canvas.mapToGlobal(at)),
                Qt.MouseButton.LeftButton,
                Qt.MouseButton.LeftButton,
                NONE,
            )
            QApplication.sendEvent(self.canvas, event)
            self.qtbot.wait(25)  # napari passes on at most one move per screen refresh
        self.qtbot.mouseRelease(self.canvas, LEFT, NONE, start + by)
        self.settle()

    def press(self, key: Any, modifiers: Any = NONE) -> None:
        self.qtbot.keyClick(self.canvas, key, modifiers)
        self.settle()

    def um_per_pixel(self) -> float:
        return 1 / self.viewer.scene.camera.zoom


@pytest.fixture
def desk(make_napari_viewer: Any, qtbot: Any) -> Iterator[Desk]:
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1300, 900)
    desk = Desk(viewer, qtbot)
    yield desk
    desk.bench.runner.stop_all()
    desk.__dict__.clear()  # pytest holds the desk longer than napari allows a viewer to live


def landmarks(study: Any) -> list[Any]:
    """Take the landmarks out of a study, to place them by hand."""
    found, study.record.landmarks = list(study.record.landmarks), []
    return found


def away(desk: Desk, name: str, landmark: str, wanted: Any) -> float:
    """Distance in screen pixels of a landmark from where it was meant to be."""
    at = desk.session.landmarks.positions(name)[landmark]
    return float(np.hypot(*np.subtract(at, wanted))) / desk.um_per_pixel()


# -- placing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["side by side", "overlay"])
def test_pairs_are_placed_by_clicks(desk, layout):
    study = olfactory_bulb()
    wanted = landmarks(study)
    desk.open(study)
    desk.dock.view.set_layout(layout)
    desk.settle()
    assert desk.session.estimate.problem
    assert "landmark pairs" in desk.dock.quality.text
    desk.press(Qt.Key.Key_Space)
    assert desk.dock.placing.active
    for number, mark in enumerate(wanted[3:7], start=1):
        desk.click("Rep12", mark.positions["Rep12"])
        assert f"Click L{number} in Rep11" in desk.dock.list.prompt
        expected = desk.dock.view.rings
        assert bool(expected) == (number > 3)
        desk.click("Rep11", mark.positions["Rep11"])
        for name in ("Rep11", "Rep12"):
            assert away(desk, name, f"L{number}", mark.positions[name]) < 1.5
    found = desk.session.estimate.registration
    assert found is not None
    shown = section_placement(desk.viewer, "Rep12").matrix
    np.testing.assert_allclose(shown, found.transform.matrix)
    assert desk.viewer.screenshot(canvas_only=True, flash=False).std() > 10


def test_the_prediction_is_shown_and_escape_takes_the_half_placed_one_back(desk):
    study = olfactory_bulb()
    wanted = landmarks(study)
    desk.open(study)
    desk.session.landmarks.reset(Landmark(m.name, m.positions) for m in wanted[:6])
    desk.press(Qt.Key.Key_Space)
    desk.click("Rep12", wanted[8].positions["Rep12"])
    assert desk.session.landmarks.names[-1] == "L7"
    ring = desk.dock.view.rings["Rep11"]
    assert np.hypot(*np.subtract(ring, wanted[8].positions["Rep11"])) < 400
    ghosts = tagged(desk.viewer, role="ghost", section="Rep11")
    np.testing.assert_allclose(ghosts[0].data[0][::-1], ring)
    desk.press(Qt.Key.Key_Escape)
    assert desk.session.landmarks.names == [m.name for m in wanted[:6]]
    assert not tagged(desk.viewer, role="ghost")
    assert desk.dock.placing.active
    assert desk.session.undo.redo_text == "Add L7"
    desk.press(Qt.Key.Key_Escape)
    assert not desk.dock.placing.active


def test_another_click_in_the_same_section_moves_the_half_placed_one(desk):
    desk.open(pair())
    desk.dock.view.set_layout("side by side")
    desk.settle()
    desk.press(Qt.Key.Key_Space)
    desk.click("A", (200.0, 150.0))
    desk.click("A", (260.0, 200.0))
    assert desk.session.landmarks.names == ["L1"]
    assert away(desk, "A", "L1", (260.0, 200.0)) < 1.5
    assert "in B" in desk.dock.list.prompt


def test_a_click_outside_the_tissue_counts_and_a_drag_moves_the_view(desk):
    desk.open(pair())
    desk.viewer.scene.camera.zoom /= 2
    desk.press(Qt.Key.Key_Space)
    before = desk.viewer.scene.camera.center
    desk.drag(QPoint(300, 300), QPoint(60, 30))
    assert desk.viewer.scene.camera.center != before
    assert desk.session.landmarks.names == []
    corner = QPoint(12, 12)
    desk.qtbot.mouseClick(desk.canvas, LEFT, NONE, corner)
    assert desk.session.landmarks.names == ["L1"]


def test_a_drag_moves_a_landmark_as_one_action_and_the_overlay_follows(desk):
    desk.open(olfactory_bulb())
    desk.press(Qt.Key.Key_Space)
    name = desk.session.landmarks.names[4]
    before = desk.session.landmarks.positions("Rep11")[name]
    camera, lies = desk.viewer.scene.camera.center, section_placement(desk.viewer, "Rep12").matrix
    start = desk.pixel("Rep11", before)
    desk.drag(start, QPoint(40, 24))
    moved = np.subtract(desk.session.landmarks.positions("Rep11")[name], before)
    assert desk.viewer.scene.camera.center == camera
    assert desk.session.undo.undo_text == "Move landmarks"
    np.testing.assert_allclose(moved * desk.viewer.scene.camera.zoom, (40, 24), atol=1.5)
    assert not np.allclose(section_placement(desk.viewer, "Rep12").matrix, lies)
    assert desk.session.landmarks.selected == name
    desk.press(Qt.Key.Key_Z, CONTROL)
    assert desk.session.landmarks.positions("Rep11")[name] == before
    np.testing.assert_allclose(section_placement(desk.viewer, "Rep12").matrix, lies)
    desk.press(Qt.Key.Key_Z, CONTROL | SHIFT)
    assert desk.session.landmarks.positions("Rep11")[name] != before


# -- keys, table, view -------------------------------------------------------------------------


def test_keys_after_bigwarp(desk):
    desk.open(olfactory_bulb())
    view, model = desk.dock.view, desk.session.landmarks
    registered = section_placement(desk.viewer, "Rep12").matrix
    assert not np.allclose(registered, np.eye(3))
    desk.press(Qt.Key.Key_T)
    np.testing.assert_array_equal(section_placement(desk.viewer, "Rep12").matrix, np.eye(3))
    desk.press(Qt.Key.Key_W)
    follows = section_placement(desk.viewer, "Rep11").matrix
    np.testing.assert_allclose(follows @ registered, np.eye(3), atol=1e-9)
    desk.press(Qt.Key.Key_Q)
    np.testing.assert_allclose(section_placement(desk.viewer, "Rep12").matrix, registered)
    model.selected = model.names[2]
    desk.press(Qt.Key.Key_D)
    y, x = view.to_world("Rep11", model.positions("Rep11")[model.names[2]])
    np.testing.assert_allclose(desk.viewer.scene.camera.center[-2:], (y, x))
    desk.press(Qt.Key.Key_D, CONTROL)
    assert model.selected == model.names[3]
    desk.press(Qt.Key.Key_D, CONTROL | SHIFT)
    assert model.selected == model.names[2]
    there = desk.pixel("Rep11", model.positions("Rep11")[model.names[7]])
    desk.qtbot.mouseMove(desk.canvas, there)
    desk.settle()
    desk.press(Qt.Key.Key_E)
    assert model.selected == model.names[7]
    desk.press(Qt.Key.Key_F1)
    helps = [w for w in desk.dock.findChildren(QLabel) if "Previous landmark" in w.text()]
    assert helps
    assert helps[0].window().isVisible()
    helps[0].window().close()


def test_the_warp_is_shown_and_follows(desk):
    desk.open(olfactory_bulb())
    desk.dock.form.editor("model").set_value("tps")
    desk.dock.form.editor("stiffness").set_value(0.0)
    desk.dock.form.changed.emit()
    desk.settle()
    assert desk.session.estimate.registration.model == "tps"
    for text, parts in (
        ("warp grid", {"grid"}),
        ("warp magnitude", {"magnitude"}),
        ("warp grid and magnitude", {"grid", "magnitude"}),
    ):
        desk.press(Qt.Key.Key_U)
        assert text in desk.dock.view.warp_layers.shown
        assert set(desk.dock.view.warp_layers.layers) == parts
    grid = desk.dock.view.warp_layers.layers["grid"]
    before = grid.data.copy()
    name = desk.session.landmarks.names[0]
    x, y = desk.session.landmarks.positions("Rep11")[name]
    desk.session.landmarks.place(name, "Rep11", (x + 300, y))
    desk.settle()
    assert not np.array_equal(grid.data, before)
    desk.press(Qt.Key.Key_U)
    assert desk.dock.view.warp_layers.layers == {}


def test_landmarks_do_not_move_when_the_sections_bend(desk):
    """A map that bends carries the spots; the landmarks stay what the session says."""
    study = olfactory_bulb()
    wanted = {m.name: m.positions for m in study.record.landmarks}
    desk.open(study)
    for model in ("tps", "affine", "tps"):
        desk.dock.form.editor("model").set_value(model)
        desk.dock.form.changed.emit()
        desk.settle()
        desk.press(Qt.Key.Key_T)
        desk.press(Qt.Key.Key_T)
    assert {m.name: m.positions for m in desk.session.landmarks.landmarks} == wanted


def test_tapping_space_switches_and_holding_it_does_not(desk, monkeypatch):
    from napari_stomics.docks import landmark_keys

    desk.open(pair())
    desk.press(Qt.Key.Key_Space)
    assert desk.dock.placing.active
    monkeypatch.setattr(landmark_keys, "TAP_S", -1.0)
    desk.press(Qt.Key.Key_Space)
    assert desk.dock.placing.active


def test_the_layout_keeps_what_is_in_sight_and_goes_back(desk):
    desk.open(olfactory_bulb())
    desk.dock.view.set_layout("overlay")
    zoom = desk.viewer.scene.camera.zoom
    area = np.prod(desk.viewer.canvas.viewbox_size(desk.viewer.layers))
    desk.dock.view_panel.toggle_side()
    side = np.prod(desk.viewer.canvas.viewbox_size(desk.viewer.layers))
    assert desk.dock.view.layout == "side by side"
    assert desk.viewer.scene.camera.zoom == pytest.approx(zoom * side / area)
    desk.dock.view_panel.toggle_overlay()
    assert desk.dock.view.layout == "overlay"
    assert desk.viewer.scene.camera.zoom == pytest.approx(zoom)


def test_degenerate_landmarks_are_explained_in_place(desk):
    desk.open(pair())
    assert "needs 3 landmark pairs" in desk.dock.quality.text
    line = [(150.0 + 30 * i, 100.0 + 30 * i) for i in range(4)]
    desk.session.landmarks.reset(Landmark(f"L{i}", {"A": xy, "B": xy}) for i, xy in enumerate(line))
    desk.settle()
    assert "lie on one line" in desk.dock.quality.text
    assert "Add a pair away from that line" in desk.dock.quality.text


# -- sections come and go ----------------------------------------------------------------------


def test_alone_with_one_and_with_many_sections(desk):
    assert "No section is open" in desk.dock.sections.message.text()
    assert not desk.dock.list.isEnabled()
    desk.press(Qt.Key.Key_Space)
    assert not desk.dock.placing.active
    for key in (Qt.Key.Key_T, Qt.Key.Key_U, Qt.Key.Key_D, Qt.Key.Key_E, Qt.Key.Key_Q):
        desk.press(key)
    from napari_stomics.data.study import Study

    desk.open(Study(section("A")))
    assert "Only A is open" in desk.dock.sections.message.text()
    desk.session.add(section("B"))
    desk.session.add(section("C"))
    desk.settle()
    assert desk.dock.sections.message.isHidden()
    assert desk.dock.list.isEnabled()
    combo = desk.dock.sections.moving
    assert [combo.itemText(i) for i in range(combo.count())] == ["A", "B", "C"]
    combo.setCurrentText("C")
    combo.activated.emit(combo.currentIndex())
    assert desk.session.estimate.source == "C"
    assert {q.metadata["napari_stomics"]["section"] for q in desk.dock.view.landmark_layers} == {
        "A",
        "C",
    }
    desk.dock.sections.exchange()
    assert (desk.session.estimate.source, desk.session.estimate.target) == ("A", "C")


def test_another_study_and_layers_deleted_by_the_user(desk):
    desk.open(pair())
    desk.press(Qt.Key.Key_Space)
    desk.viewer.layers.remove(desk.dock.view.landmark_layers[0])
    desk.session.landmarks.add(positions={"A": (200.0, 150.0)})
    desk.settle()
    desk.press(Qt.Key.Key_Space)
    desk.press(Qt.Key.Key_Space)
    assert len(desk.dock.view.landmark_layers) == 2
    assert [len(q.data) for q in tagged(desk.viewer, role="landmarks", section="A")] == [1]
    desk.viewer.layers.clear()
    desk.settle()
    desk.press(Qt.Key.Key_T)
    desk.open(olfactory_bulb())
    assert desk.dock.sections.moving.currentText() == "Rep12"
    assert desk.session.estimate.registration is not None
    assert len(tagged(desk.viewer, role="landmarks")) == 2


def test_taken_out_of_its_window_the_dock_lets_go_of_the_viewer(desk):
    desk.open(olfactory_bulb())
    desk.dock.view_panel.toggle_side()
    desk.press(Qt.Key.Key_Space)
    callbacks = len(desk.viewer.mouse_drag_callbacks)
    desk.viewer.window.remove_dock_widget(desk.frame)
    desk.settle()
    assert dict(desk.viewer.keymap) == {}
    assert len(desk.viewer.mouse_drag_callbacks) == callbacks - 1
    assert not tagged(desk.viewer, role=("landmarks", "ghost"))
    np.testing.assert_array_equal(section_placement(desk.viewer, "Rep12").matrix, np.eye(3))
    desk.session.landmarks.add()
    desk.frame = desk.viewer.window.add_dock_widget(desk.dock, name="Landmarks", area="right")
    desk.settle()
    assert len(tagged(desk.viewer, role="landmarks")) == 2
    assert not np.allclose(section_placement(desk.viewer, "Rep12").matrix, np.eye(3))
    desk.press(Qt.Key.Key_Space)
    assert desk.dock.placing.active


def test_the_window_may_close_while_a_job_runs(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    desk = Desk(viewer, qtbot)
    desk.open(olfactory_bulb())
    desk.dock.view_panel.toggle_side()
    desk.dock.automatic.run()
    assert desk.bench.runner.active()
    runner = desk.bench.runner
    viewer.close()
    qtbot.waitUntil(lambda: not runner.active(), timeout=10_000)
    gc.collect()


# -- keep --------------------------------------------------------------------------------------


def test_storing_is_a_step_by_value_and_undoable(desk, qtbot):
    desk.open(olfactory_bulb())
    fitted = desk.session.estimate.registration.transform.matrix
    with qtbot.waitSignal(desk.bench.runner.finished, timeout=20_000):
        desk.dock.store.store()
    desk.settle()
    study = desk.session.study
    np.testing.assert_allclose(study.registration("Rep12", "Rep11").matrix, fitted)
    step = study.record.runs[-1].step
    assert step["method"] == "registration/landmarks"
    assert len(step["inputs"]["landmarks"]) == 14
    assert "Stored: Rep12 → Rep11" in desk.dock.store.text
    desk.session.landmarks.remove(desk.session.landmarks.names[:2])
    with qtbot.waitSignal(desk.bench.runner.finished, timeout=60_000):
        desk.dock.store.write_warped()
    assert "Rep12_he_warped" in study.record.sections["Rep11"].images
    assert "Rep12_he_warped" in study.sdata.images
    assert "Rep12_he_warped" in [layer.name for layer in desk.bench.viewer.layers]
    desk.bench.undo()
    assert "Rep12_he_warped" not in study.record.sections["Rep11"].images
    assert "Rep12_he_warped" not in study.sdata.images
    assert "Rep12_he_warped" not in [layer.name for layer in desk.bench.viewer.layers]
    desk.bench.undo()
    desk.bench.undo()
    desk.settle()
    assert study.registration("Rep12", "Rep11") is None
    assert "Nothing is stored" in desk.dock.store.text


def test_files_by_the_dock_are_one_action(desk, tmp_path):
    desk.open(olfactory_bulb())
    path = desk.dock.files.write(tmp_path / "bulb.csv", SaveChoice("", "study", ()))
    before = desk.session.landmarks.landmarks
    desk.session.landmarks.remove(desk.session.landmarks.names)
    desk.dock.files.read(path, LoadChoice(None, ()))
    assert desk.session.landmarks.landmarks == before
    desk.press(Qt.Key.Key_Z, CONTROL)
    assert desk.session.landmarks.names == []


# -- automatic start ---------------------------------------------------------------------------


def test_automatic_registration_shows_its_margin_and_poses_can_be_clicked(desk, qtbot):
    study = olfactory_bulb()
    wanted = landmarks(study)
    desk.open(study)
    panel = desk.dock.automatic
    with qtbot.waitSignal(desk.bench.runner.finished, timeout=120_000):
        panel.run()
    desk.settle()
    found = panel.found
    assert isinstance(found, Registration)
    np.testing.assert_allclose(
        section_placement(desk.viewer, "Rep12").matrix, found.transform.matrix
    )
    source = np.array([m.positions["Rep12"] for m in wanted])
    target = np.array([m.positions["Rep11"] for m in wanted])
    error = np.hypot(*(found.transform.apply(source) - target).T)
    assert np.median(error) < 150
    assert "%" in panel.verdict
    assert "automatic registration" in desk.dock.view.shown_text
    assert panel.poses.count() == len(found.candidates)
    if len(found.candidates) > 1:
        with qtbot.waitSignal(desk.bench.runner.finished, timeout=120_000):
            panel.choose(1)
            shown = section_placement(desk.viewer, "Rep12").matrix
            np.testing.assert_allclose(shown, found.candidates[1].transform.matrix)
        assert panel.found is found
        assert desk.session.study.record.runs[-1].step["params"]["initial"] is not None
    desk.bench.undo()


def test_two_clicks_start_a_refinement(desk, qtbot):
    study = olfactory_bulb()
    wanted = landmarks(study)
    desk.open(study)
    panel = desk.dock.automatic
    assert not panel.from_pairs.isEnabled()
    desk.session.landmarks.reset(Landmark(m.name, m.positions) for m in (wanted[3], wanted[10]))
    desk.settle()
    assert panel.from_pairs.isEnabled()
    with qtbot.waitSignal(desk.bench.runner.finished, timeout=120_000):
        panel.start_from_pairs()
    found = desk.session.study.registration("Rep12", "Rep11")
    source = np.array([m.positions["Rep12"] for m in wanted])
    target = np.array([m.positions["Rep11"] for m in wanted])
    assert np.median(np.hypot(*(found.apply(source) - target).T)) < 200


def test_suggestions_are_taken_or_left_one_by_one(desk):
    desk.open(pair())
    truth = turned()
    places = [(200.0, 150.0), (300.0, 200.0), (180.0, 260.0)]
    there = truth.apply(np.array(places))
    suggestions = tuple(
        Suggestion(p, (float(q[0]), float(q[1])), 0.9 - 0.1 * i)
        for i, (p, q) in enumerate(zip(places, there, strict=True))
    )
    desk.dock.review.begin(("B", "A"), suggestions)
    desk.settle()
    assert set(desk.dock.view.rings) == {"A", "B"}
    y, x = desk.dock.view.to_world("A", suggestions[0].target)
    np.testing.assert_allclose(desk.viewer.scene.camera.center[-2:], (y, x))
    desk.press(Qt.Key.Key_A)
    assert desk.session.landmarks.positions("B") == {"L1": places[0]}
    desk.press(Qt.Key.Key_R)
    desk.viewer.layers.selection.active = desk.dock.view.landmark_layers[0]
    desk.press(Qt.Key.Key_A)
    assert list(desk.session.landmarks.positions("B").values()) == [places[0], places[2]]
    assert "2 of 3" in desk.dock.review.text
    assert desk.dock.view.rings == {}
    desk.press(Qt.Key.Key_Z, CONTROL)
    assert desk.session.landmarks.names == ["L1"]


def test_suggestions_of_real_sections_come_from_a_job(desk, qtbot):
    desk.open(olfactory_bulb())
    with qtbot.waitSignal(desk.bench.runner.finished, timeout=120_000):
        desk.dock.suggestions.ask()
    desk.settle()
    count = desk.dock.review.total
    assert count > 3
    before = len(desk.session.landmarks.names)
    desk.dock.review.accept()
    desk.dock.review.reject()
    assert len(desk.session.landmarks.names) == before + 1


# -- looks -------------------------------------------------------------------------------------


def test_nothing_is_cut_off_at_340_px(desk):
    desk.open(olfactory_bulb())
    desk.dock.setFixedWidth(340)
    desk.settle()
    for widget in desk.dock.findChildren(QPushButton):
        if widget.isVisible():
            assert widget.width() >= widget.minimumSizeHint().width() - 1, widget.text()
            right = widget.mapTo(desk.dock, QPoint(widget.width(), 0)).x()
            assert right <= desk.dock.width(), widget.text()


def test_the_manifest_names_the_dock():
    from npe2 import PluginManifest

    manifest = PluginManifest.from_distribution("napari-stomics")
    command = next(c for c in manifest.contributions.commands if c.id.endswith("landmark_dock"))
    assert command.python_name == f"{LandmarkDock.__module__}:{LandmarkDock.__name__}"


def test_images_bend_with_the_map_but_not_where_landmarks_are_placed(desk):
    from napari_stomics.layers.bent import BentLevel
    from napari_stomics.methods.registration.landmarks import LandmarkParams

    desk.open(olfactory_bulb())
    image = next(q for q in desk.bench.viewer.layers if q.name == "Rep12_he")
    assert not isinstance(image.data[0], BentLevel)
    desk.session.estimate.configure(params=LandmarkParams(model="tps", stiffness=0.0))
    desk.settle()
    assert isinstance(image.data[0], BentLevel)
    assert "Landmarks are drawn without the bend" in desk.dock.view.shown_text
    desk.dock.placing.set_active(True)
    assert not isinstance(image.data[0], BentLevel)
    assert "exact clicks" in desk.dock.view.shown_text
    desk.dock.placing.set_active(False)
    assert isinstance(image.data[0], BentLevel)
    desk.session.estimate.configure(params=LandmarkParams(model="affine"))
    desk.settle()
    assert not isinstance(image.data[0], BentLevel)
