"""Relevance to an annotation, and what another modality shares, of many columns at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.morphology.fields import standardised

Floats = NDArray[np.floating[Any]]

_COLUMNS = 512


def entropy_of(labels: NDArray[Any]) -> float:
    """Entropy of labels in nats."""
    counts = np.unique(labels, return_counts=True)[1]
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum())


def bins_for(n: int) -> int:
    """How many bins of equal count mutual information is measured with: the cube root of n."""
    return int(np.clip(round(n ** (1 / 3)), 4, 16))


def mutual_information(x: Floats, labels: NDArray[Any], ctx: JobContext) -> Floats:
    """Mutual information of each column with the labels, nats.

    Columns are cut into bins of equal count, so that it is the same for any
    monotone transform, and the bias of the plug-in estimate is taken off
    (Miller 1955). It may fall a little below 0.

    Parameters
    ----------
    x
        (n, f) columns.
    labels
        (n,) labels.
    ctx
        Progress and cancellation.
    """
    n = len(labels)
    _, index = np.unique(labels, return_inverse=True)
    count = int(index.max()) + 1
    one_hot = np.zeros((n, count), np.float32)
    one_hot[np.arange(n), index] = 1
    bins = bins_for(n)
    at = (np.arange(1, bins) * n) // bins
    out = np.empty(x.shape[1])
    for start in range(0, x.shape[1], _COLUMNS):
        ctx.step(start / x.shape[1], "Mutual information with the annotation")
        part = np.ascontiguousarray(x[:, start : start + _COLUMNS].T, np.float32)
        edges = np.sort(part, axis=1)[:, at]
        above = [np.float32(1) * (part >= edges[:, k : k + 1]) @ one_hot for k in range(bins - 1)]
        steps = np.stack([np.broadcast_to(one_hot.sum(axis=0), (len(part), count)), *above])
        table = np.concatenate([steps[:-1] - steps[1:], steps[-1:]]).astype(np.float64)
        out[start : start + _COLUMNS] = _information(table, n)
    return out


def _information(table: Floats, n: int) -> Floats:
    """Mutual information from counts (bin, column, label)."""
    table = np.maximum(table, 0)
    rows, columns = table.sum(axis=2, keepdims=True), table.sum(axis=0, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = table / n * np.log(table * n / (rows * columns))
    plain = np.where(table > 0, terms, 0).sum(axis=(0, 2))
    used = (rows[..., 0] > 0).sum(axis=0)
    labels = (columns[0] > 0).sum(axis=1)
    return np.asarray(plain - (used - 1) * (labels - 1) / (2 * n))


def largest_correlation(x: Floats, y: Any, ctx: JobContext) -> tuple[Floats, NDArray[np.intp]]:
    """Signed correlation of each column of ``x`` with the column of ``y`` that it is most like.

    Parameters
    ----------
    x
        (n, f) columns of mean 0 and mean square 1.
    y
        (n, g) dense or CSR; columns need not be standardised.

    Returns
    -------
    correlation, column
        (f,) Pearson correlation of largest size, and which column of ``y`` has it.
    """
    n = len(x)
    left = np.ascontiguousarray(np.asarray(x, np.float32).T)
    best = np.zeros(len(left), np.float32)
    which = np.zeros(len(left), np.intp)
    rows = np.arange(len(left))
    y = y.tocsc() if hasattr(y, "tocsc") else y
    for start in range(0, y.shape[1], _COLUMNS):
        ctx.step(start / y.shape[1], "Correlation with every feature")
        part = y[:, start : start + _COLUMNS]
        z = standardised(part.toarray() if hasattr(part, "toarray") else part)
        for low in range(0, len(left), 2 * _COLUMNS):
            ctx.step()
            here = rows[low : low + 2 * _COLUMNS]
            found = left[here] @ z
            found /= n
            top = np.where(found.max(axis=1) >= -found.min(axis=1),
                           found.argmax(axis=1), found.argmin(axis=1))  # fmt: skip
            value = found[np.arange(len(here)), top]
            better = np.abs(value) > np.abs(best[here])
            best[here[better]] = value[better]
            which[here[better]] = top[better] + start
    return best.astype(np.float64), which
