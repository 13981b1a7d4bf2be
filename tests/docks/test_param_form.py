"""The form gives every value back unchanged, and says in words what is wrong."""

from __future__ import annotations

import enum
import math
from decimal import Decimal
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationInfo, field_validator, model_validator
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication, QLabel, QWidget

from napari_stomics.core.errors import UserError
from napari_stomics.core.params import Params, param
from napari_stomics.core.registry import registry
from napari_stomics.docks.number_box import (
    Bounds,
    NumberBox,
    number_text,
    parse_float,
    parse_int,
    stepped,
)
from napari_stomics.docks.param_editors import OptionalEditor, join_items, split_items
from napari_stomics.docks.param_form import ParamForm

pytestmark = pytest.mark.gui


class Solver(enum.Enum):
    EXACT = "exact"
    ENTROPIC = "entropic"


class Inner(Params):
    rank: int = param(10, "Rank", "Rank of the factors.", ge=1)
    ratio: float = param(0.1, "Ratio", "A ratio.")


class Example(Params):
    epsilon: float = param(1e-3, "Entropic regularisation", "Smaller is sharper.", log=True, gt=0)
    tiny: float = param(1e-12, "Tolerance", "When to stop.", log=True, advanced=True)
    signed: float = param(-0.5, "Offset", "Any number.", unit="um")
    large: int = param(2**70, "Large", "Beyond 32 bits.")
    count: int = param(7, "Domains", "How many.", ge=1, le=100)
    mirror: bool = param(True, "Mirrored", "Whether it lies face down.")
    driver: Literal["points", "image"] = param("image", "Driver", "What drives it.")
    level: Literal[1, 2, 4] = param(2, "Level", "Pyramid level.")
    solver: Solver = param(Solver.ENTROPIC, "Solver", "Which solver.")
    name: str = param("a, b  c", "Name", "Any text.")
    diameter: float | None = param(None, "Spot diameter", "None: as measured.", unit="um", gt=0)
    label: str | None = param(None, "Label", "None: no label.")
    shape: Literal["hex", "square"] | None = param("hex", "Shape", "None: guessed.")
    genes: tuple[str, ...] = param(("Penk", "odd, name", ""), "Genes", "Names.")
    radii: list[float] = param([1e-3, 2.5], "Radii", "Radii.", unit="um")
    pair: tuple[float, int] = param((0.25, 3), "Pair", "A float and an int.")
    weights: dict[str, float] = param({"rna": 1.0}, "Weights", "Per modality.")
    seed: int | None = param(3, "Seed", "None: random.", advanced=True)
    inner: Inner = Inner(rank=4)
    bounded: Annotated[int, Field(ge=2)] | None = param(None, "Bounded", "At least two.")


@pytest.fixture
def form(qtbot):
    form = ParamForm(Example)
    qtbot.addWidget(form)
    return form


# -- nothing changes on its way through the form ------------------------------------------------


@pytest.mark.parametrize("key", registry().keys())
def test_every_default_of_every_method_survives(qtbot, key):
    model = registry().get(key).params
    form = ParamForm(model)
    qtbot.addWidget(form)
    assert form.errors() == {}
    assert repr(form.value()) == repr(model())


def test_defaults_of_the_example_survive_and_are_shown_in_full(form):
    assert repr(form.value()) == repr(Example())
    shown = {name: form.editor(name).box.lineEdit().text() for name in ("epsilon", "tiny", "large")}
    assert shown == {"epsilon": "0.001", "tiny": "1e-12", "large": str(2**70)}


floats = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=1e-300, allow_infinity=False, allow_nan=False)
integers = st.integers(-(2**200), 2**200)
texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)
examples = st.builds(
    Example,
    epsilon=positive,
    tiny=floats,
    signed=floats | st.sampled_from([math.inf, -math.inf, -0.0, 5e-324, 1e-300, 1.7e308]),
    large=integers,
    count=st.integers(1, 100),
    mirror=st.booleans(),
    driver=st.sampled_from(["points", "image"]),
    level=st.sampled_from([1, 2, 4]),
    solver=st.sampled_from(list(Solver)),
    name=texts,
    diameter=st.none() | positive,
    label=st.none() | texts,
    shape=st.sampled_from(["hex", "square", None]),
    genes=st.lists(texts, max_size=4).map(tuple),
    radii=st.lists(floats, max_size=4),
    pair=st.tuples(floats, integers),
    weights=st.dictionaries(texts, floats, max_size=3),
    seed=st.none() | integers,
    inner=st.builds(Inner, rank=st.integers(1, 10**30), ratio=floats),
    bounded=st.none() | st.integers(2, 10**12),
)


@pytest.fixture(scope="module")
def lasting_form(qapp):
    form = ParamForm(Example)
    yield form
    form.deleteLater()


@settings(max_examples=60, deadline=None)
@given(value=examples)
def test_any_value_survives(lasting_form, value):
    lasting_form.set_value(value)
    assert lasting_form.errors() == {}
    assert repr(lasting_form.value()) == repr(value)


@settings(max_examples=300, deadline=None)
@given(value=floats | integers)
def test_number_text_reads_back_as_the_same_number(value):
    read = parse_int if isinstance(value, int) else parse_float
    assert repr(read(number_text(value))) == repr(value)


@settings(max_examples=300, deadline=None)
@given(items=st.lists(texts, max_size=5))
def test_items_read_back_as_the_same_texts(items):
    assert split_items(join_items(items)) == items


# -- editing ------------------------------------------------------------------------------------


def test_typing_changes_the_value_and_emits_once(qtbot, form):
    box = form.editor("count").box
    box.lineEdit().clear()
    seen = []
    form.changed.connect(lambda: seen.append(form.errors()))
    qtbot.keyClicks(box, "9")
    assert form.value().count == 9
    assert len(seen) == 1


def test_set_value_emits_once(form):
    seen = []
    form.changed.connect(lambda: seen.append(1))
    form.set_value(Example(count=3, name="x", genes=("a",)))
    assert seen == [1]
    form.reset()
    assert repr(form.value()) == repr(Example())


def test_none_is_an_unticked_box_and_never_a_text(form):
    editor = form.editor("label")
    assert isinstance(editor, OptionalEditor)
    assert not editor.tick.isChecked()
    assert not editor.inner.isEnabled()
    assert editor.inner.box.text() == ""
    assert form.value().label is None
    editor.tick.setChecked(True)
    assert form.value().label == ""
    editor.inner.box.setText("None")
    assert form.value().label == "None"
    editor.tick.setChecked(False)
    assert form.value().label is None


def test_a_ticked_number_without_a_number_is_asked_for(form):
    form.editor("diameter").tick.setChecked(True)
    assert form.errors() == {"diameter": "Enter a number."}
    form.editor("diameter").inner.box.lineEdit().setText("55")
    assert form.value().diameter == 55.0


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("epsilon", "0", "Must be greater than 0."),
        ("epsilon", "0,5", "decimal point"),
        ("epsilon", "1e-999", "too close to zero"),
        ("epsilon", "1e999", "too large"),
        ("epsilon", "", "Enter a number."),
        ("epsilon", "abc", "“abc” is not a number."),
        ("epsilon", "nan", "Must be"),
        ("count", "101", "Must be less than or equal to 100."),
        ("count", "2.5", "2.5 is not a whole number."),
        ("count", "1e999999999", "not a whole number"),
        ("genes", '"open', "Close the quotes"),
        ("genes", "a,,b", "missing between two commas"),
        ("pair", "1", "Give 2 values"),
        ("radii", "1, x", "“x” is not a number."),
        ("weights", "{", "JSON"),
    ],
)
def test_wrong_text_is_told_beside_the_field_and_in_the_error(form, name, text, message):
    editor = form.editor(name)
    line = editor.box.lineEdit() if isinstance(editor.box, NumberBox) else editor.box
    line.setText(text)
    assert message in form.errors()[name]
    label = form._messages[name]
    assert not label.isHidden()
    assert message in label.text()
    with pytest.raises(UserError) as caught:
        form.value()
    assert message in caught.value.message
    assert Example.model_fields[name].title in caught.value.message
    form.reset()
    assert label.isHidden()


def test_every_wrong_field_is_told_at_once(form):
    form.editor("count").box.lineEdit().setText("101")
    form.editor("genes").box.setText('"open')
    assert set(form.errors()) == {"count", "genes"}
    with pytest.raises(UserError, match=r"“Domains”.*“Genes”"):
        form.value()


def test_whole_numbers_may_be_written_with_an_exponent(form):
    form.editor("large").box.lineEdit().setText("1e6")
    assert form.value().large == 1_000_000


def test_an_invalid_folded_field_unfolds(form):
    assert form._folded.isHidden()
    form.editor("tiny").box.lineEdit().setText("x")
    assert not form._folded.isHidden()


def test_validators_of_the_model_speak_through_the_form(qtbot):
    class Ordered(Params):
        low: int = param(1, "Low", "Lower.")
        high: int = param(2, "High", "Upper.")

        @field_validator("low")
        @classmethod
        def _even(cls, value: int, info: ValidationInfo) -> int:
            if value == 13:
                raise ValueError("13 is unlucky")
            return value

        @model_validator(mode="after")
        def _order(self):
            if self.low >= self.high:
                raise ValueError("low must lie below high")
            return self

    form = ParamForm(Ordered)
    qtbot.addWidget(form)
    form.editor("low").box.lineEdit().setText("13")
    assert form.errors() == {"low": "13 is unlucky."}
    form.editor("low").box.lineEdit().setText("5")
    assert form.errors() == {"": "low must lie below high."}
    assert not form._messages[""].isHidden()


def test_another_models_values_are_refused(form):
    with pytest.raises(TypeError):
        form.set_value(Inner())


# -- steps --------------------------------------------------------------------------------------


def test_log_steps_go_one_two_five(form):
    box = form.editor("epsilon").box
    seen = []
    for _ in range(4):
        box.stepBy(-1)
        seen.append(form.value().epsilon)
    assert seen == [5e-4, 2e-4, 1e-4, 5e-5]
    box.stepBy(3)
    assert form.value().epsilon == 5e-4


def test_steps_stop_at_the_limits(form):
    box = form.editor("count").box
    box.stepBy(1000)
    assert form.value().count == 100
    box.stepBy(-1000)
    assert form.value().count == 1


def test_linear_steps_do_not_gather_rounding():
    value = Decimal("0.1")
    for _ in range(2):
        value = stepped(value, 1, step=Decimal("0.1"), log=False, whole=False, bounds=Bounds())
    assert float(value) == 0.3


@settings(max_examples=200, deadline=None)
@given(value=positive, up=st.booleans())
def test_a_log_step_moves_on_and_stays_positive(value, up):
    start = Decimal(repr(value))
    new = stepped(start, 1 if up else -1, step=None, log=True, whole=False, bounds=Bounds(gt=0))
    assert (new > start) == up
    assert new > 0
    assert Decimal("0.39") < new / start < Decimal("2.51")


def test_an_excluded_limit_is_not_stepped_on():
    bounds = Bounds(gt=0, lt=1)
    for steps in (-1, 1):
        new = stepped(
            Decimal("0.5"), steps, step=Decimal("0.5"), log=False, whole=False, bounds=bounds
        )
        assert new == Decimal("0.5")


def test_scrolling_past_does_not_turn_a_value(qtbot, form):
    form.show()
    for name in ("count", "driver"):
        box = form.editor(name).box
        before = form.value()
        event = QWheelEvent(
            QPointF(5, 5),
            QPointF(5, 5),
            QPoint(0, 0),
            QPoint(0, 120),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(box, event)
        assert form.value() == before


# -- looks --------------------------------------------------------------------------------------


def test_labels_tooltips_and_units(form):
    labels = [label.text() for label in form.findChildren(QLabel)]
    assert "Entropic regularisation" in labels
    assert "µm" in labels
    assert "Smaller is sharper." in form.editor("epsilon").toolTip()


def test_the_tab_key_goes_down_the_form(qtbot, form):
    names = ["epsilon", "signed", "large", "count"]
    chain = []
    widget: QWidget = form.editor("epsilon").box
    while len(chain) < len(names):
        owner = next((n for n in names if widget is form.editor(n).box), None)
        if owner is not None:
            chain.append(owner)
        widget = widget.nextInFocusChain()
    assert chain == names


def clipped(form: ParamForm, width: int) -> list[str]:
    """Parts of the form that reach beyond its right edge."""
    return [
        type(child).__name__
        for child in form.findChildren(QWidget)
        if child.isVisibleTo(form)
        and child.parentWidget() is not None
        and child.mapTo(form, QPoint(child.width(), 0)).x() > width
        and not child.findChildren(QWidget)
        and child.parentWidget().parentWidget() is not None
    ]


@pytest.mark.parametrize("key", [*registry().keys(), "example"])
def test_nothing_is_clipped_at_320_pixels(qtbot, key):
    model = Example if key == "example" else registry().get(key).params
    form = ParamForm(model)
    qtbot.addWidget(form)
    form._toggle.setChecked(True)
    form.resize(320, 900)
    with qtbot.waitExposed(form):
        form.show()
    assert form.minimumSizeHint().width() <= 320
    assert clipped(form, 320) == []
