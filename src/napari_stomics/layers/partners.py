"""The partners of a spot in a transport plan, and how they glow on the canvas."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_stomics.core.plans import TransportPlan
from napari_stomics.layers.displayed import DisplayedSpots, in_sight, section_at
from napari_stomics.layers.glow import OWN, SELECTED, GlowLayer
from napari_stomics.layers.tags import real_viewer

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_stomics.data.study import Study

Side = Literal["source", "target"]
Spot = tuple[Side, int]
MOST = 200
"""More partners than these are counted, and neither shown nor listed."""
DRAG_PX = 5
"""A press that moves less than this is a click."""
REACH_PX = 6
"""A spot is meant from this far, however small it is on screen."""


@dataclass(frozen=True)
class Partners:
    """To whom one spot sends its mass, or from whom it gets it.

    Attributes
    ----------
    side, spot
        Section and row (or column) of the spot.
    indices
        (k,) partners in the other section, by falling share.
    shares
        (k,) part of the spot's mass that each of them has.
    distances
        (k,) um between the spot and each of them, under the plan's linear pose.
    total
        How many there are in all.
    """

    side: Side
    spot: int
    indices: NDArray[np.intp]
    shares: NDArray[np.float64]
    distances: NDArray[np.float64]
    total: int

    @property
    def other(self) -> Side:
        """The section in which the partners lie."""
        return "target" if self.side == "source" else "source"


class PartnerTable:
    """Looks partners up in both directions.

    Parameters
    ----------
    plan
        The plan; its columns are sorted here, which takes a second for some
        millions of entries.
    target_points
        (m, 2) target spots (x, y) um.
    """

    def __init__(self, plan: TransportPlan, target_points: NDArray[Any]) -> None:
        self.plan = plan
        self._matrix = {"source": plan.plan.tocsr(), "target": plan.plan.tocsc()}
        self._points = {
            "source": np.asarray(plan.source_coordinates, np.float64),
            "target": np.asarray(target_points, np.float64),
        }

    def size(self, side: Side) -> int:
        """How many spots a section has."""
        return len(self._points[side])

    def of(self, side: Side, spot: int) -> Partners:
        """Return the partners of one spot."""
        matrix = self._matrix[side]
        part = slice(int(matrix.indptr[spot]), int(matrix.indptr[spot + 1]))
        mass = np.asarray(matrix.data[part], np.float64)
        here = np.asarray(matrix.indices[part], np.intp)
        order = np.argsort(-mass, kind="stable")
        order = order[mass[order] > 0]
        total = len(order)
        shares = mass[order] / mass.sum() if total else mass[order]
        order, shares = order[:MOST], shares[:MOST]
        other: Side = "target" if side == "source" else "source"
        away = self._points[other][here[order]] - self._points[side][spot]
        return Partners(side, spot, here[order], shares, np.linalg.norm(away, axis=1), total)


class PartnerGlow:
    """Lets the partners of the spot under the mouse glow; a click holds them.

    Nothing is done while something else takes the clicks, such as the placing
    of landmarks or the painting of a region.

    Parameters
    ----------
    viewer, study
        A viewer or napari's viewer model, and the study that it shows.
    table
        The partners.
    """

    changed = Signal()
    """Other partners are shown, or none, or they are held or let go."""
    pointed = Signal(int)
    """The mouse is on this one of the partners that are held (-1: on none)."""

    def __init__(self, viewer: ViewerModel, study: Study, table: PartnerTable) -> None:
        self.viewer = real_viewer(viewer)
        self.table = table
        plan = table.plan
        self.spots: dict[Side, DisplayedSpots] = {
            "source": DisplayedSpots(self.viewer, study, plan.source, plan.source_ids),
            "target": DisplayedSpots(self.viewer, study, plan.target, plan.target_ids),
        }
        self._glows: dict[Side, GlowLayer] = {
            side: GlowLayer(self.viewer, spots) for side, spots in self.spots.items()
        }
        self.partners: Partners | None = None
        self.pinned = False
        self._selected = -1
        self._pointed = -1
        self.enabled = False

    # -- on and off --------------------------------------------------------------------------

    def enable(self) -> None:
        """Follow the mouse from now on."""
        if not self.enabled:
            self.enabled = True
            for glow in self._glows.values():
                glow.open()
            self.viewer.mouse_move_callbacks.append(self._on_move)
            self.viewer.mouse_drag_callbacks.append(self._on_press)

    def disable(self) -> None:
        """Follow the mouse no longer, and take everything off the canvas."""
        if not self.enabled:
            return
        self.abandon()
        self.clear()
        for glow in self._glows.values():
            glow.close()

    def abandon(self) -> None:
        """Follow the mouse no longer, and leave the layers alone: the window may be gone."""
        self.enabled = False
        _drop(self.viewer.mouse_move_callbacks, self._on_move)
        _drop(self.viewer.mouse_drag_callbacks, self._on_press)

    @property
    def disturbed(self) -> bool:
        """Whether something else takes the clicks now."""
        active = self.viewer.layers.selection.active
        if getattr(active, "mode", "pan_zoom") not in ("pan_zoom", None):
            return True
        return any(_is_foreign(each) for each in self.viewer.mouse_drag_callbacks)

    # -- what is shown -----------------------------------------------------------------------

    def show(self, spot: Spot | None, *, pin: bool = False) -> None:
        """Let the partners of a spot glow; None for none."""
        now = None if self.partners is None else (self.partners.side, self.partners.spot)
        if (spot, pin) == (now, self.pinned):
            return
        if spot != now:
            self.partners = None if spot is None else self.table.of(*spot)
            self._selected = -1
        self.pinned = pin and spot is not None
        self._pointed = -1
        self.refresh()
        self.changed.emit()

    def clear(self) -> None:
        """Show no partners, and hold none."""
        self.show(None)

    @property
    def selected(self) -> int:
        """Which of the partners stands out; -1 for none."""
        return self._selected

    def select(self, which: int) -> None:
        """Let one of the partners stand out, and move the view to it where it is out of sight."""
        found = self.partners
        if found is None or not -1 <= which < len(found.indices) or which == self._selected:
            return
        self._selected = which
        self.refresh()
        if which >= 0:
            x, y = self.spots[found.other].world[found.indices[which]]
            if not in_sight(self.viewer, (x, y)):
                self.viewer.scene.camera.center = (0.0, float(y), float(x))

    def refresh(self) -> None:
        """Show the partners where their spots lie now."""
        found = self.partners
        if found is None:
            for glow in self._glows.values():
                glow.show(np.zeros(0, np.intp), np.zeros(0))
            return
        strength = np.sqrt(found.shares)
        if 0 <= self._selected < len(strength):
            strength[self._selected] = SELECTED
        own = np.array([found.spot], np.intp), np.array([OWN])
        self._glows[found.side].show(*own)
        self._glows[found.other].show(found.indices, strength)

    # -- the mouse ---------------------------------------------------------------------------

    def spot_at(self, event: Any) -> Spot | None:
        """The spot under the mouse, of whichever section is seen there."""
        where = (float(event.position[-1]), float(event.position[-2]))
        plan = self.table.plan
        here = section_at(self.viewer, event.viewbox, (plan.source, plan.target))
        best: tuple[float, Spot] | None = None
        for side, spots in self.spots.items():
            if here not in ("", spots.section) or not spots.visible:
                continue
            reach = max(
                0.75 * spots.diameter * spots.scale, REACH_PX / self.viewer.scene.camera.zoom
            )
            index, away = spots.nearest(where, reach)
            if index >= 0 and (best is None or away < best[0]):
                best = away, (side, index)
        return None if best is None else best[1]

    def _on_move(self, viewer: Any, event: Any) -> None:
        if self.disturbed:
            self.clear()
            return
        spot = self.spot_at(event)
        if self.pinned:
            self._point(spot)
        else:
            self.show(spot)

    def _point(self, spot: Spot | None) -> None:
        """Tell which of the partners that are held the mouse is on."""
        found, which = self.partners, -1
        if found is not None and spot is not None and spot[0] == found.other:
            hits = np.flatnonzero(found.indices == spot[1])
            which = int(hits[0]) if len(hits) else -1
        if which != self._pointed:
            self._pointed = which
            self.pointed.emit(which)

    def _on_press(self, viewer: Any, event: Any) -> Iterator[None]:
        """Hold the partners on a click on a spot; let go on a click elsewhere, or on it again."""
        if event.button != 1 or event.modifiers or self.disturbed:
            return
        start, spot = tuple(event.pos), self.spot_at(event)
        moved = False
        yield
        while event.type == "mouse_move":
            moved = moved or math.dist(start, event.pos) > DRAG_PX
            yield
        if moved or not self.enabled:
            return
        found = self.partners
        again = self.pinned and found is not None and spot == (found.side, found.spot)
        self.show(None if again else spot, pin=not again)


def _drop(callbacks: list[Callable[..., Any]], callback: Callable[..., Any]) -> None:
    if callback in callbacks:
        callbacks.remove(callback)


def _is_foreign(callback: Any) -> bool:
    """Whether a callback on clicks is neither napari's own nor ours."""
    if isinstance(getattr(callback, "__self__", None), PartnerGlow):
        return False
    return not str(getattr(callback, "__module__", "")).startswith("napari.")
