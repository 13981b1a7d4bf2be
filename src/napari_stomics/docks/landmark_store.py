"""Keep a registration: store it as a step of the log, write what it warps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_stomics.core.errors import UserError
from napari_stomics.data.build import element_name
from napari_stomics.data.changes import Call, Change, SetElement, apply_all, revert_all
from napari_stomics.docks.layout import button, wrapped_label
from napari_stomics.docks.messages import show_info
from napari_stomics.docks.workbench import Workbench, told_to_user
from napari_stomics.layers.section import hide_elements, show_missing
from napari_stomics.session.undo import Action
from napari_stomics.workflow.steps import Step

if TYPE_CHECKING:
    from napari_stomics.core.jobs import JobContext
    from napari_stomics.data.study import Study

METHOD = "registration/landmarks"
_LISTS = ("images", "labels", "points", "shapes")


def landmark_step(bench: Workbench) -> Step:
    """Return the step that registers the chosen sections by the landmarks as they are now.

    The landmarks go in by value, so that a recipe replays to the same numbers.
    """
    estimate = bench.session.estimate
    pair = (estimate.source, estimate.target)
    marks = [
        {"name": mark.name, "positions": {s: list(mark.positions[s]) for s in pair}}
        for mark in bench.session.landmarks.landmarks
        if all(section in mark.positions for section in pair)
    ]
    return Step(
        method=METHOD,
        inputs={"source": pair[0], "target": pair[1], "landmarks": marks},
        params=estimate.params.model_dump(mode="json"),
        key=element_name(pair[0], "to", pair[1], "landmarks"),
    )


class StorePanel(QWidget):
    """Store the registration in the study, and write warped elements.

    Parameters
    ----------
    bench
        The viewer's workbench.
    """

    def __init__(self, bench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bench = bench
        self._store = button(
            "Store registration",
            self.store,
            "Put the landmark fit into the study as an undoable step of its log.",
        )
        self._write = button(
            "Write warped elements",
            self.write_warped,
            "Add copies of the moving section's elements, carried into the fixed section.",
        )
        self._state = wrapped_label()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (self._store, self._state, self._write):
            column.addWidget(part)
        self.refresh()

    @property
    def text(self) -> str:
        """What is stored, as shown."""
        return self._state.text()

    def refresh(self) -> None:
        """Say what is stored, and what can be."""
        estimate = self._bench.session.estimate
        self._store.setEnabled(estimate.registration is not None)
        names = self._bench.session.section_names
        found = [
            record
            for record in self._bench.session.study.record.registrations
            if {record.source, record.target} == {estimate.source, estimate.target}
            and {record.source, record.target} <= set(names)
        ]
        self._write.setEnabled(bool(found))
        if found:
            last = found[-1]
            text = f"Stored: {last.source} → {last.target}, {last.model} by {last.driver}."
        else:
            text = "Nothing is stored for these two sections yet."
        self._state.setText(text)

    def store(self) -> None:
        """Run the step in the background and commit its result."""
        with told_to_user("Store registration"):
            self._bench.run(landmark_step(self._bench))

    def write_warped(self) -> None:
        """Write the warped elements in the background and add them as one action."""
        study, estimate = self._bench.session.study, self._bench.session.estimate
        source, target = estimate.source, estimate.target
        with told_to_user("Write warped elements"):
            if study.registration(source, target) is None:
                raise UserError(
                    "These two sections are not registered yet.", "Store a registration first."
                )
            draft = _draft(study)
            self._bench.runner.start(
                lambda ctx: _warped(draft, source, target, ctx),
                title=f"Warp {source} onto {target}",
                kind="write warped",
                on_done=lambda made: self._add(study, target, made),
                owner=self,
            )

    def _add(self, study: Study, target: str, made: Warped) -> None:
        """Put the elements into the study as one undoable action."""
        session = self._bench.session
        if session.study is not study:
            return
        changes = made.changes(target)

        def put() -> None:
            apply_all(study, changes)
            show_missing(self._bench.viewer, study, target)

        def take_back() -> None:
            hide_elements(self._bench.viewer, made.elements)
            revert_all(study, changes)

        put()
        session.undo.push(Action(f"Write warped elements of {made.source}", take_back, put))
        show_info(f"Added to {target}: {', '.join(made.elements)}. Save the study to keep them.")


@dataclass(frozen=True)
class Warped:
    """Elements made by a warp, and in which lists of the section's record they stand."""

    source: str
    elements: dict[str, Any]
    listed: dict[str, list[str]]

    def changes(self, target: str) -> list[Change]:
        """Return what puts them into a study."""
        added: list[tuple[str, str]] = []

        def do(study: Study) -> None:
            record = study.record.sections[target]
            added[:] = [
                (kind, name)
                for kind, names in self.listed.items()
                for name in names
                if name not in getattr(record, kind)
            ]
            for kind, name in added:
                getattr(record, kind).append(name)

        def undo(study: Study) -> None:
            for kind, name in added:
                getattr(study.record.sections[target], kind).remove(name)

        out: list[Change] = [SetElement(name, element) for name, element in self.elements.items()]
        return [*out, Call(do, undo)]


def _draft(study: Study) -> Study:
    """A study of the same elements, to be added to by a job while the user goes on."""
    from spatialdata import SpatialData

    from napari_stomics.data.study import Study

    elements = {name: element for _, name, element in study.sdata.gen_elements()}
    draft = Study(SpatialData.init_from_elements(elements))
    draft.record = study.record.model_copy(deep=True)
    return draft


def _warped(draft: Study, source: str, target: str, ctx: JobContext) -> Warped:
    from napari_stomics.data.warp import write_warped

    names = write_warped(draft, source, target, ctx=ctx)
    record = draft.record.sections[target]
    listed = {kind: [n for n in names if n in getattr(record, kind)] for kind in _LISTS}
    return Warped(source, {name: draft.sdata[name] for name in names}, listed)
