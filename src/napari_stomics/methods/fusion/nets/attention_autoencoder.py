"""Fusion by a graph attention autoencoder."""

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
from napari_stomics.methods.fusion.nets._sparse import Edges
from napari_stomics.methods.fusion.nets._train import (
    Joined,
    NetParams,
    Weights,
    train,
)
from napari_stomics.methods.fusion.preparation import Prepared, prepare

Floats = NDArray[np.floating[Any]]


class AttentionAutoencoderParams(NetParams):
    """Parameters of the graph attention autoencoder."""

    n_latent: int = param(
        16, "Latent dimensions", "Dimensions of the network's joint latent space.", ge=2, le=512
    )
    weight_decay: float = param(
        5e-3,
        "Weight decay",
        "Pull of the weights towards zero; it keeps noise out of the latent space.",
        advanced=True,
        log=True,
        ge=0,
        le=1.0,
    )
    n_hidden: int = param(
        128, "Hidden units", "Width of the layer that attends to neighbours.", advanced=True, ge=2,
        le=2048,
    )  # fmt: skip


@method(
    task="fusion",
    name="attention-autoencoder",
    title="Graph attention autoencoder",
    summary="Autoencoder whose first layer weighs each spot's neighbours by learned attention; "
    "the decoder uses the same attention and the transposed weights.",
    params=AttentionAutoencoderParams,
    inputs=FusionInputs,
    result=Embedding,
    reference="after STAGATE: Dong and Zhang 2022, Nat Commun 13:1739",
)
def fuse_attention_autoencoder(
    inputs: FusionInputs, params: AttentionAutoencoderParams, ctx: JobContext
) -> Embedding:
    """Fuse modalities by a graph attention autoencoder on their components side by side.

    Raises
    ------
    UserError
        If a modality cannot be prepared, or the training diverges.
    """
    import torch

    prepared = prepare(inputs, params, ctx.part(0.0, 0.2))
    with limited_threads(1):
        net = _AttentionAutoencoder(prepared, params, ctx)
        done = train(net.weights, net.loss, params, ctx.part(0.2, 1.0))
        with torch.no_grad():
            rebuilt = net.x.split(net.rebuild())
        kept = kept_noise(walk(prepared.graph), params.hops + 1)
        return embedding_of(inputs, prepared, params, rebuilt, done, ctx, kept=kept)


class _AttentionAutoencoder:
    """Attention over neighbours, a linear bottleneck, and both of them backwards."""

    def __init__(
        self, prepared: Prepared, params: AttentionAutoencoderParams, ctx: JobContext
    ) -> None:
        from scipy import sparse

        self.hops = params.hops
        self.weights = make = Weights(params.seed)
        self.x = Joined(prepared)
        n, width = self.x.values.shape
        looped = prepared.graph + sparse.eye_array(n, dtype=np.float32, format="csr")
        self.edges = Edges(looped, ctx)
        self.first = make.glorot(width, params.n_hidden)
        self.second = make.glorot(params.n_hidden, params.n_latent)
        self.here = make.glorot(params.n_hidden, 1)
        self.there = make.glorot(params.n_hidden, 1)

    def encode(self) -> tuple[Any, Any]:
        """(n, k) latent, and the (e,) attention of each spot to its neighbours."""
        import torch

        hidden = self.x.values @ self.first
        rows = torch.from_numpy(self.edges.rows)
        columns = torch.from_numpy(self.edges.columns).long()
        own, other = (hidden @ self.here)[:, 0], (hidden @ self.there)[:, 0]
        attention = self.edges.softmax(torch.sigmoid(own[rows] + other[columns]))
        for _ in range(self.hops):
            hidden = self.edges.sum(attention, hidden)
        mixed = torch.nn.functional.elu(hidden)
        return mixed @ self.second, attention

    def rebuild(self) -> Any:
        """(n, d) components, from the latent back through the same attention."""
        import torch

        latent, attention = self.encode()
        mixed = self.edges.sum(attention, latent @ self.second.T)
        return torch.nn.functional.elu(mixed) @ self.first.T

    def loss(self, epoch: int) -> Any:
        """Mean squared error of the components."""
        return self.x.error(self.rebuild())
