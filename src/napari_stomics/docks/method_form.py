"""The step of one task: what it reads, its method and parameters, its name, and its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QLineEdit

from napari_stomics.data.collect import COLLECTORS
from napari_stomics.docks.job_bar import JobBar, MessageText
from napari_stomics.docks.layout import button, form_layout, wrapped_label
from napari_stomics.docks.messages import failure_text
from napari_stomics.docks.refs_form import TickList
from napari_stomics.docks.step_form import StepForm
from napari_stomics.docks.workbench import Workbench
from napari_stomics.workflow.steps import Step


class MethodForm(StepForm):
    """Builds and runs the steps of one task; see :class:`StepForm`.

    Parameters
    ----------
    bench
        The viewer's workbench.
    task
        The task, as methods declare it.
    takes, gives
        Kinds of input and result of the methods that are offered.
    groups
        Headings and references of the form; see :class:`RefsForm`.
    words
        Text of the button that runs it, and of what to do in an empty study.
    """

    done = Signal(str)
    """A result came; its name."""

    def __init__(
        self,
        bench: Workbench,
        task: str,
        takes: type,
        gives: type,
        groups: Mapping[str, Sequence[str]],
        words: tuple[str, str],
    ) -> None:
        super().__init__(bench, task, takes, gives, groups)
        self._words = words
        self.name = QLineEdit()
        self.name.setToolTip("Name of the result in the study.")
        self.name.setAccessibleName("Result name")
        self.note = wrapped_label()
        self.run = button(words[0], self.start, "Compute in the background.")
        self.problem = MessageText()
        self.bar = JobBar(bench.runner, _of_task(task))
        foot = form_layout()
        foot.addRow("Result name", self.name)
        self._column.addLayout(foot)
        for widget in (self.note, self.run, self.problem, self.bar):
            self._column.addWidget(widget)
        self.refs.changed.connect(self.refresh)
        self.refs.changed.connect(self.changed)
        self.chosen.connect(self._on_chosen)
        self.name.textChanged.connect(self.show_name)
        self.refresh()

    def refresh(self) -> None:
        """Offer what the study holds now."""
        self.refs.refresh()
        self._hide_empty()
        empty = not self._bench.session.section_names
        missing = self.refs.missing()
        self.run.setEnabled(not empty and not missing)
        self.run.setText(self._words[1] if empty or missing else self._words[0])
        self.show_name()

    def _hide_empty(self) -> None:
        """Hide lists that may stay empty and have nothing to offer."""
        rows = self.refs.layout()
        assert isinstance(rows, QFormLayout)
        for name, field in COLLECTORS[self._takes].refs.model_fields.items():
            ticks = self.refs.findChild(TickList, name)
            if ticks is not None and field.default == ():
                rows.setRowVisible(ticks, bool(ticks.names()))

    def key_for(self, method: str, section: str = "") -> str:
        """The method's name, with the section where another section has a result of that name."""
        plain = Step(method=method).result_key
        home = section or self.refs.values().get("section", "")
        for run in self._bench.session.results():
            if run.key == plain and home and run.step["inputs"].get("section") != home:
                return f"{plain}_{home}"
        return plain

    @property
    def result_key(self) -> str:
        """Name under which the result will be stored."""
        return self.name.text().strip() or self.key_for(self.key)

    def start(self) -> None:
        """Run the step in the background."""
        self.problem.show_text("")
        try:
            step = self.step()
            self._bench.start(step, then=lambda: self.done.emit(step.result_key))
        except Exception as error:
            self.problem.show_text(failure_text(error, self.method.currentText()))

    def show_name(self) -> None:
        """Say under which name the result will be kept, and what that replaces."""
        self.name.setPlaceholderText(self.key_for(self.key))
        name = self.result_key
        taken = any(run.key == name for run in self._bench.session.results())
        self.note.setText(f"Replaces the result {name!r}." if taken else "")
        self.note.setVisible(taken)

    def _on_chosen(self) -> None:
        self.problem.show_text("")
        self.show_name()


def _of_task(task: str) -> Callable[[str], bool]:
    start, edit = f"{task}/", "domains/edit"
    return lambda kind: kind.startswith(start) and not kind.startswith(edit)
