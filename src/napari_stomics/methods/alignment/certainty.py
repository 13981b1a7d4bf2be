"""Where a transport plan is least certain: doubt per spot, and regions to look at.

The rows of a plan are sure or unsure on their own; what a row cannot tell is
whether its neighbours agree with it. Three signs are put together, all of them
lengths in spot pitches: how far the partners of a spot lie from each other, how
differently its neighbours are carried, and how far it lands from where the
landmarks left out say. Their root sum of squares is the *expected error*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.plans import TransportPlan

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

NEIGHBOURS = 6
"""Neighbours of a spot that ought to be carried alike."""
_REACH = 2.5
"""Neighbours farther away than this, in pitches, are across a gap in the tissue."""
_LEAST = 1.0
"""Below this expected error, in pitches, nothing is worth a look."""
_TELLING = 0.5
"""Reasons that amount to less than this, in pitches, are not told."""
_ALWAYS = 3.0
"""Above this one, in pitches, everything is, however usual it is in this plan."""
_FALLBACK = 90.0
"""Percentile of the expected error above which spots are shown where none stands out."""
_SPREADS = 2.5
"""Robust standard deviations above the median at which a spot stands out."""


@dataclass(frozen=True)
class Doubt:
    """What speaks against the match of each source spot; NaN where it has none.

    Attributes
    ----------
    entropy
        (n,) entropy of each row, in [0, 1].
    spread
        (n,) root mean square distance of a spot's partners from their barycentre, in pitches.
    torn
        (n,) mean difference between where a spot and its neighbours are carried
        to, in pitches.
    disagreement
        (n,) distance from where the landmarks left out carry the spot, in pitches;
        NaN without such landmarks.
    error
        (n,) expected error: root sum of squares of the three, in pitches.
    edges
        (e, 2) pairs of neighbouring spots.
    stretch
        (e,) difference between where the two spots of each pair are carried to, in pitches.
    """

    entropy: Floats
    spread: Floats
    torn: Floats
    disagreement: Floats
    error: Floats
    edges: Indices
    stretch: Floats


@dataclass(frozen=True)
class Region:
    """Neighbouring spots whose matches are uncertain or contradict each other.

    Attributes
    ----------
    spots
        (k,) rows of the source spots.
    partners
        (q,) columns of the target spots to which most of their mass goes.
    score
        Sum over the spots of the expected error beyond what is usual in the
        plan, in spots times pitches; regions are ranked by it.
    entropy, error
        Medians over the spots; see :class:`Doubt`.
    spread, disagreement
        Ninetieth percentiles over the spots, in pitches.
    torn
        How far its spots are torn from their neighbours: the ninetieth
        percentile over the pairs, in pitches.
    text
        All this in words.
    stands_out
        Whether it is worse than what is usual in the plan; otherwise it is only
        the least certain part of a plan in which nothing stands out.
    """

    spots: Indices
    partners: Indices
    score: float
    entropy: float
    spread: float
    torn: float
    disagreement: float
    error: float
    text: str
    stands_out: bool = True


def row_moments(plan: Any, target_points: Floats) -> tuple[Floats, Floats]:
    """Return where each row's mass lands and how it is spread.

    Parameters
    ----------
    plan
        (n, m) sparse plan.
    target_points
        (m, 2) target spots (x, y).

    Returns
    -------
    ndarray, ndarray
        (n, 2) barycentres and (n, 2, 2) covariances of the target points under
        each row; NaN where a row is empty.
    """
    points = np.asarray(target_points, np.float64)
    centre = points.mean(axis=0)
    x, y = (points - centre).T
    mass = np.asarray(plan.sum(axis=1)).ravel()
    with np.errstate(invalid="ignore", divide="ignore"):
        moments = np.asarray(plan @ np.column_stack([x, y, x * x, x * y, y * y])) / mass[:, None]
    moments[~(mass > 0)] = np.nan
    mean = moments[:, :2]
    xx, xy, yy = (moments[:, 2:] - np.column_stack([mean[:, 0], mean[:, 0], mean[:, 1]])
                  * np.column_stack([mean[:, 0], mean[:, 1], mean[:, 1]])).T  # fmt: skip
    covariance = np.stack([np.maximum(xx, 0), xy, xy, np.maximum(yy, 0)], axis=1)
    return mean + centre, covariance.reshape(-1, 2, 2)


def neighbour_pairs(points: Floats, pitch: float, k: int = NEIGHBOURS) -> Indices:
    """(e, 2) pairs i < j of which one is among the ``k`` nearest of the other and not far."""
    from scipy.spatial import cKDTree

    n = len(points)
    if n < 2:
        return np.zeros((0, 2), np.intp)
    reach = _REACH * pitch
    distance, other = cKDTree(points).query(points, k=min(k + 1, n), distance_upper_bound=reach)
    near = np.isfinite(distance) & (other != np.arange(n)[:, None]) & (other < n)
    i, column = np.nonzero(near)
    pairs = np.sort(np.column_stack([i, np.asarray(other)[i, column]]), axis=1)
    return np.asarray(np.unique(pairs, axis=0), np.intp)


def spot_doubt(plan: TransportPlan, target_points: Floats, pitch: float) -> Doubt:
    """Work out what speaks against the match of each source spot.

    Parameters
    ----------
    plan
        The plan; its source coordinates are those under the linear pose.
    target_points
        (m, 2) target spots (x, y) um.
    pitch
        Distance between neighbouring spots in um.
    """
    n = len(plan.source_ids)
    landed, covariance = row_moments(plan.plan, target_points)
    spread = np.sqrt(np.trace(covariance, axis1=1, axis2=2)) / pitch
    shift = (landed - plan.source_coordinates) / pitch
    matched = np.asarray(np.isfinite(shift).all(axis=1))
    edges = neighbour_pairs(np.asarray(plan.source_coordinates, np.float64), pitch)
    edges = edges[matched[edges].all(axis=1)]
    stretch = np.linalg.norm(shift[edges[:, 0]] - shift[edges[:, 1]], axis=1)
    total, degree = np.zeros(n), np.zeros(n)
    for end in (0, 1):
        total += np.bincount(edges[:, end], stretch, minlength=n)
        degree += np.bincount(edges[:, end], minlength=n)
    torn = np.where(matched, total / np.maximum(degree, 1), np.nan)
    disagreement = np.asarray(plan.disagreement, np.float64) / pitch
    error = np.sqrt(spread**2 + torn**2 + np.nan_to_num(disagreement) ** 2)
    entropy = np.where(matched, np.asarray(plan.entropy, np.float64), np.nan)
    return Doubt(entropy, spread, torn, disagreement, error, edges, stretch)


def doubtful_regions(
    plan: TransportPlan,
    doubt: Doubt,
    *,
    smallest: int = 3,
    at_most: int = 30,
) -> tuple[Region, ...]:
    """Find connected regions of source spots whose matches stand out as doubtful.

    The expected error is averaged over each spot and its neighbours; spots
    where it stands out from the rest of the plan (by more than 2.5 robust
    standard deviations, or beyond three pitches in any case) are joined with
    their neighbours that do so too.

    Parameters
    ----------
    plan
        The plan.
    doubt
        What :func:`spot_doubt` found for it.
    smallest
        Regions of fewer spots are left out.
    at_most
        How many to return.

    Returns
    -------
    tuple of Region
        The worst first. Where nothing stands out these are the least certain
        tenth of the spots; empty where even they are within half a pitch.
    """
    known: NDArray[np.bool_] = np.isfinite(doubt.error)
    if known.sum() < smallest:
        return ()
    smooth = _averaged(doubt.error, doubt.edges)
    usual = float(np.median(smooth[known]))
    scale = 1.4826 * float(np.median(np.abs(smooth[known] - usual)))
    limit = min(max(usual + _SPREADS * scale, _LEAST), _ALWAYS)
    found = _joined(plan, doubt, smooth, limit, smallest)
    if not found:
        least = max(float(np.percentile(smooth[known], _FALLBACK)), _TELLING)
        found = [
            replace(r, stands_out=False) for r in _joined(plan, doubt, smooth, least, smallest)
        ]
    return tuple(sorted(found, key=lambda region: -region.score)[:at_most])


def _joined(
    plan: TransportPlan, doubt: Doubt, smooth: Floats, limit: float, smallest: int
) -> list[Region]:
    """Regions of neighbouring spots beyond a limit."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(doubt.error)
    known: NDArray[np.bool_] = np.isfinite(doubt.error)
    # Either alone would take in spots whose neighbours only are in doubt, or lone ones.
    flagged: NDArray[np.bool_] = known & (smooth > limit) & (doubt.error > limit)
    inner = doubt.edges[flagged[doubt.edges].all(axis=1)]
    graph = coo_array((np.ones(len(inner)), (inner[:, 0], inner[:, 1])), shape=(n, n))
    _, member = connected_components(graph, directed=False)
    usual = float(np.median(smooth[known]))
    excess = np.where(known, doubt.error - min(usual, _ALWAYS), 0.0)
    found = []
    for label in np.unique(member[flagged]):
        spots = np.flatnonzero((member == label) & flagged)
        if len(spots) >= smallest:
            found.append(_region(plan, doubt, spots, float(excess[spots].sum())))
    return found


def _averaged(values: Floats, edges: Indices) -> Floats:
    """Mean of each spot's value and its neighbours', leaving out what is unknown."""
    known = np.isfinite(values)
    total, count = np.where(known, values, 0.0), known.astype(np.float64)
    plain = total.copy()
    for a, b in ((0, 1), (1, 0)):
        total = total + np.bincount(edges[:, a], plain[edges[:, b]], minlength=len(values))
        count = count + np.bincount(edges[:, a], known[edges[:, b]], minlength=len(values))
    return np.where(known, total / np.maximum(count, 1), np.nan)


def _region(plan: TransportPlan, doubt: Doubt, spots: Indices, score: float) -> Region:
    inside = np.zeros(len(doubt.error), bool)
    inside[spots] = True
    here = doubt.stretch[inside[doubt.edges].any(axis=1)]
    figures = {
        "entropy": float(np.median(doubt.entropy[spots])),
        "spread": float(np.percentile(doubt.spread[spots], 90)),
        "torn": float(np.percentile(here, 90)) if len(here) else 0.0,
        "disagreement": _high(doubt.disagreement[spots]),
        "error": float(np.median(doubt.error[spots])),
    }
    text = _in_words(len(spots), **figures)
    return Region(
        spots=spots,
        partners=best_partners(plan.plan, spots),
        score=score,
        text=text,
        entropy=figures["entropy"],
        spread=figures["spread"],
        torn=figures["torn"],
        disagreement=figures["disagreement"],
        error=figures["error"],
    )


def best_partners(plan: Any, rows: Indices, share: float = 0.25) -> Indices:
    """Columns that get at least this share of what the best partner of one of the rows gets."""
    part = plan.tocsr()[rows]
    best = np.asarray(part.max(axis=1).todense()).ravel()
    entries = part.tocoo()
    strong = entries.data >= share * best[entries.row]
    return np.asarray(np.unique(entries.col[strong & (entries.data > 0)]), np.intp)


def _high(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.percentile(known, 90)) if len(known) else float("nan")


def _in_words(
    count: int, *, entropy: float, spread: float, torn: float, disagreement: float, error: float
) -> str:
    """What is wrong with a region; the terms that say nothing are left out."""
    parts = [f"{count} spots", f"entropy {short(entropy)}"]
    if spread >= _TELLING:
        parts.append(f"partners spread over {_pitches(spread)}")
    if torn >= _TELLING:
        parts.append(f"neighbours torn apart by {_pitches(torn)}")
    if disagreement >= _TELLING:
        parts.append(f"{_pitches(disagreement)} from where the landmarks say")
    return ", ".join(parts)


def short(value: float) -> str:
    """A number in [0, 1] with two decimals and no leading zero."""
    text = f"{value:.2f}"
    return text[1:] if text.startswith("0.") else text


def _pitches(value: float) -> str:
    text = f"{value:.1f}" if value < 9.95 else f"{value:.0f}"
    return f"{text} pitch" if text == "1.0" else f"{text} pitches"
