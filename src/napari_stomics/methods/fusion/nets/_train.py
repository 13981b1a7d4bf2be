"""One training loop for all networks: Adam, clipping, a stop at the plateau."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import param
from napari_stomics.methods.fusion.batch import BatchParams
from napari_stomics.methods.fusion.preparation import PreparationParams, Prepared

Floats = NDArray[np.floating[Any]]

_BETAS = (0.9, 0.999)
_MOST_NORM = 5.0


class NetParams(PreparationParams, BatchParams):
    """Parameters that all trained fusions share."""

    n_latent: int = param(
        32, "Latent dimensions", "Dimensions of the network's joint latent space.", ge=2, le=512
    )
    hops: int = param(
        2,
        "Hops",
        "How often each graph encoder averages over the neighbours in space: more for larger "
        "domains and noisier data, fewer for fine structure.",
        ge=1,
        le=20,
    )
    n_output: int = param(
        15,
        "Components of the result",
        "Principal axes of what the network rebuilds, each scaled by its signal over its noise; so "
        "many of them are kept.",
        ge=2,
        le=512,
    )
    epochs: int = param(
        300,
        "Epochs",
        "Most passes over all spots; the training ends before if the objective has settled. "
        "0 gives the untrained start, to see what the training adds.",
        ge=0,
        le=20_000,
    )
    learning_rate: float = param(
        5e-3,
        "Learning rate",
        "Step of the optimiser (Adam). Lower it if the objective jumps.",
        log=True,
        gt=0,
        le=1.0,
    )
    weight_decay: float = param(
        0.0, "Weight decay", "Pull of the weights towards zero.", advanced=True, log=True, ge=0,
        le=1.0,
    )  # fmt: skip
    patience: int = param(
        20,
        "Patience",
        "The objective has settled when its mean over so many epochs is no better than that over "
        "as many before.",
        advanced=True,
        ge=2,
        le=1000,
    )
    tolerance: float = param(
        2e-3,
        "Tolerance",
        "Relative improvement of the objective that counts as one; 0 trains all epochs unless "
        "it gets worse.",
        advanced=True,
        log=True,
        ge=0,
        le=0.5,
    )


class Weights:
    """Makes the trainable tensors of a network from one seed.

    Parameters
    ----------
    seed
        Seed of the draws; also of what is drawn during the training.
    """

    def __init__(self, seed: int) -> None:
        import torch

        self.generator = torch.Generator().manual_seed(seed)
        self.leaves: list[Any] = []

    def glorot(self, rows: int, columns: int, gain: float = 1.0) -> Any:
        """(rows, columns) uniform draws of variance 2 gain² / (rows + columns).

        Glorot and Bengio 2010, AISTATS.
        """
        import torch

        bound = gain * float(np.sqrt(6.0 / (rows + columns)))
        draws = torch.rand(rows, columns, generator=self.generator)
        return self.own((2 * draws - 1) * bound)

    def zeros(self, *shape: int) -> Any:
        """Zeros."""
        import torch

        return self.own(torch.zeros(*shape))

    def own(self, values: Any) -> Any:
        """Make given values trainable."""
        self.leaves.append(values.clone().requires_grad_())
        return self.leaves[-1]


@dataclass(frozen=True)
class Trained:
    """How a training went: the objective per epoch, and whether it settled."""

    objective: tuple[float, ...]
    converged: bool


class Adam:
    """Adam with gradients clipped to a norm (Kingma and Ba 2015, ICLR).

    As ``torch.optim.Adam``, whose first use imports torch's compiler: more than a
    second in which nobody can cancel.

    Parameters
    ----------
    leaves
        The trainable tensors.
    rate
        Learning rate.
    decay
        Multiple of the weights that is added to their gradients.
    """

    def __init__(self, leaves: list[Any], rate: float, decay: float = 0.0) -> None:
        import torch

        self.leaves, self.rate, self.decay = leaves, rate, decay
        self.first = [torch.zeros_like(leaf) for leaf in leaves]
        self.second = [torch.zeros_like(leaf) for leaf in leaves]
        self.turn = 0

    def step(self) -> None:
        """Move the tensors against their gradients, and forget these."""
        import torch

        self.turn += 1
        with torch.no_grad():
            found = [leaf.grad for leaf in self.leaves if leaf.grad is not None]
            norm = float(torch.stack([g.square().sum() for g in found]).sum().sqrt())
            shrink = min(1.0, _MOST_NORM / (norm + 1e-6))
            for leaf, first, second in zip(self.leaves, self.first, self.second, strict=True):
                if leaf.grad is None:
                    continue
                gradient = leaf.grad * shrink + self.decay * leaf
                first.lerp_(gradient, 1 - _BETAS[0])
                second.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
                mean = first / (1 - _BETAS[0] ** self.turn)
                size = (second / (1 - _BETAS[1] ** self.turn)).sqrt_()
                leaf.sub_(self.rate * mean / (size + 1e-8))
                leaf.grad = None


def train(
    weights: Weights,
    loss: Callable[[int], Any],
    params: NetParams,
    ctx: JobContext,
    warm_up: int = 0,
    stop: Callable[[], bool] | None = None,
) -> Trained:
    """Minimise an objective over the weights; they keep the last state.

    Parameters
    ----------
    weights
        The trainable tensors.
    loss
        Objective of an epoch as a scalar tensor.
    params
        Epochs, learning rate and stopping rule.
    ctx
        Asked before every epoch; a user who finishes early keeps the state so far.
    warm_up
        Epochs in which the objective is still another one: they do not count for the stop.
    stop
        Whether the training has settled, where the objective does not tell; asked after
        every epoch.

    Raises
    ------
    UserError
        If the objective is no longer finite.
    """
    adam = Adam(weights.leaves, params.learning_rate, params.weight_decay)
    values: list[float] = []
    settled = False
    for epoch in range(params.epochs):
        so_far = f", objective {values[-1]:.4g}" if values else ""
        ctx.step(epoch / params.epochs, f"Epoch {epoch + 1} of {params.epochs}{so_far}")
        now = loss(epoch)
        values.append(float(now.detach()))
        if not np.isfinite(values[-1]):
            raise UserError(
                f"The training diverged in epoch {epoch + 1}.", "Lower the learning rate."
            )
        now.backward()
        adam.step()
        settled = _settled(values[warm_up:], params) if stop is None else stop()
        if settled or ctx.finishing:
            break
    if not params.epochs:
        ctx.warn("No epochs were asked for: the embedding is the network's untrained start.")
    elif not settled:
        ctx.warn(
            f"The training had not settled after {len(values)} epochs; allow more, or raise the "
            "learning rate."
        )
    return Trained(tuple(values), settled)


def _settled(values: list[float], params: NetParams) -> bool:
    """Whether the mean of the last epochs is no better than that of as many before."""
    span = params.patience
    if len(values) < 2 * span:
        return False
    before, now = np.mean(values[-2 * span : -span]), np.mean(values[-span:])
    return bool(before - now <= params.tolerance * abs(before))


def unit_energy(prepared: Prepared) -> list[Floats]:
    """Scores of every modality at a mean square of 1, so that none outweighs another.

    Returns
    -------
    Per modality (n, d) float32; rows of zeros where it was not measured.
    """
    out = []
    for scores, here in zip(prepared.scores, prepared.present.T, strict=True):
        size = float(np.sqrt(np.mean(np.square(scores[here], dtype=np.float64))))
        out.append(np.ascontiguousarray(scores / max(size, 1e-12), np.float32))
    return out


def share(present: NDArray[np.bool_]) -> Any:
    """(n, 1) weights that turn a sum of squares over rows into their mean where present."""
    import torch

    return torch.from_numpy((present / max(present.sum(), 1)).astype(np.float32))[:, None]


def squared_error(guess: Any, truth: Any, rows: Any) -> Any:
    """Mean squared error per entry, each row weighted by :func:`share`."""
    return (rows * (guess - truth) ** 2).sum() / truth.shape[1]


class Joined:
    """Components of several modalities side by side, of equal energy each.

    Parameters
    ----------
    prepared
        The modalities.
    chosen
        Which of them; all by default.
    """

    def __init__(self, prepared: Prepared, chosen: list[int] | None = None) -> None:
        import torch

        parts = unit_energy(prepared)
        chosen = list(range(len(parts))) if chosen is None else chosen
        # A block's energy is its mean square length, however many components it has.
        wide = [parts[i] / np.float32(np.sqrt(parts[i].shape[1])) for i in chosen]
        size = np.float32(np.sqrt(sum(x.shape[1] for x in wide) / len(wide)))
        self.values = torch.from_numpy(np.hstack(wide) * size)
        self._chosen, self._size = chosen, size
        self._rows = [share(prepared.present[:, i]) for i in chosen]
        self._widths = [x.shape[1] for x in wide]

    def split(self, guess: Any) -> dict[int, Floats]:
        """By modality the (n, d) part of a guess, at the unit energy of each."""
        out: dict[int, Floats] = {}
        low = 0
        for i, width in zip(self._chosen, self._widths, strict=True):
            part = guess[:, low : low + width].numpy()
            out[i] = part * np.float32(np.sqrt(width)) / self._size
            low += width
        return out

    def error(self, guess: Any) -> Any:
        """Mean over modalities of the squared error per entry, where they were measured."""
        total: Any = 0.0
        low = 0
        for rows, width in zip(self._rows, self._widths, strict=True):
            some = slice(low, low + width)
            total = total + (rows * (guess[:, some] - self.values[:, some]) ** 2).sum()
            low += width
        return total / low


def principal(latent: Any, count: int) -> tuple[Floats, Floats]:
    """Turn a latent space to its principal axes.

    Returns
    -------
    values
        (n, k) float32 scores; the entry of largest size of each axis is positive.
    explained
        (k,) share of the latent variance.
    """
    x = np.asarray(latent, np.float64)
    x = x - x.mean(axis=0)
    size, axes = np.linalg.eigh(x.T @ x / len(x))
    order = np.argsort(-size, kind="stable")[: min(count, x.shape[1])]
    axes = axes[:, order]
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(len(order))])
    values = x @ (axes * np.where(signs == 0, 1.0, signs))
    total = max(float(size.sum()), 1e-30)
    return values.astype(np.float32), np.maximum(size[order], 0.0) / total
