"""An alignment with everything that is known of it: what reports and comparisons are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.plans import TransportPlan
from napari_stomics.core.quality import NAN, AlignmentQuality, QualityFigure, QualityInputs
from napari_stomics.data.plans import UNS_PREFIX
from napari_stomics.data.quality import QualityRefs, collect_quality, holds_plan, plan_of
from napari_stomics.methods.alignment.quality import judge_alignment
from napari_stomics.methods.alignment.quality_case import QualityParams
from napari_stomics.metrics.alignment_quality import ratio_error, spatial_blocks
from napari_stomics.metrics.label_transfer import label_masses
from napari_stomics.workflow.steps import Step

if TYPE_CHECKING:
    from napari_stomics.data.schema import RunRecord
    from napari_stomics.data.study import Study

SURE = 2.0
"""A difference of more than so many standard errors counts."""


@dataclass(frozen=True)
class Dossier:
    """One alignment, ready to be judged in any thread.

    Attributes
    ----------
    inputs
        The plan, its sections and what judges it.
    params
        Parameters of the judgement.
    run
        Provenance of the plan; None where it is not in the study's log.
    """

    inputs: QualityInputs
    params: QualityParams
    run: RunRecord | None

    @property
    def name(self) -> str:
        """Name of the plan in the study."""
        return self.inputs.name

    @property
    def plan(self) -> TransportPlan:
        """The plan."""
        return self.inputs.plan

    @property
    def pitch(self) -> float:
        """Distance between neighbouring spots, um."""
        return float(np.sqrt(self.inputs.source.pitch * self.inputs.target.pitch))

    @property
    def placed(self) -> NDArray[Any]:
        """(n, 2) source spots where the alignment puts them, target um."""
        plan = self.plan
        if plan.registration is None:
            return plan.source_coordinates
        return plan.registration.transform.apply(self.inputs.source.coordinates)

    def judge(self, ctx: JobContext | None = None) -> AlignmentQuality:
        """Measure the alignment."""
        return judge_alignment(self.inputs, self.params, ctx or JobContext())


def plan_names(study: Study) -> list[str]:
    """Names of the transport plans of a study."""
    return [name for name, table in study.sdata.tables.items() if holds_plan(table)]


def dossier(study: Study, name: str) -> Dossier:
    """Gather an alignment; quick, and to be called where the study is not being changed.

    Labels, regions and parameters are those of the last check of this plan, if
    there was one, and the annotation and the defaults otherwise.

    Parameters
    ----------
    study
        The study.
    name
        Name of the plan's table.

    Raises
    ------
    UserError
        If there is no such plan, or it does not belong to the spots any longer.
    """
    refs, params = _asked(study, name)
    return Dossier(collect_quality(study, refs), params, _run_of(study, name))


def check_step(study: Study, name: str) -> Step:
    """Return the step that checks an alignment and stores what it finds.

    Raises
    ------
    UserError
        If there is no such plan.
    """
    refs, params = _asked(study, name)
    return Step(
        method="quality/alignment",
        inputs=refs.model_dump(mode="json"),
        params=params.model_dump(mode="json"),
        key=f"{name}_check",
    )


def last_check(study: Study, name: str) -> RunRecord | None:
    """Return the run that last checked a plan, None if it was made anew since or never checked."""
    for run in reversed(study.record.runs):
        if run.kind == AlignmentQuality.kind and run.step["inputs"].get("plan") == name:
            return run
        if run.id in _runs_in(study, name):
            return None
    return None


def _asked(study: Study, name: str) -> tuple[QualityRefs, QualityParams]:
    """What a plan is judged by: as the last time, or by the annotation and the defaults."""
    plan = plan_of(study, name)
    for run in reversed(study.record.runs):
        if run.kind == AlignmentQuality.kind and run.step["inputs"].get("plan") == name:
            return (
                QualityRefs.model_validate(run.step["inputs"]),
                QualityParams.model_validate(run.step["params"]),
            )
    made = _run_of(study, name)
    asked = {} if made is None else made.step["inputs"]
    modality = _modality(study, plan.source, asked.get("modality"))
    chosen = {
        "plan": name,
        "source": plan.source,
        "target": plan.target,
        "modality": modality,
        "target_modality": _modality(study, plan.target, asked.get("target_modality") or modality),
    }
    return QualityRefs.model_validate(chosen), QualityParams()


def _modality(study: Study, section: str, wanted: Any) -> str:
    known = study.section(section).modalities
    if not known:
        raise UserError(f"Section {section!r} has no table.", "Add one, or choose another plan.")
    return wanted if wanted in known else known[0]


def _runs_in(study: Study, name: str) -> set[str]:
    return {
        str(value.get("run", ""))
        for key, value in study.sdata.tables[name].uns.items()
        if key.startswith(UNS_PREFIX) and isinstance(value, dict)
    }


def _run_of(study: Study, name: str) -> RunRecord | None:
    ids = _runs_in(study, name)
    return next((run for run in reversed(study.record.runs) if run.id in ids), None)


@dataclass(frozen=True)
class Difference:
    """One figure of two alignments.

    Attributes
    ----------
    first, second
        The figure of each; None where it could not be measured.
    noise
        Standard error of their difference; NaN where it is not known.
    better
        0 or 1 where one is better beyond the noise, None otherwise.
    """

    first: QualityFigure | None
    second: QualityFigure | None
    noise: float
    better: int | None

    @property
    def figure(self) -> QualityFigure:
        """The figure of the first that has it."""
        found = self.first or self.second
        assert found is not None
        return found


@dataclass(frozen=True)
class Comparison:
    """Two alignments, judged by the same means.

    Attributes
    ----------
    dossiers
        The two alignments.
    judged
        Their judgements; features that either has seen judge neither.
    differences
        One per figure.
    same_sections
        Whether both join the same spots; if not, no figure is compared.
    """

    dossiers: tuple[Dossier, Dossier]
    judged: tuple[AlignmentQuality, AlignmentQuality]
    differences: tuple[Difference, ...]
    same_sections: bool


def compare(dossiers: Sequence[Dossier], ctx: JobContext | None = None) -> Comparison:
    """Judge two alignments by the same means and compare their figures.

    Parameters
    ----------
    dossiers
        Two alignments.
    ctx
        Progress and cancellation.
    """
    ctx = ctx or JobContext()
    a, b = dossiers
    same = all(
        np.array_equal(getattr(a.plan, side), getattr(b.plan, side))
        for side in ("source_ids", "target_ids")
    ) and (a.plan.source, a.plan.target) == (b.plan.source, b.plan.target)
    if same:
        seen = np.zeros(0, object)
        if len(a.plan.features) and len(b.plan.features):
            seen = np.union1d(a.plan.features.astype(str), b.plan.features.astype(str))
        a, b = (
            replace(d, params=dossiers[0].params,
                    inputs=replace(d.inputs, plan=replace(d.plan, features=seen.astype(object))))
            for d in (a, b)
        )  # fmt: skip
    judged = a.judge(ctx.part(0.0, 0.5)), b.judge(ctx.part(0.5, 1.0))
    names = dict.fromkeys(f.name for quality in judged for f in quality.figures)
    rows = [
        _difference((a, b), judged, (judged[0].figure(n), judged[1].figure(n)), same) for n in names
    ]
    return Comparison((dossiers[0], dossiers[1]), judged, tuple(rows), same)


def _difference(
    dossiers: tuple[Dossier, Dossier],
    judged: tuple[AlignmentQuality, AlignmentQuality],
    pair: tuple[QualityFigure | None, QualityFigure | None],
    same: bool,
) -> Difference:
    first, second = pair
    if first is None or second is None or not same:
        return Difference(first, second, NAN, None)
    noise = _paired_noise(dossiers, judged, first.name)
    if noise is None:
        noise = float(np.hypot(first.noise, second.noise))
    gap = second.value - first.value
    if not first.better or not abs(gap) > SURE * noise:
        return Difference(first, second, noise, None)
    higher = 1 if gap > 0 else 0
    return Difference(first, second, noise, higher if first.better == "higher" else 1 - higher)


def _paired_noise(
    dossiers: tuple[Dossier, Dossier], judged: tuple[AlignmentQuality, AlignmentQuality], name: str
) -> float | None:
    """Error of a difference in which what both share cancels; None where nothing is paired."""
    if name == "label_accuracy":
        inputs = dossiers[0].inputs
        a, b = inputs.source.labels, inputs.target.labels
        if a is None or b is None:
            return None
        masses = [label_masses(d.plan.plan, a, b) for d in dossiers]
        blocks = spatial_blocks(
            inputs.source.coordinates, dossiers[0].params.block * inputs.source.pitch
        )
        return ratio_error(*masses[0], blocks, masses[1])
    if name == "gene_correlation":
        scores = [dict(zip(map(str, q.genes), q.gene_correlations, strict=True)) for q in judged]
        gaps = np.array([scores[0][g] - scores[1][g] for g in scores[0] if g in scores[1]])
        return float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else NAN
    return None
