"""Methods and results: build a step, run it, read what came of it."""

from __future__ import annotations

from typing import Any

from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QLineEdit, QSizePolicy, QVBoxLayout

from napari_stomics.core.errors import UserError
from napari_stomics.core.registry import registry
from napari_stomics.data.carry import ends_of
from napari_stomics.data.collect import COLLECTORS
from napari_stomics.docks.dock import Dock
from napari_stomics.docks.job_bar import JobBar, MessageText
from napari_stomics.docks.layout import Fold, button, form_layout, in_column
from napari_stomics.docks.messages import describe_failure, failure_text
from napari_stomics.docks.name_combo import NameCombo
from napari_stomics.docks.param_form import ParamForm
from napari_stomics.docks.refs_form import RefsForm
from napari_stomics.docks.result_panel import ResultPanel
from napari_stomics.workflow.steps import Step

_TASK_TITLES = {
    "registration": "Register sections",
    "alignment": "Align spots (optimal transport)",
    "stack": "Align a stack of sections",
    "quality": "Check an alignment",
    "mapping": "Place single cells in space",
    "transfer": "Transfer and aggregate",
    "fusion": "Fuse modalities",
    "embedding": "Take up an embedding",
    "domains": "Find domains",
    "scores": "Score domains",
    "markers": "Find markers of domains",
    "prediction": "Predict expression from H&E",
    "deconvolution": "Deconvolve cell types",
    "imputation": "Impute what was not measured",
    "morphology": "Relate morphology and expression",
}
_HOMES = ("section", "test", "target", "source")
"""References that name the section that a result belongs to, the first that a method has."""


class TaskDock(Dock):
    """Choose a task and a method, say what it reads, run it, and see its figures.

    Parameters
    ----------
    napari_viewer
        The napari viewer; given by napari.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self.refs: RefsForm | None = None
        self.params: ParamForm | None = None
        self._build()
        bench, session = self._bench, self._bench.session
        self.listen(
            (bench.study_opened, self._on_study),
            (bench.results_changed, self._on_results),
            (session.landmarks.changed, self._on_landmarks),
            (session.undo.changed, self.results.show_undo),
            (session.left_out.changed, self._refresh),
            (bench.viewer.layers.events, self.results.on_layers),
        )
        self._fill_methods()
        self._on_study()

    # -- layout ------------------------------------------------------------------------------

    def _build(self) -> None:
        self.task, self.method = NameCombo(), NameCombo()
        for task in registry().tasks():
            self.task.addItem(_TASK_TITLES.get(task, task.capitalize()), task)
        self._about = QLabel()
        self._about.setWordWrap(True)
        self._about.setTextFormat(Qt.TextFormat.PlainText)
        self._about.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._forms = QVBoxLayout()
        self._forms.setSpacing(6)
        self.key = QLineEdit()
        self.key.setToolTip("Name of the result in the study.")
        self.key.textChanged.connect(self._show_key)
        self._note = QLabel()
        self._note.setWordWrap(True)
        self.run = button("Run", self._on_run, "Compute in the background.")
        self.problem = MessageText()
        self.bar = JobBar(self._bench.runner, is_of_method)
        self.results = ResultPanel(self._bench)
        head, foot = form_layout(), form_layout()
        head.addRow("Task", self.task)
        head.addRow("Method", self.method)
        foot.addRow("Result name", self.key)
        inner = in_column(self.bar, Fold("Results", self.results), stretch=True)
        column = inner.layout()
        assert isinstance(column, QVBoxLayout)
        for i, part in enumerate((head, self._about, self._forms, foot)):
            _insert(column, i, part)
        for i, widget in enumerate((self._note, self.run, self.problem)):
            column.insertWidget(4 + i, widget)
        self.fill(inner)
        self.task.currentIndexChanged.connect(self._fill_methods)
        self.method.currentIndexChanged.connect(self._show_method)

    def taken_up(self) -> None:
        """Show what happened meanwhile."""
        self._on_study()

    # -- keeping in step ---------------------------------------------------------------------

    def _fill_methods(self) -> None:
        """Offer the methods of the task; one that cannot be loaded says why."""
        self.method.blockSignals(True)
        self.method.clear()
        self._broken: dict[str, str] = {}
        for key in registry().keys(self.task.currentData()):
            try:
                self.method.addItem(registry().get(key).title, key)
            except Exception as error:  # a package of somebody else: it may raise anything
                self._broken[key] = describe_failure(error, f"Load {key}")
                self.method.addItem(f"{key} (cannot be loaded)", key)
        self.method.blockSignals(False)
        self._show_method()

    def _show_method(self) -> None:
        self._clear_forms()
        self.problem.show_text("")
        key = self.method.currentData()
        if key is None or key in self._broken:
            self._about.setText("")
            self.problem.show_text(self._broken.get(key, "This task has no method."))
        else:
            try:
                self._make_forms(key)
            except Exception as error:
                self._clear_forms()
                self._complain(error, f"Show {key}")
        self._refresh()

    def _make_forms(self, key: str) -> None:
        spec = registry().get(key)
        self._about.setText(f"{spec.summary}\nAfter: {spec.reference}")
        collector = COLLECTORS.get(spec.inputs)
        if collector is None:
            raise UserError(
                f"The method {key!r} takes {spec.inputs.__name__}, which cannot be gathered "
                "from a study.",
                "Its package has to take one of the inputs of napari_stomics.core.inputs.",
            )
        self.refs = RefsForm(collector.refs, self._bench.session)
        self.refs.changed.connect(self._show_key)
        self.params = ParamForm(spec.params)
        for form in (self.refs, self.params):
            self._forms.addWidget(form)

    def _clear_forms(self) -> None:
        for form in (self.refs, self.params):
            if form is not None:
                self._forms.removeWidget(form)
                form.hide()
                form.deleteLater()
        self.refs = self.params = None

    def _refresh(self) -> None:
        if self.refs is not None:
            self.refs.refresh()
        empty = not self._bench.session.section_names
        self.run.setEnabled(not empty and self.refs is not None)
        self.run.setText("Run (open a study first)" if empty else "Run")
        self._show_key()

    def _show_key(self) -> None:
        """Say under which name the result will be kept, and what that replaces."""
        if self.refs is None:
            return
        self.key.setPlaceholderText(self.suggested_key())
        name = self.key.text().strip() or self.suggested_key()
        taken = any(run.key == name for run in self._bench.session.results())
        self._note.setText(f"Replaces the result {name!r}." if taken else "")
        self._note.setVisible(taken)

    def suggested_key(self) -> str:
        """The method's name, with the section where another section has a result of that name."""
        assert self.refs is not None
        inputs = self.refs.values()
        plain = Step(method=self.method.currentData()).result_key
        home = _home(inputs)
        for run in self._bench.session.results():
            if run.key == plain and home and _home(run.step["inputs"]) != home:
                return f"{plain}_{home}"
        return plain

    # -- slots -------------------------------------------------------------------------------

    def step(self) -> Step:
        """Return the step that the forms describe.

        Raises
        ------
        UserError
            If a parameter is not valid, or something that the method reads is missing.
        """
        if self.refs is None or self.params is None:
            raise UserError("No method is chosen.", "Choose one above.")
        missing = self.refs.missing()
        if missing:
            raise UserError(
                f"There is nothing to choose for {', '.join(missing)}.",
                "Run the step that makes it first, or choose another section.",
            )
        return Step(
            method=self.method.currentData(),
            inputs=self.refs.values(),
            params=self.params.value().model_dump(mode="json"),
            key=self.key.text().strip() or self.suggested_key(),
        )

    def choose(self, method: str) -> None:
        """Show the forms of a method, by its ``task/name``."""
        self.task.setCurrentIndex(self.task.findData(method.split("/")[0]))
        self.method.setCurrentIndex(self.method.findData(method))

    def _on_run(self) -> None:
        self.problem.show_text("")
        try:
            self._bench.start(self.step())
        except Exception as error:
            self._complain(error, self.method.currentText())

    def _complain(self, error: Exception, title: str) -> None:
        """Say in place what went wrong."""
        self.problem.show_text(failure_text(error, title))

    def _on_study(self) -> None:
        self._refresh()
        self.results.refresh()

    def _on_results(self) -> None:
        self._refresh()
        self.results.refresh(newest=True)

    def _on_landmarks(self) -> None:
        if self.refs is not None and self.isVisible():
            self.refs.refresh()


def is_of_method(kind: str) -> bool:
    """Whether a job runs a method."""
    return "/" in kind.split(" ")[0]


def _home(inputs: dict[str, Any]) -> str:
    if "direction" in inputs and inputs.get("source") and inputs.get("target"):
        return ends_of(inputs)[1]
    return next((str(inputs[name]) for name in _HOMES if inputs.get(name)), "")


def _insert(column: QVBoxLayout, index: int, part: Any) -> None:
    if part.isWidgetType():
        column.insertWidget(index, part)
    else:
        column.insertLayout(index, part)
