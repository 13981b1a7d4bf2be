"""Fusion through a graph in which spots that look alike are near."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import Embedding, FusionInputs
from napari_stomics.core.jobs import JobContext, limited_threads
from napari_stomics.core.params import param
from napari_stomics.core.registry import method
from napari_stomics.methods.fusion.graph import diffuse, walk
from napari_stomics.methods.fusion.nets._clusters import k_means
from napari_stomics.methods.fusion.nets._output import embedding_of, kept_noise, least_squares
from napari_stomics.methods.fusion.nets._sparse import product
from napari_stomics.methods.fusion.nets._train import (
    Joined,
    NetParams,
    Weights,
    principal,
    train,
)
from napari_stomics.methods.fusion.preparation import Prepared, prepare

Floats = NDArray[np.floating[Any]]

_FEW = 1e-3


class ImageGraphParams(NetParams):
    """Parameters of the fusion through a graph of space and image."""

    image_block: bool = param(
        True,
        "Image as a modality",
        "Also average the image's features over the graph, beside the other modalities; without, "
        "the image shapes the graph alone, as in the published method.",
    )
    image_scale: float = param(
        0.3,
        "Scale of the image axis",
        "Spread of the image's look as a third axis, relative to the wider one of space.",
        ge=0,
        le=100,
        step=0.1,
    )
    graph_neighbours: int = param(
        30,
        "Neighbours of the graph",
        "Nearest spots in space and look that a spot can take from; farther ones count nothing.",
        advanced=True,
        ge=1,
        le=500,
    )
    neighbour_share: float = param(
        2.0,
        "Share of the neighbours",
        "Weight of all neighbours relative to the spot's own; sets the length over which the "
        "weights fall.",
        gt=0,
        le=20,
        step=0.1,
    )
    n_clusters: int = param(10, "Clusters", "Clusters that the training sharpens.", ge=2, le=100)
    reconstruction: float = param(
        10.0,
        "Weight of the reconstruction",
        "Weight of the mean squared error of the components, rebuilt from the latent, relative "
        "to the sharpening; 0 sharpens the untrained layer, as the published method does.",
        ge=0,
        le=100,
        step=0.1,
    )
    warm_up: int = param(
        50,
        "Warm-up",
        "Epochs of reconstruction alone before clusters are found.",
        advanced=True,
        ge=0,
        le=10_000,
    )
    sharpen_every: int = param(
        10, "New target every", "Epochs between new sharpened targets.", unit="epochs",
        advanced=True, ge=1, le=10_000,
    )  # fmt: skip


@method(
    task="fusion",
    name="image-graph",
    title="Graph of space and image",
    summary="Averages expression over a graph whose distances add the look of the H&E image to "
    "space, then sharpens clusters of the result.",
    params=ImageGraphParams,
    inputs=FusionInputs,
    result=Embedding,
    reference="after SpaGCN: Hu et al. 2021, Nat Methods 18:1342; clustering objective: "
    "Xie et al. 2016, ICML",
)
def fuse_image_graph(inputs: FusionInputs, params: ImageGraphParams, ctx: JobContext) -> Embedding:
    """Fuse the image with the other modalities through the graph.

    Without an image the graph knows space alone, which is said in a warning.

    Raises
    ------
    UserError
        If there is nothing but images, a modality cannot be prepared, or the training diverges.
    """
    import torch

    prepared = prepare(inputs, params, ctx.part(0.0, 0.2))
    images = [i for i, kind in enumerate(prepared.kinds) if kind == "image"]
    others = [i for i, kind in enumerate(prepared.kinds) if kind != "image"]
    if not others:
        raise UserError(
            "Only the image is selected, and the graph is there to average something else.",
            "Add a table, such as RNA.",
        )
    if not images:
        ctx.warn("There is no image: the graph is made of space alone.")
    with limited_threads(1):
        look = image_axis(prepared, images)
        graph, length = look_graph(inputs, look, params, ctx)
        taken = sorted(others + images) if params.image_block else others
        net = _ImageGraph(prepared, taken, graph, params, ctx)
        done = train(net.weights, net.loss, params, ctx.part(0.2, 1.0), stop=net.settled)
        with torch.no_grad():
            latent = net.encode()
            if params.reconstruction:
                rebuilt = net.x.split(latent @ net.back)
            else:
                rebuilt = least_squares(latent.numpy(), prepared, taken)
        return embedding_of(
            inputs, prepared, params, rebuilt, done, ctx, kept=kept_noise(graph, params.hops),
            settings={"graph_length_um": length},
        )  # fmt: skip


def image_axis(prepared: Prepared, images: list[int]) -> Floats | None:
    """(n,) look of each spot: the main component of the images' features, as z-scores.

    Spots without an image have 0, the mean look. None where there is no image.
    """
    if not images:
        return None
    here = np.asarray(prepared.present[:, images].any(axis=1))
    joined = np.hstack([prepared.scores[i] for i in images])[here]
    main = principal(joined, 1)[0][:, 0].astype(np.float64)
    out = np.zeros((len(here), 1))
    out[here, 0] = main
    # A window wider than a spot: the look of one patch is too noisy to be a distance.
    out[here] = diffuse(walk(prepared.graph[here][:, here]), out[here], 1)
    return np.asarray(out[:, 0] / max(out[here].std(), 1e-12))


def look_graph(
    inputs: FusionInputs, look: Floats | None, params: ImageGraphParams, ctx: JobContext
) -> tuple[Any, float]:
    """Weights ``exp(-d² / 2 l²)`` to the nearest spots in space and look, by section.

    The length l is chosen so that the neighbours' weights sum to the wanted share
    of the spot's own, which is 1, on average.

    Returns
    -------
    graph
        (n, n) row-stochastic float32 CSR array, the spot itself included.
    length
        The length l in micrometres.
    """
    from scipy import sparse
    from scipy.spatial import cKDTree

    near: list[tuple[Any, Any, Any]] = []
    for s in range(len(inputs.sections)):
        ctx.step(message="Graph of space and image")
        rows = np.flatnonzero(inputs.of == s)
        points = np.asarray(inputs.coordinates[rows], np.float64)
        if look is not None:
            scale = params.image_scale * points.std(axis=0).max()
            points = np.column_stack([points, scale * look[rows]])
        k = min(params.graph_neighbours, len(rows) - 1)
        if k > 0:
            distance, column = cKDTree(points).query(points, k=k + 1)
            near.append((np.repeat(rows, k + 1), rows[column.ravel()], np.ravel(distance)))
    left, right, distance = (np.concatenate(part) for part in zip(*near, strict=True))
    other = left != right
    left, right, square = left[other], right[other], distance[other] ** 2
    length = _length(square, inputs.n, params.neighbour_share)
    weight = np.exp(-square / (2 * length**2))
    graph = sparse.csr_array((weight, (left, right)), shape=(inputs.n, inputs.n))
    graph = sparse.csr_array(graph + sparse.eye_array(inputs.n, format="csr"))
    total = graph @ np.ones(inputs.n)
    return sparse.csr_array(sparse.diags_array(1 / total) @ graph).astype(np.float32), length


def _length(square: Floats, n: int, wanted: float) -> float:
    """Length at which the weights sum to a share of n, by bisection of its logarithm."""
    # Truncated weights cannot sum to more than the number of neighbours.
    wanted = min(wanted, 0.9 * len(square) / n)
    scale = max(float(np.sqrt(np.median(square))), 1e-9)
    low, high = 1e-3 * scale, 1e3 * scale
    for _ in range(50):
        middle = float(np.sqrt(low * high))
        if np.exp(-square / (2 * middle**2)).sum() / n < wanted:
            low = middle
        else:
            high = middle
    return high


class _ImageGraph:
    """One graph layer, and clusters in its latent that are sharpened."""

    def __init__(
        self,
        prepared: Prepared,
        taken: list[int],
        graph: Any,
        params: ImageGraphParams,
        ctx: JobContext,
    ) -> None:

        self.params, self.ctx = params, ctx
        self.warm_up = min(params.warm_up, params.epochs // 3) if params.reconstruction else 0
        self.weights = make = Weights(params.seed)
        self.x = Joined(prepared, taken)
        self.around = product(graph, ctx, params.hops)
        n, width = self.x.values.shape
        self.layer = make.glorot(width, params.n_latent)
        self.bias = make.zeros(params.n_latent)
        self.back = make.glorot(params.n_latent, width)
        self.centres = make.zeros(min(params.n_clusters, n), params.n_latent)
        self.target: Any = None
        self.labels: Any = None
        self.width = 1.0
        self.moved = 1.0

    def settled(self) -> bool:
        """Whether fewer than one spot in a thousand changed cluster between two targets."""
        return self.moved < _FEW

    def encode(self) -> Any:
        """(n, k) latent."""
        return self.around(self.x.values @ self.layer) + self.bias

    def loss(self, epoch: int) -> Any:
        """Reconstruction, and after the warm-up the divergence from sharpened clusters."""
        latent = self.encode()
        total: Any = 0.0
        if self.params.reconstruction:
            total = self.params.reconstruction * self.x.error(latent @ self.back)
        if epoch < self.warm_up:
            return total
        if epoch == self.warm_up:
            self._find_centres(latent)
        return total + self._divergence(latent, (epoch - self.warm_up) % self.params.sharpen_every)

    def _find_centres(self, latent: Any) -> None:
        """Start the clusters from k-means."""
        import torch

        x = latent.detach().numpy()
        centres = k_means(x, len(self.centres), self.params.seed, self.ctx)[1]
        with torch.no_grad():
            self.centres[: len(centres)] = torch.from_numpy(centres.astype(np.float32))
            near = torch.cdist(latent.detach(), self.centres).square().min(1).values
            self.width = float(near.mean().clamp_min(1e-12))

    def _divergence(self, latent: Any, age: int) -> Any:
        """Divergence of soft memberships from their sharpened target, renewed at age 0."""
        import torch

        square = torch.cdist(latent, self.centres).square()
        soft = 1 / (1 + square / self.width)
        soft = soft / soft.sum(1, keepdim=True)
        if age == 0:
            sharp = soft.detach() ** 2 / soft.detach().sum(0)
            self.target = sharp / sharp.sum(1, keepdim=True)
            labels = soft.argmax(1)
            if self.labels is not None:
                self.moved = float((labels != self.labels).float().mean())
            self.labels = labels
        logs = torch.log(self.target.clamp_min(1e-12)) - torch.log(soft.clamp_min(1e-12))
        return (self.target * logs).sum(1).mean()
