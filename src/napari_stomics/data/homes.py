"""Which table of a section holds a result, and how its columns are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.data.plans import UNS_PREFIX

if TYPE_CHECKING:
    from napari_stomics.data.study import Study


def home_table(study: Study, section: str, ids: NDArray[Any]) -> str:
    """Name of the table whose rows the result's ids are.

    Raises
    ------
    UserError
        If there is none: no table has all spots of the section, or the section changed
        while the result was computed.
    """
    known = study.section(section)
    record = known.record
    for name in record.tables.values():
        if np.array_equal(study.sdata.tables[name].obs_names.to_numpy(object), ids):
            return name
    if np.array_equal(known.ids, ids):
        counts = (f"{k} {study.sdata.tables[n].n_obs:,}" for k, n in record.tables.items())
        raise UserError(
            f"No table of section {section!r} has all of its {len(ids):,} spots, so that there is "
            f"no place for a result over all of them ({', '.join(counts)}).",
            "Add a table that has a row for every spot, or keep only the spots that one has.",
        )
    raise UserError(
        f"The spots of section {section!r} changed while the job ran.", "Run the step again."
    )


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
