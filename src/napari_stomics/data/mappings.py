"""Mappings of single cells to a section: what they read in a study, and where they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import MappingInputs
from napari_stomics.core.mappings import CellMapping
from napari_stomics.core.params import Params
from napari_stomics.data.build import element_name
from napari_stomics.data.changes import Change, SetElement, SetTableEntry
from napari_stomics.data.plans import UNS_PREFIX
from napari_stomics.data.references import ref

if TYPE_CHECKING:
    from napari_stomics.data.schema import RunRecord
    from napari_stomics.data.study import Study

_PER_CELL = ("cell_mass", "spread", "entropy", "largest_match")
_NUMBERS = ("kept", "marginal_error", "atlas_weight")
_TEXTS = ("reference", "section", "modality", "marginals", "reason")
_ARRAYS = ("objective", "held_out_pearson", "label_distances", "flows", "flow_z", "signal_reach")
_NAMES = ("features", "held_out", "categories", "signals")


class MappingRefs(Params):
    """Single cells, and the section that they are placed in."""

    reference: str = ref("reference", "Single cells")
    modality: str = ref(
        "cell_modality:reference", "Modality of the cells", "rna", "Compared with the section's."
    )
    labels: str | None = ref(
        "cell_column:reference",
        "Labels of the cells",
        None,
        "Column of obs, for instance cell types; None: the one that the reference names.",
    )
    more: tuple[str, ...] = ref(
        "cell_modalities:reference",
        "Place these too",
        (),
        "Further modalities of the reference, placed through the first one.",
    )
    section: str = ref("section", "Section")
    section_modality: str = ref("modality:section", "Modality of the section", "rna")


def collect_mapping(study: Study, refs: MappingRefs) -> MappingInputs:
    """Gather the cells of a reference and the spots of a section."""
    reference = study.reference(refs.reference)
    if refs.labels is not None and reference.labels(refs.modality, refs.labels) is None:
        raise UserError(
            f"The single cells {refs.reference!r} have no column {refs.labels!r}.",
            "Choose a column of their table.",
        )
    return MappingInputs(
        cells=reference.cells(refs.modality, refs.labels),
        space=study.section(refs.section).spots(refs.section_modality),
        more=tuple(reference.cells(m, refs.labels) for m in refs.more if m != refs.modality),
    )


def mapping_name(reference: str, section: str, key: str, modality: str = "") -> str:
    """Name of the table that holds a mapping; further modalities have tables of their own."""
    return element_name(reference, "to", section, key, modality)


def write_mapping(study: Study, result: CellMapping, key: str, run_id: str) -> list[Change]:
    """Return the changes that store a mapping.

    The plan (cells by spots) is a table that annotates nothing; the labels'
    proportions lie in the section's own table, as ``<key>_proportions``.
    """
    home = _home(study, result)
    name = mapping_name(result.reference, result.section, key)
    changes: list[Change] = [
        SetElement(name, _table(result, key, run_id)),
        SetTableEntry(home, "uns", UNS_PREFIX + key, {"kind": result.kind, "plan": name}),
    ]
    if result.categories:
        changes += [
            SetTableEntry(home, "obsm", f"{key}_proportions", result.proportions),
            SetTableEntry(home, "obs", f"{key}_entropy", result.proportion_entropy),
        ]
    for part in result.more:
        own = mapping_name(result.reference, result.section, key, part.modality)
        changes.append(SetElement(own, _table(part, key, run_id)))
        if part.categories:
            place = f"{key}_{part.modality}_proportions"
            changes.append(SetTableEntry(home, "obsm", place, part.proportions))
    return changes


def read_mapping(study: Study, key: str, run: RunRecord) -> CellMapping:
    """Read a mapping back.

    Raises
    ------
    KeyError
        If its table is no longer there.
    """
    inputs = run.step["inputs"]
    names = inputs["reference"], inputs["section"]
    table = study.sdata.tables[mapping_name(*names, key)]
    section = study.section(names[1])
    tables = [section.table(m) for m in section.modalities]
    home = next(t for t in tables if UNS_PREFIX + key in t.uns)
    more = tuple(
        _mapping(study.sdata.tables[mapping_name(*names, key, m)], home, key, f"{key}_{m}")
        for m in map(str, table.uns[UNS_PREFIX + key].get("more", ()))
    )
    return _mapping(table, home, key, key, more)


def _home(study: Study, result: CellMapping) -> str:
    """Name of the section's table whose rows are the mapping's spots."""
    for name in study.section(result.section).record.tables.values():
        if np.array_equal(study.sdata.tables[name].obs_names.to_numpy(object), result.spot_ids):
            return name
    raise UserError(
        f"The spots of section {result.section!r} changed while the job ran.", "Map the cells anew."
    )


def _table(result: CellMapping, key: str, run_id: str) -> Any:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix
    from spatialdata.models import TableModel

    meta: dict[str, Any] = {"kind": result.kind, "run": run_id, "converged": bool(result.converged)}
    meta |= {name: float(getattr(result, name)) for name in _NUMBERS}
    meta |= {name: str(getattr(result, name)) for name in _TEXTS}
    # Arrays without entries are left out: not every store can hold them.
    arrays = {name: np.asarray(getattr(result, name), float) for name in _ARRAYS}
    names = {name: np.asarray(getattr(result, name), dtype=str) for name in _NAMES}
    names["more"] = np.array([part.modality for part in result.more], dtype=str)
    meta |= {name: value for name, value in {**arrays, **names}.items() if value.size}
    labels = pd.Categorical(
        [value if value else None for value in result.labels], categories=list(result.categories)
    )
    obs = pd.DataFrame(
        {name: getattr(result, name) for name in _PER_CELL},
        index=pd.Index(result.cell_ids, dtype=object),
    )
    obs["label"] = labels
    table = AnnData(
        X=csr_matrix(result.plan),
        obs=obs,
        var=pd.DataFrame({"mass": result.spot_mass}, index=pd.Index(result.spot_ids, dtype=object)),
        obsm={"position": result.positions},
        uns={UNS_PREFIX + key: meta},
    )
    return TableModel.parse(table)


def _mapping(
    table: Any, home: Any, key: str, own: str, more: tuple[CellMapping, ...] = ()
) -> CellMapping:
    from napari_stomics.metrics.uncertainty import normalised_entropy

    meta = table.uns[UNS_PREFIX + key]
    plain: dict[str, Any] = {name: float(meta[name]) for name in _NUMBERS}
    plain |= {name: str(meta[name]) for name in _TEXTS}
    plain |= {name: np.asarray(meta[name], float) for name in _ARRAYS if name in meta}
    for name in ("features", "held_out"):
        plain[name] = np.asarray(meta.get(name, ()), dtype=object)
    categories = tuple(str(c) for c in meta.get("categories", ()))
    shape = (len(table.var_names), len(categories))
    proportions = np.asarray(home.obsm[f"{own}_proportions"]) if categories else np.zeros(shape)
    labels = table.obs["label"].astype(object)
    return CellMapping(
        cell_ids=table.obs_names.to_numpy(object),
        spot_ids=table.var_names.to_numpy(object),
        plan=table.X,
        positions=np.asarray(table.obsm["position"]),
        spot_mass=table.var["mass"].to_numpy(),
        labels=labels.where(labels.notna(), "").to_numpy(dtype=object),
        categories=categories,
        proportions=proportions,
        proportion_entropy=normalised_entropy(proportions)
        if categories
        else np.full(shape[0], np.nan),
        converged=bool(meta["converged"]),
        signals=tuple(str(s) for s in meta.get("signals", ())),
        more=more,
        **{name: table.obs[name].to_numpy() for name in _PER_CELL},
        **plain,
    )
