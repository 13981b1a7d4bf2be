"""Domains renamed, recoloured, merged and split by hand, each edit a step of its own."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import DomainInputs, Domains
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import Params, param
from napari_stomics.core.registry import method
from napari_stomics.metrics.clustering import (
    adjusted_rand_index,
    match_labels,
    normalised_mutual_information,
)
from napari_stomics.metrics.uncertainty import normalised_entropy

Floats = NDArray[np.floating[Any]]
Codes = NDArray[np.intp]

_RERUNS = 10
_COLOUR = re.compile("#[0-9a-f]{6}")
_TOUCHING = 1.5


class EditParams(Params):
    """What is to be changed."""

    action: Literal["rename", "recolour", "merge", "split"] = param(
        "rename",
        "Change",
        "rename: another name for one domain. recolour: other colours. merge: several become "
        "one. split: one becomes several.",
    )
    domains: str = param("", "Domains", "Names of the domains to change, by comma.")
    name: str = param(
        "", "New name", "Name after renaming or merging; merging keeps the first name by default."
    )
    colours: str = param(
        "", "Colours", "Colour (#rrggbb) of each domain to recolour, by comma, in their order."
    )
    parts: int = param(2, "Parts", "Number of parts when splitting.", ge=2, le=20)
    by: Literal["embedding", "space"] = param(
        "embedding",
        "Split by",
        "embedding: spots that are alike stay together. space: pieces that do not touch each "
        "other become domains of their own, the largest ones first.",
    )
    seed: int = param(0, "Seed", "Seed of the split.", advanced=True, ge=0)


@method(
    task="domains",
    name="edit",
    title="Edit domains",
    summary="Renames, recolours, merges or splits found domains; posterior and stability follow.",
    params=EditParams,
    inputs=DomainInputs,
    result=Domains,
    reference="Merging sums the posteriors; splitting fits a mixture within the domain",
)
def edit_domains(inputs: DomainInputs, params: EditParams, ctx: JobContext) -> Domains:
    """Change domains by hand.

    Raises
    ------
    UserError
        If a domain is not there, a name is taken, a colour is none, or nothing can be changed.
    """
    chosen = _chosen(inputs.domains, params)
    if params.action == "rename":
        edited = _rename(inputs.domains, chosen, params.name.strip())
    elif params.action == "recolour":
        edited = _recolour(inputs.domains, chosen, params.colours)
    elif params.action == "merge":
        edited = _merge(inputs.domains, chosen, params.name.strip())
    else:
        edited = _split(inputs, chosen, params, ctx)
    truth = inputs.labels
    if truth is None:
        return edited
    return replace(
        edited,
        ari=adjusted_rand_index(truth, edited.labels),
        nmi=normalised_mutual_information(truth, edited.labels),
    )


def _chosen(domains: Domains, params: EditParams) -> list[int]:
    """Columns of the chosen domains."""
    wanted = list(dict.fromkeys(n.strip() for n in params.domains.split(",") if n.strip()))
    missing = [name for name in wanted if name not in domains.names]
    if missing:
        raise UserError(
            f"There is no domain {', '.join(map(repr, missing))}.",
            f"The domains are: {', '.join(domains.names)}.",
        )
    least = 2 if params.action == "merge" else 1
    several = params.action in ("merge", "recolour")
    if len(wanted) < least or (len(wanted) > 1 and not several):
        many = "at least two domains" if least == 2 else "one domain"
        raise UserError(f"Choose {many} to {params.action}.", "Give their names, by comma.")
    return [domains.names.index(name) for name in wanted]


def _free(domains: Domains, name: str, but: list[int]) -> None:
    others = [n for i, n in enumerate(domains.names) if i not in but]
    if name in others:
        raise UserError(
            f"There is a domain {name!r} already.", "Choose another name, or merge the two."
        )
    if not name or "," in name:
        raise UserError(f"{name!r} is no name for a domain.", "Give a name without a comma.")


def _rename(domains: Domains, chosen: list[int], name: str) -> Domains:
    _free(domains, name, chosen)
    old = domains.names[chosen[0]]
    names = tuple(name if i in chosen else n for i, n in enumerate(domains.names))
    labels = np.where(domains.labels == old, name, domains.labels).astype(object)
    return replace(domains, names=names, labels=labels)


def _recolour(domains: Domains, chosen: list[int], text: str) -> Domains:
    colours = [part.strip().lower() for part in text.split(",") if part.strip()]
    wrong = [colour for colour in colours if not _COLOUR.fullmatch(colour)]
    if wrong or len(colours) != len(chosen):
        told = (
            f"{wrong[0]!r} is no colour."
            if wrong
            else (f"There are {len(colours)} colours for {len(chosen)} domains.")
        )
        raise UserError(told, "Give one colour for each domain, such as #1f77b4, by comma.")
    names = [domains.names[i] for i in chosen]
    return replace(domains, colours=dict(zip(names, colours, strict=True)))


def _merge(domains: Domains, chosen: list[int], name: str) -> Domains:
    if len(chosen) == len(domains.names):
        raise UserError("Nothing would be told apart.", "Leave at least two domains.")
    name = name or domains.names[chosen[0]]
    _free(domains, name, chosen)
    old = [domains.names[i] for i in chosen]
    keep = [i for i in range(len(domains.names)) if i not in chosen[1:]]
    probabilities = np.array(domains.probabilities)
    probabilities[:, chosen[0]] = probabilities[:, chosen].sum(axis=1)
    names = tuple(name if i == chosen[0] else domains.names[i] for i in keep)
    labels = np.where(np.isin(domains.labels, old), name, domains.labels).astype(object)
    return _remade(domains, names, labels, probabilities[:, keep], domains.stability)


def _split(inputs: DomainInputs, chosen: list[int], params: EditParams, ctx: JobContext) -> Domains:
    domains, column = inputs.domains, chosen[0]
    inside = domains.labels == domains.names[column]
    if inside.sum() < 3 * params.parts:
        raise UserError(
            f"The domain has {int(inside.sum())} spots: too few for {params.parts} parts.",
            "Ask for fewer parts.",
        )
    shares, agreement = (
        _pieces(inputs, inside, params.parts)
        if params.by == "space"
        else _alike(inputs, inside, params, ctx)
    )
    own = domains.probabilities[:, [column]] * shares
    before, after = domains.probabilities[:, :column], domains.probabilities[:, column + 1 :]
    names = _part_names(domains, column, shares.shape[1])
    labels = np.array(domains.labels, object)
    labels[inside] = np.array(names, object)[shares[inside].argmax(axis=1)]
    stability = np.array(domains.stability, np.float64)
    stability[inside] *= agreement
    every = (*domains.names[:column], *names, *domains.names[column + 1 :])
    return _remade(domains, every, labels, np.hstack([before, own, after]), stability)


def _alike(
    inputs: DomainInputs, inside: NDArray[np.bool_], params: EditParams, ctx: JobContext
) -> tuple[Floats, Floats]:
    """(n, parts) share of each part, and how often reruns agree on each spot inside."""
    from sklearn.cluster import KMeans

    from napari_stomics.methods.domains.gaussian import fit_mixture

    if inputs.values is None:
        raise UserError(
            "The embedding that these domains were found from is not stored any more.",
            "Split by space, or find the domains again.",
        )
    x = np.asarray(inputs.values, np.float64)
    codes = KMeans(params.parts, n_init=10, random_state=params.seed).fit_predict(x[inside])
    ctx.step(0.3, "Splitting")
    model = fit_mixture(x[inside], codes.astype(np.intp), ctx.part(0.3, 0.6))
    shares = model.posterior(x)
    found = shares[inside].argmax(axis=1)
    agreement = np.zeros(len(found))
    for i in range(_RERUNS):
        ctx.step(0.6 + 0.4 * i / _RERUNS, "Rerunning the split")
        start = KMeans(params.parts, n_init=1, random_state=params.seed + 1 + i)
        codes = start.fit_predict(x[inside]).astype(np.intp)
        other = fit_mixture(x[inside], codes, ctx.part(0.6, 1.0)).posterior(x[inside])
        rerun = other.argmax(axis=1)
        same = match_labels(found, rerun)
        agreement += np.array([same.get(c, -1) for c in rerun]) == found
    return shares, agreement / _RERUNS


def _pieces(inputs: DomainInputs, inside: NDArray[np.bool_], parts: int) -> tuple[Floats, Floats]:
    """The largest pieces that do not touch each other; what is left joins the last part."""
    from scipy.sparse.csgraph import connected_components

    of = inputs.domains.of
    rows = np.flatnonzero(inside)
    graph = _touching(inputs.coordinates[rows], of[rows])
    _, piece = connected_components(graph, directed=False)
    sizes = np.bincount(piece)
    if len(sizes) < 2:
        raise UserError("The domain is one piece.", "Split it by the embedding instead.")
    rank = np.empty(len(sizes), np.intp)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    part = np.minimum(rank[piece], parts - 1)
    shares = np.full((len(inside), part.max() + 1), 1 / (part.max() + 1))
    shares[rows] = np.eye(part.max() + 1)[part]
    return shares, np.ones(len(rows))


def _touching(points: Floats, of: Codes) -> Any:
    """Graph of the spots within 1.5 times their usual distance, section by section."""
    from scipy import sparse
    from scipy.spatial import cKDTree

    blocks = []
    for section in np.unique(of):
        here = points[of == section]
        tree = cKDTree(here)
        gaps = np.asarray(tree.query(here, k=2)[0])[:, 1]
        reach = _TOUCHING * float(np.median(gaps)) if len(here) > 1 else 0.0
        pairs = tree.query_pairs(reach, output_type="ndarray")
        ones = np.ones(len(pairs), bool)
        shape = (len(here), len(here))
        blocks.append(sparse.csr_array((ones, (pairs[:, 0], pairs[:, 1])), shape=shape))
    joined = sparse.block_diag(blocks, format="csr")
    order = np.concatenate([np.flatnonzero(of == section) for section in np.unique(of)])
    back = np.argsort(order)
    return joined[back][:, back]


def _part_names(domains: Domains, column: int, parts: int) -> tuple[str, ...]:
    """``D2`` becomes ``D2a``, ``D2b`` ...; letters that are taken are skipped."""
    name, taken = domains.names[column], set(domains.names)
    letters = (f"{name}{chr(97 + i)}" for i in range(26))
    return tuple([made for made in letters if made not in taken][:parts])


def _remade(
    domains: Domains, names: tuple[str, ...], labels: Any, probabilities: Floats, stability: Any
) -> Domains:
    return replace(
        domains,
        names=names,
        labels=labels,
        probabilities=probabilities,
        entropy=normalised_entropy(probabilities),
        stability=np.asarray(stability),
        curve=None,
        rerun_ari=float("nan"),
    )
