"""Non-negative least squares by hierarchical alternating updates, and where they start."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

_INNER = 20
_SETTLED = 0.01
_TINY = 1e-12


def hals(factor: Floats, gram: Floats, target: Floats, inner: int = _INNER) -> Floats:
    """Lower ``1/2 tr(F' F G) - tr(F' A)`` over ``F >= 0``, column by column.

    Each column is set to its exact minimum with the others held, so that no
    sweep raises the objective. Sweeps are repeated, since they cost little
    beside the product ``A``, until one moves the factor by less than a
    hundredth of the first (Gillis and Glineur 2012, Neural Comput 24:1085).

    Parameters
    ----------
    factor
        (n, k) start; left as it is.
    gram
        (k, k) ``G``.
    target
        (n, k) ``A``.
    inner
        Most sweeps.

    Returns
    -------
    (n, k) float64 non-negative factor.
    """
    # Columns are contiguous this way round.
    now = np.array(factor.T, np.float64, order="C")
    goal = np.ascontiguousarray(target.T, np.float64)
    first = 0.0
    for sweep in range(inner):
        moved = 0.0
        for j in range(len(now)):
            own = gram[j, j]
            if own <= _TINY:
                continue
            new = np.maximum(now[j] + (goal[j] - gram[j] @ now) / own, 0.0)
            moved += float(((new - now[j]) ** 2).sum())
            now[j] = new
        if sweep == 0:
            first = moved
        if moved <= _SETTLED**2 * first:
            break
    return np.ascontiguousarray(now.T)


def svd_start(x: Any, count: int, seed: int) -> Floats:
    """Non-negative (n, k) factor from the leading singular vectors (nndsvd).

    Of each pair of singular vectors the positive or the negative parts are
    taken, whichever weigh more (Boutsidis and Gallopoulos 2008, Pattern Recogn
    41:1350); zeros become small random numbers, since a zero row would have
    nowhere to go.

    Parameters
    ----------
    x
        (n, g) non-negative matrix, dense or CSR.
    count
        Number of factors; those beyond the rank of ``x`` are random.
    seed
        Seed of the singular vectors' start and of the random numbers.
    """
    from sklearn.utils.extmath import randomized_svd

    n = x.shape[0]
    rng = np.random.default_rng(seed)
    level = float(np.sqrt(max(float(x.mean()), _TINY) / count))
    out = level * rng.random((n, count))
    found = min(count, *x.shape)
    left, values, right = randomized_svd(x, found, n_iter=4, random_state=seed)
    for j in range(found):
        part, weight = _heavier_parts(left[:, j], right[j])
        scale = np.sqrt(values[j] * weight)
        if scale > 0:
            out[:, j] = np.where(part > 0, scale * part, 0.01 * out[:, j])
    return out


def _heavier_parts(u: Floats, v: Floats) -> tuple[Floats, float]:
    """Unit vector of the positive or negative parts of ``u``, and the weight of the pair."""
    best, weight = np.zeros_like(u), 0.0
    for sign in (1.0, -1.0):
        a, b = np.maximum(sign * u, 0), np.maximum(sign * v, 0)
        size = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
        if size > weight:
            best, weight = a / np.linalg.norm(a), size
    return best, weight


def settled(objective: list[float], tolerance: float) -> bool:
    """Whether the last iteration lowered the objective by less than a share of the first value."""
    if len(objective) < 2:
        return False
    return objective[-2] - objective[-1] <= tolerance * max(abs(objective[0]), _TINY)
