"""All poses of a stack at once from the alignments of its pairs.

Chaining neighbours adds their errors up. Alignments that skip a section close
loops, and the poses that agree best with all of them are found together:
orientations by a vote, rotations by the chordal relaxation (Martinec and Pajdla
2007, CVPR), shifts by linear least squares, and alignments that the others
contradict lose their weight (Geman-McClure).

Points are (k, 2) of (x, y); maps carry a source's points to a target's frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.transforms import Affine

Floats = NDArray[np.floating[Any]]

_ROUNDS = 50
_SETTLED = 1e-6
_TELLING = 0.5
"""Below this many pitches a residual is ordinary noise."""
_ROBUST_PITCHES = 3.0


@dataclass(frozen=True)
class GraphEdge:
    """One measured rigid map.

    Attributes
    ----------
    source, target
        Indices of the sections.
    transform
        Rigid, possibly mirrored, map from source to target.
    weight
        Trust, non-negative.
    """

    source: int
    target: int
    transform: Affine
    weight: float


@dataclass(frozen=True)
class PoseGraph:
    """The joint solution.

    Attributes
    ----------
    poses
        Map of each section to the reference.
    kept
        (e,) robust weight of each edge in [0, 1]; 0 for edges whose orientation
        was outvoted.
    residuals
        (e,) root mean square distance over the source's points between the edge
        and the solution.
    """

    poses: tuple[Affine, ...]
    kept: Floats
    residuals: Floats


def rigid_between(
    source: Floats, target: Floats, weights: Floats, mirrored: bool | None = None
) -> Affine:
    """Weighted rigid map of points onto points (Procrustes; Kabsch 1976).

    Parameters
    ----------
    source, target
        (k, 2) corresponding points; rows that are not finite are left out.
    weights
        (k,) non-negative weights.
    mirrored
        Whether the map mirrors; None takes what fits better.
    """
    used = np.isfinite(source).all(axis=1) & np.isfinite(target).all(axis=1) & (weights > 0)
    a, b, w = source[used], target[used], weights[used] / weights[used].sum()
    centre, onto = w @ a, w @ b
    u, _, vt = np.linalg.svd((b - onto).T @ ((a - centre) * w[:, None]))
    sign = float(np.linalg.det(u @ vt))
    wanted = sign if mirrored is None else (-1.0 if mirrored else 1.0)
    rotation = u @ np.diag([1.0, 1.0 if wanted * sign > 0 else -1.0]) @ vt
    return _affine(rotation, onto - rotation @ centre)


def robust_rigid(
    source: Floats, target: Floats, weights: Floats, scale: float, mirrored: bool | None = None
) -> Affine:
    """Return :func:`rigid_between` with the weights of points that do not fit taken back.

    Cauchy weights with ``scale`` as the residual at which a weight is halved.
    """
    found = rigid_between(source, target, weights, mirrored)
    for _ in range(10):
        residual = np.linalg.norm(found.apply(source) - target, axis=1)
        trust = weights / (1 + (np.nan_to_num(residual) / scale) ** 2)
        new = rigid_between(source, target, trust, mirrored)
        moved = np.abs(new.apply(source) - found.apply(source)).max()
        found = new
        if moved < 1e-4 * scale:
            break
    return found


def solve_pose_graph(
    points: Sequence[Floats], edges: Sequence[GraphEdge], reference: int, pitch: float
) -> PoseGraph:
    """Find the pose of every section in the reference's frame.

    Parameters
    ----------
    points
        Spots of each section, over which residuals are measured.
    edges
        Measured maps of pairs.
    reference
        Index of the section that stays.
    pitch
        Distance between neighbouring spots: residuals below half of it are noise.

    Raises
    ------
    ValueError
        If the edges do not join all sections.
    """
    trust = np.array([max(e.weight, 0.0) for e in edges])
    if not _joined(len(points), [e for e, w in zip(edges, trust, strict=True) if w > 0]):
        raise ValueError("the alignments do not join all sections")
    signs = _orientations(len(points), edges, trust, reference)
    agrees = np.array([signs[e.source] * signs[e.target] * _sign(e.transform) > 0 for e in edges])
    if not _joined(
        len(points), [e for e, ok in zip(edges, agrees & (trust > 0), strict=True) if ok]
    ):
        raise ValueError("the alignments contradict each other about mirrored sections")
    trust = trust * agrees
    centres = [p.mean(axis=0) for p in points]
    kept = np.ones(len(edges))
    for _ in range(_ROUNDS):
        poses = _linear_solution(centres, edges, trust * kept, signs, reference)
        residuals = edge_residuals(points, edges, poses)
        middle = float(np.median(residuals[agrees]))
        scale = max(_TELLING * pitch, min(1.4826 * middle, _ROBUST_PITCHES * pitch))
        new = 1 / (1 + (residuals / (2 * scale)) ** 2) ** 2
        settled = np.abs(new - kept).max() < _SETTLED
        kept = new
        if settled:
            break
    return PoseGraph(poses, kept * agrees, residuals)


def chain_poses(count: int, edges: Sequence[GraphEdge], reference: int) -> tuple[Affine, ...]:
    """Poses from neighbouring sections alone, one map after the other."""
    step = {(e.source, e.target): e.transform for e in edges}
    step |= {(b, a): t.inverse() for (a, b), t in step.items()}
    poses: list[Affine | None] = [None] * count
    poses[reference] = Affine.identity()
    for order in (range(reference - 1, -1, -1), range(reference + 1, count)):
        for here in order:
            there = here + (1 if here < reference else -1)
            onto = poses[there]
            assert onto is not None
            poses[here] = step[here, there].then(onto)
    return tuple(p for p in poses if p is not None)


def edge_residuals(
    points: Sequence[Floats], edges: Sequence[GraphEdge], poses: Sequence[Affine]
) -> Floats:
    """(e,) root mean square distance between where each edge and the poses carry the points."""
    out = []
    for edge in edges:
        own = points[edge.source]
        gap = edge.transform.then(poses[edge.target]).apply(own) - poses[edge.source].apply(own)
        out.append(np.sqrt((gap**2).sum(axis=1).mean()))
    return np.array(out)


def loop_errors(
    points: Sequence[Floats], edges: Sequence[GraphEdge]
) -> tuple[Floats, list[tuple[int, int, int]]]:
    """Miss of every triangle of edges a to b, b to c and a to c, and its sections.

    Returns
    -------
    errors
        (k,) root mean square distance over the points of a.
    triangles
        (a, b, c) of each.
    """
    step = {(e.source, e.target): e.transform for e in edges}
    errors, found = [], []
    for a, b in step:
        for c in range(len(points)):
            if (b, c) in step and (a, c) in step:
                around = step[a, b].then(step[b, c]).apply(points[a])
                gap = around - step[a, c].apply(points[a])
                errors.append(np.sqrt((gap**2).sum(axis=1).mean()))
                found.append((a, b, c))
    return np.array(errors), found


def _linear_solution(
    centres: Sequence[Floats],
    edges: Sequence[GraphEdge],
    weights: Floats,
    signs: Floats,
    reference: int,
) -> tuple[Affine, ...]:
    count = len(centres)
    rows = {s: k for k, s in enumerate(s for s in range(count) if s != reference)}
    root = np.sqrt(weights)
    # Rotations: M_target R = M_source for every edge, row by row of M, with M of the reference 1.
    design = np.zeros((2 * len(edges), 2 * len(rows)))
    wanted = np.zeros((2 * len(edges), 2))
    for e, edge in enumerate(edges):
        block = slice(2 * e, 2 * e + 2)
        rotation = edge.transform.matrix[:2, :2]
        for section, part in ((edge.target, rotation.T), (edge.source, -np.eye(2))):
            if section == reference:
                wanted[block] -= root[e] * part
            else:
                at = 2 * rows[section]
                design[block, at : at + 2] += root[e] * part
    solved = np.linalg.lstsq(design, wanted, rcond=None)[0]
    rotations: list[Floats] = [np.eye(2)] * count
    for section, k in rows.items():
        rotations[section] = _nearest_rotation(solved[2 * k : 2 * k + 2].T, signs[section])
    # Shifts of the centres, so that an error of a rotation does not become one of a shift.
    design = np.zeros((len(edges), len(rows)))
    shifts = np.zeros((len(edges), 2))
    for e, edge in enumerate(edges):
        apart = edge.transform.apply(centres[edge.source][None])[0] - centres[edge.target]
        shifts[e] = root[e] * rotations[edge.target] @ apart
        for section, sign in ((edge.source, 1.0), (edge.target, -1.0)):
            if section != reference:
                design[e, rows[section]] += sign * root[e]
    placed = np.linalg.lstsq(design, shifts, rcond=None)[0]
    poses = []
    for section, rotation in enumerate(rotations):
        if section == reference:
            poses.append(Affine.identity())
            continue
        onto = placed[rows[section]] + centres[reference]
        poses.append(_affine(rotation, onto - rotation @ centres[section]))
    return tuple(poses)


def _nearest_rotation(matrix: Floats, sign: float) -> Floats:
    u, _, vt = np.linalg.svd(matrix)
    flip = sign * float(np.linalg.det(u @ vt))
    return np.asarray(u @ np.diag([1.0, 1.0 if flip > 0 else -1.0]) @ vt)


def _orientations(count: int, edges: Sequence[GraphEdge], trust: Floats, reference: int) -> Floats:
    """(s,) 1, or -1 for sections that lie mirrored to the reference: the vote of all edges.

    From the strongest edges on; then each section changes sides as long as that
    pleases more of them.
    """
    votes = np.zeros((count, count))
    for edge, weight in zip(edges, trust, strict=True):
        votes[edge.source, edge.target] += weight * _sign(edge.transform)
    votes = votes + votes.T
    signs = _chained_signs(votes, reference)
    while True:
        gain = -2 * signs * (votes @ signs)
        gain[reference] = -np.inf
        best = int(np.argmax(gain))
        if gain[best] <= 1e-12:
            return signs
        signs[best] *= -1


def _chained_signs(votes: Floats, reference: int) -> Floats:
    """Signs along the strongest edges first (a maximum spanning tree from the reference)."""
    signs = np.zeros(len(votes))
    signs[reference] = 1.0
    while (signs == 0).any():
        strength = np.abs(votes) * (signs != 0)[:, None] * (signs == 0)[None]
        known, new = np.unravel_index(int(np.argmax(strength)), strength.shape)
        if strength[known, new] <= 0:
            # Votes for and against cancel: leave the section as it lies.
            signs[np.flatnonzero(signs == 0)[0]] = 1.0
            continue
        signs[new] = signs[known] * np.sign(votes[known, new])
    return signs


def _joined(count: int, edges: Sequence[GraphEdge]) -> bool:
    group = list(range(count))
    for edge in edges:
        a, b = group[edge.source], group[edge.target]
        group = [a if g == b else g for g in group]
    return len(set(group)) == 1


def _sign(transform: Affine) -> float:
    return float(np.sign(np.linalg.det(transform.matrix[:2, :2])))


def _affine(matrix: Floats, shift: Floats) -> Affine:
    out = np.eye(3)
    out[:2, :2], out[:2, 2] = matrix, shift
    return Affine(out)
