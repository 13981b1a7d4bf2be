"""Morphology and expression: which image features matter, which expression knows already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.viewer import Viewer
from qtpy.QtWidgets import QApplication

from napari_stomics.core.errors import UserError
from napari_stomics.core.plane import QUADRANTS
from napari_stomics.data.morphology import MODALITY, PlaneRefs
from napari_stomics.docks.dock import Dock
from napari_stomics.docks.job_bar import JobBar
from napari_stomics.docks.layout import Fold, button, in_column, in_row, wrapped_label
from napari_stomics.docks.name_combo import NameCombo
from napari_stomics.docks.param_form import ParamForm
from napari_stomics.docks.plane_cloud import AXES, BORDER_WORDS, cloud_of, describe
from napari_stomics.docks.refs_form import RefsForm
from napari_stomics.docks.scatter_view import Cloud, ScatterView
from napari_stomics.docks.workbench import told_to_user
from napari_stomics.workflow.steps import Step

if TYPE_CHECKING:
    from napari_stomics.core.plane import MorphologyPlane
    from napari_stomics.data.schema import RunRecord

FEATURES, PLANE = "morphology/features", "morphology/plane"
_NOTHING = "(nothing)"
_CHOOSE = "Choose a quadrant…"
_EMPTY = (
    "Open a study first (Study and sections). It takes a section with an H&E image and a table "
    "of expression, and an annotation, domains, or a region that you draw."
)
_NO_FEATURES = "First read the features of the H&E image; they become the modality “image”."
_SAME = (
    "Choose two different modalities to judge one against the other: those of the H&E image are "
    "read above."
)
_READY = "Choose what the features should be relevant to, or draw a region, and judge them."


def is_of_morphology(kind: str) -> bool:
    """Whether a job reads features or judges them."""
    return kind.startswith("morphology/")


class PlaneDock(Dock):
    """Judge features, look at them, and say which a fusion leaves out.

    Parameters
    ----------
    napari_viewer
        The napari viewer; given by napari.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self.plane: MorphologyPlane | None = None
        self._run: RunRecord | None = None
        self._current = ""
        self._selected: list[str] = []
        self._region: Any = None
        self._build()
        bench = self._bench
        self.listen(
            (bench.study_opened, self.refresh),
            (bench.results_changed, self.refresh),
            (bench.session.left_out.changed, self.show_marks),
            (bench.runner.started, self._update),
            (bench.runner.finished, self._update),
        )
        self.refresh()

    # -- layout ------------------------------------------------------------------------------

    def _build(self) -> None:
        from napari_stomics.core.registry import registry

        self.note = wrapped_label()
        fields = [name for name in PlaneRefs.model_fields if name != "region"]
        self.refs = RefsForm(PlaneRefs, self._bench.session, groups={"": fields})
        self.params = ParamForm(registry().get(PLANE).params)
        self.read = button(
            "Read image features", self._on_read, "Stains, texture and nuclei under each spot."
        )
        self.judge = button(
            "Judge the features", self._on_judge, "Relevance and shared information, with nulls."
        )
        self.draw = button(
            "Draw a region",
            self._on_draw,
            "Draw round spots on the canvas: relevance to lying inside is computed at once.",
        )
        self.bar = JobBar(self._bench.runner, is_of_morphology)
        self.shown, self.former, self.axes = NameCombo(), NameCombo(), NameCombo()
        self.axes.set_names(AXES, AXES[0])
        for box, name, tip in (
            (self.shown, "Plane", "The plane that is shown."),
            (self.former, "Arrows from", "Arrows lead from where the features lie in that plane."),
            (self.axes, "Axes", "Over its own null every feature has the same border."),
        ):
            box.setAccessibleName(name)
            box.setToolTip(tip)
            box.currentIndexChanged.connect(self._on_shown)
        self.view = ScatterView()
        self.view.clicked.connect(self._on_clicked)
        self.view.chosen.connect(self.select)
        self.verdict, self.about, self.chosen = (wrapped_label() for _ in range(3))
        self.key = wrapped_label()
        self.quadrant = NameCombo()
        self.quadrant.set_names([_CHOOSE, *QUADRANTS], _CHOOSE)
        self.quadrant.setAccessibleName("Choose a quadrant")
        self.quadrant.setToolTip("Choose all features of a quadrant.")
        self.quadrant.activated.connect(self._on_quadrant)
        self.use = button("Use", self._on_use, "Let the chosen features take part in a fusion.")
        self.leave = button(
            "Leave out", self._on_leave, "Leave the chosen features out of the next fusion."
        )
        self.copy = button("Copy names", self._on_copy, "Copy the names of the chosen features.")
        self.fill(
            in_column(
                self.note,
                self.read,
                self.refs,
                Fold("Options", self.params, shown=False),
                in_row(self.judge, self.draw),
                self.bar,
                in_row(self.shown, self.axes),
                self.former,
                self.view,
                self.key,
                self.about,
                self.verdict,
                self.quadrant,
                self.chosen,
                in_row(self.use, self.leave, self.copy),
                stretch=True,
            )
        )

    def taken_up(self) -> None:
        """Show what happened meanwhile."""
        self.refresh()

    def let_go(self) -> None:
        """Give the canvas back."""
        self._stop_drawing()

    # -- keeping in step ---------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the planes that the study holds now, the newest first chosen."""
        self.refs.refresh()
        chosen = self.refs.values()
        if chosen.get("modality") == chosen.get("other"):
            self.refs.set_value("modality", MODALITY)  # the features have come meanwhile
        newest = self._keys()[-1] if self._keys() else None
        came = newest is not None and newest not in self.shown.names()
        self.shown.set_names(self._keys(), newest)
        if came and newest is not None:
            self.shown.blockSignals(True)
            self.shown.setCurrentText(newest)
            self.shown.blockSignals(False)
        self.former.set_names([f"Arrows from: {n}" for n in (_NOTHING, *self._keys())])
        self._load()
        self._update()

    def _keys(self) -> list[str]:
        runs = [run.key for run in self._bench.session.results() if run.kind == "plane"]
        return list(dict.fromkeys(runs))

    def _plane(self, key: str) -> tuple[Any, Any]:
        """The newest run of that name and its plane; None where there is none."""
        for run in reversed(self._bench.session.results()):
            if run.kind == "plane" and run.key == key:
                with told_to_user("Show plane"):
                    return run, self._bench.session.load_result(run)
        return None, None

    def _load(self) -> None:
        self._run, self.plane = self._plane(self.shown.currentText())
        names = [] if self.plane is None else list(map(str, self.plane.features))
        self._current = self._current if self._current in names else ""
        self._selected = [name for name in self._selected if name in names]
        before = self._plane(self.former.currentText().removeprefix("Arrows from: "))[1]
        axes = self.axes.currentText()
        self.view.show_cloud(Cloud() if self.plane is None else cloud_of(self.plane, axes, before))
        self.key.setText("" if self.plane is None else BORDER_WORDS[axes])
        self.verdict.setText("" if self.plane is None else self.plane.verdict())
        self.show_marks()

    def show_marks(self) -> None:
        """Ring, emphasise and empty the points as they are chosen and left out now."""
        out = self._left_out()
        self.view.mark(self._current, self._selected, out)
        about = describe(self.plane, self._current) if self.plane and self._current else ""
        self.about.setText(about)
        count = f"{len(self._selected)} features chosen" if self._selected else "Nothing chosen"
        left = f"; {len(out)} left out of the next fusion" if out else ""
        hint = "" if self._selected else ": draw round points, or choose a quadrant"
        self.chosen.setText(f"{count}{hint}{left}." if self.plane is not None else "")
        for one in (self.use, self.leave, self.copy):
            one.setEnabled(bool(self._selected))
        self.quadrant.setEnabled(self.plane is not None)

    def _left_out(self) -> tuple[str, ...]:
        left = self._bench.session.left_out
        return () if self.plane is None else left.of(self.plane.modality)

    def _update(self, job: Any = None) -> None:
        """Say what to do next, and offer what can be done."""
        session = self._bench.session
        section = self.refs.values().get("section")
        known = section in session.section_names
        there = known and MODALITY in session.study.section(section).modalities
        pictured = known and bool(session.study.section(section).record.images)
        same = self._is_same()
        running = any(is_of_morphology(j.kind) for j in self._bench.runner.active())
        ready = _READY if there else _NO_FEATURES if pictured else _SAME
        note = _EMPTY if not known else _SAME if same and there else ready
        self.note.setText("" if self.plane is not None and there and not same else note)
        self.note.setVisible(bool(self.note.text()))
        self.read.setEnabled(pictured and not running)
        self.judge.setEnabled(known and not running and not same)
        self.draw.setEnabled(known and not same)

    def _is_same(self) -> bool:
        """Whether a modality would be judged against itself."""
        chosen = self.refs.values()
        return not chosen.get("embedding") and chosen.get("modality") == chosen.get("other")

    # -- choosing ----------------------------------------------------------------------------

    def select(self, names: list[str]) -> None:
        """Choose features by name."""
        self._selected = list(names)
        self.show_marks()

    def show_feature(self, name: str) -> None:
        """Show a feature beside the gene that it shares most with, on the canvas."""
        from napari_stomics.layers.results import paint_gene
        from napari_stomics.layers.views import hide_beneath, show_whole

        if self.plane is None or self._run is None:
            return
        self._current = name
        self.show_marks()
        bench = self._bench
        layers = paint_gene(bench.viewer, bench.session.study, self.plane, self._run.key, name)
        hide_beneath(bench.viewer, layers)
        show_whole(bench.viewer, layers)

    # -- jobs --------------------------------------------------------------------------------

    def step(self, region: Any = None) -> Step:
        """Return the step that judges the features.

        Raises
        ------
        UserError
            If something that it reads is missing.
        """
        missing = self.refs.missing()
        if missing:
            raise UserError(f"There is nothing to choose for {', '.join(missing)}.", _EMPTY)
        inputs = self.refs.values()
        if region:
            inputs["region"] = region
        name = "plane_region" if region else "plane"
        first = self._bench.session.section_names[:1]
        key = name if [inputs["section"]] == first else f"{name}_{inputs['section']}"
        params = self.params.value().model_dump(mode="json")
        if region:
            params["gain"] = False  # an answer while the region is still being moved about
        return Step(method=PLANE, inputs=inputs, params=params, key=key)

    def _on_read(self) -> None:
        with told_to_user("Read image features"):
            section = self.refs.values()["section"]
            first = self._bench.session.section_names[:1]
            key = "features" if [section] == first else f"features_{section}"
            self._bench.start(Step(method=FEATURES, inputs={"section": section}, key=key))

    def _on_judge(self) -> None:
        with told_to_user("Judge the features"):
            self._bench.start(self.step())

    def _on_draw(self) -> None:
        from napari_stomics.layers.drawn_region import region_layer

        with told_to_user("Draw a region"):
            self._stop_drawing()
            section = self._bench.session.study.section(self.refs.values()["section"])
            self._region = region_layer(self._bench.viewer, section)
            self._region.events.data.connect(self._on_region)

    def _stop_drawing(self) -> None:
        layer, self._region = self._region, None
        if layer is not None:
            layer.events.data.disconnect(self._on_region)

    def _on_region(self, event: Any) -> None:
        """A shape was finished, moved or removed: judge again."""
        from napari_stomics.layers.drawn_region import region_polygons

        if str(getattr(event.action, "value", event.action)) not in ("added", "changed", "removed"):
            return
        with told_to_user("Relevance of a region"):
            section = self._bench.session.study.section(self.refs.values()["section"])
            polygons = region_polygons(self._bench.viewer, section)
            if polygons:
                self._bench.start(self.step(polygons))

    # -- slots -------------------------------------------------------------------------------

    def _on_shown(self) -> None:
        with told_to_user("Show plane"):
            self._load()

    def _on_clicked(self, name: str) -> None:
        with told_to_user("Show feature"):
            self.show_feature(name)

    def _on_quadrant(self) -> None:
        quadrant = self.quadrant.currentText()
        if self.plane is not None and quadrant in QUADRANTS:
            self.select(self.plane.of(quadrant))

    def _on_use(self) -> None:
        if self.plane is not None:
            self._bench.session.left_out.remove(self.plane.modality, self._selected)

    def _on_leave(self) -> None:
        if self.plane is not None:
            self._bench.session.left_out.add(self.plane.modality, self._selected)

    def _on_copy(self) -> None:
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(", ".join(self._selected))
