"""Local correlation ascent: a pose brought to the nearest best one, in milliseconds.

The enhanced correlation coefficient of G. Evangelidis and E. Psarakis, Parametric
image alignment using enhanced correlation coefficient maximization, IEEE Trans.
Pattern Anal. Mach. Intell. 30:1858 (2008), over several features and only where
both images have pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.registration.raster import Raster

Matrix = NDArray[Any]


class Polisher:
    """Ascends the correlation of two rasters from any number of starts.

    Parameters
    ----------
    source, target
        Rasters with the same features.
    weights
        Weight of each feature.
    """

    def __init__(self, source: Raster, target: Raster, weights: NDArray[Any] | None = None) -> None:
        from scipy import ndimage

        count = len(source.features)
        self.weights = np.ones(count) if weights is None else np.asarray(weights, float)
        self.source, self.target = source, target
        gradients = [
            [ndimage.correlate1d(f, [-0.5, 0.0, 0.5], axis=a) for a in (1, 0)]
            for f in source.features
        ]
        planes = [*source.features, *(g for pair in gradients for g in pair), source.valid]
        self.planes = np.ascontiguousarray(np.stack(planes, axis=-1), dtype=np.float32)
        rows, columns = np.nonzero(target.valid > 0.5)
        if len(rows) > 12_000:  # features are blurred: every other cell, as on a chessboard, does
            keep = (rows + columns) % 2 == 0
            rows, columns = rows[keep], columns[keep]
        self.rows, self.columns = rows, columns
        self.fixed = target.features[:, rows, columns].astype(np.float64)

    def _sample(self, matrix: Matrix) -> tuple[NDArray[Any], NDArray[Any], Any, Any, Any]:
        """Bilinear samples of all planes at the target's cells carried into the source."""
        back = np.linalg.inv(self.source.to_um) @ np.linalg.inv(matrix) @ self.target.to_um
        x = back[0, 0] * self.columns + back[0, 1] * self.rows + back[0, 2]
        y = back[1, 0] * self.columns + back[1, 1] * self.rows + back[1, 2]
        h, w = self.source.shape
        ok = (x >= 0) & (y >= 0) & (x <= w - 1.001) & (y <= h - 1.001)
        x, y = x[ok], y[ok]
        j, i = x.astype(np.intp), y.astype(np.intp)
        fx, fy = (x - j)[:, None], (y - i)[:, None]
        p = self.planes
        top = p[i, j] * (1 - fx) + p[i, j + 1] * fx
        low = p[i + 1, j] * (1 - fx) + p[i + 1, j + 1] * fx
        values = top * (1 - fy) + low * fy
        covered = values[:, -1] > 0.5
        chosen = np.flatnonzero(ok)[covered]
        return values[covered], chosen, x[covered], y[covered], back

    def score(self, matrix: Matrix, weights: NDArray[Any] | None = None) -> float:
        """Weighted correlation of the features under a map of um to um."""
        weights = self.weights if weights is None else weights
        values, chosen, *_ = self._sample(matrix)
        if len(chosen) < 20:
            return -1.0
        cross = power_a = power_b = 0.0
        for c, weight in enumerate(weights):
            if weight == 0.0:
                continue
            a = self.fixed[c, chosen]
            b = values[:, c]
            a = a - a.mean()
            b = b - b.mean()
            cross += weight * float(a @ b)
            power_a += weight * float(a @ a)
            power_b += weight * float(b @ b)
        return cross / max(np.sqrt(power_a * power_b), 1e-12)

    def climb(
        self, matrix: Matrix, model: str, iterations: int, ctx: JobContext
    ) -> tuple[Matrix, float]:
        """Ascend from ``matrix`` within ``rigid``, ``similarity`` or ``affine``; map and score."""
        best, best_score = matrix, self.score(matrix)
        for _ in range(iterations):
            ctx.step()
            step = self._step(best, model)
            if step is None:
                break
            length, moved = 1.0, False
            for _ in range(4):
                trial = self._move(best, model, length * step)
                score = self.score(trial)
                if score > best_score:
                    moved = True
                    break
                length /= 2
            if not moved:
                break
            gain, best, best_score = score - best_score, trial, score
            if gain < 2e-6:
                break
        return best, best_score

    def _step(self, matrix: Matrix, model: str) -> NDArray[Any] | None:
        """Gauss-Newton step of the coefficient in parameters on the source side."""
        values, chosen, x, y, _ = self._sample(matrix)
        if len(chosen) < 50:
            return None
        count = len(self.weights)
        used = np.flatnonzero(self.weights)
        h, w = self.source.shape
        u, v = (x - w / 2) / max(h, w), (y - h / 2) / max(h, w)
        fields = {
            "rigid": [(1.0, 0.0), (0.0, 1.0), (-v, u)],
            "similarity": [(1.0, 0.0), (0.0, 1.0), (-v, u), (u, v)],
            "affine": [(1.0, 0.0), (0.0, 1.0), (u, 0.0), (v, 0.0), (0.0, u), (0.0, v)],
        }[model]
        jacobian, warped, fixed = [], [], []
        for c in used:
            root = np.sqrt(self.weights[c])
            gx, gy = values[:, count + 2 * c], values[:, count + 2 * c + 1]
            j = np.stack([gx * a + gy * b for a, b in fields], axis=1) * root
            jacobian.append(j - j.mean(axis=0))
            b, a = values[:, c] * root, self.fixed[c, chosen] * root
            warped.append(b - b.mean())
            fixed.append(a - a.mean())
        g, iw, r = np.concatenate(jacobian), np.concatenate(warped), np.concatenate(fixed)
        normal = g.T @ g
        normal[np.diag_indices_from(normal)] *= 1 + 1e-6
        try:
            gi, gr = np.linalg.solve(normal, g.T @ iw), np.linalg.solve(normal, g.T @ r)
        except np.linalg.LinAlgError:
            return None
        below = float(r @ iw - (g.T @ r) @ gi)
        above = float(iw @ iw - (g.T @ iw) @ gi)
        plain = float(iw @ iw) / max(abs(float(r @ iw)), 1e-12)
        factor = above / below if below > 1e-12 else plain
        step = factor * gr - gi
        return step if np.isfinite(step).all() else None

    def _move(self, matrix: Matrix, model: str, step: NDArray[Any]) -> Matrix:
        """Apply a step: the source sampling positions move by the step's field."""
        h, w = self.source.shape
        size = max(h, w)
        if model == "rigid":
            a = step[2] / size
            linear = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        elif model == "similarity":
            linear = np.eye(2) + np.array([[step[3], -step[2]], [step[2], step[3]]]) / size
        else:
            linear = np.eye(2) + step[2:6].reshape(2, 2) / size
        centre = np.array([w / 2, h / 2])
        warp = np.eye(3)
        warp[:2, :2] = linear
        warp[:2, 2] = centre + step[:2] - linear @ centre
        to_um = self.source.to_um
        return matrix @ np.linalg.inv(to_um @ warp @ np.linalg.inv(to_um))
