"""Carried values and aggregations in SpatialData: a table each, on the receiving section."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.carried import Aggregation, CarriedValues
from napari_stomics.core.errors import UserError
from napari_stomics.data.build import annotate, element_name
from napari_stomics.data.carry import ends_of
from napari_stomics.data.changes import Change, SetElement, SetSectionTable
from napari_stomics.data.plans import UNS_PREFIX

if TYPE_CHECKING:
    from napari_stomics.data.schema import RunRecord
    from napari_stomics.data.study import Study

_PER_VALUE = ("scales", "status", "pearson", "spearman")


def write_values(study: Study, result: CarriedValues, key: str, run_id: str) -> list[Change]:
    """Return the changes that store carried values as a table of the receiving section."""
    import pandas as pd
    from anndata import AnnData

    layers = {"sd": np.asarray(result.sd)}
    if result.measured is not None:
        layers["measured"] = np.asarray(result.measured)
    table = AnnData(
        X=np.asarray(result.values),
        obs=pd.DataFrame(
            {"partners": result.partners, "mass": result.mass},
            index=pd.Index(result.target_ids, dtype=object),
        ),
        var=pd.DataFrame(
            {name: getattr(result, name) for name in _PER_VALUE},
            index=pd.Index(result.names, dtype=object),
        ),
        layers=layers,
        uns={
            UNS_PREFIX + key: {
                "kind": result.kind,
                "source": result.source,
                "target": result.target,
                "converged": bool(result.converged),
            }
        },
    )
    return section_table(study, result.target, result.target_ids, table, key)


def read_values(study: Study, key: str, run: RunRecord) -> CarriedValues:
    """Read carried values back."""
    table = study.section(ends_of(run.step["inputs"])[1]).table(key)
    meta = table.uns[UNS_PREFIX + key]
    return CarriedValues(
        source=str(meta["source"]),
        target=str(meta["target"]),
        target_ids=table.obs_names.to_numpy(object),
        names=table.var_names.to_numpy(object),
        values=np.asarray(table.X),
        sd=np.asarray(table.layers["sd"]),
        partners=table.obs["partners"].to_numpy(),
        mass=table.obs["mass"].to_numpy(),
        measured=np.asarray(table.layers["measured"]) if "measured" in table.layers else None,
        scales=table.var["scales"].astype(str).to_numpy(object),
        status=table.var["status"].astype(str).to_numpy(object),
        pearson=table.var["pearson"].to_numpy(),
        spearman=table.var["spearman"].to_numpy(),
        converged=bool(meta["converged"]),
    )


def write_aggregation(study: Study, result: Aggregation, key: str, run_id: str) -> list[Change]:
    """Return the changes that store an aggregation as a modality of the receiving section."""
    import pandas as pd
    from anndata import AnnData

    table = AnnData(
        X=_plain(result.values),
        obs=pd.DataFrame(
            {"covered": result.covered, "contributors": result.contributors},
            index=pd.Index(result.target_ids, dtype=object),
        ),
        var=pd.DataFrame(
            {"total": result.total, "outside": result.outside},
            index=pd.Index(result.features, dtype=object),
        ),
        layers={} if result.sd is None else {"sd": _plain(result.sd)},
        uns={
            UNS_PREFIX + key: {
                "kind": result.kind,
                "source": result.source,
                "target": result.target,
                "modality": result.modality,
                "statistic": result.statistic,
                "shapes": list(result.shapes),
                "outside_share": float(result.outside_share),
                "finer": bool(result.finer),
                "converged": bool(result.converged),
            }
        },
    )
    return section_table(study, result.target, result.target_ids, table, key)


def read_aggregation(study: Study, key: str, run: RunRecord) -> Aggregation:
    """Read an aggregation back."""
    table = study.section(run.step["inputs"]["target"]).table(key)
    meta = table.uns[UNS_PREFIX + key]
    first, second = (str(s) for s in meta["shapes"])
    return Aggregation(
        source=str(meta["source"]),
        target=str(meta["target"]),
        target_ids=table.obs_names.to_numpy(object),
        features=table.var_names.to_numpy(object),
        modality=str(meta["modality"]),
        values=table.X,
        statistic=str(meta["statistic"]),
        sd=table.layers.get("sd"),
        covered=table.obs["covered"].to_numpy(),
        contributors=table.obs["contributors"].to_numpy(),
        total=table.var["total"].to_numpy(),
        outside=table.var["outside"].to_numpy(),
        outside_share=float(meta["outside_share"]),
        shapes=(first, second),
        finer=bool(meta["finer"]),
        converged=bool(meta["converged"]),
    )


def section_table(
    study: Study, section: str, ids: NDArray[Any], table: Any, key: str
) -> list[Change]:
    """Return the changes that make a result's table one of the tables of a section.

    Raises
    ------
    UserError
        If the section's spots have changed, or ``key`` names one of its measured tables.
    """
    here = study.section(section)
    if here.record.spots is None or not np.array_equal(here.ids, ids):
        raise UserError(
            f"The spots of section {section!r} changed while the job ran.", "Run the step again."
        )
    if key in here.modalities and UNS_PREFIX + key not in here.table(key).uns:
        raise UserError(
            f"Section {section!r} has a table {key!r}, which would be lost.",
            "Give the result another name.",
        )
    name = element_name(section, key)
    return [
        SetElement(name, annotate(table, here.record.spots)),
        SetSectionTable(section, key, name),
    ]


def _plain(matrix: Any) -> Any:
    """A matrix as AnnData stores it."""
    from scipy import sparse

    parts: Any = sparse.csr_array(matrix) if hasattr(matrix, "indptr") else None
    if parts is None:
        return np.asarray(matrix)
    return sparse.csr_matrix((parts.data, parts.indices, parts.indptr), shape=parts.shape)
