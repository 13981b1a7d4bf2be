"""The metrics dock, as a person uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from napari_stomics.docks.metrics_dock import MetricsDock
from napari_stomics.docks.metrics_tables import NumberItem, number, short
from napari_stomics.docks.size_bars import SizeBars
from napari_stomics.docks.workbench import workbench
from napari_stomics.layers.tags import tag, tagged
from tests.docks.desk import finish
from tests.scored import SECTION, scored_study

pytestmark = pytest.mark.gui


class Desk:
    """A dock on a viewer, and a hand for its buttons."""

    def __init__(self, qtbot: Any, frame: QWidget) -> None:
        self.qtbot, self.viewer = qtbot, ViewerModel()
        self.bench = workbench(self.viewer)
        self.dock = MetricsDock(self.viewer)
        frame.layout().addWidget(self.dock)

    def click(self, button: Any) -> None:
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        finish(self.qtbot, self.bench)

    def values(self) -> dict[str, str]:
        return {row[0]: row[1].split()[0] for row in self.dock.table.rows}


@pytest.fixture
def desk(qtbot: Any) -> Any:
    frame = QWidget()
    qtbot.addWidget(frame)
    QVBoxLayout(frame)
    frame.show()
    found = Desk(qtbot, frame)
    yield found
    found.bench.runner.stop_all()
    found.__dict__.clear()


@pytest.fixture
def open_desk(desk: Any) -> Any:
    desk.bench.session.open(scored_study())
    finish(desk.qtbot, desk.bench)
    return desk


def test_opened_alone_it_says_what_to_do(desk: Any) -> None:
    dock = desk.dock
    assert "Open a study first" in dock.note.text()
    for each in (dock.score, dock.find_markers, dock.export):
        assert not each.isEnabled()
    assert dock.table.rows == []


def test_scores_are_measured_in_the_background_and_say_how(open_desk: Any) -> None:
    dock = open_desk.dock
    chosen = dock.form.values()
    assert chosen["section"] == SECTION
    assert chosen["labels"] == "domains"
    assert chosen["annotation"] == "domain"
    assert chosen["embedding"] == "joint"
    assert "Not scored" in dock.protocol.toPlainText()
    dock.form.set_value("singles", ["by_rna"])
    open_desk.click(dock.score)
    values = open_desk.values()
    run = open_desk.bench.session.results()[-1]
    assert values["ARI, adjusted Rand index"] == number(run.summary["ari"])
    assert values["Fusion gain in ARI"] == number(run.summary["fusion_gain"])
    assert run.key == "domains_scores"
    dock.table.selectRow(0)
    assert "domains against 3 in 'domain'" in dock.protocol.toPlainText()
    assert "Higher is better" in dock.table.item(0, 0).toolTip()
    assert dock.sizes.text.startswith("D1: ")
    layer = next(iter(tagged(open_desk.viewer, result="domains_scores")))
    assert tag(layer)["part"] == "isolated"
    assert not layer.visible
    open_desk.bench.undo()
    assert dock.table.rows == []
    assert "Not scored" in dock.protocol.toPlainText()


def test_the_table_is_sorted_by_number(open_desk: Any) -> None:
    dock = open_desk.dock
    open_desk.click(dock.score)
    dock.table.sortItems(1, Qt.SortOrder.DescendingOrder)
    shown = [float(row[1].split()[0]) for row in dock.table.rows]
    assert shown == sorted(shown, reverse=True)
    assert NumberItem(9.0, "9") < NumberItem(10.0, "10")
    assert NumberItem(10.0, "10") < NumberItem(float("nan"), "–")


def test_the_contingency_shows_counts_and_the_match(open_desk: Any) -> None:
    dock = open_desk.dock
    open_desk.click(dock.score)
    dock.tabs.setCurrentIndex(1)
    found = dock._scores
    shown = np.array([[int(v) for v in row[1:]] for row in dock.contingency.rows])
    np.testing.assert_array_equal(shown, found.counts)
    assert [row[0] for row in dock.contingency.rows] == list(found.truth_names)
    matched = next(iter(found.matches.items()))
    assert f"{matched[0]} = {matched[1]}" in dock.matches.toPlainText()
    row, column = found.truth_names.index(matched[1]), found.names.index(matched[0])
    assert dock.contingency.item(row, column + 1).font().bold()
    shade = [
        dock.contingency.item(row, c + 1).background().color().alphaF()
        for c in range(len(found.names))
    ]
    assert int(np.argmax(shade)) == int(np.argmax(found.counts[row]))


def test_without_an_annotation_there_is_no_contingency(open_desk: Any) -> None:
    dock = open_desk.dock
    dock.form._choosers["annotation"].setCurrentIndex(0)
    open_desk.click(dock.score)
    assert "ARI, adjusted Rand index" not in open_desk.values()
    dock.tabs.setCurrentIndex(1)
    assert dock.contingency.rows == []
    assert "Choose an annotation" in dock.matches.toPlainText()
    assert not dock.export.isEnabled()


def test_markers_are_found_and_a_click_shows_one_on_the_tissue(open_desk: Any) -> None:
    dock, viewer = open_desk.dock, open_desk.viewer
    dock.tabs.setCurrentIndex(2)
    assert "No markers yet" in dock.marker_note.toPlainText()
    open_desk.click(dock.find_markers)
    found = dock._markers
    assert [row[0] for row in dock.markers.rows] == list(found.tables[0].features)
    dock.domain.setCurrentText("D2")
    rows = dock.markers.rows
    assert rows[0][0] == found.of_domain("D2").features[0]
    assert rows[0][1] == short(found.of_domain("D2").effect[0])
    assert "Click a row" in dock.marker_note.toPlainText()
    for row in (1, 0):
        dock.markers.cellClicked.emit(row, 0)
        layers = [q for q in tagged(viewer, result="domains_markers_rna") if q.visible]
        assert [tag(q)["gene"] for q in layers] == [rows[row][0]]
        others = tagged(viewer, section=SECTION, result="domains")
        assert others
        assert viewer.layers.index(layers[0]) > max(map(viewer.layers.index, others))
    dock.modality.setCurrentText("protein")
    assert dock.markers.rows == []
    assert open_desk.bench.session.results()[-1].key == "domains_markers_rna"


def test_each_tab_is_exported(open_desk: Any, tmp_path: Path, monkeypatch: Any) -> None:
    import pandas as pd

    dock = open_desk.dock
    dock.tabs.setCurrentIndex(2)
    open_desk.click(dock.find_markers)
    dock.tabs.setCurrentIndex(0)
    assert not dock.export.isEnabled()
    open_desk.click(dock.score)
    sizes = []
    for tab, name in enumerate(("scores", "contingency", "markers")):
        dock.tabs.setCurrentIndex(tab)
        answer = (str(tmp_path / name), "")
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a, answer=answer: answer)
        assert dock.export.isEnabled()
        open_desk.click(dock.export)
        sizes.append(len(pd.read_csv(tmp_path / f"{name}.csv")))
    assert sizes == [
        len(dock._scores.rows),
        len(dock._scores.truth_names),
        sum(len(t) for t in dock._markers.tables),
    ]


def test_the_embedding_follows_the_domains(open_desk: Any) -> None:
    form = open_desk.dock.form
    assert form.values()["embedding"] == "joint"
    form._choosers["labels"].setCurrentText("by_rna")
    assert form.values()["embedding"] == "alone"
    form._choosers["embedding"].setCurrentText("joint")
    form.set_value("singles", ["domains"])
    assert form.values()["embedding"] == "joint"  # what the user chose stays
    form._choosers["labels"].setCurrentText("domain")
    assert form.values()["embedding"] == "joint"


def test_small_and_missing_numbers_are_told_shortly() -> None:
    assert [number(v) for v in (0.12345, 0.0, 1e-5, float("nan"), 12.345)] == [
        "0.123", "0.000", "1.0e-05", "–", "12.35",
    ]  # fmt: skip
    assert [short(v) for v in (1.234, 3.2e-9, float("nan"))] == ["1.23", "3e-09", "–"]


def test_a_name_that_another_section_has_is_not_taken(open_desk: Any) -> None:
    dock = open_desk.dock
    open_desk.click(dock.score)
    dock.form._choosers["section"].setCurrentText("section_2")
    assert dock.table.rows == []
    assert dock.form.values()["labels"] == "domain"
    assert dock.step().key == "domain_scores"
    dock.form._choosers["section"].setCurrentText(SECTION)
    dock.form._choosers["labels"].setCurrentText("domains")
    assert dock.step().key == "domains_scores"
    assert open_desk.values()


def test_bars_are_drawn_in_the_colours_of_the_domains(qtbot: Any) -> None:
    bars = SizeBars()
    qtbot.addWidget(bars)
    bars.show_sizes(("D1", "D2"), (30, 10), {"D1": "#ff0000", "D2": "#0000ff"})
    bars.resize(200, bars.sizeHint().height())
    bars.show()
    image = bars.grab().toImage()
    pixels = np.array(
        [
            [image.pixelColor(x, y).getRgb()[:3] for x in range(image.width())]
            for y in range(image.height())
        ]
    )
    red = (pixels == (255, 0, 0)).all(axis=2).sum()
    blue = (pixels == (0, 0, 255)).all(axis=2).sum()
    assert red == pytest.approx(3 * blue, rel=0.1)
    assert blue > 50
    assert bars.text == "D1: 30, D2: 10"
    bars.show_sizes((), (), {})
    assert not bars.isVisible()


def test_labels_compared_with_themselves_are_told_apart_from_no_annotation(open_desk: Any) -> None:
    form = open_desk.dock.form
    labels = form.values()["labels"]
    form.set_value("annotation", labels)
    assert form.values()["annotation"] == labels
    open_desk.click(open_desk.dock.score)
    assert "the same column" in open_desk.dock.matches.toPlainText()


def test_labels_are_not_compared_with_themselves_unless_asked_to(open_desk: Any) -> None:
    form = open_desk.dock.form
    form.set_value("labels", "domain")  # the annotation itself
    assert "annotation" not in form.values()
    form.set_value("labels", "domains")
    assert form.values()["annotation"] == "domain"
    form.set_value("annotation", "by_rna")  # what the user chose stays
    form.set_value("labels", "by_protein")
    assert form.values()["annotation"] == "by_rna"


def test_an_annotation_alone_is_judged_without_a_comparison(desk: Any) -> None:
    from tests.small import small_simulation

    desk.bench.session.open(small_simulation().study)
    finish(desk.qtbot, desk.bench)
    assert desk.dock.form.values()["labels"] == "domain"
    assert "annotation" not in desk.dock.form.values()
