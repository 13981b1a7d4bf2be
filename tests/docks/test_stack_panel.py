"""The dock of a stack: its order, its alignment, and its view in three dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_stomics.data.study import Study
from napari_stomics.docks.stack_dock import StackDock
from napari_stomics.docks.workbench import workbench
from napari_stomics.layers.colour import colour_by
from napari_stomics.layers.raised import RAISED
from napari_stomics.layers.section import find_section
from napari_stomics.layers.stack3d import stack_view
from napari_stomics.layers.tags import tagged
from napari_stomics.workflow.steps import Step
from tests.docks.desk import finish
from tests.layers.studies import section
from tests.small import small_simulation

pytestmark = pytest.mark.gui

NAMES = ["section_1", "section_2", "section_3"]


def simulated(**changes: Any) -> Any:
    options = {"n_sections": 3, "n_spots": 150, "um_per_px": None, "n_proteins": 0}
    found = small_simulation(**{**options, **changes})
    for record in found.study.record.sections.values():
        record.z_um = None
    return found


class Desk:
    """A dock on a viewer, and a hand for its buttons."""

    def __init__(self, viewer: Any, qtbot: Any, frame: Any = None) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        self.bench = workbench(viewer)
        self.dock = StackDock(viewer)
        if frame is None:
            viewer.window.add_dock_widget(self.dock, name="Stack")
        else:
            frame.layout().addWidget(self.dock)
        self.panel, self.view = self.dock.panel, self.dock.panel.view

    def open(self, study: Any) -> Desk:
        self.bench.session.open(study)
        self.qtbot.wait(20)
        return self

    def click(self, button: Any) -> None:
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def finish(self) -> None:
        finish(self.qtbot, self.bench)

    def settle(self) -> None:
        self.qtbot.wait(200)

    def raised(self, name: str) -> Any:
        return next(q for q in self.viewer.layers if q.metadata.get(RAISED) == name)

    def heights(self) -> dict[str, float]:
        found = [q for q in self.viewer.layers if RAISED in q.metadata]
        return {q.metadata[RAISED]: -float(q.data[0, 0]) for q in found}

    def look(self) -> Any:
        return [(q.name, bool(q.visible)) for q in self.viewer.layers] + [
            self.viewer.dims.ndisplay,
            self.viewer.canvas.grid.enabled,
        ]


@pytest.fixture
def frame(qtbot: Any) -> QWidget:
    frame = QWidget()
    qtbot.addWidget(frame)
    QVBoxLayout(frame)
    frame.show()
    return frame


@pytest.fixture
def desk(qtbot: Any, frame: QWidget) -> Any:
    found = Desk(ViewerModel(), qtbot, frame)
    yield found
    found.bench.runner.stop_all()
    found.__dict__.clear()


def messages() -> str:
    return "\n".join(str(record.message) for record in notification_manager.records)


def test_without_sections_it_says_what_is_needed(desk: Any) -> None:
    assert "two or more sections" in desk.panel.note.text()
    assert not desk.panel.align.isEnabled()
    assert not desk.panel.merge.isEnabled()
    assert not desk.view.shown.isEnabled()


def test_one_section_is_no_stack_but_can_be_looked_at(desk: Any) -> None:
    desk.open(Study(section("A")))
    assert "two or more sections" in desk.panel.note.text()
    assert not desk.panel.align.isEnabled()
    desk.click(desk.view.shown)
    assert stack_view(desk.viewer) is not None
    desk.click(desk.view.shown)
    assert stack_view(desk.viewer) is None


def test_sections_without_a_common_modality_are_named(desk: Any) -> None:
    study = Study(section("A"))
    table = study.section("A").table("rna").copy()
    for key in ("region", "instance_id", "spatialdata_attrs"):
        table.uns.pop(key, None)
        if key in table.obs:
            del table.obs[key]
    study.add(section("B", tables={"protein": table}))
    desk.open(study)
    text = desk.panel.note.text()
    assert "no modality in common" in text
    assert "A: rna" in text
    assert "B: protein" in text
    assert not desk.panel.align.isEnabled()


def test_the_order_is_changed_by_buttons_and_by_dragging(desk: Any) -> None:
    desk.open(simulated().study)
    panel = desk.panel
    assert panel.sections() == NAMES
    assert panel.reference.currentText() == "section_2"
    panel.list.setCurrentRow(2)
    up, _down = panel.findChildren(type(panel.align))[:2]
    desk.click(up)
    assert panel.sections() == ["section_1", "section_3", "section_2"]
    assert panel.reference.currentText() == "section_3"  # the middle one still
    root = panel.list.rootIndex()
    assert panel.list.model().moveRow(root, 0, root, 3)  # what a drop does
    assert panel.step("stack/pairwise").inputs["sections"] == ["section_3", "section_2", NAMES[0]]
    panel.list.item(0).setCheckState(Qt.CheckState.Unchecked)
    assert panel.sections() == ["section_2", "section_1"]
    desk.panel.refresh()
    assert panel.list.names() == ["section_3", "section_2", "section_1"]
    assert panel.sections() == ["section_2", "section_1"]


def test_an_order_against_the_recorded_heights_is_said_and_put_right(desk: Any) -> None:
    study = simulated().study
    for name, z in zip(NAMES, (40.0, 10.0, 20.0), strict=True):
        study.record.sections[name].z_um = z
    desk.open(study)
    panel = desk.panel
    assert panel.sections() == ["section_2", "section_3", "section_1"]
    assert panel.note.text() == ""
    panel.list.setCurrentRow(0)
    panel.list.shift(1)
    assert "not that of the recorded heights" in panel.note.text()
    assert panel.align.isEnabled()
    desk.click(panel.by_height)
    assert panel.sections() == ["section_2", "section_3", "section_1"]
    assert panel.note.text() == ""


def test_a_stack_is_aligned_and_its_figures_are_told(desk: Any) -> None:
    simulation = simulated()
    desk.open(simulation.study)
    panel = desk.panel
    panel.reference.setCurrentText("section_1")
    panel.reference.activated.emit(0)
    desk.click(panel.align)
    assert not panel.align.isEnabled()  # one at a time
    desk.finish()
    assert panel.align.isEnabled()
    study = desk.bench.session.study
    for name in NAMES[1:]:
        found = study.registration(name, "section_1")
        truth = simulation.truth.transform(name, "section_1")
        xy = study.section(name).coordinates
        miss = np.linalg.norm(found.apply(xy) - truth.apply(xy), axis=1)
        assert np.median(miss) < study.section(name).spots("rna").pitch
    assert "3 sections in the frame of section_1" in panel.figures.text()
    assert "Loops miss their start by" in panel.figures.text()
    desk.bench.undo()
    assert panel.figures.text() == ""
    assert study.registration("section_2", "section_1") is None


def test_cancelling_half_way_changes_nothing(desk: Any) -> None:
    desk.open(simulated().study)
    before = desk.bench.session.study.record.model_dump_json()
    desk.click(desk.panel.align)
    (job,) = desk.bench.runner.active()
    desk.qtbot.waitUntil(lambda: (job.fraction or 0) > 0.1, timeout=30_000)
    desk.click(desk.dock.bar._cancel)
    desk.finish()
    assert "Cancelled" in desk.dock.bar.text
    assert desk.bench.session.study.record.model_dump_json() == before
    assert desk.panel.align.isEnabled()


def test_a_consensus_is_made_on_the_reference(desk: Any) -> None:
    desk.open(simulated().study)
    small = {"factors": 3, "n_genes": 50, "rounds": 1}
    form = desk.panel.merge_options
    form.set_value(form.value().model_copy(update=small))
    desk.click(desk.panel.merge)
    desk.finish()
    run = desk.bench.session.results()[-1]
    assert (run.key, run.kind) == ("consensus", "centre_slice")
    assert run.summary["section"] == "section_2"
    assert tagged(desk.viewer, result="consensus")


def test_in_3d_the_spacing_is_followed_and_everything_comes_back(desk: Any) -> None:
    desk.open(simulated().study)
    before = desk.look()
    assert desk.viewer.canvas.grid.enabled  # nothing registers them
    desk.click(desk.view.shown)
    step = desk.view.spacing.number()
    assert desk.heights() == {n: i * step for i, n in enumerate(NAMES)}
    assert not desk.viewer.canvas.grid.enabled
    camera = desk.viewer.scene.camera.angles
    desk.view.spacing.set_number(75.0)
    assert desk.heights() == {"section_1": 0.0, "section_2": 75.0, "section_3": 150.0}
    desk.view.spacing.set_number(-1.0)
    assert "positive" in desk.view.note.text()
    desk.view.spacing.lineEdit().setText("abc")
    assert "not a number" in desk.view.note.text()
    desk.view.spacing.set_number(75.0)
    assert desk.view.note.text() == ""
    desk.panel.list.setCurrentRow(0)
    desk.panel.list.shift(1)
    assert desk.heights() == {"section_2": 0.0, "section_1": 75.0, "section_3": 150.0}
    desk.panel.list.item(2).setCheckState(Qt.CheckState.Unchecked)
    assert desk.heights() == {"section_2": 0.0, "section_1": 75.0}
    assert desk.viewer.scene.camera.angles == camera
    desk.click(desk.view.shown)
    desk.settle()
    assert sorted(desk.look()[:-2]) == sorted(before[:-2])
    assert desk.look()[-2:] == before[-2:]


def test_recorded_heights_come_first(desk: Any) -> None:
    study = simulated().study
    for name, z in zip(NAMES, (0.0, 10.0, 40.0), strict=True):
        study.record.sections[name].z_um = z
    desk.open(study)
    assert desk.view.recorded.isChecked()
    assert not desk.view.spacing.isEnabled()
    desk.click(desk.view.shown)
    assert desk.heights() == {"section_1": 0.0, "section_2": 10.0, "section_3": 40.0}
    desk.view.recorded.setChecked(False)
    wide = desk.view.spacing.number()  # wide enough to look between them
    width = np.ptp(study.section("section_1").coordinates, axis=0).max()
    assert 0.1 * width < wide < 0.4 * width
    assert desk.heights()["section_3"] == 2 * wide
    desk.view.spacing.set_number(30.0)
    assert desk.heights() == {"section_1": 0.0, "section_2": 30.0, "section_3": 60.0}
    desk.view.recorded.setChecked(True)
    assert desk.view.spacing.number() == 20.0
    assert desk.heights()["section_3"] == 40.0
    desk.view.recorded.setChecked(False)
    desk.view.spacing.set_number(30.0)


def test_in_3d_colours_and_poses_are_followed(desk: Any) -> None:
    desk.open(simulated().study)
    study = desk.bench.session.study
    desk.click(desk.view.shown)
    spots = find_section(desk.viewer, "section_2").spots
    gene = str(study.section("section_2").table("rna").var_names[5])
    colour_by(spots, study, "section_2", gene)
    camera = desk.viewer.scene.camera.center
    desk.settle()
    np.testing.assert_allclose(desk.raised("section_2").face_color, spots.face_color)
    assert len(np.unique(spots.face_color, axis=0)) > 3
    step = Step(
        method="stack/pairwise",
        inputs={"sections": NAMES, "reference": "section_1"},
        key="stack",
    )
    desk.bench.start(step)
    desk.finish()
    desk.settle()
    xy = study.registration("section_2", "section_1").apply(study.section("section_2").coordinates)
    np.testing.assert_allclose(desk.raised("section_2").data[:, :0:-1], xy, atol=1e-3)
    assert desk.viewer.scene.camera.center == camera
    assert not any(q.visible for q in tagged(desk.viewer))
    desk.click(desk.view.shown)
    assert not desk.viewer.canvas.grid.enabled  # one frame by now, so one view
    assert desk.viewer.dims.ndisplay == 2


def test_what_is_saved_is_the_look_beneath(desk: Any) -> None:
    desk.open(simulated().study)
    find_section(desk.viewer, "section_3").spots.visible = False
    before = desk.bench.shown()
    desk.click(desk.view.shown)
    assert desk.bench.shown() == before
    assert stack_view(desk.viewer) is not None  # an automatic save disturbs nobody
    colour_by(
        find_section(desk.viewer, "section_1").spots,
        desk.bench.session.study,
        "section_1",
        "domain",
    )
    colours = [q["colour"] for q in desk.bench.shown()["layers"]["layers"]]
    assert [c["key"] for c in colours if c] == ["domain"]


def test_other_views_and_studies_end_it(desk: Any, frame: QWidget) -> None:
    desk.open(simulated().study)
    before = desk.look()

    def enter() -> None:
        desk.click(desk.view.shown)
        assert desk.view.shown.isChecked()
        assert stack_view(desk.viewer) is not None

    def is_left() -> bool:
        return stack_view(desk.viewer) is None and not desk.view.shown.isChecked()

    enter()
    desk.bench.comparison("section_2", "section_1").set("overlay")
    assert is_left()
    assert desk.viewer.dims.ndisplay == 2
    enter()
    assert desk.bench.compared_mode == "normal"
    desk.viewer.dims.ndisplay = 2
    assert is_left()
    enter()
    desk.bench.set_live("section_2", "section_1")
    assert is_left()
    desk.click(desk.view.shown)
    assert is_left()
    assert "as it runs" in desk.view.note.text()
    desk.bench.set_live()
    enter()
    desk.bench.take_canvas(lambda: None)  # somebody places landmarks
    assert is_left()
    enter()
    desk.dock.setParent(None)
    assert stack_view(desk.viewer) is None
    desk.settle()
    assert sorted(desk.look()[:-2]) == sorted(before[:-2])
    frame.layout().addWidget(desk.dock)
    enter()
    desk.open(simulated(seed=4).study)
    assert is_left()
    assert not any(RAISED in q.metadata for q in desk.viewer.layers)
    assert all(q.visible for q in tagged(desk.viewer, role="spots"))


def test_nothing_visible_is_said(desk: Any) -> None:
    desk.open(simulated().study)
    for layer in tagged(desk.viewer):
        layer.visible = False
    desk.click(desk.view.shown)
    assert "Nothing of these sections is visible" in desk.view.note.text()
    assert not desk.view.shown.isChecked()
    assert desk.viewer.dims.ndisplay == 2


def test_closing_the_window_ends_the_alignment(make_napari_viewer: Any, qtbot: Any) -> None:
    desk = Desk(make_napari_viewer(), qtbot).open(simulated().study)
    study, runner = desk.bench.session.study, desk.bench.runner
    desk.click(desk.view.shown)
    desk.click(desk.panel.align)
    (job,) = runner.active()
    desk.viewer.close()
    qtbot.waitUntil(lambda: not job.is_active, timeout=60_000)
    qtbot.wait(50)
    assert study.record.runs == []
    assert study.registration("section_1", "section_2") is None
    desk.__dict__.clear()


def test_in_a_window_the_stack_is_seen(make_napari_viewer: Any, qtbot: Any) -> None:
    desk = Desk(make_napari_viewer(show=True), qtbot).open(simulated().study)
    for name, colour in zip(NAMES, ("red", "lime", "blue"), strict=True):
        find_section(desk.viewer, name).spots.face_color = colour
    desk.view.spacing.set_number(800.0)
    desk.click(desk.view.shown)
    qtbot.wait(100)
    picture = desk.viewer.screenshot(flash=False).astype(int)
    rows = []
    for channel in range(3):
        others = [c for c in range(3) if c != channel]
        mask = (picture[..., channel] > 150) & (picture[..., others].max(axis=2) < 80)
        assert mask.sum() > 100
        rows.append(np.nonzero(mask)[0].mean())
    assert rows[0] > rows[1] > rows[2]
    desk.click(desk.view.shown)
    desk.bench.runner.stop_all()
    desk.__dict__.clear()
