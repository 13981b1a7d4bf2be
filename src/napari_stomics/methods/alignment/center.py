"""The consensus of several sections: one slice that all of them are copies of.

Zeira et al. 2022 (PASTE): plans from the centre to every section and a
non-negative factorisation of the expression that they carry to it, in turn.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import SpotPair, Spots
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import Params, param
from napari_stomics.core.plans import TransportPlan
from napari_stomics.core.registry import method
from napari_stomics.core.stacks import NAN, CentreSlice, StackInputs
from napari_stomics.methods.alignment.fgw import FGWParams, align_fgw
from napari_stomics.methods.preprocess import log_normalise, most_variable
from napari_stomics.metrics.alignment_quality import partners_mean
from napari_stomics.metrics.label_transfer import plan_accuracy

Floats = NDArray[np.floating[Any]]

_FLOOR = 1e-8


class CentreParams(Params):
    """Parameters of the consensus slice."""

    factors: int = param(15, "Factors", "Rank of the consensus expression.", ge=1, le=200)
    alpha: float = param(
        0.5, "Structure weight (alpha)", "0 compares features alone, 1 distances alone.",
        ge=0.0, le=1.0, step=0.05,
    )  # fmt: skip
    metric: Literal["cosine", "kl"] = param(
        "cosine", "Features", "cosine: joint principal components; kl: counts, as PASTE does.",
        advanced=True,
    )  # fmt: skip
    weights: tuple[float, ...] = param(
        (), "Weights", "Of the sections, in their order; equal where none are given.",
        advanced=True,
    )  # fmt: skip
    n_genes: int = param(
        2000, "Variable features", "Most variable features that all sections share; the consensus "
        "is made of them.", ge=2, le=50_000,
    )  # fmt: skip
    rounds: int = param(10, "Rounds", "Rounds at most.", ge=1, le=100)
    tolerance: float = param(
        1e-3, "Tolerance", "Stops when the objective falls by less than this share.",
        log=True, gt=0, lt=1, advanced=True,
    )  # fmt: skip
    seed: int = param(0, "Seed", "Seed of the factorisation.", ge=0, advanced=True)


@method(
    task="stack",
    name="paste-center",
    title="Consensus slice",
    summary="Merges sections into one consensus on the spots of the reference, with non-negative "
    "factors of its expression.",
    params=CentreParams,
    inputs=StackInputs,
    result=CentreSlice,
    reference="Zeira et al. 2022 (PASTE), Nat Methods 19:567, Algorithm 2",
)
def make_centre(inputs: StackInputs, params: CentreParams, ctx: JobContext) -> CentreSlice:
    """Find the consensus of several sections on the spots of one of them.

    The objective is the weighted sum over sections of the cost of the plan from
    the centre, plus the divergence of the factors from the expression that the
    plans carry. Each round solves the plans for given factors, from those of the
    round before, and the factors for given plans.

    Raises
    ------
    UserError
        If there are fewer than two sections, they share too few features, or the
        weights do not fit them.
    """
    sections = inputs.sections
    names = inputs.names
    if len(sections) < 2 or inputs.reference not in names:
        raise UserError(
            "A consensus needs two or more sections and one of them as reference.",
            "Choose the sections to merge.",
        )
    weights = _weights(params, len(sections))
    chosen, spots = _shared(sections, params.n_genes)
    home = names.index(inputs.reference)
    factors, loadings = _factorised(_dense(spots[home].x), None, params)
    plans: list[TransportPlan] | None = None
    objective: list[float] = []
    converged, reason = False, f"stopped after {params.rounds} rounds"
    for round_ in range(params.rounds):
        part = ctx.part(round_ / params.rounds, (round_ + 1) / params.rounds)
        centre = replace(spots[home], x=factors @ loadings)
        plans = _plans(inputs, centre, spots, plans, params, part.part(0.0, 0.9))
        part.step(0.9, f"Factors, round {round_ + 1}")
        carried = _carried(plans, spots, weights)
        factors, loadings = _factorised(carried, (factors, loadings), params)
        cost = float(np.dot(weights, [plan.objective[-1] for plan in plans]))
        objective.append(cost + divergence(carried, factors @ loadings))
        if round_ and abs(objective[-2] - objective[-1]) <= params.tolerance * abs(objective[-2]):
            converged, reason = True, f"objective settled after {round_ + 1} rounds"
            break
        if ctx.finishing:
            reason = "stopped by the user"
            break
    if not converged:
        ctx.warn(f"The consensus did not converge: {reason}.")
    assert plans is not None
    return CentreSlice(
        section=inputs.reference,
        sections=names,
        ids=spots[home].ids,
        features=chosen,
        factors=factors,
        loadings=loadings,
        weights=weights,
        mass=np.column_stack([1 - plan.unmatched for plan in plans]),
        entropy=np.column_stack([plan.entropy for plan in plans]),
        objective=np.array(objective),
        label_accuracy=np.array(
            [_accuracy(p, sections[home], s) for p, s in zip(plans, sections, strict=True)]
        ),
        converged=converged,
        reason=reason,
    )


def divergence(data: Floats, model: Floats) -> float:
    """Mean generalised Kullback-Leibler divergence of counts from their model, per spot and count.

    In units of the data's total, so that it weighs as much as a cost per unit of mass.
    """
    data, model = np.maximum(data, 0.0), np.maximum(model, _FLOOR)
    logs = np.log(np.where(data > 0, data, 1.0) / np.where(data > 0, model, 1.0))
    total = float((data * logs - data + model).sum())
    return total / max(float(data.sum()), _FLOOR)


def _weights(params: CentreParams, count: int) -> Floats:
    if not params.weights:
        return np.full(count, 1 / count)
    weights = np.asarray(params.weights, float)
    if len(weights) != count or (weights < 0).any() or not weights.sum() > 0:
        raise UserError(
            f"{len(weights)} weights were given for {count} sections.",
            "Give one non-negative weight per section, or none.",
        )
    return np.asarray(weights / weights.sum())


def _shared(sections: tuple[Spots, ...], count: int) -> tuple[NDArray[Any], list[Spots]]:
    """Most variable features that all sections have, and the sections with these alone."""
    common = [n for n in sections[0].features if all(n in set(s.features) for s in sections[1:])]
    if len(common) < 2:
        raise UserError(
            f"The {len(sections)} sections share {len(common)} features.",
            "Use the same kind of names (symbols or Ensembl ids) in all tables.",
        )
    columns = []
    for spots in sections:
        at = {name: i for i, name in enumerate(spots.features)}
        columns.append([at[name] for name in common])
    rank = np.zeros(len(common))
    for spots, own in zip(sections, columns, strict=True):
        order = most_variable(log_normalise(spots.x[:, own]), len(common))
        rank[order] += np.arange(len(common))
    best = np.sort(np.argsort(rank, kind="stable")[:count])
    names = np.array(common, object)[best]
    return names, [
        replace(s, x=s.x[:, np.asarray(own)[best]], features=names)
        for s, own in zip(sections, columns, strict=True)
    ]


def _plans(
    inputs: StackInputs,
    centre: Spots,
    spots: list[Spots],
    before: list[TransportPlan] | None,
    params: CentreParams,
    ctx: JobContext,
) -> list[TransportPlan]:
    out = []
    for q, target in enumerate(spots):
        own = ctx.part(q / len(spots), (q + 1) / len(spots))
        own.step(0.0, f"Consensus to {target.section}")
        if target.section == centre.section:
            # Onto its own spots: they lie where they lie, under another name of the section.
            target = replace(target, section=f"{target.section} as measured")
        pair = SpotPair(
            centre,
            target,
            initial=inputs.initial.get((centre.section, target.section)),
            start=None if before is None else before[q],
        )
        given = FGWParams(
            alpha=params.alpha,
            metric=params.metric,
            n_genes=len(centre.features),
            bend=False,
            seed=params.seed,
        )
        out.append(align_fgw(pair, given, JobContext(own.step, _silent, threads=ctx.threads)))
    return out


def _silent(text: str) -> None:
    """Poses and convergence of single rounds are no news; the last objective tells."""


def _carried(plans: list[TransportPlan], spots: list[Spots], weights: Floats) -> Floats:
    """(n, g) mean over the sections of what their plans carry to the centre.

    Weighted by section and by the mass that each spot shares with it, which is
    PASTE's sum of plans where the marginals are exact.
    """
    total = np.zeros((plans[0].plan.shape[0], spots[0].x.shape[1]))
    shares = np.zeros((len(total), 1))
    for plan, section, weight in zip(plans, spots, weights, strict=True):
        share = weight * plan.row_mass[:, None]
        total += share * np.nan_to_num(partners_mean(plan.plan, section.x))
        shares += share
    return np.asarray(total / np.maximum(shares, 1e-300))


def _factorised(
    data: Floats, start: tuple[Floats, Floats] | None, params: CentreParams
) -> tuple[Floats, Floats]:
    """Non-negative factors under the Kullback-Leibler divergence, by multiplicative updates."""
    from sklearn.decomposition import NMF

    count = min(params.factors, *data.shape)
    model = NMF(
        count, init="nndsvda" if start is None else "custom", solver="mu",
        beta_loss="kullback-leibler", max_iter=300, tol=1e-4, random_state=params.seed,
    )  # fmt: skip
    given = {} if start is None else {"W": start[0] + _FLOOR, "H": start[1] + _FLOOR}
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # Factors go on from where they were in the next round.
        warnings.simplefilter("ignore", ConvergenceWarning)
        factors = model.fit_transform(np.asarray(data, np.float64), **given)
    return np.asarray(factors), np.asarray(model.components_)


def _accuracy(plan: TransportPlan, centre: Spots, section: Spots) -> float:
    if centre.labels is None or section.labels is None:
        return NAN
    return plan_accuracy(plan.plan, centre.labels, section.labels)


def _dense(x: Any) -> Floats:
    return np.asarray(x.toarray() if hasattr(x, "toarray") else x, np.float64)
