"""What an alignment is worth, in words and figures, and what to do next."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QSizePolicy, QTextBrowser, QVBoxLayout, QWidget

from napari_stomics.core.plans import TransportPlan
from napari_stomics.docks.layout import button, in_row
from napari_stomics.docks.result_text import is_converged, title, words
from napari_stomics.docks.workbench import Workbench
from napari_stomics.methods.alignment.poses import UNSURE

if TYPE_CHECKING:
    from napari_stomics.data.schema import RunRecord

_FIRST = (
    "converged",
    "margin",
    "overlap",
    "unmatched",
    "objective",
    "marginal_error",
    "iterations",
    "median_entropy",
    "median_largest_match",
    "median_displacement_um",
    "median_landmark_error_um",
    "landmarks_left_out",
    "fold_fraction",
    "solver",
    "marginals",
)


class AnswerPanel(QWidget):
    """Shows the newest plan of two sections.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    continue_wanted = Signal(str)
    """Name of the stored plan to go on from."""
    landmarks_wanted = Signal()
    """Two landmarks are to be placed."""

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._session = bench.session
        self._pair = ("", "")
        self.verdict = QLabel()
        self.verdict.setWordWrap(True)
        self.verdict.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.figures = QTextBrowser()
        self.figures.setMinimumHeight(170)
        self.figures.setAccessibleName("Figures of the alignment")
        self.go_on = button(
            "Continue from here",
            self._on_continue,
            "Solve on from this plan, with the parameters, landmarks and regions as they are now.",
        )
        self.two_clicks = button(
            "Place two landmarks…",
            self.landmarks_wanted.emit,
            "Open the landmark dock: two clicks in each section settle the pose.",
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for widget in (self.verdict, in_row(self.go_on, self.two_clicks), self.figures):
            column.addWidget(widget)

    @property
    def run(self) -> RunRecord | None:
        """The newest run that aligned the two sections and is in the study."""
        for run in reversed(self._session.results()):
            inputs = run.step["inputs"]
            if run.kind == TransportPlan.kind and self._pair == (
                inputs.get("source"),
                inputs.get("target"),
            ):
                return run
        return None

    @property
    def plan_name(self) -> str:
        """Name of the stored plan; empty without one."""
        from napari_stomics.data.plans import plan_name

        return plan_name(*self._pair, self.run.key) if self.run is not None else ""

    def plan(self) -> TransportPlan | None:
        """Read the plan from the study; None without one."""
        run = self.run
        return self._session.load_result(run) if run is not None else None

    def show_pair(self, source: str, target: str) -> bool:
        """Show the newest plan of these sections; say whether they are others than before."""
        other, self._pair = self._pair != (source, target), (source, target)
        run = self.run
        for widget in (self.figures, self.go_on):
            widget.setVisible(run is not None)
        self.two_clicks.setVisible(run is not None and is_unsure(run.summary))
        if run is None:
            self.verdict.setText("These sections have not been aligned yet.")
            return other
        self.verdict.setText(verdict_text(run))
        rows = [
            f"<tr><td style='padding-right:8px'>{html.escape(title(name))}</td>"
            f"<td>{html.escape(words(run.summary[name]))}</td></tr>"
            for name in _FIRST
            if name in run.summary
        ]
        self.figures.setHtml(f"<table>{''.join(rows)}</table>")
        return other

    def set_busy(self, busy: bool) -> None:
        """Whether something is running that must end first."""
        self.go_on.setEnabled(not busy)

    def _on_continue(self) -> None:
        if self.plan_name:
            self.continue_wanted.emit(self.plan_name)


def is_unsure(summary: dict[str, Any]) -> bool:
    """Whether the pose leads the runner-up by too little."""
    margin = summary.get("margin")
    return isinstance(margin, float) and margin < UNSURE


def verdict_text(run: RunRecord) -> str:
    """What must be known first of an alignment, in one or two sentences."""
    summary = run.summary
    parts = []
    if not is_converged(run):
        reason = summary.get("reason")
        why = f" ({reason})" if reason else ""
        parts.append(f"⚠ Not converged{why}: continue from here, or read the figures with care.")
    if is_unsure(summary):
        parts.append(
            f"⚠ The pose leads the runner-up by {summary['margin']:.2f} only, so another turn of "
            "the section fits nearly as well. Two clicks would settle it: place two landmarks."
        )
    unmatched = summary.get("unmatched")
    if isinstance(unmatched, float) and unmatched > 0.5:
        parts.append(f"⚠ {unmatched:.0%} of the moving section found no partner.")
    return " ".join(parts) or f"✓ Converged in {run.seconds:.1f} s."
