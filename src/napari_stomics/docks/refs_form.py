"""The form of a step's references: which sections, tables and columns it reads."""

from __future__ import annotations

import types
from typing import Any, Union, get_args, get_origin

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QListWidget,
    QListWidgetItem,
    QWidget,
)

from napari_stomics.core.params import Params
from napari_stomics.session.choices import choices, suggested
from napari_stomics.session.session import Session

_NONE = "(none)"


class RefsForm(QWidget):
    """Choosers for the references of one method, filled from the study.

    Parameters
    ----------
    model
        The reference model (see :mod:`napari_stomics.data.collect`).
    session
        The viewer's session.
    """

    changed = Signal()

    def __init__(self, model: type[Params], session: Session, parent: QWidget | None = None):
        super().__init__(parent)
        self._model = model
        self._session = session
        self._choosers: dict[str, QWidget] = {}
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for name, field in model.model_fields.items():
            chooser = self._chooser(self._role(name), field.default)
            if chooser is not None:
                chooser.setToolTip(field.description or "")
                chooser.setObjectName(name)
                self._choosers[name] = chooser
                layout.addRow(field.title or name, chooser)
        self.refresh()

    def refresh(self) -> None:
        """Fill the choosers anew, keeping what is chosen where it still exists."""
        position = 0
        for name, chooser in self._choosers.items():
            role = self._role(name)
            options = choices(self._session.study, role, self.values())
            if isinstance(chooser, QComboBox):
                optional = self._is_optional(name)
                first = suggested(self._session.study, role, position)
                self._fill_combo(chooser, options, optional, first)
            elif isinstance(chooser, QListWidget):
                self._fill_list(chooser, options, role)
            position += role == "section"

    def values(self) -> dict[str, Any]:
        """What is chosen, as a step's ``inputs``."""
        out: dict[str, Any] = {}
        for name, chooser in self._choosers.items():
            if isinstance(chooser, QCheckBox):
                out[name] = chooser.isChecked()
            elif isinstance(chooser, QListWidget):
                items = [chooser.item(i) for i in range(chooser.count())]
                out[name] = [
                    i.text() for i in items if i and i.checkState() == Qt.CheckState.Checked
                ]
            elif isinstance(chooser, QComboBox):
                text = chooser.currentText()
                out[name] = None if text in ("", _NONE) else text
        return {k: v for k, v in out.items() if v is not None}

    def set_value(self, name: str, value: str) -> None:
        """Choose ``value`` in the combo box of a reference, if it is offered."""
        chooser = self._choosers.get(name)
        if isinstance(chooser, QComboBox) and chooser.findText(value) >= 0:
            chooser.setCurrentText(value)

    def _role(self, name: str) -> str:
        extra: Any = self._model.model_fields[name].json_schema_extra or {}
        return str(extra.get("role", ""))

    def _is_optional(self, name: str) -> bool:
        annotation = self._model.model_fields[name].annotation
        return get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(
            annotation
        )

    def _chooser(self, role: str, default: Any) -> QWidget | None:
        if role == "landmarks":
            return None
        if role == "flag":
            box = QCheckBox(self)
            box.setChecked(bool(default))
            box.toggled.connect(self.changed)
            return box
        if role.partition(":")[0] in ("sections", "modalities"):
            return _CheckList(self._on_changed, self)
        combo = QComboBox(self)
        combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        combo.setMinimumContentsLength(10)
        combo.currentTextChanged.connect(self._on_changed)
        return combo

    def _on_changed(self, *_: Any) -> None:
        self.blockSignals(True)
        self.refresh()
        self.blockSignals(False)
        self.changed.emit()

    def _fill_combo(
        self, combo: QComboBox, options: list[str], optional: bool, first: str | None
    ) -> None:
        before = combo.currentText()
        wanted = ([_NONE] if optional else []) + options
        if [combo.itemText(i) for i in range(combo.count())] == wanted:
            return
        combo.blockSignals(True)
        combo.clear()
        combo.addItems(wanted)
        if before in wanted and before != _NONE:
            combo.setCurrentText(before)
        elif first in wanted:
            combo.setCurrentText(str(first))
        elif optional and self._role(combo.objectName()).startswith("column") and options:
            combo.setCurrentText(options[0])
        combo.blockSignals(False)

    def _fill_list(self, chooser: QListWidget, options: list[str], role: str) -> None:
        items = [chooser.item(i) for i in range(chooser.count())]
        if [item.text() for item in items if item] == options:
            return
        chooser.blockSignals(True)
        chooser.clear()
        for i, name in enumerate(options):
            item = QListWidgetItem(name, chooser)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Checked if i == 0 else Qt.CheckState.Unchecked)
        chooser.blockSignals(False)


class _CheckList(QListWidget):
    """A short list of names to tick."""

    def __init__(self, on_changed: Any, parent: QWidget) -> None:
        super().__init__(parent)
        self.setMaximumHeight(76)
        self.itemChanged.connect(on_changed)
