"""Late fusion: each modality is clustered by itself, and the answers are brought together."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import Embedding, FusionInputs
from napari_stomics.core.jobs import JobContext, limited_threads
from napari_stomics.core.params import param
from napari_stomics.core.registry import method
from napari_stomics.methods.fusion.batch import BatchParams
from napari_stomics.methods.fusion.blocks import joint_components, read_weights
from napari_stomics.methods.fusion.graph import diffuse, walk
from napari_stomics.methods.fusion.preparation import PreparationParams, Prepared, prepare
from napari_stomics.methods.fusion.result import finish

Array = NDArray[Any]
Floats = NDArray[np.floating[Any]]

_WARD_SPOTS = 2_000
_ITERATIONS = 300
_ITERATIONS_AT_A_TIME = 10
_ROUNDS = 20
_MOST_CLUSTERS = 12


class LateParams(PreparationParams, BatchParams):
    """Parameters of the late fusion."""

    rule: Literal["consensus", "average"] = param(
        "consensus",
        "Rule",
        "consensus: the posteriors of all modalities side by side, so that clusters that only one "
        "of them tells apart stay apart. average: the mean posterior after the clusters of the "
        "modalities are matched, for modalities that see the same domains.",
    )
    n_clusters: int | None = param(
        None,
        "Clusters per modality",
        "Number of clusters of each modality. Unticked: for each the number of lowest BIC, up to "
        "12; for the average, the largest of these for all.",
        ge=2,
        le=100,
    )
    steps: int = param(
        2,
        "Smoothing steps",
        "Diffusion steps of the posteriors on the spatial graph: clusters of noise, which "
        "neighbours do not share, fade.",
        ge=0,
        le=50,
    )
    weights: str = param(
        "",
        "Weights",
        'Weight of each modality, for instance "rna=1, protein=0.5". Empty: all alike.',
    )
    n_leading: int = param(
        5,
        "Components clustered",
        "Leading components of each modality that its clustering sees.",
        advanced=True,
        ge=1,
        le=200,
    )


@method(
    task="fusion",
    name="late",
    title="Late fusion",
    summary="Clusters each modality by itself and brings the posteriors together: side by side "
    "(consensus), or averaged after the clusters are matched. Spots are judged by the modalities "
    "they have.",
    params=LateParams,
    inputs=FusionInputs,
    result=Embedding,
    reference="Strehl and Ghosh 2002, J Mach Learn Res 3:583; late fusion as defined by "
    "Isik et al. 2026",
)
def fuse_late(inputs: FusionInputs, params: LateParams, ctx: JobContext) -> Embedding:
    """Fuse the clusters of the modalities into a consensus space, for domains to run on.

    Raises
    ------
    UserError
        If there are too few spots for the clusters, the modalities cannot be prepared,
        or the weights cannot be read.
    """
    prepared = prepare(inputs, params, ctx.part(0.0, 0.4))
    given = read_weights(params.weights, prepared.names) or {}
    share = np.array([given.get(name, 1.0) for name in prepared.names])
    share = share / share.sum()
    with limited_threads(1):
        posteriors = _posteriors(prepared, params, ctx.part(0.4, 0.8))
        ctx.step(0.8, "Bringing the clusters together")
        step = walk(prepared.graph)
        spot = spot_shares(prepared.present, share)
        smooth = [
            _diffused(step, p, prepared.present[:, m], params.steps)
            for m, p in enumerate(posteriors)
        ]
        if params.rule == "average":
            values = averaged(smooth, prepared.present, share)
            explained: Floats = np.zeros(0)
        else:
            values, explained = consensus(smooth, prepared.present, share)
        ctx.step(0.95, "Comparing the modalities")
        return finish(
            inputs,
            values,
            prepared.names,
            smooth,
            prepared.present,
            explained=explained,
            weights={n: float(w) for n, w in zip(prepared.names, share, strict=True)},
            spot_weights=spot.astype(np.float32),
            ctx=ctx,
            batch=params.batch,
            seed=params.seed,
            settings={
                "rule": params.rule,
                "clusters": [int(p.shape[1]) for p in posteriors],
                "steps": params.steps,
            },
        )


def _posteriors(prepared: Prepared, params: LateParams, ctx: JobContext) -> list[Floats]:
    """Per modality (n, c) posteriors of its own clusters; rows of zeros where it is missing."""
    leading = []
    for m, name in enumerate(prepared.names):
        rows = np.flatnonzero(prepared.present[:, m])
        least = 3 * (params.n_clusters or 2)
        if len(rows) < least:
            raise UserError(
                f"{len(rows)} spots of the modality {name!r} are too few for "
                f"{params.n_clusters or 2} clusters.",
                "Ask for fewer clusters, or leave the modality out.",
            )
        leading.append(np.asarray(prepared.scores[m][rows, : params.n_leading], np.float64))
    counts = [params.n_clusters or 0] * len(leading)
    if params.n_clusters is None:
        for m, x in enumerate(leading):
            ctx.step(0.5 * m / len(leading), f"Number of clusters of {prepared.names[m]}")
            counts[m] = likely_count(x, params.seed, ctx)
        if params.rule == "average":
            counts = [max(counts)] * len(counts)
    out = []
    for m, x in enumerate(leading):
        ctx.step(0.5 + 0.5 * m / len(leading), f"Clusters of {prepared.names[m]}")
        found = np.zeros((len(prepared.present), counts[m]), np.float32)
        found[prepared.present[:, m]] = fit_clusters(x, counts[m], params.seed, ctx=ctx)[0]
        out.append(found)
    return out


def likely_count(x: Floats, seed: int = 0, ctx: JobContext | None = None) -> int:
    """Return the number of clusters, up to 12, of lowest BIC on at most 2,000 spots."""
    ctx = ctx or JobContext()
    some = _sample(x, seed)
    scores = []
    tree = ward_tree(some)
    for count in range(2, min(_MOST_CLUSTERS, len(some) // 3) + 1):
        ctx.step()
        scores.append(fit_clusters(some, count, seed, tree, ctx)[1])
    return 2 + int(np.argmin(scores))


def _sample(x: Floats, seed: int) -> Floats:
    if len(x) <= _WARD_SPOTS:
        return x
    return x[np.sort(np.random.default_rng(seed).permutation(len(x))[:_WARD_SPOTS])]


def ward_tree(x: Floats) -> Array:
    """Ward's tree of at most 2,000 spots, as scipy writes it."""
    from scipy.cluster.hierarchy import linkage

    return np.asarray(linkage(x, "ward"))


def fit_clusters(
    x: Floats,
    count: int,
    seed: int = 0,
    tree: Array | None = None,
    ctx: JobContext | None = None,
) -> tuple[Floats, float]:
    """Fit a Gaussian mixture with one covariance, started from Ward's clusters.

    Parameters
    ----------
    x
        (m, d) values.
    count
        Number of clusters.
    seed
        Seed of the choice of the 2,000 spots on which Ward's tree is built beyond that many.
    tree
        Ward's tree of these spots, where it is there already.
    ctx
        Asked every few iterations.

    Returns
    -------
    posteriors
        (m, c) probabilities.
    bic
        Bayesian information criterion, lower is better.
    """
    from scipy.cluster.hierarchy import fcluster
    from sklearn.mixture import GaussianMixture

    some = _sample(x, seed)
    groups, start = np.unique(
        fcluster(ward_tree(some) if tree is None else tree, count, "maxclust"),
        return_inverse=True,
    )
    means = np.stack([some[start == g].mean(axis=0) for g in range(len(groups))])
    rest = some - means[start]
    ridge = 1e-6 * float((some**2).mean()) + 1e-12
    within = rest.T @ rest / len(rest) + ridge * np.eye(x.shape[1])
    model: Any = GaussianMixture(
        len(groups),
        covariance_type="tied",
        means_init=means,
        weights_init=np.bincount(start) / len(start),
        precisions_init=np.linalg.inv(within),
        reg_covar=ridge,
        max_iter=_ITERATIONS_AT_A_TIME,
        warm_start=True,
        random_state=seed,
    )
    _fit(model, x, ctx or JobContext())
    out = np.zeros((len(x), count))
    out[:, : len(groups)] = model.predict_proba(x)
    return out, float(model.bic(x))


def _fit(model: Any, x: Floats, ctx: JobContext) -> None:
    """Fit a mixture a few iterations at a time, so that a cancelled job ends between them."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    for _ in range(_ITERATIONS // _ITERATIONS_AT_A_TIME):
        ctx.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x)
        if model.converged_:
            return


def _diffused(step: Any, p: Floats, has: NDArray[np.bool_], steps: int) -> Floats:
    """Posteriors after diffusion among the spots that have the modality; zero elsewhere."""
    moved = diffuse(step, p, steps)
    mass = moved.sum(axis=1, keepdims=True)
    moved = np.divide(moved, mass, out=np.zeros_like(moved), where=mass > 0)
    return np.where(has[:, None], moved, 0.0).astype(np.float32)


def spot_shares(present: NDArray[np.bool_], share: Floats) -> Floats:
    """(n, M) weights of the modalities that each spot has, rows summing to 1."""
    own = np.where(present, share, 0.0)
    sums = own.sum(axis=1, keepdims=True)
    even = np.where(present.any(axis=1, keepdims=True), present, True)
    own = np.where(sums > 0, own, even)
    return np.asarray(own / own.sum(axis=1, keepdims=True))


def consensus(
    posteriors: list[Floats], present: NDArray[np.bool_], share: Floats
) -> tuple[Floats, Floats]:
    """Principal components of the weighted posteriors side by side.

    Two spots are near where the modalities put them into the same clusters: their
    product is the weighted share of modalities that agree on them. At a spot that
    lacks a modality its posterior is what the clusters of the others there make
    likely, as counted on the spots that have both.

    Returns
    -------
    values
        (n, k) float32, as many as carry any variance.
    explained
        (k,) share of the variance.
    """
    filled = [_expected(posteriors, present, share, m) for m in range(len(posteriors))]
    joined = np.hstack([np.sqrt(w) * p for w, p in zip(share, filled, strict=True) if w > 0])
    values, explained, _ = joint_components(joined.astype(np.float32), joined.shape[1])
    kept = explained > 1e-6
    return values[:, kept], explained[kept]


def _expected(
    posteriors: list[Floats], present: NDArray[np.bool_], share: Floats, m: int
) -> Floats:
    """Posterior of a modality, at spots that lack it as the others' clusters make likely."""
    out = np.array(posteriors[m], np.float64)
    lacking = np.flatnonzero(~present[:, m])
    if not len(lacking):
        return out
    total = np.zeros((len(lacking), out.shape[1]))
    mass = np.zeros(len(lacking))
    for o, other in enumerate(posteriors):
        both = present[:, m] & present[:, o]
        if o == m or not both.any():
            continue
        # Rows: how spots of each cluster of the other modality fall into this one's.
        table = other[both].T.astype(np.float64) @ out[both] + 1e-9
        table /= table.sum(axis=1, keepdims=True)
        has = present[lacking, o]
        weight = max(float(share[o]), 1e-6)
        total[has] += weight * (other[lacking[has]] @ table)
        mass[has] += weight
    usual = out[present[:, m]].mean(axis=0)
    out[lacking] = np.where(mass[:, None] > 0, total / np.maximum(mass, 1e-12)[:, None], usual)
    return out


def averaged(posteriors: list[Floats], present: NDArray[np.bool_], share: Floats) -> Floats:
    """(n, c) weighted mean posterior after each modality's clusters are matched to the mean's.

    Clusters are matched one to one so that the overlap with the mean of the others is
    largest (Hungarian method), in turn until nothing changes; the modality of
    largest weight gives the first order.
    """
    from scipy.optimize import linear_sum_assignment

    order = np.argsort(-share, kind="stable")
    placed = [np.array(p, np.float64) for p in posteriors]
    known = [int(order[0])]
    for turn in range(_ROUNDS):
        changed = False
        for m in order[1:] if turn == 0 else order:
            others = [o for o in known if o != m]
            if not others:
                continue
            goal: Any = sum((share[o] + 1e-6) * placed[o] for o in others)
            overlap = placed[m].T @ goal
            rows, columns = linear_sum_assignment(-overlap)
            if not np.array_equal(rows, columns):
                changed = True
                moved = np.empty_like(placed[m])
                moved[:, columns] = placed[m][:, rows]
                placed[m] = moved
            if m not in known:
                known.append(int(m))
        if turn and not changed:
            break
    spot = spot_shares(present, share)
    return np.asarray(sum(spot[:, [m]] * p for m, p in enumerate(placed)), np.float32)
