"""Where a plan is doubtful, for the places of a study."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.layers.valued import spot_rows
from napari_stomics.methods.alignment.certainty import Region, doubtful_regions, spot_doubt
from napari_stomics.methods.alignment.next_landmark import (
    NextLandmark,
    next_landmark,
    shift_field,
)

if TYPE_CHECKING:
    from napari_stomics.core.plans import TransportPlan
    from napari_stomics.data.study import Study


@dataclass(frozen=True)
class LookNext:
    """What is doubtful in one plan.

    Attributes
    ----------
    plan
        The plan.
    source_points, target_points
        (n, 2), (m, 2) spots (x, y) um, each in its section's own frame.
    pitch
        Distance between neighbouring source spots in um.
    regions
        The most doubtful first.
    landmark
        The landmark that would tell most; None where nothing can be said.
    error
        Median expected error over all spots, in pitches.
    """

    plan: TransportPlan
    source_points: Any
    target_points: Any
    pitch: float
    regions: tuple[Region, ...]
    landmark: NextLandmark | None
    error: float


def own_scale(found: LookNext) -> float:
    """Um of the source's own frame per um of the target's."""
    own, posed = found.source_points, found.plan.source_coordinates
    spread = float(np.linalg.norm(np.std(posed, axis=0)))
    return float(np.linalg.norm(np.std(own, axis=0))) / spread if spread > 0 else 1.0


def look_where(marks: Any, study: Study, plan: TransportPlan) -> LookNext:
    """Find what is doubtful in a plan; in any thread.

    Parameters
    ----------
    marks
        (k, 2) source and (k, 2) target positions of the landmarks, each section's own um.
    study, plan
        The plan, and the study that holds its sections.
    """
    from scipy.spatial import cKDTree

    source, target = study.section(plan.source), study.section(plan.target)
    own = source.coordinates[spot_rows(source, np.asarray(plan.source_ids, object))]
    there = target.coordinates[spot_rows(target, np.asarray(plan.target_ids, object))]
    posed = np.asarray(plan.source_coordinates, np.float64)
    pitch = target.pitch
    if len(posed) > 1:
        near = np.asarray(cKDTree(posed).query(posed, k=2)[0])[:, 1]
        pitch = float(np.median(near)) or pitch
    doubt = spot_doubt(plan, there, pitch)
    known = doubt.error[np.isfinite(doubt.error)]
    error = float(np.median(known)) if len(known) else float("nan")
    regions = doubtful_regions(plan, doubt)
    bare = LookNext(plan, own, there, pitch, regions, None, error)
    return suggest_again(marks, bare)


def suggest_again(marks: Any, found: LookNext) -> LookNext:
    """The same regions, and the landmark that would tell most beside those that there are."""
    plan, pitch = found.plan, found.pitch
    doubt = spot_doubt(plan, found.target_points, pitch)
    field = shift_field(plan, doubt, found.source_points, found.target_points, pitch, marks)
    mark = None if field is None else next_landmark(field, plan, found.source_points, pitch)
    return replace(found, landmark=mark)
