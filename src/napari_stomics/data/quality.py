"""The judgement of an alignment: what it reads in a study, and where it is stored."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.core.errors import UserError
from napari_stomics.core.plans import TransportPlan
from napari_stomics.core.quality import AlignmentQuality, QualityFigure, QualityInputs, Remark
from napari_stomics.core.results import Array
from napari_stomics.data.changes import Change, SetTableEntry
from napari_stomics.data.plans import UNS_PREFIX, read_plan_table
from napari_stomics.data.references import LandmarkRefs, collect_landmarks, ref
from napari_stomics.data.schema import ConstraintRecord
from napari_stomics.data.spot_pairs import constraint_of

if TYPE_CHECKING:
    from napari_stomics.data.schema import RunRecord
    from napari_stomics.data.study import Study

_PER_SPOT = ("label_agreement", "label_agreement_pose", "expression_agreement", "round_trip")
_WORDS = ("name", "title", "unit", "better", "meaning", "protocol")


class QualityRefs(LandmarkRefs):
    """A stored transport plan and what it is judged by."""

    plan: str = ref("plan", "Transport plan")
    modality: str = ref(
        "modality:source",
        "Modality",
        "rna",
        "Its features judge, where the plan has not seen them.",
    )
    target_modality: str | None = ref(
        "modality:target", "Modality of the fixed section", None, "None: the same."
    )
    labels: str | None = ref(
        "column:source", "Labels", None, "Column of labels in both sections; None: the annotation."
    )
    regions: str | None = ref(
        "column:source", "Regions", None, "A second column, for agreement in type and region."
    )
    constraints: tuple[ConstraintRecord, ...] | None = ref(
        "constraints", "Constraints", None, "None takes those stored in the study."
    )


def plan_of(study: Study, name: str) -> TransportPlan:
    """Return the plan of a table of a study.

    Raises
    ------
    UserError
        If there is no such plan.
    """
    if name in study.sdata.tables:
        try:
            return read_plan_table(study, study.sdata.tables[name])
        except (KeyError, StopIteration):
            pass
    known = [n for n in study.sdata.tables if holds_plan(study.sdata.tables[n])]
    raise UserError(
        f"There is no transport plan {name!r} in this study.",
        f"It has: {', '.join(known)}." if known else "Align two of its sections first.",
    )


def holds_plan(table: Any) -> bool:
    """Whether a table holds a transport plan."""
    return any(
        name.startswith(UNS_PREFIX)
        and isinstance(value, dict)
        and value.get("kind") == TransportPlan.kind
        for name, value in table.uns.items()
    )


def collect_quality(study: Study, refs: QualityRefs) -> QualityInputs:
    """Gather a plan, the spots of its sections and what judges it."""
    plan = plan_of(study, refs.plan)
    if (plan.source, plan.target) != (refs.source, refs.target):
        raise UserError(
            f"The plan {refs.plan!r} leads from {plan.source!r} to {plan.target!r}.",
            "Choose these two sections, in this order.",
        )
    source, target = study.section(refs.source), study.section(refs.target)
    spots = (
        source.spots(refs.modality, refs.labels),
        target.spots(refs.target_modality or refs.modality, refs.labels),
    )
    if not (
        np.array_equal(plan.source_ids, spots[0].ids)
        and np.array_equal(plan.target_ids, spots[1].ids)
    ):
        raise UserError(
            f"The plan {refs.plan!r} does not belong to the spots as they are now.",
            "Align the two sections again.",
        )
    rules = study.record.constraints if refs.constraints is None else refs.constraints
    return QualityInputs(
        plan=plan,
        name=refs.plan,
        source=spots[0],
        target=spots[1],
        label_name=refs.labels or source.record.annotation or "",
        source_regions=None if refs.regions is None else source.labels(refs.regions),
        target_regions=None if refs.regions is None else target.labels(refs.regions),
        landmarks=collect_landmarks(study, refs),
        constraints=tuple(
            constraint_of(rule, *spots)
            for rule in rules
            if refs.source in rule.regions and refs.target in rule.regions
        ),
    )


def write_quality(study: Study, result: AlignmentQuality, key: str, run_id: str) -> list[Change]:
    """Return the changes that store a judgement beside the source section's spots."""
    section = study.section(result.source)
    name = next(
        (
            table
            for table in section.record.tables.values()
            if np.array_equal(
                study.sdata.tables[table].obs_names.to_numpy(object), result.source_ids
            )
        ),
        None,
    )
    if name is None:
        raise UserError(
            f"The spots of section {result.source!r} changed while the job ran.",
            "Check the alignment again.",
        )
    own = _entry(key, result.plan)
    figures = {
        field.name: np.array(
            [getattr(figure, field.name) for figure in result.figures],
            dtype=str if field.name in _WORDS else float,
        )
        for field in fields(QualityFigure)
    }
    meta = {
        "kind": result.kind,
        "run": run_id,
        "source": result.source,
        "target": result.target,
        "plan": result.plan,
        "label_name": result.label_name,
        "converged": bool(result.converged),
        "figures": figures,
        "levels": np.array([remark.level for remark in result.remarks], dtype=str),
        "remarks": np.array([remark.text for remark in result.remarks], dtype=str),
        "genes": np.asarray(result.genes, dtype=str),
        "gene_correlations": np.asarray(result.gene_correlations, float),
    }
    columns: list[Change] = [
        SetTableEntry(name, "obs", f"{own}_{part}", np.asarray(getattr(result, part), float))
        for part in _PER_SPOT
    ]
    return [*columns, SetTableEntry(name, "uns", UNS_PREFIX + own, meta)]


def read_quality(study: Study, key: str, run: RunRecord) -> AlignmentQuality:
    """Read the judgement of a run back."""
    own = _entry(key, run.step["inputs"]["plan"])
    section = study.section(run.step["inputs"]["source"])
    for name in section.record.tables.values():
        table = study.sdata.tables[name]
        if UNS_PREFIX + own in table.uns:
            return _read(table, own)
    raise KeyError(own)


def _read(table: Any, own: str) -> AlignmentQuality:
    meta = table.uns[UNS_PREFIX + own]
    columns = {name: np.asarray(values) for name, values in meta["figures"].items()}
    figures = [
        QualityFigure(
            **{
                name: str(values[i]) if name in _WORDS else float(values[i])
                for name, values in columns.items()
            }  # type: ignore[arg-type]
        )
        for i in range(len(columns["name"]))
    ]
    per_spot: dict[str, Array] = {part: table.obs[f"{own}_{part}"].to_numpy() for part in _PER_SPOT}
    return AlignmentQuality(
        source=str(meta["source"]),
        target=str(meta["target"]),
        plan=str(meta["plan"]),
        source_ids=table.obs_names.to_numpy(object),
        figures=tuple(figures),
        remarks=tuple(
            Remark(str(level), str(text))  # type: ignore[arg-type]
            for level, text in zip(meta["levels"], meta["remarks"], strict=True)
        ),
        label_name=str(meta["label_name"]),
        genes=np.asarray(meta["genes"], dtype=object),
        gene_correlations=np.asarray(meta["gene_correlations"], float),
        converged=bool(meta["converged"]),
        **per_spot,
    )


def _entry(key: str, plan: str) -> str:
    """Name beside the spots: a section may be the source of several plans."""
    return key if plan in key else f"{key}_{plan}"
