"""What an alignment is to do: sections, features, what holds them together, choices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import SpotPair
from napari_stomics.core.plans import TransportPlan
from napari_stomics.core.registry import registry
from napari_stomics.data.collect import COLLECTORS
from napari_stomics.docks.name_combo import NameCombo
from napari_stomics.docks.param_form import ParamForm
from napari_stomics.docks.refs_form import RefsForm
from napari_stomics.docks.workbench import Workbench
from napari_stomics.workflow.steps import Step

VISIBLE = ("prior", "marginals", "bend")
"""The three choices that are not folded away."""

_TASK = "alignment"
_GROUPS = {
    "": ("source", "target"),
    "Features": ("modality", "target_modality", "embedding", "histology"),
    "What holds them together": ("landmarks", "constraints"),
}
_OWN = "(our defaults)"


class AlignmentForm(QWidget):
    """Builds the step of an alignment.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    changed = Signal()
    """Something was chosen."""

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._session = bench.session
        self.params: ParamForm | None = None
        self.refs = RefsForm(COLLECTORS[SpotPair].refs, self._session, groups=_GROUPS)
        self.preset, self.method = NameCombo(), NameCombo()
        self._titles = QFormLayout()
        self._titles.setContentsMargins(0, 0, 0, 0)
        self._titles.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._titles.addRow("Solver", self.method)
        self._titles.addRow("Published system", self.preset)
        self._about = QLabel()
        self._about.setWordWrap(True)
        self._about.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(6)
        self._column.addWidget(self.refs)
        self._column.addLayout(self._titles)
        self._column.addWidget(self._about)
        self._fill_methods()
        self.refs.changed.connect(self.changed)
        self.method.currentIndexChanged.connect(self._on_method)
        self.preset.currentIndexChanged.connect(self._show_params)
        self._on_method()

    # -- choices -----------------------------------------------------------------------------

    def _fill_methods(self) -> None:
        for key in _keys():
            if registry().preset(key) is None:
                self.method.addItem(registry().get(key).title, key)

    def _on_method(self) -> None:
        """Offer the published systems that the chosen solver can be."""
        self.preset.blockSignals(True)
        self.preset.clear()
        self.preset.addItem(_OWN, "")
        for key in _keys():
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
        self._about.setText(spec.summary)
        self._about.setToolTip(f"After: {spec.reference}")
        fields = set(spec.params.model_fields)
        shown = [name for name in VISIBLE if name in fields]
        self.params = ParamForm(spec.params, shown=shown or None)
        self.params.changed.connect(self.changed)
        self._column.addWidget(self.params)
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

    def choose_pair(self, source: str, target: str) -> None:
        """Choose the sections."""
        self.refs.set_value("source", source)
        self.refs.set_value("target", target)

    def refresh(self) -> None:
        """Offer what the study holds now."""
        self.refs.refresh()
        self.changed.emit()

    # -- what is asked for -------------------------------------------------------------------

    @property
    def pair(self) -> tuple[str, str]:
        """The moving and the fixed section; empty where there is none."""
        chosen = self.refs.values()
        return str(chosen.get("source", "")), str(chosen.get("target", ""))

    @property
    def ready(self) -> bool:
        """Whether two different sections are chosen."""
        source, target = self.pair
        return bool(source and target and source != target)

    @property
    def spots(self) -> tuple[int, int]:
        """Numbers of spots of the two sections; (0, 0) without them."""
        study = self._session.study
        if not self.ready or not set(self.pair) <= set(study.record.sections):
            return 0, 0
        return len(study.section(self.pair[0]).ids), len(study.section(self.pair[1]).ids)

    def step(self, start: str | None = None, **changes: Any) -> Step:
        """Return the step that the form describes.

        Parameters
        ----------
        start
            A stored plan to go on from.
        **changes
            Parameters in place of those in the form.

        Raises
        ------
        UserError
            If a parameter is not valid, or something that is read is missing.
        """
        if not self.ready:
            raise UserError("Two different sections are needed.", "Choose them above.")
        missing = self.refs.missing()
        if missing:
            raise UserError(
                f"There is nothing to choose for {', '.join(missing)}.",
                "Open a section that has it.",
            )
        assert self.params is not None
        params = {**self.params.value().model_dump(mode="json"), **changes}
        inputs = {**self.refs.values(), **self._by_value()}
        if start is not None:
            inputs["start"] = start
        return Step(method=self.key, inputs=inputs, params=params, key=self.result_key)

    def _by_value(self) -> dict[str, Any]:
        """Landmarks and constraints as they are now, so that a recipe replays to the same."""
        record = self._session.study.record
        pair = set(self.pair)
        return {
            "landmarks": [m.model_dump() for m in record.landmarks if pair <= set(m.positions)],
            "constraints": [c.model_dump() for c in record.constraints if pair <= set(c.regions)],
        }

    @property
    def result_key(self) -> str:
        """The method's name, with those of the sections where another pair has that result."""
        plain = Step(method=self.key).result_key
        for run in self._session.results():
            inputs = run.step["inputs"]
            if run.key == plain and (inputs.get("source"), inputs.get("target")) != self.pair:
                return f"{plain}_{'_'.join(self.pair)}"
        return plain


def _keys() -> Iterable[str]:
    """Methods and presets that couple the spots of two sections; broken ones are left out."""
    for key in registry().keys(_TASK):
        try:
            spec = registry().get(key)
        except UserError:
            continue  # the dock of methods says why
        if spec.inputs is SpotPair and spec.result is TransportPlan:
            yield key
