"""The panel that checks alignments, as a person uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_stomics.docks.quality_panel import AlignmentQualityPanel
from napari_stomics.docks.workbench import workbench
from napari_stomics.layers.tags import tag, tagged
from tests.aligned import FIRST, SECOND, aligned_study
from tests.docks.desk import finish

pytestmark = pytest.mark.gui


@pytest.fixture
def desk(make_napari_viewer: Any, qtbot: Any) -> Any:
    viewer = make_napari_viewer()
    bench = workbench(viewer)
    bench.session.open(aligned_study())
    finish(qtbot, bench)
    panel = AlignmentQualityPanel(bench)
    viewer.window.add_dock_widget(panel, name="quality")
    return viewer, bench, panel


def press(qtbot: Any, panel: AlignmentQualityPanel, name: str) -> None:
    qtbot.mouseClick(panel._buttons[name], Qt.MouseButton.LeftButton)


def test_a_check_fills_the_table_and_paints_the_agreement(desk: Any, qtbot: Any) -> None:
    viewer, bench, panel = desk
    assert panel.plan == FIRST
    assert panel.rows == []
    assert "Not checked" in panel.verdict
    press(qtbot, panel, "check")
    finish(qtbot, bench)
    found = {row[0]: row[1:] for row in panel.rows}
    value, _, alone = found["Label transfer: mass on the right label"]
    assert 0 < float(value) <= 1
    assert 0 < float(alone) <= 1
    assert "TRE" in panel.verdict
    layers = {tag(q)["part"]: q for q in tagged(viewer, result=f"{FIRST}_check")}
    assert set(layers) >= {"label_agreement", "label_agreement_pose", "round_trip"}
    assert layers["label_agreement"].visible
    assert not layers["round_trip"].visible
    result = bench.session.load_result(bench.session.study.record.runs[-1])
    np.testing.assert_array_equal(
        layers["label_agreement"].features["label_agreement"], result.label_agreement
    )


def test_undoing_a_check_takes_its_layers_along(desk: Any, qtbot: Any) -> None:
    viewer, bench, panel = desk
    press(qtbot, panel, "check")
    finish(qtbot, bench)
    bench.undo()
    assert tagged(viewer, result=f"{FIRST}_check") == []
    panel.refresh()
    assert panel.rows == []


def test_two_alignments_stand_side_by_side(desk: Any, qtbot: Any) -> None:
    _, bench, panel = desk
    assert not panel._buttons["compare"].isEnabled()  # the same plan on both sides
    panel._other.setCurrentText(SECOND)
    press(qtbot, panel, "compare")
    finish(qtbot, bench)
    found = {row[0]: row[1:] for row in panel.rows}
    first, second, _ = found["Label transfer: mass on the right label"]
    assert first.startswith("★")
    assert not second.startswith("★")
    assert FIRST in panel.verdict
    assert SECOND in panel.verdict


def test_reports_are_written_where_the_user_says(
    desk: Any, qtbot: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    _, bench, panel = desk
    panel._other.setCurrentText(SECOND)
    for button, name in (("report", "one"), ("both", "two")):
        answer = (str(tmp_path / name), "")
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a, answer=answer: answer)
        press(qtbot, panel, button)
        finish(qtbot, bench)
        assert (tmp_path / f"{name}.html").stat().st_size > 100_000


def test_without_a_plan_nothing_can_be_pressed(make_napari_viewer: Any, qtbot: Any) -> None:
    viewer = make_napari_viewer()
    panel = AlignmentQualityPanel(workbench(viewer))
    viewer.window.add_dock_widget(panel, name="quality")
    assert not any(button.isEnabled() for button in panel._buttons.values())
    assert "Align two sections first" in panel.verdict
