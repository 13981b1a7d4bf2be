"""The results of a study: what they are worth, their layers, and how they came about."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QFileDialog,
    QListWidget,
    QListWidgetItem,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from napari_stomics.docks.gene_line import GeneLine
from napari_stomics.docks.layout import button, in_row
from napari_stomics.docks.messages import show_info
from napari_stomics.docks.result_text import is_converged, result_html
from napari_stomics.docks.section_tree import show_empty_ticks
from napari_stomics.docks.workbench import Workbench, told_to_user
from napari_stomics.layers.tags import tag, tagged

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_stomics.data.schema import RunRecord

_BY_GENE = ("prediction", "carried_values", "aggregation", "morphology", "plane")
"""Kinds that are a table of a section, of which one gene is shown at a time."""

_EVENTS = ("inserted", "removed", "visible", "name")
_TICKED = Qt.CheckState.Checked


class ResultPanel(QWidget):
    """Choose a result, see its figures, show its layers.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self._before: list[tuple[Any, bool]] = []
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self.follow_layers)
        self._build()

    def _build(self) -> None:
        self.list = QListWidget()
        self.list.setAccessibleName("Results")
        self.list.currentRowChanged.connect(self._on_chosen)
        self.layers = QListWidget()
        self.layers.setAccessibleName("Layers of the result")
        self.layers.itemChanged.connect(self._on_ticked)
        show_empty_ticks(self.layers)
        for view in (self.list, self.layers):
            view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
            view.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.alone = button(
            "Show alone", self._on_alone, "Hide all but the ticked layers and the image.", True
        )
        self.again = button("Paint again", self._on_again, "Make its layers anew.")
        self.gene = GeneLine()
        self.gene.chosen.connect(self._on_gene)
        self.figures = QTextBrowser()
        self.figures.setMinimumHeight(220)
        self.undo = button("Undo", self._bench.undo)
        self.redo = button("Redo", self._bench.redo)
        self.export = button("Export recipe…", self._on_export, "Write the log as a recipe (YAML).")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for widget in (
            self.list,
            in_row(self.undo, self.redo, self.export),
            self.figures,
            self.layers,
            self.gene,
            in_row(self.alone, self.again),
        ):
            column.addWidget(widget)

    # -- keeping in step ---------------------------------------------------------------------

    def refresh(self, newest: bool = False) -> None:
        """List the results anew.

        Parameters
        ----------
        newest
            Choose the newest result where another one has come.
        """
        runs = self._bench.session.results()
        chosen = self.run
        before = [
            self.list.item(i).data(Qt.ItemDataRole.UserRole) for i in range(self.list.count())
        ]
        self.list.blockSignals(True)
        self.list.clear()
        for i, run in enumerate(runs):
            item = QListWidgetItem(_line(run, runs[i + 1 :]), self.list)
            item.setData(Qt.ItemDataRole.UserRole, run.id)
            item.setToolTip(f"{run.started}, {run.seconds:.1f} s")
        self.list.blockSignals(False)
        ids = [run.id for run in runs]
        came = newest and ids and ids[-1] not in before
        keep = chosen is not None and chosen.id in ids and not came
        self.list.setCurrentRow(ids.index(chosen.id) if keep and chosen else len(ids) - 1)
        _fit(self.list, 3, 7)
        self.show_undo()
        self._show_run()

    @property
    def run(self) -> RunRecord | None:
        """The run whose result is chosen."""
        item = self.list.currentItem()
        wanted = item.data(Qt.ItemDataRole.UserRole) if item is not None else None
        return next((r for r in self._bench.session.results() if r.id == wanted), None)

    def show_undo(self) -> None:
        """Say what can be undone."""
        stack = self._bench.session.undo
        for each, verb, text in (
            (self.undo, "Undo", stack.undo_text),
            (self.redo, "Do again", stack.redo_text),
        ):
            each.setEnabled(bool(text))
            each.setToolTip(f"{verb}: {text}" if text else f"Nothing to {verb.lower()}.")
        self.export.setEnabled(bool(self._bench.session.results()))

    def on_layers(self, event: Any) -> None:
        """Hear of any change in the viewer's layers."""
        if event.type in _EVENTS and not self._soon.isActive():
            self._soon.start()

    def _show_run(self) -> None:
        run = self.run
        self._leave_alone()
        for widget in (self.figures, self.layers, self.alone, self.again):
            widget.setVisible(run is not None)
        self.gene.setVisible(run is not None and run.kind in _BY_GENE)
        if run is not None:
            self.figures.setHtml(result_html(run))
            genes = self._genes(run)
            self.gene.set_names(genes)
        self.follow_layers()

    def _genes(self, run: RunRecord) -> list[str]:
        if run.kind not in _BY_GENE:
            return []
        if run.kind in ("morphology", "plane"):
            return _features_of(self._bench, run)
        table = self._bench.session.study.sdata.tables.get(_table_of(self._bench, run))
        return [] if table is None else list(map(str, table.var_names))

    def follow_layers(self) -> None:
        """List the layers of the chosen result and tick what is visible."""
        found = self._layers()
        self.layers.blockSignals(True)
        self.layers.clear()
        for layer in reversed(found):
            item = QListWidgetItem(layer.name, self.layers)
            item.setToolTip(layer.name)
            item.setData(Qt.ItemDataRole.UserRole, tag(layer)["part"])
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(_TICKED if layer.visible else Qt.CheckState.Unchecked)
        self.layers.blockSignals(False)
        self.layers.setVisible(bool(found))
        self.alone.setEnabled(bool(found))
        _fit(self.layers, 1, 6)

    def _layers(self) -> list[Layer]:
        run = self.run
        return [] if run is None else tagged(self._bench.viewer, result=run.key)

    # -- showing -----------------------------------------------------------------------------

    def show_alone(self) -> None:
        """Show the ticked layers of the chosen result over the images of their sections."""
        from napari_stomics.layers.views import View, show

        run, layers = self.run, self._layers()
        if run is None or not layers:
            return
        wanted = [q for q in layers if q.visible] or layers[-1:]
        sections = tuple(dict.fromkeys(tag(q)["section"] for q in wanted))
        view = View(run.key, sections, results={run.key: tuple(tag(q)["part"] for q in wanted)})
        self._before = [(ref(q), was) for q, was in show(self._bench.viewer, view)]

    def _leave_alone(self) -> None:
        before, self._before = self._before, []
        for layer, visible in ((found(), visible) for found, visible in before):
            if layer is not None and layer in self._bench.viewer.layers:
                layer.visible = visible
        self.alone.setChecked(False)

    # -- slots -------------------------------------------------------------------------------

    def _on_chosen(self, row: int) -> None:
        with told_to_user("Show result"):
            self._show_run()

    def _on_ticked(self, item: QListWidgetItem) -> None:
        part = item.data(Qt.ItemDataRole.UserRole)
        for layer in self._layers():
            if tag(layer)["part"] == part:
                layer.visible = item.checkState() == _TICKED

    def _on_alone(self) -> None:
        with told_to_user("Show alone"):
            if self.alone.isChecked():
                self.show_alone()
            else:
                self._leave_alone()

    def _on_again(self) -> None:
        self._repaint("paint")

    def _on_gene(self, gene: str) -> None:
        self._repaint("paint_gene", gene)

    def _repaint(self, painter: str, *more: str) -> None:
        """Read the chosen result in the background and paint it."""
        run, session = self.run, self._bench.session
        if run is not None:
            self._bench.runner.start(
                lambda ctx: session.load_result(run),
                title=f"Show {run.key}",
                kind="show result",
                on_done=partial(_paint, self._bench, session.study, run, painter, more),
                owner=self,
                threads=1,
            )

    def _on_export(self) -> None:
        from napari_stomics.workflow.recipes import Recipe

        name, _ = QFileDialog.getSaveFileName(self, "Export recipe", "recipe.yaml", "*.yaml")
        if name:
            with told_to_user("Export recipe"):
                path = Path(name if Path(name).suffix else f"{name}.yaml")
                recipe = Recipe.from_study(self._bench.session.study)
                show_info(f"Recipe written to {recipe.write(path, overwrite=True)}.")


def _paint(
    bench: Workbench, study: Any, run: RunRecord, painter: str, more: tuple[str, ...], result: Any
) -> None:
    from napari_stomics.layers import results

    if bench.session.study is study:
        getattr(results, painter)(bench.viewer, study, result, run.key, *more)


def _table_of(bench: Workbench, run: RunRecord) -> str:
    from napari_stomics.data.carry import ends_of

    inputs = run.step["inputs"]
    name = inputs["test"] if "test" in inputs else ends_of(inputs)[1]
    section = bench.session.study.record.sections.get(name)
    return "" if section is None else section.tables.get(run.key, "")


def _features_of(bench: Workbench, run: RunRecord) -> list[str]:
    """Names of the features of morphology, or of a plane; they lie where the kind puts them."""
    from napari_stomics.data.homes import find_table
    from napari_stomics.data.plans import UNS_PREFIX

    try:
        table = find_table(bench.session.study, run.step["inputs"]["section"], run.key)
    except KeyError:
        return []
    named = table.uns[UNS_PREFIX + run.key].get("features")
    return [str(name) for name in (table.var_names if named is None else named)]


def _line(run: RunRecord, later: list[RunRecord]) -> str:
    mark = "" if is_converged(run) else "⚠ "
    note = "" if is_converged(run) else ", not converged"
    inputs = run.step["inputs"]
    where = [
        inputs[n] for n in ("section", "reference", "source", "target", "test") if inputs.get(n)
    ]
    replaced = any(
        other.key == run.key and other.kind == run.kind and other.step["inputs"] == inputs
        for other in later
    )
    note += ", replaced" if replaced else ""
    return f"{mark}{run.key}  ({' → '.join(map(str, where))}{note})"


def _fit(view: QListWidget, least: int, most: int) -> None:
    row = max(view.sizeHintForRow(0), view.fontMetrics().lineSpacing() + 2)
    rows = min(max(view.count(), least), most)
    view.setFixedHeight(rows * row + 2 * view.frameWidth() + 4)
