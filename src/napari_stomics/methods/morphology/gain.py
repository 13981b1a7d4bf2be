"""Does a modality help? Held-out information about an annotation, with and without it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext
from napari_stomics.core.plane import Gain

Floats = NDArray[np.floating[Any]]

_FOLDS = 5
_STRENGTHS = (0.003, 0.03, 0.3)
"""Inverse penalties that are tried."""
_RESAMPLED = 2000
_LEAST_PER_LABEL = 10


def held_out_gain(
    base: Floats,
    more: Floats,
    labels: NDArray[Any],
    xy: Floats,
    ctx: JobContext,
    *,
    blocks: int = 30,
    seed: int = 0,
) -> Gain:
    """Measure what ``more`` tells about labels beyond ``base``, on blocks that were held out.

    A ridge-penalised multinomial regression is fitted on the other blocks; its
    penalty is chosen within them. Log-losses are compared spot by spot and the
    interval comes from resampling whole blocks, since neighbours are no
    independent witnesses.

    Parameters
    ----------
    base, more
        (n, p) and (n, q) components of the two modalities.
    labels
        (n,) labels, none of them empty.
    xy
        (n, 2) centres (x, y) in micrometres.
    ctx
        Progress and cancellation.
    blocks
        About how many spatial blocks.
    seed
        Seed of the folds and of the resampling.

    Returns
    -------
    Gain
        With NaN, and the reason as protocol, where there is too little to measure.
    """
    index = np.unique(labels, return_inverse=True)[1]
    common = np.bincount(index) >= _LEAST_PER_LABEL
    kept = common[index]
    block = spatial_blocks(xy, blocks)
    if common.sum() < 2 or len(np.unique(block[kept])) < 2 * _FOLDS:
        return _unknown("it takes two labels of ten spots each, over ten blocks or more.")
    base, more, xy = base[kept], more[kept], xy[kept]
    index = np.unique(index[kept], return_inverse=True)[1]
    block = np.unique(block[kept], return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(block.max() + 1)
    fold = order[block] % _FOLDS
    parts = {"base": base, "alone": more, "both": np.hstack([base, more])}
    lost, right = {}, {}
    for k, (name, x) in enumerate(parts.items()):
        lost[name], right[name] = _held_out(x, index, block, fold, ctx.part(k / 3, (k + 1) / 3))
    share = np.bincount(index) / len(index)
    entropy = float(-(share * np.log2(share)).sum())
    low, high = _interval(lost["base"] - lost["both"], block, seed)
    return Gain(
        base=entropy - float(lost["base"].mean()),
        alone=entropy - float(lost["alone"].mean()),
        both=entropy - float(lost["both"].mean()),
        low=low,
        high=high,
        accuracy_base=_balanced(right["base"], index),
        accuracy_both=_balanced(right["both"], index),
        blocks=int(block.max()) + 1,
        protocol=f"{int(block.max()) + 1} square blocks in {_FOLDS} folds, {len(index)} spots, "
        f"{len(share)} labels of {_LEAST_PER_LABEL} spots or more; ridge-penalised multinomial "
        f"regression on {base.shape[1]} and {more.shape[1]} components, its penalty chosen within "
        f"the training blocks; interval over {_RESAMPLED} resamplings of the blocks",
    )


def _unknown(reason: str) -> Gain:
    nan = float("nan")
    return Gain(nan, nan, nan, nan, nan, nan, nan, 0, reason)


def spatial_blocks(xy: Floats, count: int) -> NDArray[np.intp]:
    """(n,) number of the square block that each place lies in, about ``count`` in all."""
    low, extent = xy.min(axis=0), np.ptp(xy, axis=0)
    side = float(np.sqrt(max(np.prod(extent), 1e-12) / count))
    for _ in range(20):
        # Tissue seldom fills its rectangle: make the squares smaller until there are enough.
        cell = np.floor((xy - low) / side).astype(np.intp)
        found = np.unique(cell, axis=0, return_inverse=True)[1].ravel()
        if found.max() + 1 >= 0.9 * min(count, len(xy)):
            break
        side *= 0.93
    return np.asarray(found, np.intp)


def _held_out(
    x: Floats, index: NDArray[Any], block: NDArray[Any], fold: NDArray[Any], ctx: JobContext
) -> tuple[Floats, NDArray[np.bool_]]:
    """Log-loss in bits, and whether the likeliest label is right, of each spot held out."""
    lost, right = np.empty(len(index)), np.empty(len(index), bool)
    labels = int(index.max()) + 1
    for k in range(_FOLDS):
        ctx.step(k / _FOLDS, "Held-out information about the annotation")
        test = fold == k
        train = ~test
        inner = train & (fold == (k + 1) % _FOLDS)
        outer = train & ~inner
        tried = []
        for strength in _STRENGTHS:
            ctx.step()
            p = _predicted(x[outer], index[outer], x[inner], labels, strength)
            tried.append(_loss(p, index[inner]).mean())
        best = _STRENGTHS[int(np.argmin(tried))]
        p = _predicted(x[train], index[train], x[test], labels, best)
        lost[test], right[test] = _loss(p, index[test]), p.argmax(axis=1) == index[test]
    return lost, right


def _predicted(x: Floats, index: NDArray[Any], new: Floats, labels: int, strength: float) -> Floats:
    from sklearn.linear_model import LogisticRegression

    middle, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.where(spread > 0, spread, 1)
    p = np.full((len(new), labels), 1e-9)
    known = np.unique(index)
    if len(known) < 2:
        p[:, known] = 1
    else:
        model = LogisticRegression(C=strength, max_iter=300, tol=1e-4)
        model.fit((x - middle) / spread, index)
        p[:, known] += model.predict_proba((new - middle) / spread)
    # A label that the training blocks lack must not cost an infinite surprise.
    p = 0.99 * p / p.sum(axis=1, keepdims=True) + 0.01 / labels
    return np.asarray(p)


def _loss(p: Floats, index: NDArray[Any]) -> Floats:
    return np.asarray(-np.log2(p[np.arange(len(index)), index]))


def _interval(gain: Floats, block: NDArray[Any], seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    count = int(block.max()) + 1
    total, size = np.bincount(block, gain, count), np.bincount(block, minlength=count)
    drawn = rng.integers(0, count, (_RESAMPLED, count))
    means = total[drawn].sum(axis=1) / size[drawn].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def _balanced(right: NDArray[np.bool_], index: NDArray[Any]) -> float:
    return float(np.mean([right[index == k].mean() for k in np.unique(index)]))
