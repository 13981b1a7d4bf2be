"""The next landmark: where one more pair would tell most about the map between two sections.

The shift that a plan adds to its linear pose is taken for a smooth random field
(a Gaussian process): a long wave as large as the sure matches say, and beside it
a local departure as large as the doubt at each place, since a smooth map round a
doubtful place is no evidence that it is smooth there. The plan observes the field
with the errors that its rows admit, landmarks observe it nearly without error.
What remains unknown is the posterior covariance of the field; a landmark is suggested
where observing the field would shrink it most. That needs no knowledge of what would
be observed there (Krause, Singh and Guestrin 2008, J Mach Learn Res 9:235, for the
choice; Rasmussen and Williams 2006 for the process).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.plans import TransportPlan
from napari_stomics.methods.alignment.certainty import Doubt, Floats, row_moments

_CELLS = 250
"""Neighbourhoods that the field is followed on; dense algebra on twice as many unknowns."""
_FLOOR = 0.1
"""No row is surer than this, in pitches."""
_PLACING = 0.5
"""How exactly a person places a landmark, in pitches."""
_AMPLITUDES = (0.3, 1.0, 3.0, 10.0)
_LENGTHS = (4.0, 8.0, 16.0, 32.0)
"""Sizes and ranges of the field, in pitches, of which the likeliest pair is taken."""
_LOCAL = 4.0
"""Range in pitches of what may be wrong with a doubtful place alone."""


@dataclass(frozen=True)
class ShiftField:
    """What a plan and landmarks tell of the shift beyond the linear pose.

    Lengths are in pitches. Spots that send no mass are not part of it.

    Attributes
    ----------
    spots
        (c,) source spot in the middle of each neighbourhood.
    weights
        (c,) how many spots each of them stands for.
    places
        (c, 2) where the linear pose puts these spots, (x, y).
    mean
        (c, 2) posterior mean of the shift.
    covariance
        (c, 2, c, 2) posterior covariance of the shifts.
    amplitude, length
        Size and range of the prior's field.
    """

    spots: NDArray[np.intp]
    weights: Floats
    places: Floats
    mean: Floats
    covariance: Floats
    amplitude: float
    length: float

    @property
    def uncertainty(self) -> Floats:
        """(c,) root of the trace of each neighbourhood's covariance, in pitches."""
        blocks = np.einsum("iaib->iab", self.covariance)
        return np.sqrt(np.maximum(np.trace(blocks, axis1=1, axis2=2), 0.0))

    @property
    def mean_uncertainty(self) -> float:
        """Mean over the spots of the uncertainty, in pitches."""
        return float(np.average(self.uncertainty, weights=self.weights))


@dataclass(frozen=True)
class NextLandmark:
    """A landmark worth placing.

    Attributes
    ----------
    spot
        Row of the source spot that it lies on.
    source
        (x, y) um in the source's own frame.
    target
        (x, y) um in the target where the partner is expected.
    covariance
        (2, 2) uncertainty of that, um².
    before, after
        Mean uncertainty of the map over all spots as it is, and as it would be
        with this landmark, um.
    """

    spot: int
    source: tuple[float, float]
    target: tuple[float, float]
    covariance: Floats
    before: float
    after: float

    def ellipse(self, deviations: float = 2.0, points: int = 48) -> Floats:
        """(points, 2) outline (x, y) um in the target at so many standard deviations."""
        values, axes = np.linalg.eigh(self.covariance)
        angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
        circle = np.column_stack([np.cos(angle), np.sin(angle)])
        radii = deviations * np.sqrt(np.maximum(values, 0.0))
        return np.asarray(self.target) + circle * radii @ axes.T


def shift_field(
    plan: TransportPlan,
    doubt: Doubt,
    source_points: Floats,
    target_points: Floats,
    pitch: float,
    landmarks: tuple[Floats, Floats] | None = None,
) -> ShiftField | None:
    """Estimate the shift beyond the linear pose, and how sure it is.

    Spots are gathered into neighbourhoods. The rows of one neighbourhood err
    together, so they count as one observation, with the mean of their
    covariances, and of what their neighbours and the landmarks left out hold
    against them, as its noise.

    Parameters
    ----------
    plan
        The plan.
    doubt
        What :func:`~napari_stomics.methods.alignment.certainty.spot_doubt` found for it.
    source_points
        (n, 2) source spots (x, y) um in their own frame.
    target_points
        (m, 2) target spots (x, y) um.
    pitch
        Distance between neighbouring spots in um.
    landmarks
        (k, 2) source and (k, 2) target positions, each section's own um.

    Returns
    -------
    ShiftField or None
        None where fewer than three spots have a partner.
    """
    landed, spread = row_moments(plan.plan, target_points)
    posed = np.asarray(plan.source_coordinates, np.float64)
    shift, spread = (landed - posed) / pitch, spread / pitch**2
    known = np.flatnonzero(np.isfinite(shift).all(axis=1))
    if len(known) < 3:
        return None
    cell, spots = _neighbourhoods(posed[known] / pitch)
    spots = known[spots]
    weights = np.bincount(cell).astype(np.float64)
    against = doubt.torn[known] ** 2 + np.nan_to_num(doubt.disagreement[known]) ** 2
    noise = np.zeros((len(spots), 2, 2))
    seen = np.zeros((len(spots), 2))
    np.add.at(noise, cell, spread[known] + 0.5 * against[:, None, None] * np.eye(2))
    np.add.at(seen, cell, shift[known])
    noise = noise / weights[:, None, None] + _FLOOR**2 * np.eye(2)
    seen /= weights[:, None]
    places = np.column_stack([np.bincount(cell, posed[known, a]) / weights for a in (0, 1)]) / pitch
    if landmarks is not None and len(landmarks[0]):
        at = _posed(source_points, posed, landmarks[0])
        places = np.vstack([places, at / pitch])
        seen = np.vstack([seen, (np.asarray(landmarks[1]) - at) / pitch])
        extra = np.tile(_PLACING**2 * np.eye(2), (len(at), 1, 1))
        noise = np.concatenate([noise, extra])
    from scipy.spatial import cKDTree

    nearest = cKDTree(places[: len(spots)]).query(places)[1]
    mean, covariance, amplitude, length = _posterior(places, seen, noise, noise[nearest])
    c = len(spots)
    return ShiftField(
        spots, weights, places[:c], mean[:c], covariance[:c, :, :c], amplitude, length
    )


def next_landmark(
    field: ShiftField,
    plan: TransportPlan,
    source_points: Floats,
    pitch: float,
) -> NextLandmark:
    """Return the landmark that would make the map surest.

    Parameters
    ----------
    field
        What is known of the map; see :func:`shift_field`.
    plan, source_points, pitch
        As given to :func:`shift_field`.
    """
    gains = expected_reduction(field)
    best = int(np.argmax(gains))
    spot = int(field.spots[best])
    posed = np.asarray(plan.source_coordinates, np.float64)[spot]
    target = posed + field.mean[best] * pitch
    return NextLandmark(
        spot=spot,
        source=(float(source_points[spot][0]), float(source_points[spot][1])),
        target=(float(target[0]), float(target[1])),
        covariance=field.covariance[best, :, best] * pitch**2,
        before=field.mean_uncertainty * pitch,
        after=observed(field, best).mean_uncertainty * pitch,
    )


def expected_reduction(field: ShiftField) -> Floats:
    """(c,) by how much a landmark in each neighbourhood would lower the mean variance, pitches²."""
    total = float(field.weights.sum())
    out = np.zeros(len(field.spots))
    for c in range(len(out)):
        column = field.covariance[:, :, c]
        block = field.covariance[c, :, c] + _PLACING**2 * np.eye(2)
        explained = np.einsum("iak,kl,ial->i", column, np.linalg.inv(block), column)
        out[c] = float(field.weights @ explained) / total
    return out


def observed(field: ShiftField, cell: int) -> ShiftField:
    """Return the field as it would be with a landmark in a neighbourhood, where it is expected."""
    from dataclasses import replace

    column = field.covariance[:, :, cell]
    block = field.covariance[cell, :, cell] + _PLACING**2 * np.eye(2)
    explained = np.einsum("iak,kl,jbl->iajb", column, np.linalg.inv(block), column)
    return replace(field, covariance=field.covariance - explained)


def _neighbourhoods(points: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Divide points into squares; return each point's square, and the point in its middle."""
    low = points.min(axis=0)
    extent = np.maximum(np.ptp(points, axis=0), 1e-9)
    side = max(2.0, float(np.sqrt(np.prod(extent) / _CELLS)), float(extent.max()) / _CELLS)
    square = np.floor((points - low) / side).astype(np.int64)
    _, cell = np.unique(square, axis=0, return_inverse=True)
    cell = np.asarray(cell, np.intp).ravel()
    count = np.bincount(cell)
    centre = np.column_stack([np.bincount(cell, points[:, a]) / count for a in (0, 1)])
    order = np.lexsort((np.linalg.norm(points - centre[cell], axis=1), cell))
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    return cell, np.asarray(order[first], np.intp)


def _posed(source_points: Floats, posed: Floats, points: Floats) -> Floats:
    """Carry points of the source's own frame as the plan's linear pose does."""
    lifted = np.column_stack([source_points, np.ones(len(source_points))])
    pose, *_ = np.linalg.lstsq(lifted, posed, rcond=None)
    return np.asarray(np.column_stack([points, np.ones(len(points))]) @ pose)


def _posterior(
    places: Floats, seen: Floats, noise: Floats, doubt: Floats
) -> tuple[Floats, Floats, float, float]:
    """Condition the likeliest of the prior fields on what was seen.

    Parameters
    ----------
    places, seen
        (q, 2) places and the shifts seen there.
    noise
        (q, 2, 2) covariance of the error of each.
    doubt
        (q, 2, 2) covariance of the local departure at each place.

    Returns
    -------
    ndarray, ndarray, float, float
        (q, 2) mean, (q, 2, q, 2) covariance, amplitude and length of the prior.
    """
    from scipy.linalg import block_diag, cho_solve

    q = len(places)
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    errors, root = block_diag(*noise), block_diag(*np.linalg.cholesky(doubt))
    local = root @ np.kron(_matern(distance / _LOCAL), np.eye(2)) @ root.T
    flat = seen.ravel()
    best: tuple[float, float, float] = (-np.inf, _AMPLITUDES[0], _LENGTHS[0])
    for length in _LENGTHS:
        shape = np.kron(_matern(distance / length), np.eye(2))
        for amplitude in _AMPLITUDES:
            factor = np.linalg.cholesky(amplitude**2 * shape + local + errors)
            fit = flat @ cho_solve((factor, True), flat)
            likely = -0.5 * float(fit) - float(np.log(np.diag(factor)).sum())
            best = max(best, (likely, amplitude, length))
    _, amplitude, length = best
    prior = amplitude**2 * np.kron(_matern(distance / length), np.eye(2)) + local
    factor = np.linalg.cholesky(prior + errors)
    mean = prior @ cho_solve((factor, True), flat)
    covariance = prior - prior @ cho_solve((factor, True), prior)
    return mean.reshape(q, 2), covariance.reshape(q, 2, q, 2), amplitude, length


def _matern(scaled: Floats) -> Floats:
    """Matérn covariance of smoothness 3/2."""
    root = np.sqrt(3.0) * scaled
    return np.asarray((1.0 + root) * np.exp(-root))
