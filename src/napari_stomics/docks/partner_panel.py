"""Ask a plan for the partners of a spot: with the mouse, and in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QVBoxLayout

from napari_stomics.docks.landmark_keys import KeyAction, KeyMap
from napari_stomics.docks.layout import wrapped_label
from napari_stomics.docks.partner_table import PartnerRow, PartnerView
from napari_stomics.docks.plan_panel import PlanPanel
from napari_stomics.docks.workbench import Workbench, told_to_user
from napari_stomics.layers.partners import PartnerGlow, PartnerTable
from napari_stomics.layers.shown_values import ShownValues

if TYPE_CHECKING:
    from napari_stomics.core.plans import TransportPlan
    from napari_stomics.data.study import Study

_IDLE = "Move the mouse over a spot of either section; click to hold its partners."
_LISTED_MS = 40
"""The table follows the mouse this much later: filling it takes longer than the glow."""


class PartnerPanel(PlanPanel):
    """Shows to whom a spot sends its mass, or from whom it gets it.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    KIND = "partners"

    def __init__(self, bench: Workbench) -> None:
        super().__init__(bench)
        self.glow: PartnerGlow | None = None
        self._values: dict[str, ShownValues] = {}
        self._escape: KeyMap | None = None
        self._list_soon = QTimer(self)
        self._list_soon.setSingleShot(True)
        self._list_soon.setInterval(_LISTED_MS)
        self._list_soon.timeout.connect(self._fill)
        self.following = QCheckBox("Show partners under the mouse")
        self.following.setChecked(True)
        self.following.setToolTip(
            "The partners of the spot under the mouse glow in the other section by their share. "
            "A click holds them; Esc, or a click elsewhere, lets go."
        )
        self.following.toggled.connect(self._follow)
        self.status = wrapped_label()
        self.table = PartnerView()
        self.table.chosen.connect(self._on_chosen)
        bench.comparison_changed.connect(self._follow)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for widget in (self.following, self.status, self.table):
            column.addWidget(widget)
        self.clear()

    # -- the plan -----------------------------------------------------------------------------

    def prepare(self) -> Any:
        """Sort the plan in both directions."""
        return _partner_table

    def show_plan(self, prepared: Any) -> None:
        """Ask this plan from now on."""
        self._drop()
        study, viewer = self._bench.session.study, self._bench.viewer
        self.glow = PartnerGlow(viewer, study, prepared)
        self._values = {
            side: ShownValues(viewer, study, spots.section, ids)
            for (side, spots), ids in zip(
                self.glow.spots.items(),
                (prepared.plan.source_ids, prepared.plan.target_ids),
                strict=True,
            )
        }
        self.glow.changed.connect(self._on_changed)
        self.glow.pointed.connect(self.table.select)
        self.following.setEnabled(True)
        self._follow()
        self._tell()

    def clear(self) -> None:
        """Ask no plan."""
        self._drop()
        self.following.setEnabled(False)
        self.table.set_rows(())
        self._tell()

    def taken_up(self) -> None:
        """Follow the mouse again."""
        super().taken_up()
        self._follow()

    def let_go(self) -> None:
        """Follow the mouse no longer."""
        super().let_go()
        self._follow()

    def release(self) -> None:
        """Give the mouse and the key back; the canvas may be gone."""
        self._free_escape()
        glow, self.glow = self.glow, None
        if glow is not None:
            glow.abandon()

    def _drop(self) -> None:
        glow, self.glow = self.glow, None
        if glow is not None:
            glow.changed.disconnect(self._on_changed)
            glow.pointed.disconnect(self.table.select)
            glow.disable()
        self._free_escape()

    def _follow(self) -> None:
        if self.glow is None:
            return
        with told_to_user("Partners"):
            # Two answers beside each other leave no place for the other section.
            wanted = self.following.isChecked() and self._bench.compared_mode != "results"
            if wanted and self._up:
                self.glow.enable()
            else:
                self.glow.disable()

    def _on_results(self) -> None:
        """Sections may have been moved: what glows follows them."""
        super()._on_results()
        if self.glow is not None and self.glow.enabled:
            self.glow.refresh()

    # -- following the mouse -------------------------------------------------------------------

    def _on_changed(self) -> None:
        glow = self.glow
        if glow is None:
            return
        if glow.pinned and self._escape is None:
            esc = KeyAction("Escape", "Let the held partners go", self._on_escape)
            self._escape = KeyMap(self._bench.viewer, [esc])
        elif not glow.pinned:
            self._free_escape()
        if glow.pinned:
            self._list_soon.stop()
            self._fill()
        elif not self._list_soon.isActive():
            self._list_soon.start()

    def _on_escape(self) -> None:
        if self.glow is not None:
            self.glow.clear()

    def _free_escape(self) -> None:
        keys, self._escape = self._escape, None
        if keys is not None:
            keys.unbind()

    def _fill(self) -> None:
        """List the partners that glow."""
        found = None if self.glow is None else self.glow.partners
        rows: list[PartnerRow] = []
        name = ""
        if found is not None:
            values = self._values[found.other]
            name, shown = values.of(found.indices)
            labels = values.labels(found.indices)
            ids = values.ids[found.indices]
            columns = (ids, found.shares, found.distances, labels, shown)
            rows = [
                PartnerRow(str(i), float(s), float(d), label, value)
                for i, s, d, label, value in zip(*columns, strict=True)
            ]
        self.table.set_rows(rows, name)
        self._tell()

    def _tell(self) -> None:
        self.status.setText(self._words())

    def _words(self) -> str:
        if self.glow is None:
            return "Choose a plan to see partners." if self._run is None else "Reading the plan…"
        found = self.glow.partners
        if found is None:
            return _IDLE
        spot = (
            f"{self._values[found.side].ids[found.spot]} of {self.glow.spots[found.side].section}"
        )
        verb = "sends to" if found.side == "source" else "gets from"
        where = self.glow.spots[found.other].section
        if not found.total:
            return f"{spot} has no partner in {where}."
        count = f"{found.total} spot{'s' if found.total > 1 else ''}"
        rest = found.total - len(found.indices)
        more = f", {rest} of them too small to list" if rest else ""
        held = " Held: Esc lets go." if self.glow.pinned else ""
        return f"{spot} {verb} {count} of {where}{more}.{held}"

    def _on_chosen(self, which: int) -> None:
        if self.glow is not None:
            with told_to_user("Partners"):
                found = self.glow.partners
                if found is not None and which >= 0 and not self.glow.pinned:
                    self.glow.show((found.side, found.spot), pin=True)
                    self.table.select(which)
                self.glow.select(which)


def _partner_table(study: Study, plan: TransportPlan) -> PartnerTable:
    import numpy as np

    from napari_stomics.layers.valued import spot_rows

    target = study.section(plan.target)
    rows = spot_rows(target, np.asarray(plan.target_ids, dtype=object))
    return PartnerTable(plan, target.coordinates[rows])
