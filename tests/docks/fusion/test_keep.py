"""Keep: what the preview found is not found again, and spots that lack a modality are kept too."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from napari_stomics.docks.fusion_keep import KINDS as KEEP
from napari_stomics.docks.fusion_live import SETTLE
from napari_stomics.docks.job import JobState
from napari_stomics.layers.domains import labels_of, parts
from napari_stomics.layers.tags import tagged
from napari_stomics.session.live_fusion import DOMAINS
from tests.docks.desk import finish
from tests.docks.fusion.desk import settled, shown_labels
from tests.partly import partly_measured

pytestmark = pytest.mark.gui


def held_up(monkeypatch):
    """Let every consensus wait for a word; returns what was asked for, and the word."""
    from napari_stomics.methods.domains import gmm

    calls, go_on = [], threading.Event()
    real = gmm.find_domains

    def waiting(*args):
        calls.append(args[1].n_domains)
        go_on.wait(60)
        return real(*args)

    monkeypatch.setattr(gmm, "find_domains", waiting)
    return calls, go_on


def test_keep_waits_for_the_consensus_that_is_under_way(live, opened, bench, qtbot, monkeypatch):
    calls, go_on = held_up(monkeypatch)
    live.sliders.count.slider.setValue(4)
    qtbot.waitUntil(lambda: calls == [4], timeout=60_000)
    settling = bench.runner.active(SETTLE)[0]
    live.keep()
    qtbot.waitUntil(lambda: bool(bench.runner.active(KEEP[1])), timeout=60_000)
    assert settling.is_active
    go_on.set()
    finish(qtbot, bench)
    assert calls == [4]
    assert settling.state is JobState.SUCCEEDED
    assert len(opened.choice.result.names) == 4


def test_keep_that_waits_can_be_cancelled(live, bench, qtbot, monkeypatch):
    calls, go_on = held_up(monkeypatch)
    live.sliders.count.slider.setValue(4)
    qtbot.waitUntil(lambda: calls == [4], timeout=60_000)
    live.keep()
    qtbot.waitUntil(lambda: bool(bench.runner.active(KEEP[1])), timeout=60_000)
    waiting = bench.runner.active(KEEP[1])[0]
    waiting.cancel()
    qtbot.waitUntil(lambda: not waiting.is_active, timeout=60_000)
    assert not live.is_keeping
    go_on.set()
    finish(qtbot, bench)
    assert not bench.session.results()
    assert not live.answer.quick  # what was under way is shown now


def test_spots_that_lack_a_modality_are_previewed_kept_and_taken_back(opened, bench, viewer, qtbot):
    bench.session.open(partly_measured())
    every = bench.session.study.section("A").ids
    opened.domains.choose(DOMAINS)
    opened.domains.params.set_value(opened.domains.params.model(n_domains=3, members=3))
    opened.live.start()
    settled(opened, bench, qtbot)
    shown = shown_labels(viewer)
    assert len(shown) == len(every)
    assert bench.session.study.section("A").modalities == ("rna", "protein")
    opened.live.keep()
    finish(qtbot, bench)
    fused, found = bench.session.results()
    table = bench.session.study.section("A").table("spots")
    assert table.obs[found.key].astype(str).tolist() == shown.tolist()
    assert table.obsm[fused.key].shape[0] == len(every)
    painted = parts(viewer, found.key, "domains")
    assert labels_of(painted[0]).tolist() == shown.tolist()
    assert opened.fusion.refs.values()["modalities"] == ["rna", "protein"]
    opened.edit.table.select(["D1", "D2"])
    opened.edit.merge.click()
    finish(qtbot, bench)
    assert set(labels_of(parts(viewer, found.key, "domains")[0])) == {"D1", "D3"}
    bench.undo()
    assert labels_of(parts(viewer, found.key, "domains")[0]).tolist() == shown.tolist()
    bench.undo()
    assert not parts(viewer, found.key, "domains")
    assert bench.session.study.section("A").modalities == ("rna", "protein")
    bench.redo()
    assert labels_of(parts(viewer, found.key, "domains")[0]).tolist() == shown.tolist()


def test_keep_finds_no_domains_again_that_have_settled(live, opened, bench, qtbot, monkeypatch):
    from napari_stomics.methods.domains import gmm

    calls = []
    real = gmm.find_domains

    def counted(*args):
        calls.append(args[1].n_domains)
        return real(*args)

    monkeypatch.setattr(gmm, "find_domains", counted)
    live.sliders.count.slider.setValue(4)
    settled(opened, bench, qtbot)
    live.keep()
    finish(qtbot, bench)
    assert calls == [4]
    found = opened.choice.result
    assert found.embedding == bench.session.results()[0].key
    assert np.isfinite(found.stability).all()


def test_keep_waits_for_a_save(live, bench, viewer):
    bench.session.begin_save()
    live.keep()
    assert "being saved" in live.problem.toPlainText()
    assert not live.is_keeping
    assert tagged(viewer, role="live")
    bench.session.end_save(None)
    live.drop()
