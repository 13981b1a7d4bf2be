"""From what a network rebuilds to its embedding: axes of signal, scaled by their noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.fusion import Embedding, FusionInputs
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.fusion.graph import diffuse
from napari_stomics.methods.fusion.nets._train import NetParams, Trained, unit_energy
from napari_stomics.methods.fusion.preparation import Prepared
from napari_stomics.methods.fusion.result import finish

Floats = NDArray[np.floating[Any]]

_PROBES = 8
_NOTHING = 1e-9
_LEAST = 0.01
"""Share of signal that any axis is given: tissue without any must not shrink to a point."""


def embedding_of(
    inputs: FusionInputs,
    prepared: Prepared,
    params: NetParams,
    rebuilt: dict[int, Floats],
    done: Trained,
    ctx: JobContext,
    *,
    kept: float,
    **more: Any,
) -> Embedding:
    """Build the result from the components that a trained network rebuilds.

    Parameters
    ----------
    rebuilt
        By modality the (n, d) components at unit energy (:func:`~._train.unit_energy`) as
        the network rebuilds them at every spot.
    kept
        Share of a spot's own noise that the network's averaging leaves (:func:`kept_noise`).
    ctx
        Asked before each part.
    """
    ctx.step(1.0, "Axes of the signal")
    values, explained = signal_axes(prepared, rebuilt, params.n_output, kept)
    ctx.step(1.0, "Comparing the modalities")
    return finish(
        inputs,
        values,
        prepared.names,
        prepared.scores,
        prepared.present,
        explained=explained,
        converged=done.converged,
        objective=done.objective,
        ctx=ctx,
        batch=params.batch,
        seed=params.seed,
        **more,
    )


def signal_axes(
    prepared: Prepared, rebuilt: dict[int, Floats], count: int, kept: float
) -> tuple[Floats, Floats]:
    """Turn rebuilt components to their principal axes, each by how much of it is signal.

    A network's latent space has no scale of its own: what the encoder shrinks, the
    decoder stretches. The axes are therefore those of largest variance of what is
    rebuilt, each brought to the variance that the mean of a latent variable of unit
    variance has (Tipping and Bishop 1999, J R Stat Soc B 61:611): the share of signal
    in it, however small the axis is beside the others. Where r is the correlation of
    what is rebuilt with what was measured along an axis, the noise of one spot is
    ``1 / r^2 - 1`` times the axis, and averaging over neighbours leaves the share f
    of it there; as axes are chosen for their variance, those of noise reach
    ``(1 + sqrt(d / (n f)))^2`` times that (Marchenko and Pastur 1967, Math USSR Sb
    1:457), which is taken off.

    Parameters
    ----------
    prepared
        The measured components.
    rebuilt
        By modality (n, d) rebuilt components at unit energy.
    count
        Axes kept; fewer where less is rebuilt.
    kept
        The share f.

    Returns
    -------
    values
        (n, k) float32 scores; the entry of largest size of each axis is positive.
    explained
        (k,) share of the rebuilt variance.
    """
    truth = unit_energy(prepared)
    parts, measured, seen = [], [], []
    for i, guess in rebuilt.items():
        # A modality's energy is its mean square length, however many components it has.
        size = 1 / np.sqrt(guess.shape[1])
        here = prepared.present[:, [i]]
        centred = guess - guess.mean(axis=0, dtype=np.float64)
        parts.append(centred * size)
        measured.append((truth[i] - truth[i][here[:, 0]].mean(axis=0)) * size * here)
        seen.append(parts[-1] * here)
    x = np.hstack(parts)
    spread, axes = np.linalg.eigh(x.T @ x / len(x))
    order = np.argsort(-spread, kind="stable")[:count]
    order = order[spread[order] > _NOTHING * max(float(spread.max()), 1e-30)]
    axes, total = axes[:, order], float(spread.clip(0).sum())
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(len(order))])
    axes = axes * np.where(signs == 0, 1.0, signs)
    square = _correlation(np.hstack(measured) @ axes, np.hstack(seen) @ axes) ** 2
    chance = (1 + np.sqrt(x.shape[1] / (len(x) * kept))) ** 2
    signal = 1 - chance * kept * (1 / np.maximum(square, _NOTHING) - 1)
    values = x @ axes * np.sqrt(np.maximum(signal, _LEAST) / spread[order])
    return values.astype(np.float32), spread[order] / max(total, 1e-30)


def _correlation(a: Floats, b: Floats) -> Floats:
    """(k,) correlation of the columns of two matrices, both taken as centred."""
    sizes = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return np.asarray((a * b).sum(axis=0) / np.maximum(sizes, 1e-30))


def kept_noise(step: Any, rounds: int) -> float:
    """Share of the variance of independent noise that some rounds of averaging leave.

    The mean squared length of the rows of ``step^rounds``, from random signs with a fixed
    seed (Hutchinson 1990, Commun Stat Simul 19:433).
    """
    signs = np.random.default_rng(0).choice(
        np.array([-1.0, 1.0], np.float32), (step.shape[0], _PROBES)
    )
    return float(np.square(diffuse(step, signs, rounds)).mean(dtype=np.float64))


def least_squares(latent: Floats, prepared: Prepared, chosen: Sequence[int]) -> dict[int, Floats]:
    """Rebuild components by the best linear map, for a network that trains no decoder.

    Parameters
    ----------
    latent
        (n, k) latent.
    chosen
        Modalities that are rebuilt, each by the spots that have it.
    """
    truth = unit_energy(prepared)
    own = np.column_stack([latent, np.ones(len(latent))]).astype(np.float64)
    out = {}
    for i in chosen:
        here = prepared.present[:, i]
        out[i] = own @ np.linalg.lstsq(own[here], truth[i][here], rcond=None)[0]
    return out
