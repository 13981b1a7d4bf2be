"""Spatial autocorrelation of features, and how coherent domains are in space.

Coordinates are micrometres, (x, y). Spots of different sections are never
neighbours. Scores of domains leave out spots without a label (``""``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.metrics.clustering import labelled

Floats = NDArray[np.floating[Any]]

_COLUMNS = 256
"""Columns that are made dense at a time."""
_FLAT = 1e-24
"""Variance over squared magnitude under which a column counts as constant."""


@dataclass(frozen=True)
class Autocorrelation:
    """Spatial autocorrelation of each column of a matrix.

    Attributes
    ----------
    morans_i
        (g,) Moran's I; ``-1 / (n - 1)`` is expected by chance, 1 is the most alike.
    gearys_c
        (g,) Geary's C; 1 is expected by chance, 0 is the most alike.
    morans_z, morans_p
        (g,) z score of Moran's I and its two-sided p value under randomisation.
    gearys_z, gearys_p
        (g,) the same of Geary's C; the p value is two-sided too.

    All are NaN for a constant column and where the graph has no edge; z and p
    are NaN with fewer than four spots.
    """

    morans_i: Floats
    gearys_c: Floats
    morans_z: Floats
    morans_p: Floats
    gearys_z: Floats
    gearys_p: Floats

    @property
    def likeness(self) -> Floats:
        """(g,) ``1 - C``: 0 by chance, 1 the most alike."""
        return np.asarray(1.0 - self.gearys_c)


def neighbour_graph(coordinates: Floats, k: int = 6, of: NDArray[Any] | None = None) -> Any:
    """(n, n) symmetric 0/1 CSR matrix that joins each spot with its ``k`` nearest.

    Parameters
    ----------
    coordinates
        (n, 2) centres; spots that are not finite have no neighbour.
    k
        Nearest neighbours of each spot; a spot may have more, as it may be near to others.
    of
        (n,) section of each spot; neighbours are of the same section. By default one section.
    """
    from scipy import sparse
    from scipy.spatial import cKDTree

    xy = np.asarray(coordinates, np.float64)
    rows, columns = [], []
    for here in _parts(xy, of):
        near = min(k, len(here) - 1)
        if near < 1:
            continue
        _, found = cKDTree(xy[here]).query(xy[here], k=near + 1)
        found = _without_self(np.asarray(found))
        rows.append(np.repeat(here, near))
        columns.append(here[found.ravel()])
    i = np.concatenate(rows) if rows else np.zeros(0, np.intp)
    j = np.concatenate(columns) if columns else np.zeros(0, np.intp)
    n = len(xy)
    one_way = sparse.csr_array((np.ones(len(i)), (i, j)), shape=(n, n))
    return sparse.csr_array(one_way.maximum(one_way.T))


def row_standardised(graph: Any) -> Any:
    """Weights whose rows sum to 1, as squidpy and esda take by default; empty rows stay empty."""
    from scipy import sparse

    weights = sparse.csr_array(graph, dtype=np.float64)
    sums = np.asarray(weights.sum(axis=1)).ravel()
    scale = np.divide(1.0, sums, out=np.zeros_like(sums), where=sums != 0)
    return sparse.csr_array(sparse.diags_array(scale) @ weights)


def autocorrelation(graph: Any, x: Any, *, standardise: bool = True) -> Autocorrelation:
    """Moran's I (Moran 1950) and Geary's C (Geary 1954) of every column.

    z and p are under randomisation (Cliff and Ord 1981): the values are dealt
    to the spots at random.

    Parameters
    ----------
    graph
        (n, n) weights, sparse, without loops.
    x
        (n, g) values, dense or sparse.
    standardise
        Whether rows of the weights are made to sum to 1 first.
    """
    from scipy import sparse, stats

    weights = row_standardised(graph) if standardise else sparse.csr_array(graph, dtype=np.float64)
    n = weights.shape[0]
    moments = _weight_sums(weights)
    total, out, into = np.float64(moments[0]), *_degrees(weights)
    values = np.full((3, x.shape[1]), np.nan)
    for columns, part in _dense_parts(x):
        z = part - part.mean(axis=0)
        square = z**2
        variance = square.sum(axis=0)
        flat = variance <= _FLAT * len(z) * np.square(part).max(axis=0, initial=0.0)
        variance = np.where(flat, np.nan, variance)
        cross = (z * (weights @ z)).sum(axis=0)
        apart = out @ square + into @ square - 2 * cross
        with np.errstate(invalid="ignore", divide="ignore"):
            values[0, columns] = n / total * cross / variance
            values[1, columns] = (n - 1) * apart / (2 * total * variance)
            values[2, columns] = n * (square**2).sum(axis=0) / variance**2
    moran, geary, kurtosis = values
    with np.errstate(invalid="ignore", divide="ignore"):
        moran_z = (moran + 1.0 / max(n - 1, 1)) / np.sqrt(_moran_variance(n, moments, kurtosis))
        geary_z = (geary - 1.0) / np.sqrt(_geary_variance(n, moments, kurtosis))
    return Autocorrelation(
        morans_i=moran,
        gearys_c=geary,
        morans_z=moran_z,
        morans_p=2 * stats.norm.sf(np.abs(moran_z)),
        gearys_z=geary_z,
        gearys_p=2 * stats.norm.sf(np.abs(geary_z)),
    )


def morans_i(graph: Any, x: Any, *, standardise: bool = True) -> Floats:
    """(g,) Moran's I of every column; see :func:`autocorrelation`."""
    return autocorrelation(graph, x, standardise=standardise).morans_i


def gearys_c(graph: Any, x: Any, *, standardise: bool = True) -> Floats:
    """(g,) Geary's C of every column; see :func:`autocorrelation`."""
    return autocorrelation(graph, x, standardise=standardise).gearys_c


def isolated_spots(
    coordinates: Floats, labels: NDArray[Any], k: int = 10, of: NDArray[Any] | None = None
) -> Floats:
    """(n,) 1 where more than half of the ``k`` nearest spots are in another domain, else 0.

    Spots without a label are NaN and are no one's neighbours; so is a spot that is
    alone in its section. The mean is the percentage of abnormal spots.
    """
    from scipy.spatial import cKDTree

    xy = np.asarray(coordinates, np.float64)
    codes = _codes(labels)
    flags = np.full(len(xy), np.nan)
    for here in _parts(xy, of, codes >= 0):
        near = min(k, len(here) - 1)
        if near < 1:
            continue
        _, found = cKDTree(xy[here]).query(xy[here], k=near + 1)
        others = codes[here[_without_self(np.asarray(found))]]
        flags[here] = (others != codes[here][:, None]).sum(axis=1) > near / 2
    return flags


def pas(
    coordinates: Floats, labels: NDArray[Any], k: int = 10, of: NDArray[Any] | None = None
) -> float:
    """Percentage of abnormal spots as a share: see :func:`isolated_spots`; lower is better.

    After Shang and Zhou 2022 (Nat Commun 13:7203) in the form of SDMBench.
    NaN without labelled neighbours.
    """
    flags = isolated_spots(coordinates, labels, k, of)
    return float(np.nanmean(flags)) if np.isfinite(flags).any() else float("nan")


def chaos(coordinates: Floats, labels: NDArray[Any], of: NDArray[Any] | None = None) -> float:
    """Mean distance to the nearest spot of the same domain, in z-scored coordinates.

    The sum is over domains of more than two spots, its divisor the number of all
    labelled spots (SDMBench; after Shang and Zhou 2022). Each axis of each section
    is z-scored on its own. Lower is better; NaN without a label.
    """
    from scipy.spatial import cKDTree

    xy = np.asarray(coordinates, np.float64)
    codes = _codes(labels)
    total, count = 0.0, 0
    for here in _parts(xy, of, codes >= 0):
        sd = xy[here].std(axis=0)
        scaled = (xy[here] - xy[here].mean(axis=0)) / np.where(sd > 0, sd, 1.0)
        count += len(here)
        for code in np.unique(codes[here]):
            members = scaled[codes[here] == code]
            if len(members) > 2:
                distances, _ = cKDTree(members).query(members, k=2)
                total += float(np.asarray(distances)[:, 1].sum())
    return total / count if count else float("nan")


def domain_indicators(labels: NDArray[Any]) -> tuple[NDArray[Any], Floats]:
    """Names of the domains, and (n, k) 1 where a spot is in each; without a label all are 0."""
    names = np.unique(labels[labelled(labels)])
    return names, (labels[:, None] == names[None, :]).astype(np.float64)


def _codes(labels: NDArray[Any]) -> NDArray[np.intp]:
    """(n,) number of each label, -1 without one."""
    codes = np.full(len(labels), -1, np.intp)
    known = labelled(labels)
    if known.any():
        codes[known] = np.unique(labels[known], return_inverse=True)[1]
    return codes


def _parts(
    xy: Floats, of: NDArray[Any] | None, used: NDArray[np.bool_] | None = None
) -> Iterator[NDArray[np.intp]]:
    """Rows of each section that have a place and are to be used."""
    fine = np.isfinite(xy).all(axis=1)
    if used is not None:
        fine &= used
    sections = np.zeros(len(xy), np.intp) if of is None else np.asarray(of)
    for section in np.unique(sections[fine]):
        yield np.flatnonzero(fine & (sections == section))


def _without_self(found: NDArray[Any]) -> NDArray[np.intp]:
    """Drop each spot from its own neighbours; at one place with others it need not be first."""
    own = found == np.arange(len(found))[:, None]
    own[~own.any(axis=1), -1] = True
    return np.asarray(found[~own].reshape(len(found), -1), np.intp)


def _dense_parts(x: Any) -> Iterator[tuple[slice, Floats]]:
    from scipy import sparse

    thin = sparse.issparse(x)
    given: Any = x
    matrix: Any = sparse.csc_array(given) if thin else np.asarray(given)
    for start in range(0, matrix.shape[1], _COLUMNS):
        columns = slice(start, min(start + _COLUMNS, matrix.shape[1]))
        part = matrix[:, columns]
        yield columns, np.asarray(part.toarray() if thin else part, np.float64)


def _degrees(weights: Any) -> tuple[Floats, Floats]:
    return np.asarray(weights.sum(axis=1)).ravel(), np.asarray(weights.sum(axis=0)).ravel()


def _weight_sums(weights: Any) -> tuple[float, float, float]:
    """S0, S1 and S2 of Cliff and Ord."""
    both = weights + weights.T
    out, into = _degrees(weights)
    s1 = float(both.multiply(both).sum()) / 2
    return float(weights.sum()), s1, float(((out + into) ** 2).sum())


def _moran_variance(n: int, sums: tuple[float, float, float], kurtosis: Floats) -> Floats:
    s0, s1, s2 = sums
    if n < 4 or s0 == 0:
        return np.full_like(kurtosis, np.nan)
    first = n * ((n**2 - 3 * n + 3) * s1 - n * s2 + 3 * s0**2)
    second = kurtosis * ((n**2 - n) * s1 - 2 * n * s2 + 6 * s0**2)
    return np.asarray((first - second) / ((n - 1) * (n - 2) * (n - 3) * s0**2) - 1.0 / (n - 1) ** 2)


def _geary_variance(n: int, sums: tuple[float, float, float], kurtosis: Floats) -> Floats:
    s0, s1, s2 = sums
    if n < 4 or s0 == 0:
        return np.full_like(kurtosis, np.nan)
    first = (n - 1) * s1 * (n**2 - 3 * n + 3 - (n - 1) * kurtosis)
    second = 0.25 * (n - 1) * s2 * (n**2 + 3 * n - 6 - (n**2 - n + 2) * kurtosis)
    third = s0**2 * (n**2 - 3 - (n - 1) ** 2 * kurtosis)
    return np.asarray((first - second + third) / (n * (n - 2) * (n - 3) * s0**2))
