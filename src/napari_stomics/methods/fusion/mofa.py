"""Factor analysis of several modalities by the library mofapy2, where it is installed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import Block, Embedding, FusionInputs, Loadings
from napari_stomics.core.jobs import JobContext, limited_threads
from napari_stomics.core.params import param
from napari_stomics.core.registry import method
from napari_stomics.methods.fusion.batch import BatchParams
from napari_stomics.methods.fusion.components import Features
from napari_stomics.methods.fusion.features import features_of, image_block, measured
from napari_stomics.methods.fusion.graph import diffuse, walk
from napari_stomics.methods.fusion.preparation import PreparationParams, cached_graph, check_blocks
from napari_stomics.methods.fusion.result import finish

Array = NDArray[Any]
Floats = NDArray[np.floating[Any]]

_LENGTHS_TRIED = 10
_APART = 20.0


class MofaParams(PreparationParams, BatchParams):
    """Parameters of the factor analysis; the library's options, by name."""

    n_factors: int = param(
        10, "Factors", "Number of factors at the start; those that explain nothing shrink to 0.",
        ge=1, le=100,
    )  # fmt: skip
    spatial: bool = param(
        False,
        "Smooth in space (MEFISTO)",
        "Give each factor a Gaussian process over the coordinates, whose length is found from the "
        "data. Takes minutes.",
    )
    steps: int = param(
        2, "Smoothing steps", "Diffusion steps of the factors on the spatial graph after the fit.",
        ge=0, le=50,
    )  # fmt: skip
    n_features: int = param(
        1000, "Features kept", "How many features of each modality are modelled.", advanced=True,
        ge=2, le=50_000,
    )  # fmt: skip
    iterations: int = param(
        300, "Iterations", "Most iterations; with the spatial prior 50 mostly do.", advanced=True,
        ge=5, le=10_000,
    )  # fmt: skip
    sparse_weights: bool = param(
        False,
        "Sparse weights",
        "Spike-and-slab prior on the weights, the library's default: clearer lists of features, "
        "but weak factors may vanish altogether.",
        advanced=True,
    )
    inducing: int = param(
        200,
        "Inducing points",
        "Spots that carry the Gaussian processes where there are more of them.",
        advanced=True,
        ge=10,
        le=5_000,
    )
    optimise_every: int = param(
        10,
        "Lengths found every",
        "Iterations between two searches for the lengths of the Gaussian processes.",
        advanced=True,
        ge=1,
        le=1000,
    )


@dataclass(frozen=True)
class MofaFit:
    """What the library found.

    Attributes
    ----------
    factors
        (n, k).
    weights
        Per modality (g, k).
    explained
        (M, k) share of each modality's variance.
    bound
        Lower bound of the evidence where it was computed: rises.
    lengths
        (k,) lengths of the Gaussian processes, micrometres; empty without.
    """

    factors: Floats
    weights: tuple[Floats, ...]
    explained: Floats
    bound: tuple[float, ...]
    lengths: Floats


@method(
    task="fusion",
    name="mofa",
    title="MOFA (library)",
    summary="Bayesian factor analysis: factors shared by all modalities or active in some alone, "
    "with sparse weights; smooth in space as MEFISTO. Needs the extra 'mofa'.",
    params=MofaParams,
    inputs=FusionInputs,
    result=Embedding,
    reference="Argelaguet et al. 2020, Genome Biol 21:111; Velten et al. 2022, "
    "Nat Methods 19:179 (MEFISTO)",
)
def fuse_mofa(inputs: FusionInputs, params: MofaParams, ctx: JobContext) -> Embedding:
    """Fuse by the library's factor analysis.

    Features are centred within each section, as the library does with groups.
    With the spatial prior, sections that are not registered lie far apart, so that
    each has a pattern of its own.

    Raises
    ------
    UserError
        If the library is not installed, or the modalities cannot be prepared.
    """
    make = _library()
    blocks = _checked(inputs, params, ctx)
    graph = cached_graph(inputs, params.neighbours)
    found: list[Features] = []
    present = np.zeros((inputs.n, len(blocks)), bool)
    for i, block in enumerate(blocks):
        ctx.step(0.1 + 0.1 * i / len(blocks), f"Features of {block.name}")
        near = graph if len(block.rows) == inputs.n else graph[block.rows][:, block.rows]
        found.append(features_of(block, inputs.of[block.rows], near, params))
        present[block.rows, i] = True
    names = tuple(block.name for block in blocks)
    where = side_by_side(inputs) if params.spatial else None
    with limited_threads(max(ctx.threads, 1)):
        fit = _fitted(make, names, found, present, where, params, ctx.part(0.2, 0.95))
    if not np.abs(fit.factors).max() > 0:
        raise UserError(
            "The model found no factor: it takes all that varies for noise.",
            "Untick the sparse weights, keep more features, or use another fusion.",
        )
    step = walk(graph)
    own = [diffuse(step, scores, params.steps) for scores in _own_scores(found, present, fit)]
    settings: dict[str, Any] = {
        "factors": int(fit.factors.shape[1]),
        "explained": {
            n: round(float(r.sum()), 4) for n, r in zip(names, fit.explained, strict=True)
        },
    }
    if len(fit.lengths):
        settings["lengths_um"] = [round(float(length), 1) for length in fit.lengths]
    ctx.step(0.97, "Comparing the modalities")
    return finish(
        inputs,
        diffuse(step, fit.factors.astype(np.float32), params.steps),
        names,
        own,
        present,
        explained=fit.explained.mean(axis=0),
        loadings={
            name: Loadings(features.names, weights.T.astype(np.float32))
            for name, features, weights in zip(names, found, fit.weights, strict=True)
        },
        batch=params.batch,
        seed=params.seed,
        objective=fit.bound,
        settings=settings,
    )


def _checked(inputs: FusionInputs, params: MofaParams, ctx: JobContext) -> list[Block]:
    """Return the modalities, the image among them; refuse what cannot be factored."""
    blocks = [measured(block) for block in inputs.blocks]
    if any(spots is not None for spots in inputs.histology):
        blocks.append(image_block(inputs, ctx.part(0.0, 0.1)))
    check_blocks(inputs.n, blocks)
    if params.n_factors >= inputs.n:
        raise UserError(
            f"{inputs.n} spots are too few for {params.n_factors} factors.",
            "Ask for fewer factors than spots.",
        )
    return blocks


def _own_scores(
    found: list[Features], present: NDArray[np.bool_], fit: MofaFit
) -> Iterator[Floats]:
    """Per modality (n, k) what its features alone say of the factors; zeros where it is missing."""
    for m, (features, weights) in enumerate(zip(found, fit.weights, strict=True)):
        scores = np.zeros((len(present), weights.shape[1]), np.float32)
        scores[present[:, m]] = features.dense() @ weights.astype(np.float32)
        yield scores


def _library() -> Callable[[], Any]:
    try:
        from mofapy2.run.entry_point import entry_point
    except ImportError as error:
        raise UserError(
            "MOFA needs the library mofapy2, which is not installed.",
            "Install it with: pip install napari-stomics[mofa], or choose the joint NMF, which "
            "also gives factors and needs nothing.",
        ) from error
    return entry_point  # type: ignore[no-any-return]


def side_by_side(inputs: FusionInputs) -> Floats:
    """(n, 2) coordinates in a common frame, or sections 20 widths apart where there is none."""
    if inputs.placed is not None and np.isfinite(inputs.placed).all():
        return np.asarray(inputs.placed, np.float64)
    out = np.array(inputs.coordinates, np.float64)
    width = max(float(np.ptp(out, axis=0).max()), 1.0)
    for section in range(len(inputs.sections)):
        rows = inputs.of == section
        out[rows] -= out[rows].mean(axis=0)
        out[rows, 0] += section * _APART * width
    return out


def _fitted(
    make: Callable[[], Any],
    names: tuple[str, ...],
    found: list[Features],
    present: NDArray[np.bool_],
    where: Floats | None,
    params: MofaParams,
    ctx: JobContext,
) -> MofaFit:
    n = len(present)
    data = []
    for m, features in enumerate(found):
        x = np.full((n, len(features.names)), np.nan)
        x[present[:, m]] = features.dense()
        data.append([x])
    # The library prints; standard output belongs to whoever asked for an answer.
    with contextlib.redirect_stdout(sys.stderr):
        model = make()
        model.set_data_options(scale_views=True)
        model.set_data_matrix(
            data,
            likelihoods=["gaussian"] * len(found),
            views_names=list(names),
            groups_names=["all"],
            samples_names=[[str(i) for i in range(n)]],
            features_names=[[f"{name}: {f}" for f in features.names]
                            for name, features in zip(names, found, strict=True)],
        )  # fmt: skip
        model.set_model_options(factors=params.n_factors, spikeslab_weights=params.sparse_weights)
        model.set_train_options(
            iter=params.iterations, convergence_mode="fast", seed=params.seed, quiet=True
        )
        if where is not None:
            _set_space(model, where, params)
        model.build()
        _listen(model, params.iterations, ctx)
        model.run()
    return _read(model, len(found))


def _set_space(model: Any, where: Floats, params: MofaParams) -> None:
    sparse: dict[str, Any] = {}
    if len(where) > params.inducing:
        sparse = {"sparseGP": True, "frac_inducing": params.inducing / len(where)}
    model.set_covariates([where], covariates_names=["x", "y"])
    model.set_smooth_options(
        start_opt=params.optimise_every,
        opt_freq=params.optimise_every,
        n_grid=_LENGTHS_TRIED,
        **sparse,
    )


def _listen(model: Any, iterations: int, ctx: JobContext) -> None:
    """Hear of progress and pass on cancelling: each node's update says that it has come."""
    done = [0]

    def heard(update: Callable[..., Any], last: bool) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            ctx.step(min(done[0] / iterations, 1.0), f"Iteration {done[0] + 1}")
            done[0] += last
            return update(*args, **kwargs)

        return run

    for name, node in model.model.nodes.items():
        if hasattr(node, "update"):
            node.update = heard(node.update, name == "Z")


def _read(model: Any, modalities: int) -> MofaFit:
    nodes = model.model.nodes
    factors = np.asarray(nodes["Z"].getExpectation(), np.float64)
    weights = tuple(np.asarray(w, np.float64) for w in nodes["W"].getExpectation())
    explained = np.asarray(model.model.calculate_variance_explained()[0], np.float64)
    stats = model.model.getTrainingStats()
    bound = np.asarray(stats["elbo"], np.float64)
    lengths = np.asarray(stats.get("length_scales", ()), np.float64)
    return MofaFit(
        factors,
        weights,
        np.clip(np.nan_to_num(explained.reshape(modalities, -1)), 0, 1),
        tuple(float(b) for b in bound[np.isfinite(bound)]),
        lengths,
    )
