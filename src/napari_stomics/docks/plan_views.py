"""The parts of the alignment dock that look into a plan; each is read when it is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_stomics.docks.layout import Fold
from napari_stomics.docks.look_next_panel import LookNextPanel
from napari_stomics.docks.partner_panel import PartnerPanel
from napari_stomics.docks.plan_layers_panel import PlanLayersPanel
from napari_stomics.docks.quality_panel import AlignmentQualityPanel
from napari_stomics.docks.workbench import Workbench

if TYPE_CHECKING:
    from napari_stomics.data.schema import RunRecord


class PlanViews(QWidget):
    """Partners, doubtful regions, layers and quality of one plan.

    A fold that is closed reads nothing. While an alignment runs or a preview is
    shown nothing is looked into: the sections move.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._run: RunRecord | None = None
        self._name = ""
        self.partners = PartnerPanel(bench)
        self.look_next = LookNextPanel(bench)
        self.layers = PlanLayersPanel(bench)
        self.quality = AlignmentQualityPanel(bench)
        self._panels = (self.partners, self.look_next, self.layers)
        self.folds = {
            "partners": Fold("Partners of a spot", self.partners, shown=False),
            "look_next": Fold("Where to look next", self.look_next, shown=False),
            "layers": Fold("Layers of the plan", self.layers, shown=False),
            "quality": Fold("Quality", self.quality, shown=False),
        }
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for fold in self.folds.values():
            column.addWidget(fold)
            fold.toggled.connect(self._refresh)

    def show_run(self, run: RunRecord | None, name: str) -> None:
        """Look into the plan of a run.

        Parameters
        ----------
        run
            The run; None looks at nothing.
        name
            Name under which its plan is stored.
        """
        self._run, self._name = run, name
        self.quality.refresh()
        self._refresh()

    def _refresh(self) -> None:
        folds = (self.folds["partners"], self.folds["look_next"], self.folds["layers"])
        for fold, panel in zip(folds, self._panels, strict=True):
            panel.set_plan(self._run if fold.is_open else None)
        if self.folds["quality"].is_open and self._name:
            self.quality.set_plan(self._name)

    def taken_up(self) -> None:
        """Act on the viewer again."""
        for panel in self._panels:
            panel.taken_up()

    def let_go(self) -> None:
        """Leave the viewer as it was."""
        for panel in self._panels:
            panel.let_go()
