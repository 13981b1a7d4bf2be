"""How undecided shares are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def normalised_entropy(shares: Floats) -> Floats:
    """(n,) Shannon entropy of rows that sum to 1 over the log of their length; NaN stays NaN.

    Parameters
    ----------
    shares
        (n, k) shares or probabilities.

    Returns
    -------
    (n,) entropy in [0, 1]: 0 where one share is all, 1 where all are equal.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(shares > 0, -shares * np.log(shares), 0.0)
    out = terms.sum(axis=1) / np.log(max(shares.shape[1], 2))
    return np.asarray(np.where(np.isfinite(shares).all(axis=1), np.clip(out, 0, 1), np.nan))
