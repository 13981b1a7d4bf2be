"""What a dense plan says of each cell and each spot, and the sparse plan that is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def largest(plan: Floats, keep: int) -> Any:
    """(n, m) CSR matrix of the ``keep`` largest entries of each row."""
    from scipy.sparse import csr_array

    n, m = plan.shape
    keep = min(keep, m)
    columns = np.argpartition(-plan, keep - 1, axis=1)[:, :keep] if keep < m else None
    columns = np.tile(np.arange(m), (n, 1)) if columns is None else np.sort(columns, axis=1)
    values = np.take_along_axis(plan, columns, axis=1).astype(np.float64)
    pointer = np.arange(0, n * keep + 1, keep)
    out = csr_array((values.ravel(), columns.ravel(), pointer), shape=(n, m))
    out.eliminate_zeros()
    return out


def expected_positions(plan: Floats, coordinates: Floats) -> tuple[Floats, Floats]:
    """Mean and covariance of each cell's position.

    Returns
    -------
    positions
        (n, 2) mean (x, y) in the units of ``coordinates``; NaN for cells without mass.
    covariance
        (n, 2, 2).
    """
    share = row_shares(plan)
    xy = np.asarray(coordinates, np.float64)
    centre = xy.mean(axis=0)
    local = xy - centre  # far from the origin the squares would lose their digits
    mean = share @ local
    products = np.column_stack([local[:, 0] ** 2, local[:, 0] * local[:, 1], local[:, 1] ** 2])
    second = share @ products
    covariance = second[:, [0, 1, 1, 2]].reshape(-1, 2, 2) - mean[:, :, None] * mean[:, None, :]
    return np.asarray(mean + centre), np.asarray(covariance)


def row_shares(plan: Any) -> Any:
    """The plan with rows that sum to 1; NaN where a row is empty."""
    mass = np.asarray(plan.sum(axis=1), np.float64).ravel()
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.where(mass > 0, 1 / mass, np.nan)
    if hasattr(plan, "indptr"):
        from scipy.sparse import diags_array

        return diags_array(np.nan_to_num(factor)) @ plan
    return plan * factor[:, None]


def proportions(plan: Floats, labels: NDArray[Any] | None) -> tuple[tuple[str, ...], Floats]:
    """Share of each label in the mass that a spot receives.

    Returns
    -------
    categories
        Sorted names; empty without labels.
    shares
        (m, k), rows of NaN where a spot receives none.
    """
    m = plan.shape[1]
    names = () if labels is None else tuple(sorted({str(name) for name in labels} - {""}))
    if labels is None or not names:
        return (), np.zeros((m, 0))
    flags = (labels[:, None] == np.array(names, object)[None, :]).astype(np.float32)
    received = np.asarray(plan.T @ flags, np.float64)
    total = received.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return names, np.where(total > 0, received / total, np.nan)


def expression_in_space(plan: Any, x: Any) -> Floats:
    """(m, g) mean of the cells' values at each spot, weighted by the plan; NaN where none arrive.

    Parameters
    ----------
    plan
        (n, m) dense or CSR.
    x
        (n, g) values of the cells, dense.
    """
    received = np.asarray(plan.sum(axis=0), np.float64).ravel()
    total = np.asarray(plan.T @ x, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(received[:, None] > 0, total / received[:, None], np.nan))


def column_correlations(a: Floats, b: Floats) -> Floats:
    """(g,) Pearson correlation of columns over the rows that are numbers; NaN if constant."""
    known = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    a, b = a[known] - a[known].mean(axis=0), b[known] - b[known].mean(axis=0)
    length = np.sqrt(np.square(a).sum(axis=0) * np.square(b).sum(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(length > 1e-12, (a * b).sum(axis=0) / length, np.nan))
