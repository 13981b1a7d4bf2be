"""The judgement of an alignment in plain words."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from napari_stomics.core.plans import TransportPlan
from napari_stomics.core.quality import QualityFigure, Remark
from napari_stomics.methods.alignment.pose import UNSURE

_FEW = 0.1
"""Chance inconsistency of about one unmatched spot in twenty: fewer say nothing."""
_ORDER = {"warning": 0, "note": 1, "good": 2}


def verdict(
    plan: TransportPlan, figures: Iterable[QualityFigure], pitch: float
) -> tuple[Remark, ...]:
    """Say what the figures mean, what is missing and what to do about it.

    Parameters
    ----------
    plan
        The plan that is judged.
    figures
        Its figures.
    pitch
        Distance between neighbouring spots, um.

    Returns
    -------
    tuple of Remark
        Warnings first.
    """
    by_name = {figure.name: figure for figure in figures}
    remarks = [
        *_of_solver(plan),
        *_of_landmarks(by_name, pitch),
        *_of_labels(by_name),
        *_of_genes(by_name, plan),
        *_of_matches(by_name),
        *_of_map(by_name),
    ]
    return tuple(sorted(remarks, key=lambda remark: _ORDER[remark.level]))


def _of_solver(plan: TransportPlan) -> Iterable[Remark]:
    if not plan.converged:
        yield Remark(
            "warning",
            f"The solver did not converge ({plan.reason or 'no reason given'}): allow more "
            "iterations or go on from this plan.",
        )
    if np.isfinite(plan.margin) and plan.margin < UNSURE:
        yield Remark(
            "warning",
            f"The pose leads the runner-up by {plan.margin:.2f} only: another turn of the section "
            "fits nearly as well. Place two landmarks.",
        )
    elif np.isfinite(plan.margin):
        yield Remark("good", f"The pose is clear: it leads the runner-up by {plan.margin:.2f}.")
    if min(plan.overlap) < 0.5:
        yield Remark(
            "note",
            f"Only {min(plan.overlap):.0%} of one section has a counterpart, as estimated.",
        )


def _of_landmarks(by_name: dict[str, QualityFigure], pitch: float) -> Iterable[Remark]:
    tre = by_name.get("tre")
    if tre is None:
        yield Remark(
            "note",
            "No landmarks were held out, so there is no target registration error (TRE)."
            + (
                " The landmarks that there are may have had a part in the alignment."
                if "landmark_error" in by_name
                else " Place a few landmarks that the alignment does not see."
            ),
        )
        return
    if not np.isfinite(tre.value):
        yield Remark("warning", "The alignment does not say where some landmarks go.")
        return
    words = (
        f"Landmarks held out lie {tre.value:.0f} µm off in the median ({tre.value / pitch:.1f} "
        f"pitches; the pose alone: {tre.baseline:.0f} µm)."
    )
    yield Remark("good" if tre.value <= pitch else "warning", words)


def _of_labels(by_name: dict[str, QualityFigure]) -> Iterable[Remark]:
    figure = by_name.get("label_accuracy")
    if figure is None:
        yield Remark("note", "The two sections have no labels in common to compare.")
        return
    words = (
        f"{figure.value:.0%} of the mass between labelled spots joins equal labels (the pose "
        f"alone {figure.baseline:.0%}, chance {figure.chance:.0%}, ceiling of a balanced plan "
        f"{figure.ceiling:.0%})"
    )
    if not np.isfinite(figure.gain_noise):
        yield Remark("note", f"{words}.")
    elif figure.gain > 2 * figure.gain_noise:
        yield Remark("good", f"{words}: transport adds to the pose.")
    elif figure.gain < -2 * figure.gain_noise:
        yield Remark("warning", f"{words}: transport is worse than the pose alone.")
    else:
        yield Remark(
            "note",
            f"{words}: no more than the pose alone, within the noise of {figure.gain_noise:.1%}.",
        )


def _of_genes(by_name: dict[str, QualityFigure], plan: TransportPlan) -> Iterable[Remark]:
    figure = by_name.get("gene_correlation")
    if figure is None:
        seen = (
            "The plan has seen every feature that the two sections share"
            if len(plan.features)
            else "The plan does not say which features it has seen"
        )
        yield Remark("note", f"{seen}, so no feature can judge it. Hold some out.")
        return
    lead = figure.value - figure.chance
    words = (
        f"Features that the plan has not seen correlate at {figure.value:.3f} (the pose alone "
        f"{figure.baseline:.3f}; coarse place alone {figure.chance:.3f})"
    )
    if lead <= 3 * figure.chance_sd:
        yield Remark("warning", f"{words}: the matches say no more than the coarse place does.")
    else:
        yield Remark("good", f"{words}: the matches are better than their neighbours would be.")


def _of_matches(by_name: dict[str, QualityFigure]) -> Iterable[Remark]:
    unmatched, edges = by_name["unmatched"].value, by_name.get("edge_inconsistency")
    if unmatched > 0.5:
        yield Remark("warning", f"{unmatched:.0%} of the source's mass found no partner.")
    if edges is not None and edges.chance > _FEW and edges.value > 0.7 * edges.chance:
        yield Remark(
            "warning",
            "What is unmatched lies scattered rather than together: it is noise of the solver "
            "more than missing tissue.",
        )
    for name, figure in by_name.items():
        if name.startswith("constraint_") and figure.value < 0.99:
            yield Remark("warning", f"{figure.title}: {figure.value:.0%} of its mass only.")


def _of_map(by_name: dict[str, QualityFigure]) -> Iterable[Remark]:
    folds = by_name.get("folds")
    if folds is not None and folds.value > 0:
        yield Remark("warning", f"The map folds {folds.value:.1%} of the tissue: stiffen it.")
    turned = by_name["turned_over"].value
    if turned > 0.25:
        yield Remark(
            "note",
            f"{turned:.0%} of the neighbourhoods are turned over by the single matches: trust "
            "the map rather than each arrow.",
        )
