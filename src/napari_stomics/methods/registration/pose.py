"""Every pose at once: masked correlation over all shifts, for each rotation and mirror image.

The normalised correlation counts only where both images have pixels, as in
D. Padfield, Masked object registration in the Fourier domain, IEEE Trans. Image
Process. 21:2706 (2012). Bare glass inside an image is evidence, too: it must not
meet tissue. What lies outside an image is unknown, so cropped tissue does not count
against a pose.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.registration.raster import Raster

Matrix = NDArray[Any]


@dataclass(frozen=True)
class Pose:
    """A similarity and the correlation under it; ``matrix`` carries source um to target um."""

    matrix: Matrix
    score: float
    mirrored: bool


def pose_matrix(
    degrees: float, mirrored: bool, scale: float, centre: NDArray[Any], onto: NDArray[Any]
) -> Matrix:
    """(3, 3) map that turns about ``centre`` (x, y) and carries it onto ``onto``.

    A mirrored pose flips x first. The angle turns from x to y, as in a picture with y down.
    """
    a = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    if mirrored:
        linear = linear @ np.diag([-1.0, 1.0])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = onto - linear @ centre
    return matrix


class MaskedCorrelation:
    """Masked normalised correlation of a fixed raster with any other, over all shifts.

    Parameters
    ----------
    target
        The fixed raster.
    shape
        Shape of the moving rasters, which sets the size of the transforms.
    """

    def __init__(self, target: Raster, shape: tuple[int, int]) -> None:
        from scipy import fft

        self._fft = fft
        self.full = tuple(a + b - 1 for a, b in zip(target.shape, shape, strict=True))
        self.size = tuple(fft.next_fast_len(n, real=True) for n in self.full)
        self.moving_shape = shape
        self.target = self._transforms(target.features, target.valid)
        self.area = float(target.features[0].sum())

    def _transforms(self, features: NDArray[Any], valid: NDArray[Any]) -> NDArray[Any]:
        masked = features * valid
        stack = np.concatenate([valid[None], (masked * features).sum(axis=0)[None], masked])
        return self._fft.rfft2(stack.astype(np.float32), self.size)

    def __call__(
        self, features: NDArray[Any], valid: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Correlation for each shift and the share of the smaller tissue inside the overlap.

        Entry (i, j) of the answers puts the moving grid's corner at row
        ``i - (rows - 1)``, column ``j - (columns - 1)`` of the target's grid.
        """
        t, m = self.target, np.conj(self._transforms(features, valid))
        count = len(features)
        products = np.concatenate(
            [
                (t[:2] * m[0]),  # valid pixels; energy of the target
                (t[0] * m[1])[None],  # energy of the moving image
                t[2:] * m[0],
                t[0] * m[2:],
                (t[2:] * m[2:]).sum(axis=0)[None],
            ]
        )
        maps = self._fft.irfft2(products, self.size)
        rows, columns = self.moving_shape
        maps = np.roll(maps, (rows - 1, columns - 1), axis=(1, 2))[
            :, : self.full[0], : self.full[1]
        ]
        n = np.maximum(np.round(maps[0]), 1.0)
        fixed, moving = maps[3 : 3 + count], maps[3 + count : 3 + 2 * count]
        cross = maps[-1] - (fixed * moving).sum(axis=0) / n
        power_fixed = np.maximum(maps[1] - (fixed**2).sum(axis=0) / n, 0.0)
        power_moving = np.maximum(maps[2] - (moving**2).sum(axis=0) / n, 0.0)
        floor = 1e-3 * max(float(power_fixed.max() * power_moving.max()) ** 0.5, 1e-9)
        score = cross / np.maximum(np.sqrt(power_fixed * power_moving), floor)
        own = float((features[0] * valid).sum())
        inside = np.minimum(fixed[0] / max(self.area, 1e-9), moving[0] / max(own, 1e-9))
        return score, inside


def overlap_weight(share: NDArray[Any]) -> NDArray[Any]:
    """Factor on the correlation that distrusts poses which leave most tissue unmatched."""
    return np.sqrt(np.clip(share / 0.5, 0.0, 1.0))


def _turned(source: Raster, matrix: Matrix, centre: NDArray[Any], side: int) -> tuple[Any, Any]:
    """Source features and coverage, turned about ``centre`` into a square grid."""
    from scipy import ndimage

    s = source.spacing
    grid = np.array([[s, 0, -s * (side - 1) / 2], [0, s, -s * (side - 1) / 2], [0, 0, 1.0]])
    linear = np.eye(3)
    linear[:2, :2] = matrix[:2, :2]
    back = np.linalg.inv(source.to_um) @ _shift(centre) @ np.linalg.inv(linear) @ grid
    swap, offset = back[:2, :2][::-1, ::-1], back[:2, 2][::-1]
    planes = [*source.features, source.valid]
    out = [
        ndimage.affine_transform(p, swap, offset, output_shape=(side, side), order=1)
        for p in planes
    ]
    valid = (out[-1] > 0.5).astype(np.float32)
    return np.stack(out[:-1]) * valid, valid


def _shift(by: NDArray[Any]) -> Matrix:
    matrix = np.eye(3)
    matrix[:2, 2] = by
    return matrix


def search_poses(
    source: Raster,
    target: Raster,
    *,
    angles: NDArray[Any],
    mirrors: tuple[bool, ...],
    scales: tuple[float, ...],
    per_angle: int,
    ctx: JobContext,
) -> list[Pose]:
    """Best shifts for every rotation, mirror image and scale, best first.

    Both rasters need the same spacing. ``per_angle`` shifts are kept for each.
    """
    h, w = source.shape
    centre = np.array(source.origin) + source.spacing * np.array([w, h]) / 2
    side = int(np.ceil(np.hypot(h, w) * max(scales))) + 2
    correlate = MaskedCorrelation(target, (side, side))
    runs = [(a, m, k) for m in mirrors for k in scales for a in angles]
    poses = []
    for i, (angle, mirrored, scale) in enumerate(runs):
        ctx.step(i / len(runs), "Searching rotations and shifts")
        matrix = pose_matrix(angle, mirrored, scale, centre, np.zeros(2))
        score, inside = correlate(*_turned(source, matrix, centre, side))
        weighted = score * overlap_weight(inside)
        for row, column in _peaks(weighted, per_angle, side // 6):
            corner = np.array([column - side + 1, row - side + 1]) + side / 2
            onto = np.array(target.origin) + target.spacing * corner
            poses.append(
                Pose(
                    pose_matrix(angle, mirrored, scale, centre, onto),
                    float(weighted[row, column]),
                    mirrored,
                )
            )
    return sorted(poses, key=lambda pose: -pose.score)


def _peaks(values: NDArray[Any], count: int, radius: int) -> Iterator[tuple[int, int]]:
    """Highest places, none within ``radius`` of a higher one."""
    values = values.copy()
    for _ in range(count):
        row, column = np.unravel_index(int(np.argmax(values)), values.shape)
        yield int(row), int(column)
        values[
            max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1
        ] = -np.inf


def pose_distance(a: Matrix, b: Matrix, points: NDArray[Any]) -> float:
    """Root mean square distance (um) between where two maps put the points."""
    move = points @ (a - b)[:2, :2].T + (a - b)[:2, 2]
    return float(np.sqrt((move**2).sum(axis=1).mean()))


def distinct(poses: list[Pose], points: NDArray[Any], apart: float, count: int) -> list[Pose]:
    """Keep the best of each group of poses that lie within ``apart`` um of one another."""
    kept: list[Pose] = []
    for pose in sorted(poses, key=lambda p: -p.score):
        far = all(
            pose.mirrored != other.mirrored
            or pose_distance(pose.matrix, other.matrix, points) > apart
            for other in kept
        )
        if far:
            kept.append(pose)
        if len(kept) == count:
            break
    return kept
