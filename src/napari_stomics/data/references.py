"""How a step refers to what it reads, and what several collectors share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import LandmarkPairs
from napari_stomics.core.params import Params
from napari_stomics.data.schema import LandmarkRecord

if TYPE_CHECKING:
    from napari_stomics.data.study import Study


def ref(role: str, title: str, default: Any = ..., description: str = "") -> Any:
    """Declare a reference; ``role`` tells the dock which choices to offer.

    Roles: ``section``, ``sections``, ``modality``, ``modalities``, ``image``,
    ``column``, ``columns``, ``domains``, ``embedding``, ``embeddings``, ``others``, ``plan``,
    ``reference``, ``cell_modality``, ``cell_modalities``, ``cell_column``, ``landmarks``,
    ``constraints``, ``region``, ``left_out``, ``flag``. A role may name the section it depends on:
    ``modality:section``.
    """
    extra: Any = {"role": role}
    return Field(default, title=title, description=description, json_schema_extra=extra)


@dataclass(frozen=True)
class Collector:
    """How one kind of inputs is referred to and gathered."""

    refs: type[Params]
    collect: Callable[[Study, Any], Any]


class LandmarkRefs(Params):
    """Two sections and the landmarks between them."""

    source: str = ref("section", "Moving section")
    target: str = ref("section", "Fixed section")
    landmarks: tuple[LandmarkRecord, ...] | None = ref(
        "landmarks",
        "Landmarks",
        None,
        "Landmarks by value, so that a recipe replays to the same numbers; "
        "None takes those stored in the study.",
    )


def distinct(source: str, target: str) -> None:
    """Refuse one section on both sides."""
    if source == target:
        raise UserError(
            f"Section {source!r} is chosen on both sides.", "Choose two different sections."
        )


def collect_landmarks(study: Study, refs: LandmarkRefs) -> LandmarkPairs:
    """Landmarks that are placed in both sections."""
    source, target = study.section(refs.source), study.section(refs.target)
    distinct(refs.source, refs.target)
    marks = study.record.landmarks if refs.landmarks is None else refs.landmarks
    both = [m for m in marks if refs.source in m.positions and refs.target in m.positions]
    return LandmarkPairs(
        source=refs.source,
        target=refs.target,
        names=tuple(m.name for m in both),
        source_points=np.array([m.positions[refs.source] for m in both], float).reshape(-1, 2),
        target_points=np.array([m.positions[refs.target] for m in both], float).reshape(-1, 2),
        source_pixel_size=source.record.pixel_size_um,
        target_pixel_size=target.record.pixel_size_um,
    )
