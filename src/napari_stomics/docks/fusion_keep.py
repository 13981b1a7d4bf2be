"""Fusion and domains of a preview put into the study: two steps, one action."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_stomics.core.errors import UserError
from napari_stomics.docks.workbench import Workbench, job_threads
from napari_stomics.workflow.steps import PreparedStep, Step

if TYPE_CHECKING:
    from napari_stomics.docks.jobs import Job
    from napari_stomics.session.live_fusion import LiveFusion
    from napari_stomics.workflow.steps import Outcome

KINDS = ("keep fusion", "keep domains")
"""Kinds of its jobs, one after the other."""


class FusionKeep:
    """Computes both steps, then commits both at once: cancelled before, it leaves nothing.

    Parameters
    ----------
    bench
        The viewer's workbench.
    live
        What was previewed: domains that it has found already are not computed again.
    steps
        The fusion, and the domains of what it makes.
    colours
        Returns the colour (hex) of each of the domains that come of it.
    """

    def __init__(
        self,
        bench: Workbench,
        live: LiveFusion,
        steps: tuple[Step, Step],
        colours: Callable[[Any], Mapping[str, str]],
    ) -> None:
        self._bench, self._live, self._domains = bench, live, steps[1]
        self._colours = colours
        self._study = bench.session.study
        self._check()
        # Refused before anything runs where the second step could not.
        self._domains.resolve()
        prepared = steps[0].resolve().collect(self._study)
        self.job: Job = self._start(0, "Keep: fuse", prepared, self._on_fused)

    def _start(
        self, at: int, title: str, prepared: PreparedStep, done: Callable[[Any], object]
    ) -> Job:
        return self._bench.runner.start(
            prepared.run,
            title=title,
            kind=KINDS[at],
            on_done=self._bench.while_open(done),
            threads=job_threads(prepared.resolved.step.method),
        )

    def _check(self) -> None:
        session = self._bench.session
        if session.study is not self._study:
            raise UserError(
                "Another study was opened meanwhile, so the result is dropped.",
                "Open the former study again and start a preview there.",
            )
        if session.is_saving:
            raise UserError(
                "The study is being saved.", "Press Keep again when the save has ended."
            )

    def _on_fused(self, fused: Outcome) -> None:
        """Find the domains of an embedding that is not in the study to stay yet."""
        self._check()
        fused.commit(self._study)
        try:
            prepared = self._domains.resolve().collect(self._study)
        finally:
            fused.revert(self._study)
        known = replace(prepared.resolved.spec, function=self._live.find)
        prepared = replace(prepared, resolved=replace(prepared.resolved, spec=known))
        done = partial(self._on_found, fused)
        self.job = self._start(1, "Keep: consensus of the domains", prepared, done)

    def _on_found(self, fused: Outcome, found: Outcome) -> Iterator[None]:
        self._check()
        yield from self._bench.committing(partial(self._commit, fused, found))

    def _commit(self, fused: Outcome, found: Outcome) -> None:
        result = found.result
        found.result = replace(result, colours=self._colours(result))
        session = self._bench.session
        with session.undo.group(f"Keep {fused.run.key} and {found.run.key}"):
            session.commit(fused)
            session.commit(found)
