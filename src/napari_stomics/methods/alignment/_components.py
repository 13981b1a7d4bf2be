"""Joint principal components of two sections, streamed so that no large matrix is made dense.

Axes are those of at most :data:`_CELLS` values, drawn over the rows of both
sections; all rows are then projected block by block. A million cells cost two
passes over their counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import Spots
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.alignment.checks import row_sums
from napari_stomics.methods.preprocess import normalise

Floats = NDArray[np.floating[Any]]
Rows = NDArray[np.intp]

COUNTED = ("rna", "metabolite")
"""Modalities that are scaled to one total for both sections, log1p."""

_CELLS = 16_000_000  # values from which axes are computed: 64 MB
_GRAM = 1000  # columns up to which the whole covariance matrix is decomposed
_ROUNDS = 6  # subspace iterations beyond that
_BLOCK = 1_000_000  # values handled at a time


@dataclass(frozen=True)
class Matrix:
    """Normalised features of one section, row blocks of which are made dense on demand.

    Attributes
    ----------
    x
        (n, g) values, dense or CSR.
    columns
        The g' columns in use.
    factor
        (n,) what each row is multiplied by before log1p; None leaves values as they are.
    filled
        (n,) rows that have any signal.
    """

    x: Any
    columns: NDArray[np.intp]
    factor: Floats | None
    filled: NDArray[np.bool_]

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def dense(self, rows: Rows, chosen: NDArray[np.intp] | None = None) -> NDArray[np.float32]:
        """(r, k) values of some rows in the columns in use, or in some of these."""
        columns = self.columns if chosen is None else self.columns[chosen]
        if not hasattr(self.x, "indptr"):
            out = np.asarray(self.x[rows][:, columns], np.float32)
            return out if self.factor is None else np.log1p(out * self._factors(rows)[:, None])
        at = np.full(self.x.shape[1], -1, np.int32)
        at[columns] = np.arange(len(columns), dtype=np.int32)
        line, place, value = self._entries(rows, at)
        out = np.zeros((len(rows), len(columns)), np.float32)
        out[line, place] = value
        return out

    def moments(self, rows: Rows) -> tuple[Floats, Floats]:
        """(g',) sums and sums of squares of the columns in use over some rows."""
        count = len(self.columns)
        total, square = np.zeros(count), np.zeros(count)
        at = np.full(self.x.shape[1], -1, np.int32)
        at[self.columns] = np.arange(count, dtype=np.int32)
        for block in self.blocks(rows):
            if hasattr(self.x, "indptr"):
                _, place, value = self._entries(block, at)
                total += np.bincount(place, value, count)
                square += np.bincount(place, value.astype(np.float64) ** 2, count)
            else:
                values = self.dense(block).astype(np.float64)
                total += values.sum(axis=0)
                square += (values**2).sum(axis=0)
        return total, square

    def blocks(self, rows: Rows) -> Iterator[Rows]:
        """Rows in blocks of about a million values."""
        step = max(_BLOCK // max(len(self.columns), 1), 16)
        for start in range(0, len(rows), step):
            yield rows[start : start + step]

    def _entries(self, rows: Rows, at: NDArray[np.int32]) -> tuple[Any, Any, Any]:
        """Row and column numbers and values of the entries in the wanted columns."""
        part: Any = self.x[rows]
        place = at[part.indices]
        keep = place >= 0
        line = np.repeat(np.arange(len(rows)), np.diff(part.indptr))[keep]
        value = part.data[keep].astype(np.float32)
        if self.factor is not None:
            value = np.log1p(value * self._factors(rows)[line])
        return line, place[keep], value

    def _factors(self, rows: Rows) -> NDArray[np.float32]:
        assert self.factor is not None
        return self.factor[rows].astype(np.float32)


def matrices(
    spots: tuple[Spots, Spots],
    columns: tuple[NDArray[np.intp], NDArray[np.intp]],
    filled: tuple[NDArray[np.bool_], NDArray[np.bool_]],
) -> tuple[Matrix, Matrix]:
    """Return both sections on the scale that is usual for their modality.

    RNA and metabolites get one total for both sections, so that depth does not
    tell them apart.
    """
    modality = spots[0].modality
    out = []
    if modality in COUNTED:
        sums = [row_sums(s.x, c) for s, c in zip(spots, columns, strict=True)]
        total = float(np.median(np.concatenate([s[s > 0] for s in sums])))
        for s, c, f, each in zip(spots, columns, filled, sums, strict=True):
            factor = np.divide(total, each, out=np.zeros_like(each), where=each > 0)
            out.append(Matrix(_rows_first(s.x), c, factor, f))
        return out[0], out[1]
    for s, c, f in zip(spots, columns, filled, strict=True):
        x = s.x[:, c]
        values = _rows_first(x if modality == "embedding" else normalise(replace(s, x=x)))
        out.append(Matrix(values, np.arange(len(c)), None, f))
    return out[0], out[1]


def _rows_first(x: Any) -> Any:
    from scipy import sparse

    matrix: Any = x
    return sparse.csr_array(matrix) if sparse.issparse(x) else np.asarray(x)


def joint_components(
    a: Matrix,
    b: Matrix,
    *,
    n_columns: int,
    count: int,
    seed: int,
    per_section: bool,
    ctx: JobContext,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]:
    """Principal component scores of the rows of both sections on common axes.

    Parameters
    ----------
    a, b
        The sections.
    n_columns
        How many of the columns in use to keep: those of highest variance within sections.
    count
        Components at most.
    seed
        Of the draw of rows, where there are very many, and of the start vectors.
    per_section
        Whether each section is centred on its own mean (removes a batch's shift) or
        both on one.
    ctx
        Cancelling and progress.

    Returns
    -------
    scores
        (n, k) and (m, k); rows without signal are 0.
    chosen
        The columns kept, as positions among those in use.

    Raises
    ------
    UserError
        If no column varies.
    """
    rng = np.random.default_rng(seed)
    rows = _drawn(a, b, min(n_columns, len(a.columns)), rng)
    ctx.step(0.1, "Choosing variable features")
    variance = _variance((a, b), rows)
    chosen = np.argsort(-variance, kind="stable")[:n_columns]
    chosen = chosen[variance[chosen] > 1e-10 * max(float(variance.max()), 1e-12)]
    if not len(chosen) or not variance.max() > 1e-12:
        raise UserError(
            "No feature that the two sections share varies between their spots.",
            "Check that the tables hold measured values, or align by distances alone.",
        )
    ctx.step(0.3, "Principal components")
    x = np.concatenate([m.dense(r, chosen) for m, r in ((a, rows[0]), (b, rows[1]))])
    n = len(rows[0])
    means = [x[:n].mean(axis=0), x[n:].mean(axis=0)]
    if not per_section:
        means = [x.mean(axis=0)] * 2
    x[:n] -= means[0]
    x[n:] -= means[1]
    axes = leading_axes(x, count, rng)
    del x
    scores = []
    for i, (matrix, mean) in enumerate(zip((a, b), means, strict=True)):
        out = np.zeros((len(matrix), axes.shape[1]), np.float32)
        shift = mean @ axes
        for block in matrix.blocks(np.arange(len(matrix))):
            ctx.step(0.6 + 0.2 * i, "Principal components")
            out[block] = matrix.dense(block, chosen) @ axes - shift
        out[~matrix.filled] = 0.0
        scores.append(out)
    return scores[0], scores[1], chosen


def leading_axes(
    x: NDArray[np.float32], count: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """(g, k) leading right singular vectors of a centred (n, g) matrix.

    Exact up to :data:`_GRAM` columns, beyond by subspace iteration (Halko et
    al. 2011, SIAM Review 53:217).
    """
    g = x.shape[1]
    count = max(min(count, g, len(x) - 1), 1)
    if g <= _GRAM:
        return np.linalg.eigh((x.T @ x).astype(np.float64))[1][:, : -count - 1 : -1].astype(
            np.float32
        )
    basis = rng.standard_normal((g, min(count + 10, g))).astype(np.float32)
    for _ in range(_ROUNDS):
        basis = np.linalg.qr(x.T @ (x @ basis))[0]
    small = x @ basis
    turn = np.linalg.eigh((small.T @ small).astype(np.float64))[1][:, : -count - 1 : -1]
    return np.asarray(basis @ turn.astype(np.float32))


def _drawn(a: Matrix, b: Matrix, columns: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Rows with signal, thinned alike in both sections where there are very many."""
    filled = [np.flatnonzero(m.filled) for m in (a, b)]
    share = _CELLS / max(columns, 1) / max(len(filled[0]) + len(filled[1]), 1)
    if share >= 1:
        return filled[0], filled[1]
    out = [
        np.sort(rng.permutation(f)[: max(int(share * len(f)), min(len(f), 500))]) for f in filled
    ]
    return out[0], out[1]


def _variance(sections: tuple[Matrix, Matrix], rows: tuple[Rows, Rows]) -> Floats:
    """(g',) variance within sections, each section counting by its rows."""
    total = np.zeros(len(sections[0].columns))
    for matrix, r in zip(sections, rows, strict=True):
        s, q = matrix.moments(r)
        total += np.maximum(q - s**2 / max(len(r), 1), 0.0)
    return np.asarray(total / max(sum(len(r) for r in rows), 1))
