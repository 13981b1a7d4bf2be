"""A spin box whose text is the number: nothing is rounded to a fixed count of decimals."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractSpinBox, QWidget

MAX_EXPONENT = 400
_FIRST_LOG_STEP = Decimal("1e-6")
_WHOLE = re.compile(r"[+-]?\d+")


@dataclass(frozen=True)
class Bounds:
    """Limits of a number; None where there is none. ``gt`` and ``lt`` exclude the limit."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def clamp(self, new: Decimal, old: Decimal) -> Decimal:
        """Bring a stepped number back into the limits; at an excluded limit it stays put."""
        if self.ge is not None:
            new = max(new, _decimal(self.ge))
        if self.le is not None:
            new = min(new, _decimal(self.le))
        if (self.gt is not None and new <= _decimal(self.gt)) or (
            self.lt is not None and new >= _decimal(self.lt)
        ):
            return old
        return new


def number_text(value: float) -> str:
    """Return the shortest text that reads back as the very same number."""
    if isinstance(value, int):
        return str(value)
    return repr(float(value)).removesuffix(".0")


def parse_float(text: str) -> float:
    """Read a number.

    Raises
    ------
    ValueError
        If the text is no number, or one that a float cannot hold.
    """
    text = _tidy(text)
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"“{text}” is not a number.") from None
    if math.isinf(value) and "inf" not in text.lower():
        raise ValueError(f"{text} is too large.")
    if value == 0 and re.search(r"[1-9]", re.split("[eE]", text)[0]):
        raise ValueError(f"{text} is too close to zero.")
    return value


def parse_int(text: str) -> int:
    """Read a whole number; ``1e6`` and ``100.0`` are whole too.

    Raises
    ------
    ValueError
        If the text is no whole number.
    """
    text = _tidy(text)
    if _WHOLE.fullmatch(text):
        return int(text)
    try:
        value = Decimal(text)
    except ArithmeticError:
        raise ValueError(f"“{text}” is not a whole number.") from None
    if not value.is_finite() or abs(value.adjusted()) > MAX_EXPONENT or value != int(value):
        raise ValueError(f"{text} is not a whole number.")
    return int(value)


def _tidy(text: str) -> str:
    text = text.strip().replace("\N{MINUS SIGN}", "-")
    if not text:
        raise ValueError("Enter a number.")
    if "," in text:
        raise ValueError("Write the decimal point as a point, and thousands without a mark.")
    return text


def _decimal(value: float) -> Decimal:
    return Decimal(number_text(value))


def stepped(
    value: Decimal, steps: int, *, step: Decimal | None, log: bool, whole: bool, bounds: Bounds
) -> Decimal:
    """Return the number some steps up or down.

    Parameters
    ----------
    value
        Where to start.
    steps
        How many steps, negative downwards.
    step
        Size of a step; None takes a tenth of the number's power of ten (1 if whole).
    log
        Step along 1, 2, 5, 10, 20 ... instead.
    whole
        Whether only whole numbers count.
    bounds
        Limits.
    """
    for _ in range(abs(steps)):
        up = steps > 0
        if log:
            new = _next_on_scale(value, up)
        else:
            new = value + (1 if up else -1) * (step or _natural_step(value, whole))
        if whole and new != int(new):
            new = Decimal(math.ceil(new) if up else math.floor(new))
        value = bounds.clamp(new, value)
    return value


def _natural_step(value: Decimal, whole: bool) -> Decimal:
    if whole:
        return Decimal(1)
    return Decimal(1).scaleb(value.adjusted() - 1) if value else Decimal("0.1")


def _next_on_scale(value: Decimal, up: bool) -> Decimal:
    if value == 0:
        return _FIRST_LOG_STEP if up else -_FIRST_LOG_STEP
    if value < 0:
        return -_next_on_scale(-value, not up)
    exponent = value.adjusted()
    mantissa = value.scaleb(-exponent)
    if up:
        return next(Decimal(m) for m in (2, 5, 10) if m > mantissa).scaleb(exponent)
    lower = next((Decimal(m) for m in (5, 2, 1) if m < mantissa), None)
    return Decimal(5).scaleb(exponent - 1) if lower is None else lower.scaleb(exponent)


class NumberBox(QAbstractSpinBox):
    """Spin box for floats and ints of any size; the text is the truth.

    Parameters
    ----------
    whole
        Whether it holds whole numbers.
    step, log, bounds
        See :func:`stepped`.
    parent
        Qt parent.
    """

    edited = Signal()

    def __init__(
        self,
        *,
        whole: bool,
        step: float | None = None,
        log: bool = False,
        bounds: Bounds | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._whole = whole
        self._step = None if step is None else _decimal(step)
        self._log = log
        self._bounds = bounds or Bounds()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMinimumWidth(70)
        self.lineEdit().textChanged.connect(self.edited)

    def number(self) -> float:
        """Return the number; `ValueError` in the user's words if the text is none."""
        text = self.lineEdit().text()
        return parse_int(text) if self._whole else parse_float(text)

    def set_number(self, value: float) -> None:
        """Show a number in full."""
        self.lineEdit().setText(number_text(value))
        self.lineEdit().setCursorPosition(0)

    def stepBy(self, steps: int) -> None:
        """Step; an unreadable text stays as it is."""
        try:
            value = self.number()
        except ValueError:
            return
        if not math.isfinite(value):
            return
        new = stepped(
            _decimal(value),
            steps,
            step=self._step,
            log=self._log,
            whole=self._whole,
            bounds=self._bounds,
        )
        number = int(new) if self._whole else float(new)
        if math.isfinite(number):
            self.set_number(number)
            self.lineEdit().selectAll()

    def stepEnabled(self) -> QAbstractSpinBox.StepEnabledFlag:
        """Both ways: the limits are kept by the step itself."""
        flag = QAbstractSpinBox.StepEnabledFlag
        return flag.StepUpEnabled | flag.StepDownEnabled

    def wheelEvent(self, event: Any) -> None:
        """Turn only with the focus: scrolling past a form must not change it."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()
