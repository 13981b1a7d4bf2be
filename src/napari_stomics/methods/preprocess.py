"""From raw counts to the scale on which modalities can be compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import Spots

Floats = NDArray[np.floating[Any]]


def log_normalise(x: Any, total: float | None = None) -> Any:
    """Scale every row to the same sum and take log1p.

    Parameters
    ----------
    x
        (n, g) counts, dense or CSR.
    total
        Sum of each row after scaling; the median row sum by default.

    Returns
    -------
    (n, g) float32 matrix, CSR where ``x`` is sparse. Empty rows stay zero.
    """
    from scipy import sparse

    sums = np.asarray(x.sum(axis=1), dtype=np.float64).ravel()
    total = total or float(np.median(sums[sums > 0])) if (sums > 0).any() else 1.0
    factor = np.divide(total, sums, out=np.zeros_like(sums), where=sums > 0)
    counts: Any = x
    if sparse.issparse(x):
        scaled: Any = sparse.csr_array(sparse.diags_array(factor) @ counts.astype(np.float32))
        scaled.data = np.log1p(scaled.data)
        return scaled.astype(np.float32)
    return np.log1p(np.asarray(x, np.float32) * factor[:, None]).astype(np.float32)


def centred_log_ratio(x: Any) -> Floats:
    """Centred log-ratio per spot: log1p of counts less its row mean (protein)."""
    logs = np.log1p(_dense(x))
    return np.asarray(logs - logs.mean(axis=1, keepdims=True), np.float32)


def tf_idf(x: Any) -> Any:
    """Term frequency times inverse document frequency, log-scaled (chromatin)."""
    from scipy import sparse

    matrix = sparse.csr_array(x).astype(np.float64)
    sums = np.maximum(np.asarray(matrix.sum(axis=1)).ravel(), 1.0)
    found = np.maximum(np.asarray((matrix > 0).sum(axis=0)).ravel(), 1.0)
    scaled = (
        sparse.diags_array(1e4 / sums)
        @ matrix
        @ sparse.diags_array(np.log1p(matrix.shape[0] / found))
    )
    scaled = sparse.csr_array(scaled)
    scaled.data = np.log1p(scaled.data)
    return scaled.astype(np.float32)


def normalise(spots: Spots) -> Any:
    """Bring a modality to the scale that is usual for it.

    RNA and metabolites: scaled to the median total, log1p; protein: centred
    log-ratio; chromatin: TF-IDF; image features: z-scores.
    """
    return normalise_as(spots.modality, spots.x)


def normalise_as(kind: str, x: Any) -> Any:
    """Bring a matrix to the scale that is usual for its kind; see :func:`normalise`."""
    if kind == "protein":
        return centred_log_ratio(x)
    if kind == "chromatin":
        return tf_idf(x)
    if kind in ("image", "embedding"):
        return z_scores(_dense(x))
    return log_normalise(x)


def z_scores(x: Floats) -> Floats:
    """Columns with mean 0 and standard deviation 1; constant columns become 0."""
    sd = x.std(axis=0)
    return np.asarray((x - x.mean(axis=0)) / np.where(sd > 0, sd, 1.0), np.float32)


def unit_rows(x: Floats) -> NDArray[np.float32]:
    """(n, d) rows of length 1; rows of zeros stay zero."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(length > 0, length, 1.0), np.float32)


def most_variable(x: Any, count: int) -> NDArray[np.intp]:
    """Indices of the ``count`` columns of highest variance, highest first (ties by index)."""
    from scipy import sparse

    mean = np.asarray(x.mean(axis=0), np.float64).ravel()
    matrix: Any = x
    square: Any = matrix.multiply(matrix) if sparse.issparse(x) else np.square(x)
    variance = np.asarray(square.mean(axis=0), np.float64).ravel() - mean**2
    return np.argsort(-variance, kind="stable")[:count]


def principal_components(x: Any, count: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Principal component scores of the rows.

    Parameters
    ----------
    x
        (n, g) matrix, dense or sparse (centred implicitly).
    count
        How many; fewer where the matrix has fewer.

    Returns
    -------
    scores
        (n, k) scores with a sign that does not depend on the platform.
    explained
        (k,) share of the total variance.
    """
    from sklearn.decomposition import PCA

    count = min(count, min(x.shape) - 1)
    if count < 1:
        raise UserError(
            f"A matrix of {x.shape[0]} spots and {x.shape[1]} features is too small for PCA.",
            "Use a section with at least two spots and two features.",
        )
    pca = PCA(n_components=count, svd_solver="arpack", random_state=seed)
    scores = pca.fit_transform(x.astype(np.float64))
    return np.asarray(scores, np.float32), np.asarray(pca.explained_variance_ratio_)


def shared_features(a: Spots, b: Spots) -> tuple[Any, Any, NDArray[Any]]:
    """Columns that two sections have in common, in the first one's order.

    Raises
    ------
    UserError
        If they share fewer than two features.
    """
    at = {name: i for i, name in enumerate(b.features)}
    pairs = [(i, at[name]) for i, name in enumerate(a.features) if name in at]
    if len(pairs) < 2:
        raise UserError(
            f"Sections {a.section!r} and {b.section!r} share {len(pairs)} {a.modality} features.",
            "Use the same kind of names (symbols or Ensembl ids) in both tables.",
        )
    left, right = np.array(pairs).T
    return a.x[:, left], b.x[:, right], a.features[left]


def _dense(x: Any) -> Floats:
    return np.asarray(x.todense() if hasattr(x, "todense") else x, np.float32)
