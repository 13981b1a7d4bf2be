"""What spots can be coloured by: found by a part of its name, and its values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError

if TYPE_CHECKING:
    from napari_stomics.data.study import Section, Study

Kind = Literal["feature", "obs", "obsm"]
_KINDS: tuple[Kind, ...] = ("obs", "obsm", "feature")


@dataclass(frozen=True)
class Match:
    """Something that spots can be coloured by.

    Attributes
    ----------
    key
        Name of a feature, of an ``obs`` column, or ``obsm`` entry and component
        as ``"X_pca:0"``.
    kind
        ``feature``, ``obs`` or ``obsm``.
    modality
        Modality of the table that holds it.
    """

    key: str
    kind: Kind
    modality: str

    @property
    def label(self) -> str:
        """Text for a list."""
        note = self.modality if self.kind == "feature" else f"{self.kind}, {self.modality}"
        return f"{self.key}  ({note})"


def search_features(
    study: Study, section: str, text: str, limit: int = 50, modality: str | None = None
) -> list[Match]:
    """Find what spots can be coloured by, by a part of its name.

    Ignores case; whole names come first, then those that begin with the text,
    then those that contain it; ``obs`` columns before features within each.

    Parameters
    ----------
    study, section
        Where to look.
    text
        Part of a name; empty lists everything from the start.
    limit
        How many to return.
    modality
        Look in this modality alone.
    """
    part = study.section(section)
    wanted = text.strip().lower()
    ranked: list[tuple[int, int, int, Match]] = []
    for name in part.modalities if modality is None else (modality,):
        table = part.table(name)
        for order, kind in enumerate(_KINDS):
            names, lowered = _names(table, kind)
            hits = [(*_rank(low, wanted), i) for i, low in enumerate(lowered) if wanted in low]
            ranked += [
                (place, order, length, Match(names[i], kind, name))
                for place, length, i in sorted(hits)[:limit]
            ]
    ranked.sort(key=lambda entry: entry[:3])
    return list(dict.fromkeys(entry[3] for entry in ranked))[:limit]


def _rank(low: str, wanted: str) -> tuple[int, int]:
    if low == wanted:
        return 0, 0
    return (1, len(low)) if low.startswith(wanted) else (2, len(low))


_HIDDEN_COLUMNS = ("region", "instance_id")


def _names(table: Any, kind: str) -> tuple[list[str], list[str]]:
    if kind == "feature":
        return _lowered(_ByIdentity(table.var_names))
    if kind == "obs":
        names = [str(c) for c in table.obs.columns if c not in _HIDDEN_COLUMNS]
    else:
        names = [
            f"{key}:{component}" for key in table.obsm for component in _components(table.obsm[key])
        ]
    return names, [name.lower() for name in names]


class _ByIdentity:
    """An index as a cache key: it is immutable, and hashing 30,000 names is slow."""

    def __init__(self, index: Any) -> None:
        self.index = index

    def __hash__(self) -> int:
        return id(self.index)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and other.index is self.index


@lru_cache(maxsize=32)
def _lowered(key: _ByIdentity) -> tuple[list[str], list[str]]:
    names = [str(name) for name in key.index]
    return names, [name.lower() for name in names]


def _components(value: Any, at_most: int = 100) -> list[Any]:
    if hasattr(value, "columns"):
        return list(value.columns[:at_most])
    count = 1 if np.ndim(value) == 1 else np.shape(value)[1]
    return list(range(min(count, at_most)))


def find_match(section: Section, key: str, modality: str | None, kind: Kind | None) -> Match:
    """Return what a name means: an ``obs`` column, then a feature, then a component.

    Raises
    ------
    UserError
        If no table of the section has it; the hint lists what is nearest.
    """
    modalities = section.modalities if modality is None else (modality,)
    for candidate in ("obs", "feature", "obsm") if kind is None else (kind,):
        for name in modalities:
            if _has(section.table(name), candidate, key):
                return Match(key, candidate, name)  # type: ignore[arg-type]
    near = search_features(section.study, section.name, key[:4], 5)
    known = ", ".join(m.key for m in near)
    raise UserError(
        f"Section {section.name!r} has no gene, protein or annotation {key!r}.",
        f"Near it: {known}." if known else "Type a part of a name to search for one.",
    )


def _has(table: Any, kind: str, key: str) -> bool:
    if kind == "obs":
        return key in table.obs
    if kind == "feature":
        return key in table.var_names
    name, _, component = key.rpartition(":")
    return name in table.obsm and component in map(str, _components(table.obsm[name], 10**6))


def values_of(section: Section, match: Match) -> Any:
    """Return a pandas Series of the values in the order of the section's spots."""
    import pandas as pd

    table = section.table(match.modality)
    if match.kind == "obs":
        values = table.obs[match.key]
    elif match.kind == "feature":
        column = table.X[:, table.var_names.get_loc(match.key)]
        column = column.toarray() if hasattr(column, "toarray") else np.asarray(column)
        values = pd.Series(column.ravel().astype(np.float64), index=table.obs_names)
    else:
        name, _, component = match.key.rpartition(":")
        entry = table.obsm[name]
        if hasattr(entry, "columns"):
            values = entry[next(c for c in entry.columns if str(c) == component)]
        else:
            column = np.asarray(entry).reshape(table.n_obs, -1)[:, int(component)]
            values = pd.Series(column, index=table.obs_names)
    ids, names = section.ids, table.obs_names.to_numpy()
    if len(ids) == len(names) and (ids == names).all():
        return values
    attrs = table.uns.get("spatialdata_attrs", {})
    keyed = table.obs[attrs["instance_key"]] if attrs else table.obs_names
    return values.set_axis(list(keyed)).reindex(list(ids))


def is_numeric(values: Any) -> bool:
    """Whether a Series holds numbers rather than names or yes and no."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return bool(is_numeric_dtype(values.dtype) and not is_bool_dtype(values.dtype))


def clean_names(values: Any) -> NDArray[Any]:
    """(n,) names, ``""`` where there is none."""
    text = values.astype(object).where(values.notna(), "").astype(str).to_numpy(dtype=object)
    return np.where(np.isin(text, ("NA", "nan", "None", "<NA>")), "", text).astype(object)
