"""Serial sections: their order, their alignment, their consensus, and their view in 3D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QFormLayout, QVBoxLayout, QWidget

from napari_stomics.core.errors import UserError
from napari_stomics.docks.layout import Fold, button, in_column, in_row, wrapped_label
from napari_stomics.docks.name_combo import NameCombo
from napari_stomics.docks.param_form import ParamForm
from napari_stomics.docks.stack_list import OrderedTicks
from napari_stomics.docks.stack_view_panel import StackViewPanel
from napari_stomics.docks.workbench import Workbench, told_to_user
from napari_stomics.session.choices import choices
from napari_stomics.workflow.steps import Step

if TYPE_CHECKING:
    from napari_stomics.core.stacks import Stack

ALIGN, MERGE = "stack/pairwise", "stack/paste-center"
_KEYS = {ALIGN: "stack", MERGE: "consensus"}


def is_of_stacks(kind: str) -> bool:
    """Whether a job aligns or merges a stack."""
    return kind.startswith("stack/")


class StackPanel(QWidget):
    """Order sections, align them together, merge them, and show them in three dimensions.

    Parameters
    ----------
    bench
        The workbench of the viewer.
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self._study: Any = None
        self._chose_reference = False
        self._build()
        self.refresh()

    # -- layout ------------------------------------------------------------------------------

    def _build(self) -> None:
        self.list = OrderedTicks()
        self.list.setToolTip("Tick the sections of the stack; drag them into their order.")
        order = in_row(
            button("▲", self._on_up, "Move the chosen section towards the bottom of the stack."),
            button("▼", self._on_down, "Move the chosen section towards the top of the stack."),
        )
        self.by_height = button("By height", self._on_by_height, "Order as the recorded heights.")
        layout = order.layout()
        assert layout is not None
        layout.addWidget(self.by_height)
        self.reference, self.modality = NameCombo(), NameCombo()
        self.reference.setToolTip("The section that stays where it is.")
        self.modality.setToolTip("What the sections are compared by; all of them must have it.")
        self.note, self.figures = wrapped_label(), wrapped_label()
        self.align = button(
            "Align the stack", self._on_align, "Find the poses of all sections together."
        )
        self.merge = button(
            "Consensus slice", self._on_merge, "Merge the sections into one, on the reference."
        )
        self.view = StackViewPanel(self._bench)
        self.options = ParamForm(_params(ALIGN))
        self.merge_options = ParamForm(_params(MERGE))
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Reference", self.reference)
        form.addRow("Modality", self.modality)
        chosen = QWidget()
        chosen.setLayout(form)
        column = in_column(
            self.list,
            order,
            chosen,
            self.note,
            self.align,
            self.figures,
            Fold("Options of the alignment", self.options, shown=False),
            Fold("In 3D", self.view),
            Fold("Consensus", in_column(self.merge_options, self.merge), shown=False),
        )
        own = QVBoxLayout(self)
        own.setContentsMargins(0, 0, 0, 0)
        own.addWidget(column)
        self.list.changed.connect(self._on_list)
        self.reference.activated.connect(self._on_reference)

    # -- what is chosen ----------------------------------------------------------------------

    def sections(self) -> list[str]:
        """Names of the sections that are ticked, the lowest first."""
        return self.list.ticked()

    def step(self, method: str) -> Step:
        """Return the step that the panel describes.

        Raises
        ------
        UserError
            If fewer than two sections are ticked, they share no modality, or an
            option is not valid.
        """
        names, reference = self.sections(), self.reference.currentText()
        problem = self._problem()
        if problem:
            raise UserError(problem, "Tick other sections, or add what is missing to the study.")
        params = self.options.value()
        known = params.prior == "registration"
        if method == MERGE:
            # Maps are looked up from each section to the later ones.
            names = [reference, *(name for name in names if name != reference)]
            params, known = self.merge_options.value(), True
        return Step(
            method=method,
            inputs={
                "sections": names,
                "modality": self.modality.currentText(),
                "reference": reference,
                "by_height": False,
                "use_registration": known,
            },
            params=params.model_dump(mode="json"),
            key=self._key(method, names, reference),
        )

    def _key(self, method: str, names: list[str], reference: str) -> str:
        """Name of the result; that of other sections is not replaced."""
        plain = _KEYS[method]
        for run in self._bench.session.results():
            if run.key == plain and set(run.step["inputs"].get("sections", ())) != set(names):
                return f"{plain}_{reference}"
        return plain

    def _heights(self, names: list[str]) -> list[float] | None:
        """Recorded heights of sections, um; None unless all are known and differ."""
        records = self._bench.session.study.record.sections
        found = [records[name].z_um for name in names if name in records]
        known = [float(z) for z in found if z is not None]
        return known if len(names) == len(set(known)) > 1 else None

    def _modalities(self, name: str) -> list[str]:
        return choices(self._bench.session.study, "modality:section", {"section": name})

    def _problem(self) -> str:
        """Why the ticked sections cannot be aligned; empty where they can."""
        names = self.sections()
        if self.list.count() < 2:
            return "A stack needs two or more sections. Open a study, or add sections to it."
        if len(names) < 2:
            return "Tick two or more sections."
        bare = [name for name in names if self._record(name).spots is None]
        if bare:
            return f"{', '.join(bare)} has no spots or cells to be aligned by."
        if not self.modality.currentText():
            listed = "; ".join(f"{n}: {', '.join(self._modalities(n)) or 'none'}" for n in names)
            return f"These sections have no modality in common ({listed})."
        return ""

    def _record(self, name: str) -> Any:
        return self._bench.session.study.record.sections[name]

    # -- keeping in step ---------------------------------------------------------------------

    def refresh(self) -> None:
        """List the sections anew; the order and the ticks stay where the study does."""
        study, names = self._bench.session.study, self._bench.session.section_names
        fresh = study is not self._study
        self._study = study
        before, ticked = ([], []) if fresh else (self.list.names(), self.list.ticked())
        added = [name for name in names if name not in before]
        order = [name for name in before if name in names] + added
        heights = self._heights(names)
        if heights is not None and added:
            order = [name for _, name in sorted(zip(heights, names, strict=True))]
        usable = [name for name in added if self._record(name).spots is not None]
        self.list.show_names(order, [n for n in order if n in ticked or n in usable])
        if fresh:
            self._chose_reference = False
        self._fill(fresh)
        self.show_figures()

    def _fill(self, fresh: bool = False) -> None:
        """Offer what fits the ticked sections, and say what does not fit."""
        names = self.sections()
        middle = names[len(names) // 2] if names else None
        self.reference.set_names(names, middle)
        if middle is not None and not self._chose_reference:
            self.reference.setCurrentText(middle)
        per_section = [self._modalities(name) for name in names]
        common = (
            [m for m in per_section[0] if all(m in own for own in per_section)] if names else []
        )
        self.modality.set_names(common, "rna" if "rna" in common else next(iter(common), None))
        note = self._problem()
        heights = self._heights(names)
        if not note and heights is not None and np.any(np.diff(np.sign(np.diff(heights)))):
            note = "⚠ The order is not that of the recorded heights."
        self.note.setText(note)
        self.note.setVisible(bool(note))
        self.by_height.setEnabled(self._heights(self.list.names()) is not None)
        self.on_jobs()
        self.view.set_sections(names, heights, fresh)

    def on_jobs(self, job: Any = None) -> None:
        """Offer to start only what does not run yet."""
        running = any(is_of_stacks(job.kind) for job in self._bench.runner.active())
        ready = not self._problem() and not running
        self.align.setEnabled(ready)
        self.merge.setEnabled(ready)
        self.list.setEnabled(not running)

    def show_figures(self) -> None:
        """Show the figures of the newest stack of the study."""
        session = self._bench.session
        runs = [run for run in session.results() if run.kind == "stack"]
        text = ""
        if runs:
            with told_to_user("Show figures of the stack"):
                text = figures_of(session.load_result(runs[-1]))
        self.figures.setText(text)
        self.figures.setVisible(bool(text))

    def follow_view(self) -> None:
        """Show whether the stack is shown in 3D, whoever changed that."""
        self.view.follow()

    # -- slots -------------------------------------------------------------------------------

    def _on_up(self) -> None:
        self.list.shift(-1)

    def _on_down(self) -> None:
        self.list.shift(1)

    def _on_by_height(self) -> None:
        names, ticked = self.list.names(), self.list.ticked()
        heights = self._heights(names)
        if heights is not None:
            order = [name for _, name in sorted(zip(heights, names, strict=True))]
            self.list.show_names(order, ticked)
            self._on_list()

    def _on_list(self) -> None:
        self._fill()

    def _on_reference(self) -> None:
        self._chose_reference = True

    def _on_align(self) -> None:
        with told_to_user("Align the stack"):
            self._bench.start(self.step(ALIGN))

    def _on_merge(self) -> None:
        with told_to_user("Consensus slice"):
            self._bench.start(self.step(MERGE))


def figures_of(stack: Stack) -> str:
    """How well a stack holds together, in words.

    Parameters
    ----------
    stack
        A stack that was aligned.
    """
    from napari_stomics.methods.alignment.pose import UNSURE

    found = stack.summary()
    lines = [f"{len(stack.sections)} sections in the frame of {stack.reference}."]
    if np.isfinite(found["median_loop_error_um"]):
        lines.append(
            f"Loops miss their start by {found['median_loop_error_um']:.3g} µm (median); chained "
            f"neighbours alone would drift by {found['largest_drift_of_the_chain_um']:.3g} µm."
        )
    else:
        lines.append("No loop checks the alignments: two sections, or a reach of 1.")
    if found.get("median_label_accuracy") is not None:
        lines.append(f"Equal labels joined: {100 * found['median_label_accuracy']:.0f} %.")
    unsure = [
        f"{e.source} → {e.target}"
        for e in stack.edges
        if np.isfinite(e.margin) and e.margin < UNSURE
    ]
    if unsure:
        lines.append(f"⚠ Unsure: {', '.join(unsure)}. Look, or place two landmarks in each.")
    if found["not_trusted"]:
        lines.append(f"⚠ Contradicted and left out: {', '.join(found['not_trusted'])}.")
    if found["mirrored"]:
        lines.append(f"Turned over: {', '.join(found['mirrored'])}.")
    if not found["converged"]:
        lines.append("⚠ The solver did not converge for every pair.")
    return "\n".join(lines)


def _params(method: str) -> Any:
    from napari_stomics.core.registry import registry

    return registry().get(method).params
