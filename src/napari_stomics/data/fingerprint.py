"""Tell whether an element is still what was read or saved, without reading it from disk.

Images, labels and points are lazy: the name of their dask graph changes when
anything is done to them, so a name that is the same means the same values.
Shapes and tables lie in memory and may be changed in place: their contents are
hashed. What cannot be judged counts as changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np


class _CannotTellError(Exception):
    """A value whose content has no certain fingerprint."""


def lazy_fingerprint(element: Any) -> str | None:
    """Fingerprint of an image, labels or points element; None if it is not lazy."""
    if hasattr(element, "npartitions"):
        from dask.base import tokenize

        attrs = {k: v for k, v in element.attrs.items() if k != "transform"}
        return f"{tokenize(element)} {sorted(attrs.items())!r}"
    names = []
    for array in raster_arrays(element):
        if not hasattr(array, "dask"):
            return None
        names.append(f"{array.name}{array.shape}{array.dtype}")
    return " ".join(names)


def raster_arrays(element: Any) -> list[Any]:
    """Arrays of an image or labels element, the finest level first."""
    if hasattr(element, "dims") and not hasattr(element, "children"):
        return [element.data]
    scales = sorted(element, key=lambda k: int(str(k).removeprefix("scale")))
    return [next(iter(element[scale].values())).data for scale in scales]


def content_fingerprint(element: Any) -> str | None:
    """Fingerprint of the content of a shapes or tables element; None if it cannot be told."""
    digest = hashlib.blake2b(digest_size=20)
    try:
        if hasattr(element, "obs"):
            _hash_table(digest, element)
        else:
            _hash(digest, element)
            attrs = {k: v for k, v in element.attrs.items() if k != "transform"}
            _hash(digest, attrs)
            _hash(digest, str(element.crs))
    except _CannotTellError:
        return None
    return digest.hexdigest()


def _hash_table(digest: Any, table: Any) -> None:
    if table.raw is not None:
        _hash(digest, [table.raw.X, table.raw.var])
    for part in ("X", "obs", "var"):
        _hash(digest, part)
        _hash(digest, getattr(table, part))
    for part in ("layers", "obsm", "varm", "obsp", "varp", "uns"):
        _hash(digest, part)
        _hash(digest, dict(getattr(table, part)))


def _hash(digest: Any, value: Any) -> None:
    """Feed a value to the digest, with its type, so that different values differ."""
    import pandas as pd
    import scipy.sparse as sp

    kind = type(value).__name__
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.generic)):
        _text(digest, f"{kind}:{value!r}")
    elif isinstance(value, Mapping):
        _text(digest, f"{kind}:{len(value)}")
        for key, item in value.items():
            _hash(digest, key)
            _hash(digest, item)
    elif isinstance(value, (list, tuple)):
        _text(digest, f"{kind}:{len(value)}")
        for item in value:
            _hash(digest, item)
    elif isinstance(value, np.ndarray):
        _hash_array(digest, value)
    elif isinstance(value, (sp.csr_array, sp.csc_array, sp.csr_matrix, sp.csc_matrix)):
        _text(digest, f"{kind}:{value.format}:{value.shape}")
        for part in (value.data, value.indices, value.indptr):
            _hash_array(digest, part)
    elif isinstance(value, pd.DataFrame):
        _text(digest, f"{kind}:{value.shape}")
        _hash(digest, value.index)
        for position, column in enumerate(value.columns):
            _hash(digest, column)
            _hash_values(digest, value.iloc[:, position])
    elif isinstance(value, (pd.Series, pd.Index)):
        _text(digest, f"{kind}:{value.name!r}:{len(value)}")
        _hash_values(digest, value)
    else:
        raise _CannotTellError(kind)


def _hash_array(digest: Any, array: np.ndarray[Any, Any]) -> None:
    _text(digest, f"array:{array.dtype.str}:{array.dtype.descr!r}:{array.shape}")
    if array.dtype.hasobject:
        if array.dtype.names:
            raise _CannotTellError("structured objects")
        items = array.ravel().tolist()
        if all(type(item) is str for item in items):
            _hash_array(digest, np.fromiter(map(len, items), np.int64, len(items)))
            digest.update("".join(items).encode("utf-8", "surrogatepass"))
            return
        for item in items:
            _hash(digest, item)
    elif array.nbytes:
        digest.update(np.ascontiguousarray(array).view(np.uint8))


def _hash_values(digest: Any, values: Any) -> None:
    """Feed a column or an index to the digest."""
    import pandas as pd

    dtype = values.dtype
    _text(digest, f"column:{dtype!s}")
    if isinstance(dtype, pd.CategoricalDtype):
        categorical = values.array if isinstance(values, pd.Series) else values
        _hash(digest, pd.Index(categorical.categories))
        _hash(digest, bool(categorical.ordered))
        _hash_array(digest, np.asarray(categorical.codes))
    elif str(dtype) == "geometry":
        import shapely

        geometry = np.asarray(values.array, dtype=object)
        if (shapely.get_type_id(geometry) == 0).all():  # points: faster than their binary form
            _hash_array(digest, shapely.get_coordinates(geometry, include_z=True))
            _hash_array(digest, shapely.is_empty(geometry))
        else:
            _hash(digest, list(shapely.to_wkb(geometry)))
    elif isinstance(dtype, np.dtype):
        _hash_array(digest, values.to_numpy())
    else:
        _hash_array(digest, values.isna().to_numpy() if hasattr(values, "isna") else values.isna())
        _hash_array(digest, values.astype(object).fillna("").to_numpy(dtype=object))


def _text(digest: Any, text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    digest.update(len(data).to_bytes(8, "big") + data)
