"""Spatial domains against layers drawn by hand: from components, from counts, over seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

from benchmarks import _fusion_cases as cases
from benchmarks._harness import DataMissing, line, run_isolated

NAMES = ("domains",)

FROZEN = (
    "defaults of fusion/smooth and domains/gmm, frozen on simulations and two sections, 151673 "
    "and 151674, from counts and from components; 151507 was looked at in early trials, and the "
    "sections from components once more before the last choice, which was made without them"
)
_PEERS = {
    "dlpfc": {
        "GraphST": {"ari": 0.559},
        "STAGATE": {"ari": 0.510},
        "SpaGCN": {"ari": 0.412},
    },
    "151673": {"GraphST": {"ari": 0.638}, "STAGATE": {"ari": 0.551}, "SpaGCN": {"ari": 0.414}},
    "151674": {"GraphST": {"ari": 0.610}, "STAGATE": {"ari": 0.512}, "SpaGCN": {"ari": 0.372}},
}
_SETS = {
    "domains.starmap_mpfc": (
        ("starmap_mpfc/BZ5.h5ad", "starmap_mpfc/BZ9.h5ad"), "layer", "4 layers; 1,049 and 1,053 "
        "cells, 166 genes; peers: published means of the same two sections",
        {"GraphST": {"ari": 0.41}, "STAGATE": {"ari": 0.28}},
    ),
    "domains.starmap_cortex": (
        ("starmap_visual_cortex/BY3_1k.h5ad",), "layer", "7 layers; 1,207 cells, 1,020 genes",
        {"GraphST": {"ari": 0.537}, "STAGATE": {"ari": 0.283}, "ADEPT": {"ari": 0.594}},
    ),
    "domains.osmfish": (
        ("osmfish_somatosensory/osmfish.h5ad",), "region", "11 regions; 4,839 cells, 33 genes", {},
    ),
    "domains.bulb": (
        ("mob_stahl2016/Rep11.h5ad", "mob_stahl2016/Rep12.h5ad"), "layer",
        "5 layers; 262 and 282 spots, 14,000 genes", {},
    ),
}  # fmt: skip


def lines(wanted: Callable[[str], bool] = lambda name: True) -> Iterator[dict[str, Any]]:
    makers: dict[str, Callable[[str], dict[str, Any]]] = {
        **{f"domains.dlpfc.{name}": _components for name in cases.DLPFC},
        "domains.dlpfc.median": _median,
        **{f"domains.dlpfc_counts.{name}": _counts for name in cases.COUNTS},
        "domains.stability": _stability,
        **dict.fromkeys(_SETS, _set),
    }
    for name, make in makers.items():
        if wanted(name):
            try:
                yield make(name)
            except DataMissing as error:
                print(f"{name}: {error}")


@cache
def _run(path: str, label: str, kind: str = "rna", obsm: str | None = None) -> Any:
    return run_isolated(
        "benchmarks._fusion_cases:run", path, label, kind, obsm, imports=cases.IMPORTS
    )


def _of_components(name: str) -> Any:
    return _run(f"dlpfc_visium/{name}/{name}.h5ad", "layer", "embedding", "X_pca_ccst")


def _components(name: str) -> dict[str, Any]:
    short = name.rsplit(".", 1)[1]
    cost = _of_components(short)
    again = run_isolated(
        "benchmarks._fusion_cases:run", f"dlpfc_visium/{short}/{short}.h5ad", "layer", "embedding",
        "X_pca_ccst", 0, 2, imports=cases.IMPORTS, threads=2,
    )  # fmt: skip
    same = float(np.mean(again.result["labels"] == cost.result["labels"]))
    return line(
        name,
        {**_scores(cost.result), "same_on_2_threads": same, **cost.values},
        peers=_PEERS["dlpfc"],
        protocol="Visium section of the dorsolateral prefrontal cortex, 50 stored components of "
        "un-logged counts (X_pca_ccst), true number of layers, spots without a layer not scored; "
        f"{FROZEN}; same_on_2_threads: share of spots with the same label in a new process with "
        "two threads; cpu_s with reading. Peers: published medians of 20-run means over twelve "
        "sections, from counts.",
    )


def _median(name: str) -> dict[str, Any]:
    found = [_of_components(section) for section in cases.DLPFC]
    scores = [cost.result["ari"] for cost in found]
    test = [s for s, name in zip(scores, cases.DLPFC, strict=True) if name not in cases.COUNTS]
    return line(
        name,
        {
            "ari": round(float(np.median(scores)), 4),
            "mean": round(float(np.mean(scores)), 4),
            "ari_test": round(float(np.median(test)), 4),
            "cpu_s": round(sum(cost.cpu_s for cost in found), 2),
        },
        peers=_PEERS["dlpfc"],
        protocol=f"median over the six sections of domains.dlpfc.<section>; {FROZEN}; ari_test: "
        "median of the four that were not tuned on. Peers: published medians over twelve "
        "sections, from counts.",
    )


def _counts(name: str) -> dict[str, Any]:
    short = name.rsplit(".", 1)[1]
    cost = _run(f"dlpfc_visium/{short}/{short}_counts.h5ad", "layer")
    return line(
        name,
        {**_scores(cost.result), **cost.values},
        peers=_PEERS[short],
        protocol="raw counts of 5,000 genes, true number of layers, spots without a layer not "
        f"scored; {FROZEN}; cpu_s with reading and components. Peers: published means of 20 runs "
        "on all genes.",
    )


def _stability(name: str) -> dict[str, Any]:
    values: dict[str, float] = {}
    every: list[float] = []
    for key, arguments in {
        "counts": ("dlpfc_visium/151674/151674_counts.h5ad", "layer", "rna", None),
        "pcs": ("dlpfc_visium/151508/151508.h5ad", "layer", "embedding", "X_pca_ccst"),
    }.items():
        found = [cases.run(*arguments, seed=seed)["labels"] for seed in range(20)]
        pairs = [cases.ari(a, b) for a, b in combinations(found, 2)]
        values[f"ari_median_{key}"] = round(float(np.median(pairs)), 4)
        values[f"ari_least_{key}"] = round(float(np.min(pairs)), 4)
        every += pairs
    return line(
        name,
        {"ari_median": round(float(np.median(every)), 4), **values},
        protocol="20 seeds of fusion and clustering (start of PCA, samples that the runs of the "
        "consensus start from) on 151674 from counts and 151508 from X_pca_ccst, true number of "
        f"layers; median and least adjusted Rand index of all pairs; {FROZEN}",
    )


def _set(name: str) -> dict[str, Any]:
    paths, label, about, peers = _SETS[name]
    found = [_run(path, label) for path in paths]
    values = {
        "ari": float(np.mean([cost.result["ari"] for cost in found])),
        "nmi": float(np.mean([cost.result["nmi"] for cost in found])),
    }
    each = {
        f"ari_{path.rsplit('/', 1)[1].removesuffix('.h5ad')}": cost.result["ari"]
        for path, cost in zip(paths, found, strict=True)
    }
    rounded = {key: round(value, 4) for key, value in {**values, **each}.items()}
    return line(
        name,
        {**rounded, "cpu_s": round(float(np.mean([cost.cpu_s for cost in found])), 2)},
        peers=peers,
        protocol=f"{about}; true number; mean over the sections; {FROZEN}; cpu_s with reading",
    )


def _scores(result: dict[str, Any]) -> dict[str, float]:
    return {
        "ari": round(result["ari"], 4),
        "nmi": round(result["nmi"], 4),
        "rerun_ari": round(result["rerun_ari"], 4),
        "steps": result["steps"],
    }
