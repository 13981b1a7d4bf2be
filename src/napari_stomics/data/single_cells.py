"""Single cells without positions: a reference that a study keeps beside its sections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import Cells
from napari_stomics.data.schema import ReferenceRecord

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_stomics.data.study import Study

LABEL_COLUMNS = (
    "cell_type", "celltype", "cell_types", "cell.type", "cell_label", "annotation", "label",
    "labels", "subclass", "class", "cluster", "clusters", "leiden", "louvain",
)  # fmt: skip
"""Names under which a column of labels is looked for, the best first."""

_NO_LABEL = ("NA", "nan", "None", "<NA>")


@dataclass(frozen=True)
class SingleCells:
    """Single cells on their way into a study.

    Attributes
    ----------
    name
        Name of the reference.
    tables
        AnnData per modality, with raw counts in X; of the same cells or of others.
    labels
        Column of ``obs`` with the cells' labels.
    source
        File that they were read from.
    """

    name: str
    tables: Mapping[str, AnnData]
    labels: str | None = None
    source: str = ""


class Reference:
    """One reference of a study: a view that reads from its SpatialData object.

    Parameters
    ----------
    study
        The study that it belongs to.
    record
        Which tables are its own.
    """

    def __init__(self, study: Study, record: ReferenceRecord) -> None:
        self.study = study
        self.record = record

    @property
    def name(self) -> str:
        """Name of the reference."""
        return self.record.name

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that have a table, in the order they were added."""
        return tuple(self.record.tables)

    def table(self, modality: str) -> AnnData:
        """Return the table of a modality.

        Raises
        ------
        UserError
            If the reference has no such table.
        """
        key = self.record.tables.get(modality)
        if key is None or key not in self.study.sdata.tables:
            raise UserError(
                f"The reference {self.name!r} has no table for {modality!r}.",
                f"It has: {', '.join(self.modalities) or 'no table at all'}.",
            )
        return self.study.sdata.tables[key]

    def labels(self, modality: str, column: str | None = None) -> NDArray[Any] | None:
        """(n,) labels of a modality's cells, ``""`` where there is none; None without the column.

        Parameters
        ----------
        modality
            Whose cells.
        column
            Column of ``obs``; by default the reference's own.
        """
        column = column or self.record.labels
        obs = self.table(modality).obs
        if column is None or column not in obs:
            return None
        values = obs[column].astype(object)
        text = values.where(values.notna(), "").astype(str).to_numpy(dtype=object)
        return np.where(np.isin(text, _NO_LABEL), "", text)

    def cells(self, modality: str, labels: str | None = None) -> Cells:
        """Return the cells with the matrix of one modality."""
        table = self.table(modality)
        return Cells(
            name=self.name,
            ids=table.obs_names.to_numpy(dtype=object),
            x=table.X,
            features=table.var_names.to_numpy(dtype=object),
            modality=modality,
            labels=self.labels(modality, labels),
        )


def add_reference(study: Study, cells: SingleCells) -> str:
    """Put single cells into a study and return the reference's name.

    Tables of further modalities are added to a reference of that name that is
    there already.

    Raises
    ------
    UserError
        If the reference has such a modality already, has no cells, or two cells
        of a table share a name.
    """
    from spatialdata.models import TableModel

    from napari_stomics.data.build import element_name, make_storable

    former = study.record.references.get(cells.name)
    clash = [m for m in cells.tables if former is not None and m in former.tables]
    if clash or not cells.tables:
        raise UserError(
            f"The study already holds single cells {cells.name!r} with {', '.join(clash)}."
            if clash
            else f"There are no cells in {cells.name!r}.",
            "Give the new single cells another name." if clash else "Choose another file.",
        )
    taken = {name.lower() for _, name, _ in study.sdata.gen_elements()}
    labels = cells.labels
    parsed: dict[str, tuple[str, Any]] = {}
    for modality, table in cells.tables.items():
        _check_names(cells.name, table)
        table.uns.pop("spatialdata_attrs", None)
        renamed = make_storable(table)
        labels = renamed.get(labels or "", labels)
        key = element_name(cells.name, "cells", modality)
        while key.lower() in taken:
            key += "_2"
        taken.add(key.lower())
        parsed[modality] = key, TableModel.parse(table)
    record = former or ReferenceRecord(name=cells.name, labels=labels, source=cells.source)
    for modality, (key, table) in parsed.items():
        study.sdata[key] = table
        record.tables[modality] = key
    study.record.references[cells.name] = record
    study.sync()
    return cells.name


def remove_reference(study: Study, name: str) -> None:
    """Take a reference and its tables out of the study."""
    record = study.record.references.pop(name)
    for key in record.tables.values():
        del study.sdata[key]
    study.sync()


def guess_labels(table: AnnData) -> str | None:
    """Column of ``obs`` that most likely holds the cells' labels."""
    columns = {str(c).lower(): str(c) for c in table.obs.columns}
    for wanted in LABEL_COLUMNS:
        column = columns.get(wanted)
        if column is not None and 1 < table.obs[column].nunique() < max(table.n_obs, 2):
            return column
    return None


def _check_names(name: str, table: AnnData) -> None:
    if table.n_obs == 0 or table.n_vars == 0:
        raise UserError(
            f"The single cells {name!r} have {table.n_obs} cells and {table.n_vars} features.",
            "Choose a table that holds both.",
        )
    if not table.obs_names.is_unique:
        raise UserError(
            f"Some cells of {name!r} share a name.",
            "Make the barcodes unique (AnnData.obs_names_make_unique) and read it again.",
        )
