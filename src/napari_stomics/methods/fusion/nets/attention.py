"""Fusion by attention within and across modalities."""

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
from napari_stomics.methods.fusion.nets._sparse import feature_graph, normalised, product
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


class AttentionParams(NetParams):
    """Parameters of the fusion by attention."""

    feature_neighbours: int = param(
        20,
        "Neighbours in features",
        "Spots of most similar scores that the feature graph of each modality joins.",
        advanced=True,
        ge=1,
        le=200,
    )
    correspondence: float = param(
        0.1,
        "Weight of the correspondence",
        "Weight of the loss that carries each modality through the others and back, relative to "
        "the reconstruction. A large one leaves only what the modalities share.",
        ge=0,
        le=100,
        step=0.1,
    )


@method(
    task="fusion",
    name="attention",
    title="Dual attention",
    summary="Graph encoders on a spatial and a feature graph per modality; attention weighs the "
    "two graphs, then the modalities, at every spot. Any number of modalities.",
    params=AttentionParams,
    inputs=FusionInputs,
    result=Embedding,
    reference="after SpatialGlue: Long et al. 2024, Nat Methods 21:1658",
)
def fuse_attention(inputs: FusionInputs, params: AttentionParams, ctx: JobContext) -> Embedding:
    """Fuse modalities by attention; ``spot_weights`` is the attention across modalities.

    Raises
    ------
    UserError
        If a modality cannot be prepared, or the training diverges.
    """
    import torch

    prepared = prepare(inputs, params, ctx.part(0.0, 0.2))
    with limited_threads(1):
        net = _Attention(prepared, params, ctx.part(0.2, 0.3))
        done = train(net.weights, net.loss, params, ctx.part(0.3, 1.0))
        with torch.no_grad():
            joint, _, attention = net.encode()
            rebuilt = {i: part.numpy() for i, part in enumerate(net.rebuild(joint))}
        spot_weights = attention.numpy()
        mean = spot_weights.mean(axis=0, dtype=np.float64)
        weights = dict(zip(prepared.names, map(float, mean), strict=True))
        return embedding_of(
            inputs, prepared, params, rebuilt, done, ctx,
            kept=kept_noise(walk(prepared.graph), params.hops + 1),
            spot_weights=spot_weights, weights=weights,
        )  # fmt: skip


class _Attention:
    """Linear graph encoders, two levels of attention, linear graph decoders."""

    def __init__(self, prepared: Prepared, params: AttentionParams, ctx: JobContext) -> None:
        import torch

        self.params = params
        self.present = torch.from_numpy(prepared.present)
        self.weights = make = Weights(params.seed)
        self.x, self.rows, self.space, self.alike = [], [], [], []
        self.encoders, self.decoders, self.within = [], [], []
        for i, x in enumerate(unit_energy(prepared)):
            here = prepared.present[:, i]
            self.x.append(torch.from_numpy(x))
            self.rows.append(share(here))
            self.space.append(product(normalised(prepared.graph, here), ctx, params.hops))
            near = feature_graph(x, here, params.feature_neighbours, ctx)
            self.alike.append(product(normalised(near), ctx))
            self.encoders.append(make.glorot(x.shape[1], params.n_latent))
            self.decoders.append(make.glorot(params.n_latent, x.shape[1]))
            self.within.append(_Head(make, params.n_latent))
        self.across = _Head(make, params.n_latent)
        self.joined = product(normalised(prepared.graph), ctx)

    def encode(self) -> tuple[Any, list[Any], Any]:
        """(n, k) joint latent, the modalities' own, and the (n, m) attention across them."""
        import torch

        own = []
        for x, space, alike, encoder, head in zip(
            self.x, self.space, self.alike, self.encoders, self.within, strict=True
        ):
            projected = x @ encoder
            views = torch.stack([space(projected), alike(projected)], 1)
            own.append((head(views)[:, :, None] * views).sum(1))
        stacked = torch.stack(own, 1)
        attention = self.across(stacked, self.present)
        return (attention[:, :, None] * stacked).sum(1), own, attention

    def rebuild(self, joint: Any) -> list[Any]:
        """(n, d) components of each modality from the joint latent."""
        return [self.joined(joint @ decoder) for decoder in self.decoders]

    def loss(self, epoch: int) -> Any:
        """Reconstruction of every modality, and of its latent through the others."""
        joint, own, _ = self.encode()
        total = sum(map(squared_error, self.rebuild(joint), self.x, self.rows))
        count = len(self.x)
        for i in range(count if self.params.correspondence and count > 1 else 0):
            for j in range(count):
                if i != j:
                    there = self.joined(own[i] @ self.decoders[j])
                    back = self.joined(there @ self.encoders[j])
                    error = squared_error(back, own[i], self.rows[i])
                    total = total + self.params.correspondence / (count - 1) * error
        return total


class _Head:
    """Attention over a few views of each spot: softmax of ``u . tanh(W h + b)``."""

    def __init__(self, make: Weights, width: int) -> None:
        self.w = make.glorot(width, width)
        self.b = make.zeros(width)
        self.u = make.glorot(width, 1)

    def __call__(self, views: Any, present: Any = None) -> Any:
        """(n, v) weights of (n, v, k) views, zero where a view is absent; rows sum to 1."""
        import torch

        logits = (torch.tanh(views @ self.w + self.b) @ self.u)[:, :, 0]
        if present is not None:
            # A spot without any modality has no view to attend to: it counts all as present.
            absent = ~present & present.any(dim=1, keepdim=True)
            logits = logits.masked_fill(absent, -torch.inf)
        return torch.softmax(logits, dim=1)
