"""How good an alignment is: checked, reported, and set beside another one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_stomics.docks.layout import wrapped_label
from napari_stomics.docks.messages import show_info
from napari_stomics.docks.workbench import Workbench, told_to_user

if TYPE_CHECKING:
    from napari_stomics.core.quality import AlignmentQuality, QualityFigure
    from napari_stomics.workflow.dossier import Comparison

_TIPS = {
    "Value": (
        "The figure",
        "Standard error of the figure",
        "The same with each spot matched to its nearest under the linear pose alone",
    ),
    "A": (
        "The alignment chosen above",
        "The alignment that it is compared with",
        "Standard error of the difference; ★ marks the better one where the difference exceeds two",
    ),
}
_MARKS = {"warning": "⚠", "note": "•", "good": "✓"}


class AlignmentQualityPanel(QWidget):
    """Figures of one alignment beside the pose alone, or of two beside each other.

    Parameters
    ----------
    bench
        The workbench of the viewer.
    parent
        Parent widget.
    """

    checked = Signal(str)
    """A plan was checked; its name."""

    def __init__(self, bench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bench = bench
        self._plan, self._other = QComboBox(), QComboBox()
        self._verdict = wrapped_label()
        self._table = QTableWidget(0, 0)
        self._buttons = {
            "check": QPushButton("Check this alignment"),
            "report": QPushButton("Write report…"),
            "compare": QPushButton("Compare with"),
            "both": QPushButton("Write comparison…"),
        }
        self._dress()
        self._lay_out()
        self._plan.currentIndexChanged.connect(self._on_plan)
        self._other.currentIndexChanged.connect(self._update_buttons)
        for name, slot in (
            ("check", self._on_check),
            ("report", self._on_report),
            ("compare", self._on_compare),
            ("both", self._on_write_both),
        ):
            self._buttons[name].clicked.connect(slot)
        self.refresh()

    @property
    def plan(self) -> str:
        """Name of the plan that is looked at, ``""`` without one."""
        return self._plan.currentText()

    @property
    def other(self) -> str:
        """Name of the plan to compare with, ``""`` without one."""
        return self._other.currentText()

    @property
    def rows(self) -> list[list[str]]:
        """What the table shows, row by row."""
        table = self._table
        return [
            [table.item(r, c).text() for c in range(table.columnCount())]
            for r in range(table.rowCount())
        ]

    @property
    def verdict(self) -> str:
        """The remarks shown."""
        return self._verdict.text()

    def set_plan(self, name: str) -> None:
        """Look at a plan of the study; does nothing if there is none of that name."""
        self._plan.setCurrentIndex(max(self._plan.findText(name), -1))

    def refresh(self) -> None:
        """Offer the plans that the study holds now."""
        from napari_stomics.workflow.dossier import plan_names

        names = plan_names(self._bench.session.study) if self._bench.session.section_names else []
        for box in (self._plan, self._other):
            chosen = box.currentText()
            if [box.itemText(i) for i in range(box.count())] != names:
                box.blockSignals(True)
                box.clear()
                box.addItems(names)
                box.setCurrentIndex(max(box.findText(chosen), 0 if names else -1))
                box.blockSignals(False)
        self._on_plan()

    def show_quality(self, found: AlignmentQuality) -> None:
        """Show the figures of one alignment beside those of the pose alone."""
        self._verdict.setText(_remarks(found))
        head = ("Figure", "Value", "±", "Pose")
        rows = [
            ([_title(f), *map(_number, (f.value, f.noise, f.baseline))], f, None)
            for f in found.figures
        ]
        self._fill(head, rows)

    def show_comparison(self, found: Comparison) -> None:
        """Show the figures of two alignments; the better one is marked where that is sure."""
        note = "" if found.same_sections else "⚠ These two do not join the same spots.\n"
        letters = ("A", "B")
        self._verdict.setText(
            note
            + "\n".join(
                f"{letter}: {one.name}\n{_remarks(judged)}"
                for letter, one, judged in zip(letters, found.dossiers, found.judged, strict=True)
            )
        )
        rows = []
        for row in found.differences:
            cells = [_number(f.value) if f is not None else "–" for f in (row.first, row.second)]
            if row.better is not None:
                cells[row.better] = f"★ {cells[row.better]}"
            mark = None if row.better is None else 1 + row.better
            rows.append(([_title(row.figure), *cells, _number(row.noise)], row.figure, mark))
        self._fill(("Figure", *letters, "±"), rows)

    # -- jobs --------------------------------------------------------------------------------

    def _on_check(self) -> None:
        from napari_stomics.workflow.dossier import check_step

        with told_to_user("Check alignment"):
            name = self.plan
            step = check_step(self._bench.session.study, name)
            self._bench.start(step, then=partial(self._on_checked, name))

    def _on_checked(self, name: str) -> None:
        if name == self.plan:
            self._on_plan()
        self.checked.emit(name)

    def _on_compare(self) -> None:
        from napari_stomics.workflow.dossier import compare

        with told_to_user("Compare alignments"):
            pair = self._dossiers()
            self._job(lambda ctx: compare(pair, ctx), "Compare alignments", self.show_comparison)

    def _on_report(self) -> None:
        from napari_stomics.workflow.dossier import dossier
        from napari_stomics.workflow.report import write_report

        path = self._ask(f"{self.plan}.html")
        if path is None:
            return
        with told_to_user("Write report"):
            one = dossier(self._bench.session.study, self.plan)
            self._job(lambda ctx: write_report(one, path, ctx), "Write report", _say_written)

    def _on_write_both(self) -> None:
        from napari_stomics.workflow.dossier import compare
        from napari_stomics.workflow.report import write_comparison

        path = self._ask(f"{self.plan}_and_{self.other}.html")
        if path is None:
            return
        with told_to_user("Write comparison"):
            pair = self._dossiers()

            def work(ctx: Any) -> Path:
                return write_comparison(compare(pair, ctx.part(0, 0.5)), path, ctx.part(0.5, 1))

            self._job(work, "Write comparison", _say_written)

    def _dossiers(self) -> tuple[Any, Any]:
        from napari_stomics.workflow.dossier import dossier

        study = self._bench.session.study
        return dossier(study, self.plan), dossier(study, self.other)

    def _job(self, work: Any, title: str, done: Any) -> None:
        self._bench.runner.start(work, title=title, kind=title, on_done=done, owner=self, threads=1)

    def _ask(self, name: str) -> Path | None:
        chosen, _ = QFileDialog.getSaveFileName(self, "Write report", name, "Web page (*.html)")
        if not chosen:
            return None
        return Path(chosen) if Path(chosen).suffix else Path(f"{chosen}.html")

    # -- what is shown -----------------------------------------------------------------------

    def _on_plan(self) -> None:
        from napari_stomics.workflow.dossier import last_check

        self._update_buttons()
        session = self._bench.session
        run = last_check(session.study, self.plan) if self.plan else None
        if run is not None:
            with told_to_user("Show check"):
                self.show_quality(session.load_result(run))
            return
        self._fill((), [])
        self._verdict.setText(
            "Not checked yet." if self.plan else "Align two sections first: there is no plan yet."
        )

    def _update_buttons(self) -> None:
        there = bool(self.plan)
        two = there and bool(self.other) and self.other != self.plan
        for name, button in self._buttons.items():
            button.setEnabled(two if name in ("compare", "both") else there)

    def _fill(
        self, head: Sequence[str], rows: Sequence[tuple[list[str], QualityFigure, int | None]]
    ) -> None:
        table = self._table
        table.setVisible(bool(rows))
        table.setColumnCount(len(head))
        table.setHorizontalHeaderLabels(list(head))
        table.setRowCount(len(rows))
        for r, (cells, figure, mark) in enumerate(rows):
            for c, text in enumerate(cells):
                item = QTableWidgetItem(text)
                item.setToolTip(f"<p>{figure.meaning}</p><p>{figure.protocol}</p>")
                if c:
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                if c == mark:
                    font = item.font()
                    font.setBold(True)
                    item.setFont(font)
                table.setItem(r, c, item)
        if head:
            header = table.horizontalHeader()
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
            for column, tip in enumerate(_TIPS[head[1]]):
                table.horizontalHeaderItem(column + 1).setToolTip(tip)
        height = table.verticalHeader().defaultSectionSize() * (min(len(rows), 14) + 1) + 6
        table.setMinimumHeight(height if rows else 0)

    def _dress(self) -> None:
        self._table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self._table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self._table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self._table.verticalHeader().hide()
        self._table.setAccessibleName("Figures of the alignment")
        self._plan.setAccessibleName("Alignment")
        self._other.setAccessibleName("Alignment to compare with")
        self._verdict.setAccessibleName("Verdict")
        for box in (self._plan, self._other):
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            box.setMinimumContentsLength(12)
        tips = {
            "check": "Measure it by landmarks, labels and genes that it has not seen",
            "report": "One page of HTML with figures, pictures and how it was made",
            "compare": "Show the figures of both alignments side by side",
            "both": "One page of HTML with both alignments side by side",
        }
        for name, tip in tips.items():
            self._buttons[name].setToolTip(tip)

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._plan)
        for names in (("check", "report"), ("compare",), ("both",)):
            row = QHBoxLayout()
            for name in names:
                row.addWidget(self._buttons[name])
            if names == ("compare",):
                row.addWidget(self._other, 1)
            column.addLayout(row)
        column.addWidget(self._verdict)
        column.addWidget(self._table)


def _say_written(path: Path) -> None:
    show_info(f"Written to {path}.")


def _remarks(found: AlignmentQuality) -> str:
    return "\n".join(f"{_MARKS[remark.level]} {remark.text}" for remark in found.remarks)


def _title(figure: QualityFigure) -> str:
    return f"{figure.title} ({figure.unit.replace('um', 'µm')})" if figure.unit else figure.title


def _number(value: float) -> str:
    from napari_stomics.workflow.report_page import number

    return number(value)
