"""Poses, and what their search and their refinement share.

Positions here, as everywhere in this package, are in units of spot pitch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.transforms import Affine

Floats = NDArray[np.floating[Any]]

UNSURE = 0.1
"""Margin below which a pose should be confirmed by two landmarks."""

_MANY = 30_000  # spots beyond which they are pooled before they are rasterised


@dataclass(frozen=True)
class Pose:
    """A linear map of the source onto the target, in units of spot pitch.

    Attributes
    ----------
    matrix
        (2, 2) rotation, mirrored where its determinant is negative; with scale
        or shear where that was asked for.
    shift
        (2,) added after it.
    score
        In [0, 1]: the correlation of the smoothed features under it, over the
        whole of the smaller section. NaN where none was computed.
    """

    matrix: Floats
    shift: Floats
    score: float = float("nan")

    def apply(self, points: Floats) -> Floats:
        """(n, 2) points of the source in the target's frame."""
        return np.asarray(np.asarray(points, np.float64) @ self.matrix.T + self.shift)

    @property
    def mirrored(self) -> bool:
        """Whether the source is turned over."""
        return bool(np.linalg.det(self.matrix) < 0)

    @property
    def degrees(self) -> float:
        """Rotation in [0, 360), after mirroring x where the pose is mirrored."""
        column = self.matrix[:, 0] * (-1 if self.mirrored else 1)
        return float(np.degrees(np.arctan2(column[1], column[0])) % 360)

    def affine(self, pitch: float, target_pitch: float | None = None) -> Affine:
        """Map of micrometres to micrometres.

        Parameters
        ----------
        pitch
            Micrometres by which the source positions were divided.
        target_pitch
            The same of the target, where it is another.
        """
        onto = pitch if target_pitch is None else target_pitch
        out = np.eye(3)
        out[:2, :2] = self.matrix * (onto / pitch)
        out[:2, 2] = self.shift * onto
        return Affine(out)

    @classmethod
    def from_affine(cls, affine: Affine, pitch: float, target_pitch: float | None = None) -> Pose:
        """Return the pose of a map of micrometres, see :meth:`affine`."""
        onto = pitch if target_pitch is None else target_pitch
        return cls(affine.matrix[:2, :2] * (pitch / onto), affine.matrix[:2, 2] / onto)


@dataclass(frozen=True)
class PoseSearch:
    """Distinct poses, best first, and how far the best one leads.

    Attributes
    ----------
    poses
        Local optima of the search, at most a handful.
    margin
        Lead of the best pose over the runner-up as a share of its score, in
        [0, 1]; less where poses around it tell nearly as much, so that it may
        lie some spots off. Below :data:`UNSURE` another pose explains the
        features nearly as well.
    """

    poses: tuple[Pose, ...]
    margin: float

    @property
    def best(self) -> Pose:
        """The pose of the highest score."""
        return self.poses[0]

    @property
    def sure(self) -> bool:
        """Whether the best pose leads clearly."""
        return self.margin >= UNSURE


def turn(degrees: float, mirrored: bool = False, scale: float = 1.0) -> NDArray[np.float64]:
    """(2, 2) rotation from x to y, of x mirrored first where asked for."""
    a = np.deg2rad(degrees)
    matrix = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return matrix @ np.diag([-1.0, 1.0]) if mirrored else matrix


def own_pitch(points: Floats) -> float:
    """Median distance to the nearest neighbour, of a few thousand spots at most."""
    from scipy.spatial import cKDTree

    asked = points
    if len(points) > 4000:
        asked = points[np.random.default_rng(0).permutation(len(points))[:4000]]
    distance: Any = cKDTree(points).query(asked, k=2)[0]
    return max(float(np.median(distance[:, 1])), 1e-9)


def pooled(points: Floats, features: Floats, spacing: float) -> tuple[Floats, Floats]:
    """Means of positions and features over small cells, where there are very many spots."""
    if len(points) <= _MANY:
        return points, np.asarray(features)
    cell = np.floor((points - points.min(axis=0)) / spacing).astype(np.int64)
    _, place, count = np.unique(
        cell[:, 0] * (cell[:, 1].max() + 1) + cell[:, 1], return_inverse=True, return_counts=True
    )

    def mean(values: Floats) -> Floats:
        return np.asarray(np.bincount(place, values, len(count)) / count)

    return (
        np.stack([mean(points[:, k]) for k in (0, 1)], axis=1),
        np.stack([mean(features[:, k]) for k in range(features.shape[1])], axis=1)
        if features.shape[1]
        else np.zeros((len(count), 0)),
    )
