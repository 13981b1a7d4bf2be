"""Principal components of large, possibly sparse features, of values smoothed in space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.fusion.graph import diffuse, walk

Array = NDArray[Any]
Floats = NDArray[np.floating[Any]]

_DENSE_ENTRIES = 60_000_000
_EXTRA = 15
_ITERATIONS = 7


@dataclass(frozen=True)
class Features:
    """Features of one modality, centred and scaled on demand so that sparse ones stay sparse.

    Attributes
    ----------
    x
        (m, g) float32 features, CSR or dense.
    names
        (g,) names.
    centre
        (s, g) what is subtracted, per section; zeros where nothing is.
    factor
        (g,) what each centred feature is multiplied with.
    of
        (m,) section of each spot.
    """

    x: Any
    names: Array
    centre: Floats
    factor: Floats
    of: NDArray[np.intp]

    def dense(self) -> Floats:
        """(m, g) float32 centred and scaled features."""
        x: Any = self.x.toarray() if hasattr(self.x, "toarray") else self.x
        return np.asarray((x - self.centre[self.of]) * self.factor, np.float32)

    def total_variance(self) -> float:
        """Sum of the features' variances after centring and scaling."""
        squares: Any = self.x.multiply(self.x) if hasattr(self.x, "multiply") else self.x**2
        second = np.asarray(squares.sum(axis=0), np.float64).ravel()
        sums = section_sums(self.x, self.of, len(self.centre))
        sizes = np.bincount(self.of, minlength=len(self.centre))[:, None]
        second = second - 2 * (sums * self.centre).sum(0) + (sizes * self.centre**2).sum(0)
        first = (sums - sizes * self.centre).sum(0) / len(self.of)
        return float(((second / len(self.of) - first**2) * self.factor**2).sum())


def section_sums(x: Any, of: NDArray[np.intp], sections: int) -> Floats:
    """(s, g) sum of the rows of each section, float64."""
    from scipy import sparse

    sums = sparse.csr_array((np.ones(len(of)), (of, np.arange(len(of)))), shape=(sections, len(of)))
    out: Any = sums @ x
    return np.asarray(out.toarray() if hasattr(out, "toarray") else out, np.float64)


def spatial_components(
    features: Features,
    graph: Any,
    count: int,
    steps: int,
    seed: int = 0,
    ctx: JobContext | None = None,
) -> tuple[Floats, Floats]:
    """Scores on the principal axes of the features after diffusion in space.

    The axes are those of largest variance of ``W^t Z`` (Z the centred, scaled
    features, W the walk on the graph), found by block power iteration (Halko,
    Martinsson and Tropp 2011, SIAM Rev 53:217); the scores are of ``Z`` itself,
    so that they can be smoothed by any number of steps afterwards.

    Returns
    -------
    scores
        (m, k) float32, the axes of largest smoothed variance first.
    loadings
        (k, g) orthonormal axes, the entry of largest size positive.
    """
    ctx = ctx or JobContext()
    m, g = features.x.shape
    count = min(count, m, g)
    step = walk(graph) if steps else None
    wide = min(count + _EXTRA, m, g)
    dense = features.dense() if m * g <= _DENSE_ENTRIES else None
    if dense is not None:
        smooth = diffuse(step, dense, steps)
        basis = _power(lambda v: smooth @ v, lambda u: smooth.T @ u, g, wide, seed, ctx)
        seen: Any = smooth @ basis
    else:
        move = _operator(features)
        back = None if step is None else step.T.tocsr()
        forward = lambda v: diffuse(step, move[0](v), steps)  # noqa: E731
        basis = _power(forward, lambda u: move[1](diffuse(back, u, steps)), g, wide, seed, ctx)
        seen = forward(basis)
    _, _, turn = np.linalg.svd(seen.astype(np.float64), full_matrices=False)
    axes = (basis @ turn.T[:, :count]).T
    signs = np.sign(axes[np.arange(count), np.abs(axes).argmax(axis=1)])
    axes = axes * np.where(signs == 0, 1.0, signs)[:, None]
    scores = dense @ axes.T.astype(np.float32) if dense is not None else move[0](axes.T)
    return np.asarray(scores, np.float32), np.asarray(axes)


def _operator(features: Features) -> tuple[Any, Any]:
    """Products with the centred, scaled features and with their transpose, kept sparse."""
    x, centre, factor, of = features.x, features.centre, features.factor, features.of
    count = len(centre)

    def forward(v: Floats) -> Floats:
        scaled = (factor[:, None] * v).astype(np.float32)
        return np.asarray(x @ scaled - (centre @ scaled).astype(np.float32)[of], np.float32)

    def transposed(u: Floats) -> Floats:
        sums = section_sums(u, of, count)
        return np.asarray(factor[:, None] * (x.T @ u - centre.T @ sums), np.float32)

    return forward, transposed


def _power(forward: Any, transposed: Any, g: int, count: int, seed: int, ctx: JobContext) -> Floats:
    """(g, count) orthonormal basis of the leading right singular vectors."""
    basis: Floats = np.random.default_rng(seed).standard_normal((g, count)).astype(np.float32)
    for i in range(_ITERATIONS):
        ctx.step(None if i else 0.0)
        found: Any = np.linalg.qr(transposed(forward(basis)))[0]
        basis = found.astype(np.float32)
    return basis
