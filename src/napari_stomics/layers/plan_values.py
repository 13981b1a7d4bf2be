"""What a transport plan says of each spot, worked out for painting; in any thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.plans import TransportPlan
from napari_stomics.layers.valued import Values

if TYPE_CHECKING:
    from napari_stomics.data.study import Section, Study

UNIT = (0.0, 1.0)
DIVERGING = "PiYG"


@dataclass(frozen=True)
class PartValues:
    """Values of one layer of a plan, ready to be painted.

    Attributes
    ----------
    part
        Name of the part.
    section, ids
        Whose spots they belong to.
    shown
        The values with their limits and colours.
    title
        What they are, with their unit.
    visible
        Whether the layer is shown at first.
    options
        What it was painted with, to paint it again.
    """

    part: str
    section: str
    ids: NDArray[Any]
    shown: Values
    title: str
    visible: bool = True
    options: dict[str, Any] | None = None


def plan_values(
    study: Study, plan: TransportPlan, name: str, *, gene: str | None = None
) -> tuple[PartValues, ...]:
    """Work out what one of :data:`~napari_stomics.layers.plan.PLAN_LAYERS` shows; in any thread.

    Parameters
    ----------
    study, plan
        The plan, and the study that holds its sections.
    name
        Which; the arrows have no values.
    gene
        For ``gene``: its name.

    Raises
    ------
    UserError
        If the study lacks what is needed: landmarks that were left out, labels, the gene.
    """
    return _VALUES[name](study, plan, gene)


def shared_genes(study: Study, plan: TransportPlan) -> list[str]:
    """Genes that can be carried over: those of the source, measured in both sections first."""
    source, target = study.section(plan.source), study.section(plan.target)
    there = {str(g) for m in target.modalities for g in target.table(m).var_names}
    here = dict.fromkeys(str(g) for m in source.modalities for g in source.table(m).var_names)
    return [g for g in here if g in there] + [g for g in here if g not in there]


def _of_source(
    plan: TransportPlan,
    part: str,
    values: NDArray[Any],
    limits: tuple[float, float],
    colormap: str,
    title: str,
) -> PartValues:
    shown = Values(part, np.asarray(values, np.float64), limits, colormap)
    return PartValues(part, plan.source, plan.source_ids, shown, title)


def _confidence(study: Study, plan: TransportPlan, gene: str | None) -> tuple[PartValues, ...]:
    title = "Largest match (share of the spot's mass)"
    return (_of_source(plan, "confidence", plan.largest_match, UNIT, "viridis", title),)


def _entropy(study: Study, plan: TransportPlan, gene: str | None) -> tuple[PartValues, ...]:
    title = "Entropy of the match (0 sure, 1 even)"
    return (_of_source(plan, "entropy", plan.entropy, UNIT, "plasma", title),)


def _unmatched(study: Study, plan: TransportPlan, gene: str | None) -> tuple[PartValues, ...]:
    title = "Unmatched mass (share of what was to be sent)"
    there = Values("unmatched", np.asarray(plan.unmatched_target, np.float64), UNIT, "magma")
    return (
        _of_source(plan, "unmatched", plan.unmatched, UNIT, "magma", title),
        PartValues(
            "unmatched target",
            plan.target,
            plan.target_ids,
            there,
            "Unmatched mass (share of what was to arrive)",
        ),
    )


def _displacement(study: Study, plan: TransportPlan, gene: str | None) -> tuple[PartValues, ...]:
    length = np.linalg.norm(plan.displacement, axis=1)
    title = "Displacement beyond the linear pose (um)"
    return (_of_source(plan, "displacement", length, from_zero(length), "viridis", title),)


def _disagreement(study: Study, plan: TransportPlan, gene: str | None) -> tuple[PartValues, ...]:
    values = np.asarray(plan.disagreement, np.float64)
    if not np.isfinite(values).any():
        raise UserError(
            "No landmark was left out when this plan was made, so none can judge it.",
            "Leave some out: place landmarks and run with “hold out landmarks” above 0.",
        )
    title = f"Distance from {len(plan.landmarks)} landmarks left out (um)"
    return (_of_source(plan, "disagreement", values, from_zero(values), "magma", title),)


def _agreement(study: Study, plan: TransportPlan, gene: str | None) -> tuple[PartValues, ...]:
    source, target = study.section(plan.source), study.section(plan.target)
    here, there = source.labels(), target.labels()
    if here is None or there is None:
        lacking = source.name if here is None else target.name
        raise UserError(
            f"Section {lacking!r} has no annotation to compare labels with.",
            "Both sections need one: choose the column of labels when you add a section.",
        )
    here = here[_order(source.ids, plan.source_ids)]
    there = there[_order(target.ids, plan.target_ids)]
    share = label_agreement(plan.plan, here, there)
    title = "Mass on spots of the same label (share)"
    return (_of_source(plan, "agreement", share, UNIT, "viridis", title),)


def label_agreement(plan: Any, source: NDArray[Any], target: NDArray[Any]) -> NDArray[np.float64]:
    """(n,) share of each row's mass on labelled spots that lands on its own label; else NaN."""
    names, column = np.unique(target.astype(str), return_inverse=True)
    onto = np.zeros((len(target), len(names)))
    onto[np.arange(len(target)), column] = 1.0
    received = np.asarray(plan @ onto)
    of = {name: i for i, name in enumerate(names)}
    labelled = received[:, names != ""].sum(axis=1)
    own = np.array([of.get(str(name), -1) for name in source])
    same = np.where(own >= 0, received[np.arange(len(source)), own], 0.0)
    known = (source.astype(str) != "") & (labelled > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, same / labelled, np.nan)


def _gene(study: Study, plan: TransportPlan, gene: str | None) -> tuple[PartValues, ...]:
    if not gene:
        raise UserError("No gene is chosen.", "Type a part of its name and choose one.")
    source, target = study.section(plan.source), study.section(plan.target)
    sent, arrived = _expression(source, plan.source_ids, gene), None
    if sent is None:
        raise UserError(
            f"The gene {gene!r} is not measured in {plan.source!r}.",
            "Choose one of that section's genes.",
        )
    arrived = _expression(target, plan.target_ids, gene)
    depths = [d for _, d in (sent, arrived or sent)]
    # One depth for both sections, so that equal values mean equal shares of the counts.
    common = float(np.mean(depths))
    carried = carried_over(plan.plan, _scaled(sent[0], common))
    scale = "log1p of depth-normalised counts" if common > 0 else "as stored"
    measured = None if arrived is None else _scaled(arrived[0], common)
    both = carried if measured is None else np.concatenate([carried, measured])
    limits = from_zero(both) if np.nanmin(both, initial=0.0) >= 0 else _spanned(both)
    out = [_of_target(plan, "gene carried", gene, carried, limits, "viridis",
                      f"{gene} carried from {plan.source} ({scale})")]  # fmt: skip
    if measured is not None:
        residual = measured - carried
        reach = from_zero(np.abs(residual))[1]
        out += [
            _of_target(plan, "gene measured", gene, measured, limits, "viridis",
                       f"{gene} measured ({scale})", visible=False),
            _of_target(plan, "gene residual", gene, residual, (-reach, reach), DIVERGING,
                       f"{gene} measured minus carried ({scale})", visible=False),
        ]  # fmt: skip
    return tuple(out)


def _of_target(
    plan: TransportPlan,
    part: str,
    gene: str,
    values: NDArray[Any],
    limits: tuple[float, float],
    colormap: str,
    title: str,
    visible: bool = True,
) -> PartValues:
    shown = Values(gene, values, limits, colormap)
    return PartValues(part, plan.target, plan.target_ids, shown, title, visible, {"gene": gene})


def carried_over(plan: Any, values: NDArray[Any]) -> NDArray[np.float64]:
    """(m,) mean of the source's values under the mass that each target spot receives; else NaN."""
    mass = np.asarray(plan.sum(axis=0)).ravel()
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(mass > 0, np.asarray(plan.T @ values).ravel() / mass, np.nan)


def _expression(
    section: Section, ids: NDArray[Any], gene: str
) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], float] | None:
    """Values of a gene with the spots' depths, and the median depth; None where it is absent."""
    for modality in section.modalities:
        table = section.table(modality)
        if gene not in table.var_names:
            continue
        column = table.X[:, table.var_names.get_loc(gene)]
        column = column.toarray() if hasattr(column, "toarray") else np.asarray(column)
        values = column.ravel().astype(np.float64)
        depth = np.asarray(table.X.sum(axis=1), np.float64).ravel()
        order = _order(table.obs_names.to_numpy(object), ids)
        values, depth = values[order], depth[order]
        if values.min(initial=0) < 0 or not (depth > 0).any():
            return (values, np.zeros_like(depth)), 0.0  # not counts
        return (values, depth), float(np.median(depth[depth > 0]))
    return None


def _scaled(
    counts: tuple[NDArray[np.float64], NDArray[np.float64]], common: float
) -> NDArray[np.float64]:
    values, depth = counts
    if not depth.any():
        return values
    return np.log1p(values / np.maximum(depth, 1) * common)


def _order(names: NDArray[Any], ids: NDArray[Any]) -> NDArray[np.intp]:
    """(n,) where each id stands among the names.

    Raises
    ------
    UserError
        If one is missing.
    """
    if len(names) == len(ids) and (names == ids).all():
        return np.arange(len(ids))
    row = {name: i for i, name in enumerate(names)}
    try:
        return np.array([row[name] for name in ids], dtype=np.intp)
    except KeyError as error:
        raise UserError(
            f"The plan names a spot, {error}, that its section does not have.",
            "The section was changed since; align the sections again.",
        ) from error


def from_zero(values: NDArray[Any]) -> tuple[float, float]:
    """Limits from 0 to the 99th percentile, rounded up to two digits; (0, 1) without any."""
    known = values[np.isfinite(values)]
    top = float(np.percentile(known, 99)) if len(known) else 0.0
    top = top if top > 0 else float(known.max(initial=0.0))
    if top <= 0:
        return UNIT
    step = 10.0 ** (np.floor(np.log10(top)) - 1)
    return 0.0, float(np.ceil(top / step) * step)


def _spanned(values: NDArray[Any]) -> tuple[float, float]:
    low, high = (float(v) for v in np.nanpercentile(values, (1, 99)))
    return (low, high) if high > low else (low, low + 1.0)


_VALUES: dict[str, Callable[[Any, TransportPlan, str | None], tuple[PartValues, ...]]] = {
    "confidence": _confidence,
    "entropy": _entropy,
    "unmatched": _unmatched,
    "displacement": _displacement,
    "disagreement": _disagreement,
    "agreement": _agreement,
    "gene": _gene,
}
