"""The panels of the landmark dock: sections, view, list of landmarks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QSizePolicy, QVBoxLayout, QWidget

from napari_stomics.docks.landmark_placing import Placing
from napari_stomics.docks.landmark_table import LandmarkTable
from napari_stomics.docks.landmark_view import LandmarkView, Layout
from napari_stomics.docks.layout import button, in_row, wrapped_label
from napari_stomics.docks.workbench import Workbench, told_to_user
from napari_stomics.session.session import Session

NO_STUDY = (
    "No section is open. Open a sample (File > Open Sample > Spatial multi-omics) or add "
    "sections in the dock “Study and sections”; then choose two of them here."
)
ONE_SECTION = "Only {} is open. Add another section to register the two."


class SectionPanel(QWidget):
    """Which section moves, and onto which.

    Parameters
    ----------
    session
        The viewer's session.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.message = wrapped_label()
        self.moving, self.fixed = QComboBox(), QComboBox()
        self.moving.setToolTip("The section that is carried onto the other one.")
        self.fixed.setToolTip("The section that stays where it is.")
        self._swap = button("⇄", self.exchange, "Exchange the two: let the other section move.")
        self._swap.setAccessibleName("Exchange moving and fixed section")
        self._swap.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self._swap.setMaximumWidth(36)
        for combo in (self.moving, self.fixed):
            combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            combo.setMinimumContentsLength(8)
            combo.activated.connect(self._on_chosen)
        form = QFormLayout(self)
        form.setContentsMargins(2, 0, 2, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow(self.message)
        form.addRow("Moving", self.moving)
        form.addRow("Fixed", in_row(self.fixed, self._swap))
        self.refresh()

    def refresh(self) -> None:
        """Follow the study and the estimate."""
        names = self._session.section_names
        estimate = self._session.estimate
        for combo, chosen in ((self.moving, estimate.source), (self.fixed, estimate.target)):
            combo.blockSignals(True)
            if [combo.itemText(i) for i in range(combo.count())] != names:
                combo.clear()
                combo.addItems(names)
            combo.setCurrentIndex(combo.findText(chosen) if chosen else -1)
            combo.setEnabled(len(names) > 1)
            combo.blockSignals(False)
        self._swap.setEnabled(len(names) > 1)
        text = "" if len(names) > 1 else (ONE_SECTION.format(*names) if names else NO_STUDY)
        self.message.setText(text)
        self.message.setVisible(bool(text))

    def exchange(self) -> None:
        """Let the other section move."""
        estimate = self._session.estimate
        estimate.configure(source=estimate.target, target=estimate.source)

    def _on_chosen(self, *_: Any) -> None:
        source, target = self.moving.currentText(), self.fixed.currentText()
        self._session.estimate.configure(source=source, target=target)


class ViewPanel(QWidget):
    """How the two sections are shown, each one click away.

    Parameters
    ----------
    view
        What the canvas shows.
    """

    def __init__(self, view: LandmarkView, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._view = view
        self._side = button("Side by side", self.toggle_side, "Two linked views.", checkable=True)
        self._overlay = button(
            "Overlay", self.toggle_overlay, "The moving section half transparent.", checkable=True
        )
        self._warped = button(
            "Registered (T)", self.toggle_warped, "As registered, or as scanned.", checkable=True
        )
        self._warp = button("Warp (U)", self.cycle_warp, "Grid and magnitude of the map.")
        self._text = wrapped_label()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(in_row(self._side, self._overlay))
        column.addWidget(in_row(self._warped, self._warp))
        column.addWidget(self._text)
        self.refresh()

    def refresh(self) -> None:
        """Show what is on."""
        self._side.setChecked(self._view.layout == "side by side")
        self._overlay.setChecked(self._view.layout == "overlay")
        self._warped.setChecked(self._view.warped)
        warp = self._view.warp_layers.shown
        self._text.setText(f"{self._view.shown_text} Shown: {warp}.".strip())

    def toggle_side(self) -> None:
        """Side by side, or back."""
        self._toggle("side by side")

    def toggle_overlay(self) -> None:
        """Overlay, or back."""
        self._toggle("overlay")

    def toggle_warped(self) -> None:
        """Show the moving section registered, or as it was scanned."""
        self._view.warped = not self._view.warped
        self._after()

    def follow(self, frame: Any) -> None:
        """Let the other section follow the one that is named: ``target`` or ``source``."""
        self._view.frame, self._view.warped = frame, True
        self._after()

    def cycle_warp(self) -> None:
        """Show the next of: no warp, grid, magnitude, both."""
        with told_to_user("Warp grid"):
            self._view.cycle_warp()
        self.refresh()

    def _toggle(self, layout: Layout) -> None:
        with told_to_user("Layout"):
            self._view.set_layout("normal" if self._view.layout == layout else layout)
        self.refresh()

    def _after(self) -> None:
        with told_to_user("Show sections"):
            self._view.place()
        self.refresh()


class ListPanel(QWidget):
    """The landmarks: placing, the table, what can be done with them.

    Parameters
    ----------
    bench
        The viewer's workbench.
    view
        What the canvas shows.
    placing
        Landmark mode.
    on_load, on_save
        Open the dialogs for files.
    """

    def __init__(
        self,
        bench: Workbench,
        view: LandmarkView,
        placing: Placing,
        on_load: Callable[[], object],
        on_save: Callable[[], object],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._bench = bench
        self._session = bench.session
        self._view = view
        self._placing = placing
        self.table = LandmarkTable(bench.session)
        self._place = button(
            "Place landmarks (Space)", placing.toggle, "Click in both sections.", checkable=True
        )
        self._prompt = wrapped_label()
        self._prompt.setAccessibleName("What to click next")
        self._follow = QCheckBox("Jump to the expected place")
        self._follow.setChecked(placing.follow)
        self._follow.toggled.connect(self._on_follow)
        self._first = QCheckBox("Begin in the fixed section")
        self._first.toggled.connect(self._on_first)
        self._jump = button("Jump", self.jump_to_selected, "Centre the selected landmark (D).")
        self._delete = button("Delete", self.delete_selected, "Delete the selected landmarks.")
        self._undo = button("Undo", bench.undo)
        self._redo = button("Redo", bench.redo)
        self._load = button("Load…", on_load, "Add landmarks from a file.")
        self._save = button("Save…", on_save, "Write the landmarks to a file.")
        self._build()
        self.table.delete_wanted.connect(self.delete_selected)
        self.table.jump_wanted.connect(self.jump_to)
        placing.changed.connect(self.refresh_prompt)
        self.refresh_prompt()
        self.refresh_undo()

    def listeners(self) -> list[tuple[Any, Any]]:
        """Signals of the session, and what hears them."""
        selected = (self._session.landmarks.selection_changed, self.table.show_selection)
        return [selected, (self._session.undo.changed, self.refresh_undo)]

    @property
    def prompt(self) -> str:
        """What to click next, as shown."""
        return self._prompt.text()

    def refresh(self) -> None:
        """Read the landmarks anew."""
        self.table.rows.refresh()
        self.table.show_selection()
        self.refresh_prompt()

    def refresh_prompt(self) -> None:
        """Say what to click next."""
        self._place.setChecked(self._placing.active)
        self._place.setEnabled(self._placing.ready)
        self._first.setVisible(not self._view.side_by_side)
        self._prompt.setText(self._placing.prompt)
        font = self._prompt.font()
        font.setBold(self._placing.active)
        self._prompt.setFont(font)

    def refresh_undo(self) -> None:
        """Say what Undo and Redo would do."""
        stack = self._session.undo
        for part, keys, text in (
            (self._undo, "Ctrl+Z", stack.undo_text),
            (self._redo, "Ctrl+Shift+Z", stack.redo_text),
        ):
            part.setEnabled(bool(text))
            part.setToolTip(f"{text or 'Nothing'} ({keys})")

    def delete_selected(self) -> None:
        """Delete the selected landmarks as one action."""
        names = self.table.selected_names() or [self._session.landmarks.selected]
        self._session.landmarks.remove(name for name in names if name)

    def jump_to_selected(self) -> None:
        """Centre the view on the selected landmark."""
        self.jump_to(self._session.landmarks.selected)

    def step(self, by: int) -> None:
        """Select the landmark that many places on, and jump to it."""
        self.jump_to(self._session.landmarks.neighbour(by))

    def jump_to_nearest(self) -> None:
        """Select the landmark nearest to the mouse, and jump to it."""
        self.jump_to(self._session.landmarks.nearest(*self._view.cursor_place()))

    def jump_to(self, name: str) -> None:
        """Select a landmark and centre the view on it."""
        landmarks, estimate = self._session.landmarks, self._session.estimate
        if not name:
            return
        landmarks.selected = name
        for section in (estimate.target, estimate.source):
            position = landmarks.positions(section).get(name)
            if position is not None:
                self._view.jump(section, position)
                return

    def _on_follow(self, on: bool) -> None:
        self._placing.follow = on

    def _on_first(self, on: bool) -> None:
        self._placing.target_first = on
        self.refresh_prompt()

    def _build(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for part in (
            self._place,
            self._prompt,
            self._follow,
            self._first,
            self.table,
            in_row(self._jump, self._delete, self._undo, self._redo),
            in_row(self._load, self._save),
        ):
            column.addWidget(part)
