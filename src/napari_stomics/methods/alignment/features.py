"""What it costs to match a spot of one section with a spot of the other, by their features.

Costs are never written out: each is ``offset_i - <source_i, target_j>``, so that
a solver evaluates only the pairs that it looks at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.cache import ContentCache, content_key
from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import SpotPair, Spots
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.alignment._components import joint_components, matrices
from napari_stomics.methods.alignment._search_rows import search_rows
from napari_stomics.methods.alignment.checks import check_values, shared_columns
from napari_stomics.methods.preprocess import unit_rows

Floats = NDArray[np.floating[Any]]
Rows32 = NDArray[np.float32]
Metric = Literal["cosine", "kl", "none"]

KL_SHIFT = 0.01
"""Added to every count before the divergence, as PASTE does."""

_IMAGE_SCALES = (1.0, 3.0)  # patch widths in spot diameters
_PAIRS = 20_000  # random pairs from which the scale of a cost is estimated
_PAIRS_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class FeatureOptions:
    """How features are compared.

    Attributes
    ----------
    metric
        ``cosine``: 1 - cosine of joint principal components, centred per section.
        ``kl``: Kullback-Leibler divergence of the counts, as PASTE's. ``none``:
        features are not compared.
    n_genes
        Most variable shared features that the components are made of (all for ``kl``).
    n_components
        Principal components.
    image_weight
        Share of the H&E images' features in the cost, in [0, 1]; needs
        ``pair.histology``.
    held_out
        Share of the shared features that are left out, so that they can judge.
    seed
        Of the choice of features held out, and of draws.
    """

    metric: Metric = "cosine"
    n_genes: int = 2000
    n_components: int = 30
    image_weight: float = 0.0
    held_out: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class FeatureSpace:
    """Factors of the feature cost of two sections.

    The cost of the pair (i, j) is ``offset_i - <source_i, target_j>``.

    Attributes
    ----------
    source, target
        (n, k), (m, k) float32. Rows of zeros belong to spots without signal.
    offset
        (n,) or None for zeros.
    names
        Features that were used; the others may judge the answer.
    search_source, search_target
        (n, r), (m, r) float32 rows for the search of the pose; r = 0 where
        nothing can be compared.
    """

    source: Rows32
    target: Rows32
    offset: Rows32 | None
    names: NDArray[Any]
    search_source: Rows32
    search_target: Rows32

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of spots."""
        return len(self.source), len(self.target)

    @property
    def searchable(self) -> bool:
        """Whether there is anything to find the pose by."""
        return self.search_source.shape[1] > 0

    def on(self, i: NDArray[Any], j: NDArray[Any]) -> Rows32:
        """(nnz,) costs of the pairs of source spots ``i`` and target spots ``j``."""
        out = np.empty(len(i), np.float32)
        for start in range(0, len(i), _PAIRS_AT_ONCE):
            at = slice(start, start + _PAIRS_AT_ONCE)
            np.einsum("ek,ek->e", self.source[i[at]], self.target[j[at]], out=out[at])
        return -out if self.offset is None else self.offset[i] - out

    def dense(self) -> Rows32:
        """(n, m) costs of all pairs; for small sections."""
        offset = 0.0 if self.offset is None else self.offset[:, None]
        return np.asarray(offset - self.source @ self.target.T, np.float32)


_KEPT: ContentCache[tuple[FeatureSpace, tuple[str, ...]]] = ContentCache(4)


def compare_features(
    pair: SpotPair, options: FeatureOptions, ctx: JobContext | None = None
) -> FeatureSpace:
    """Features of two sections on one scale, ready to be compared pair by pair.

    Answers are kept by the content of the inputs, so that solving again after a
    constraint has changed costs next to nothing here.

    Raises
    ------
    UserError
        If the sections share no features, values are missing, negative where
        counts are needed, all zero or constant, or images are asked for and not there.
    """
    ctx = ctx or JobContext()
    if options.image_weight and pair.histology is None:
        raise UserError(
            "Image features are to count, but no images were given.",
            "Tick 'Compare the H&E images too', or set the image weight to 0.",
        )
    if options.metric == "none" and not options.image_weight:
        return _nothing(pair)

    def make() -> tuple[FeatureSpace, tuple[str, ...]]:
        said: list[str] = []
        space = _compare(pair, options, JobContext(ctx.step, said.append, threads=ctx.threads))
        return space, tuple(said)

    space, said = _KEPT.get(_key(pair, options), make)
    for text in said:
        ctx.warn(text)
    return space


def _key(pair: SpotPair, options: FeatureOptions) -> str:
    parts: list[Any] = [options]
    for spots in (pair.source, pair.target):
        parts += [spots.x, spots.features, spots.modality]
    if options.image_weight and pair.histology is not None:
        for h in pair.histology:
            coarse = np.asarray(h.image.levels[-1])
            shape, frame = h.image.levels[0].shape, h.image.to_um.matrix
            parts += [coarse, shape, frame, h.diameter, h.spots.coordinates]
    return content_key(*parts)


def _nothing(pair: SpotPair) -> FeatureSpace:
    n, m = len(pair.source.ids), len(pair.target.ids)
    empty = [np.zeros((k, 0), np.float32) for k in (n, m, n, m)]
    return FeatureSpace(empty[0], empty[1], None, np.zeros(0, object), empty[2], empty[3])


def _compare(pair: SpotPair, options: FeatureOptions, ctx: JobContext) -> FeatureSpace:
    blocks: list[_Block] = []
    names = np.zeros(0, object)
    weight = options.image_weight
    if options.metric != "none" and weight < 1:
        block, names = _measured(pair, options, ctx.part(0.0, 0.7))
        blocks.append(block)
    if weight:
        blocks.append(_images(pair, ctx.part(0.7, 1.0)))
    if len(blocks) == 2:
        # Either cost in units of its own spread over random pairs, else one drowns the other.
        rng = np.random.default_rng(options.seed)
        scale = blocks[0].spread(rng) / max(blocks[1].spread(rng), 1e-9)
        blocks = [blocks[0].times(1 - weight), blocks[1].times(weight * scale)]
        shares = [1 - weight, weight]
    else:
        shares = [1.0]
    rows = search_rows([(*b.search, w) for b, w in zip(blocks, shares, strict=True)])
    return FeatureSpace(
        source=_joined([b.source for b in blocks]),
        target=_joined([b.target for b in blocks]),
        offset=np.asarray(np.sum([b.offset for b in blocks], axis=0), np.float32),
        names=names,
        search_source=rows[0],
        search_target=rows[1],
    )


@dataclass(frozen=True)
class _Block:
    """One kind of features: cost ``offset_i - <source_i, target_j>`` and its components."""

    source: Rows32
    target: Rows32
    offset: Rows32
    search: tuple[Rows32, Rows32]

    def times(self, factor: float) -> _Block:
        root = np.float32(np.sqrt(factor))
        return _Block(
            self.source * root, self.target * root, self.offset * np.float32(factor), self.search
        )

    def spread(self, rng: np.random.Generator) -> float:
        """Standard deviation of the cost over random pairs."""
        i, j = (rng.integers(0, len(x), _PAIRS) for x in (self.source, self.target))
        cost = self.offset[i] - np.einsum("ek,ek->e", self.source[i], self.target[j])
        return float(cost.std())


def _cosine(a: Rows32, b: Rows32) -> _Block:
    return _Block(unit_rows(a), unit_rows(b), np.ones(len(a), np.float32), (a, b))


def _joined(parts: list[Rows32]) -> Rows32:
    return np.ascontiguousarray(parts[0] if len(parts) == 1 else np.hstack(parts))


def _measured(
    pair: SpotPair, options: FeatureOptions, ctx: JobContext
) -> tuple[_Block, NDArray[Any]]:
    """Cost of the measured features, and the names of those used."""
    spots = (pair.source, pair.target)
    left, right = shared_columns(*spots)
    kept = _kept(len(left), options)
    left, right = left[kept], right[kept]
    filled = (check_values(spots[0], left, ctx), check_values(spots[1], right, ctx))
    ready = matrices(spots, (left, right), filled)
    scores_a, scores_b, chosen = joint_components(
        *ready,
        n_columns=options.n_genes,
        count=options.n_components,
        seed=options.seed,
        per_section=spots[0].modality != "embedding",
        ctx=ctx,
    )
    if options.metric == "kl":
        return _divergence(spots, (left, right), (scores_a, scores_b)), spots[0].features[left]
    return _cosine(scores_a, scores_b), spots[0].features[left[np.sort(chosen)]]


def _kept(count: int, options: FeatureOptions) -> NDArray[np.intp]:
    """Which of the shared features are used, in their order."""
    out = round(options.held_out * count)
    if count - out < 2:
        raise UserError(
            f"With {out} of {count} shared features held out, fewer than two are left.",
            "Hold out a smaller share.",
        )
    rng = np.random.default_rng([options.seed, 1])
    return np.sort(rng.permutation(count)[out:])


def _divergence(
    spots: tuple[Spots, Spots],
    columns: tuple[NDArray[np.intp], NDArray[np.intp]],
    components: tuple[Rows32, Rows32],
) -> _Block:
    """PASTE's cost: KL(x_i || y_j) of the counts plus a constant, each row summing to 1."""
    shares = []
    for s, c in zip(spots, columns, strict=True):
        x: Any = s.x[:, c]
        values = np.asarray(x.todense() if hasattr(x, "todense") else x, np.float32)
        if values.min(initial=0.0) < 0:
            raise UserError(
                f"The divergence needs counts, and section {s.section!r} has negative values.",
                "Compare by cosine instead.",
            )
        values = values + np.float32(KL_SHIFT)
        values /= values.sum(axis=1, keepdims=True)
        shares.append(values)
    logs = np.log(shares[1], out=shares[1])
    offset = np.einsum("ig,ig->i", shares[0], np.log(shares[0]))
    return _Block(shares[0], logs, offset.astype(np.float32), components)


def _images(pair: SpotPair, ctx: JobContext) -> _Block:
    """Cosine of stain statistics under each spot, each section on its own z-scores."""
    from napari_stomics.methods.morphology.he import he_features
    from napari_stomics.methods.preprocess import z_scores

    assert pair.histology is not None
    found = []
    for i, (histology, spots) in enumerate(
        zip(pair.histology, (pair.source, pair.target), strict=True)
    ):
        if len(histology.spots.ids) != len(spots.ids):
            raise UserError(
                f"The image features of section {spots.section!r} are of other spots "
                f"({len(histology.spots.ids)}) than those compared ({len(spots.ids)}).",
                "Choose an image of the same spots.",
            )
        values, _ = he_features(histology, _IMAGE_SCALES, ctx.part(0.5 * i, 0.5 * i + 0.5))
        found.append(np.asarray(z_scores(values), np.float32))
    return _cosine(found[0], found[1])
