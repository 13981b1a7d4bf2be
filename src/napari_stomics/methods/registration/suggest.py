"""Landmarks suggested from the images: distinctive places matched patch by patch.

Under a registration that is roughly right, a patch of the source is sought in
the target nearby. What is kept is distinctive (its correlation peak is sharp and
alone), consistent (the search from the target back returns to it) and agrees with
its neighbours; the kept places are spread over the tissue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.inputs import ImagePair
from napari_stomics.core.jobs import JobContext, limited_threads
from napari_stomics.core.results import Registration
from napari_stomics.core.transforms import Transform
from napari_stomics.methods.registration.raster import Raster
from napari_stomics.methods.registration.tissue import survey, tissue_raster

CELLS = 320
"""Cells along the tissue's longer side on which patches are compared."""


HALF_PATCH, REACH = 0.16, 0.05
"""Half the width of a patch, and how far it is sought, as shares of the tissue's extent."""


@dataclass(frozen=True)
class Suggestion:
    """One suggested pair of landmarks.

    Attributes
    ----------
    source, target
        (x, y) in micrometres, each in its own section.
    score
        Confidence in [0, 1]: the correlation of the patches times how far their
        best match stands out.
    """

    source: tuple[float, float]
    target: tuple[float, float]
    score: float


def suggest_landmarks(
    inputs: ImagePair, registration: Registration | Transform, count: int, ctx: JobContext
) -> tuple[Suggestion, ...]:
    """Suggest pairs of landmarks under a registration that is roughly right.

    Parameters
    ----------
    inputs
        The two images; only coarse levels are read.
    registration
        A registration, or a map, from source to target micrometres.
    count
        How many at most; fewer where fewer are trustworthy.
    ctx
        Progress and cancellation.

    Returns
    -------
    tuple of Suggestion
        The most confident first.
    """
    transform = registration.transform if isinstance(registration, Registration) else registration
    with limited_threads(1):
        views = survey(inputs.source, ctx), survey(inputs.target, ctx)
        spacing = max(float((v.high - v.low).max()) for v in views) / CELLS
        source, target = (tissue_raster(v, spacing, True, ctx) for v in views)
        warped, valid = _in_target_frame(source, target, transform)
        matches = _matches(warped, valid, target, count, ctx)
        matches = _consistent(matches)
    inverse = transform.inverse()
    chosen = _spread(matches, count, target.shape)
    out = []
    for place, moved, score in chosen:
        # The patch stands at ``place`` in the carried source and at ``moved`` in the target.
        points = (np.array([place, moved])[:, ::-1] @ target.to_um[:2, :2].T) + target.to_um[:2, 2]
        back = inverse.apply(points[:1])[0]
        out.append(
            Suggestion(
                (float(back[0]), float(back[1])),
                (float(points[1, 0]), float(points[1, 1])),
                float(score),
            )
        )
    return tuple(sorted(out, key=lambda s: -s.score))


Match = tuple[NDArray[np.float64], NDArray[np.float64], float]


def _in_target_frame(
    source: Raster, target: Raster, transform: Transform
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Structure and density of the source on the target's grid."""
    from scipy import ndimage

    rows, columns = np.mgrid[: target.shape[0], : target.shape[1]]
    grid = np.column_stack([columns.ravel(), rows.ravel(), np.ones(rows.size)])
    points = transform.inverse().apply((grid @ target.to_um.T)[:, :2])
    back = np.linalg.inv(source.to_um)
    index = (points @ back[:2, :2].T + back[:2, 2])[:, ::-1].T.reshape(2, *target.shape)
    planes = [ndimage.map_coordinates(f, index, order=1) for f in source.features]
    valid = ndimage.map_coordinates(source.valid, index, order=1) > 0.99
    return np.stack(planes), valid & (target.valid > 0.5)


def _matches(
    warped: NDArray[Any], valid: NDArray[np.bool_], target: Raster, count: int, ctx: JobContext
) -> list[Match]:
    """Best match of a patch round each distinctive place, with its confidence."""
    from scipy import ndimage

    half, reach = round(HALF_PATCH * CELLS), round(REACH * CELLS)
    moving, fixed = (ndimage.gaussian_filter(f[2], 1.5) for f in (warped, target.features))
    places = _distinctive(moving, warped[1], valid, half + reach, 6 * count)
    out = []
    for i, place in enumerate(places):
        ctx.step(i / len(places), "Matching patches")
        forward = _best_shift(moving, fixed, place, half, reach)
        if forward is None:
            continue
        shift, peak, lead = forward
        there = np.round(place + shift).astype(int)
        again = _best_shift(fixed, moving, there, half, reach)
        if again is None or np.abs(there + again[0] - place).max() > 2.0:
            continue
        out.append((place.astype(float), place + shift, float(max(peak, 0.0) * lead)))
    return out


def _distinctive(
    structure: NDArray[Any],
    density: NDArray[Any],
    valid: NDArray[np.bool_],
    border: int,
    count: int,
) -> NDArray[np.intp]:
    """(n, 2) places (row, column) whose surroundings vary in both directions, well apart."""
    from scipy import ndimage

    gy, gx = (ndimage.gaussian_filter(structure, 1.5, order=o) for o in ((1, 0), (0, 1)))
    width = 0.03 * CELLS
    xx, yy, xy = (ndimage.gaussian_filter(p, width) for p in (gx * gx, gy * gy, gx * gy))
    corner = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    corner = np.where(valid & (density > 0.02), corner, 0.0)
    frame = np.zeros_like(corner)
    frame[border:-border, border:-border] = 1.0
    corner *= frame
    peaks = corner == ndimage.maximum_filter(corner, size=round(0.03 * CELLS))
    rows, columns = np.nonzero(peaks & (corner > 0.02 * corner.max()))
    order = np.argsort(-corner[rows, columns], kind="stable")[:count]
    return np.column_stack([rows, columns])[order]


def _best_shift(
    moving: NDArray[Any], fixed: NDArray[Any], place: NDArray[Any], half: int, reach: int
) -> tuple[NDArray[np.float64], float, float] | None:
    """Shift (row, column) to subcell precision, correlation and lead of the best match."""
    from scipy.signal import fftconvolve

    r, c = int(place[0]), int(place[1])
    wide = half + reach
    if min(r, c) < wide or r + wide >= fixed.shape[0] or c + wide >= fixed.shape[1]:
        return None
    axis = np.arange(-half, half + 1) / half
    window = np.exp(-2.0 * (axis[:, None] ** 2 + axis[None] ** 2))
    window /= window.sum()
    patch = moving[r - half : r + half + 1, c - half : c + half + 1].astype(np.float64)
    patch = patch - (window * patch).sum()
    area = fixed[r - wide : r + wide + 1, c - wide : c + wide + 1].astype(np.float64)
    flip = window[::-1, ::-1]
    mean = fftconvolve(area, flip, mode="valid")
    power = np.maximum(fftconvolve(area**2, flip, mode="valid") - mean**2, 1e-6)
    energy = float((window * patch**2).sum())
    if energy < 1e-4:
        return None
    cross = fftconvolve(area, (window * patch)[::-1, ::-1], mode="valid")
    score = cross / np.sqrt(power * energy)
    i, j = np.unravel_index(int(np.argmax(score)), score.shape)
    if not (0 < i < score.shape[0] - 1 and 0 < j < score.shape[1] - 1):
        return None
    peak = float(score[i, j])
    others = score.copy()
    guard = max(half // 2, 3)
    others[max(i - guard, 0) : i + guard + 1, max(j - guard, 0) : j + guard + 1] = -1.0
    lead = float(np.clip((peak - others.max()) / max(abs(peak), 1e-6) * 2, 0.0, 1.0))
    shift = np.array(
        [
            i - reach + _vertex(score[i - 1 : i + 2, j]),
            j - reach + _vertex(score[i, j - 1 : j + 2]),
        ]
    )
    return shift, peak, lead


def _vertex(three: NDArray[Any]) -> float:
    """Offset of the maximum of the parabola through three neighbours."""
    curvature = float(three[0] - 2 * three[1] + three[2])
    return float(0.5 * (three[0] - three[2]) / curvature) if curvature < -1e-12 else 0.0


def _consistent(matches: list[Match]) -> list[Match]:
    """Drop matches that disagree with their neighbours; draw the others half way to them.

    One patch carries the noise of its own cells; serial sections share larger
    structures, and those the neighbours see as well.
    """
    good = [m for m in matches if m[2] > 0.1]
    if len(good) < 4:
        return good
    places = np.array([m[0] for m in good])
    shifts = np.array([m[1] - m[0] for m in good])
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    near = np.argsort(distance, axis=1, kind="stable")[:, 1:8]
    residual = np.linalg.norm(shifts - np.median(shifts[near], axis=1), axis=1)
    limit = max(2.5 * float(np.median(residual)), 2.0)
    kept = [m for m, r in zip(good, residual, strict=True) if r <= limit]
    places = np.array([m[0] for m in kept])
    shifts = np.array([m[1] - m[0] for m in kept])
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    near = np.argsort(distance, axis=1, kind="stable")[:, :6]
    drawn = 0.5 * shifts + 0.5 * np.median(shifts[near], axis=1)
    return [(p, p + d, m[2]) for p, d, m in zip(places, drawn, kept, strict=True)]


def _spread(matches: list[Match], count: int, shape: tuple[int, int]) -> list[Match]:
    """Choose confident matches that lie far from those already chosen."""
    if not matches:
        return []
    places = np.array([m[0] for m in matches])
    scores = np.array([m[2] for m in matches])
    chosen = [int(np.argmax(scores))]
    nearest = np.linalg.norm(places - places[chosen[0]], axis=1)
    while len(chosen) < min(count, len(matches)):
        nearest[chosen] = 0.0
        best = int(np.argmax(scores * np.minimum(nearest / max(shape), 0.25)))
        if nearest[best] <= 0.02 * max(shape):
            break
        chosen.append(best)
        nearest = np.minimum(nearest, np.linalg.norm(places - places[best], axis=1))
    return [matches[i] for i in chosen]
