"""The form of a step's references: which sections, tables and columns it reads."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Any, Union, get_args, get_origin

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QWidget,
)

from napari_stomics.core.params import Params
from napari_stomics.docks.name_combo import NameCombo
from napari_stomics.docks.section_tree import show_empty_ticks
from napari_stomics.session.choices import choices, sections_of_plan, suggested
from napari_stomics.session.session import Session

_NONE = "(none)"
_ROWS = 6
_NONE_AT_FIRST = ("numbers", "columns", "cell_modalities", "embeddings", "others")
_SEVERAL = ("sections", "modalities", *_NONE_AT_FIRST)
_TOLD = ("landmarks", "constraints", "region")
"""Roles of what is not chosen here but placed or painted elsewhere: its number is told."""


class RefsForm(QWidget):
    """Choosers for the references of one method, filled from the study.

    Parameters
    ----------
    model
        The reference model (see :mod:`napari_stomics.data.collect`).
    session
        The viewer's session.
    parent
        Qt parent.
    groups
        Fields to show, by heading; the others keep their defaults. By default all, without one.
    """

    changed = Signal()

    def __init__(
        self,
        model: type[Params],
        session: Session,
        parent: QWidget | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
    ):
        super().__init__(parent)
        self._model = model
        self._session = session
        self._choosers: dict[str, QWidget] = {}
        self._filling = False
        self._left_out = ""
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setVerticalSpacing(4)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        for heading, names in (groups or {"": tuple(model.model_fields)}).items():
            if heading:
                layout.addRow(_heading(heading))
            for name in names:
                field = model.model_fields[name]
                chooser = self._chooser(self._role(name), field.default)
                chooser.setToolTip(field.description or "")
                chooser.setObjectName(name)
                self._choosers[name] = chooser
                layout.addRow((field.title or name).replace("&", "&&"), chooser)
        self.refresh()

    def refresh(self) -> None:
        """Fill the choosers anew, keeping what is chosen where it still exists."""
        self._filling = True
        try:
            position = 0
            for name, chooser in self._choosers.items():
                role = self._role(name)
                self._fill(chooser, name, role, position)
                position += role == "section"
        finally:
            self._filling = False

    def values(self) -> dict[str, Any]:
        """What is chosen, as a step's ``inputs``."""
        out: dict[str, Any] = {}
        for name, chooser in self._choosers.items():
            if isinstance(chooser, QCheckBox):
                out[name] = chooser.isChecked()
            elif isinstance(chooser, TickList):
                out[name] = chooser.ticked()
            elif isinstance(chooser, QLineEdit):
                out[name] = [part.strip() for part in chooser.text().split(",") if part.strip()]
            elif isinstance(chooser, NameCombo):
                text = chooser.currentText()
                out[name] = None if text in ("", _NONE) else text
        return {k: v for k, v in out.items() if v is not None}

    def set_value(self, name: str, value: Any) -> None:
        """Choose a value of a reference, as far as it is offered; None stands for nothing."""
        chooser = self._choosers.get(name)
        value = _NONE if value is None else value
        if isinstance(chooser, NameCombo) and value in chooser.names():
            chooser.setCurrentText(value)
        elif isinstance(chooser, QLineEdit):
            chooser.setText(", ".join(value))
        elif isinstance(chooser, TickList):
            chooser.tick(value)
            self._on_changed()
        elif isinstance(chooser, QCheckBox):
            chooser.setChecked(bool(value))

    def missing(self) -> list[str]:
        """Titles of the references that must be chosen and have nothing to choose from."""
        out = []
        for name, chooser in self._choosers.items():
            if isinstance(chooser, NameCombo) and not chooser.currentText():
                out.append(self._model.model_fields[name].title or name)
        return out

    # -- the choosers ------------------------------------------------------------------------

    def _role(self, name: str) -> str:
        extra: Any = self._model.model_fields[name].json_schema_extra or {}
        return str(extra.get("role", ""))

    def _is_optional(self, name: str) -> bool:
        annotation = self._model.model_fields[name].annotation
        return get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(
            annotation
        )

    def _chooser(self, role: str, default: Any) -> QWidget:
        if role in _TOLD:
            return QLabel()
        if role == "flag":
            box = QCheckBox()
            box.setChecked(bool(default))
            box.toggled.connect(self._on_changed)
            return box
        if role in ("names", "left_out"):
            line = QLineEdit()
            line.setPlaceholderText("names, by comma")
            line.textChanged.connect(self._on_changed)
            return line
        if role.partition(":")[0] in _SEVERAL:
            ticks = TickList()
            ticks.itemChanged.connect(self._on_changed)
            return ticks
        combo = NameCombo()
        combo.currentTextChanged.connect(self._on_changed)
        return combo

    def _fill(self, chooser: QWidget, name: str, role: str, position: int) -> None:
        study = self._session.study
        if isinstance(chooser, QLabel):
            told = {
                "landmarks": self._landmarks_text,
                "region": lambda: "drawn in the dock Morphology and expression",
            }.get(role, self._constraints_text)
            chooser.setText(told())
        elif role == "left_out" and isinstance(chooser, QLineEdit):
            self._follow_left_out(chooser)
        elif role == "choice" and isinstance(chooser, NameCombo):
            field = self._model.model_fields[name]
            chooser.set_names([str(v) for v in get_args(field.annotation)], field.default)
        elif isinstance(chooser, TickList):
            options = choices(study, role, self.values())
            chooser.set_names(options, self._first_ticks(role, options))
        elif isinstance(chooser, NameCombo):
            options = choices(study, role, self.values())
            optional = self._is_optional(name)
            if chooser.names() == [_NONE]:
                chooser.clear()  # nothing was offered, so nothing was chosen
            first = self._first(name, role, options, position)
            chooser.set_names(([_NONE] if optional else []) + options, first)

    def _first(self, name: str, role: str, options: list[str], position: int) -> str | None:
        """A sensible choice where nothing was chosen so far."""
        if role == "section":
            plan = self.values().get("plan")
            if plan is not None and name in ("source", "target"):
                return sections_of_plan(self._session.study, plan)[name == "target"]
            if self._sections() == 1:
                return self._newest_section(options)
            return suggested(self._session.study, role, position)
        default = self._model.model_fields[name].default
        if isinstance(default, str) and default in options:
            return default
        if role.startswith("column") and self._is_optional(name) and self._labels():
            return self.other_than_labels()
        annotation = role.startswith(("column", "cell_column"))
        return options[0] if options and (annotation or not self._is_optional(name)) else None

    def other_than_labels(self) -> str | None:
        """The section's annotation to compare labels with; None where it is they, or is none."""
        chosen = self.values()
        record = self._session.study.record.sections.get(str(chosen.get("section")))
        labels = [chosen.get(name) for name in self._labels()]
        return None if record is None or record.annotation in labels else record.annotation

    def _labels(self) -> list[str]:
        """References to labels of the spots, which may be a column of annotation too."""
        return [name for name in self._choosers if self._role(name).startswith("domains:")]

    def _sections(self) -> int:
        """How many references stand for sections; one of several sections is usually held out."""
        roles = [self._role(name) for name in self._choosers]
        return sum(role in ("section", "sections") for role in roles)

    def _newest_section(self, options: list[str]) -> str | None:
        """The section of the newest result, where a step goes on from one; else the first."""
        if any(self._role(name).startswith("embedding:") for name in self._choosers):
            for run in reversed(self._session.results()):
                section = run.step["inputs"].get("section")
                if run.kind == "embedding" and section in options:
                    return str(section)
        return options[0] if options else None

    def _first_ticks(self, role: str, options: list[str]) -> list[str]:
        """All modalities; of sections all but the one that is to be predicted."""
        if role.partition(":")[0] == "modalities":
            return options
        if role.partition(":")[0] in _NONE_AT_FIRST:
            return []
        held_out = suggested(self._session.study, "section", 0)
        return [name for name in options if name != held_out] or options[:1]

    def _follow_left_out(self, line: QLineEdit) -> None:
        """Show what is left out in the session, unless something else was written here."""
        text = self._session.left_out.text
        if line.text() == self._left_out:
            line.setText(text)
        self._left_out = text

    def _landmarks_text(self) -> str:
        chosen = self.values()
        pair = [chosen.get("source", ""), chosen.get("target", "")]
        marks = self._session.landmarks.landmarks
        count = sum(all(name in mark.positions for name in pair) for mark in marks)
        return f"{count} pairs placed" if count else "none placed yet (Landmark registration)"

    def _constraints_text(self) -> str:
        chosen = self.values()
        pair = [chosen.get("source", ""), chosen.get("target", "")]
        rules = self._session.study.record.constraints
        here = [rule.kind for rule in rules if all(name in rule.regions for name in pair)]
        told = [(here.count("match"), "match"), (here.count("forbid"), "forbidden")]
        return ", ".join(f"{count} {word}" for count, word in told if count) or "none painted yet"

    def _on_changed(self, *_: Any) -> None:
        if self._filling:
            return
        sender = self.sender()
        if sender is self._choosers.get("plan"):
            self._follow_plan()
        self.refresh()
        self.changed.emit()

    def _follow_plan(self) -> None:
        """A plan belongs to two sections: choose them with it."""
        plan = self.values().get("plan")
        if plan is None:
            return
        pair = sections_of_plan(self._session.study, plan)
        for name, section in zip(("source", "target"), pair, strict=True):
            chooser = self._choosers.get(name)
            if isinstance(chooser, NameCombo) and section in chooser.names():
                chooser.blockSignals(True)
                chooser.setCurrentText(section)
                chooser.blockSignals(False)


def _heading(text: str) -> QLabel:
    label = QLabel(text)
    font = label.font()
    font.setBold(True)
    label.setFont(font)
    return label


class TickList(QListWidget):
    """A short list of names to tick."""

    def __init__(self) -> None:
        super().__init__()
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        show_empty_ticks(self)
        self.set_names([], [])

    def names(self) -> list[str]:
        """The names that are offered."""
        return [self.item(i).text() for i in range(self.count())]

    def ticked(self) -> list[str]:
        """The names that are ticked, in their order."""
        items = [self.item(i) for i in range(self.count())]
        return [i.text() for i in items if i.checkState() == Qt.CheckState.Checked]

    def tick(self, names: list[str]) -> None:
        """Tick these names and no others, without a signal."""
        self.blockSignals(True)
        for i in range(self.count()):
            on = self.item(i).text() in names
            self.item(i).setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)
        self.blockSignals(False)

    def set_names(self, names: list[str], first: list[str]) -> None:
        """Offer other names, without a signal; ticks stay where their names still exist."""
        before, ticked = self.names(), self.ticked()
        if names == before and names:
            return
        keep = [name for name in names if name in ticked]
        self.blockSignals(True)
        self.clear()
        for name in names:
            item = QListWidgetItem(name, self)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Unchecked)
        self.blockSignals(False)
        self.tick(keep or first)
        row = max(self.sizeHintForRow(0), self.fontMetrics().lineSpacing() + 2)
        rows = min(max(self.count(), 1), _ROWS)
        self.setFixedHeight(rows * row + 2 * self.frameWidth() + 4)
