"""What a plan says, layer by layer: ticked on and off, and beside another plan's."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

from qtpy.compat import isalive
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QGridLayout, QVBoxLayout, QWidget

from napari_stomics.core.errors import UserError
from napari_stomics.docks.gene_line import GeneLine
from napari_stomics.docks.layout import button, in_row, wrapped_label
from napari_stomics.docks.name_combo import NameCombo
from napari_stomics.docks.plan_panel import PlanPanel
from napari_stomics.docks.workbench import Workbench, told_to_user
from napari_stomics.layers.plan import PLAN_LAYERS, paint_part, part_layers, shown_parts
from napari_stomics.layers.plan_values import PartValues, plan_values, shared_genes
from napari_stomics.layers.tags import tag, tagged

if TYPE_CHECKING:
    from napari_stomics.core.plans import TransportPlan
    from napari_stomics.data.study import Study

_EVENTS = ("inserted", "removed", "visible")
_GENE_PARTS = {"gene carried": "Carried", "gene measured": "Measured", "gene residual": "Residual"}
_GENE_TIPS = {
    "gene carried": "Mean of the moving section's expression under the mass that arrives.",
    "gene measured": "What the fixed section's own table says, with the same colour range.",
    "gene residual": "Measured minus carried: green where more is measured, pink where less.",
}


class PlanLayersPanel(PlanPanel):
    """Tick boxes for the layers of a plan, and its comparison with another plan.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    KIND = "plan layers"

    def __init__(self, bench: Workbench) -> None:
        super().__init__(bench)
        self._plan: TransportPlan | None = None
        self._refused: dict[str, str] = {}
        self._gene = ""
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self.follow_layers)
        self._build()
        self._hear = _hearing(ref(self))
        bench.viewer.layers.events.connect(self._hear)
        bench.comparison_changed.connect(self._show_comparison)
        self.clear()

    def _build(self) -> None:
        box = QWidget()
        grid = QGridLayout(box)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(2)
        self.ticks: dict[str, QCheckBox] = {}
        for i, layer in enumerate(PLAN_LAYERS):
            tick = self.ticks[layer.name] = QCheckBox(layer.title)
            tick.setToolTip(layer.tip)
            tick.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            tick.clicked.connect(partial(_ticked, ref(self), layer.name))
            grid.addWidget(tick, i // 2, i % 2)
        self.gene = GeneLine()
        self.gene.setPlaceholderText("gene to carry over: part of its name")
        self.gene.setAccessibleName("Gene to carry over")
        self.gene.chosen.connect(self._on_gene)
        self.gene_ticks = {part: QCheckBox(text) for part, text in _GENE_PARTS.items()}
        for part, tick in self.gene_ticks.items():
            tick.setToolTip(_GENE_TIPS[part])
            tick.clicked.connect(partial(_part_ticked, ref(self), part))
        self.beside = button(
            "Carried beside measured",
            self._on_beside,
            "Two views with linked cameras; the same colour range in both.",
            checkable=True,
        )
        self.other, self.which = NameCombo(), NameCombo()
        self.other.setToolTip("Another plan of the same two sections.")
        self.which.setToolTip("The layer to compare.")
        self.which.set_names([q.title for q in PLAN_LAYERS if q.name not in ("arrows", "gene")])
        self.compare = button(
            "Compare with…",
            self._on_compare,
            "This layer of both plans in two views with linked cameras.",
            checkable=True,
        )
        self.note = wrapped_label()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for widget in (
            box,
            self.gene,
            in_row(*self.gene_ticks.values()),
            self.beside,
            in_row(self.compare, self.other, self.which),
            self.note,
        ):
            column.addWidget(widget)

    # -- the plan -----------------------------------------------------------------------------

    def prepare(self) -> Any:
        """Find which genes can be carried over, and what cannot be shown and why."""
        return _surveyed

    def show_plan(self, prepared: Any) -> None:
        """Offer the layers of this plan."""
        self._plan, genes, self._refused = prepared
        self.gene.set_names(genes)
        for name, tick in self.ticks.items():
            layer = next(q for q in PLAN_LAYERS if q.name == name)
            tick.setToolTip(self._refused.get(name, layer.tip))
        self.follow_layers()

    def clear(self) -> None:
        """Offer nothing."""
        self._plan, self._refused = None, {}
        self.note.setText("" if self._run else "Choose a plan to see its layers.")
        self.follow_layers()

    def let_go(self) -> None:
        """Leave a comparison that was begun here."""
        super().let_go()
        if self.compared:
            with told_to_user("Compare"):
                self._bench.leave_comparison()

    def release(self) -> None:
        """Listen to the layers no longer."""
        self._bench.viewer.layers.events.disconnect(self._hear)

    # -- keeping in step -----------------------------------------------------------------------

    def follow_layers(self) -> None:
        """Tick what is seen."""
        viewer, key = self._bench.viewer, self._key
        shown = shown_parts(viewer, key) if key else {}
        for name, tick in self.ticks.items():
            tick.setEnabled(self._plan is not None and name not in self._refused)
            tick.setChecked(shown.get(name, False))
        parts = {tag(q)["part"]: q for q in part_layers(viewer, key, "gene")} if key else {}
        self._gene = next((str(tag(q).get("gene")) for q in parts.values()), self._gene)
        for part, box in self.gene_ticks.items():
            box.setEnabled(part in parts)
            box.setChecked(part in parts and bool(parts[part].visible))
        self.ticks["gene"].setEnabled(self._plan is not None and bool(self._gene))
        self.gene.setEnabled(self._plan is not None)
        self.beside.setEnabled({"gene carried", "gene measured"} <= set(parts) or self.compared)
        self._offer()
        self._show_comparison()

    def _offer(self) -> None:
        """List the other plans of the same two sections, the newest first."""
        others: list[str] = []
        if self._run is not None:
            pair = [self._run.step["inputs"][n] for n in ("source", "target")]
            for run in reversed(self._bench.session.results()):
                inputs = run.step["inputs"]
                same = [inputs.get("source"), inputs.get("target")] == pair
                if same and run.kind == self._run.kind and run.key != self._key:
                    others.append(run.key)
        self.other.set_names(list(dict.fromkeys(others)), others[0] if others else None)
        for widget in (self.other, self.which):
            widget.setEnabled(bool(others) and self._plan is not None)
        self.compare.setEnabled(bool(others) or self.compared)

    def _on_results(self) -> None:
        super()._on_results()
        self.follow_layers()

    @property
    def _key(self) -> str:
        return "" if self._run is None else self._run.key

    @property
    def compared(self) -> bool:
        """Whether two results are shown beside each other."""
        return self._bench.compared_mode == "results"

    def _show_comparison(self) -> None:
        on = self.compared
        for each in (self.compare, self.beside):
            each.setChecked(on and each.isChecked())

    # -- painting -----------------------------------------------------------------------------

    def set_shown(self, name: str, shown: bool) -> None:
        """Show one of the layers of the plan, painting it if need be, or hide it."""
        plan, viewer = self._plan, self._bench.viewer
        if plan is None:
            return
        there = part_layers(viewer, self._key, name)
        if not shown or there:
            for layer in there:
                first = name != "gene" or tag(layer)["part"] == "gene carried"
                layer.visible = shown and first
        elif name == "arrows":
            paint_part(viewer, self._bench.session.study, self._key, arrows=plan)
        else:
            self._paint(((self._key, plan, name),))

    def show_gene(self, gene: str) -> None:
        """Carry a gene over and show it."""
        if self._plan is not None:
            self._gene = gene
            self._paint(((self._key, self._plan, "gene"),))

    def _paint(self, wanted: tuple[tuple[str, Any, str], ...], then: Any = None) -> None:
        """Work out values in a job and paint them; afterwards do what comes then."""
        study, gene = self._bench.session.study, self._gene or None

        def work(ctx: Any) -> list[tuple[str, tuple[PartValues, ...]]]:
            return [(key, plan_values(study, plan, name, gene=gene)) for key, plan, name in wanted]

        self._bench.runner.start(
            work,
            title=f"Show {', '.join(name for _, _, name in wanted)}",
            kind=f"{self._kind} {[(key, name) for key, _, name in wanted]}",
            on_done=partial(_painted, ref(self), study, then),
            on_failed=partial(_failed, ref(self)),
            owner=self,
            threads=1,
        )

    # -- comparing -----------------------------------------------------------------------------

    def compare_with(self, other: str, name: str) -> None:
        """Show a layer of this plan on the left and of another one on the right.

        Parameters
        ----------
        other
            Key of the other plan.
        name
            One of :data:`~napari_stomics.layers.plan.PLAN_LAYERS`.

        Raises
        ------
        UserError
            If there is no such plan, or the layer cannot be shown.
        """
        session, plan = self._bench.session, self._plan
        run = next((r for r in reversed(session.results()) if r.key == other), None)
        if plan is None or run is None:
            raise UserError(f"There is no plan {other!r} to compare with.", "Choose another one.")
        viewer = self._bench.viewer
        both = ((self._key, plan), (other, session.load_result(run)))
        missing = tuple((k, p, name) for k, p in both if not part_layers(viewer, k, name))
        show = partial(_beside, ref(self), *((key, name) for key, _ in both))
        if missing:
            self._paint(missing, then=show)
        else:
            show()

    def _show_beside(self, left: tuple[str, str], right: tuple[str, str]) -> None:
        """Two views, each with one part of a result, over the images."""
        plan, viewer = self._plan, self._bench.viewer
        if plan is None:
            return
        self._bench.leave_comparison()
        comparison = self._bench.comparison(plan.source, plan.target)
        comparison.set("results", left=left, right=right)
        layers = [q for key, part in (left, right) for q in tagged(viewer, result=key, part=part)]
        from napari_stomics.layers.views import look_at

        look_at(viewer, layers, fit_view=True)
        self.note.setText(f"Left: {layers[0].name}\nRight: {layers[-1].name}")

    # -- slots --------------------------------------------------------------------------------

    def _on_gene(self, gene: str) -> None:
        with told_to_user("Carry a gene over"):
            self.show_gene(gene)

    def _on_beside(self) -> None:
        with told_to_user("Compare"):
            if self.beside.isChecked():
                self.compare.setChecked(False)
                self._show_beside((self._key, "gene carried"), (self._key, "gene measured"))
                self.beside.setChecked(True)
            else:
                self._end_comparison()

    def _on_compare(self) -> None:
        with told_to_user("Compare"):
            if self.compare.isChecked():
                self.beside.setChecked(False)
                title = self.which.currentText()
                name = next(q.name for q in PLAN_LAYERS if q.title == title)
                self.compare_with(self.other.currentText(), name)
            else:
                self._end_comparison()

    def _end_comparison(self) -> None:
        self._bench.leave_comparison()
        self.note.setText("")


def _surveyed(study: Study, plan: TransportPlan) -> Any:
    """The plan, the genes that can be carried over, and what cannot be shown and why."""
    refused = {}
    for name in ("disagreement", "agreement"):
        try:
            plan_values(study, plan, name)
        except UserError as error:
            refused[name] = f"{error.message} {error.hint}"
    return plan, shared_genes(study, plan), refused


def _ticked(panel: ref[PlanLayersPanel], name: str, shown: bool) -> None:
    found = panel()
    if found is not None:
        with told_to_user("Show plan"):
            found.set_shown(name, shown)


def _part_ticked(panel: ref[PlanLayersPanel], part: str, shown: bool) -> None:
    found = panel()
    if found is not None:
        for layer in tagged(found._bench.viewer, result=found._key, part=part):
            layer.visible = shown


def _painted(panel: ref[PlanLayersPanel], study: Any, then: Any, values: Any) -> None:
    found = panel()
    if found is None or not isalive(found) or found._bench.session.study is not study:
        return
    for key, parts in values:
        paint_part(found._bench.viewer, study, key, parts)
    found.follow_layers()
    if then is not None:
        with told_to_user("Compare"):
            then()


def _failed(panel: ref[PlanLayersPanel], error: BaseException) -> None:
    found = panel()
    if found is not None and isalive(found):
        found.follow_layers()


def _beside(panel: ref[PlanLayersPanel], left: tuple[str, str], right: tuple[str, str]) -> None:
    found = panel()
    if found is not None and isalive(found):
        found._show_beside(left, right)
        found.compare.setChecked(True)


def _hearing(panel: ref[PlanLayersPanel]) -> Any:
    """Return what hears of changes in the layers without keeping the panel alive."""

    def hear(event: Any) -> None:
        found = panel()
        if found is None or event.type not in _EVENTS or not isalive(found):
            return
        if not found._soon.isActive():
            found._soon.start(0)

    return hear
