"""From a solved coupling to a transport plan with all that is to be known of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.inputs import LandmarkPairs, SpotPair
from napari_stomics.core.plans import TransportPlan
from napari_stomics.core.results import Registration
from napari_stomics.methods.alignment.bend import fold_fraction
from napari_stomics.methods.alignment.dense import row_entropy
from napari_stomics.methods.alignment.overlap import Masses
from napari_stomics.methods.alignment.placing import Frame, Placement
from napari_stomics.methods.alignment.poses import Pose
from napari_stomics.methods.alignment.proximal import Solution
from napari_stomics.methods.alignment.settle import rigid

Floats = NDArray[np.floating[Any]]

_NEGLIGIBLE = 1e-5  # share of its row below which an entry is dropped


@dataclass(frozen=True)
class Account:
    """What else a plan tells of how it was made.

    Attributes
    ----------
    alpha, marginals, solver
        As asked for.
    overlap
        Estimated shares.
    judges
        Landmarks that were left out; None for none.
    """

    alpha: float
    marginals: str
    solver: str
    overlap: tuple[float, float]
    judges: LandmarkPairs | None


def make_plan(
    pair: SpotPair,
    frame: Frame,
    placement: Placement,
    solution: Solution,
    masses: Masses,
    account: Account,
) -> TransportPlan:
    """Assemble the result; positions go back to micrometres."""
    plan = pruned(solution)
    mass = np.asarray(plan.sum(axis=1)).ravel()
    there = barycentres(plan, pair.target.coordinates)
    registration = _registration(pair, frame, placement)
    errors, disagreement = _judged(account.judges, registration, pair, there)
    return TransportPlan(
        source=pair.source.section,
        target=pair.target.section,
        source_ids=pair.source.ids,
        target_ids=pair.target.ids,
        plan=plan,
        source_coordinates=placement.posed(frame.source) * frame.pitch,
        barycentres=there,
        entropy=row_entropy(plan) if (mass > 0).any() else np.full(len(mass), np.nan),
        objective=solution.objective,
        marginal_error=float(solution.marginal_errors[-1]),
        alpha=account.alpha,
        converged=solution.converged,
        reason=solution.reason,
        marginal_errors=solution.marginal_errors,
        source_mass=masses.source,
        target_mass=masses.target,
        marginals=account.marginals,
        solver=account.solver,
        features=np.asarray(frame.features.names, object),
        margin=placement.margin,
        overlap=account.overlap,
        landmarks=() if account.judges is None else account.judges.names,
        landmark_errors=errors,
        disagreement=disagreement,
        registration=registration,
    )


def pruned(solution: Solution) -> Any:
    """(n, m) CSR plan without entries that are next to nothing of their row and column."""
    band, values = solution.band, solution.values
    rows, columns = band.marginals(values)
    large = (values > _NEGLIGIBLE * rows[band.i]) | (values > _NEGLIGIBLE * columns[band.j])
    large &= values > 0
    return band.keep(large).matrix(values[large])


def barycentres(plan: Any, points: Floats) -> Floats:
    """(n, 2) where each row's mass lands; NaN where it sends none."""
    mass = np.asarray(plan.sum(axis=1)).ravel()
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((plan @ points) / np.where(mass > 0, mass, np.nan)[:, None])


def rigid_of(solution: Solution, frame: Frame, pose: Pose) -> Pose:
    """Rigid motion that a coupling implies, of the size and the handedness of a pose."""
    matrix = solution.band.matrix(solution.values)
    mass = np.asarray(matrix.sum(axis=1)).ravel()
    used = mass > 1e-12 * mass.sum()
    there = (matrix @ frame.target)[used] / mass[used, None]
    linear = pose.matrix
    scale = float(np.sqrt(abs(np.linalg.det(linear))))
    found = rigid(frame.source[used] * scale, there, mass[used], pose.mirrored)
    return Pose(found.matrix * scale, found.shift, pose.score)


def _registration(pair: SpotPair, frame: Frame, placement: Placement) -> Registration:
    transform = placement.transform(frame.pitch)
    bent = placement.bend is not None
    matrix = placement.pose.matrix
    scale = np.sqrt(abs(np.linalg.det(matrix)))
    turned = np.allclose(matrix @ matrix.T, scale**2 * np.eye(2), atol=1e-6 * scale**2)
    model = "rigid" if turned and abs(scale - 1) < 1e-6 else "similarity" if turned else "affine"
    return Registration(
        source=pair.source.section,
        target=pair.target.section,
        transform=transform,
        model="displacement" if bent else model,
        driver="plan",
        fold_fraction=fold_fraction(transform, pair.source.coordinates) if bent else 0.0,
        candidates=placement.listed(frame.pitch),
        margin=placement.margin,
    )


def _judged(
    judges: LandmarkPairs | None, registration: Registration, pair: SpotPair, there: Floats
) -> tuple[Floats, Floats]:
    """Errors at landmarks that were left out, and the distance to a map fitted to them."""
    nothing = np.full(len(there), np.nan)
    if judges is None or not len(judges.names):
        return np.zeros(0), nothing
    carried = registration.transform.apply(judges.source_points)
    errors = np.linalg.norm(carried - judges.target_points, axis=1)
    if len(errors) < 2:
        return errors, nothing
    mirrored = np.linalg.det(registration.transform.linear_part().matrix[:2, :2]) < 0
    fitted = rigid(judges.source_points, judges.target_points, np.ones(len(errors)), bool(mirrored))
    expected = fitted.apply(pair.source.coordinates)
    return errors, np.linalg.norm(there - expected, axis=1)
