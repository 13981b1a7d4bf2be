"""Fusion and domains under sliders: repainted as they move, kept when asked."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_stomics.core.errors import UserError
from napari_stomics.core.registry import registry
from napari_stomics.docks.fusion_keep import KINDS as KEEP
from napari_stomics.docks.fusion_keep import FusionKeep
from napari_stomics.docks.fusion_sliders import FusionSliders
from napari_stomics.docks.job import JobState
from napari_stomics.docks.job_bar import JobBar, MessageText
from napari_stomics.docks.layout import button, in_row, wrapped_label
from napari_stomics.docks.messages import failure_text, told_to_user
from napari_stomics.docks.method_form import MethodForm
from napari_stomics.docks.workbench import Workbench
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

_QUICK = "a quick look: a single run, without stability"
_SETTLED = "settled: the consensus of many runs"
_KEEPING = (
    "Fusing and taking the consensus of many runs, which also says how stable each spot is; "
    "what was found under the sliders already is not computed again. The preview stays until "
    "the result is there; Cancel leaves the study as it was."
)
_STALE = "The forms have changed since it was started: drop it and start again to follow them."
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
        self._base: Step | None = None
        self._keeping: FusionKeep | None = None
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
        self.keep_it = button(
            "Keep",
            self.keep,
            "Put fusion and domains into the study, as two steps that one undo takes back.",
        )
        self.drop_it = button("Drop", self.drop, "Take the preview away; nothing was changed.")
        self._ends = in_row(self.keep_it, self.drop_it)
        self.keep_bar = JobBar(self._bench.runner, KEEP)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for widget in (
            self.on,
            self.bar,
            self.sliders,
            self.told,
            self.problem,
            self._ends,
            self.keep_bar,
        ):
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
            self.told.setText(_KEEPING)
        elif self.answer is not None:
            found = self.answer.domains
            how = _QUICK if self.answer.quick else _SETTLED
            text = f"{len(found.names)} domains on {len(found.ids):,} spots, {how}. Not kept yet."
            self.told.setText(f"{text} {_STALE}" if self._is_stale() else text)
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
        base = self._base or self._form_step()
        # What no slider has moved stays as the form had it.
        return base.model_copy(update={"params": {**base.params, **moved}})

    def _form_step(self) -> Step:
        form = self._fusion.step()
        if method_of(self._fusion.key) == FUSION:
            return form
        return Step(method=FUSION, inputs=form.inputs, key=self._fusion.key_for(FUSION))

    def domain_step(self, choice: LiveChoice, embedding: str) -> Step:
        """The domains as the sliders stand, of an embedding."""
        inputs = {"section": self._fusion.refs.values()["section"], "embedding": embedding}
        refs = self._domains.refs.values()
        if refs.get("section") == inputs["section"] and refs.get("annotation"):
            inputs["annotation"] = refs["annotation"]
        known = self._domain_params() if self._live is None else self._live.domain_params
        params = {**known, "n_domains": choice.n_domains}
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
            base = self._form_step()
            resolved = base.resolve()
            inputs = resolved.collect(self._bench.session.study).inputs
            params: Any = resolved.params
            live = LiveFusion(inputs, params, self._domain_params())
        except Exception as error:
            self.problem.show_text(failure_text(error, "Live preview"))
            return
        self._live, self._base, self._read = live, base, self._fusion.refs.values()
        self.sliders.limit(inputs.n)
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
        # A consensus under way is of what is kept: Keep waits for it rather than begin again.
        self._stop(MOVE)
        self.problem.show_text("")
        choice = self.sliders.choice()
        try:
            fusion = self.fusion_step(choice)
            steps = (fusion, self.domain_step(choice, fusion.result_key))
            assert self._live is not None
            assert self._shown is not None
            colours = self._shown.colours_of
            self._keeping = FusionKeep(self._bench, self._live, steps, colours)
        except Exception as error:
            self.problem.show_text(failure_text(error, "Keep"))
        self.refresh()

    def drop(self) -> None:
        """Take the preview away; the study stays as it is."""
        self._soon.stop()
        self._rests.stop()
        self._stop(START, MOVE, SETTLE)
        shown, self._shown = self._shown, None
        self._live, self._base, self.answer, self._keeping = None, None, None, None
        self.sliders.reset()
        self.problem.show_text("")
        if shown is not None:
            with told_to_user("Live preview"):
                shown.close()
        self.refresh()
        self.changed.emit()

    def check_basis(self) -> None:
        """Drop the preview where the form now speaks of other sections or modalities."""
        if self._live is None or self.is_keeping:
            return
        if self._fusion.refs.values() != self._read:
            self.drop()
        else:
            self.refresh()

    def _is_stale(self) -> bool:
        """Whether the forms now have other parameters than the preview was started with."""
        live, base = self._live, self._base
        if live is None or base is None:
            return False
        try:
            now, domains = self._form_step(), self._domain_params()
        except UserError:
            return True
        given = {**live.domain_params, "n_domains": domains.get("n_domains")}
        return now.params != base.params or (bool(domains) and domains != given)

    def _stop(self, *kinds: str) -> None:
        for job in self._jobs(*kinds):
            job.cancel()

    # -- slots -------------------------------------------------------------------------------

    def on_finished(self, job: Job) -> None:
        """Hear that a job has ended: the sliders are free again where Keep did not succeed."""
        if self._keeping is not None and job is self._keeping.job:
            self._keeping = None
            if job.state is JobState.SUCCEEDED:
                self.drop()
            elif self.answer is not None and self.answer.quick and not self._jobs(SETTLE):
                self._rests.start()
            self.refresh()
        elif job.kind == START:
            if self.answer is None and not job.superseded:
                self._live = None
            self.refresh()

    def _on_failed(self, live: LiveFusion, error: BaseException) -> None:
        # Where nothing is shown yet the bar tells.
        if live is self._live and self.answer is not None:
            self.problem.show_text(failure_text(error, "Live preview"))

    def _on_moved(self) -> None:
        self._rests.stop()
        self._asked = time.perf_counter()
        self._soon.start()


def method_of(key: str) -> str:
    """``task/name`` of the method behind a method's or preset's key."""
    found = registry().preset(key)
    return key if found is None else found.method
