"""Fusion and domains under sliders: nothing that a slider does not change is computed again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.cache import ContentCache, content_key
from napari_stomics.core.fusion import EmbeddingInputs, FusionInputs
from napari_stomics.core.jobs import JobContext, limited_threads

if TYPE_CHECKING:
    from napari_stomics.core.fusion import Domains
    from napari_stomics.methods.domains.gmm import DomainsParams
    from napari_stomics.methods.fusion.blocks import Fused
    from napari_stomics.methods.fusion.preparation import Prepared
    from napari_stomics.methods.fusion.smooth import SmoothParams

FUSION, DOMAINS = "fusion/smooth", "domains/gmm"
"""Methods that the sliders run."""

_KEPT = 12
_LOOK_S = 0.05
"""Seconds after which who waits for another thread looks whether it was cancelled itself."""


@dataclass(frozen=True)
class LiveChoice:
    """Where the sliders stand.

    Attributes
    ----------
    steps
        Diffusion steps; None leaves them to the method.
    weights
        Weight per modality; None leaves them to the method.
    n_domains
        Number of domains.
    """

    steps: int | None = None
    weights: Mapping[str, float] | None = None
    n_domains: int = 7

    def weights_text(self) -> str:
        """The weights as the parameter of the method takes them."""
        if self.weights is None:
            return ""
        return ", ".join(f"{name}={weight:g}" for name, weight in self.weights.items())


@dataclass(frozen=True)
class LiveAnswer:
    """What came of it.

    Attributes
    ----------
    choice
        What it answers.
    steps, weights
        Steps taken and share of each modality, where they were left to the method too.
    domains
        The domains.
    quick
        Whether they are those of a single run of the clustering, not yet those of the
        method by itself.
    """

    choice: LiveChoice
    steps: int
    weights: Mapping[str, float]
    domains: Domains
    quick: bool = True


@dataclass
class LiveFusion:
    """One set of modalities, prepared once, fused and clustered as often as the sliders move.

    Attributes
    ----------
    inputs, params
        What is fused, and the parameters that no slider changes.
    domain_params
        Parameters of the clustering that no slider changes.
    """

    inputs: FusionInputs
    params: SmoothParams
    domain_params: dict[str, Any] = field(default_factory=dict)
    _prepared: Prepared | None = field(default=None, repr=False)
    _fused: ContentCache[Fused] = field(default_factory=lambda: ContentCache(_KEPT), repr=False)
    _running: dict[str, Event] = field(default_factory=dict, repr=False)
    _found: ContentCache[Domains] = field(default_factory=lambda: ContentCache(_KEPT), repr=False)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, known once they are prepared."""
        return () if self._prepared is None else self._prepared.names

    def answer(
        self,
        choice: LiveChoice,
        ctx: JobContext | None = None,
        *,
        before: Domains | None = None,
        quick: bool = True,
    ) -> LiveAnswer:
        """Fuse and cluster as the sliders stand; may run in any thread.

        Parameters
        ----------
        choice
            Where the sliders stand; what they leave open is as in :attr:`params`.
        ctx
            Progress and cancellation.
        before
            Domains to start from.
        quick
            Run the clustering once; without it as the method does by itself.

        Raises
        ------
        UserError
            If the modalities cannot be fused, the weights are all zero, or there are
            too few spots for the number of domains.
        """
        from napari_stomics.methods.domains.gmm import DomainsParams, repaint
        from napari_stomics.methods.fusion.batch import correct_batches
        from napari_stomics.methods.fusion.blocks import fuse_prepared, read_weights
        from napari_stomics.methods.fusion.preparation import prepare

        ctx = ctx or JobContext()
        if self._prepared is None:
            self._prepared = prepare(self.inputs, self.params, ctx.part(0.0, 0.8))
            _load_now()
        prepared = self._prepared
        ctx.step(0.8, "Fusing")
        # Read back from the text that a step would carry, so that both mean the same.
        text = choice.weights_text() or self.params.weights
        weights = read_weights(text, prepared.names)
        steps = self.params.steps if choice.steps is None else choice.steps

        def fuse() -> Fused:
            with limited_threads(1):
                fused = fuse_prepared(prepared, steps, weights, self.params.n_output)
                of, batch, seed = self.inputs.of, self.params.batch, self.params.seed
                values = correct_batches(
                    fused.values, of, batch, seed=seed, ctx=ctx.part(0.8, 0.85)
                )
            return replace(fused, values=values)

        fused = self._fused.get(f"{steps} {text}", fuse)
        ctx.step(0.85, "Clustering")
        params = DomainsParams(**{**self.domain_params, "n_domains": choice.n_domains})
        embedding = self._embedding(fused.values)
        with limited_threads(1):
            if quick:
                start = None if before is None else resized(before, fused.values, choice.n_domains)
                domains = repaint(embedding, params, start, ctx.part(0.85, 1.0))
            else:
                domains = self.find(embedding, params, ctx.part(0.85, 1.0))
        return LiveAnswer(choice, fused.steps, fused.weights, domains, quick)

    def find(self, embedding: EmbeddingInputs, params: DomainsParams, ctx: JobContext) -> Domains:
        """Find domains as the method does; those of an equal embedding are not found again.

        Where another thread is finding them already its answer is waited for.
        """
        from napari_stomics.methods.domains.gmm import find_domains
        from napari_stomics.metrics.clustering import (
            adjusted_rand_index,
            normalised_mutual_information,
        )

        key = content_key(
            embedding.values, embedding.coordinates, embedding.of, params.model_dump_json()
        )
        with self._alone(key, ctx):
            found = self._found.get(key, lambda: find_domains(embedding, params, ctx))
        truth, nan = embedding.labels, float("nan")
        return replace(
            found,
            section=embedding.section,
            ids=embedding.ids,
            sections=embedding.sections,
            of=embedding.of,
            embedding=embedding.name,
            ari=nan if truth is None else adjusted_rand_index(truth, found.labels),
            nmi=nan if truth is None else normalised_mutual_information(truth, found.labels),
        )

    @contextmanager
    def _alone(self, key: str, ctx: JobContext) -> Iterator[None]:
        """Let one thread at a time do what ``key`` stands for; the others wait, and may cancel."""
        mine = Event()
        while (running := self._running.setdefault(key, mine)) is not mine:
            while not running.wait(_LOOK_S):
                ctx.step(None, "Waiting for the consensus that is under way")
        try:
            yield
        finally:
            del self._running[key]
            mine.set()

    def _embedding(self, values: NDArray[Any]) -> EmbeddingInputs:
        return EmbeddingInputs(
            section=self.inputs.sections[0],
            ids=self.inputs.ids,
            values=np.asarray(values, np.float32),
            coordinates=self.inputs.coordinates,
            sections=self.inputs.sections,
            of=self.inputs.of,
        )


def _load_now() -> None:
    """Import what matching domains needs here rather than under the first move of a slider."""
    for name in ("scipy.optimize", "sklearn.metrics.cluster"):
        import_module(name)


def resized(before: Domains, values: NDArray[Any], count: int) -> Domains:
    """Domains to start from when their number changes; only their names and labels hold.

    While there are too many, the two whose union costs least in Ward's sense become
    one; while there are too few, the one of largest scatter is cut at its mean
    across its principal axis (Boley 1998, Data Min Knowl Discov 2:325).

    Parameters
    ----------
    before
        The domains.
    values
        (n, k) embedding of the same spots.
    count
        How many there shall be.
    """
    labels = np.array(before.labels, object)
    x = np.asarray(values, np.float64)
    names = [str(name) for name in before.names if (labels == name).any()]
    while len(names) > max(count, 1):
        kept, gone = _cheapest_union(x, labels, names)
        labels[labels == gone] = kept
        names.remove(gone)
    while len(names) < count:
        widest = max(names, key=lambda name: _scatter(x[labels == name]))
        rows = np.flatnonzero(labels == widest)
        about = x[rows] - x[rows].mean(axis=0)
        axis = np.linalg.eigh(about.T @ about)[1][:, -1]
        beyond = rows[about @ axis > 0]
        if not 0 < len(beyond) < len(rows):
            break
        fresh = next(f"D{i}" for i in range(1, count + len(names) + 2) if f"D{i}" not in names)
        labels[beyond] = fresh
        names.append(fresh)
    return replace(before, labels=labels, names=tuple(names))


def _cheapest_union(x: NDArray[Any], labels: NDArray[Any], names: list[str]) -> tuple[str, str]:
    sizes = np.array([float((labels == name).sum()) for name in names])
    means = np.stack([x[labels == name].mean(axis=0) for name in names])
    apart = ((means[:, None] - means[None]) ** 2).sum(axis=2)
    cost = apart * sizes[:, None] * sizes[None] / (sizes[:, None] + sizes[None])
    np.fill_diagonal(cost, np.inf)
    i, j = np.unravel_index(int(cost.argmin()), cost.shape)
    larger, smaller = (i, j) if sizes[i] >= sizes[j] else (j, i)
    return names[larger], names[smaller]


def _scatter(x: NDArray[Any]) -> float:
    return float(((x - x.mean(axis=0)) ** 2).sum())
