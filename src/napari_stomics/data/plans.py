"""Transport plans in SpatialData: a sparse table of their own, and the registration they imply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.core.errors import UserError
from napari_stomics.core.plans import TransportPlan
from napari_stomics.data.build import annotate, element_name
from napari_stomics.data.changes import Call, Change, SetElement
from napari_stomics.data.registrations import details_of, registration_of

if TYPE_CHECKING:
    from napari_stomics.core.results import Registration
    from napari_stomics.data.schema import RunRecord
    from napari_stomics.data.study import Study

UNS_PREFIX = "stomics_"
"""Before the key of a result: where its scalars lie in a table's ``uns``."""

_NUMBERS = ("marginal_error", "alpha", "margin")
_TEXTS = ("source", "target", "reason", "marginals", "solver")
_CURVES = ("objective", "marginal_errors", "landmark_errors")


def plan_name(source: str, target: str, key: str) -> str:
    """Name of the table that holds a transport plan."""
    return element_name(source, "to", target, key)


def write_registration(study: Study, result: Registration, key: str, run_id: str) -> list[Change]:
    """Return the changes that store a registration as transformations of its section."""
    from napari_stomics.data.warp import remove_registration, store_registration

    stored: list[str] = []

    def do(target: Study) -> None:
        stored[:] = [store_registration(target, result, run=run_id)]
        target.record.registrations[-1].details = details_of(result)

    def undo(target: Study) -> None:
        remove_registration(target, stored[0])

    return [Call(do, undo)]


def write_plan(study: Study, result: TransportPlan, key: str, run_id: str) -> list[Change]:
    """Return the changes that store a plan (rows: source spots, columns: target spots)."""
    import pandas as pd
    from anndata import AnnData

    source = study.section(result.source)
    if not np.array_equal(source.ids, result.source_ids) or source.record.spots is None:
        raise UserError(
            f"The spots of section {result.source!r} changed while the job ran.",
            "Run the alignment again.",
        )
    meta: dict[str, Any] = {"kind": result.kind, "run": run_id}
    meta |= {name: float(getattr(result, name)) for name in _NUMBERS}
    meta |= {name: str(getattr(result, name)) for name in _TEXTS}
    meta |= {name: np.asarray(getattr(result, name), float) for name in _CURVES}
    meta |= {
        "converged": bool(result.converged),
        "overlap": np.asarray(result.overlap, float),
        "landmarks": list(result.landmarks),
        "features": np.asarray(result.features, dtype=str),
    }
    table = AnnData(
        X=result.plan.tocsr(),
        obs=pd.DataFrame(
            {
                "entropy": result.entropy,
                "mass": result.row_mass,
                "mass_asked": result.source_mass,
                "largest_match": result.largest_match,
                "unmatched": result.unmatched,
                "disagreement": result.disagreement,
            },
            index=pd.Index(result.source_ids, dtype=object),
        ),
        var=pd.DataFrame(
            {"mass": result.column_mass, "mass_asked": result.target_mass},
            index=pd.Index(result.target_ids, dtype=object),
        ),
        obsm={"barycentre": result.barycentres, "source_coordinates": result.source_coordinates},
        uns={UNS_PREFIX + key: meta},
    )
    name = plan_name(result.source, result.target, key)
    changes: list[Change] = [SetElement(name, annotate(table, source.record.spots))]
    if result.registration is not None:
        changes += write_registration(study, result.registration, key, run_id)
    return changes


def read_plan(study: Study, key: str, run: RunRecord) -> TransportPlan:
    """Read the plan of a run back."""
    inputs = run.step["inputs"]
    return read_plan_table(
        study, study.sdata.tables[plan_name(inputs["source"], inputs["target"], key)]
    )


def read_plan_table(study: Study, table: Any) -> TransportPlan:
    """Read a plan back from its table.

    Raises
    ------
    KeyError
        If the table holds no plan.
    """
    meta = next(
        value
        for name, value in table.uns.items()
        if name.startswith(UNS_PREFIX) and value["kind"] == TransportPlan.kind
    )
    run = str(meta.get("run", ""))
    record = next((r for r in study.record.registrations if run and r.run == run), None)
    overlap = np.asarray(meta["overlap"], float)
    plain: dict[str, Any] = {name: float(meta[name]) for name in _NUMBERS}
    plain |= {name: str(meta[name]) for name in _TEXTS}
    plain |= {name: np.asarray(meta[name], float) for name in _CURVES}
    return TransportPlan(
        source_ids=table.obs_names.to_numpy(object),
        target_ids=table.var_names.to_numpy(object),
        plan=table.X,
        source_coordinates=np.asarray(table.obsm["source_coordinates"]),
        barycentres=np.asarray(table.obsm["barycentre"]),
        entropy=table.obs["entropy"].to_numpy(),
        disagreement=table.obs["disagreement"].to_numpy(),
        source_mass=table.obs["mass_asked"].to_numpy(),
        target_mass=table.var["mass_asked"].to_numpy(),
        converged=bool(meta["converged"]),
        overlap=(float(overlap[0]), float(overlap[1])),
        landmarks=tuple(str(n) for n in meta["landmarks"]),
        features=np.asarray(meta["features"], dtype=object),
        registration=None if record is None else registration_of(record),
        **plain,
    )
