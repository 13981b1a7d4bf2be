"""Holding a job, stopping it with what it has, and seeing where it stands while it runs."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from qtpy.QtWidgets import QWidget

from napari_stomics.docks import job_thread
from napari_stomics.docks.job import STATES_AT_LEAST_S
from napari_stomics.docks.job_thread import Mailbox, Orders
from napari_stomics.docks.jobs import STATES_EVERY_S, JobRunner, JobState, job_runner

pytestmark = pytest.mark.gui


@pytest.fixture
def runner(qtbot):
    runner = JobRunner(show_activity=False, notify=False)
    yield runner
    runner.stop_all()
    runner.deleteLater()


class Counting:
    """A function that counts its steps and keeps what it has when asked to finish."""

    def __init__(self):
        self.steps = 0
        self.wanted = None

    def __call__(self, ctx):
        self.wanted = ctx.wants_states
        while not ctx.finishing:
            ctx.step(0.5, str(self.steps))
            self.steps += 1
            ctx.show(self.steps)
            time.sleep(0.001)
        return self.steps


def started(qtbot, runner, function, **kwargs):
    job = runner.start(function, title="Count", kind="test", **kwargs)
    qtbot.waitUntil(lambda: function.steps > 3)
    return job


def held(qtbot, job, function):
    """Pause a job and return how far it came."""
    job.pause()
    qtbot.wait(50)  # the step under way ends
    return function.steps


def test_a_paused_job_stands_still_and_goes_on_where_it_was(qtbot, runner):
    function = Counting()
    job = started(qtbot, runner, function)
    before = held(qtbot, job, function)
    assert (job.is_paused, job.is_active) == (True, True)
    qtbot.wait(100)
    assert function.steps == before
    job.resume()
    assert not job.is_paused
    qtbot.waitUntil(lambda: function.steps > before + 3)
    job.finish()
    qtbot.waitUntil(lambda: not job.is_active)
    assert job.state is JobState.SUCCEEDED


def test_a_paused_job_is_cancelled_at_once_and_its_thread_ends(qtbot, runner):
    function, kept = Counting(), []
    job = started(qtbot, runner, function, on_done=kept.append)
    held(qtbot, job, function)
    with qtbot.waitSignal(runner.cancelled, timeout=2000):
        job.cancel()
    qtbot.waitUntil(lambda: not job_thread.live_threads())
    assert not job.is_paused
    assert kept == []
    job.pause()  # too late to mean anything
    assert not job.is_paused


@pytest.mark.parametrize("paused", [False, True])
def test_finishing_keeps_what_there_is(qtbot, runner, paused):
    function, kept = Counting(), []
    job = started(qtbot, runner, function, on_done=kept.append)
    if paused:
        held(qtbot, job, function)
    with qtbot.waitSignal(runner.succeeded, timeout=5000):
        job.finish()
        assert job.is_finishing
        job.pause()  # it is about to end: nothing may hold it now
        assert not job.is_paused
    assert kept == [function.steps]
    assert not job.is_finishing


def test_a_newer_job_ends_a_paused_one_of_its_kind(qtbot, runner):
    function = Counting()
    old = started(qtbot, runner, function)
    held(qtbot, old, function)
    new = runner.start(lambda ctx: 1, title="New", kind="test")
    qtbot.waitUntil(lambda: not runner.active())
    assert (old.state, old.superseded) == (JobState.CANCELLED, True)
    assert new.state is JobState.SUCCEEDED


def test_closing_the_window_ends_a_paused_job(qtbot, make_napari_viewer):
    viewer = make_napari_viewer()
    runner = job_runner(viewer)
    dock = QWidget()
    viewer.window.add_dock_widget(dock)
    function, kept = Counting(), []
    job = started(qtbot, runner, function, owner=dock, on_done=kept.append)
    held(qtbot, job, function)
    viewer.close()
    qtbot.waitUntil(lambda: not job.is_active)
    qtbot.waitUntil(lambda: not job_thread.live_threads())
    assert (job.state, kept) == (JobState.CANCELLED, [])


def test_states_come_in_order_thinned_out_and_the_last_before_the_end(qtbot, runner):
    shown, ended_at = [], []
    runner.state_shown.connect(lambda job, state: shown.append((state, threading.get_ident())))
    runner.succeeded.connect(lambda job, result: ended_at.append(len(shown)))

    def function(ctx):
        began = time.monotonic()
        for i in range(1, 100_000):
            ctx.show(i)
            if time.monotonic() - began > 0.5:
                break
            ctx.step(None, "")
        return i

    results = []
    with qtbot.waitSignal(runner.finished, timeout=20_000):
        job = runner.start(function, title="x", kind="test", on_done=results.append, states=True)
    states = [state for state, _ in shown]
    assert states == sorted(states)
    assert states[-1] == results[0]
    assert ended_at == [len(shown)]
    assert 2 <= len(shown) <= job.seconds / STATES_EVERY_S + 3
    assert {ident for _, ident in shown} == {threading.get_ident()}


def test_states_that_are_slow_to_show_come_less_often(qtbot, runner):
    shown = []

    def slow(job, state):
        shown.append(time.monotonic())
        time.sleep(0.1)

    runner.state_shown.connect(slow)
    function = Counting()
    job = started(qtbot, runner, function, states=True)
    qtbot.waitUntil(lambda: len(shown) >= 4, timeout=10_000)
    job.cancel()
    gaps = [b - a for a, b in itertools.pairwise(shown)]
    assert min(gaps) >= STATES_AT_LEAST_S - 0.01


def test_without_anybody_looking_no_state_is_made(qtbot, runner):
    shown = []
    runner.state_shown.connect(lambda *state: shown.append(state))
    function = Counting()
    job = started(qtbot, runner, function)
    job.finish()
    qtbot.waitUntil(lambda: not job.is_active)
    assert function.wanted is False
    assert shown == []


def test_no_state_comes_after_a_cancel(qtbot, runner):
    shown = []
    function = Counting()
    job = started(qtbot, runner, function, states=True)
    qtbot.waitUntil(lambda: not job.is_active or function.steps > 20)
    job.cancel()
    runner.state_shown.connect(lambda job, state: shown.append(state))
    qtbot.waitUntil(lambda: not job.is_active)
    qtbot.wait(100)
    assert shown == []


def test_a_mailbox_keeps_the_latest_state_only():
    box = Mailbox()
    assert box.take_state() == []
    box.put_state(1)
    box.put_state(None)
    assert box.take_state() == [None]
    assert box.take_state() == []


def test_orders_let_go_on_a_cancel_although_nobody_resumed():
    orders = Orders()
    orders.go_on.clear()
    orders.cancel.set()
    orders.wait()
