"""Outlines of cells from lists of corners."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def outlines_from_vertices(ids: NDArray[Any], xy: NDArray[Any]) -> Any:
    """Return polygons from corners listed cell by cell.

    Parameters
    ----------
    ids
        (n,) cell of each corner; the corners of a cell follow one another.
    xy
        (n, 2) corners (x, y) in micrometres.

    Returns
    -------
    GeoDataFrame
        Indexed by cell; cells with fewer than three corners, or listed twice, are left out.
    """
    import geopandas as gpd
    import shapely

    xy = np.asarray(xy, dtype=np.float64)
    known = np.isfinite(xy).all(axis=1)
    ids, xy = np.asarray(ids, dtype=object)[known], xy[known]
    starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]]) if len(ids) else np.array([], int)
    ends = np.r_[starts[1:], len(ids)] if len(ids) else starts
    keep = [i for i in range(len(starts)) if ends[i] - starts[i] >= 3]
    parts = [xy[starts[i] : ends[i]] for i in keep]
    if not parts:
        return gpd.GeoDataFrame(geometry=[], index=[])
    closed = [p if np.array_equal(p[0], p[-1]) else np.vstack([p, p[:1]]) for p in parts]
    lengths = [len(p) for p in closed]
    usable = np.array(lengths) >= 4
    closed = [p for p, good in zip(closed, usable, strict=True) if good]
    owner = np.repeat(np.arange(len(closed)), [len(p) for p in closed])
    rings = shapely.linearrings(np.vstack(closed), indices=owner)
    index = ids[starts[np.array(keep)[usable]]]
    frame = gpd.GeoDataFrame(geometry=shapely.polygons(rings), index=index)
    return frame[~frame.index.duplicated()]
