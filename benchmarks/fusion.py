"""Fusion: complementary modalities, no harm by a bad one, sliders, size, and every preset."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import _fusion_cases as cases
from benchmarks._harness import DataMissing, line, run_isolated

NAMES = ("fusion",)

_IMPORTS = (*cases.IMPORTS, "sklearn.neighbors", "sklearn.cluster")


def lines(wanted: Callable[[str], bool] = lambda name: True) -> Iterator[dict[str, Any]]:
    from napari_stomics.core.registry import registry

    presets = {f"fusion.preset.{key.split('/')[1]}": _preset for key in registry().keys("fusion")}
    for name, make in {
        "fusion.sim_rna_adt": _sim_rna_adt,
        "fusion.no_harm": _no_harm,
        "fusion.slider5k": _slider,
        "fusion.slider100k": _slider,
        "fusion.million": _million,
        **presets,
    }.items():
        if wanted(name):
            try:
                yield make(name)
            except DataMissing as error:
                print(f"{name}: {error}")


def _sim_rna_adt(name: str) -> dict[str, Any]:
    rna, adt, labels = cases.simulated_pair()
    values: dict[str, float] = {}
    for key, inputs in {"ari": cases.both(rna, adt), "ari_rna": rna, "ari_adt": adt}.items():
        embedding = cases.fuse(inputs)
        values[key] = round(cases.domains(inputs, embedding.values, labels).ari, 4)
        if key == "ari":
            values["steps"] = embedding.settings["steps"]
            values["weight_rna"] = round(embedding.weights["rna"], 3)
    return line(
        name,
        values,
        peers=_mofa(cases.both(rna, adt), labels),
        protocol="simulated RNA (200) and protein (100) counts of 1,296 spots, five domains that "
        "neither tells apart alone; steps and weights automatic, domains/gmm with five domains. "
        "Peer: MOFA through mofapy2 where the extra is installed, its factors clustered alike.",
    )


def _mofa(inputs: Any, labels: Any) -> dict[str, dict[str, float]]:
    """ARI of MOFA on the same data; empty without its library."""
    from napari_stomics.core.errors import UserError

    try:
        embedding = cases.fuse(inputs, "fusion/mofa")
    except UserError as error:
        print(f"MOFA was not run: {error}", file=sys.stderr)
        return {}
    return {"MOFA": {"ari": round(cases.domains(inputs, embedding.values, labels).ari, 4)}}


_HARM: tuple[dict[str, Any], ...] = (
    {"rna_noise": 0.95, "protein_sees": "all"},
    {"protein_noise": 0.97},
    {"protein_sees": "none"},
    {"rna_sees": "none", "protein_sees": "all"},
    {"rna_sees": "pairs", "protein_sees": "all"},
)
"""RNA or protein is noise, or lacks all or half of the borders."""


def harm(seed: int, changes: dict[str, Any]) -> tuple[float, float, float]:
    """ARI of RNA, of protein, and of both, of one simulation."""
    from dataclasses import replace

    inputs, labels = cases.simulated(seed, **changes)
    found = []
    for blocks in (inputs.blocks[:1], inputs.blocks[1:], inputs.blocks):
        part = replace(inputs, blocks=blocks)
        found.append(cases.domains(part, cases.fuse(part).values, labels).ari)
    return found[0], found[1], found[2]


def _no_harm(name: str) -> dict[str, Any]:
    gains = []
    for i, changes in enumerate(_HARM):
        for seed in range(4):
            rna, protein, both = harm(100 + 10 * i + seed, changes)
            gains.append(both - max(rna, protein))
    return line(
        name,
        {
            "worst_gain": round(min(gains), 4),
            "mean_gain": round(float(np.mean(gains)), 4),
            "n": len(gains),
        },
        protocol="20 simulated sections of 1,200 spots, 400 genes, 30 proteins, five layers; four "
        "each with RNA 95 % ambient, protein 97 % background, protein or RNA that differs in no "
        "domain, RNA that tells pairs of domains apart only; gain: ARI of the fusion less that "
        "of the better single modality, all by the defaults with the true number of domains",
    )


def slider(n: int) -> dict[str, float]:
    """Seconds from a moved slider to new domains, after preparation; the median of five moves."""
    from dataclasses import replace

    from napari_stomics.core.fusion import EmbeddingInputs
    from napari_stomics.methods.domains.gmm import DomainsParams, repaint
    from napari_stomics.methods.fusion.blocks import fuse_prepared
    from napari_stomics.methods.fusion.preparation import PreparationParams, prepare

    inputs, labels = layered(n)
    start = time.perf_counter()
    prepared = prepare(inputs, PreparationParams())
    prepared_s = time.perf_counter() - start
    params, before, seconds = DomainsParams(n_domains=7), None, []
    fused = fuse_prepared(prepared, 2, {"a": 1.0, "b": 1.0})
    taken = EmbeddingInputs("s", inputs.ids, fused.values, inputs.coordinates, labels)
    start = time.perf_counter()
    before = repaint(taken, params)
    first_s = time.perf_counter() - start
    for steps, weight in ((3, 1.0), (4, 1.0), (4, 0.5), (6, 0.5), (2, 2.0)):
        start = time.perf_counter()
        fused = fuse_prepared(prepared, steps, {"a": 1.0, "b": weight})
        before = repaint(replace(taken, values=fused.values), params, before)
        seconds.append(time.perf_counter() - start)
    return {
        "seconds": round(float(np.median(seconds)), 3),
        "worst_s": round(max(seconds), 3),
        "first_s": round(first_s, 3),
        "prepare_s": round(prepared_s, 2),
        "ari": round(before.ari, 4),
    }


def layered(n: int) -> tuple[Any, Any]:
    """Two embeddings of 30 dimensions on a grid of n spots in seven layers, noisy."""
    from napari_stomics.core.fusion import Block, FusionInputs

    rng = np.random.default_rng(0)
    side = int(np.ceil(np.sqrt(n)))
    at = np.arange(n)
    xy = np.stack([at % side, at // side], 1).astype(np.float64)
    layer = (xy[:, 1] * 7 // (xy[:, 1].max() + 1)).astype(int)
    blocks = []
    for name in ("a", "b"):
        centres = rng.normal(0, 1, (7, 30)).astype(np.float32)
        x = rng.standard_normal((n, 30), dtype=np.float32) * 2 + centres[layer]
        names = np.array([f"{name}{i}" for i in range(30)], object)
        blocks.append(Block(name, "embedding", x, names, at))
    ids = at.astype(str).astype(object)
    inputs = FusionInputs(("s",), np.zeros(n, np.intp), ids, xy, (1.0,), tuple(blocks))
    return inputs, np.array([f"L{i}" for i in range(7)], object)[layer]


def _slider(name: str) -> dict[str, Any]:
    n = {"5k": 5_000, "100k": 100_000}[name.removeprefix("fusion.slider")]
    cost = run_isolated("benchmarks.fusion:slider", n, imports=_IMPORTS)
    return line(
        name,
        {**cost.result, "peak_mb": cost.values["peak_mb"]},
        protocol=f"{n:,} spots on a grid, two modalities of 30 components, seven layers; steps or "
        "a weight change: diffusion, weighing, joint components and domains from those painted "
        "before; median and worst of five changes after preparation, one thread; first_s: domains "
        "without any before; peak_mb of the whole run",
    )


def million() -> dict[str, float]:
    """A million bins from components to domains."""
    from napari_stomics.core.fusion import EmbeddingInputs
    from napari_stomics.core.jobs import JobContext
    from napari_stomics.methods.domains.gmm import DomainsParams, find_domains
    from napari_stomics.methods.fusion.blocks import fuse_prepared
    from napari_stomics.methods.fusion.preparation import PreparationParams, prepare

    inputs, labels = layered(1_000_000)
    start = time.perf_counter()
    prepared = prepare(inputs, PreparationParams())
    fused = fuse_prepared(prepared)
    taken = EmbeddingInputs("s", inputs.ids, fused.values, inputs.coordinates, labels)
    found = find_domains(taken, DomainsParams(n_domains=7), JobContext())
    return {
        "seconds": round(time.perf_counter() - start, 2),
        "ari": round(found.ari, 4),
        "steps": fused.steps,
    }


def _million(name: str) -> dict[str, Any]:
    cost = run_isolated("benchmarks.fusion:million", imports=_IMPORTS)
    return line(
        name,
        {**cost.result, "peak_mb": cost.values["peak_mb"]},
        protocol="a million bins on a grid, two modalities of 30 components, seven layers: graph, "
        "automatic steps and weights, joint components and domains, one thread; seconds without "
        "making the data, peak_mb with them",
    )


_SEEDS = (0, 1)
"""Seeds of the trained networks."""


def preset(key: str) -> dict[str, float]:
    """A fusion on every simulation: ARI, that of its untrained start and of PCA, and seconds.

    Trained networks are the mean of two seeds, their starts too.
    """
    from napari_stomics.core.registry import registry

    trained = "epochs" in registry().get(key).params.model_fields
    values: dict[str, float] = {}
    found: dict[str, list[float]] = {"ari": [], "ari_start": [], "ari_pca": []}
    for name, make in cases.simulations().items():
        inputs, labels = make()
        seeds = _SEEDS if trained else _SEEDS[:1]
        start = time.perf_counter()
        first = cases.fuse(inputs, key, seed=seeds[0])
        if inputs.n == cases.LARGEST:
            values["seconds"] = round(time.perf_counter() - start, 2)
        made = [first, *(cases.fuse(inputs, key, seed=seed) for seed in seeds[1:])]
        found["ari"].append(_kmeans([each.values for each in made], labels))
        found["ari_pca"].append(_kmeans([_pcs(inputs)], labels))
        values[f"ari.{name}"], values[f"pca.{name}"] = found["ari"][-1], found["ari_pca"][-1]
        if trained:
            starts = [cases.fuse(inputs, key, seed=seed, epochs=0).values for seed in seeds]
            found["ari_start"].append(_kmeans(starts, labels))
            values[f"start.{name}"] = found["ari_start"][-1]
    for other in ("ari_start", "ari_pca"):
        gains = np.subtract(found["ari"], found[other]) if found[other] else np.zeros(0)
        if len(gains):
            values[f"worst_gain{other.removeprefix('ari')}"] = round(float(gains.min()), 4)
    means = {name: round(float(np.mean(v)), 4) for name, v in found.items() if v}
    return means | values


def _preset(name: str) -> dict[str, Any]:
    key = f"fusion/{name.removeprefix('fusion.preset.')}"
    cost = run_isolated("benchmarks.fusion:preset", key, imports=_IMPORTS, threads=2)
    return line(
        name,
        {**cost.result, **cost.values},
        protocol=f"{cases.SIMULATIONS}; the method's or preset's defaults, its embedding clustered "
        "by k-means into the true number of domains (the best of 20 starts, seed 0); start: the "
        "same network untrained (epochs 0), clustered alike; trained networks and their starts: "
        "mean of training seeds 0 and 1; pca: k-means, alike, on 15 principal components of each "
        "modality at equal energy; ari, ari_start, ari_pca: means over the simulations; "
        "worst_gain: the least difference; seconds: the one of 4,000 spots, two threads; cpu_s: "
        "all runs, starts and clusterings too",
    )


def _kmeans(embeddings: list[Any], labels: Any) -> float:
    """Mean ARI of k-means on each embedding."""
    from sklearn.cluster import KMeans

    k = len(set(labels) - {""})
    found = [KMeans(k, n_init=20, random_state=0).fit_predict(values) for values in embeddings]
    return round(float(np.mean([cases.ari(labels, each.astype(str)) for each in found])), 4)


def _pcs(inputs: Any) -> Any:
    from napari_stomics.methods.preprocess import normalise_as, principal_components

    parts = [principal_components(normalise_as(b.kind, b.x), 15)[0] for b in inputs.blocks]
    return np.hstack([part / np.sqrt((part**2).sum(axis=1).mean()) for part in parts])
