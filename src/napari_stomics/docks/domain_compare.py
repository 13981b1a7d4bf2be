"""Domains beside an annotation or beside other domains: contingency, agreement, matched colours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_stomics.core.errors import UserError
from napari_stomics.docks.docking import raise_dock
from napari_stomics.docks.domain_choice import DomainChoice, edit_step
from napari_stomics.docks.layout import button, in_row, wrapped_label
from napari_stomics.docks.metrics_tables import ContingencyView
from napari_stomics.docks.name_combo import NameCombo
from napari_stomics.docks.workbench import Workbench, told_to_user
from napari_stomics.session.choices import choices

if TYPE_CHECKING:
    from napari_stomics.core.fusion import Domains
    from napari_stomics.core.scores import ScoreTable

METRICS = "Metrics of domains"


class DomainComparePanel(QWidget):
    """Sets the chosen domains beside an annotation or beside other stored domains.

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
        self.other = NameCombo()
        self.other.setAccessibleName("Compare with")
        self.other.setToolTip("An annotation, or other domains of the same section.")
        self.told = wrapped_label()
        self.table = ContingencyView()
        self.match = button(
            "Match colours", self.match_colours, "Give domains that match the same colour."
        )
        self.metrics = button("Open metrics", self._on_metrics, "All scores, with protocols.")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for widget in (self.other, self.told, self.table, in_row(self.match, self.metrics)):
            column.addWidget(widget)
        self.other.currentTextChanged.connect(self.show_comparison)
        self.refresh()

    def refresh(self) -> None:
        """Offer what the chosen domains can be compared with, and compare."""
        found = self._choice.result
        names: list[str] = []
        if found is not None:
            study = self._bench.session.study
            columns = choices(study, "column:section", {"section": found.section})
            names = [name for name in columns if name != self._choice.key]
        self.other.set_names(names, names[0] if names else None)
        self.other.setEnabled(bool(names))
        self.show_comparison()

    def showEvent(self, event: Any) -> None:
        """Compare now that somebody looks."""
        super().showEvent(event)
        self.show_comparison()

    def show_comparison(self) -> None:
        """Count how often the two meet, and score it; put off while nobody looks."""
        found = self._choice.result
        if found is not None and not self.isVisible():
            return
        truth = self._truth()
        there = found is not None and truth is not None
        self.match.setEnabled(there)
        self.table.setVisible(there)
        if found is None or truth is None:
            self.table.show_counts(None)
            self.told.setText(
                "Find domains first."
                if found is None
                else "There is no annotation and no other result to compare with."
            )
            return
        from napari_stomics.metrics.clustering import (
            adjusted_rand_index,
            normalised_mutual_information,
        )

        labels = np.asarray(found.labels, object)
        self.table.show_counts(counted(found, self._choice.key, self.other.currentText(), truth))
        known = int(((truth != "") & (labels != "")).sum())
        ari = adjusted_rand_index(truth, labels)
        nmi = normalised_mutual_information(truth, labels)
        self.told.setText(
            f"ARI {_figure(ari)}, NMI {_figure(nmi)} over {known:,} spots that both name. Rows: "
            f"{self.other.currentText()}, shaded by the share of the row; bold: matched."
        )

    def _truth(self) -> NDArray[Any] | None:
        """(n,) the other's names, in the order of the domains' spots; None without one."""
        found, column = self._choice.result, self.other.currentText()
        if found is None or not column:
            return None
        out = np.full(len(found.ids), "", object)
        some = False
        for i, name in enumerate(found.sections):
            section = self._bench.session.study.section(name)
            labels = section.labels(column)
            if labels is not None:
                at = dict(zip(section.ids, labels, strict=True))
                here = np.flatnonzero(found.of == i)
                out[here] = [at.get(spot, "") for spot in found.ids[here]]
                some = True
        return out if some else None

    # -- colours -----------------------------------------------------------------------------

    def match_colours(self) -> None:
        """Repaint other domains in the colours of these; these in those of an annotation."""
        with told_to_user("Match colours"):
            found, truth = self._choice.result, self._truth()
            if found is None or truth is None:
                raise UserError("There is nothing to match.", "Choose what to compare with.")
            key, other = self._choice.key, self.other.currentText()
            if self._choice.run_of(other) is not None:
                self._repaint_other(found, other)
            else:
                self._repaint_own(found, key, other, truth)

    def _repaint_other(self, found: Domains, other: str) -> None:
        from napari_stomics.data.domain_colours import carried_colours

        run = self._choice.run_of(other)
        assert run is not None
        theirs = self._bench.session.load_result(run)
        at = {
            (found.sections[s], spot): label
            for s, spot, label in zip(found.of, found.ids, found.labels, strict=True)
        }
        pairs = zip(theirs.of, theirs.ids, strict=True)
        ours = np.array([at.get((theirs.sections[s], spot), "") for s, spot in pairs], object)
        colours = carried_colours(
            ours, self._choice.colours, theirs.labels, theirs.names, by_name=False
        )
        self._recolour(run, colours)

    def _repaint_own(self, found: Domains, key: str, other: str, truth: NDArray[Any]) -> None:
        from napari_stomics.data.domain_colours import carried_colours
        from napari_stomics.layers.colour import colouring

        known = dict(colouring(self._bench.session.study, found.section, other).legend)
        known.pop("", None)
        colours = carried_colours(truth, known, found.labels, found.names, by_name=False)
        self._recolour(self._choice.run_of(key), colours)

    def _recolour(self, run: Any, colours: Mapping[str, str]) -> None:
        listed = ",".join(colours.values())
        self._bench.start(edit_step(run, "recolour", list(colours), colours=listed))

    def _on_metrics(self) -> None:
        with told_to_user("Open metrics"):
            raise_dock(self._bench.viewer, METRICS)


def counted(found: Domains, key: str, other: str, truth: NDArray[Any]) -> ScoreTable:
    """How often domains meet another partition, as the table of it takes it.

    Parameters
    ----------
    found, key
        The domains and their name.
    other, truth
        Name of the other partition, and (n,) its names with ``""`` for none.
    """
    from napari_stomics.core.scores import ScoreTable
    from napari_stomics.metrics.clustering import contingency, match_labels

    labels = np.asarray(found.labels, object)
    table = contingency(truth, labels)
    sizes = np.array([int((labels == name).sum()) for name in table.columns], np.intp)
    return ScoreTable(
        section=found.section,
        ids=found.ids,
        label_name=key,
        truth_name=other,
        rows=(),
        names=table.columns,
        sizes=sizes,
        truth_names=table.rows,
        counts=table.counts,
        matches={str(a): str(b) for a, b in match_labels(truth, labels).items()},
        isolated=np.full(len(labels), np.nan),
        sections=found.sections,
        of=found.of,
    )


def _figure(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "–"
