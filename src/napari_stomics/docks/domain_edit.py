"""Domains edited by hand: renamed, recoloured, merged, split, picked on the canvas, undone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog, QSizePolicy, QSpinBox, QVBoxLayout, QWidget

from napari_stomics.core.errors import UserError
from napari_stomics.docks.domain_choice import DomainChoice, edit_step
from napari_stomics.docks.domain_table import DomainTable
from napari_stomics.docks.job_bar import JobBar
from napari_stomics.docks.layout import button, in_row, wrapped_label
from napari_stomics.docks.name_combo import NameCombo
from napari_stomics.docks.workbench import Workbench, told_to_user

METHOD = "domains/edit"
_DRAG_PX = 5
_BY = {"by what spots are like": "embedding", "into pieces in space": "space"}


class DomainEditPanel(QWidget):
    """The table of the chosen domains and what can be done with it.

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
        self._build()
        self.table.renamed.connect(self.rename)
        self.table.colour_wanted.connect(self._ask_colour)
        self.table.itemSelectionChanged.connect(self._show_buttons)
        self.refresh()

    def _build(self) -> None:
        self.hint = wrapped_label()
        self.table = DomainTable()
        self.pick = button(
            "Pick on the canvas",
            self._on_pick,
            "Click a domain on the canvas to select it; with Shift, one more.",
            checkable=True,
        )
        self.colour = button("Colour…", self._on_colour, "Choose another colour.")
        self.merge = button("Merge", self.merge_selected, "Make the selected domains one.")
        self.split = button("Split", self.split_selected, "Split the selected domain.")
        self.by = NameCombo()
        self.by.addItems(list(_BY))
        self.by.setToolTip("How the parts are told apart.")
        self.by.setAccessibleName("Split by")
        self.by.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.parts = QSpinBox()
        self.parts.setRange(2, 20)
        self.parts.setSuffix(" parts")
        self.parts.setToolTip("Into how many parts.")
        self.parts.setAccessibleName("Parts")
        self.undo = button("Undo", self._bench.undo)
        self.redo = button("Redo", self._bench.redo)
        self.bar = JobBar(self._bench.runner, lambda kind: kind.startswith(METHOD))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for widget in (
            self.hint,
            self.table,
            in_row(self.pick, self.colour),
            in_row(self.merge, self.split, self.parts),
            self.by,
            in_row(self.undo, self.redo),
            self.bar,
        ):
            column.addWidget(widget)

    # -- keeping in step ---------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether an edit is being computed: another would be made to what it replaces."""
        return any(job.kind.startswith(METHOD) for job in self._bench.runner.active())

    def refresh(self) -> None:
        """Show the chosen domains as they are now."""
        self.table.show_domains(self._choice.result, self._choice.colours)
        self.show_undo()
        self._show_buttons()

    def show_undo(self) -> None:
        """Say what can be undone."""
        stack = self._bench.session.undo
        for each, verb, text in (
            (self.undo, "Undo", stack.undo_text),
            (self.redo, "Do again", stack.redo_text),
        ):
            each.setEnabled(bool(text))
            each.setToolTip(f"{verb}: {text}" if text else f"Nothing to {verb.lower()}.")

    def on_jobs(self, _: Any = None) -> None:
        """Hear that a job has started or ended."""
        self._show_buttons()

    def _show_buttons(self) -> None:
        there, count, free = self._choice.run is not None, len(self.selected()), not self.is_busy
        for widget in (self.table, self.pick):
            widget.setEnabled(there and free)
        self.colour.setEnabled(free and count == 1)
        self.merge.setEnabled(free and 1 < count < self.table.rowCount())
        for each in (self.split, self.parts, self.by):
            each.setEnabled(free and count == 1)
        self.hint.setText(
            "Select domains in the table or on the canvas. Double-click a name to rename it, a "
            "swatch to recolour it."
            if there
            else "Find domains first; they can then be renamed, recoloured, merged and split."
        )

    def selected(self) -> list[str]:
        """Names of the selected domains."""
        return self.table.selected()

    # -- edits -------------------------------------------------------------------------------

    def rename(self, old: str, new: str) -> None:
        """Give a domain another name."""
        self._edit("rename", [old], name=new)

    def merge_selected(self) -> None:
        """Make the selected domains one, under the name of the first."""
        self._edit("merge", self.selected())

    def split_selected(self) -> None:
        """Split the selected domain."""
        by = _BY[self.by.currentText()]
        self._edit("split", self.selected(), parts=self.parts.value(), by=by)

    def set_colour(self, name: str, colour: str) -> None:
        """Give a domain another colour (hex), as an action that can be undone."""
        found, colours = self._choice.result, self._choice.colours
        if found is None or colours.get(name) == colour:
            return
        self._edit("recolour", [name], colours=colour)

    def _edit(self, action: str, names: list[str], **params: Any) -> None:
        with told_to_user(f"{action.capitalize()} domains"):
            run = self._choice.run
            if run is None:
                raise UserError("There are no domains yet.", "Find domains first.")
            if self.is_busy:
                raise UserError("Another edit is being computed.", "Wait until it is done.")
            self._bench.start(edit_step(run, action, names, **params))

    # -- colours -----------------------------------------------------------------------------

    def _on_colour(self) -> None:
        for name in self.selected()[:1]:
            self._ask_colour(name)

    def _ask_colour(self, name: str) -> None:
        before = QColor(self._choice.colours.get(name, "#808080"))
        chosen = QColorDialog.getColor(before, self, f"Colour of {name}")
        if chosen.isValid():
            self.set_colour(name, chosen.name(QColor.NameFormat.HexRgb))

    # -- the canvas --------------------------------------------------------------------------

    def _on_pick(self) -> None:
        self.set_picking(self.pick.isChecked())

    def set_picking(self, active: bool) -> None:
        """Have clicks on the canvas select domains, or no longer."""
        callbacks = self._bench.viewer.mouse_drag_callbacks
        if active and self._on_mouse not in callbacks:
            self._bench.take_canvas(self.stop_picking)
            callbacks.append(self._on_mouse)
        elif not active and self._on_mouse in callbacks:
            callbacks.remove(self._on_mouse)
        self.pick.setChecked(active)

    def stop_picking(self) -> None:
        """Leave the clicks on the canvas to whoever wants them next."""
        self.set_picking(False)

    def _on_mouse(self, viewer: Any, event: Any) -> Iterator[None]:
        """A press that stays is a click; one that moves is the user's own."""
        start, moved = tuple(event.pos), False
        place, more = tuple(event.position), "Shift" in event.modifiers
        viewbox = getattr(event, "viewbox", None)
        if event.button != 1:
            return
        yield
        while event.type == "mouse_move":
            moved = moved or math.dist(start, event.pos) > _DRAG_PX
            yield
        if not moved:
            with told_to_user("Pick domain"):
                self.pick_at(place, viewbox, more)

    def pick_at(self, place: Any, viewbox: Any = None, more: bool = False) -> str:
        """Select the domain at a place of the canvas and return its name.

        Parameters
        ----------
        place
            Place (..., y, x) on the canvas.
        viewbox
            View of napari's grid in which it lies.
        more
            Whether those selected stay so; clicked again, one is no longer selected.
        """
        from napari_stomics.layers.domains import domain_at

        name = domain_at(self._bench.viewer, self._choice.key, place, viewbox)
        if name in self.table.names():
            chosen = self.selected() if more else []
            kept = [n for n in chosen if n != name]
            self.table.select(kept if name in chosen else [*kept, name])
            self.table.setFocus(Qt.FocusReason.OtherFocusReason)
        return name
