"""Fusion of images and expression by self-supervision with pseudo-labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import Embedding, FusionInputs
from napari_stomics.core.jobs import JobContext, limited_threads
from napari_stomics.core.params import param
from napari_stomics.core.registry import method
from napari_stomics.methods.fusion.blocks import choose_steps
from napari_stomics.methods.fusion.graph import diffuse, walk
from napari_stomics.methods.fusion.nets._clusters import k_means, triplets
from napari_stomics.methods.fusion.nets._output import embedding_of, kept_noise
from napari_stomics.methods.fusion.nets._train import (
    NetParams,
    Weights,
    share,
    squared_error,
    train,
    unit_energy,
)
from napari_stomics.methods.fusion.preparation import Prepared, prepare

Floats = NDArray[np.floating[Any]]


class ImageExpressionParams(NetParams):
    """Parameters of the self-supervised autoencoder."""

    n_latent: int = param(
        10,
        "Latent dimensions",
        "Dimensions of the joint latent space: few, so that noise does not fit in.",
        ge=2,
        le=512,
    )
    weight_decay: float = param(
        5e-3, "Weight decay", "Pull of the weights towards zero.", advanced=True, log=True, ge=0,
        le=1.0,
    )  # fmt: skip
    steps: int | None = param(
        3,
        "Diffusion steps",
        "Averagings of the components over spatial neighbours before they enter; 0 looks at each "
        "spot by itself, as the published method does. Unticked: the number that predicts spots "
        "from the others best.",
        ge=0,
        le=50,
    )
    n_clusters: int = param(
        5,
        "Pseudo-labels",
        "Clusters of each modality that supervise the joint latent; no more than it can tell "
        "apart, since the others are noise.",
        ge=2,
        le=100,
    )
    triplet_weight: float = param(
        0.1,
        "Weight of the triplets",
        "Weight of the loss that keeps each modality's clusters apart in the joint latent.",
        ge=0,
        le=100,
        step=0.1,
    )
    margin: float = param(
        1.0, "Margin", "How much farther spots of other clusters shall lie.", advanced=True, gt=0,
        le=100,
    )  # fmt: skip
    n_hidden: int = param(
        64, "Hidden units", "Width of each modality's own features.", advanced=True, ge=2, le=2048
    )
    warm_up: int = param(
        50,
        "Warm-up",
        "Epochs of reconstruction alone before clusters are found.",
        advanced=True,
        ge=0,
        le=10_000,
    )
    relabel: int = param(
        50, "Relabel every", "Epochs between new pseudo-labels.", unit="epochs", advanced=True,
        ge=1, le=10_000,
    )  # fmt: skip


@method(
    task="fusion",
    name="image-expression",
    title="Self-supervised autoencoder",
    summary="An encoder per modality (image features and expression, or any two or more) and a "
    "joint latent that rebuilds each and keeps the clusters of each apart.",
    params=ImageExpressionParams,
    inputs=FusionInputs,
    result=Embedding,
    reference="after MUSE: Bao et al. 2022, Nat Biotechnol 40:1200",
)
def fuse_image_expression(
    inputs: FusionInputs, params: ImageExpressionParams, ctx: JobContext
) -> Embedding:
    """Fuse modalities by self-supervision.

    Raises
    ------
    UserError
        If there is one modality only, one cannot be prepared, or the training diverges.
    """
    import torch

    prepared = prepare(inputs, params, ctx.part(0.0, 0.2))
    if len(prepared.names) < 2:
        raise UserError(
            f"This method joins modalities, and {prepared.names[0]!r} is the only one.",
            "Add a second modality, such as the H&E image.",
        )
    with limited_threads(1):
        steps = choose_steps(prepared) if params.steps is None else params.steps
        net = _ImageExpression(prepared, steps, params, ctx)
        done = train(net.weights, net.loss, params, ctx.part(0.2, 1.0), net.warm_up)
        with torch.no_grad():
            guesses = net.rebuild(net.encode()[0])
        rebuilt = {i: part.numpy() for i, part in enumerate(guesses)}
        kept = kept_noise(walk(prepared.graph), steps)
        return embedding_of(
            inputs, prepared, params, rebuilt, done, ctx, kept=kept, settings={"steps": steps}
        )


class _ImageExpression:
    """Encoders, a joint latent, decoders, and the pseudo-labels of each modality."""

    def __init__(
        self, prepared: Prepared, steps: int, params: ImageExpressionParams, ctx: JobContext
    ) -> None:
        import torch

        self.params, self.ctx = params, ctx
        self.warm_up = min(params.warm_up, params.epochs // 3)
        self.rng = np.random.default_rng(params.seed)
        self.weights = make = Weights(params.seed)
        self.x, self.rows, self.here, self.layers = [], [], [], []
        self.labels: list[NDArray[np.intp]] = []
        hidden = params.n_hidden
        # The target is what was measured: a network that rebuilds averages also learns the
        # noise that they share.
        self.truth = [torch.from_numpy(x) for x in unit_energy(prepared)]
        for i, x in enumerate(unit_energy(_smoothed(prepared, steps))):
            here = prepared.present[:, i]
            self.x.append(torch.from_numpy(x))
            self.rows.append(share(here))
            self.here.append(np.flatnonzero(here))
            self.layers.append(
                (
                    make.glorot(x.shape[1], hidden),
                    make.zeros(hidden),
                    make.glorot(hidden, hidden),
                    make.glorot(params.n_latent, hidden),
                    make.zeros(hidden),
                    make.glorot(hidden, x.shape[1]),
                )
            )
        self.join = make.glorot(hidden * len(self.x), params.n_latent)

    def encode(self) -> tuple[Any, list[Any]]:
        """(n, k) joint latent, and the (n, h) features of each modality."""
        import torch

        own = []
        for x, rows, layers in zip(self.x, self.rows, self.layers, strict=True):
            inner = torch.nn.functional.elu(x @ layers[0] + layers[1]) @ layers[2]
            own.append(inner * (rows > 0))
        return torch.cat(own, 1) @ self.join, own

    def rebuild(self, latent: Any) -> list[Any]:
        """(n, d) components of each modality from the joint latent."""
        import torch

        elu = torch.nn.functional.elu
        return [elu(latent @ layers[3] + layers[4]) @ layers[5] for layers in self.layers]

    def loss(self, epoch: int) -> Any:
        """Reconstruction, and after the warm-up the triplets of every modality's clusters."""
        import torch

        latent, own = self.encode()
        total: Any = sum(map(squared_error, self.rebuild(latent), self.truth, self.rows))
        if epoch < self.warm_up or not self.params.triplet_weight:
            return total
        if (epoch - self.warm_up) % self.params.relabel == 0:
            self._relabel(own)
        weight = self.params.triplet_weight / len(own)
        for here, labels in zip(self.here, self.labels, strict=True):
            anchor, same, other = (here[rows] for rows in triplets(labels, self.rng))
            if len(anchor):
                near = (latent[anchor] - latent[same]).square().mean(1)
                far = (latent[anchor] - latent[other]).square().mean(1)
                total = total + weight * torch.relu(near - far + self.params.margin).mean()
        return total

    def _relabel(self, own: list[Any]) -> None:
        """Cluster every modality by its own features."""
        self.labels = []
        for features, here in zip(own, self.here, strict=True):
            x = features.detach().numpy()[here]
            self.labels.append(k_means(x, self.params.n_clusters, self.params.seed, self.ctx)[0])


def _smoothed(prepared: Prepared, steps: int) -> Prepared:
    """Average components over spatial neighbours that have the modality."""
    from dataclasses import replace

    if not steps:
        return prepared
    scores = []
    for x, here in zip(prepared.scores, prepared.present.T, strict=True):
        rows = np.flatnonzero(here)
        smooth = np.zeros_like(x)
        smooth[rows] = diffuse(walk(prepared.graph[rows][:, rows]), x[rows], steps)
        scores.append(smooth)
    return replace(prepared, scores=tuple(scores))
