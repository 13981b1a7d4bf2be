"""Fuse modalities, find domains, edit and compare them, and see what each factor is made of."""

from __future__ import annotations

from typing import Any

from napari.viewer import Viewer

from napari_stomics.core.fusion import Domains, Embedding, EmbeddingInputs, FusionInputs
from napari_stomics.docks.dock import Dock
from napari_stomics.docks.domain_choice import DomainChoice
from napari_stomics.docks.domain_compare import DomainComparePanel
from napari_stomics.docks.domain_edit import DomainEditPanel
from napari_stomics.docks.domain_panel import DomainPanel
from napari_stomics.docks.factor_panel import FactorPanel
from napari_stomics.docks.fusion_live import FusionLivePanel
from napari_stomics.docks.job_bar import JobBar
from napari_stomics.docks.layout import Fold, in_column
from napari_stomics.docks.method_form import MethodForm

_FUSION = {
    "": ("section", "others"),
    "What is fused": ("modalities", "stored", "leave_out", "histology"),
}
_DOMAINS = {"": ("section", "embedding", "annotation")}


class FusionDock(Dock):
    """Modalities to embedding to domains, and what is known about these.

    Parameters
    ----------
    napari_viewer
        The napari viewer; given by napari.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        bench, session = self._bench, self._bench.session
        self.fusion = MethodForm(
            bench, "fusion", FusionInputs, Embedding, _FUSION, ("Fuse", "Fuse (open a study first)")
        )
        self.fusion.refs.set_value("histology", False)
        self.domains = MethodForm(
            bench, "domains", EmbeddingInputs, Domains, _DOMAINS,
            ("Find domains", "Find domains (fuse modalities first)"),
        )  # fmt: skip
        self.live = FusionLivePanel(bench, self.fusion, self.domains)
        self.choice = DomainChoice(bench)
        self.found = DomainPanel(bench, self.choice)
        self.edit = DomainEditPanel(bench, self.choice)
        self.compare = DomainComparePanel(bench, self.choice)
        self.factors = FactorPanel(bench)
        self.fill(
            in_column(
                Fold("Fuse modalities", self.fusion),
                Fold("Fuse and find by sliders", self.live),
                Fold("Find domains", self.domains),
                Fold("Domains", in_column(self.found, self.edit)),
                Fold("Compare", self.compare, shown=False),
                Fold("Factors and weights", self.factors, shown=False),
                stretch=True,
            )
        )
        self.fusion.done.connect(self._on_fused)
        self.fusion.changed.connect(self.live.check_basis)
        self.domains.changed.connect(self.live.check_basis)
        self.domains.done.connect(self._on_found)
        self.choice.changed.connect(self._on_choice)
        self.listen(
            (session.study_changed, self._on_other_study),
            (bench.study_opened, self._on_study),
            (bench.results_changed, self._on_results),
            (bench.runner.started, self.edit.on_jobs),
            (bench.runner.finished, self._on_finished),
            (session.undo.changed, self.edit.show_undo),
            (session.left_out.changed, self.fusion.refresh),
        )
        self._on_results()

    def taken_up(self) -> None:
        """Show what happened meanwhile."""
        self._on_results()

    def let_go(self) -> None:
        """Leave the viewer as it was: a preview goes, clicks on the canvas are free."""
        self.live.drop()
        self.edit.stop_picking()

    # -- slots -------------------------------------------------------------------------------

    def _on_other_study(self) -> None:
        """What earlier jobs told was about another study."""
        for bar in self.findChildren(JobBar):
            bar.forget()

    def _on_study(self) -> None:
        self.live.drop()
        self._on_results()

    def _on_results(self) -> None:
        self.fusion.refresh()
        self.domains.refresh()
        self.factors.refresh()
        self.live.refresh()
        self.choice.refresh()

    def _on_choice(self) -> None:
        self.found.refresh()
        self.edit.refresh()
        self.compare.refresh()

    def _on_fused(self, key: str) -> None:
        """Go on with what was just fused."""
        self.domains.refresh()
        self.domains.refs.set_value("section", self.fusion.refs.values().get("section"))
        self.domains.refs.set_value("embedding", key)
        self.factors.choice.choose(key)

    def _on_found(self, key: str) -> None:
        """Go on with the domains that were just found."""
        self.choice.choose(key)
        self.found.show_part("domains")

    def _on_finished(self, job: Any) -> None:
        self.edit.on_jobs()
        self.live.on_finished(job)
