"""Two clouds of points laid upon each other: local shifts, then iterative closest points.

Nuclei lie about as far apart as a coarse registration is wrong, so that nearest neighbours
mean nothing at first. Small windows of both clouds are therefore correlated over all
shifts (their peaks are sharp and cannot be mistaken for a neighbour), a robust map is
fitted to the shifts, and only then follow closest points: Besl & McKay, IEEE TPAMI 14:239
(1992), trimmed as in Chetverikov et al., Image Vis. Comput. 23:299 (2005).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import Affine
from napari_stomics.methods.registration.estimate import fit_linear
from napari_stomics.methods.registration.outliers import find_outliers

Floats = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]

_BLOCKS = 36
_PER_BLOCK = 150
"""Points wanted in a window: enough for a sharp peak, few enough for a shift to be local."""
_FEWEST = 30
_CLEAR = 1.25
"""How much higher than any other a peak must be to be believed."""
_TURNS = np.deg2rad([0.0, -1.5, 1.5, -3.0, 3.0, -5.0, 5.0])
_ICP_STEPS = 60
_STILL = 1e-3  # um that the map moves any point by: it has stopped


@dataclass(frozen=True)
class Fit:
    """A map of the one cloud on the other, and whether closest points came to rest."""

    transform: Affine
    converged: bool


@dataclass(frozen=True)
class Agreement:
    """How well a map lays one cloud on the other.

    Attributes
    ----------
    share
        Share of the judged target points with a source point within reach.
    chance
        The same under shifts that cannot be right, on the average.
    runner_up
        The highest of these, and the shift (x, y) um that it was found at.
    judged
        How many target points lie where there are source points at all.
    """

    share: float
    chance: float
    runner_up: float
    shift: Floats
    judged: int


def align_locally(
    source: Floats, target: Floats, start: Affine, reach: float, ctx: JobContext
) -> tuple[Affine, int, int]:
    """Correct a coarse map by the local shifts that lay the clouds upon each other.

    Parameters
    ----------
    source, target
        (n, 2), (m, 2) points (x, y) um in their own frames.
    start
        Map from source to target that is right within ``reach`` um and a few degrees.

    Returns
    -------
    transform
        The corrected map; ``start`` where no window tells.
    agreeing, windows
        How many windows have a shift that fits it, and how many were looked at.
    """
    for sigma, span in ((3.0, reach), (2.0, max(reach / 4, 12.0))):
        placed = start.apply(source)
        centres, half = _windows(placed, target)
        ends = []
        for i, centre in enumerate(centres):
            ctx.step(i / len(centres), "Comparing patterns of nuclei")
            found = _local_shift(placed, target, centre, half, span, sigma)
            if found is not None:
                ends.append((centre, centre + found))
        if not ends:
            return start, 0, len(centres)
        here, there = (np.array(side) for side in zip(*ends, strict=True))
        step, good = _robust(here, there, 4 * sigma)
        start = start.then(step)
    return start, int(good.sum()), len(centres)


def closest_points(
    source: Floats,
    target: Floats,
    start: Affine,
    model: str,
    ctx: JobContext,
    *,
    cutoff: float = 6.0,
) -> Fit:
    """Trimmed iterative closest points from a map that is right within ``cutoff`` um.

    Pairs are mutual nearest neighbours; those farther apart than three medians of what is
    left are trimmed, and the limit falls from ``cutoff`` on.
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(target)
    now, limit = start, cutoff
    mirrored = bool(np.linalg.det(start.matrix[:2, :2]) < 0)
    for _ in range(_ICP_STEPS):
        ctx.step(None, "Closest points")
        placed = now.apply(source)
        mine, theirs, distance = mutual_pairs(placed, target, limit, tree)
        if len(mine) < _FEWEST:
            return Fit(now, False)
        step = fit_linear(source[mine], target[theirs], model, mirrored).transform
        assert isinstance(step, Affine)
        moved = float(np.abs(step.apply(source) - placed).max())
        now = step
        limit = min(limit, max(3 * float(np.median(distance)), 1.0))
        if moved < _STILL:
            return Fit(now, True)
    return Fit(now, False)


def mutual_pairs(
    placed: Floats, target: Floats, limit: float, tree: Any = None
) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Rows of points that are each other's nearest within ``limit`` um, and their distances."""
    from scipy.spatial import cKDTree

    tree = cKDTree(target) if tree is None else tree
    distance, there = tree.query(placed, distance_upper_bound=limit)
    near = np.flatnonzero(np.isfinite(distance))
    back = cKDTree(placed).query(target[there[near]])[1]
    kept = near[back == near]
    return kept, there[kept], np.asarray(distance[kept])


def agreement(
    placed: Floats, target: Floats, reach: float, spread: float, seed: int = 0
) -> Agreement:
    """Judge a map by the share of target points that it finds, beside wrong shifts.

    Parameters
    ----------
    placed
        (n, 2) source points in the target's frame.
    target
        (m, 2) points that the map was not fitted to.
    reach
        Distance um up to which a point counts as found.
    spread
        Usual distance um between neighbours: wrong shifts are larger than ``reach`` and
        smaller than a few of these.
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(placed)
    near, _ = tree.query(target, distance_upper_bound=4 * spread)
    inside = np.flatnonzero(np.isfinite(near))
    if not len(inside):
        return Agreement(0.0, 0.0, 0.0, np.zeros(2), 0)
    judged = target[inside]
    if len(judged) > 4000:
        judged = judged[np.random.default_rng(seed).choice(len(judged), 4000, replace=False)]
    angle = np.arange(12) * np.pi / 6
    rings = [r * spread for r in (0.75, 1.25, 2.0, 3.0) if r * spread > 2 * reach] or [3 * reach]
    shifts = np.concatenate([r * np.column_stack([np.cos(angle), np.sin(angle)]) for r in rings])
    shares = np.array([_share(tree, judged - shift, reach) for shift in shifts])
    highest = int(np.argmax(shares))
    share = _share(tree, target[inside], reach)
    return Agreement(
        share, float(shares.mean()), float(shares[highest]), shifts[highest], len(inside)
    )


def spacing_of(points: Floats) -> float:
    """Median distance to the nearest neighbour, um."""
    from scipy.spatial import cKDTree

    some = points[:: max(1, len(points) // 5000)]
    distance, _ = cKDTree(points).query(some, k=2)
    return float(np.median(np.asarray(distance)[:, 1]))


def checkerboard(points: Floats, squares: int = 8) -> Flags:
    """(n,) which points lie on the white squares of a board over them."""
    low, high = points.min(axis=0), points.max(axis=0)
    size = max(float((high - low).max()) / squares, 1e-9)
    return np.asarray(np.floor((points - low) / size).astype(int).sum(axis=1) % 2 == 0)


def _share(tree: Any, points: Floats, reach: float) -> float:
    found, _ = tree.query(points, distance_upper_bound=reach)
    return float(np.isfinite(found).mean())


def _windows(placed: Floats, target: Floats) -> tuple[Floats, float]:
    """Centres of windows spread over the ground that both clouds hold, and half their side."""
    from scipy.spatial import cKDTree

    tree = cKDTree(placed)
    spread = spacing_of(target)
    near, _ = tree.query(target, distance_upper_bound=20 * spread)
    both = target[np.isfinite(near)]
    if len(both) < _FEWEST:
        return np.zeros((0, 2)), 0.0
    area = float(np.prod(np.maximum(np.ptp(both, axis=0), 1.0)))
    half = 0.5 * float(np.sqrt(_PER_BLOCK * area / len(both)))
    rng = np.random.default_rng(0)
    some = both[rng.permutation(len(both))[:4000]]
    chosen = [int(np.argmin(np.linalg.norm(some - some.mean(axis=0), axis=1)))]
    distance = np.full(len(some), np.inf)
    while len(chosen) < min(_BLOCKS, len(some)):
        distance = np.minimum(distance, np.linalg.norm(some - some[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(distance)))
    return some[chosen], half


def _local_shift(
    placed: Floats, target: Floats, centre: Floats, half: float, span: float, sigma: float
) -> Floats | None:
    """Shift (x, y) um that lays a window's points on the target's; None where it is not clear."""
    near = placed[(np.abs(placed - centre) < half).all(axis=1)] - centre
    there = target[(np.abs(target - centre) < half + span).all(axis=1)] - centre
    if len(near) < _FEWEST or len(there) < _FEWEST:
        return None
    pixel = sigma / 1.5
    wide = _painted(there, half + span, pixel, sigma)
    best: tuple[float, Floats | None] = (_CLEAR, None)
    for turn in _TURNS if span > 20 else _TURNS[:1]:
        c, s = np.cos(turn), np.sin(turn)
        small = _painted(near @ np.array([[c, s], [-s, c]]), half, pixel, sigma)
        ratio, shift = _peak(wide, small, pixel, sigma)
        if ratio > best[0]:
            best = ratio, shift
    return best[1]


def _painted(points: Floats, half: float, pixel: float, sigma: float) -> Floats:
    """(side, side) blurred points round the origin; rows are y. The side is odd."""
    from scipy import ndimage

    radius = int(np.ceil(half / pixel))
    index = np.rint(points[:, ::-1] / pixel).astype(int) + radius
    inside = ((index >= 0) & (index <= 2 * radius)).all(axis=1)
    image = np.zeros((2 * radius + 1,) * 2, np.float32)
    np.add.at(image, tuple(index[inside].T), 1.0)
    return np.asarray(ndimage.gaussian_filter(image, sigma / pixel, mode="constant"))


def _peak(wide: Floats, small: Floats, pixel: float, sigma: float) -> tuple[float, Floats]:
    """How far the highest correlation stands above the next place, and its shift um."""
    from scipy.signal import fftconvolve

    # Dense and sparse ground must not attract: only the pattern within it counts.
    small = small - small.mean()
    wide = wide - wide.mean()
    scores = fftconvolve(wide, small[::-1, ::-1], mode="valid")
    row, column = np.unravel_index(int(np.argmax(scores)), scores.shape)
    highest = float(scores[row, column])
    around = int(np.ceil(3 * sigma / pixel))
    rest = scores.copy()
    rest[max(row - around, 0) : row + around + 1, max(column - around, 0) : column + around + 1] = 0
    ratio = highest / max(float(rest.max()), 1e-9)
    middle = (scores.shape[0] - 1) / 2
    shift = np.array([_vertex(scores[row], column), _vertex(scores[:, column], row)])
    return ratio, (shift - middle) * pixel


def _vertex(line: Floats, index: Any) -> float:
    """Place of a maximum between samples, by a parabola."""
    if not 0 < index < len(line) - 1:
        return float(index)
    left, mid, right = (float(v) for v in line[index - 1 : index + 2])
    bend = left - 2 * mid + right
    return float(index + (0.5 * (left - right) / bend if bend < 0 else 0.0))


def _robust(here: Floats, there: Floats, tolerance: float) -> tuple[Affine, Flags]:
    """Map of window centres to where they belong, and which of them agree with it.

    A shift that most share where there are few; a similarity from four on that agree,
    an affine map from ten on.
    """
    shifts = there - here
    distance = np.linalg.norm(shifts[:, None] - shifts[None], axis=2)
    # A turn of a degree moves windows apart: the shift with most others near it may
    # stand for a part of them only, so the similarity is sought first.
    if len(here) >= 5:
        bad = find_outliers(here, there, "similarity", 4.0, False)
        if (~bad).sum() >= 4:
            model = "affine" if (~bad).sum() >= 10 else "similarity"
            step = fit_linear(here[~bad], there[~bad], model).transform
            left = np.linalg.norm(step.apply(here) - there, axis=1)
            if np.median(left[~bad]) < tolerance and isinstance(step, Affine):
                return step, left < tolerance
    centre = int(np.argmax((distance < tolerance).sum(axis=1)))
    good = distance[centre] < tolerance
    matrix = np.eye(3)
    matrix[:2, 2] = np.median(shifts[good], axis=0)
    return Affine(matrix), np.asarray(good)
