"""Stored domains: their figures, their layers one click away, and how their number was chosen."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_stomics.docks.domain_choice import DomainChoice
from napari_stomics.docks.domain_curve import DomainCurveView
from napari_stomics.docks.layout import button, in_row, wrapped_label
from napari_stomics.docks.workbench import Workbench, told_to_user

PARTS = ("domains", "entropy", "stability")
_TITLES = {"ari": "ARI", "nmi": "NMI", "rerun_ari": "ARI between reruns"}


class DomainPanel(QWidget):
    """What the chosen domains are worth, and what of them is on the canvas.

    Parameters
    ----------
    bench
        The viewer's workbench.
    choice
        Which domains.
    """

    def __init__(self, bench: Workbench, choice: DomainChoice) -> None:
        super().__init__()
        self._bench, self._choice = bench, choice
        self.told = wrapped_label()
        self.curve = DomainCurveView()
        self.buttons = {
            "domains": button("Domains", self._on_domains, "Show the domains."),
            "entropy": button(
                "Entropy", self._on_entropy, "How undecided each spot is: 0 sure, 1 not at all."
            ),
            "stability": button(
                "Stability", self._on_stability, "Share of reruns that agree with each spot."
            ),
        }
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for widget in (choice, self.told, in_row(*self.buttons.values()), self.curve):
            column.addWidget(widget)
        self.refresh()

    def refresh(self) -> None:
        """Show the chosen domains as they are now."""
        found = self._choice.result
        for each in self.buttons.values():
            each.setEnabled(found is not None)
        self.curve.show_curve(None if found is None else found.curve)
        self.told.setText("No domains yet." if found is None else figures(found))

    def show_part(self, part: str) -> None:
        """Show the domains, their entropy or their stability, and hide the other two."""
        from napari_stomics.layers.domains import show_part

        with told_to_user("Show layer"):
            show_part(self._bench.viewer, self._choice.key, part, PARTS)

    def _on_domains(self) -> None:
        self.show_part("domains")

    def _on_entropy(self) -> None:
        self.show_part("entropy")

    def _on_stability(self) -> None:
        self.show_part("stability")


def figures(found: Any) -> str:
    """Domains in a line: how many, on what, how sure, how near to the annotation."""
    summary = found.summary()
    sections = ", ".join(found.sections)
    parts = [f"{len(found.names)} domains on {len(found.ids):,} spots of {sections}"]
    parts += [
        f"median {name} {summary[f'median_{name}']:.2f}"
        for name in ("entropy", "stability")
        if math.isfinite(summary[f"median_{name}"])
    ]
    parts += [
        f"{title} {summary[name]:.3f}"
        for name, title in _TITLES.items()
        if math.isfinite(summary[name])
    ]
    mark = "" if found.converged else "⚠ Not converged. "
    return f"{mark}{'; '.join(parts)}."
