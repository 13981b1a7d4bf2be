"""Results of alignment: transport plans, and what is carried along them.

Micrometres and (x, y) throughout; nothing here is dense in both sections.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from napari_stomics.core.results import Array, Registration, median_of


def _empty() -> Array:
    return np.zeros(0)


@dataclass(frozen=True)
class AlignmentState:
    """Where a running alignment stands; handed out by :meth:`JobContext.show`.

    Attributes
    ----------
    phase
        ``pose``, ``refine``, ``solve`` or ``bend``.
    iteration
        Iterations so far, over all phases.
    positions
        (n, 2) source spots (x, y) um in the target's frame, as they lie now.
    barycentres
        (n, 2) where each source spot's mass lands now, (x, y) target um; NaN
        where it sends none. None before there is a plan.
    objective, marginal_errors
        Their values per iteration so far.
    """

    phase: str
    iteration: int
    positions: Array
    barycentres: Array | None
    objective: Array = field(default_factory=_empty)
    marginal_errors: Array = field(default_factory=_empty)


@dataclass(frozen=True)
class TransportPlan:
    """A sparse coupling of the spots of two sections.

    Attributes
    ----------
    source, target
        Section names.
    source_ids, target_ids
        (n,), (m,) spot identifiers.
    plan
        (n, m) CSR matrix of transported mass; sums to at most about 1.
    source_coordinates
        (n, 2) source spots (x, y) um in the target's frame, where the linear
        pose that the solver found (or was given) puts them.
    barycentres
        (n, 2) where each source spot's mass lands, (x, y) target um; NaN where
        it sends none.
    entropy
        (n,) Shannon entropy of each row over ``log(m)``, in [0, 1]: 0 is a
        certain match. NaN where the row is empty.
    objective
        Value of the objective per iteration.
    marginal_error
        Sum of the absolute deviations of both marginals from what was asked.
    alpha
        Weight of the structure cost, in units of spot pitch.
    converged
        Whether the solver reached its stopping rule.
    reason
        Why it stopped.
    marginal_errors
        `marginal_error` per iteration.
    source_mass, target_mass
        (n,), (m,) mass that each spot was asked to send and to receive;
        uniform by default.
    marginals
        ``balanced``, ``partial`` or ``unbalanced``.
    solver
        Name of the solver.
    features
        Names of the features that the plan has seen; the others may judge it.
    margin
        Lead of the pose over the runner-up as a share of its score; NaN where
        no pose was searched. Small means: place two landmarks.
    overlap
        Share of the source and of the target that has a counterpart, as estimated.
    landmarks
        Names of landmarks that were left out, for judging.
    landmark_errors
        (k,) distance in um between where the plan carries each of them and
        where it was placed: the target registration error.
    disagreement
        (n,) distance in um between each spot's barycentre and where a map
        fitted to the landmarks left out carries it; NaN without such landmarks.
    registration
        The map that the plan implies, source um to target um; None where the
        plan has no geometry.
    """

    kind: ClassVar[str] = "transport_plan"

    source: str
    target: str
    source_ids: Array
    target_ids: Array
    plan: Any
    source_coordinates: Array
    barycentres: Array
    entropy: Array
    objective: Array
    marginal_error: float
    alpha: float
    converged: bool
    reason: str = ""
    marginal_errors: Array = field(default_factory=_empty)
    source_mass: Array = None  # type: ignore[assignment]
    target_mass: Array = None  # type: ignore[assignment]
    marginals: str = "balanced"
    solver: str = ""
    features: Array = field(default_factory=lambda: np.zeros(0, object))
    margin: float = float("nan")
    overlap: tuple[float, float] = (1.0, 1.0)
    landmarks: tuple[str, ...] = ()
    landmark_errors: Array = field(default_factory=_empty)
    disagreement: Array = None  # type: ignore[assignment]
    registration: Registration | None = None

    def __post_init__(self) -> None:
        n, m = self.plan.shape
        for name, size, value in (
            ("source_mass", n, 1 / max(n, 1)),
            ("target_mass", m, 1 / max(m, 1)),
            ("disagreement", n, np.nan),
        ):
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.full(size, value))

    @property
    def row_mass(self) -> Array:
        """(n,) mass that each source spot sends."""
        return np.asarray(self.plan.sum(axis=1)).ravel()

    @property
    def column_mass(self) -> Array:
        """(m,) mass that each target spot receives."""
        return np.asarray(self.plan.sum(axis=0)).ravel()

    @property
    def largest_match(self) -> Array:
        """(n,) share of a row's mass that goes to its best partner; NaN where it sends none."""
        mass = self.row_mass
        best = np.asarray(self.plan.max(axis=1).todense()).ravel()
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(mass > 0, best / mass, np.nan)

    @property
    def unmatched(self) -> Array:
        """(n,) share of each source spot's mass that found no partner, in [0, 1]."""
        return _missing(self.row_mass, self.source_mass)

    @property
    def unmatched_target(self) -> Array:
        """(m,) share of each target spot's mass that did not arrive, in [0, 1]."""
        return _missing(self.column_mass, self.target_mass)

    @property
    def displacement(self) -> Array:
        """(n, 2) barycentre minus position under the linear pose, um."""
        return np.asarray(self.barycentres - self.source_coordinates)

    def summary(self) -> dict[str, Any]:
        """Key figures in plain JSON types; distances in micrometres."""
        out: dict[str, Any] = {
            "source": self.source,
            "target": self.target,
            "spots": [int(s) for s in self.plan.shape],
            "solver": self.solver,
            "marginals": self.marginals,
            "matches": int(self.plan.nnz),
            "mass": float(self.plan.sum()),
            "unmatched": float(np.mean(self.unmatched)) if len(self.source_ids) else 0.0,
            "objective": float(self.objective[-1]) if len(self.objective) else None,
            "marginal_error": float(self.marginal_error),
            "iterations": len(self.objective),
            "median_entropy": median_of(self.entropy),
            "median_largest_match": median_of(self.largest_match),
            "median_displacement_um": median_of(np.linalg.norm(self.displacement, axis=1)),
            "alpha": float(self.alpha),
            "converged": bool(self.converged),
            "reason": self.reason,
        }
        if np.isfinite(self.margin):
            out["margin"] = float(self.margin)
        if self.overlap != (1.0, 1.0):
            out["overlap"] = [float(o) for o in self.overlap]
        if len(self.landmark_errors):
            out["landmarks_left_out"] = len(self.landmark_errors)
            out["median_landmark_error_um"] = median_of(self.landmark_errors)
        if self.registration is not None:
            out["model"] = self.registration.model
            out["fold_fraction"] = float(self.registration.fold_fraction)
        return out


@dataclass(frozen=True)
class LabelTransfer:
    """Labels of the source carried to the target along a plan.

    Attributes
    ----------
    categories
        Label names.
    probabilities
        (m, k) share of each label in the mass that a target spot receives; rows
        of NaN where it receives none.
    labels
        (m,) most probable label, ``""`` where no mass arrives.
    entropy
        (m,) entropy of the probabilities over ``log(k)``, in [0, 1].
    accuracy
        Sum of the mass that joins equal labels over the mass that joins
        labelled spots (PASTE's score); NaN without target labels.
    ceiling
        The best that the label proportions of the two sections allow.
    spot_accuracy
        Share of labelled target spots whose most probable label is right.
    """

    kind: ClassVar[str] = "label_transfer"

    source: str
    target: str
    target_ids: Array
    categories: tuple[str, ...]
    probabilities: Array
    labels: Array
    entropy: Array
    accuracy: float = float("nan")
    ceiling: float = float("nan")
    spot_accuracy: float = float("nan")
    converged: bool = True

    def summary(self) -> dict[str, Any]:
        """Key figures in plain JSON types."""
        return {
            "source": self.source,
            "target": self.target,
            "labels": list(self.categories),
            "accuracy": float(self.accuracy),
            "ceiling": float(self.ceiling),
            "spot_accuracy": float(self.spot_accuracy),
            "median_entropy": median_of(self.entropy),
        }


def _missing(mass: Array, asked: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(asked > 0, np.clip(1 - mass / asked, 0, 1), 0.0)
