"""Fusion and domains under sliders: repainted as they move, kept when asked."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_stomics.core.errors import UserError
from napari_stomics.core.registry import registry
from napari_stomics.docks.domain_choice import recolour
from napari_stomics.docks.fusion_sliders import FusionSliders
from napari_stomics.docks.job import JobState
from napari_stomics.docks.job_bar import JobBar, MessageText
from napari_stomics.docks.layout import button, in_row, wrapped_label
from napari_stomics.docks.messages import failure_text, told_to_user
from napari_stomics.docks.method_form import MethodForm
from napari_stomics.docks.workbench import Workbench, job_threads
from napari_stomics.session.live_fusion import DOMAINS, FUSION, LiveAnswer, LiveChoice, LiveFusion
from napari_stomics.workflow.steps import Step

if TYPE_CHECKING:
    from napari_stomics.docks.jobs import Job
    from napari_stomics.layers.live_domains import LiveDomains

START, MOVE, SETTLE = "live fusion start", "live fusion", "live fusion settled"
"""Kinds of its jobs: the first answer, those of the sliders, and the thorough one after them."""
_QUIET_MS = 20
_RESTS_MS = 500
_SETTLED_UP_TO = 20_000
"""Above so many spots only Keep runs the clustering as thoroughly as the method by itself."""

_IDLE = (
    "Sliders for the number of domains, diffusion steps and weights: each move repaints the "
    "domains at once. Nothing is kept until you say so."
)


class FusionLivePanel(QWidget):
    """Shows domains as the sliders move; Keep puts them into the study as two steps.

    Parameters
    ----------
    bench
        The viewer's workbench.
    fusion, domains
        The forms that say what is fused, and what is known about the domains.
    """

    changed = Signal()
    """A preview came, was kept or was dropped."""

    def __init__(self, bench: Workbench, fusion: MethodForm, domains: MethodForm) -> None:
        super().__init__()
        self._bench, self._fusion, self._domains = bench, fusion, domains
        self._live: LiveFusion | None = None
        self._shown: LiveDomains | None = None
        self._read: dict[str, Any] = {}
        self._keeping: Job | None = None
        self._asked = 0.0
        self.answer: LiveAnswer | None = None
        """What is on the canvas."""
        self.seconds = 0.0
        """How long the last answer took, from the slider to the canvas."""
        self._soon, self._rests = QTimer(self), QTimer(self)
        for timer, pause, slot in (
            (self._soon, _QUIET_MS, self.ask),
            (self._rests, _RESTS_MS, self.settle),
        ):
            timer.setSingleShot(True)
            timer.setInterval(pause)
            timer.timeout.connect(slot)
        self._build()
        self.refresh()

    def _build(self) -> None:
        self.on = button(
            "Start live preview",
            self.start,
            "Prepare the modalities once; moving a slider then repaints the domains at once.",
        )
        self.bar = JobBar(self._bench.runner, {START})
        self.sliders = FusionSliders()
        self.told = wrapped_label()
        self.problem = MessageText()
        self.keep_it = button("Keep", self.keep, "Put fusion and domains into the study, as steps.")
        self.drop_it = button("Drop", self.drop, "Take the preview away; nothing was changed.")
        self._ends = in_row(self.keep_it, self.drop_it)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for widget in (self.on, self.bar, self.sliders, self.told, self.problem, self._ends):
            column.addWidget(widget)
        self.sliders.moved.connect(self._on_moved)

    # -- state -------------------------------------------------------------------------------

    @property
    def is_keeping(self) -> bool:
        """Whether what is shown is being put into the study."""
        return self._keeping is not None

    def refresh(self) -> None:
        """Show where things stand."""
        shown, keeping = self.answer is not None, self.is_keeping
        empty = not self._bench.session.section_names
        self.on.setVisible(not shown)
        self.bar.setVisible(not shown)
        self.on.setEnabled(not empty and not self._jobs(START))
        for widget in (self.sliders, self._ends):
            widget.setVisible(shown)
            widget.setEnabled(not keeping)
        if keeping:
            self.told.setText("Putting fusion and domains into the study…")
        elif self.answer is not None:
            found = self.answer.domains
            how = "a quick look" if self.answer.quick else "settled"
            self.told.setText(
                f"{len(found.names)} domains on {len(found.ids):,} spots, {how}. Not kept yet."
            )
        else:
            self.told.setText("Open a study first." if empty else _IDLE)

    def _jobs(self, *kinds: str) -> list[Job]:
        return [job for job in self._bench.runner.active() if job.kind in kinds]

    # -- the steps that it stands for --------------------------------------------------------

    def fusion_step(self, choice: LiveChoice) -> Step:
        """The fusion as the sliders stand, of what the form says."""
        moved: dict[str, Any] = {}
        if choice.steps is not None:
            moved["steps"] = choice.steps
        if choice.weights is not None:
            moved["weights"] = choice.weights_text()
        form = self._fusion.step()
        if method_of(self._fusion.key) == FUSION:
            # What no slider has moved stays as the form has it.
            return form.model_copy(update={"params": {**form.params, **moved}})
        key = self._fusion.key_for(FUSION)
        return Step(method=FUSION, inputs=form.inputs, params=moved, key=key)

    def domain_step(self, choice: LiveChoice, embedding: str) -> Step:
        """The domains as the sliders stand, of an embedding."""
        inputs = {"section": self._fusion.refs.values()["section"], "embedding": embedding}
        refs = self._domains.refs.values()
        if refs.get("section") == inputs["section"] and refs.get("annotation"):
            inputs["annotation"] = refs["annotation"]
        params = {**self._domain_params(), "n_domains": choice.n_domains}
        key = self._domains.key_for(DOMAINS, inputs["section"])
        return Step(method=DOMAINS, inputs=inputs, params=params, key=key)

    def _domain_params(self) -> dict[str, Any]:
        """Parameters of the clustering as its form has them; its defaults if it shows another."""
        if method_of(self._domains.key) != DOMAINS or self._domains.params is None:
            return {}
        return dict(self._domains.params.value().model_dump(mode="json"))

    # -- asking ------------------------------------------------------------------------------

    def start(self) -> None:
        """Prepare what the form above says, and show the first domains."""
        self.drop()
        try:
            resolved = self.fusion_step(LiveChoice()).resolve()
            inputs = resolved.collect(self._bench.session.study).inputs
            params: Any = resolved.params
            live = LiveFusion(inputs, params, self._domain_params())
        except Exception as error:
            self.problem.show_text(failure_text(error, "Live preview"))
            return
        self._live, self._read = live, self._fusion.refs.values()
        if live.domain_params.get("n_domains"):
            self.sliders.count.set_value(live.domain_params["n_domains"])
        self._asked = time.perf_counter()
        self._run(live, self.sliders.choice(), START, "Prepare the live preview")
        self.refresh()

    def ask(self) -> None:
        """Compute what the sliders say; what was asked before is dropped."""
        live = self._live
        if live is None or self.is_keeping:
            return
        self._stop(SETTLE)
        choice = self.sliders.choice()
        if choice.weights is not None and not any(choice.weights.values()):
            self._stop(MOVE)
            self.problem.show_text("All weights are 0. Give at least one modality a weight.")
            return
        self.problem.show_text("")
        self._run(live, choice, MOVE, "Repaint the domains")

    def settle(self) -> None:
        """Compute the same as thoroughly as the method does by itself."""
        live = self._live
        if live is not None and not self.is_keeping and live.inputs.n <= _SETTLED_UP_TO:
            self._run(live, self.sliders.choice(), SETTLE, "Settle the domains", quick=False)

    def _run(
        self, live: LiveFusion, choice: LiveChoice, kind: str, title: str, quick: bool = True
    ) -> None:
        before = None if self.answer is None else self.answer.domains
        self._bench.runner.start(
            lambda ctx: live.answer(choice, ctx, before=before, quick=quick),
            title=title,
            kind=kind,
            on_done=self._bench.while_open(partial(self._take, live)),
            on_failed=partial(self._on_failed, live),
            owner=self,
            threads=1,
            quiet=True,
        )

    def _take(self, live: LiveFusion, answer: LiveAnswer) -> None:
        """Show an answer, unless something else was asked for since."""
        if live is not self._live or self.is_keeping or answer.choice != self.sliders.choice():
            return
        from napari_stomics.layers.live_domains import LiveDomains

        if self._shown is None:
            self._shown = LiveDomains(self._bench.viewer, self._bench.session.study)
        self._shown.show(answer.domains)
        self.seconds = time.perf_counter() - self._asked
        self.sliders.offer(live.modalities)
        self.sliders.follow(answer)
        self.answer = answer
        if answer.quick:
            self._rests.start()
        self.refresh()
        self.changed.emit()

    # -- ending ------------------------------------------------------------------------------

    def keep(self) -> None:
        """Put fusion and domains into the study as the sliders stand: two steps that replay."""
        if self.answer is None or self.is_keeping:
            return
        self._soon.stop()
        self._rests.stop()
        self._stop(MOVE, SETTLE)
        self.problem.show_text("")
        choice = self.sliders.choice()
        try:
            if self._bench.session.is_saving:
                raise UserError(
                    "The study is being saved.", "Press Keep again when the save has ended."
                )
            step = self.fusion_step(choice)
            then = partial(self._keep_domains, choice, step.result_key)
            self._keeping = self._bench.start(step, then=then)
        except Exception as error:
            self.problem.show_text(failure_text(error, "Keep"))
        self.refresh()

    def _keep_domains(self, choice: LiveChoice, embedding: str) -> None:
        study = self._bench.session.study
        step = self.domain_step(choice, embedding)
        prepared = step.resolve().collect(study)
        self._keeping = self._bench.runner.start(
            prepared.run,
            title=prepared.resolved.spec.title,
            kind=f"{step.method} {step.result_key}",
            on_done=self._bench.while_open(partial(self._commit, study)),
            threads=job_threads(step.method),
        )

    def _commit(self, study: Any, outcome: Any) -> None:
        """Commit the domains in the colours of the preview, as one action."""
        session, found, key = self._bench.session, outcome.result, outcome.run.key
        if session.study is not study:
            raise UserError(
                "Another study was opened meanwhile, so the result is dropped.",
                "Open the former study again and start a preview there.",
            )
        with session.undo.group(str(outcome.run.step["method"])):
            session.commit(outcome)
            if self._shown is not None and not session.is_saving:
                colours = self._shown.colours_of(found)
                recolour(self._bench, key, found.sections, colours, f"Colours of {key}")
        self._keeping = None
        self.drop()

    def drop(self) -> None:
        """Take the preview away; the study stays as it is."""
        self._soon.stop()
        self._rests.stop()
        self._stop(START, MOVE, SETTLE)
        shown, self._shown = self._shown, None
        self._live, self.answer, self._keeping = None, None, None
        self.sliders.reset()
        self.problem.show_text("")
        if shown is not None:
            with told_to_user("Live preview"):
                shown.close()
        self.refresh()
        self.changed.emit()

    def check_basis(self) -> None:
        """Drop the preview where the form now speaks of other sections or modalities."""
        shown = self._live is not None and not self.is_keeping
        if shown and self._fusion.refs.values() != self._read:
            self.drop()

    def _stop(self, *kinds: str) -> None:
        for job in self._jobs(*kinds):
            job.cancel()

    # -- slots -------------------------------------------------------------------------------

    def on_finished(self, job: Job) -> None:
        """Hear that a job has ended: the sliders are free again where Keep did not succeed."""
        if job is self._keeping and job.state is not JobState.SUCCEEDED:
            self._keeping = None
            self.refresh()
        elif job.kind == START:
            if self.answer is None and not job.superseded:
                self._live = None
            self.refresh()

    def _on_failed(self, live: LiveFusion, error: BaseException) -> None:
        if live is self._live:
            self.problem.show_text(failure_text(error, "Live preview"))

    def _on_moved(self) -> None:
        self._rests.stop()
        self._asked = time.perf_counter()
        self._soon.start()


def method_of(key: str) -> str:
    """``task/name`` of the method behind a method's or preset's key."""
    found = registry().preset(key)
    return key if found is None else found.method
