"""Fusion by a graph encoder that tells spots from shuffled ones by their neighbourhood."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.fusion import Embedding, FusionInputs
from napari_stomics.core.jobs import JobContext, limited_threads
from napari_stomics.core.params import param
from napari_stomics.core.registry import method
from napari_stomics.methods.fusion.graph import walk
from napari_stomics.methods.fusion.nets._output import embedding_of, kept_noise
from napari_stomics.methods.fusion.nets._sparse import normalised, product
from napari_stomics.methods.fusion.nets._train import (
    Joined,
    NetParams,
    Weights,
    train,
)
from napari_stomics.methods.fusion.preparation import Prepared, prepare

Floats = NDArray[np.floating[Any]]


class ContrastiveParams(NetParams):
    """Parameters of the contrastive fusion."""

    reconstruction: float = param(
        10.0,
        "Weight of the reconstruction",
        "Weight of the mean squared error of the components.",
        ge=0,
        le=1000,
        step=1.0,
    )
    contrast: float = param(
        1.0,
        "Weight of the contrast",
        "Weight of the loss that tells a spot's own neighbourhood from that of shuffled spots.",
        ge=0,
        le=1000,
        step=0.5,
    )


@method(
    task="fusion",
    name="contrastive",
    title="Contrastive graph encoder",
    summary="One graph encoder on the components of all modalities side by side, trained to "
    "reconstruct them and to tell each spot's neighbourhood from that of shuffled spots.",
    params=ContrastiveParams,
    inputs=FusionInputs,
    result=Embedding,
    reference="after GraphST: Long et al. 2023, Nat Commun 14:1155",
)
def fuse_contrastive(inputs: FusionInputs, params: ContrastiveParams, ctx: JobContext) -> Embedding:
    """Fuse modalities by contrastive learning on the spatial graph.

    Raises
    ------
    UserError
        If a modality cannot be prepared, or the training diverges.
    """
    import torch

    prepared = prepare(inputs, params, ctx.part(0.0, 0.2))
    with limited_threads(1):
        net = _Contrastive(prepared, params, ctx)
        done = train(net.weights, net.loss, params, ctx.part(0.2, 1.0))
        with torch.no_grad():
            latent = net.smooth(net.x.values @ net.encoder)
            rebuilt = net.x.split(net.smooth(latent @ net.decoder))
        kept = kept_noise(walk(prepared.graph), 2 * params.hops)
        return embedding_of(inputs, prepared, params, rebuilt, done, ctx, kept=kept)


class _Contrastive:
    """Linear graph encoder and decoder, a bilinear discriminator of neighbourhoods."""

    def __init__(self, prepared: Prepared, params: ContrastiveParams, ctx: JobContext) -> None:
        self.params = params
        self.weights = make = Weights(params.seed)
        self.x = Joined(prepared)
        width = self.x.values.shape[1]
        self.smooth = product(normalised(prepared.graph), ctx, params.hops)
        self.around = product(walk(prepared.graph), ctx)
        self.encoder = make.glorot(width, params.n_latent)
        self.decoder = make.glorot(params.n_latent, width)
        self.bilinear = make.glorot(params.n_latent, params.n_latent)

    def loss(self, epoch: int) -> Any:
        """Reconstruction, and the contrast in both directions."""
        import torch

        projected = self.x.values @ self.encoder
        latent = self.smooth(projected)
        total = self.params.reconstruction * self.x.error(self.smooth(latent @ self.decoder))
        if not self.params.contrast:
            return total
        shuffled = torch.randperm(len(projected), generator=self.weights.generator)
        other = self.smooth(projected[shuffled])
        true = self._logits(latent, other, self._around(latent))
        false = self._logits(other, latent, self._around(other))
        return total + self.params.contrast * (true + false)

    def _around(self, latent: Any) -> Any:
        """(n, k) summary of each spot's neighbourhood: mean, unit length, sigmoid."""
        import torch

        mean = self.around(torch.relu(latent))
        return torch.sigmoid(torch.nn.functional.normalize(mean, dim=1))

    def _logits(self, real: Any, fake: Any, around: Any) -> Any:
        """Cross-entropy of the discriminator on spots that belong there and on others."""
        import torch

        ask = around @ self.bilinear.T
        plus, minus = (real * ask).sum(1), (fake * ask).sum(1)
        softplus = torch.nn.functional.softplus
        return 0.5 * (softplus(-plus).mean() + softplus(minus).mean())
