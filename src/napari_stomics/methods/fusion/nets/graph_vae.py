"""Fusion by a variational graph autoencoder with one latent for all modalities."""

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
    NetParams,
    Weights,
    share,
    squared_error,
    train,
    unit_energy,
)
from napari_stomics.methods.fusion.preparation import Prepared, prepare

Floats = NDArray[np.floating[Any]]


class GraphVaeParams(NetParams):
    """Parameters of the variational graph autoencoder."""

    n_hidden: int = param(
        64, "Hidden units", "Width of each modality's hidden layer.", advanced=True, ge=2, le=2048
    )
    kl_weight: float = param(
        1.0,
        "Weight of the divergence",
        "Weight of the latent's Kullback-Leibler divergence from a standard normal; 1 is the "
        "evidence bound for components of noise variance 1. Larger: simpler, smoother latent.",
        log=True,
        ge=0,
        le=100,
    )
    warm_up: int = param(
        50,
        "Warm-up",
        "Epochs over which this weight rises from 0, so that the latent is not given up early.",
        advanced=True,
        ge=0,
        le=10_000,
    )


@method(
    task="fusion",
    name="graph-vae",
    title="Variational graph autoencoder",
    summary="A variational graph encoder and a decoder per modality; the latent of a spot is the "
    "product of what its modalities say, sure ones counting more.",
    params=GraphVaeParams,
    inputs=FusionInputs,
    result=Embedding,
    reference="after SpaOmicsVAE; Kipf and Welling 2016, arXiv:1611.07308; product of experts: "
    "Wu and Goodman 2018, NeurIPS",
)
def fuse_graph_vae(inputs: FusionInputs, params: GraphVaeParams, ctx: JobContext) -> Embedding:
    """Fuse modalities by a variational graph autoencoder.

    ``spot_weights`` is each modality's share of the precision of a spot's latent.

    Raises
    ------
    UserError
        If a modality cannot be prepared, or the training diverges.
    """
    import torch

    prepared = prepare(inputs, params, ctx.part(0.0, 0.2))
    with limited_threads(1):
        net = _GraphVae(prepared, params, ctx)
        done = train(net.weights, net.loss, params, ctx.part(0.2, 1.0), net.warm_up)
        with torch.no_grad():
            mean, _, precision = net.encode()
            rebuilt = {i: part.numpy() for i, part in enumerate(net.rebuild(mean))}
        shares = precision.mean(dim=2)
        shares = (shares / shares.sum(dim=1, keepdim=True).clamp_min(1e-12)).numpy()
        lone = ~prepared.present.any(axis=1)
        shares[lone] = 1 / shares.shape[1]
        total = shares.mean(axis=0, dtype=np.float64)
        weights = dict(zip(prepared.names, map(float, total), strict=True))
        return embedding_of(
            inputs, prepared, params, rebuilt, done, ctx,
            kept=kept_noise(walk(prepared.graph), 2 * params.hops + 1),
            spot_weights=shares, weights=weights,
        )  # fmt: skip


class _GraphVae:
    """Graph encoders to mean and precision, their product, graph decoders."""

    def __init__(self, prepared: Prepared, params: GraphVaeParams, ctx: JobContext) -> None:
        import torch

        self.params = params
        self.warm_up = min(params.warm_up, params.epochs // 3)
        self.weights = make = Weights(params.seed)
        self.present = torch.from_numpy(prepared.present)
        self.x, self.rows, self.space, self.layers = [], [], [], []
        for i, x in enumerate(unit_energy(prepared)):
            here = prepared.present[:, i]
            self.x.append(torch.from_numpy(x))
            self.rows.append(share(here))
            self.space.append(product(normalised(prepared.graph, here), ctx, params.hops))
            hidden, latent = params.n_hidden, params.n_latent
            self.layers.append(
                (
                    make.glorot(x.shape[1], hidden),
                    make.glorot(hidden, latent),
                    make.glorot(hidden, latent, 0.1),
                    make.glorot(latent, x.shape[1]),
                )
            )
        # Errors are means over entries: the bound in these units.
        self.scale = 2 * len(self.x) / sum(x.shape[1] for x in self.x)
        self.joined = product(normalised(prepared.graph), ctx)

    def encode(self) -> tuple[Any, Any, Any]:
        """(n, k) mean and variance of the latent, and the (n, m, k) precision by modality."""
        import torch

        means, precisions = [], []
        for i, (x, space) in enumerate(zip(self.x, self.space, strict=True)):
            first, to_mean, to_log, _ = self.layers[i]
            hidden = torch.nn.functional.elu(space(x @ first))
            here = self.present[:, i, None]
            means.append(space(hidden @ to_mean))
            precisions.append(torch.exp(space(hidden @ to_log).clamp(-6, 6)) * here)
        precision = torch.stack(precisions, 1)
        # The prior is one more expert, of mean 0 and precision 1.
        variance = 1 / (1 + precision.sum(1))
        return variance * (precision * torch.stack(means, 1)).sum(1), variance, precision

    def rebuild(self, latent: Any) -> list[Any]:
        """(n, d) components of each modality from the latent."""
        return [self.joined(latent @ layers[-1]) for layers in self.layers]

    def loss(self, epoch: int) -> Any:
        """Reconstruction of every modality plus the divergence from the prior."""
        import torch

        mean, variance, _ = self.encode()
        noise = torch.randn(mean.shape, generator=self.weights.generator)
        latent = mean + variance.sqrt() * noise
        total = sum(map(squared_error, self.rebuild(latent), self.x, self.rows))
        divergence = 0.5 * (mean**2 + variance - 1 - variance.log()).sum(1).mean()
        rise = min(1.0, (epoch + 1) / (self.warm_up + 1))
        return total + rise * self.scale * self.params.kl_weight * divergence
