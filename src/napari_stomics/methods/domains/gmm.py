"""Spatial domains by the consensus of clusterings that respect the neighbours in space."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import DomainCurve, Domains, EmbeddingInputs
from napari_stomics.core.jobs import JobContext, limited_threads
from napari_stomics.core.params import Params, param
from napari_stomics.core.registry import method
from napari_stomics.methods.domains.members import Space, consensus, run_member, settings
from napari_stomics.methods.domains.number import propose_number
from napari_stomics.methods.domains.spaces import check_embedding, leiden, majority, space_of
from napari_stomics.metrics.clustering import (
    adjusted_rand_index,
    match_labels,
    normalised_mutual_information,
)
from napari_stomics.metrics.uncertainty import normalised_entropy

Floats = NDArray[np.floating[Any]]
Codes = NDArray[np.intp]

_FULL = 20_000
"""Spots up to which all runs of the consensus are made; beyond, fewer in proportion."""


class DomainsParams(Params):
    """Parameters of the domains."""

    n_domains: int = param(
        0,
        "Domains",
        "Number of domains; 0 proposes one from the likelihood (BIC) and the stability of the "
        "mixture.",
        ge=0,
        le=100,
    )
    clustering: Literal["mixture", "kmeans", "leiden"] = param(
        "mixture",
        "Clustering",
        "mixture: Gaussians with one covariance for all. kmeans: round clusters of equal size "
        "in space. leiden: communities of nearest neighbours (needs leidenalg and igraph).",
    )
    refinement: Literal["prior", "majority", "none"] = param(
        "prior",
        "Spatial refinement",
        "prior: neighbours in space are likelier of one domain while it is fitted (not for "
        "leiden, which takes the vote). majority: one vote of the neighbours at the end.",
    )
    prior: float = param(
        3.0,
        "Strength of the prior",
        "Weight of the neighbours' mean posterior in a spot's log-probability.",
        advanced=True,
        ge=0.0,
        le=50.0,
    )
    n_neighbours: int = param(
        6,
        "Neighbours in space",
        "Nearest spots that smoothing, prior and vote look at; 0 leaves space out.",
        advanced=True,
        ge=0,
        le=100,
    )
    smoothing: int = param(
        0,
        "Smoothing steps",
        "Diffusion steps before clustering, for an embedding that was not smoothed.",
        ge=0,
        le=50,
    )
    most_domains: int = param(
        15, "Most domains", "Largest number tried where one is proposed.", advanced=True, ge=2,
        le=40,
    )  # fmt: skip
    members: int = param(
        12,
        "Runs in the consensus",
        "Runs with other components, smoothing and seeds whose consensus is taken; their "
        "agreement is each spot's stability. Fewer are made beyond 20,000 spots.",
        advanced=True,
        ge=1,
        le=30,
    )
    seed: int = param(0, "Seed", "Seed of the samples that the runs start from.", advanced=True,
        ge=0,
    )  # fmt: skip

    @field_validator("n_domains")
    @classmethod
    def _two_or_proposed(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one domain is the whole section; take 2 or more, or 0 to propose")
        return value


@method(
    task="domains",
    name="gmm",
    title="Spatial domains",
    summary="Clusters an embedding by a mixture of Gaussians with one covariance, started from "
    "Ward's clusters, with a spatial prior; the consensus of runs under neighbouring settings.",
    params=DomainsParams,
    inputs=EmbeddingInputs,
    result=Domains,
    reference="Fraley and Raftery 2002, J Am Stat Assoc 97:611; Besag 1986, J R Stat Soc B "
    "48:259; Strehl and Ghosh 2002, J Mach Learn Res 3:583",
)
def find_domains(inputs: EmbeddingInputs, params: DomainsParams, ctx: JobContext) -> Domains:
    """Find domains and say per spot how sure they are.

    Raises
    ------
    UserError
        If the embedding is empty, constant or not finite, there are too few spots for
        the number of domains, or Leiden's packages are missing.
    """
    check_embedding(inputs)
    # One thread: sums over several come in another order, and neighbouring optima swap.
    with limited_threads(1):
        ctx.step(0.0, "Smoothing over neighbours")
        _check_number(len(inputs.ids), max(params.n_domains, 2))
        one = params.members * _FULL < 2 * len(inputs.ids)
        space = space_of(inputs, params.n_neighbours, params.smoothing, 1 if one else 2)
        curve, k = None, params.n_domains
        if not k:
            curve = propose_number(space, params.most_domains, params.seed, ctx.part(0.0, 0.4))
            k = curve.proposed
        part = ctx.part(0.4 if curve else 0.0, 0.9)
        if params.clustering == "leiden":
            runs = [leiden(space.levels[0], k, params.seed, part)]
            k, settled = runs[0].shape[1], True
        else:
            runs, settled = _runs(space, k, params, part)
        probabilities, agree = consensus(runs, k, params.seed)
        rerun = _rerun_ari(runs, k, params.seed, ctx.part(0.9, 1.0))
    if not settled:
        ctx.warn(
            "A run of the clustering stopped before it settled; the domains may shift on a rerun."
        )
    probabilities = _refined(probabilities, space, params)
    sizes = np.bincount(probabilities.argmax(axis=1), minlength=k)
    if not sizes.all():
        ctx.warn(
            f"Only {(sizes > 0).sum()} of {k} domains hold spots: the embedding tells no more "
            "apart. Ask for fewer domains, or lower the strength of the spatial prior."
        )
    order = np.argsort(-sizes, kind="stable")
    names = tuple(f"D{i + 1}" for i in range(k))
    return _result(
        inputs, probabilities[:, order], names, agree, settled, curve=curve, rerun_ari=rerun
    )


def repaint(
    inputs: EmbeddingInputs,
    params: DomainsParams,
    before: Domains | None = None,
    ctx: JobContext | None = None,
) -> Domains:
    """Domains for a slider: one run, from the domains painted before where their number is kept.

    Names (and with them colours) stay with the domains that they overlap most.
    Nothing is rerun: ``stability`` and ``rerun_ari`` are NaN.

    Raises
    ------
    UserError
        As :func:`find_domains`.
    """
    ctx = ctx or JobContext()
    check_embedding(inputs)
    n = len(inputs.ids)
    k = params.n_domains or (len(before.names) if before is not None else 0)
    if not k or params.clustering == "leiden":
        return find_domains(inputs, params, ctx)
    _check_number(n, k)
    start = None
    if before is not None and len(before.ids) == n:
        found, codes = np.unique(before.labels, return_inverse=True)
        start = codes.ravel() if len(found) == k else None
    with limited_threads(1):
        space = space_of(inputs, params.n_neighbours, params.smoothing, 1)
        setting = settings(k, space.levels[0].shape[1], 1, params.seed)[0]
        prior, spherical = _prior(params), params.clustering == "kmeans"
        probabilities, settled = run_member(
            space, k, setting, prior, spherical, ctx, start, starts=1
        )
    probabilities = _refined(probabilities, space, params)
    codes = probabilities.argmax(axis=1)
    order = np.argsort(-np.bincount(codes, minlength=k), kind="stable")
    probabilities = probabilities[:, order]
    names = [f"D{i + 1}" for i in range(k)]
    if before is not None and len(before.ids) == n:
        names = _kept_names(before, probabilities.argmax(axis=1), k)
    return _result(inputs, probabilities, tuple(names), np.full(n, np.nan), settled)


def _check_number(n: int, k: int) -> None:
    if n < 3 * k:
        raise UserError(
            f"{n} spots are too few for {k} domains.", "Ask for fewer domains, or more spots."
        )


def _prior(params: DomainsParams) -> float:
    return params.prior if params.refinement == "prior" and params.n_neighbours else 0.0


def _runs(
    space: Space, k: int, params: DomainsParams, ctx: JobContext
) -> tuple[list[Floats], bool]:
    count = max(1, min(params.members, int(params.members * _FULL / space.n)))
    runs, settled = [], True
    for i, setting in enumerate(settings(k, space.levels[0].shape[1], count, params.seed)):
        ctx.step(i / count, f"Run {i + 1} of {count}")
        found, done = run_member(
            space, k, setting, _prior(params), params.clustering == "kmeans", ctx
        )
        runs.append(found)
        settled &= done
    return runs, settled


def _rerun_ari(runs: list[Floats], k: int, seed: int, ctx: JobContext) -> float:
    """Median adjusted Rand index of the consensuses of two halves of the runs."""
    if len(runs) < 4:
        return float("nan")
    rng, found = np.random.default_rng(seed), []
    for i in range(3):
        ctx.step(i / 3, "Comparing halves of the runs")
        order = rng.permutation(len(runs))
        halves = np.array_split(order, 2)
        a, b = (
            consensus([runs[j] for j in half], k, seed + 1 + i)[0].argmax(axis=1) for half in halves
        )
        found.append(adjusted_rand_index(a, b))
    return float(np.median(found))


def _refined(probabilities: Floats, space: Space, params: DomainsParams) -> Floats:
    """Give spots that the vote moves the mean posterior of their neighbours."""
    vote = params.refinement == "majority" or (
        params.clustering == "leiden" and params.refinement == "prior"
    )
    if not vote or space.near is None:
        return probabilities
    k = probabilities.shape[1]
    codes = probabilities.argmax(axis=1)
    now = majority(codes, space.near, k)
    moved = np.flatnonzero(now != codes)
    out = probabilities.copy()
    around = np.asarray(space.near @ np.eye(k)[codes])[moved]
    out[moved] = 0.5 * around + 0.5 * np.eye(k)[now[moved]]
    return out


def _kept_names(before: Domains, codes: Codes, k: int) -> list[str]:
    """Names of new domains: those of the old ones that they overlap most, fresh ones else."""
    old = np.array([str(name) for name in before.labels], object)
    same = match_labels(old, codes)
    used = set(same.values())
    fresh = (f"D{i}" for i in range(1, 10_000) if f"D{i}" not in used)
    return [str(same[c]) if c in same else next(fresh) for c in range(k)]


def _result(
    inputs: EmbeddingInputs,
    probabilities: Floats,
    names: tuple[str, ...],
    agree: Floats,
    settled: bool,
    curve: DomainCurve | None = None,
    rerun_ari: float = float("nan"),
) -> Domains:
    labels = np.array(names, object)[probabilities.argmax(axis=1)]
    truth = inputs.labels
    return Domains(
        section=inputs.section,
        ids=inputs.ids,
        labels=labels,
        names=names,
        probabilities=probabilities,
        entropy=normalised_entropy(probabilities),
        stability=agree,
        ari=float("nan") if truth is None else adjusted_rand_index(truth, labels),
        nmi=float("nan") if truth is None else normalised_mutual_information(truth, labels),
        converged=settled,
        sections=inputs.sections,
        of=inputs.of,
        curve=curve,
        rerun_ari=rerun_ari,
        embedding=inputs.name,
    )
