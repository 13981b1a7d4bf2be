"""The part of the stack's dock that shows it in three dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qtpy.QtWidgets import QCheckBox, QFormLayout, QVBoxLayout, QWidget

from napari_stomics.core.errors import UserError
from napari_stomics.docks.layout import button, in_column, wrapped_label
from napari_stomics.docks.number_box import Bounds, NumberBox
from napari_stomics.docks.workbench import Workbench


class StackViewPanel(QWidget):
    """Show sections above each other, at distances that are changed while one looks.

    Parameters
    ----------
    bench
        The workbench of the viewer.
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self._names: list[str] = []
        self._heights: list[float] | None = None
        self._natural = 1.0
        self._chosen = False
        self._filling = False
        self.shown = button(
            "Show in 3D", self._on_shown, "Each section at its height, as it is coloured.", True
        )
        self.spacing = NumberBox(whole=False, bounds=Bounds(gt=0.0))
        self.spacing.setToolTip("Distance between neighbouring sections, µm.")
        self.spacing.setAccessibleName("Spacing of the sections, µm")
        self.recorded = QCheckBox("Heights as recorded")
        self.recorded.setToolTip("The heights that the study holds, rather than equal distances.")
        self.note = wrapped_label()
        self.note.hide()
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Spacing (µm)", self.spacing)
        box = QWidget()
        box.setLayout(form)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(in_column(self.shown, box, self.recorded, self.note))
        self.spacing.edited.connect(self._on_spacing)
        self.recorded.toggled.connect(self._on_recorded)

    def set_sections(
        self, names: Sequence[str], heights: list[float] | None, fresh: bool = False
    ) -> None:
        """Show these sections in this order from now on.

        Parameters
        ----------
        names
            Sections, the lowest first.
        heights
            Their recorded heights in um; None unless all are known and differ.
        fresh
            Whether they are of another study, for which nothing was chosen yet.
        """
        from napari_stomics.layers.stack3d import natural_spacing

        had = self._heights is not None
        self._names, self._heights = list(names), heights
        self._chosen = self._chosen and not fresh
        self._filling = True
        try:
            self.recorded.setVisible(heights is not None)
            if fresh or had != (heights is not None):
                self.recorded.setChecked(heights is not None)
            if self._bench.stack.view is None:
                self._natural = natural_spacing(self._bench.viewer, self._names)
                self._suggest()
            self.spacing.setEnabled(not self.recorded.isChecked())
        finally:
            self._filling = False
        if self._bench.stack.view is not None:
            self._show()
        self.follow()

    def follow(self) -> None:
        """Show whether the stack is shown, whoever changed that."""
        on = self._bench.stack.view is not None
        self.shown.setChecked(on)
        self.shown.setEnabled(on or bool(self._names))

    def _on_shown(self) -> None:
        if self.shown.isChecked():
            self._show()
        else:
            self._bench.stack.leave()
        self.follow()

    def _on_spacing(self) -> None:
        if not self._filling:
            self._chosen = True
            self._change()

    def _on_recorded(self) -> None:
        self.spacing.setEnabled(not self.recorded.isChecked())
        if not self._filling:
            self._filling = True
            self._suggest()
            self._filling = False
            self._change()

    def _suggest(self) -> None:
        """Say how far apart the sections are, or a distance that lets one look between them."""
        if self.recorded.isChecked() and self._heights is not None:
            self.spacing.set_number(float(np.median(np.diff(sorted(self._heights)))))
        elif not self._chosen:
            self.spacing.set_number(self._natural)

    def _change(self) -> None:
        if self._bench.stack.view is not None:
            self._show()

    def _show(self) -> None:
        """Bring the view in line with what is chosen, or say why it cannot be."""
        text = ""
        try:
            self._bench.stack.show(self._names, self._distance())
        except ValueError as error:
            text = f"Spacing: {error}"
        except UserError as error:
            text = f"{error.message} {error.hint}"
        self.note.setText(text)
        self.note.setVisible(bool(text))

    def _distance(self) -> float | None:
        """Distance of neighbours in um; None stands for the recorded heights."""
        recorded = self.recorded.isChecked() and self._heights is not None
        return None if recorded else self.spacing.number()
