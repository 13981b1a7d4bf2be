"""The job runner: exactly one ending, on the GUI thread, whatever the function does."""

from __future__ import annotations

import gc
import sys
import threading
import time
import warnings
import weakref

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QTimer
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QWidget

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.docks import job_thread
from napari_stomics.docks.job_bar import JobBar
from napari_stomics.docks.jobs import CANCEL_GRACE_S, Job, JobRunner, JobState, job_runner

pytestmark = pytest.mark.gui

ENDINGS = {"succeeded", "failed", "cancelled"}


class Log:
    """Every signal of a runner, with the thread that delivered it."""

    def __init__(self, runner: JobRunner) -> None:
        self.events: list[tuple[str, Job]] = []
        self.threads: set[int] = set()
        self.results: list[object] = []
        for name in ("started", "progress", "warned", "succeeded", "failed", "cancelled"):
            getattr(runner, name).connect(self._recorder(name))
        runner.finished.connect(self._recorder("finished"))
        runner.succeeded.connect(lambda job, result: self.results.append(result))

    def _recorder(self, name):
        def record(job, *_):
            self.events.append((name, job))
            self.threads.add(threading.get_ident())

        return record

    def of(self, job: Job) -> list[str]:
        return [name for name, other in self.events if other is job]

    def endings(self, job: Job) -> list[str]:
        return [name for name in self.of(job) if name in ENDINGS]


@pytest.fixture
def runner(qtbot):
    runner = JobRunner(show_activity=False, notify=False)
    yield runner
    runner.stop_all()
    runner.deleteLater()


@pytest.fixture
def log(runner):
    return Log(runner)


@pytest.fixture
def gate():
    """An event that a function may wait on; opened at the end whatever happens."""
    event = threading.Event()
    yield event
    event.set()


def run(qtbot, runner, function, **kwargs) -> Job:
    kwargs = {"title": "Test", "kind": "test"} | kwargs
    jobs = []
    with qtbot.waitSignal(runner.finished, timeout=10_000, check_params_cb=lambda j: j in jobs):
        jobs.append(runner.start(function, **kwargs))
    return jobs[0]


def stepping(gate):
    """A function that steps until it is cancelled."""

    def function(ctx):
        while not gate.is_set():
            ctx.step(0.5, "working")
            time.sleep(0.001)

    return function


def deaf(gate):
    """A function deep in a call that knows of no cancel."""

    def function(ctx):
        gate.wait(20)
        return "late"

    return function


def test_success_commits_then_reports_once_on_the_gui_thread(qtbot, runner, log):
    committed = []
    worker = []

    def function(ctx):
        worker.append(threading.get_ident())
        ctx.step(0.25, "a quarter")
        return 42

    job = run(qtbot, runner, function, on_done=committed.append)
    assert log.of(job) == ["started", "progress", "succeeded", "finished"]
    assert (job.state, job.fraction, job.message) == (JobState.SUCCEEDED, 0.25, "a quarter")
    assert committed == [42]
    assert log.results == [42]
    assert log.threads == {threading.get_ident()}
    assert worker[0] != threading.get_ident()
    assert runner.active() == []


def test_nothing_keeps_the_result_alive(qtbot, runner):
    class Big:
        pass

    seen = []
    job = run(qtbot, runner, lambda ctx: Big(), on_done=lambda r: seen.append(weakref.ref(r)))
    gc.collect()
    assert job.state is JobState.SUCCEEDED
    assert seen[0]() is None


def test_user_error_keeps_message_and_hint(qtbot, runner, log):
    errors = []

    def function(ctx):
        raise UserError("No pairs.", "Add three.")

    job = run(qtbot, runner, function, on_failed=errors.append)
    assert log.endings(job) == ["failed"]
    assert (errors[0].message, errors[0].hint) == ("No pairs.", "Add three.")
    assert job.error is errors[0]


@pytest.mark.parametrize("error", [ValueError("odd"), SystemExit(3), KeyboardInterrupt()])
def test_any_other_exception_fails_with_its_traceback(qtbot, runner, log, error):
    def deeper():
        raise error

    job = run(qtbot, runner, lambda ctx: deeper())
    assert log.endings(job) == ["failed"]
    assert job.error is error
    assert "in deeper" in job.traceback
    assert type(error).__name__ in job.traceback


def test_a_failed_job_frees_its_arrays(qtbot, runner):
    seen = []

    data = np.ones(1000)
    seen.append(weakref.ref(data))

    def function(ctx, data=data):
        big = np.zeros(1000)
        seen.append(weakref.ref(big))
        try:
            raise KeyError("inner")
        except KeyError:
            raise ValueError("outer")  # noqa: B904

    job = run(qtbot, runner, function)
    del function, data
    gc.collect()
    assert "inner" in job.traceback
    assert "outer" in job.traceback
    assert [ref() is None for ref in seen] == [True, True]


def test_memory_error_tells_the_way_out(qtbot, runner):
    def function(ctx):
        raise MemoryError("Unable to allocate 40 GiB")

    job = run(qtbot, runner, function)
    assert isinstance(job.error, UserError)
    assert "40 GiB" in job.error.message


def test_failing_commit_is_a_failure_not_a_success(qtbot, runner, log):
    def commit(result):
        raise ZeroDivisionError("in the commit")

    job = run(qtbot, runner, lambda ctx: 1, on_done=commit)
    assert log.endings(job) == ["failed"]
    assert "in commit" in job.traceback


def test_cancel_stops_a_function_that_steps(qtbot, runner, log, gate):
    ended = []

    def function(ctx):
        try:
            stepping(gate)(ctx)
        except JobCancelled:
            ended.append("noticed")
            raise

    job = runner.start(function, title="Long", kind="test")
    qtbot.waitUntil(lambda: "progress" in log.of(job))
    with qtbot.waitSignal(runner.cancelled):
        job.cancel()
    assert ended == ["noticed"]
    assert log.endings(job) == ["cancelled"]


def test_cancel_is_answered_at_once_by_a_deaf_function_and_its_answer_is_dropped(
    qtbot, runner, log, gate
):
    committed = []
    job = runner.start(deaf(gate), title="Deaf", kind="test", on_done=committed.append)
    with qtbot.waitSignal(runner.finished, timeout=5000):
        job.cancel()
    # The function is still in its call: the answer came without it.
    assert job_thread.live_threads()
    assert job.seconds < CANCEL_GRACE_S + 5
    gate.set()
    qtbot.waitUntil(lambda: not job_thread.live_threads())
    qtbot.wait(100)
    assert log.endings(job) == ["cancelled"]
    assert committed == []


def test_dropped_results_are_freed(qtbot, runner, gate):
    seen = []

    class Big:
        pass

    def function(ctx):
        gate.wait(20)
        big = Big()
        seen.append(weakref.ref(big))
        return big

    job = runner.start(function, title="Deaf", kind="test")
    with qtbot.waitSignal(runner.finished):
        job.cancel()
    gate.set()
    qtbot.waitUntil(lambda: not job_thread.live_threads())
    gc.collect()
    assert not job.is_active
    assert seen[0]() is None


def test_cancel_from_another_thread(qtbot, runner, log, gate):
    job = runner.start(stepping(gate), title="Long", kind="test")
    with qtbot.waitSignal(runner.cancelled):
        threading.Thread(target=job.cancel).start()
    assert log.threads == {threading.get_ident()}


def test_cancel_after_the_answer_but_before_the_commit_wins(qtbot, runner, log):
    committed = []
    job = runner.start(lambda ctx: 1, title="Quick", kind="test", on_done=committed.append)
    for thread in job_thread.live_threads():
        thread.join()
    with qtbot.waitSignal(runner.finished):
        job.cancel()
    assert log.endings(job) == ["cancelled"]
    assert committed == []


def test_a_bug_raised_while_being_cancelled_is_logged(qtbot, runner, log, gate, caplog):
    def function(ctx):
        try:
            stepping(gate)(ctx)
        except JobCancelled:
            raise ValueError("bad clean-up") from None

    job = runner.start(function, title="Long", kind="test")
    qtbot.waitUntil(lambda: "progress" in log.of(job))
    with qtbot.waitSignal(runner.finished):
        job.cancel()
    assert log.endings(job) == ["cancelled"]
    assert "bad clean-up" in caplog.text


def test_newer_job_of_a_kind_supersedes_the_older(qtbot, runner, log, gate):
    committed = []
    old = runner.start(deaf(gate), title="Old", kind="a", on_done=committed.append)
    other = runner.start(stepping(gate), title="Other", kind="b")
    new = run(qtbot, runner, lambda ctx: "new", kind="a", on_done=committed.append)
    qtbot.waitUntil(lambda: not old.is_active)
    assert old.superseded
    assert not new.superseded
    assert log.endings(old) == ["cancelled"]
    assert other.is_active
    gate.set()
    qtbot.waitUntil(lambda: not runner.active())
    assert committed == ["new"]


def test_commit_may_start_the_next_job_of_its_kind(qtbot, runner, log):
    chained = []

    def commit(result):
        chained.append(runner.start(lambda ctx: 2, title="Second", kind="test"))

    first = run(qtbot, runner, lambda ctx: 1, on_done=commit)
    qtbot.waitUntil(lambda: not runner.active())
    assert log.endings(first) == ["succeeded"]
    assert log.endings(chained[0]) == ["succeeded"]


def test_other_jobs_are_served_while_a_commit_runs_an_event_loop(qtbot, runner, log):
    inner = []

    def commit(result):
        inner.append(run(qtbot, runner, lambda ctx: 2, kind="inner"))

    job = run(qtbot, runner, lambda ctx: 1, on_done=commit)
    assert log.endings(inner[0]) == ["succeeded"]
    assert log.endings(job) == ["succeeded"]


def test_progress_is_thinned_out_and_the_last_word_arrives(qtbot, runner, log):
    texts = []
    runner.progress.connect(lambda job, fraction, message: texts.append(message))

    def function(ctx):
        for i in range(200_000):
            ctx.step(i / 200_000, str(i))

    ticks = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(1))
    timer.start(5)
    job = run(qtbot, runner, function)
    timer.stop()
    assert 1 <= len(texts) <= job.seconds * 31 + 2
    assert texts[-1] == "199999"
    assert job.message == "199999"


def test_warnings_reach_the_user_in_every_run(qtbot, runner, log):
    texts = []
    runner.warned.connect(lambda job, text: texts.append(text))

    def function(ctx):
        warnings.warn("from Python", UserWarning, stacklevel=1)
        warnings.warn("from Python", UserWarning, stacklevel=1)
        ctx.warn("from the method")
        np.log(np.zeros(1))

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        first = run(qtbot, runner, function)
        texts_first = list(texts)
        run(qtbot, runner, function)
    assert texts_first[:2] == ["from Python", "from the method"]
    assert texts_first[2].startswith("RuntimeWarning: divide by zero")
    assert texts == texts_first * 2
    assert first.warnings == texts_first
    assert log.of(first).index("warned") < log.of(first).index("succeeded")


def test_warnings_of_other_threads_go_where_they_went(qtbot, runner, gate):
    texts = []
    runner.warned.connect(lambda job, text: texts.append(text))
    hook = warnings.showwarning
    job = runner.start(deaf(gate), title="Deaf", kind="test")
    with pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", UserWarning, stacklevel=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("mine too", UserWarning, stacklevel=1)
    assert [str(w.message) for w in caught] == ["mine too"]
    gate.set()
    qtbot.waitUntil(lambda: not job.is_active and not job_thread.live_threads())
    assert texts == []
    assert warnings.showwarning is hook


def test_warning_turned_into_an_error_fails_the_job(qtbot, runner, log):
    def function(ctx):
        warnings.warn("strict", UserWarning, stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        job = run(qtbot, runner, function)
    assert log.endings(job) == ["failed"]
    assert isinstance(job.error, UserWarning)


def pools() -> list[int]:
    from threadpoolctl import threadpool_info

    return [pool["num_threads"] for pool in threadpool_info() if pool["internal_api"] == "openblas"]


def set_pools_here(threads: int) -> None:
    from threadpoolctl import ThreadpoolController

    for library in ThreadpoolController().select(internal_api="openblas").lib_controllers:
        library.set_num_threads(threads)


def set_pools(threads: int) -> None:
    """Set the threads of BLAS from a thread that dies: while it lives nobody else may."""
    thread = threading.Thread(target=set_pools_here, args=(threads,))
    thread.start()
    thread.join()


@pytest.fixture
def two_blas_threads():
    import scipy.linalg  # noqa: F401

    before = pools()
    if not before:
        pytest.skip("numpy was built without OpenBLAS: its threads cannot be counted")
    set_pools(2)
    yield
    set_pools(before[0])


def test_thread_caps_of_overlapping_jobs_are_lifted_together(qtbot, runner, two_blas_threads):
    assert set(pools()) == {2}
    inside = []
    gates = [threading.Event(), threading.Event()]

    def function(i):
        def wait(ctx):
            gates[i].wait(20)
            inside.append(set(pools()))

        return wait

    try:
        first = runner.start(function(0), title="1", kind="a", threads=1)
        second = runner.start(function(1), title="2", kind="b", threads=1)
        qtbot.waitUntil(lambda: set(pools()) == {1})
        gates[0].set()
        qtbot.waitUntil(lambda: not first.is_active)
        assert set(pools()) == {1}  # the second still runs
        gates[1].set()
        qtbot.waitUntil(lambda: not second.is_active)
    finally:
        for gate in gates:
            gate.set()
    assert inside == [{1}, {1}]
    assert set(pools()) == {2}


def test_libraries_loaded_by_the_job_are_capped_too(qtbot, runner, two_blas_threads):
    """A library that arrives while the job runs brings its own threads."""
    inside = []

    def function(ctx):
        ctx.step(0.1, "before")
        set_pools_here(2)  # as a library has it that is loaded now
        inside.append(set(pools()))
        sys.modules["napari_stomics_test_arrival"] = sys
        ctx.step(0.2, "after")
        inside.append(set(pools()))

    try:
        run(qtbot, runner, function, threads=1)
    finally:
        sys.modules.pop("napari_stomics_test_arrival", None)
    assert inside == [{2}, {1}]
    assert set(pools()) == {2}


def test_python_threads_take_short_turns_while_a_job_runs(qtbot, runner):
    before = sys.getswitchinterval()
    inside = []
    run(qtbot, runner, lambda ctx: inside.append(sys.getswitchinterval()))
    assert inside == [pytest.approx(job_thread.SWITCH_S)]
    assert sys.getswitchinterval() == pytest.approx(before)


def test_stop_all_reports_each_job_once_and_at_once(qtbot, runner, log, gate):
    jobs = [
        runner.start(f, title="x", kind=str(i)) for i, f in enumerate([deaf(gate), stepping(gate)])
    ]
    runner.stop_all()
    assert [job.state for job in jobs] == [JobState.CANCELLED] * 2
    gate.set()
    qtbot.waitUntil(lambda: not job_thread.live_threads())
    qtbot.wait(100)
    assert [log.of(job)[-2:] for job in jobs] == [["cancelled", "finished"]] * 2


def test_destroyed_owner_cancels_its_job(qtbot, runner, log, gate):
    owner = QWidget()
    committed = []
    job = runner.start(
        stepping(gate), title="x", kind="test", owner=owner, on_done=committed.append
    )
    with qtbot.waitSignal(runner.cancelled):
        owner.deleteLater()
    assert log.endings(job) == ["cancelled"]
    assert committed == []


def test_deleted_runner_leaves_its_threads_harmless(qtbot, gate):
    runner = JobRunner(show_activity=False, notify=False)
    runner.start(stepping(gate), title="x", kind="test")
    runner.deleteLater()
    qtbot.wait(50)
    gate.set()
    qtbot.waitUntil(lambda: not job_thread.live_threads())


def test_starting_off_the_gui_thread_is_refused(qtbot, runner):
    errors = []

    def start():
        try:
            runner.start(lambda ctx: 1, title="x", kind="test")
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "GUI thread" in str(errors[0])


# -- the bar ----------------------------------------------------------------------------------


@pytest.fixture
def bar(qtbot, runner):
    bar = JobBar(runner, kinds=["test"])
    qtbot.addWidget(bar)
    bar.resize(320, 200)
    bar.show()
    return bar


def test_bar_shows_progress_and_cancels(qtbot, runner, bar, gate):
    job = runner.start(stepping(gate), title="Align sections", kind="test")
    qtbot.waitUntil(lambda: bar._bar.value() == 500)
    assert bar._title.text() == "Align sections: working"
    assert bar.text == ""
    with qtbot.waitSignal(runner.finished):
        bar._cancel.click()
        assert not bar._cancel.isEnabled()
    assert job.state is JobState.CANCELLED
    assert bar.text == "Cancelled: Align sections. Nothing was changed."
    assert not bar._cancel.isVisible()


def test_bar_keeps_error_and_warnings_until_the_next_run(qtbot, runner, bar):
    def function(ctx):
        ctx.warn("Few genes.")
        raise UserError("No pairs.", "Add three.")

    run(qtbot, runner, function, title="Fit")
    assert bar.text == "Failed: Fit.\nNo pairs.\nWhat to do: Add three.\nWarning: Few genes."
    assert bar.traceback == ""
    run(qtbot, runner, lambda ctx: 1, kind="another")
    assert "No pairs." in bar.text
    run(qtbot, runner, lambda ctx: 1, title="Fit")
    assert bar.text.startswith("Done: Fit (")


def test_bar_offers_the_traceback_of_a_bug(qtbot, runner, bar):
    def function(ctx):
        raise KeyError("gone")

    run(qtbot, runner, function, title="Fit")
    assert "Unexpected KeyError: 'gone'" in bar.text
    assert bar._details.isVisible()
    bar._details.click()
    copied = QGuiApplication.clipboard().text()
    assert "in function" in copied
    assert "Unexpected KeyError" in copied


def test_bar_wraps_a_long_path_at_320_pixels(qtbot, runner, bar):
    path = "/very" * 60

    def function(ctx):
        raise UserError(f"Cannot read {path}.", "Choose another file.")

    run(qtbot, runner, function, title="A rather long title of a job " * 3)
    assert bar.minimumSizeHint().width() <= 320
    assert bar._text.horizontalScrollBar().maximum() == 0


# -- napari -----------------------------------------------------------------------------------


def test_closing_the_window_stops_the_jobs(qtbot, make_napari_viewer, gate):
    viewer = make_napari_viewer()
    runner = job_runner(viewer)
    log = Log(runner)
    bar = JobBar(runner)
    viewer.window.add_dock_widget(bar)
    committed = []
    job = runner.start(
        stepping(gate), title="Long", kind="test", owner=bar, on_done=committed.append
    )
    qtbot.waitUntil(lambda: "progress" in log.of(job))
    viewer.close()
    qtbot.waitUntil(lambda: not job.is_active)
    assert log.endings(job) == ["cancelled"]
    qtbot.waitUntil(lambda: not job_thread.live_threads())
    assert committed == []


def test_one_runner_per_viewer_also_through_the_proxy(make_napari_viewer_proxy):
    proxy = make_napari_viewer_proxy()
    runner = job_runner(proxy)
    assert job_runner(proxy.__wrapped__) is runner


def test_activity_dock_shows_the_job_and_its_cancel_works(qtbot, make_napari_viewer, gate):
    from qtpy.QtWidgets import QApplication, QProgressBar, QPushButton

    make_napari_viewer()
    runner = JobRunner(notify=False)
    job = runner.start(stepping(gate), title="Align sections", kind="test")

    def rows():
        found = []
        for top in QApplication.topLevelWidgets():
            for bar in top.findChildren(QProgressBar):
                buttons = bar.parentWidget().findChildren(QPushButton)
                if bar.value() == 50 and buttons:
                    found.append(buttons[0])
        return found

    qtbot.waitUntil(lambda: bool(rows()), timeout=10_000)
    with qtbot.waitSignal(runner.cancelled):
        rows()[0].click()
    assert job.state is JobState.CANCELLED
    qtbot.waitUntil(lambda: not rows())
    runner.deleteLater()


def test_failures_and_warnings_become_notifications(qtbot, make_napari_viewer):
    make_napari_viewer()
    runner = JobRunner(show_activity=False)
    before = len(notification_manager.records)

    def wrong(ctx):
        ctx.warn("Few genes.")
        raise UserError("No pairs.", "Add three.")

    def bug(ctx):
        raise KeyError("gone")

    run(qtbot, runner, wrong, title="Fit")
    run(qtbot, runner, bug, title="Fit")
    new = notification_manager.records[before:]
    assert [str(note.severity) for note in new] == ["warning", "error", "error"]
    assert "Few genes." in new[0].message
    assert "Add three." in new[1].message
    assert "Unexpected KeyError" in new[2].message
    assert "KeyError" in new[2].as_text()
    assert "in bug" in new[2].as_text()
    assert "in bug" in new[2].as_html()
    assert "in bug" in str(new[2])
    runner.deleteLater()


def test_the_module_needs_no_display():
    import subprocess

    code = "import napari_stomics.docks.job_thread, sys; sys.exit('qtpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_commit_in_pieces_lets_the_event_loop_turn_between_them(qtbot, runner, log):
    told = []

    def commit(result):
        for i in range(3):
            told.append((i, result))
            QTimer.singleShot(0, lambda: told.append("turn"))
            yield

    job = run(qtbot, runner, lambda ctx: "answer", on_done=commit)
    steps = [each for each in told if each != "turn"]
    assert steps == [(0, "answer"), (1, "answer"), (2, "answer")]
    assert told.index("turn") < told.index((1, "answer"))
    assert log.of(job)[-2:] == ["succeeded", "finished"]
    assert log.results == ["answer"]


@pytest.mark.parametrize("order", ["cancel", "newer"])
def test_a_commit_in_pieces_is_finished_once_it_has_begun(order, qtbot, runner, log):
    done = []

    def commit(result):
        yield
        if order == "cancel":
            job.cancel()
        else:
            runner.start(lambda ctx: "newer", title="Newer", kind=job.kind)
        yield
        done.append(result)

    job = runner.start(lambda ctx: "older", title="Older", kind="test", on_done=commit)
    qtbot.waitUntil(lambda: not runner.active())
    assert done == ["older"]
    assert log.endings(job) == ["succeeded"]


def test_a_commit_that_fails_in_a_later_piece_has_failed(qtbot, runner, log):
    def commit(result):
        yield
        raise UserError("No room.", "Make some.")

    job = run(qtbot, runner, lambda ctx: 1, on_done=commit)
    assert log.endings(job) == ["failed"]
    assert str(job.error.message) == "No room."
    assert job.error.__traceback__ is None


def test_a_commit_in_pieces_ends_with_the_window(qtbot, log, runner):
    done = []

    def commit(result):
        try:
            while True:
                yield
        finally:
            done.append(result)

    job = runner.start(lambda ctx: 1, title="Long", kind="test", on_done=commit)
    qtbot.waitUntil(lambda: job._pieces is not None)
    runner.stop_all()
    assert done == [1]
    assert not job.is_active
    assert log.endings(job) == ["cancelled"]
