"""How each kind of result is stored in SpatialData, and read back.

The scalars of a result lie in the table's ``uns`` under ``stomics_<key>`` with
its kind, its arrays beside them in ``obs``, ``obsm`` or a table of its own, so
that other software finds plain columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.core.carried import Aggregation, CarriedValues
from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import Domains, Embedding
from napari_stomics.core.mappings import CellMapping
from napari_stomics.core.markers import Markers
from napari_stomics.core.morphology import MorphologyFeatures
from napari_stomics.core.plane import MorphologyPlane
from napari_stomics.core.plans import LabelTransfer, TransportPlan
from napari_stomics.core.quality import AlignmentQuality
from napari_stomics.core.results import Prediction, Registration
from napari_stomics.core.scores import ScoreTable
from napari_stomics.core.stacks import CentreSlice, Stack
from napari_stomics.data.build import annotate, element_name
from napari_stomics.data.carried import (
    read_aggregation,
    read_values,
    write_aggregation,
    write_values,
)
from napari_stomics.data.carry import ends_of
from napari_stomics.data.changes import (
    Change,
    SetElement,
    SetSectionTable,
    SetTableEntry,
)
from napari_stomics.data.embeddings import (
    read_domains,
    read_embedding,
    write_domains,
    write_embedding,
)
from napari_stomics.data.homes import categorical, find_table, home_table, text_column
from napari_stomics.data.mappings import read_mapping, write_mapping
from napari_stomics.data.morphology import (
    read_features,
    read_plane,
    write_features,
    write_plane,
)
from napari_stomics.data.plans import UNS_PREFIX, read_plan, write_plan, write_registration
from napari_stomics.data.quality import read_quality, write_quality
from napari_stomics.data.registrations import registration_of
from napari_stomics.data.scores import read_markers, read_scores, write_markers, write_scores
from napari_stomics.data.stacks import read_centre, read_stack, write_centre, write_stack

if TYPE_CHECKING:
    from napari_stomics.data.schema import RunRecord
    from napari_stomics.data.study import Study


@dataclass(frozen=True)
class Storage:
    """How one kind of result is stored.

    Attributes
    ----------
    write
        ``(study, result, key, run_id) -> list of changes``.
    read
        ``(study, key, run) -> result``.
    """

    write: Callable[[Study, Any, str, str], list[Change]]
    read: Callable[[Study, str, RunRecord], Any]


def store_result(study: Study, result: Any, key: str, run_id: str) -> list[Change]:
    """Return the changes that store a result under ``key``.

    Raises
    ------
    TypeError
        If the kind of result is not known here.
    """
    if result.kind not in STORAGE:
        raise TypeError(f"no storage is declared for results of kind {result.kind!r}")
    return STORAGE[result.kind].write(study, result, key, run_id)


def load_result(study: Study, run: RunRecord) -> Any:
    """Read the result of a run back from the study.

    Raises
    ------
    UserError
        If it is no longer in the study.
    """
    try:
        return STORAGE[run.kind].read(study, run.key, run)
    except (KeyError, IndexError) as error:
        raise UserError(
            f"The result {run.key!r} is no longer in this study ({error}).",
            "Run the step again from the log.",
        ) from error


def _read_registration(study: Study, key: str, run: RunRecord) -> Registration:
    return registration_of(next(r for r in study.record.registrations if r.run == run.id))


def _write_transfer(study: Study, result: LabelTransfer, key: str, run_id: str) -> list[Change]:
    table, made = home_table(study, result.target, result.target_ids)
    meta = {
        "kind": result.kind,
        "source": result.source,
        "target": result.target,
        "categories": list(result.categories),
        "accuracy": float(result.accuracy),
        "ceiling": float(result.ceiling),
        "spot_accuracy": float(result.spot_accuracy),
    }
    return [
        *made,
        SetTableEntry(table, "obs", key, categorical(result.labels, result.categories)),
        SetTableEntry(table, "obs", f"{key}_entropy", result.entropy),
        SetTableEntry(table, "obsm", f"{key}_probabilities", result.probabilities),
        SetTableEntry(table, "uns", UNS_PREFIX + key, meta),
    ]


def _read_transfer(study: Study, key: str, run: RunRecord) -> LabelTransfer:
    table = find_table(study, ends_of(run.step["inputs"])[1], key)
    meta = table.uns[UNS_PREFIX + key]
    return LabelTransfer(
        source=str(meta["source"]),
        target=str(meta["target"]),
        target_ids=table.obs_names.to_numpy(object),
        categories=tuple(str(c) for c in meta["categories"]),
        probabilities=np.asarray(table.obsm[f"{key}_probabilities"]),
        labels=text_column(table.obs[key]),
        entropy=table.obs[f"{key}_entropy"].to_numpy(),
        accuracy=float(meta["accuracy"]),
        ceiling=float(meta["ceiling"]),
        spot_accuracy=float(meta["spot_accuracy"]),
    )


_PER_GENE = ("error", "pearson", "pearson_mean", "pearson_depth", "rmse", "rmse_mean")


def _write_prediction(study: Study, result: Prediction, key: str, run_id: str) -> list[Change]:
    import pandas as pd
    from anndata import AnnData

    section = study.section(result.section)
    table = AnnData(
        X=np.asarray(result.values, np.float32),
        obs=pd.DataFrame({"novelty": result.novelty}, index=pd.Index(result.ids, dtype=object)),
        var=pd.DataFrame(
            {name: getattr(result, name) for name in _PER_GENE},
            index=pd.Index(result.genes, dtype=object),
        ),
        uns={
            UNS_PREFIX + key: {
                "kind": result.kind,
                "section": result.section,
                "trained_on": list(result.trained_on),
                "scale": result.scale,
                "converged": bool(result.converged),
            }
        },
    )
    name = element_name(result.section, key)
    if section.record.spots is None or not np.array_equal(section.ids, result.ids):
        raise UserError(
            f"The spots of section {result.section!r} changed while the job ran.",
            "Run the prediction again.",
        )
    return [
        SetElement(name, annotate(table, section.record.spots)),
        SetSectionTable(result.section, key, name),
    ]


def _read_prediction(study: Study, key: str, run: RunRecord) -> Prediction:
    table = study.section(run.step["inputs"]["test"]).table(key)
    meta = table.uns[UNS_PREFIX + key]
    return Prediction(
        section=str(meta["section"]),
        trained_on=tuple(str(s) for s in meta["trained_on"]),
        ids=table.obs_names.to_numpy(object),
        genes=table.var_names.to_numpy(object),
        values=np.asarray(table.X),
        scale=str(meta["scale"]),
        novelty=table.obs["novelty"].to_numpy(),
        converged=bool(meta["converged"]),
        **{name: table.var[name].to_numpy() for name in _PER_GENE},
    )


STORAGE: dict[str, Storage] = {
    Registration.kind: Storage(write_registration, _read_registration),
    TransportPlan.kind: Storage(write_plan, read_plan),
    Stack.kind: Storage(write_stack, read_stack),
    CentreSlice.kind: Storage(write_centre, read_centre),
    AlignmentQuality.kind: Storage(write_quality, read_quality),
    LabelTransfer.kind: Storage(_write_transfer, _read_transfer),
    CarriedValues.kind: Storage(write_values, read_values),
    Aggregation.kind: Storage(write_aggregation, read_aggregation),
    CellMapping.kind: Storage(write_mapping, read_mapping),
    Embedding.kind: Storage(write_embedding, read_embedding),
    Domains.kind: Storage(write_domains, read_domains),
    ScoreTable.kind: Storage(write_scores, read_scores),
    Markers.kind: Storage(write_markers, read_markers),
    MorphologyFeatures.kind: Storage(write_features, read_features),
    MorphologyPlane.kind: Storage(write_plane, read_plane),
    Prediction.kind: Storage(_write_prediction, _read_prediction),
}
"""Every kind of result and its place in SpatialData."""
