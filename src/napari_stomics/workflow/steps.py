"""A step: the request that a dock builds, a recipe reads, and one function runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_stomics.core.errors import UserError
from napari_stomics.core.jobs import JobContext, limited_threads
from napari_stomics.core.params import Params
from napari_stomics.core.registry import MethodSpec, registry
from napari_stomics.data.changes import Call, Change, apply_all, revert_all
from napari_stomics.data.collect import COLLECTORS
from napari_stomics.data.results import store_result
from napari_stomics.data.schema import RunRecord
from napari_stomics.workflow.provenance import inputs_hash, plain, versions

if TYPE_CHECKING:
    from napari_stomics.data.study import Study


_JUDGING = ("scores", "markers")
"""Tasks whose results are kept under the name of what they judge, with the task behind it."""


class Step(BaseModel):
    """A serialisable request to run one method.

    Attributes
    ----------
    method
        ``task/name``, as in ``napari-stomics methods``.
    inputs
        Which sections, tables and columns it reads.
    params
        Parameters that differ from the defaults.
    key
        Name under which the result is stored; by default the method's name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    inputs: dict[str, Any] = Field(default_factory=dict)
    params: dict[str, Any] = Field(default_factory=dict)
    key: str = ""

    @property
    def result_key(self) -> str:
        """Name under which the result is stored."""
        task, _, name = self.method.partition("/")
        name = name.replace("-", "_")
        # What judges domains must not stand where the domains themselves do.
        return self.key or (f"{name}_{task}" if task in _JUDGING else name)

    def resolve(self) -> ResolvedStep:
        """Validate the step against its method.

        Raises
        ------
        UserError
            If the method is unknown, or a parameter or reference is wrong.
        """
        spec = registry().get(self.method)
        where = f"step {self.method!r}"
        params = _validated(spec.params, self.params, f"The parameters of {where}")
        refs = _validated(COLLECTORS[spec.inputs].refs, self.inputs, f"The inputs of {where}")
        return ResolvedStep(self, spec, params, refs)


@dataclass(frozen=True)
class ResolvedStep:
    """A step whose method, parameters and references have been checked."""

    step: Step
    spec: MethodSpec
    params: Params
    refs: Params

    def collect(self, study: Study) -> PreparedStep:
        """Gather the inputs; quick, and to be called where the study is not being changed."""
        return PreparedStep(self, COLLECTORS[self.spec.inputs].collect(study, self.refs))

    def record(self) -> dict[str, Any]:
        """Return the step with every parameter spelled out, as it goes into log and recipe."""
        return {
            "method": self.step.method,
            "inputs": self.refs.model_dump(mode="json"),
            "params": self.params.model_dump(mode="json"),
            "key": self.step.result_key,
        }


@dataclass(frozen=True)
class PreparedStep:
    """A step with its inputs, ready to run in any thread."""

    resolved: ResolvedStep
    inputs: Any

    def run(self, ctx: JobContext | None = None) -> Outcome:
        """Run the method. Reads nothing from the study and changes nothing."""
        ctx = ctx or JobContext()
        started, clock = datetime.now(UTC), time.perf_counter()
        ctx.step(0.0, self.resolved.spec.title)
        with limited_threads(ctx.threads):
            result = self.resolved.spec.run(self.inputs, self.resolved.params, ctx)
            digest = inputs_hash(self.inputs)
        run = RunRecord(
            id=uuid4().hex[:12],
            key=self.resolved.step.result_key,
            kind=result.kind,
            step=self.resolved.record(),
            started=started.isoformat(timespec="seconds"),
            seconds=round(time.perf_counter() - clock, 3),
            versions=versions(),
            inputs_hash=digest,
            summary=plain({**result.summary(), "converged": bool(result.converged)}),
        )
        return Outcome(result, run)


@dataclass
class Outcome:
    """A result and its provenance; nothing is in the study until :meth:`commit`."""

    result: Any
    run: RunRecord
    _changes: list[Change] = field(default_factory=list, repr=False)

    def commit(self, study: Study) -> None:
        """Store result and provenance in the study, all or nothing."""
        run = self.run
        log = study.record.runs
        self._changes = [
            *store_result(study, self.result, run.key, run.id),
            Call(lambda _: log.append(run), lambda _: log.remove(run)),
        ]
        apply_all(study, self._changes)

    def revert(self, study: Study) -> None:
        """Take the commit back."""
        revert_all(study, self._changes)

    def redo(self, study: Study) -> None:
        """Commit again after :meth:`revert`."""
        apply_all(study, self._changes)


def run_step(study: Study, step: Step, ctx: JobContext | None = None) -> Any:
    """Run one step on a study, store its result there, and return it.

    Parameters
    ----------
    study
        The study, changed in memory only; save it to keep the result.
    step
        The request.
    ctx
        Progress and cancellation.

    Returns
    -------
    Result
        One of the classes of :mod:`napari_stomics.core.results`.
    """
    outcome = step.resolve().collect(study).run(ctx)
    outcome.commit(study)
    return outcome.result


def _validated(model: type[Params], values: dict[str, Any], what: str) -> Params:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in error.errors()
        )
        raise UserError(
            f"{what} are not valid: {problems}.",
            f"Known names: {', '.join(model.model_fields)}.",
        ) from error
