"""Spatial domains by a Gaussian mixture with one covariance for all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import Domains, EmbeddingInputs
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import Params, param
from napari_stomics.core.registry import method
from napari_stomics.metrics.clustering import (
    adjusted_rand_index,
    match_labels,
    normalised_mutual_information,
)

Floats = NDArray[np.floating[Any]]


class GaussianMixtureParams(Params):
    """Parameters of the Gaussian mixture."""

    n_domains: int = param(5, "Domains", "Number of domains.", ge=2, le=100)
    n_neighbours: int = param(
        6,
        "Smoothing neighbours",
        "Spatial neighbours whose embeddings are averaged with the spot's own before "
        "clustering; 0 clusters each spot by itself.",
        ge=0,
        le=100,
    )
    restarts: int = param(
        10,
        "Reruns for stability",
        "Reruns from other random starts; their agreement with the result is each spot's "
        "stability.",
        advanced=True,
        ge=1,
        le=100,
    )
    seed: int = param(0, "Seed", "Seed of the reruns.", advanced=True, ge=0)


@method(
    task="domains",
    name="gmm",
    title="Gaussian mixture",
    summary="Clusters a (spatially smoothed) embedding by a mixture of Gaussians with one "
    "shared covariance, started from Ward clusters.",
    params=GaussianMixtureParams,
    inputs=EmbeddingInputs,
    result=Domains,
    reference="Fraley and Raftery 2002, J Am Stat Assoc 97:611",
)
def find_domains(
    inputs: EmbeddingInputs, params: GaussianMixtureParams, ctx: JobContext
) -> Domains:
    """Find domains and say per spot how sure they are.

    Raises
    ------
    UserError
        If there are too few spots for the number of domains.
    """
    from sklearn.cluster import AgglomerativeClustering, KMeans

    n, k = len(inputs.ids), params.n_domains
    if n < 3 * k:
        raise UserError(
            f"{n} spots are too few for {k} domains.", "Ask for fewer domains, or more spots."
        )
    ctx.step(0.05, "Smoothing over neighbours")
    x = spatial_mean(np.asarray(inputs.values, np.float64), inputs.coordinates, params.n_neighbours)
    ctx.step(0.1, "Ward start")
    some = np.random.default_rng(params.seed).permutation(n)[:5000] if n > 5000 else np.arange(n)
    start = AgglomerativeClustering(k).fit_predict(x[some])
    model = _fit(x, x[some], start)
    probabilities = model.predict_proba(x)
    order = np.argsort(-probabilities.sum(axis=0), kind="stable")
    probabilities = probabilities[:, order]
    codes = probabilities.argmax(axis=1)
    names = tuple(f"D{i + 1}" for i in range(k))
    agree = np.zeros(n)
    for i in range(params.restarts):
        ctx.step(0.3 + 0.7 * i / params.restarts, f"Rerun {i + 1} of {params.restarts}")
        other = KMeans(k, n_init=1, random_state=params.seed + 1 + i).fit_predict(x)
        rerun = _fit(x, x, other).predict(x)
        same = match_labels(codes, rerun)
        agree += np.array([same.get(c, -1) for c in rerun]) == codes
    labels = np.array(names, object)[codes]
    truth = inputs.labels
    if not model.converged_:
        ctx.warn("The Gaussian mixture did not converge; the domains may shift on a rerun.")
    return Domains(
        section=inputs.section,
        ids=inputs.ids,
        labels=labels,
        names=names,
        probabilities=probabilities,
        entropy=_entropy(probabilities),
        stability=agree / params.restarts,
        ari=float("nan") if truth is None else adjusted_rand_index(truth, labels),
        nmi=float("nan") if truth is None else normalised_mutual_information(truth, labels),
        converged=bool(model.converged_),
        sections=inputs.sections,
        of=inputs.of,
    )


def spatial_mean(values: Floats, coordinates: Floats, k: int) -> Floats:
    """(n, d) mean of each spot's values with those of its ``k`` nearest neighbours in space."""
    from scipy.spatial import cKDTree

    k = min(k, len(values) - 1)
    if k < 1:
        return values
    _, near = cKDTree(coordinates).query(coordinates, k=k + 1)
    return np.asarray(values[near].mean(axis=1))


def _fit(x: Floats, seen: Floats, start: NDArray[Any]) -> Any:
    """Fit the mixture from the means of a start partition of ``seen``."""
    from sklearn.mixture import GaussianMixture

    groups = np.unique(start)
    means = np.stack([seen[start == g].mean(axis=0) for g in groups])
    within = sum(np.cov(seen[start == g].T, bias=True) * (start == g).mean() for g in groups)
    ridge = 1e-6 * np.trace(np.atleast_2d(within)) / x.shape[1] + 1e-12
    precision = np.linalg.inv(np.atleast_2d(within) + ridge * np.eye(x.shape[1]))
    model = GaussianMixture(
        len(groups),
        covariance_type="tied",
        means_init=means,
        weights_init=np.array([(start == g).mean() for g in groups]),
        precisions_init=precision,
        reg_covar=ridge,
        max_iter=500,
        random_state=0,
    )
    return model.fit(x)


def _entropy(probabilities: Floats) -> Floats:
    logs = np.log(np.where(probabilities > 0, probabilities, 1.0))
    return np.asarray(
        np.maximum(-(probabilities * logs).sum(axis=1), 0.0) / np.log(probabilities.shape[1])
    )
