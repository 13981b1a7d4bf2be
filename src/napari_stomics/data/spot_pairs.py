"""Two sections gathered for an alignment, with all that the user knows of their match."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import Constraint, SpotPair, Spots
from napari_stomics.core.plans import TransportPlan
from napari_stomics.data.references import LandmarkRefs, collect_landmarks, distinct, ref
from napari_stomics.data.schema import ConstraintRecord

if TYPE_CHECKING:
    from napari_stomics.data.study import Section, Study


class SpotPairRefs(LandmarkRefs):
    """Two sections with features that can be compared, and what is known of their match."""

    modality: str = ref("modality:source", "Modality", "rna")
    target_modality: str | None = ref(
        "modality:target",
        "Modality of the fixed section",
        None,
        "None: the same. Two modalities share no features: give an embedding that both have, "
        "or compare distances alone.",
    )
    embedding: str | None = ref(
        "embedding:source",
        "Compare an embedding",
        None,
        "Column of obsm that both sections have, compared instead of the modality's features.",
    )
    use_registration: bool = ref(
        "flag",
        "Start from the registration",
        True,
        "Place the moving section by its stored registration before solving.",
    )
    histology: bool = ref(
        "flag", "Compare the H&E images too", False, "Features of the image under each spot."
    )
    constraints: tuple[ConstraintRecord, ...] | None = ref(
        "constraints",
        "Constraints",
        None,
        "Painted regions by value, so that a recipe replays to the same numbers; "
        "None takes those stored in the study.",
    )
    start: str | None = ref("plan", "Go on from", None, "A stored plan of the same two sections.")


def collect_spot_pair(study: Study, refs: SpotPairRefs) -> SpotPair:
    """Gather spots, map, landmarks, constraints and former plan of two sections."""
    distinct(refs.source, refs.target)
    source, target = study.section(refs.source), study.section(refs.target)
    spots = (
        _spots(source, refs.modality, refs.embedding),
        _spots(target, refs.target_modality or refs.modality, refs.embedding),
    )
    marks = collect_landmarks(study, refs)
    rules = study.record.constraints if refs.constraints is None else refs.constraints
    histology = None
    if refs.histology:
        histology = (
            source.histology(refs.modality),
            target.histology(refs.target_modality or refs.modality),
        )
    return SpotPair(
        *spots,
        initial=study.registration(refs.source, refs.target) if refs.use_registration else None,
        landmarks=marks if marks.names else None,
        constraints=tuple(
            constraint_of(rule, *spots)
            for rule in rules
            if refs.source in rule.regions and refs.target in rule.regions
        ),
        histology=histology,
        start=None if refs.start is None else _former(study, refs.start, *spots),
    )


def constraint_of(rule: ConstraintRecord, source: Spots, target: Spots) -> Constraint:
    """Return which spots of two sections a painted constraint speaks of.

    Raises
    ------
    UserError
        If a region holds no spot.
    """
    flags = []
    for spots in (source, target):
        inside = within(spots.coordinates, rule.regions[spots.section])
        if not inside.any():
            raise UserError(
                f"The region of constraint {rule.name!r} holds no spot of {spots.section!r}.",
                "Draw it over spots, or delete the constraint.",
            )
        flags.append(inside)
    return Constraint(rule.name, rule.kind, *flags)


def within(points: Any, polygons: list[list[tuple[float, float]]]) -> Any:
    """(n,) flags of points (x, y) that lie in or on any of the polygons."""
    import shapely

    inside = np.zeros(len(points), bool)
    for polygon in polygons:
        if len(polygon) >= 3:
            area = shapely.make_valid(shapely.Polygon(polygon))
            shapely.prepare(area)
            inside |= shapely.intersects_xy(area, points[:, 0], points[:, 1])
    return inside


def _spots(section: Section, modality: str, embedding: str | None) -> Spots:
    spots = section.spots(modality)
    if embedding is None:
        return spots
    table = section.table(modality)
    if embedding not in table.obsm:
        raise UserError(
            f"Section {section.name!r} has no embedding {embedding!r}.",
            f"It has: {', '.join(map(str, table.obsm)) or 'none'}.",
        )
    values = np.asarray(table.obsm[embedding])
    names = np.array([f"{embedding}_{i}" for i in range(values.shape[1])], object)
    return replace(spots, x=values, features=names, modality="embedding")


def _former(study: Study, name: str, source: Spots, target: Spots) -> TransportPlan:
    from napari_stomics.data.plans import read_plan_table

    if name not in study.sdata.tables:
        raise UserError(
            f"There is no transport plan {name!r} in this study.", "Choose a plan that is there."
        )
    plan = read_plan_table(study, study.sdata.tables[name])
    if not (
        np.array_equal(plan.source_ids, source.ids) and np.array_equal(plan.target_ids, target.ids)
    ):
        raise UserError(
            f"The plan {name!r} does not belong to the spots of {source.section!r} and "
            f"{target.section!r} as they are now.",
            "Align them anew, without 'Go on from'.",
        )
    return plan
