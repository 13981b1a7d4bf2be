"""The sliders of the live fusion: number of domains, diffusion steps, a weight per modality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_stomics.docks.layout import button, in_column
from napari_stomics.docks.slider_row import SliderRow
from napari_stomics.session.live_fusion import LiveChoice

if TYPE_CHECKING:
    from napari_stomics.session.live_fusion import LiveAnswer

_MOST_STEPS = 20
_MOST_DOMAINS = 25
_FIRST_DOMAINS = 7
_LEAST_SPOTS = 3
"""Spots that a domain needs, as the method has it."""
_AUTOMATIC = " (automatic)"


class FusionSliders(QWidget):
    """Sliders of which those that nobody has moved follow the method's own choice."""

    moved = Signal()
    """The user moved one, or gave the choice back to the method."""

    def __init__(self) -> None:
        super().__init__()
        self._by_hand: set[str] = set()
        self.count = SliderRow("Domains", 2, _MOST_DOMAINS, tip="Number of domains.")
        self.count.set_value(_FIRST_DOMAINS)
        self.steps = SliderRow(
            "Diffusion steps", 0, _MOST_STEPS, tip="How often spots are averaged with neighbours."
        )
        self.weights: dict[str, SliderRow] = {}
        self._weights = in_column()
        self._weights.layout().setContentsMargins(0, 0, 0, 0)
        self.automatic = button(
            "Automatic steps and weights", self._on_automatic, "Let the method choose them again."
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for widget in (self.count, self.steps, self._weights, self.automatic):
            column.addWidget(widget)
        self.count.moved.connect(self._on_moved)
        self.steps.moved.connect(self._on_steps)

    def choice(self) -> LiveChoice:
        """Where the sliders stand; what was not moved by hand is left to the method."""
        shares = {name: row.value / 100 for name, row in self.weights.items()}
        return LiveChoice(
            self.steps.value if "steps" in self._by_hand else None,
            shares if "weights" in self._by_hand else None,
            self.count.value,
        )

    def limit(self, spots: int) -> None:
        """Offer no more domains than so many spots can have."""
        self.count.set_range(2, max(2, min(_MOST_DOMAINS, spots // _LEAST_SPOTS)))

    def reset(self) -> None:
        """Leave steps and weights to the method, without a signal."""
        self._by_hand.clear()

    def offer(self, modalities: Sequence[str]) -> None:
        """Have one slider for each of these modalities; none where there is nothing to weigh."""
        if list(self.weights) == list(modalities):
            return
        layout = self._weights.layout()
        for row in self.weights.values():
            layout.removeWidget(row)
            row.hide()
            row.deleteLater()
        self.weights = {}
        for name in modalities:
            row = SliderRow(
                f"Weight of {name}", 0, 100, tip="Relative to the other modalities' weights."
            )
            row.moved.connect(self._on_weight)
            layout.addWidget(row)
            self.weights[name] = row
        self._weights.setVisible(len(self.weights) > 1)

    def follow(self, answer: LiveAnswer) -> None:
        """Show what the method chose where it was left the choice."""
        if answer.choice.steps is None:
            self.steps.set_value(min(answer.steps, _MOST_STEPS))
            self.steps.show_text(f"{answer.steps}{_AUTOMATIC}")
        own = answer.choice.weights is None
        for name, row in self.weights.items():
            share = answer.weights.get(name, 0.0)
            if own:
                row.set_value(round(100 * share))
            row.show_text(f"{share:.0%}{_AUTOMATIC if own else ''}")

    # -- slots -------------------------------------------------------------------------------

    def _on_steps(self) -> None:
        self._by_hand.add("steps")
        self.moved.emit()

    def _on_weight(self) -> None:
        self._by_hand.add("weights")
        self.moved.emit()

    def _on_automatic(self) -> None:
        self._by_hand.clear()
        self.moved.emit()

    def _on_moved(self) -> None:
        self.moved.emit()
