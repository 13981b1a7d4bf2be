"""Landmark registration: place, judge, store; or start from the images."""

from __future__ import annotations

from typing import Any

from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_stomics.core.results import Registration
from napari_stomics.core.transforms import Transform
from napari_stomics.docks.job_bar import JobBar
from napari_stomics.docks.landmark_auto import AutomaticPanel
from napari_stomics.docks.landmark_io import LandmarkFiles
from napari_stomics.docks.landmark_keys import KeyAction, KeyHelp
from napari_stomics.docks.landmark_links import Links, main_window
from napari_stomics.docks.landmark_panels import ListPanel, SectionPanel, ViewPanel
from napari_stomics.docks.landmark_placing import Placing
from napari_stomics.docks.landmark_quality import QualityPanel
from napari_stomics.docks.landmark_store import StorePanel
from napari_stomics.docks.landmark_suggest import Review, SuggestionPanel
from napari_stomics.docks.landmark_view import LandmarkView
from napari_stomics.docks.layout import Fold, button, in_column, scrolled
from napari_stomics.docks.param_form import ParamForm
from napari_stomics.docks.workbench import told_to_user, workbench

STILL_MS = 250
"""How long the hand must rest before layers that are slow to carry follow in full."""


class LandmarkDock(QWidget):
    """Register two sections by landmarks, with an automatic start.

    Parameters
    ----------
    napari_viewer
        The napari viewer; given by napari.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._bench = workbench(napari_viewer)
        self._session = self._bench.session
        self.view = LandmarkView(self._bench)
        self.placing = Placing(self._bench, self.view)
        self.review = Review(self._bench, self.view)
        self.files = LandmarkFiles(self._bench, self)
        self._help: KeyHelp | None = None
        self._soon = _timer(self, 0, self._redraw)
        self._still = _timer(self, STILL_MS, self._settle)
        self._build()
        self._connect()
        self.links = Links(self._bench.viewer, self._key_actions(), self._listeners(), self.view)
        self.links.open()
        self.destroyed.connect(self.links.on_destroyed)
        self._open_pair()

    # -- layout ------------------------------------------------------------------------------

    def _build(self) -> None:
        session = self._session
        self.sections = SectionPanel(session)
        self.view_panel = ViewPanel(self.view)
        self.list = ListPanel(
            self._bench, self.view, self.placing, self.files.load, self.files.save
        )
        self.form = ParamForm(session.estimate.params)
        self.quality = QualityPanel()
        self.automatic = AutomaticPanel(self._bench)
        self.suggestions = SuggestionPanel(self._bench, self.review, self.view)
        self.store = StorePanel(self._bench)
        keys = button("Keys (F1)", self.show_help, "The list of keys.")
        self._parts = [
            Fold("View", self.view_panel),
            Fold("Landmarks", self.list),
            Fold("Fit", in_column(self.form, self.quality)),
            Fold("Automatic start", self.automatic),
            Fold("Suggested landmarks", self.suggestions),
            Fold("Keep", self.store),
        ]
        self.bar = JobBar(self._bench.runner)
        inner = in_column(self.sections, *self._parts, self.bar, keys, stretch=True)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self._scroll = scrolled(inner)
        column.addWidget(self._scroll)
        self.setMinimumWidth(300)

    def _key_actions(self) -> list[KeyAction]:
        panel, view, placing, review = self.list, self.view_panel, self.placing, self.review
        pan = "held down: the mouse moves the view, as elsewhere in napari"
        esc = "Take the half-placed landmark back; with none, leave landmark mode"
        undo, redo = self._bench.undo, self._bench.redo
        return [
            KeyAction("Space", "Landmark mode on or off", placing.toggle, pan, hold=True),
            KeyAction("Escape", esc, placing.cancel),
            KeyAction("T", "Show the moving section registered, or as scanned", view.toggle_warped),
            KeyAction("Q", "The moving section follows the fixed one", self._follow_fixed),
            KeyAction("W", "The fixed section follows the moving one", self._follow_moving),
            KeyAction("D", "Jump to the selected landmark", panel.jump_to_selected),
            KeyAction("Control-D", "Next landmark", self._next),
            KeyAction("Control-Shift-D", "Previous landmark", self._previous),
            KeyAction("E", "Jump to the landmark nearest to the mouse", panel.jump_to_nearest),
            KeyAction("U", "Grid and magnitude of the warp, one after the other", view.cycle_warp),
            KeyAction("A", "Accept the suggested landmark", review.accept, lent=True),
            KeyAction("R", "Reject the suggested landmark", review.reject, lent=True),
            KeyAction("Control-Z", "Undo", undo),
            KeyAction("Control-Shift-Z", "Redo", redo),
            KeyAction("F1", "This list", self.show_help),
        ]

    # -- keeping in step ---------------------------------------------------------------------

    def _connect(self) -> None:
        self.form.changed.connect(self._on_params)
        self.automatic.pose_chosen.connect(self._on_pose)
        self.automatic.two_clicks_wanted.connect(self.place_landmarks)
        self.review.changed.connect(self._on_review)

    def _listeners(self) -> list[tuple[Any, Any]]:
        """Signals of what outlives the dock, and what hears them."""
        session, bench = self._session, self._bench
        return [
            (session.landmarks.changed, self._on_landmarks),
            (session.estimate.changed, self._on_estimate),
            (session.committed, self._on_committed),
            (session.reverted, self._on_reverted),
            (bench.study_opened, self._open_pair),
            (bench.results_changed, self._on_landmarks),
            (bench.comparison_changed, self.view_panel.refresh),
            (bench.live_changed, self._on_landmarks),
            *self.placing.listeners(),
            *self.list.listeners(),
            *self.automatic.listeners(),
        ]

    def showEvent(self, event: Any) -> None:
        """Know the window, to leave its canvas alone once it is gone."""
        super().showEvent(event)
        self.links.stand_in(main_window(self))

    def event(self, event: Any) -> bool:
        """Give the canvas back when napari takes the dock out of its window; take it up again."""
        done = super().event(event)
        if event.type() == QEvent.Type.ParentChange and hasattr(self, "links"):
            if self.parentWidget() is None:
                self.placing.set_active(False)
                self.links.close()
            elif not self.links.is_open:
                self.links.open()
                self._open_pair()
        return done

    def _open_pair(self) -> None:
        """Show the two sections that are chosen, or say what is missing."""
        estimate = self._session.estimate
        with told_to_user("Landmarks"):
            self.view.open(estimate.source, estimate.target)
        ready = self.placing.ready and set(self._session.section_names) >= {
            estimate.source,
            estimate.target,
        }
        for part in self._parts:
            part.setEnabled(ready)
        self.sections.refresh()
        self._redraw()
        self._scroll.verticalScrollBar().setValue(0)

    def _on_landmarks(self) -> None:
        if not self._soon.isActive():
            self._soon.start()

    def _on_estimate(self) -> None:
        estimate = self._session.estimate
        if self.view.pair != (estimate.source, estimate.target):
            self.review.stop()
            self._open_pair()
        elif estimate.registration is not None and self.review.current is None:
            self.view.show_map(None)
        self._on_landmarks()

    def _redraw(self) -> None:
        """Show the landmarks and the estimate as they are now."""
        with told_to_user("Show landmarks"):
            self.view.place(settled=not self.view.waits)
        if self.view.waits:
            self._still.start()
        self.list.refresh()
        self.quality.show_estimate(self._session.estimate, self._pixel_size())
        self.view_panel.refresh()
        self.automatic.refresh()
        self.suggestions.refresh()
        self.store.refresh()

    def _settle(self) -> None:
        with told_to_user("Show sections"):
            self.view.place()

    def _pixel_size(self) -> float | None:
        record = self._session.study.record.sections.get(self._session.estimate.target)
        return record.pixel_size_um if record is not None else None

    # -- slots -------------------------------------------------------------------------------

    def _on_params(self) -> None:
        if not self.form.errors():
            self._session.estimate.configure(params=self.form.value())

    def _on_committed(self, result: Any, run: Any) -> None:
        """Show what was found without landmarks; a fit to them is shown anyway."""
        estimate = self._session.estimate
        found = implied(result)
        if found is not None and (found.source, found.target) == (
            estimate.source,
            estimate.target,
        ):
            self.view.show_map(found.transform if found.driver != "landmarks" else None)

    def _on_reverted(self, result: Any, run: Any) -> None:
        if implied(result) is not None:
            self.view.show_map(None)

    def _on_pose(self, transform: Transform) -> None:
        self.view.show_map(transform)
        self._redraw()

    def _on_review(self) -> None:
        self.links.borrow_keys(self.review.current is not None)

    def place_landmarks(self) -> None:
        """Have the next clicks on the canvas place landmarks."""
        self._parts[1].open()
        self.placing.set_active(True)

    def _follow_fixed(self) -> None:
        self.view_panel.follow("target")

    def _follow_moving(self) -> None:
        self.view_panel.follow("source")

    def _next(self) -> None:
        self.list.step(1)

    def _previous(self) -> None:
        self.list.step(-1)

    def show_help(self) -> None:
        """Show the list of keys beside the work."""
        if self._help is None:
            self._help = KeyHelp(self._key_actions(), self)
        self._help.show()
        self._help.raise_()


def implied(result: Any) -> Registration | None:
    """The registration that a result is or implies, if any."""
    found = result if isinstance(result, Registration) else getattr(result, "registration", None)
    return found if isinstance(found, Registration) else None


def _timer(owner: QWidget, interval: int, slot: Any) -> QTimer:
    timer = QTimer(owner)
    timer.setSingleShot(True)
    timer.setInterval(interval)
    timer.timeout.connect(slot)
    return timer
