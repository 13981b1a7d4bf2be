"""How well expression is predicted, gene by gene."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def pearson_per_column(truth: Floats, predicted: Floats) -> Floats:
    """(g,) Pearson correlation per column.

    A constant prediction has no variation to be right about: its correlation is
    0. A constant truth leaves it undefined: NaN.
    """
    truth, predicted = np.asarray(truth, np.float64), np.asarray(predicted, np.float64)
    a = truth - truth.mean(axis=0)
    b = predicted - predicted.mean(axis=0)
    sd_a, sd_b = np.sqrt((a**2).mean(axis=0)), np.sqrt((b**2).mean(axis=0))
    scale = 1e-9 * np.maximum(np.abs(predicted).max(axis=0, initial=0.0), 1e-12)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (a * b).mean(axis=0) / (sd_a * sd_b)
    return np.asarray(np.where(sd_a <= 1e-12, np.nan, np.where(sd_b <= scale, 0.0, r)))


def rmse_per_column(truth: Floats, predicted: Floats) -> Floats:
    """(g,) root mean squared error per column."""
    return np.asarray(np.sqrt(((truth - predicted) ** 2).mean(axis=0)))
