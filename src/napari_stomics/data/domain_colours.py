"""Colours of stored domains, as scanpy keeps them: ``uns["<key>_colors"]``, one per category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.palette import natural, palette
from napari_stomics.data.homes import text_column
from napari_stomics.data.plans import UNS_PREFIX

if TYPE_CHECKING:
    from napari_stomics.core.fusion import Domains
    from napari_stomics.data.study import Study

Colours = dict[str, str]
Labels = NDArray[Any]

_HALF = 0.5


def entry(key: str) -> str:
    """Name of the entry in ``uns`` that holds the colours of a column."""
    return f"{key}_colors"


def table_colours(table: Any, key: str) -> Colours:
    """Colours (hex) by name of a categorical column; empty where none are stored that fit it."""
    found = table.uns.get(entry(key))
    if found is None or key not in table.obs or not hasattr(table.obs[key], "cat"):
        return {}
    names = table.obs[key].cat.categories
    if len(found) < len(names):
        return {}
    return dict(zip(map(str, names), map(str, found), strict=False))


def domain_colours(study: Study, result: Domains, key: str) -> Colours:
    """Colours of domains: those stored with them, else those of the palette."""
    for section in result.sections:
        for name in _tables_with(study, section, key):
            stored = table_colours(study.sdata.tables[name], key)
            if set(map(str, result.names)) <= set(stored):
                return {str(n): stored[str(n)] for n in result.names}
    return plain_colours(result.names)


def plain_colours(names: Sequence[str]) -> Colours:
    """Colours of the palette for names in their natural order."""
    return palette(sorted(map(str, names), key=natural))


def carried_colours(
    former: Labels,
    colours: Mapping[str, str],
    labels: Labels,
    names: Sequence[str],
    by_name: bool = True,
) -> Colours:
    """Colours of new domains by those of former ones that they stand for.

    A name that keeps more than half of its spots keeps its colour. Any other
    takes the colour of the former domain that it overlaps most, one to one; what
    then has none gets one that is free.

    Parameters
    ----------
    former
        (n,) former names, ``""`` where there was none.
    colours
        Their colours.
    labels
        (n,) new names of the same spots.
    names
        The new names, in their order.
    by_name
        Whether equal names mean the same; without it only the overlap counts.
    """
    from napari_stomics.metrics.clustering import match_labels

    former, labels = np.asarray(former, object), np.asarray(labels, object)
    out: Colours = {}
    for name in map(str, names if by_name else ()):
        before = former == name
        if name in colours and before.any() and (labels[before] == name).mean() > _HALF:
            out[name] = colours[name]
    rest = ~np.isin(former, list(out)) & ~np.isin(labels, list(out))
    if rest.any():
        for new, old in match_labels(former[rest], labels[rest]).items():
            shared = (former[rest] == old) & (labels[rest] == new)
            if str(old) in colours and shared.any() and str(new) in set(map(str, names)):
                out[str(new)] = colours[str(old)]
    free = sorted((str(n) for n in names if str(n) not in out), key=natural)
    more = palette(free, taken=[*out.values(), *colours.values()])
    return {str(n): out.get(str(n)) or more[str(n)] for n in names}


def colours_after(study: Study, homes: Sequence[str], result: Domains, key: str) -> Colours:
    """Colours of domains about to be stored: chosen ones, else carried from what they replace.

    Parameters
    ----------
    study
        The study, which still holds the former domains of that key, if any.
    homes
        Table of each section of the result, in their order.
    result, key
        The domains, and the name under which they are stored.
    """
    return {**_carried(study, homes, result, key), **result.colours}


def _carried(study: Study, homes: Sequence[str], result: Domains, key: str) -> Colours:
    colours: Colours = {}
    parts = []
    for i, home in enumerate(homes):
        table = study.sdata.tables.get(home)  # None: it is made with the domains
        known = {} if table is None else table_colours(table, key)
        colours |= {name: colour for name, colour in known.items() if name not in colours}
        blank = np.full(int((result.of == i).sum()), "", object)
        parts.append(text_column(table.obs[key]) if known else blank)
    if not colours:
        return plain_colours(result.names)
    former: Labels = np.empty(len(result.ids), object)
    for i, part in enumerate(parts):
        former[result.of == i] = part
    return carried_colours(former, colours, np.asarray(result.labels, object), result.names)


def _tables_with(study: Study, section: str, key: str) -> list[str]:
    """Names of the tables of a section in which the domains ``key`` are stored."""
    if section not in study.record.sections:
        return []
    names = study.record.sections[section].tables.values()
    tables = study.sdata.tables
    return [n for n in names if UNS_PREFIX + key in tables[n].uns and key in tables[n].obs]
