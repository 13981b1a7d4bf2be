"""Living constraints: corrections solve on from what is shown; kept or discarded as one."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_stomics.docks.alignment_dock import AlignmentDock
from napari_stomics.docks.live_preview import KIND
from napari_stomics.docks.workbench import workbench
from napari_stomics.layers.section import find_section
from napari_stomics.layers.tags import tagged
from napari_stomics.workflow.recipes import Recipe
from tests.docks.alignment_double import KEY, SEEN, DoubleParams, install
from tests.docks.desk import finish, two_sections
from tests.layers.regions_of import LEFT_HALF
from tests.layers.studies import grid

pytestmark = pytest.mark.gui


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def bench(viewer):
    return workbench(viewer)


@pytest.fixture
def dock(monkeypatch, viewer, bench, qtbot):
    """The dock with an alignment that is kept, and the switch on."""
    install(monkeypatch)
    frame = QWidget()
    qtbot.addWidget(frame)
    QVBoxLayout(frame)
    frame.resize(360, 1000)
    study = two_sections(coordinates=grid() + np.array([300.0, 0.0]))
    bench.session.open(study)
    for i, at in enumerate(((150.0, 90.0), (300.0, 250.0))):
        bench.session.landmarks.add(f"L{i}", {"A": at, "B": (at[0] + 300, at[1])})
    dock = AlignmentDock(viewer)
    frame.layout().addWidget(dock)
    frame.show()
    dock.form.choose(KEY)
    dock.form.params.set_value(DoubleParams(iterations=3))
    dock.run.start()
    finish(qtbot, bench)
    dock.preview.switch.setChecked(True)
    SEEN.clear()
    yield dock
    bench.runner.stop_all()
    frame.close()


def move(bench, x=151.0):
    bench.session.landmarks.place("L0", "A", (x, 90.0))


def settle(qtbot, dock):
    qtbot.waitUntil(lambda: not dock.preview._soon.isActive(), timeout=5000)
    finish(qtbot, dock._bench)


def world(viewer):
    spots = find_section(viewer, "B").spots
    data = np.column_stack([spots.data, np.ones(len(spots.data))])
    return (data @ spots.affine.affine_matrix.T)[:, :2][:, ::-1]


def test_a_moved_landmark_is_solved_from_the_plan_that_is_kept(dock, bench, viewer, qtbot):
    kept = dock.answer.plan()
    runs = len(bench.session.results())
    move(bench)
    settle(qtbot, dock)
    (inputs,) = SEEN
    np.testing.assert_allclose(inputs.start.objective, kept.objective)
    np.testing.assert_allclose(inputs.landmarks.target_points[0], [151.0, 90.0])
    assert dock.preview.outcome.run.step["params"]["prior"] == "pinned"
    assert len(bench.session.results()) == runs  # nothing is kept yet
    assert "Not kept yet" in dock.preview.told.text()
    assert bench.live == ("B", "A")
    assert len(tagged(viewer, role="live")) == 1
    np.testing.assert_allclose(world(viewer), grid(), atol=1e-6)
    # The next one goes on from the preview, not from the plan that is kept.
    before = dock.preview.plan
    move(bench, 160.0)
    settle(qtbot, dock)
    assert SEEN[1].start is before
    assert dock.run.objective.values[0] == before.objective[-1]


def test_kept_it_is_one_action_that_can_be_undone(dock, bench, viewer, qtbot):
    first = dock.answer.plan()
    move(bench)
    settle(qtbot, dock)
    shown = dock.preview.plan
    qtbot.mouseClick(dock.preview.keep, Qt.MouseButton.LeftButton)
    finish(qtbot, bench)
    assert not dock.preview.is_busy
    assert bench.live == ("", "")
    assert tagged(viewer, role="live") == []
    np.testing.assert_allclose(dock.answer.plan().objective, shown.objective)
    np.testing.assert_allclose(world(viewer), grid(), atol=1e-6)
    run = bench.session.results()[-1]
    assert run.step["inputs"]["landmarks"][0]["positions"]["A"] == [151.0, 90.0] or (
        tuple(run.step["inputs"]["landmarks"][0]["positions"]["A"]) == (151.0, 90.0)
    )
    assert Recipe.from_study(bench.session.study).steps[-1].method == KEY
    dock.preview.switch.setChecked(False)
    bench.undo()
    np.testing.assert_allclose(dock.answer.plan().objective, first.objective)
    assert bench.session.landmarks.positions("A")["L0"] == (151.0, 90.0)
    bench.undo()
    assert bench.session.landmarks.positions("A")["L0"] == (150.0, 90.0)
    bench.redo()
    bench.redo()
    np.testing.assert_allclose(dock.answer.plan().objective, shown.objective)


def test_discarded_everything_is_as_it_was_kept(dock, bench, viewer, qtbot):
    first = dock.answer.plan()
    before = [(layer.name, layer.affine.affine_matrix.copy()) for layer in viewer.layers]
    move(bench)
    settle(qtbot, dock)
    qtbot.mouseClick(dock.preview.discard, Qt.MouseButton.LeftButton)
    assert not dock.preview.is_busy
    assert bench.live == ("", "")
    for (name, affine), layer in zip(before, viewer.layers, strict=True):
        assert layer.name == name
        np.testing.assert_array_equal(layer.affine.affine_matrix, affine)
    np.testing.assert_allclose(dock.answer.plan().objective, first.objective)
    np.testing.assert_allclose(dock.run.objective.values, first.objective)


def test_a_region_painted_or_deleted_is_solved_too(dock, bench, qtbot):
    rules = bench.session.constraints
    there = tuple((x + 300.0, y) for x, y in LEFT_HALF)
    rules.add("match", {"A": [LEFT_HALF], "B": [there]})
    settle(qtbot, dock)
    (rule,) = SEEN[-1].constraints
    assert (rule.name, int(rule.source.sum()), int(rule.target.sum())) == ("Region 1", 18, 18)
    rules.remove(["Region 1"])
    settle(qtbot, dock)
    assert SEEN[-1].constraints == ()
    assert len(SEEN) == 2


def test_a_region_without_spots_is_told_and_what_is_shown_stays(dock, bench, qtbot):
    move(bench)
    settle(qtbot, dock)
    shown = dock.preview.outcome
    far = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))
    bench.session.constraints.add("match", {"A": [far], "B": [far]})
    settle(qtbot, dock)
    assert "holds no spot" in dock.preview.problem.toPlainText()
    assert dock.preview.outcome is shown
    bench.undo()
    settle(qtbot, dock)
    assert dock.preview.problem.toPlainText() == ""


def test_the_newest_correction_wins(dock, bench, qtbot):
    dock.form.params.set_value(DoubleParams(iterations=200, wait=0.02))
    move(bench, 151.0)
    qtbot.waitUntil(lambda: dock.preview.job is not None)
    old = dock.preview.job
    move(bench, 170.0)
    qtbot.waitUntil(lambda: dock.preview.job not in (None, old))
    assert old.superseded or not old.is_active
    assert bench.live == ("B", "A")  # the canvas is not given back in between
    dock.preview.job.finish()
    settle(qtbot, dock)
    np.testing.assert_allclose(SEEN[-1].landmarks.target_points[0], [170.0, 90.0])
    assert dock.preview.outcome.result.reason == "stopped by the user"
    assert "Not converged" in dock.preview.told.text()


def test_moves_in_a_row_are_one_run(dock, bench, qtbot):
    for x in np.linspace(151, 180, 15):
        move(bench, float(x))
    settle(qtbot, dock)
    assert len(SEEN) == 1


def test_discarded_while_it_is_solved(dock, bench, viewer, qtbot):
    before = world(viewer).copy()
    dock.form.params.set_value(DoubleParams(iterations=200, wait=0.02))
    move(bench)
    qtbot.waitUntil(lambda: bench.live == ("B", "A"), timeout=5000)
    dock.preview.on_discard()
    finish(qtbot, bench)
    assert bench.live == ("", "")
    np.testing.assert_array_equal(world(viewer), before)
    assert dock.preview.outcome is None


def test_a_failure_leaves_what_was_shown_before(dock, bench, viewer, qtbot):
    move(bench)
    settle(qtbot, dock)
    shown = dock.preview.outcome
    dock.form.params.set_value(DoubleParams(iterations=3, fail=True))
    move(bench, 170.0)
    settle(qtbot, dock)
    assert "ZeroDivisionError" in dock.preview.problem.toPlainText()
    assert dock.preview.outcome is shown
    assert bench.live == ("B", "A")
    dock.preview.on_discard()
    move(bench, 171.0)
    settle(qtbot, dock)
    assert bench.live == ("", "")


def test_corrections_are_no_reason_for_notifications(dock, bench, viewer, qtbot):
    from napari.utils.notifications import notification_manager

    before = len(notification_manager.records)
    dock.form.params.set_value(DoubleParams(iterations=3, fail=True))
    move(bench)
    settle(qtbot, dock)
    assert "ZeroDivisionError" in dock.preview.problem.toPlainText()
    assert len(notification_manager.records) == before


def test_switched_off_or_without_a_plan_nothing_is_solved(dock, bench, qtbot):
    dock.preview.switch.setChecked(False)
    move(bench)
    settle(qtbot, dock)
    assert SEEN == []
    dock.preview.switch.setChecked(True)
    bench.undo()  # the landmark
    bench.undo()  # the plan
    SEEN.clear()
    move(bench, 180.0)
    settle(qtbot, dock)
    assert SEEN == []
    assert "Align the sections once" in dock.preview.told.text()


def test_a_run_from_the_start_puts_the_preview_aside(dock, bench, viewer, qtbot):
    move(bench)
    settle(qtbot, dock)
    dock.run.start()
    assert dock.preview.outcome is None
    assert not dock.preview.isEnabled()
    finish(qtbot, bench)
    assert SEEN[-1].start is None
    assert dock.preview.isEnabled()
    assert bench.live == ("", "")
    np.testing.assert_allclose(world(viewer), grid(), atol=1e-6)


@pytest.mark.parametrize("change", ["study", "pair", "undo", "away"])
def test_a_preview_does_not_outlive_what_it_stands_on(change, dock, bench, viewer, qtbot):
    move(bench)
    settle(qtbot, dock)
    if change == "study":
        bench.session.open(two_sections("C", "D"))
    elif change == "pair":
        dock.form.choose_pair("A", "B")
    elif change == "undo":
        dock.preview.switch.setChecked(False)
        bench.undo()
        bench.undo()
    else:
        dock.setParent(None)
    assert dock.preview.outcome is None
    assert bench.live == ("", "")
    assert tagged(viewer, role="live") == []
    assert not bench.runner.active(KIND)
    if change == "undo":
        np.testing.assert_allclose(world(viewer), grid() + np.array([300.0, 0.0]))
    if change == "away":
        dock.deleteLater()
