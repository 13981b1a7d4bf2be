"""The step of one task: what it reads, which method or preset, its parameters, its name."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFormLayout, QLineEdit, QSizePolicy, QVBoxLayout, QWidget

from napari_stomics.core.errors import UserError
from napari_stomics.core.registry import registry
from napari_stomics.data.collect import COLLECTORS
from napari_stomics.docks.job_bar import JobBar, MessageText
from napari_stomics.docks.layout import button, wrapped_label
from napari_stomics.docks.messages import describe_failure
from napari_stomics.docks.name_combo import NameCombo
from napari_stomics.docks.param_form import ParamForm
from napari_stomics.docks.refs_form import RefsForm, TickList
from napari_stomics.docks.workbench import Workbench
from napari_stomics.workflow.steps import Step

_OWN = "(our defaults)"
_SHOWN = 3


class MethodForm(QWidget):
    """Builds and runs the steps of one task whose methods take and return the same kinds.

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

    changed = Signal()
    """Something was chosen."""
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
        super().__init__()
        self._bench, self._task, self._takes, self._gives = bench, task, takes, gives
        self._words = words
        self.params: ParamForm | None = None
        self.refs = RefsForm(COLLECTORS[takes].refs, bench.session, groups=groups)
        self.preset, self.method = NameCombo(), NameCombo()
        self.name = QLineEdit()
        self.name.setToolTip("Name of the result in the study.")
        self.name.setAccessibleName("Result name")
        self.about, self.note = wrapped_label(), wrapped_label()
        self.run = button(words[0], self.start, "Compute in the background.")
        self.problem = MessageText()
        self.bar = JobBar(bench.runner, _of_task(task))
        self._build()
        self._fill_methods()
        self.refs.changed.connect(self._on_refs)
        self.method.currentIndexChanged.connect(self._on_method)
        self.preset.currentIndexChanged.connect(self._show_params)
        self.name.textChanged.connect(self.show_name)
        self._on_method()
        self.refresh()

    def _build(self) -> None:
        self._titles, foot = _form(), _form()
        self._titles.addRow("Method", self.method)
        self._titles.addRow("Preset", self.preset)
        foot.addRow("Result name", self.name)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(6)
        self._column.addWidget(self.refs)
        self._column.addLayout(self._titles)
        self._column.addWidget(self.about)
        self._at = self._column.count()
        self._column.addLayout(foot)
        for widget in (self.note, self.run, self.problem, self.bar):
            self._column.addWidget(widget)
        self.about.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)

    # -- choices -----------------------------------------------------------------------------

    def _fill_methods(self) -> None:
        for key in self._keys():
            if registry().preset(key) is None:
                self.method.addItem(registry().get(key).title, key)

    def _keys(self) -> Iterable[str]:
        """Methods and presets of the task; broken ones are left out, other docks say why."""
        for key in registry().keys(self._task):
            try:
                spec = registry().get(key)
            except Exception:
                continue
            if spec.inputs is self._takes and spec.result is self._gives:
                yield key

    def _on_method(self) -> None:
        """Offer the presets of the chosen method."""
        self.preset.blockSignals(True)
        self.preset.clear()
        self.preset.addItem(_OWN, "")
        for key in self._keys():
            found = registry().preset(key)
            if found is not None and found.method == self.method.currentData():
                self.preset.addItem(found.title, key)
        self.preset.blockSignals(False)
        self._titles.setRowVisible(self.preset, self.preset.count() > 1)
        self._show_params()

    def _show_params(self) -> None:
        former, self.params = self.params, None
        if former is not None:
            self._column.removeWidget(former)
            former.hide()
            former.deleteLater()
        spec = registry().get(self.key)
        self.about.setText(spec.summary)
        self.about.setToolTip(f"After: {spec.reference}")
        self.params = ParamForm(spec.params, shown=important(spec.params))
        self.params.changed.connect(self.changed)
        self._column.insertWidget(self._at, self.params)
        self.problem.show_text("")
        self.show_name()
        self.changed.emit()

    @property
    def key(self) -> str:
        """``task/name`` of the method or preset that is chosen."""
        return str(self.preset.currentData() or self.method.currentData())

    def choose(self, key: str) -> None:
        """Choose a method or preset by its ``task/name``."""
        found = registry().preset(key)
        self.method.setCurrentIndex(self.method.findData(found.method if found else key))
        self.preset.setCurrentIndex(max(self.preset.findData(key), 0))

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

    # -- the step ----------------------------------------------------------------------------

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

    def step(self, **changes: Any) -> Step:
        """Return the step that the form describes.

        Parameters
        ----------
        **changes
            Parameters in place of those in the form.

        Raises
        ------
        UserError
            If a parameter is not valid, or something that is read is missing.
        """
        missing = self.refs.missing()
        if missing:
            raise UserError(
                f"There is nothing to choose for {', '.join(missing)}.",
                "Run the step that makes it first, or choose another section.",
            )
        assert self.params is not None
        params = {**self.params.value().model_dump(mode="json"), **changes}
        return Step(method=self.key, inputs=self.refs.values(), params=params, key=self.result_key)

    def start(self) -> None:
        """Run the step in the background."""
        self.problem.show_text("")
        try:
            step = self.step()
            self._bench.start(step, then=lambda: self.done.emit(step.result_key))
        except Exception as error:
            self.problem.show_text(told(error, self.method.currentText()))

    def show_name(self) -> None:
        """Say under which name the result will be kept, and what that replaces."""
        self.name.setPlaceholderText(self.key_for(self.key))
        name = self.result_key
        taken = any(run.key == name for run in self._bench.session.results())
        self.note.setText(f"Replaces the result {name!r}." if taken else "")
        self.note.setVisible(taken)

    def _on_refs(self) -> None:
        self.refresh()
        self.changed.emit()


def important(params: type[Any]) -> list[str]:
    """Names of the fields that are not folded away: the first few that are not advanced."""
    fields = params.model_fields
    plain = [n for n, f in fields.items() if not (f.json_schema_extra or {}).get("advanced")]
    return plain[:_SHOWN]


def told(error: BaseException, title: str) -> str:
    """What went wrong in words; with the traceback where it is a fault in the program."""
    text = describe_failure(error, title)
    return text if isinstance(error, UserError) else f"{text}\n{traceback.format_exc()}"


def _of_task(task: str) -> Callable[[str], bool]:
    start, edit = f"{task}/", "domains/edit"
    return lambda kind: kind.startswith(start) and not kind.startswith(edit)


def _form() -> QFormLayout:
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setVerticalSpacing(4)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
    return form
