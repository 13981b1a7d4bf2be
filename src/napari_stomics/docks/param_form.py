"""A form made from a parameter model."""

from __future__ import annotations

import html
from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QFormLayout,
    QFrame,
    QLabel,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_stomics.core.errors import UserError
from napari_stomics.docks.number_box import Bounds
from napari_stomics.docks.param_editors import Editor, Hints, make_editor

_WHOLE_FORM = ""


class ParamForm(QWidget):
    """Shows and edits the parameters of a method.

    Every value is given back exactly as it was set unless the user changes it.
    A field that is not valid says why below itself.

    Parameters
    ----------
    params
        A parameter model (its defaults are shown), or an instance of one.
    parent
        Qt parent.
    shown
        Names of the fields that are not folded away; by default those that
        the model does not declare as advanced.
    """

    changed = Signal()
    """Emitted after each edit and after `set_value`."""

    def __init__(
        self,
        params: type[BaseModel] | BaseModel,
        parent: QWidget | None = None,
        shown: Collection[str] | None = None,
    ) -> None:
        super().__init__(parent)
        self._shown = shown
        self._model = params if isinstance(params, type) else type(params)
        self._editors: dict[str, Editor] = {}
        self._messages: dict[str, QLabel] = {}
        self._advanced: set[str] = set()
        self._filling = False
        self._build()
        self.set_value(params() if isinstance(params, type) else params)

    @property
    def model(self) -> type[BaseModel]:
        """The parameter model."""
        return self._model

    def editor(self, name: str) -> Editor:
        """Return the editor of one field."""
        return self._editors[name]

    def value(self) -> Any:
        """Return the parameters as an instance of the model.

        Raises
        ------
        UserError
            If a field is not valid; the form says which, and why.
        """
        instance, errors = self._read()
        if instance is None:
            raise UserError(
                " ".join(self._told(name, text) for name, text in errors.items()),
                "Correct the marked fields.",
            )
        return instance

    def set_value(self, params: BaseModel) -> None:
        """Show parameters."""
        if not isinstance(params, self._model):
            raise TypeError(f"the form is of {self._model.__name__}, not {type(params).__name__}")
        self._filling = True
        try:
            for name, editor in self._editors.items():
                editor.set_value(getattr(params, name))
        finally:
            self._filling = False
        self._on_edited()

    def reset(self) -> None:
        """Show the defaults."""
        self.set_value(self._model())

    def errors(self) -> dict[str, str]:
        """Return what is wrong by field name; ``""`` stands for the form as a whole."""
        return self._read()[1]

    def _read(self) -> tuple[BaseModel | None, dict[str, str]]:
        values: dict[str, Any] = {}
        errors: dict[str, str] = {}
        for name, editor in self._editors.items():
            try:
                values[name] = editor.value()
            except ValueError as error:
                errors[name] = str(error)
        instance = None
        try:
            # What could not be read is left at its default, so that the rest is checked too.
            instance = _validated(self._model, values)
        except ValidationError as error:
            for item in error.errors():
                name = str(item["loc"][0]) if item["loc"] else _WHOLE_FORM
                if name or not errors:
                    errors.setdefault(name, _plain_words(item["msg"]))
        ordered = {name: errors[name] for name in [*self._editors, _WHOLE_FORM] if name in errors}
        return (None if errors else instance), ordered

    def _told(self, name: str, text: str) -> str:
        if name == _WHOLE_FORM:
            return text
        return f"“{field_title(name, self._model.model_fields[name])}”: {text}"

    def _on_edited(self) -> None:
        if self._filling:
            return
        errors = self.errors()
        for name, label in self._messages.items():
            text = errors.get(name, "")
            label.setText(f"⚠ {text}" if text else "")
            label.setVisible(bool(text))
        if self._advanced & errors.keys():
            self._toggle.setChecked(True)
        self.changed.emit()

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        main, more = _form_layout(), _form_layout()
        self._folded = QWidget()
        self._folded.setLayout(more)
        self._toggle = _fold_button(self._folded)
        fields = self._model.model_fields
        advanced = {name for name, info in fields.items() if _extra(info).get("advanced")}
        self._advanced = advanced if self._shown is None else set(fields) - set(self._shown)
        if self._shown is not None:
            self._toggle.setText("More parameters")
        # The folded fields come last, so that the Tab key goes down the form.
        for name in sorted(fields, key=lambda name: (name in self._advanced, name in advanced)):
            self._add_field(more if name in self._advanced else main, name, fields[name])
        layout.addLayout(main)
        layout.addWidget(self._toggle)
        layout.addWidget(self._folded)
        self._messages[_WHOLE_FORM] = _message_label()
        layout.addWidget(self._messages[_WHOLE_FORM])
        self._toggle.setVisible(bool(self._advanced))

    def _add_field(self, form: QFormLayout, name: str, info: FieldInfo) -> None:
        title = field_title(name, info)
        editor = _editor_of(info, title)
        tip = _tooltip(name, info)
        label = QLabel(title)
        label.setBuddy(editor)
        for widget in (label, editor):
            widget.setToolTip(tip)
            widget.setWhatsThis(tip)
        message = _message_label()
        cell = QWidget()
        column = QVBoxLayout(cell)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(editor)
        column.addWidget(message)
        form.addRow(label, cell)
        editor.changed.connect(self._on_edited)
        self._editors[name], self._messages[name] = editor, message


class NestedEditor(Editor):
    """A form within a form."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.form = ParamForm(model)
        frame = QFrame()
        frame.setFrameShape(QFrame.Shape.StyledPanel)
        QVBoxLayout(frame).addWidget(self.form)
        super().__init__(frame)
        self.form.changed.connect(self.changed)

    def value(self) -> Any:
        """Return the inner parameters."""
        try:
            return self.form.value()
        except UserError as error:
            raise ValueError(error.message) from None

    def set_value(self, value: BaseModel) -> None:
        """Show the inner parameters."""
        self.form.set_value(value)


def field_title(name: str, info: FieldInfo) -> str:
    """Return the label of a field: its title, or its name made readable."""
    return info.title or name.replace("_", " ").capitalize()


def _validated(model: type[BaseModel], values: dict[str, Any]) -> BaseModel:
    """Validate by field name, whether or not the fields have aliases."""
    fields = model.model_fields
    return model.model_validate({fields[k].alias or k: v for k, v in values.items()})


def _extra(info: FieldInfo) -> dict[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}


def _editor_of(info: FieldInfo, title: str) -> Editor:
    kind = info.annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return NestedEditor(kind)
    extra = _extra(info)
    hints = Hints(
        title=title,
        unit=extra.get("unit") or "",
        step=extra.get("step"),
        log=bool(extra.get("log")),
        bounds=_bounds(info),
    )
    return make_editor(kind, hints)


def _bounds(info: FieldInfo) -> Bounds:
    found: dict[str, Any] = {}
    for item in info.metadata:
        for limit in ("ge", "gt", "le", "lt"):
            if getattr(item, limit, None) is not None:
                found[limit] = getattr(item, limit)
    return Bounds(**found)


def _tooltip(name: str, info: FieldInfo) -> str:
    default = info.get_default(call_default_factory=True) if not info.is_required() else None
    lines = [
        info.description or "",
        f"{name}; default: {'not set' if default is None else default}",
    ]
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines if line)


def _plain_words(message: str) -> str:
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if message.startswith("Input should be"):
        message = f"Must be{message.removeprefix('Input should be')}"
    return message if message.endswith(".") else f"{message}."


def _form_layout() -> QFormLayout:
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return form


def _message_label() -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    label.hide()
    return label


def _fold_button(folded: QWidget) -> QToolButton:
    button = QToolButton()
    button.setText("Advanced")
    button.setCheckable(True)
    button.setAutoRaise(True)
    button.setArrowType(Qt.ArrowType.RightArrow)
    button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    folded.hide()

    def fold(shown: bool) -> None:
        folded.setVisible(shown)
        button.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)

    button.toggled.connect(fold)
    return button
