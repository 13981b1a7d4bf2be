"""Where to look next: doubtful regions one by one, and the landmark that would tell most."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from qtpy.compat import isalive
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QListWidget, QVBoxLayout

from napari_stomics.docks.landmark_keys import KeyAction, KeyMap
from napari_stomics.docks.layout import button, in_row, wrapped_label
from napari_stomics.docks.messages import show_info
from napari_stomics.docks.plan_panel import PlanPanel
from napari_stomics.docks.workbench import Workbench, told_to_user
from napari_stomics.layers.displayed import DisplayedSpots, look_at_points
from napari_stomics.layers.doubt import LookNext, look_where, own_scale, suggest_again
from napari_stomics.layers.outlines import OutlineLayer

if TYPE_CHECKING:
    from napari_stomics.core.plans import TransportPlan
    from napari_stomics.methods.alignment.next_landmark import NextLandmark

_REGION, _LANDS, _SUGGESTED = "#ff2fc8", "#ffd60a", "#00e5ff"
"""Of the region, of where its mass lands, of the suggested landmark."""
_ROOM = 6.0
"""The view takes in at least this many pitches round what it flies to."""
_STILL_MS = 400


class LookNextPanel(PlanPanel):
    """Lists doubtful regions, flies to them, and suggests the next landmark.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    KIND = "look next"

    def __init__(self, bench: Workbench) -> None:
        super().__init__(bench)
        self.found: LookNext | None = None
        self._keys: KeyMap | None = None
        self._outlines: dict[str, OutlineLayer] = {}
        self._rings: dict[str, OutlineLayer] = {}
        self._again = QTimer(self)
        self._again.setSingleShot(True)
        self._again.setInterval(_STILL_MS)
        self._again.timeout.connect(self._suggest_again)
        self._build()
        bench.session.landmarks.changed.connect(self._on_landmarks)
        self.clear()

    def _build(self) -> None:
        self.summary = wrapped_label()
        self.list = QListWidget()
        self.list.setAccessibleName("Doubtful regions")
        self.list.setWordWrap(True)
        self.list.setMinimumHeight(110)
        self.list.currentRowChanged.connect(self._on_row)
        self.back = button("Back (Shift+N)", self.previous, "Fly to the region before.")
        self.next = button("Next (N)", self.step, "Fly to the next doubtful region.")
        self.suggestion = wrapped_label()
        self.see = button(
            "Show suggestion",
            self.show_suggestion,
            "Fly to the place; the ellipse in the fixed section takes in where the partner is "
            "expected (two standard deviations).",
        )
        self.place = button(
            "Place this landmark",
            self.place_landmark,
            "Add the pair to the landmarks, to be dragged to where it belongs; can be undone.",
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for widget in (
            self.summary,
            self.list,
            in_row(self.back, self.next),
            self.suggestion,
            in_row(self.see, self.place),
        ):
            column.addWidget(widget)

    # -- the plan -----------------------------------------------------------------------------

    def prepare(self) -> Any:
        """Find the regions and the landmark; landmarks are taken as they are now."""
        return partial(look_where, self._marks())

    def _marks(self) -> Any:
        inputs = {} if self.run is None else self.run.step["inputs"]
        pair = inputs.get("source", ""), inputs.get("target", "")
        pairs = self._bench.session.landmarks.pairs(*pair)
        return pairs.source_points, pairs.target_points

    def show_plan(self, prepared: LookNext) -> None:
        """List what was found."""
        row = self.list.currentRow() if self.found is not None else -1
        same = self.found is not None and self.found.plan is prepared.plan
        if self.found is None:
            self._open(prepared.plan)
        self.found = prepared
        if not same:
            self.list.blockSignals(True)
            self.list.clear()
            for number, region in enumerate(prepared.regions, start=1):
                self.list.addItem(f"{number}. {region.text}")
            self.list.setCurrentRow(row if same else -1)
            self.list.blockSignals(False)
        self._tell()
        if self._ring_shown:
            self._draw_suggestion()

    def _open(self, plan: TransportPlan) -> None:
        viewer, study = self._bench.viewer, self._bench.session.study
        for section, ids, title, colour in (
            (plan.source, plan.source_ids, "Doubtful region", _REGION),
            (plan.target, plan.target_ids, "Doubtful region lands", _LANDS),
        ):
            spots = DisplayedSpots(viewer, study, section, ids)
            self._outlines[section] = OutlineLayer(viewer, spots, title, colour)
            self._rings[section] = OutlineLayer(viewer, spots, "Suggested landmark", _SUGGESTED)
        if self._up:
            self._bind()

    def clear(self) -> None:
        """List nothing."""
        self._close()
        self.found = None
        self.list.blockSignals(True)
        self.list.clear()
        self.list.blockSignals(False)
        self._tell()

    def taken_up(self) -> None:
        """Take the keys again."""
        super().taken_up()
        if self.found is not None:
            self._bind()

    def let_go(self) -> None:
        """Give the keys back and take the outlines off the canvas."""
        super().let_go()
        self._unbind()
        for layer in (*self._outlines.values(), *self._rings.values()):
            layer.close()

    def release(self) -> None:
        """Give the keys back and stop listening; the canvas may be gone."""
        self._unbind()
        self._bench.session.landmarks.changed.disconnect(self._on_landmarks)

    def _close(self) -> None:
        self._unbind()
        for layer in (*self._outlines.values(), *self._rings.values()):
            layer.close()
        self._outlines, self._rings = {}, {}

    def _bind(self) -> None:
        if self._keys is None:
            actions = [
                KeyAction("N", "Next doubtful region", self.step),
                KeyAction("Shift-N", "Doubtful region before", self.previous),
            ]
            self._keys = KeyMap(self._bench.viewer, actions)

    def _unbind(self) -> None:
        keys, self._keys = self._keys, None
        if keys is not None:
            keys.unbind()

    # -- looking ------------------------------------------------------------------------------

    def step(self) -> None:
        """Fly to the next region; after the last comes the first."""
        self._go(1)

    def previous(self) -> None:
        """Fly to the region before; before the first comes the last."""
        self._go(-1)

    def _go(self, by: int) -> None:
        count = self.list.count()
        if not count:
            return
        row = self.list.currentRow()
        row = (row + by) % count if row >= 0 else (0 if by > 0 else count - 1)
        if row == self.list.currentRow():
            self._on_row(row)  # there is but one: fly there again
        self.list.setCurrentRow(row)

    def _on_row(self, row: int) -> None:
        found = self.found
        if found is None or not 0 <= row < len(found.regions):
            return
        with told_to_user("Fly to region"):
            region, plan = found.regions[row], found.plan
            radius = 0.75 * found.pitch
            here = self._outlines[plan.source].round_spots(region.spots, radius)
            there = self._outlines[plan.target].round_spots(region.partners, radius)
            self._fly(here, there)

    def show_suggestion(self) -> None:
        """Mark the suggested landmark in both sections and fly there."""
        with told_to_user("Suggested landmark"):
            self._fly(*self._draw_suggestion())

    def _draw_suggestion(self) -> tuple[Any, ...]:
        found = self.found
        if found is None or found.landmark is None:
            return ()
        mark, plan = found.landmark, found.plan
        angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
        circle = np.column_stack([np.cos(angle), np.sin(angle)])
        own = own_scale(found)
        here = self._rings[plan.source].ring(np.asarray(mark.source) + circle * found.pitch * own)
        there = self._rings[plan.target].ring(mark.ellipse())
        return here, there

    @property
    def _ring_shown(self) -> bool:
        return any(ring.layer is not None for ring in self._rings.values())

    def _fly(self, *places: Any) -> None:
        """Take in all of these places, and something of what is round them."""
        found = self.found
        if found is None or not places:
            return
        corners = np.vstack(places)
        middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
        room = _ROOM * found.pitch
        look_at_points(self._bench.viewer, np.vstack([corners, middle - room, middle + room]))

    # -- the landmark -------------------------------------------------------------------------

    def place_landmark(self) -> None:
        """Make the suggestion a landmark, as one action that can be undone."""
        found = self.found
        if found is None or found.landmark is None:
            return
        mark, plan = found.landmark, found.plan
        with told_to_user("Place landmark"):
            positions = {plan.source: mark.source, plan.target: mark.target}
            name = self._bench.session.landmarks.add(positions=positions)
            self._fly(*self._draw_suggestion())
            show_info(f"{name} placed where the plan expects it: drag it to where it belongs.")

    def _on_landmarks(self) -> None:
        if self._run is not None and self.found is not None:
            self._again.start()

    def _suggest_again(self) -> None:
        """Landmarks were moved: what would tell most now may lie elsewhere."""
        if isalive(self) and self._run is not None:
            self._load(self._run)

    def _load(self, run: Any) -> None:
        found = self.found
        if found is None or found.plan is None:
            super()._load(run)
            return
        marks = self._marks()
        self._bench.runner.start(
            lambda ctx: suggest_again(marks, found),
            title="Suggest a landmark",
            kind=self._kind,
            on_done=partial(_suggested, ref(self), run.id),
            owner=self,
            threads=1,
        )

    # -- words --------------------------------------------------------------------------------

    def _tell(self) -> None:
        found = self.found
        some = found is not None and bool(found.regions)
        mark = None if found is None else found.landmark
        for each in (self.back, self.next, self.list):
            each.setEnabled(some)
        for each in (self.see, self.place):
            each.setEnabled(mark is not None)
        self.summary.setText(self._summary())
        self.suggestion.setText("" if mark is None else _in_words(mark, found.plan))

    def _summary(self) -> str:
        found = self.found
        if found is None:
            return "Choose a plan to see where it is doubtful." if self._run is None else "Looking…"
        usual = (
            f"Median expected error {found.error:.1f} pitches ({found.error * found.pitch:.0f} µm)."
        )
        if not found.regions:
            return f"{usual} No region stands out from the rest."
        if not found.regions[0].stands_out:
            return f"{usual} No region stands out; these are the least certain:"
        count = len(found.regions)
        return f"{usual} {count} region{'s' if count > 1 else ''} to look at, the worst first:"


def _in_words(mark: NextLandmark, plan: TransportPlan) -> str:
    long, short = 2 * np.sqrt(np.maximum(np.linalg.eigvalsh(mark.covariance)[::-1], 0))
    little = "; that is little" if mark.after > 0.98 * mark.before else ""
    return (
        f"One more landmark tells most at {plan.source_ids[mark.spot]} of {plan.source}: the mean "
        f"uncertainty of the map would go from {mark.before:.3g} to {mark.after:.3g} µm{little}. "
        f"Its partner is expected within ± {long:.0f} × {short:.0f} µm."
    )


def _suggested(panel: ref[LookNextPanel], run_id: str, found: LookNext) -> None:
    there = panel()
    if there is not None and isalive(there):
        there._take(run_id, found)
