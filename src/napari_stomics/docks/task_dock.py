"""Methods and results: build a step, run it, read what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_stomics.core.registry import registry
from napari_stomics.data.collect import COLLECTORS
from napari_stomics.docks.job_bar import JobBar
from napari_stomics.docks.messages import show_info
from napari_stomics.docks.param_form import ParamForm
from napari_stomics.docks.refs_form import RefsForm
from napari_stomics.docks.workbench import told_to_user, workbench
from napari_stomics.workflow.steps import Step

_TASK_TITLES = {
    "registration": "Register sections",
    "alignment": "Align spots (optimal transport)",
    "transfer": "Transfer labels",
    "fusion": "Fuse modalities",
    "domains": "Find domains",
    "prediction": "Predict expression from H&E",
}


class TaskDock(QWidget):
    """Choose a task and a method, say what it reads, run it, and see its figures.

    Parameters
    ----------
    napari_viewer
        The napari viewer; given by napari.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._bench = workbench(napari_viewer)
        self._forms: tuple[RefsForm, ParamForm] | None = None
        self._build()
        self._bench.study_opened.connect(self._refresh)
        self._bench.results_changed.connect(self._refresh)
        self._task.currentIndexChanged.connect(self._fill_methods)
        self._method.currentIndexChanged.connect(self._show_method)
        self._fill_methods()
        self._refresh()

    # -- layout ------------------------------------------------------------------------------

    def _build(self) -> None:
        inner = QWidget()
        column = QVBoxLayout(inner)
        head = QFormLayout()
        self._task, self._method = QComboBox(), QComboBox()
        for task in registry().tasks():
            self._task.addItem(_TASK_TITLES.get(task, task.capitalize()), task)
        self._key = QLineEdit()
        self._key.setToolTip("Name of the result in the study; the same name replaces it.")
        head.addRow("Task", self._task)
        head.addRow("Method", self._method)
        column.addLayout(head)
        self._about = QLabel()
        self._about.setWordWrap(True)
        column.addWidget(self._about)
        self._form_box = QVBoxLayout()
        column.addLayout(self._form_box)
        name_row = QFormLayout()
        name_row.addRow("Result name", self._key)
        column.addLayout(name_row)
        self._run = QPushButton("Run")
        self._run.clicked.connect(self._on_run)
        column.addWidget(self._run)
        self._bar = JobBar(self._bench.runner)
        column.addWidget(self._bar)
        self._build_results(column)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inner)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)

    def _build_results(self, column: QVBoxLayout) -> None:
        column.addWidget(QLabel("Results and log"))
        self._results = QListWidget()
        self._results.setMinimumHeight(110)
        self._results.currentRowChanged.connect(self._on_result_chosen)
        self._figures = QPlainTextEdit()
        self._figures.setReadOnly(True)
        self._figures.setMinimumHeight(120)
        self._figures.setPlaceholderText("Choose a result to see its figures.")
        row = QHBoxLayout()
        for text, slot, tip in (
            ("Undo", self._bench.undo, "Take the last action back."),
            ("Redo", self._bench.redo, "Do the last undone action again."),
            ("Export recipe...", self._on_export, "Write the log as a recipe (YAML)."),
        ):
            button = QPushButton(text)
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, slot=slot: slot())
            row.addWidget(button)
        column.addWidget(self._results)
        column.addWidget(self._figures)
        column.addLayout(row)

    # -- keeping in step ---------------------------------------------------------------------

    def _fill_methods(self) -> None:
        self._method.blockSignals(True)
        self._method.clear()
        with told_to_user("List methods"):
            for spec in registry().specs(self._task.currentData()):
                self._method.addItem(spec.title, spec.key)
        self._method.blockSignals(False)
        self._show_method()

    def _show_method(self) -> None:
        if self._forms is not None:
            for form in self._forms:
                self._form_box.removeWidget(form)
                form.deleteLater()
            self._forms = None
        key = self._method.currentData()
        if key is None:
            return
        spec = registry().get(key)
        self._about.setText(f"{spec.summary}\nSource: {spec.reference}")
        refs = RefsForm(COLLECTORS[spec.inputs].refs, self._bench.session)
        params = ParamForm(spec.params)
        self._forms = (refs, params)
        self._key.setPlaceholderText(Step(method=key).result_key)
        for form in self._forms:
            self._form_box.addWidget(form)

    def _refresh(self) -> None:
        if self._forms is not None:
            self._forms[0].refresh()
        empty = not self._bench.session.section_names
        self._run.setEnabled(not empty)
        self._run.setText("Run (open a study first)" if empty else "Run")
        self._fill_results()

    def _fill_results(self) -> None:
        self._results.blockSignals(True)
        self._results.clear()
        for run in self._bench.session.results():
            item = QListWidgetItem(f"{run.key}   ({run.step['method']})")
            item.setToolTip(f"{run.started}, {run.seconds:.1f} s")
            self._results.addItem(item)
        self._results.blockSignals(False)
        self._results.setCurrentRow(self._results.count() - 1)
        self._on_result_chosen(self._results.currentRow())

    # -- slots -------------------------------------------------------------------------------

    def step(self) -> Step:
        """Return the step that the forms describe.

        Raises
        ------
        UserError
            If a parameter is not valid.
        """
        assert self._forms is not None
        refs, params = self._forms
        return Step(
            method=self._method.currentData(),
            inputs=refs.values(),
            params=params.value().model_dump(mode="json"),
            key=self._key.text().strip(),
        )

    def choose(self, method: str) -> None:
        """Show the forms of a method, by its ``task/name``."""
        self._task.setCurrentIndex(self._task.findData(method.split("/")[0]))
        self._method.setCurrentIndex(self._method.findData(method))

    def _on_run(self) -> None:
        with told_to_user("Run"):
            self._bench.run(self.step())

    def _on_result_chosen(self, row: int) -> None:
        runs = self._bench.session.results()
        self._figures.setPlainText(figures_text(runs[row].summary) if 0 <= row < len(runs) else "")

    def _on_export(self) -> None:
        from napari_stomics.workflow.recipes import Recipe

        name, _ = QFileDialog.getSaveFileName(self, "Export recipe", "recipe.yaml", "*.yaml")
        if name:
            with told_to_user("Export recipe"):
                recipe = Recipe.from_study(self._bench.session.study)
                show_info(f"Recipe written to {recipe.write(Path(name), overwrite=True)}.")


def figures_text(summary: dict[str, Any]) -> str:
    """A result's summary as lines of text, with units spelled out in the names."""
    lines = []
    for name, value in summary.items():
        if value is None:
            value = "not available"
        elif isinstance(value, float):
            value = f"{value:.4g}"
        elif isinstance(value, list):
            value = ", ".join(map(str, value)) or "none"
        elif isinstance(value, dict):
            value = ", ".join(f"{k}: {v}" for k, v in value.items())
        lines.append(f"{name.replace('_', ' ')}: {value}")
    return "\n".join(lines)
