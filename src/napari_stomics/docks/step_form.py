"""What every form of a step has: what is read, a method or preset of it, its parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_stomics.core.errors import UserError
from napari_stomics.core.registry import registry
from napari_stomics.data.collect import COLLECTORS
from napari_stomics.docks.layout import form_layout, wrapped_label
from napari_stomics.docks.name_combo import NameCombo
from napari_stomics.docks.param_form import ParamForm
from napari_stomics.docks.refs_form import RefsForm
from napari_stomics.docks.workbench import Workbench
from napari_stomics.workflow.steps import Step

_OWN = "(our defaults)"
_SHOWN = 3


class StepForm(QWidget):
    """Describes a step of one task, for the methods that take and return the same kinds.

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
    titles
        What methods and presets are called.
    """

    changed = Signal()
    """Something was chosen."""
    chosen = Signal()
    """Another method or preset was chosen; its parameters are shown."""

    way_out = "Run the step that makes it first, or choose another section."
    """What to do where something that is read is missing."""

    def __init__(
        self,
        bench: Workbench,
        task: str,
        takes: type,
        gives: type,
        groups: Mapping[str, Sequence[str]],
        titles: tuple[str, str] = ("Method", "Preset"),
    ) -> None:
        super().__init__()
        self._bench, self._task, self._takes, self._gives = bench, task, takes, gives
        self.params: ParamForm | None = None
        self.refs = RefsForm(COLLECTORS[takes].refs, bench.session, groups=groups)
        self.preset, self.method = NameCombo(), NameCombo()
        self._titles = form_layout()
        self._titles.addRow(titles[0], self.method)
        self._titles.addRow(titles[1], self.preset)
        self.about = wrapped_label()
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(6)
        self._column.addWidget(self.refs)
        self._column.addLayout(self._titles)
        self._column.addWidget(self.about)
        self._at = self._column.count()
        for key in self._keys():
            if registry().preset(key) is None:
                self.method.addItem(registry().get(key).title, key)
        self.method.currentIndexChanged.connect(self._on_method)
        self.preset.currentIndexChanged.connect(self._show_params)
        self._on_method()

    def _keys(self) -> Iterable[str]:
        """Methods and presets to offer; broken ones are left out, the dock of methods says why."""
        for key in registry().keys(self._task):
            try:
                spec = registry().get(key)
            except Exception:  # a package of somebody else: it may raise anything
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
        self.params = ParamForm(spec.params, shown=self.important(spec.params) or None)
        self.params.changed.connect(self.changed)
        self._column.insertWidget(self._at, self.params)
        self.chosen.emit()
        self.changed.emit()

    def important(self, params: type[Any]) -> list[str]:
        """Names of the fields that are not folded away: the first few that are not advanced."""
        fields = params.model_fields
        plain = [n for n, f in fields.items() if not (f.json_schema_extra or {}).get("advanced")]
        return plain[:_SHOWN]

    @property
    def key(self) -> str:
        """``task/name`` of the method or preset that is chosen."""
        return str(self.preset.currentData() or self.method.currentData())

    def choose(self, key: str) -> None:
        """Choose a method or preset by its ``task/name``."""
        found = registry().preset(key)
        self.method.setCurrentIndex(self.method.findData(found.method if found else key))
        self.preset.setCurrentIndex(max(self.preset.findData(key), 0))

    @property
    def result_key(self) -> str:
        """Name under which the result will be stored."""
        return Step(method=self.key).result_key

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
            raise UserError(f"There is nothing to choose for {', '.join(missing)}.", self.way_out)
        assert self.params is not None
        params = {**self.params.value().model_dump(mode="json"), **changes}
        return Step(method=self.key, inputs=self.refs.values(), params=params, key=self.result_key)
