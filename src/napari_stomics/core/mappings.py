"""Results of mapping: single cells without positions, placed in a section.

Micrometres and (x, y) throughout.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from napari_stomics.core.results import Array, median_of


def _none() -> Array:
    return np.zeros(0)


def _no_names() -> Array:
    return np.zeros(0, object)


def _no_flows() -> Array:
    return np.zeros((0, 0, 0))


@dataclass(frozen=True)
class CellMapping:
    """Where the cells of a reference may lie in a section.

    Attributes
    ----------
    reference, section
        Names of the reference and of the section.
    modality
        Modality of the cells.
    cell_ids, spot_ids
        (n,), (m,) identifiers.
    plan
        (n, m) CSR matrix of mass: of each cell the largest matches; all matches
        together sum to about 1.
    kept
        Share of the whole plan's mass that ``plan`` holds.
    cell_mass
        (n,) mass that each cell sends over what it was asked to send, in the
        whole plan: small where a cell has no place in the section.
    spot_mass
        (m,) the same of what each spot receives.
    positions
        (n, 2) expected position (x, y) um; NaN where a cell has no mass.
    spread
        (n,) root mean square distance in um of a cell's mass from its position.
    entropy
        (n,) Shannon entropy of each row of the whole plan over ``log(m)``, in [0, 1].
    largest_match
        (n,) share of a cell's mass that goes to its best spot.
    labels
        (n,) label of each cell, ``""`` where it has none.
    categories
        Label names, sorted.
    proportions
        (m, k) share of each label in the mass that a spot receives.
    proportion_entropy
        (m,) entropy of these over ``log(k)``.
    objective
        Value of the objective per iteration.
    marginal_error
        Sum of the absolute deviations of both marginals from what was asked.
    atlas_weight
        Share of the features in the objective; the rest compares distances.
    marginals
        ``balanced`` or ``unbalanced``.
    converged, reason
        Whether the solver reached its stopping rule, and why it stopped.
    features
        Names of the features that the plan has seen.
    held_out
        Names of features that it has not seen.
    held_out_pearson
        Correlation over spots of each of these, as the plan predicts it, with
        what was measured.
    label_distances
        (k, k) Wasserstein distance in um between the positions of two labels'
        cells; empty where it was not asked for.
    signals
        Ligand-receptor pairs, as ``ligand>receptor``.
    flows
        (s, k, k) share of each signal that goes from cells of one label (rows)
        to cells of another (columns).
    flow_z
        (s, k, k) the same as standard scores against shuffled expression.
    signal_reach
        (s,) mean distance in um that each signal is carried.
    more
        Further modalities of the reference, placed through this one.
    """

    kind: ClassVar[str] = "cell_mapping"

    reference: str
    section: str
    modality: str
    cell_ids: Array
    spot_ids: Array
    plan: Any
    kept: float
    cell_mass: Array
    spot_mass: Array
    positions: Array
    spread: Array
    entropy: Array
    largest_match: Array
    labels: Array
    categories: tuple[str, ...]
    proportions: Array
    proportion_entropy: Array
    objective: Array
    marginal_error: float
    atlas_weight: float
    marginals: str
    converged: bool
    reason: str = ""
    features: Array = field(default_factory=_no_names)
    held_out: Array = field(default_factory=_no_names)
    held_out_pearson: Array = field(default_factory=_none)
    label_distances: Array = field(default_factory=lambda: np.zeros((0, 0)))
    signals: tuple[str, ...] = ()
    flows: Array = field(default_factory=_no_flows)
    flow_z: Array = field(default_factory=_no_flows)
    signal_reach: Array = field(default_factory=_none)
    more: tuple[CellMapping, ...] = ()

    @property
    def unmatched(self) -> Array:
        """(n,) share of each cell's mass that found no place, in [0, 1]."""
        return np.clip(1 - self.cell_mass, 0, 1)

    def summary(self) -> dict[str, Any]:
        """Key figures in plain JSON types; distances in micrometres."""
        out: dict[str, Any] = {
            "reference": self.reference,
            "section": self.section,
            "modality": self.modality,
            "cells": len(self.cell_ids),
            "spots": len(self.spot_ids),
            "labels": list(self.categories),
            "features": len(self.features),
            "atlas_weight": float(self.atlas_weight),
            "marginals": self.marginals,
            "median_spread_um": median_of(self.spread),
            "median_entropy": median_of(self.entropy),
            "median_largest_match": median_of(self.largest_match),
            "unmatched": float(np.mean(self.unmatched)) if len(self.cell_ids) else 0.0,
            "kept": float(self.kept),
            "objective": float(self.objective[-1]) if len(self.objective) else None,
            "marginal_error": float(self.marginal_error),
            "iterations": len(self.objective),
            "converged": bool(self.converged),
            "reason": self.reason,
        }
        if len(self.held_out):
            out["held_out_features"] = len(self.held_out)
            out["median_held_out_pearson"] = median_of(self.held_out_pearson)
        if self.signals:
            out["signals"] = list(self.signals)
            out["signal_reach_um"] = [float(d) for d in self.signal_reach]
        if self.more:
            out["more"] = {part.modality: len(part.cell_ids) for part in self.more}
        return out
