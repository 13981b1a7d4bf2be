"""Blocks of several modalities side by side: diffusion, missing rows, weights, joint components.

Everything here is linear in the prepared scores and takes a fraction of a second, so
that steps and weights can be changed under a slider.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.methods.fusion.graph import diffuse, region, walk
from napari_stomics.methods.fusion.preparation import Prepared

Floats = NDArray[np.floating[Any]]

STEPS = (1, 2, 3, 4, 5, 6, 8, 10)
"""Numbers of diffusion steps among which the automatic choice is made."""

_LEADING = 5
_PROBES = 16
_PARTNERS = 10
_REACHED = 1e-3
_TEACHERS = 20_000
_CLEAREST = 0.98
_LEAST_WEIGHT = 0.06
_AS_GOOD = 0.005
"""Share of what can be predicted that a larger number of steps may lose."""
_AS_GOOD_EMBEDDED = 0.018
"""The same for stored embeddings: no axes were chosen to keep their noise out."""
_SEEN = 20


@dataclass(frozen=True)
class Fused:
    """A joint embedding and what it was made from.

    Attributes
    ----------
    values
        (n, k) float32 joint components.
    explained
        (k,) share of the variance of the joined blocks.
    blocks
        Per modality the (n, d) block of unit energy before its weight.
    weights
        Weight of each modality, summing to 1.
    spot_weights
        (n, M) weight of each modality at each spot, rows summing to 1.
    steps
        Diffusion steps taken.
    loadings
        Per modality the (k, d) share of each of its components in the joint ones.
    """

    values: Floats
    explained: Floats
    blocks: tuple[Floats, ...]
    weights: Mapping[str, float]
    spot_weights: Floats
    steps: int
    loadings: tuple[Floats, ...]


def fuse_prepared(
    prepared: Prepared,
    steps: int | None = None,
    weights: Mapping[str, float] | None = None,
    n_output: int = 20,
) -> Fused:
    """Diffuse, weigh and join prepared modalities.

    Parameters
    ----------
    prepared
        Component scores of the modalities.
    steps
        Steps of the walk on the spatial graph; None chooses them (:func:`choose_steps`).
    weights
        Weight per modality; None takes them from Moran's I (:func:`automatic_weights`).
    n_output
        Components of the result.

    Notes
    -----
    A spot that lacks a modality takes there what its neighbours within the steps
    have, and where none has it the mean of the spots that are most like it in the
    modalities that both have.
    """
    steps = choose_steps(prepared) if steps is None else steps
    weighted = automatic_weights(prepared) if weights is None else weights
    share = np.array([float(weighted.get(name, 0.0)) for name in prepared.names])
    share = share / share.sum()
    blocks, reached = _diffused(prepared, steps)
    blocks = [unit_energy(block, seen) for block, seen in zip(blocks, reached.T, strict=True)]
    _fill(blocks, reached, share)
    joined = np.hstack([np.sqrt(w) * b for w, b in zip(share, blocks, strict=True)])
    values, explained, axes = joint_components(joined, n_output)
    at = np.cumsum([0, *(b.shape[1] for b in blocks)])
    loadings = tuple(axes[:, at[i] : at[i + 1]] for i in range(len(blocks)))
    own = np.where(prepared.present, share, 0.0)
    sums = own.sum(axis=1, keepdims=True)
    # A spot without any modality rests on its neighbours: the common weights.
    spot = np.where(sums > 0, np.divide(own, sums, out=np.zeros_like(own), where=sums > 0), share)
    return Fused(
        values,
        explained,
        tuple(blocks),
        {name: float(w) for name, w in zip(prepared.names, share, strict=True)},
        spot.astype(np.float32),
        steps,
        loadings,
    )


def choose_steps(prepared: Prepared) -> int:
    """Return the largest number of steps that predicts spots as well as any does.

    The diffusion is a linear smoother; its error in predicting a spot from the
    others is ``|(I - W^t) s|^2 / (1 - tr(W^t) / n)^2`` (generalised
    cross-validation, Craven and Wahba 1979, Numer Math 31:377), summed over the
    modalities' components, each by its weight and its Moran's I, so that noise has
    no voice. The trace is estimated by random signs with a fixed seed (Hutchinson
    1990). Among the numbers that lose next to nothing of what can be predicted the
    largest is taken: they tell spots equally well, and domains are the clearer the
    less noise is left. Where a second step loses already, domains are as narrow as
    the neighbourhood, and none is taken.
    """
    some = region(prepared.graph)
    step = walk(prepared.graph if some is None else prepared.graph[some][:, some])
    n = step.shape[0]
    share = automatic_weights(prepared)
    signs = np.random.default_rng(0).choice(np.array([-1.0, 1.0], np.float32), (n, _PROBES))
    errors = np.zeros(len(STEPS))
    present = prepared.present if some is None else prepared.present[some]
    parts = prepared.scores if some is None else [scores[some] for scores in prepared.scores]
    alongs = [
        beyond_chance(moran[:_SEEN], null)
        for moran, null in zip(prepared.moran, prepared.moran_null, strict=True)
    ]
    blocks = [
        np.sqrt(share[name]) * unit_energy(scores[:, :_SEEN] * np.sqrt(along), seen)
        for name, scores, along, seen in zip(prepared.names, parts, alongs, present.T, strict=True)
    ]
    start = np.hstack(blocks)
    now, probes, done = start, signs, 0
    for i, steps in enumerate(STEPS):
        now, probes = diffuse(step, now, steps - done), diffuse(step, probes, steps - done)
        done = steps
        trace = float(np.einsum("ij,ij->", signs, probes, dtype=np.float64)) / _PROBES
        rest = float(np.einsum("ij,ij->", start - now, start - now, dtype=np.float64))
        errors[i] = rest / max(1 - trace / n, 1e-6) ** 2
    unseen = float(((start - start.mean(axis=0)) ** 2).sum())
    loss = sum(
        share[name] * (_AS_GOOD_EMBEDDED if kind == "embedding" else _AS_GOOD)
        for name, kind in zip(prepared.names, prepared.kinds, strict=True)
    )
    good = errors <= errors.min() + loss * (unseen - errors.min())
    chosen = STEPS[int(np.flatnonzero(good).max())] if good.any() else STEPS[0]
    return 0 if chosen == STEPS[0] else chosen


def automatic_weights(prepared: Prepared) -> dict[str, float]:
    """Weight of each modality, summing to 1: how far it varies along the tissue, and how clearly.

    The mean Moran's I of its five leading components beyond what the same
    components of shuffled spots reach, times the odds of its clarity
    (:func:`~.clarity.clarity`): noise has little of the first, gradients that
    follow no domain little of the second. What would weigh next to nothing weighs
    nothing. Equal weights where no modality has any.
    """
    gains = []
    for moran, null, clear in zip(
        prepared.moran, prepared.moran_null, prepared.clarity, strict=True
    ):
        along = float(beyond_chance(np.mean(moran[:_LEADING]), null))
        clear = min(clear, _CLEAREST)
        gains.append(along * (clear / (1 - clear)) ** 2)
    if max(gains) <= 0:
        return {name: 1 / len(gains) for name in prepared.names}
    # What tells so little can only lead astray.
    share = np.array([gain if gain >= _LEAST_WEIGHT * max(gains) else 0.0 for gain in gains])
    share = share / share.sum()
    return {name: float(w) for name, w in zip(prepared.names, share, strict=True)}


def beyond_chance(moran: Any, null: float) -> Floats:
    """Moran's I as a share of what is left above that of shuffled spots, from 0 to 1."""
    return np.maximum(np.asarray(moran, np.float64) - null, 0.0) / max(1 - null, 1e-6)


def read_weights(text: str, names: Sequence[str]) -> dict[str, float] | None:
    """Read weights such as ``"rna=1, protein=0.5"``; None where the text is empty.

    Modalities that are not named have weight 1; ``"equal"`` gives it to all.

    Raises
    ------
    UserError
        If an entry is no ``name=number``, names no modality, is negative, or all are 0.
    """
    if not text.strip():
        return None
    hint = f"Write for instance: {', '.join(f'{name}=1' for name in names)}."
    found = dict.fromkeys(names, 1.0)
    if text.strip() == "equal":
        return found
    for part in text.replace(";", ",").split(","):
        if not part.strip():
            continue
        name, _, number = (piece.strip() for piece in part.rpartition("="))
        if name not in found:
            raise UserError(f"{part.strip()!r} is no weight of a modality that is fused.", hint)
        try:
            value = float(number)
        except ValueError as error:
            raise UserError(f"{number!r} is not a number.", hint) from error
        if not np.isfinite(value) or value < 0:
            raise UserError(f"The weight of {name!r} is {number}, not 0 or more.", hint)
        found[name] = value
    if sum(found.values()) <= 0:
        raise UserError("All weights are 0.", hint)
    return found


def unit_energy(block: Floats, seen: NDArray[np.bool_] | None = None) -> Floats:
    """Scale a block so that the mean squared norm of its rows (of those seen) is 1."""
    rows = block if seen is None or seen.all() else block[seen]
    energy = float(np.einsum("ij,ij->", rows, rows, dtype=np.float64)) / max(len(rows), 1)
    return np.asarray(block / np.sqrt(energy), np.float32) if energy > 0 else block


def joint_components(x: Floats, count: int) -> tuple[Floats, Floats, Floats]:
    """Principal components of few columns, by their covariance.

    Returns
    -------
    scores
        (n, k) float32.
    explained
        (k,) share of the variance.
    axes
        (k, d) orthonormal, the entry of largest size positive.
    """
    mean = x.mean(axis=0, dtype=np.float64)
    second = _gram(x) / len(x) - np.outer(mean, mean)
    values, vectors = np.linalg.eigh(second)
    count = min(count, x.shape[1], max(len(x) - 1, 1))
    axes = vectors[:, ::-1][:, :count].T
    signs = np.sign(axes[np.arange(count), np.abs(axes).argmax(axis=1)])
    axes = axes * np.where(signs == 0, 1.0, signs)[:, None]
    scores = x @ axes.T.astype(np.float32) - (axes @ mean).astype(np.float32)
    total = max(float(values.clip(0).sum()), 1e-30)
    return np.asarray(scores, np.float32), values[::-1][:count].clip(0) / total, axes


def _gram(x: Floats) -> Floats:
    """``x.T @ x`` in double precision without a second copy of a large ``x``."""
    out = np.zeros((x.shape[1], x.shape[1]))
    for low in range(0, len(x), 50_000):
        part = x[low : low + 50_000].astype(np.float64)
        out += part.T @ part
    return out


def _diffused(prepared: Prepared, steps: int) -> tuple[list[Floats], NDArray[np.bool_]]:
    """Blocks after the steps, and (n, M) whether a spot has, or was reached by, a modality."""
    step = walk(prepared.graph) if steps else None
    blocks, reached = [], prepared.present.copy()
    for i, scores in enumerate(prepared.scores):
        block = diffuse(step, scores, steps)
        seen = prepared.present[:, i]
        if not seen.all():
            # Only spots that have it give: their part in the mean is made up to one.
            mass = diffuse(step, seen.astype(np.float32), steps)
            block = np.divide(
                block, mass[:, None], out=np.zeros_like(block), where=mass[:, None] > _REACHED
            )
            reached[:, i] = mass > _REACHED
        blocks.append(block)
    return blocks, reached


def _fill(blocks: list[Floats], reached: NDArray[np.bool_], share: Floats) -> None:
    """Give spots that a modality did not reach the mean of those most like them elsewhere."""
    from scipy.spatial import cKDTree

    if reached.all():
        return
    filled = [block.copy() for block in blocks]
    patterns, which = np.unique(reached, axis=0, return_inverse=True)
    for p, pattern in enumerate(patterns):
        have = np.flatnonzero(pattern)
        rows = np.flatnonzero(which.ravel() == p)
        for i in np.flatnonzero(~pattern) if len(have) else ():
            teachers = np.flatnonzero(reached[:, have].all(axis=1) & reached[:, i])
            if not len(teachers):
                continue
            if len(teachers) > _TEACHERS:
                kept = np.random.default_rng(0).permutation(len(teachers))[:_TEACHERS]
                teachers = teachers[np.sort(kept)]
            seen = np.hstack([np.sqrt(share[j]) * blocks[j][:, :_PARTNERS] for j in have])
            near = min(_PARTNERS, len(teachers))
            _, found = cKDTree(seen[teachers]).query(seen[rows], k=near)
            filled[i][rows] = blocks[i][teachers[found.reshape(len(rows), near)]].mean(axis=1)
    blocks[:] = filled
