"""Metrics: how good domains are, against what, in which space; and what marks each of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.viewer import Viewer
from qtpy.QtWidgets import QFileDialog, QTabWidget

from napari_stomics.core.errors import UserError
from napari_stomics.data.scores import ScoreRefs
from napari_stomics.docks.dock import Dock
from napari_stomics.docks.job_bar import JobBar, MessageText
from napari_stomics.docks.layout import Fold, button, in_column, in_row, wrapped_label
from napari_stomics.docks.messages import show_info
from napari_stomics.docks.metrics_tables import ContingencyView, MarkerTableView, ScoreTableView
from napari_stomics.docks.name_combo import NameCombo
from napari_stomics.docks.refs_form import RefsForm
from napari_stomics.docks.size_bars import SizeBars
from napari_stomics.docks.workbench import told_to_user
from napari_stomics.session.choices import choices
from napari_stomics.workflow.steps import Step

if TYPE_CHECKING:
    from napari_stomics.core.markers import Markers
    from napari_stomics.core.scores import ScoreTable
    from napari_stomics.data.schema import RunRecord

_EMPTY = (
    "Open a study first (Study and sections). Then score its annotation, or find domains in it "
    "(Fusion and domains) and score those."
)
_NO_LABELS = (
    "This section has no labels: find domains first (Fusion and domains), or choose another."
)
_NO_SCORES = "Not scored yet."
_NO_TRUTH = "Choose an annotation under Compare with, and score again, to see the contingency."
_SAME = (
    "Labels and Compare with are the same column: choose another of the two, and score again, to "
    "see the contingency."
)
_NO_MARKERS = "No markers yet. They are found for the labels and the section chosen above."
_TESTS = {"t test (fast)": "t-test_overestim_var", "Wilcoxon": "wilcoxon"}
_TABS = ("Scores", "Contingency", "Markers")


class MetricsDock(Dock):
    """Score labels of the spots, and find the markers of each domain.

    Parameters
    ----------
    napari_viewer
        The napari viewer; given by napari.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self._scores: ScoreTable | None = None
        self._markers: Markers | None = None
        self._marker_run: RunRecord | None = None
        self._offered: tuple[Any, Any] = (None, None)
        self._compared: tuple[Any, Any] = (None, None)
        self._build()
        bench = self._bench
        self.listen(
            (bench.study_opened, self.refresh),
            (bench.results_changed, self.refresh),
            (bench.runner.started, self._update_buttons),
            (bench.runner.finished, self._update_buttons),
        )
        self.refresh()

    # -- layout ------------------------------------------------------------------------------

    def _build(self) -> None:
        self.form = RefsForm(ScoreRefs, self._bench.session)
        self.note = wrapped_label()
        self.score = button("Score", self._on_score, "Measure every score, in the background.")
        self.bar = JobBar(self._bench.runner, is_of_metrics)
        self.tabs = QTabWidget()
        for title, content in zip(
            _TABS, (self._score_tab(), self._contingency_tab(), self._marker_tab()), strict=True
        ):
            self.tabs.addTab(content, title)
        self.export = button(
            "Export CSV…", self._on_export, "Write the table of this tab, with its protocol."
        )
        self.fill(
            in_column(
                Fold("What is scored", self.form),
                self.note,
                self.score,
                self.bar,
                self.tabs,
                self.export,
                stretch=True,
            )
        )
        self.form.changed.connect(self._on_form)
        self.tabs.currentChanged.connect(self._update_buttons)

    def _score_tab(self) -> Any:
        self.table = ScoreTableView()
        self.protocol = MessageText()
        self.protocol.setAccessibleName("How the score was measured")
        self.sizes = SizeBars()
        self.table.protocol_shown.connect(self._on_protocol)
        return in_column(self.table, self.protocol, self.sizes, stretch=True)

    def _contingency_tab(self) -> Any:
        self.contingency = ContingencyView()
        self.matches = MessageText()
        self.matches.setAccessibleName("Best match of the domains")
        return in_column(self.contingency, self.matches, stretch=True)

    def _marker_tab(self) -> Any:
        self.modality, self.test, self.domain = NameCombo(), NameCombo(), NameCombo()
        self.test.set_names(list(_TESTS))
        tips = ("Table whose features are ranked", "Test of each domain against all other spots")
        for box, tip in zip((self.modality, self.test), tips, strict=True):
            box.setToolTip(tip)
            box.setAccessibleName(tip)
        self.domain.setToolTip("Domain whose markers are listed")
        self.domain.setAccessibleName("Domain")
        self.find_markers = button(
            "Find markers", self._on_find, "Rank every feature, in the background."
        )
        self.markers = MarkerTableView()
        self.marker_note = MessageText()
        self.marker_note.setAccessibleName("How the markers were found")
        self.markers.feature_chosen.connect(self._on_feature)
        self.domain.currentTextChanged.connect(self._show_domain)
        self.modality.currentTextChanged.connect(self._show_markers)
        return in_column(
            in_row(self.modality, self.test),
            self.find_markers,
            self.domain,
            self.markers,
            self.marker_note,
            stretch=True,
        )

    # -- keeping in step ---------------------------------------------------------------------

    def taken_up(self) -> None:
        """Show what happened meanwhile."""
        self.refresh()

    def refresh(self) -> None:
        """Offer what the study holds now, and show what was measured of it."""
        self.form.refresh()
        self._on_form()

    def _offer_embedding(self) -> None:
        """Take the embedding that the chosen domains come from, or else the newest."""
        labels = self.form.values().get("labels")
        made = [run for run in self._bench.session.results() if run.kind == "embedding"]
        wanted = made[-1].key if made else None
        for run in self._bench.session.results():
            if run.kind == "domains" and run.key == labels:
                wanted = run.step["inputs"].get("embedding", wanted)
        if (labels, wanted) != self._offered:
            self._offered = (labels, wanted)
            if wanted is not None:
                self.form.set_value("embedding", wanted)

    def _offer_annotation(self) -> None:
        """Compare with the section's annotation, or nothing where it is what is judged."""
        wanted = self.form.other_than_labels()
        about = (self.form.values().get("section"), wanted)
        if about != self._compared:
            self._compared = about
            self.form.set_value("annotation", wanted)

    def _on_form(self) -> None:
        self._offer_embedding()
        self._offer_annotation()
        study, chosen = self._bench.session.study, self.form.values()
        modalities = choices(study, "modality:section", chosen)
        self.modality.set_names(modalities, modalities[0] if modalities else None)
        names = self._bench.session.section_names
        self.note.setText("" if chosen.get("labels") else _NO_LABELS if names else _EMPTY)
        self.note.setVisible(bool(self.note.text()))
        self._show_scores()
        self._show_markers()
        self._update_buttons()

    def _update_buttons(self, *_: Any) -> None:
        ready = bool(self.form.values().get("labels"))
        busy = any(is_of_metrics(job.kind) for job in self._bench.runner.active())
        self.score.setEnabled(ready and not busy)
        self.find_markers.setEnabled(ready and not busy and bool(self.modality.currentText()))
        there = (self._scores, self._truth, self._markers)[self.tabs.currentIndex()]
        self.export.setEnabled(there is not None)

    @property
    def _truth(self) -> ScoreTable | None:
        """The scores, if they were made with an annotation."""
        found = self._scores
        return found if found is not None and found.truth_names else None

    def _newest(self, kind: str, **more: str) -> RunRecord | None:
        """The newest result of a kind for the section and labels that are chosen."""
        chosen = self.form.values()
        wanted = {name: chosen.get(name) for name in ("section", "labels")} | more
        for run in reversed(self._bench.session.results()):
            inputs = run.step["inputs"]
            if run.kind == kind and all(inputs.get(k) == v for k, v in wanted.items()):
                return run
        return None

    def _show_scores(self) -> None:
        run = self._newest("scores")
        self._scores = None
        if run is not None:
            with told_to_user("Show scores"):
                self._scores = self._bench.session.load_result(run)
        found = self._scores
        self.table.setVisible(found is not None)
        self.table.show_scores(() if found is None else found.rows)
        self._on_protocol("")
        if found is None:
            self.sizes.show_sizes((), (), {})
        else:
            self.sizes.show_sizes(found.names, found.sizes.tolist(), self._colours(found))
        self.contingency.show_counts(self._truth)
        self.contingency.setVisible(self._truth is not None)
        chosen = self.form.values()
        missing = _SAME if chosen.get("labels") == chosen.get("annotation") else _NO_TRUTH
        self.matches.show_text(missing if self._truth is None else _matched(self._truth))

    def _colours(self, found: ScoreTable) -> dict[str, str]:
        """Colours of the domains as they are on the tissue; none where the labels are gone."""
        from napari_stomics.layers.colour import colouring

        try:
            study = self._bench.session.study
            return dict(colouring(study, found.section, found.label_name, kind="obs").legend)
        except UserError:
            return {}

    def _show_markers(self) -> None:
        run = self._marker_run = self._newest("markers", modality=self.modality.currentText())
        self._markers = None
        if run is not None:
            with told_to_user("Show markers"):
                self._markers = self._bench.session.load_result(run)
        names = [] if self._markers is None else [t.domain for t in self._markers.tables]
        self.domain.set_names(names, names[0] if names else None)
        self.domain.setVisible(bool(names))
        self._show_domain()

    def _show_domain(self) -> None:
        found = self._markers
        table = None if found is None else found.of_domain(self.domain.currentText())
        self.markers.setVisible(table is not None)
        self.markers.show_markers(table, "" if found is None else found.effect)
        if found is None or table is None:
            self.marker_note.show_text(_NO_MARKERS)
            return
        moran, geary = found.median_autocorrelation()
        self.marker_note.show_text(
            f"{table.spots} spots in {table.domain}. Click a row to see it on the tissue.\n"
            f"Top five of every domain: median Moran's I {moran:.2f}, Geary's C {geary:.2f}.\n"
            f"{found.protocol}"
        )

    # -- slots -------------------------------------------------------------------------------

    def step(self) -> Step:
        """Return the step that scores what is chosen."""
        chosen = self.form.values()
        return Step(method="scores/domains", inputs=chosen, key=self._key("scores"))

    def marker_step(self) -> Step:
        """Return the step that finds markers of what is chosen."""
        chosen = self.form.values()
        inputs: dict[str, Any] = {
            name: chosen[name] for name in ("section", "others", "labels") if name in chosen
        }
        modality = self.modality.currentText()
        return Step(
            method="markers/domains",
            inputs={**inputs, "modality": modality},
            params={"test": _TESTS[self.test.currentText()]},
            key=self._key(f"markers_{modality}"),
        )

    def _key(self, word: str) -> str:
        """A name that tells the labels, and the section where another one has it already."""
        chosen = self.form.values()
        name, section = f"{chosen.get('labels')}_{word}", chosen.get("section")
        for run in self._bench.session.results():
            if run.key == name and run.step["inputs"].get("section") != section:
                return f"{name}_{section}"
        return name

    def _on_protocol(self, text: str) -> None:
        found = self._scores
        self.protocol.show_text(text or (_NO_SCORES if found is None else _told(found)))

    def _on_score(self) -> None:
        self.tabs.setCurrentIndex(min(self.tabs.currentIndex(), 1))
        self._bench.run(self.step())

    def _on_find(self) -> None:
        self._bench.run(self.marker_step())

    def _on_feature(self, name: str) -> None:
        from napari_stomics.layers.results import paint_gene

        run, found = self._marker_run, self._markers
        if run is None or found is None:
            return
        with told_to_user(f"Show {name}"):
            viewer, study = self._bench.viewer, self._bench.session.study
            for layer in paint_gene(viewer, study, found, run.key, name):
                layer.visible = True
                viewer.layers.move(viewer.layers.index(layer), len(viewer.layers))

    def _on_export(self) -> None:
        title = _TABS[self.tabs.currentIndex()]
        labels = self.form.values().get("labels", "labels")
        name = f"{labels}_{title.lower()}.csv"
        folder = self._bench.session.study.path
        start = Path(name) if folder is None else folder.parent / name
        chosen, _ = QFileDialog.getSaveFileName(
            self, f"Export {title.lower()}", str(start), "Table (*.csv)"
        )
        if chosen:
            with told_to_user("Export"):
                show_info(f"Written to {self.write(Path(chosen))}.")

    def write(self, path: Path) -> Path:
        """Write the table of the open tab; the dialogue has asked whether to replace a file.

        Raises
        ------
        UserError
            If there is nothing to write, or it cannot be written.
        """
        from napari_stomics.data import score_tables

        scores, markers = self._scores, self._markers
        if self.tabs.currentIndex() == 2 and markers is not None:
            return score_tables.write_markers_csv(path, markers, overwrite=True)
        if self.tabs.currentIndex() == 1 and scores is not None:
            return score_tables.write_contingency_csv(path, scores, overwrite=True)
        if self.tabs.currentIndex() == 0 and scores is not None:
            return score_tables.write_scores_csv(path, scores, overwrite=True)
        raise UserError("This table is empty.", "Score the labels, or find their markers, first.")


def is_of_metrics(kind: str) -> bool:
    """Whether a job scores domains or finds their markers."""
    return kind.startswith(("scores/", "markers/"))


def _told(found: ScoreTable) -> str:
    against = f" against {found.truth_name}" if found.truth_name else ""
    return f"{len(found.names)} domains of {found.label_name}{against}. Click a score to see how."


def _matched(found: ScoreTable) -> str:
    pairs = ", ".join(f"{domain} = {name}" for domain, name in found.matches.items())
    return (
        f"Rows: {found.truth_name}; columns: {found.label_name}; shaded by the share of the row. "
        f"Best one-to-one match (bold): {pairs}."
    )
