"""A nearly right placement settled on where spots and features match best.

Soft closest points (Besl & McKay 1992, IEEE TPAMI 14:239; Granger & Pennec
2002, ECCV): each spot's partner is blurred over the near ones by distance and
features, and the placement follows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.methods.alignment.bend import Bend, Grid, fit_bend, least_area
from napari_stomics.methods.alignment.poses import Pose

Floats = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]

_SAMPLE = 20_000  # spots that settle a large section
_CLOSEST = 8  # partners that each is blurred over
_BLUR = 0.05  # cost over which it is blurred
_TURNS, _BENDS = 40, 15  # rounds at most
_STILL = 0.02  # pitches: the largest move at which a pose has settled
_CALM = 0.01  # and the mean move of a bend
_LENGTH = 6.0  # pitches over which the bend follows the spots
_RIM = 1.4  # factor of the usual distance to the last partner: beyond, the tissue ends
_LEAST_AREA = 0.15


def rigid(points: Floats, there: Floats, weights: Floats, mirrored: bool | None) -> Pose:
    """Best rigid motion of weighted pairs (Kabsch 1976); None finds out whether it mirrors."""
    w = weights / weights.sum()
    a, b = w @ points, w @ there
    u, _, vt = np.linalg.svd((points - a).T @ (w[:, None] * (there - b)))
    sign = np.sign(np.linalg.det(u @ vt))
    last = 1.0 if mirrored is None else sign * (-1.0 if mirrored else 1.0)
    matrix = (u @ np.diag([1.0, last]) @ vt).T
    return Pose(matrix, b - matrix @ a)


class _Partners:
    """The target, asked where the partners of placed spots lie."""

    def __init__(self, target: Floats, features: Floats) -> None:
        from scipy.spatial import cKDTree

        self.tree: Any = cKDTree(target)
        self.target, self.features = target, features

    def of(self, placed: Floats, features: Floats) -> tuple[Floats, Flags]:
        """(n, 2) mean place of the partners, and (n,) flags of spots well within the tissue."""
        gaps, near = self.tree.query(placed, k=min(_CLOSEST, len(self.target)))
        gaps, near = gaps.reshape(len(placed), -1), near.reshape(len(placed), -1)
        alike = np.zeros(gaps.shape)
        for c in range(near.shape[1]):  # a block of all partners at once would be large
            alike[:, c] = np.einsum("nk,nk->n", features, self.features[near[:, c]])
        logits = 0.5 * (alike - gaps**2) / _BLUR
        share = np.exp(logits - logits.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        there = np.einsum("nc,ncd->nd", share, self.target[near])
        held = (gaps[:, -1] < _RIM * np.median(gaps[:, -1])) & (gaps[:, 0] < 1.0)
        return there, held


def _sample(count: int) -> NDArray[np.intp]:
    return np.sort(np.random.default_rng(0).permutation(count)[:_SAMPLE])


def settled_pose(
    source: Floats, target: Floats, features: tuple[Floats, Floats], pose: Pose
) -> Pose:
    """The rigid pose that spots and features settle on.

    Parameters
    ----------
    source, target
        (n, 2), (m, 2) positions, each in its own frame, in pitches.
    features
        (n, k), (m, k) rows whose inner product says how alike two spots are.
    pose
        Where to start: within about half a pitch.
    """
    chosen = _sample(len(source))
    points, rows = source[chosen], features[0][chosen]
    partners = _Partners(target, features[1])
    scale = float(np.sqrt(abs(np.linalg.det(pose.matrix))))
    for _ in range(_TURNS):
        placed = pose.apply(points)
        there, held = partners.of(placed, rows)
        if held.sum() < 3:
            break
        found = rigid(points[held] * scale, there[held], np.ones(int(held.sum())), pose.mirrored)
        pose = Pose(found.matrix * scale, found.shift, pose.score)
        if np.linalg.norm(pose.apply(points) - placed, axis=1).max() < _STILL:
            break
    return pose


def settled_bend(
    posed: Floats, target: Floats, features: tuple[Floats, Floats], bend: Bend
) -> Bend:
    """The bend that spots and features settle on; the one given where that would fold.

    Parameters
    ----------
    posed
        (n, 2) source spots under the linear pose, in pitches.
    target, features
        See :func:`settled_pose`.
    bend
        Where to start.
    """
    chosen = _sample(len(posed))
    points, rows = posed[chosen], features[0][chosen]
    partners = _Partners(target, features[1])
    grid = Grid.over(posed, min(2.0, bend.grid.spacing))
    nodes = grid.nodes()
    values, placed = bend.apply(nodes) - nodes, bend.apply(points)
    length = max(_LENGTH, 2 * grid.spacing)
    weight = len(posed) / len(chosen)
    for _ in range(_BENDS):
        there, held = partners.of(placed, rows)
        step = fit_bend(points, there - placed, weight * held, length=length, spacing=grid.spacing)
        after = values + step.apply(nodes) - nodes
        if not least_area(grid.field(after), posed) > _LEAST_AREA:
            break
        values = after
        moved = step.apply(points) - points
        placed = placed + moved
        if np.linalg.norm(moved, axis=1).mean() < _CALM:
            break
    return replace(bend, grid=grid, values=values)
