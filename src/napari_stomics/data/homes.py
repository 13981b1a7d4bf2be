"""Which table of a section holds a result, and how its columns are written."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.data.build import annotate, element_name
from napari_stomics.data.changes import Change, SetElement, SetSectionTable
from napari_stomics.data.plans import UNS_PREFIX

if TYPE_CHECKING:
    from napari_stomics.data.study import Study

SPOTS = "spots"
"""Under this a section lists a table that has all its spots and no features."""

_WHOLE_TABLES = ("prediction", "carried_values", "aggregation", "morphology", "centre_slice")
"""Kinds of results that are tables of their own."""


def home_table(study: Study, section: str, ids: NDArray[Any]) -> tuple[str, list[Change]]:
    """Name of the table whose rows the result's ids are, and the changes that make it.

    Where modalities were measured on different spots no table may list all of them.
    Results over all spots then get a table without features that does; it annotates
    the same spots as the others, and the first result that needs it brings it along.

    Parameters
    ----------
    study, section
        Where the result belongs.
    ids
        Names of the result's spots, in its order.

    Returns
    -------
    name
        Name of the table.
    changes
        What makes the table; empty where it is there. They come before those
        that write into it.

    Raises
    ------
    UserError
        If the section changed while the result was computed.
    """
    known = study.section(section)
    changed = known.record.spots is None or not np.array_equal(known.ids, ids)
    for name in known.record.tables.values():
        table = study.sdata.tables[name]
        if np.array_equal(table.obs_names.to_numpy(object), ids):
            if not _is_replaced(table):
                return name, []
        else:  # a table of all spots lists them in the section's order
            changed = changed or table.n_obs == len(ids)
    if changed:
        raise UserError(
            f"The spots of section {section!r} changed while the job ran.", "Run the step again."
        )
    name = _free(element_name(section, "all", SPOTS), (n for _, n, _ in study.sdata.gen_elements()))
    modality = _free(SPOTS, known.modalities)
    table = annotate(_without_features(ids), str(known.record.spots))
    return name, [SetElement(name, table), SetSectionTable(section, modality, name)]


def _is_replaced(table: Any) -> bool:
    """Whether running a step again puts another table in its place: what it held would be lost."""
    entries = (value for key, value in table.uns.items() if key.startswith(UNS_PREFIX))
    return any(isinstance(e, dict) and e.get("kind") in _WHOLE_TABLES for e in entries)


def _without_features(ids: NDArray[Any]) -> Any:
    import pandas as pd
    from anndata import AnnData

    names = pd.Index(ids, dtype=object)
    return AnnData(X=np.zeros((len(ids), 0), np.float32), obs=pd.DataFrame(index=names))


def _free(wanted: str, taken: Iterable[str]) -> str:
    lowered = {name.lower() for name in taken}  # the store tells no names apart by case alone
    further = (f"{wanted}_{count}" for count in itertools.count(2))
    return next(n for n in itertools.chain([wanted], further) if n.lower() not in lowered)


def find_table(study: Study, section: str, key: str) -> Any:
    """Return the table of a section that holds the scalars of the result ``key``."""
    for name in study.section(section).record.tables.values():
        table = study.sdata.tables[name]
        if UNS_PREFIX + key in table.uns:
            return table
    raise KeyError(key)


def categorical(values: NDArray[Any], categories: tuple[str, ...]) -> Any:
    """Return labels as a categorical column; ``""`` becomes missing."""
    import pandas as pd

    known = [value if value else None for value in values]
    return pd.Categorical(known, categories=list(categories))


def text_column(values: Any) -> NDArray[Any]:
    """Return a column as strings, ``""`` where it is missing."""
    column = values.astype(object)
    return column.where(column.notna(), "").to_numpy(dtype=object)
