"""The dock of alignment: asking, watching, holding, keeping, going on, and doing it wrongly."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_stomics.core.plans import AlignmentState
from napari_stomics.core.presets import Preset
from napari_stomics.docks.alignment_dock import AlignmentDock
from napari_stomics.docks.workbench import workbench
from napari_stomics.layers.section import find_section
from napari_stomics.layers.tags import section_placement, tag, tagged
from tests.docks.alignment_double import KEY, SEEN, DoubleParams, install
from tests.docks.desk import finish, registered, two_sections
from tests.layers.studies import grid, turned

pytestmark = pytest.mark.gui


@pytest.fixture
def methods(monkeypatch):
    return install(monkeypatch)


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def bench(viewer):
    return workbench(viewer)


@pytest.fixture
def make_dock(methods, viewer, qtbot):
    frame = QWidget()
    qtbot.addWidget(frame)
    QVBoxLayout(frame)
    frame.resize(360, 1000)
    frame.show()

    def make():
        dock = AlignmentDock(viewer)
        frame.layout().addWidget(dock)
        return dock

    return make


def apart():
    """Two sections that lie 300 um apart; the second one is to be moved."""
    return two_sections(coordinates=grid() + np.array([300.0, 0.0]))


@pytest.fixture
def dock(make_dock, bench):
    bench.session.open(apart())
    return make_dock()


def click(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def choose(dock, **params):
    dock.form.choose(KEY)
    dock.form.params.set_value(DoubleParams(**params))


def world(viewer, section):
    spots = find_section(viewer, section).spots
    data = np.column_stack([spots.data, np.ones(len(spots.data))])
    return (data @ spots.affine.affine_matrix.T)[:, :2][:, ::-1]


def running(qtbot, dock, states=1):
    """Start, and wait until the canvas has followed a few states."""
    seen = []
    dock._bench.runner.state_shown.connect(lambda job, state: seen.append(state))
    click(qtbot, dock.run.run)
    qtbot.waitUntil(lambda: len(seen) >= states, timeout=10_000)
    return dock.run.job


# -- asking ------------------------------------------------------------------------------------


def test_alone_and_empty_it_says_what_is_missing(make_dock, qtbot):
    dock = make_dock()
    assert not dock.run.run.isEnabled()
    assert "choose two sections" in dock.run.run.text()
    assert "not been aligned" in dock.answer.verdict.text()
    dock.run.start()
    assert "Two different sections are needed" in dock.run.problem.toPlainText()
    for act in (dock.run.on_pause, dock.run.on_finish, dock.answer._on_continue):
        act()
    dock._on_landmarks_wanted()
    assert dock.run.job is None


def test_three_choices_are_in_sight_and_the_rest_is_folded(dock):
    choose(dock)
    form = dock.form.params
    for name in ("prior", "marginals", "bend"):
        assert form.editor(name).isVisibleTo(dock)
    for name in ("iterations", "wait"):
        assert not form.editor(name).isVisibleTo(dock)
    assert not dock.form._titles.isRowVisible(dock.form.preset)


def test_the_same_section_twice_is_refused_in_place(dock, qtbot):
    dock.form.choose_pair("A", "A")
    assert not dock.run.run.isEnabled()
    dock.form.choose_pair("B", "A")
    assert dock.run.run.isEnabled()


def test_what_a_run_would_cost_is_said_before(dock):
    dock.form.choose("alignment/fgw-dense")
    assert dock.run.cost.text().startswith("36 × 36 spots: about 1 s and ")
    choose(dock)
    assert dock.run.cost.text() == "36 × 36 spots."


def test_published_systems_are_offered_under_their_solver(monkeypatch, methods, make_dock, bench):
    methods.add(
        "alignment/sys", Preset("sys", KEY, "System", "As published.", "A paper", {"bend": True})
    )
    bench.session.open(apart())
    dock = make_dock()
    dock.form.choose(KEY)
    assert dock.form._titles.isRowVisible(dock.form.preset)
    dock.form.preset.setCurrentText("System")
    assert dock.form.step().method == "alignment/sys"
    assert dock.form.step().params["bend"] is True
    dock.form.choose("alignment/fgw-dense")
    assert not dock.form._titles.isRowVisible(dock.form.preset)
    assert dock.form.step().method == "alignment/fgw-dense"


def test_the_step_carries_landmarks_by_value(dock, bench):
    bench.session.landmarks.add("L1", {"A": (1.0, 2.0), "B": (3.0, 4.0)})
    bench.session.landmarks.add("half", {"A": (1.0, 2.0)})
    step = dock.form.step()
    assert [m["name"] for m in step.inputs["landmarks"]] == ["L1"]
    assert step.inputs["constraints"] == []
    assert "1 pairs" in dock.form.refs._choosers["landmarks"].text()


def test_two_pairs_of_sections_keep_their_own_results(dock, bench, qtbot):
    choose(dock)
    click(qtbot, dock.run.run)
    finish(qtbot, bench)
    assert dock.form.result_key == "double"
    dock.form.choose_pair("A", "B")
    assert dock.form.result_key == "double_A_B"


# -- watching ------------------------------------------------------------------------------------


def test_a_run_is_seen_while_it_lasts_and_ends_in_the_answer(dock, bench, viewer, qtbot):
    choose(dock, iterations=12, wait=0.1)
    before = world(viewer, "B").copy()
    assert bench._gallery.groups == [["A"], ["B"]]
    job = running(qtbot, dock, states=3)
    assert bench.live == ("B", "A")
    assert bench._gallery.groups == []  # the two lie over each other now
    assert not np.allclose(world(viewer, "B"), before)
    assert len(tagged(viewer, role="live")) == 1
    assert dock.run.pause.isVisible()
    assert not dock.run.run.isEnabled()
    assert len(dock.run.objective.values) >= 2
    assert "transport" in dock.run.phase.text()
    finish(qtbot, bench)
    assert not job.is_active
    assert bench.live == ("", "")
    assert tagged(viewer, role="live") == []
    np.testing.assert_allclose(world(viewer, "B"), grid(), atol=1e-6)
    assert len(tagged(viewer, result="double", part="arrows")) == 1
    assert dock.answer.verdict.text().startswith("✓ Converged")
    assert len(dock.run.objective.values) == 12
    assert dock.run.run.isEnabled()
    assert not dock.run.pause.isVisible()
    bench.undo()
    np.testing.assert_allclose(world(viewer, "B"), before)
    assert "not been aligned" in dock.answer.verdict.text()
    bench.redo()
    np.testing.assert_allclose(world(viewer, "B"), grid(), atol=1e-6)


def test_cancelled_half_way_everything_is_as_before(dock, bench, viewer, qtbot):
    bench.session.open(registered(apart()))
    before = section_placement(viewer, "B").matrix
    places = world(viewer, "B").copy()
    names = [layer.name for layer in viewer.layers]
    choose(dock, iterations=1000, wait=0.02)
    job = running(qtbot, dock, states=2)
    assert not np.allclose(world(viewer, "B"), places)
    job.cancel()
    finish(qtbot, bench)
    np.testing.assert_array_equal(section_placement(viewer, "B").matrix, before)
    np.testing.assert_array_equal(world(viewer, "B"), places)
    assert [layer.name for layer in viewer.layers] == names
    assert bench.session.results() == []
    assert "Cancelled" in dock.run.bar.text
    assert not bench.session.undo.undo_text


def test_a_failure_puts_everything_back_and_is_told(dock, bench, viewer, qtbot):
    before = world(viewer, "B").copy()
    choose(dock, iterations=20, wait=0.05, fail=True)
    running(qtbot, dock, states=2)
    finish(qtbot, bench)
    np.testing.assert_array_equal(world(viewer, "B"), before)
    assert bench._gallery.groups == [["A"], ["B"]]
    assert "ZeroDivisionError" in dock.run.bar.text


def test_pause_continue_and_stop_keep_what_there_is(dock, bench, viewer, qtbot):
    choose(dock, iterations=1000, wait=0.01)
    job = running(qtbot, dock)
    click(qtbot, dock.run.pause)
    assert job.is_paused
    assert dock.run.pause.text() == "Continue"
    assert dock.run.bar._title.text() == "Stand-in: paused"
    qtbot.wait(100)
    held = len(dock.run.objective.values)
    qtbot.wait(150)
    assert len(dock.run.objective.values) == held
    click(qtbot, dock.run.pause)
    assert dock.run.pause.text() == "Pause"
    qtbot.waitUntil(lambda: len(dock.run.objective.values) > held)
    click(qtbot, dock.run.pause)
    click(qtbot, dock.run.finish)
    finish(qtbot, bench)
    (run,) = bench.session.results()
    assert run.summary["reason"] == "stopped by the user"
    assert "Not converged (stopped by the user)" in dock.answer.verdict.text()
    np.testing.assert_allclose(world(viewer, "B"), grid(), atol=1e-6)


def test_it_goes_on_from_the_plan_that_is_kept(dock, bench, qtbot):
    choose(dock, iterations=3)
    click(qtbot, dock.run.run)
    finish(qtbot, bench)
    first = dock.answer.plan()
    click(qtbot, dock.answer.go_on)
    finish(qtbot, bench)
    assert SEEN[0].start is None
    np.testing.assert_allclose(SEEN[1].start.objective, first.objective)
    assert dock.answer.plan().objective[0] == first.objective[-1]
    assert [run.key for run in bench.session.results()] == ["double", "double"]
    bench.undo()
    np.testing.assert_allclose(dock.answer.plan().objective, first.objective)


def test_a_small_margin_asks_for_two_landmarks(dock, bench, qtbot):
    choose(dock, margin=0.05)
    click(qtbot, dock.run.run)
    finish(qtbot, bench)
    assert "Two clicks would settle it" in dock.answer.verdict.text()
    assert dock.answer.two_clicks.isVisible()
    dock.form.choose_pair("B", "A")
    click(qtbot, dock.answer.two_clicks)
    assert (bench.session.estimate.source, bench.session.estimate.target) == ("B", "A")


def test_what_looks_into_the_plan_is_read_when_it_is_opened(dock, bench, viewer, qtbot):
    choose(dock)
    click(qtbot, dock.run.run)
    finish(qtbot, bench)
    views = dock.views
    assert views.partners.run is None
    views.folds["partners"].open()
    finish(qtbot, bench)
    assert views.partners.run.key == "double"
    assert views.look_next.run is None
    views.folds["quality"].open()
    assert views.quality.plan == dock.answer.plan_name
    choose(dock, iterations=50, wait=0.02)
    job = running(qtbot, dock)
    assert views.partners.run is None  # the sections move: there is nothing to point at
    job.cancel()
    finish(qtbot, bench)
    assert views.partners.run.key == "double"
    bench.undo()
    finish(qtbot, bench)
    assert views.partners.run is None
    dock.form.choose_pair("A", "B")


def test_undone_while_it_is_painted_nothing_of_it_stays(dock, bench, viewer, qtbot):
    before = world(viewer, "B").copy()
    choose(dock, iterations=3)
    bench.session.committed.connect(lambda *_: QTimer.singleShot(0, bench.undo))
    painted = []
    viewer.layers.events.inserted.connect(lambda event: painted.append(event.value))
    click(qtbot, dock.run.run)
    finish(qtbot, bench)
    assert bench.session.results() == []
    assert tagged(viewer, role=("result", "live")) == []
    np.testing.assert_array_equal(world(viewer, "B"), before)
    assert bench.live == ("", "")
    assert "not been aligned" in dock.answer.verdict.text()
    bench.redo()
    assert {tag(q)["part"] for q in tagged(viewer, role="result")} >= {"arrows", "entropy"}
    np.testing.assert_allclose(world(viewer, "B"), grid(), atol=1e-6)


def test_a_state_that_comes_before_the_layers_are_taken_over_is_shown_after(
    dock, bench, viewer, qtbot
):
    shown = dock.show_live
    shown.begin("B", "A")
    for shift in (20.0, 50.0):
        near = grid() + shift
        shown.show(AlignmentState("solve", 1, near, near + 3.0))
    qtbot.waitUntil(lambda: any(q.visible for q in tagged(viewer, role="live")))
    np.testing.assert_allclose(world(viewer, "B"), grid() + 50.0)
    shown.begin("B", "A")  # it goes on
    assert len(tagged(viewer, role="live")) == 1
    shown.end()
    assert tagged(viewer, role="live") == []
    shown.begin("B", "A")
    shown.show(AlignmentState("solve", 1, grid(), grid()))
    shown.end()  # before anything was taken over
    qtbot.wait(30)
    np.testing.assert_array_equal(world(viewer, "B"), grid() + np.array([300.0, 0.0]))
    assert bench.live == ("", "")


# -- wrong order -----------------------------------------------------------------------------------


def test_another_study_opened_while_it_runs(dock, bench, viewer, qtbot):
    choose(dock, iterations=30, wait=0.05)
    running(qtbot, dock, states=2)
    bench.session.open(two_sections("C", "D"))
    finish(qtbot, bench)
    assert bench.session.results() == []
    assert dock.form.pair == ("D", "C")
    np.testing.assert_array_equal(world(viewer, "D"), grid())
    assert "dropped" in dock.run.bar.text
    assert tagged(viewer, role="live") == []


def test_sections_and_choices_changed_while_it_runs(dock, bench, qtbot):
    choose(dock, iterations=30, wait=0.02)
    running(qtbot, dock)
    dock.form.choose_pair("A", "B")
    dock.form.choose("alignment/fgw-dense")
    assert not dock.run.run.isEnabled()
    dock.run.start()
    finish(qtbot, bench)
    (run,) = bench.session.results()
    assert (run.step["inputs"]["source"], run.step["method"]) == ("B", KEY)
    assert "not been aligned" in dock.answer.verdict.text()
    dock.form.choose_pair("B", "A")
    assert "Converged" in dock.answer.verdict.text()


def test_taken_out_of_the_window_it_gives_the_sections_back_and_the_run_is_kept(
    dock, bench, viewer, qtbot
):
    before = world(viewer, "B").copy()
    choose(dock, iterations=20, wait=0.05)
    running(qtbot, dock, states=2)
    frame = dock.parentWidget()
    dock.setParent(None)
    np.testing.assert_array_equal(world(viewer, "B"), before)
    assert bench.live == ("", "")
    finish(qtbot, bench)
    assert len(bench.session.results()) == 1
    frame.layout().addWidget(dock)
    assert "Converged" in dock.answer.verdict.text()
    assert dock.run.run.isEnabled()


def test_the_window_closed_while_it_runs(make_napari_viewer, methods, qtbot):
    viewer = make_napari_viewer()
    bench = workbench(viewer)
    dock = AlignmentDock(viewer)
    viewer.window.add_dock_widget(dock)
    bench.session.open(apart())
    choose(dock, iterations=1000, wait=0.02)
    job = running(qtbot, dock, states=2)
    job.pause()
    viewer.close()
    qtbot.waitUntil(lambda: not job.is_active)
    assert bench.session.results() == []


def test_the_landmark_dock_leaves_a_running_section_alone(dock, bench, viewer, qtbot):
    from napari_stomics.docks.landmark_view import LandmarkView

    view = LandmarkView(bench)
    view.open("B", "A")
    choose(dock, iterations=1000, wait=0.02)
    job = running(qtbot, dock, states=2)
    view.show_map(turned())
    moved = section_placement(viewer, "B").matrix
    view.place()
    np.testing.assert_array_equal(section_placement(viewer, "B").matrix, moved)
    job.cancel()
    finish(qtbot, bench)
    view.place()
    np.testing.assert_allclose(section_placement(viewer, "B").matrix, turned().matrix)
    view.close()
