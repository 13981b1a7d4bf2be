"""Sections and simulations that fusion and domains are measured on, and the runs themselves."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from benchmarks._harness import data_root

DLPFC = ("151507", "151508", "151509", "151510", "151673", "151674")
COUNTS = ("151673", "151674")
IMPORTS = ("scipy.sparse", "scipy.spatial", "scipy.cluster.hierarchy", "sklearn.metrics", "anndata")


@cache
def section(path: str, label: str, kind: str = "rna", obsm: str | None = None) -> Any:
    """Fusion inputs of one stored section, and its labels, ``""`` where there is none."""
    import anndata

    from napari_stomics.core.fusion import Block, FusionInputs

    table = anndata.read_h5ad(data_root(path) / path)
    n = table.n_obs
    x: Any = table.X if obsm is None else np.asarray(table.obsm[obsm], np.float32)
    names = (
        table.var_names.to_numpy(object)
        if obsm is None
        else np.array([f"{obsm}_{i}" for i in range(x.shape[1])], object)
    )
    labels = np.array([str(value) for value in table.obs[label]], object)
    labels[np.isin(labels, ("NA", "nan", "Excluded"))] = ""
    inputs = FusionInputs(
        sections=(path,),
        of=np.zeros(n, np.intp),
        ids=table.obs_names.to_numpy(object),
        coordinates=np.asarray(table.obsm["spatial"], np.float64),
        pitches=(1.0,),
        blocks=(Block(kind, kind, x, names, np.arange(n)),),
    )
    return inputs, labels


def both(a: Any, b: Any) -> Any:
    """Inputs of the same spots with the modalities of two."""
    from dataclasses import replace

    return replace(a, blocks=(*a.blocks, *b.blocks))


def simulated(seed: int, **changes: Any) -> Any:
    """Fusion inputs of one simulated section with RNA and protein, and its true domains."""
    from napari_stomics import SimulationParams, simulate
    from napari_stomics.data.fusion import FusionRefs, collect_fusion

    params: dict[str, Any] = {
        "seed": seed, "n_sections": 1, "n_spots": 1200, "n_genes": 400, "n_domains": 5,
        "um_per_px": None,
    }  # fmt: skip
    study = simulate(SimulationParams(**{**params, **changes})).study
    name = next(iter(study.sections))
    refs = FusionRefs(section=name, modalities=("rna", "protein"), histology=False)
    return collect_fusion(study, refs), np.asarray(study.section(name).labels(), object)


def fuse(inputs: Any, method: str = "fusion/smooth", **params: Any) -> Any:
    """Run a fusion without its warnings."""
    import warnings

    from napari_stomics.core.jobs import JobContext
    from napari_stomics.core.registry import registry

    spec = registry().get(method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return spec.run(inputs, spec.params(**params), JobContext())


def domains(inputs: Any, values: Any, labels: Any, seed: int = 0, **params: Any) -> Any:
    """Cluster an embedding into the true number of domains, or as the parameters say."""
    from napari_stomics.core.fusion import EmbeddingInputs
    from napari_stomics.core.jobs import JobContext
    from napari_stomics.methods.domains.gmm import GaussianMixtureParams, find_domains

    k = len(set(labels) - {""})
    taken = EmbeddingInputs(
        inputs.sections[0], inputs.ids, values, inputs.coordinates, labels, inputs.sections,
        inputs.of,
    )  # fmt: skip
    chosen = GaussianMixtureParams(**{"n_domains": k, "seed": seed, **params})
    return find_domains(taken, chosen, JobContext(on_warning=lambda text: None))


def run(
    path: str, label: str, kind: str = "rna", obsm: str | None = None, seed: int = 0,
    threads: int = 1,
) -> dict[str, Any]:  # fmt: skip
    """From the table to domains by the frozen defaults."""
    from napari_stomics.core.jobs import limited_threads

    inputs, labels = section(path, label, kind, obsm)
    with limited_threads(threads):
        embedding = fuse(inputs, seed=seed)
        found = domains(inputs, embedding.values, labels, seed)
    return {
        "ari": found.ari,
        "nmi": found.nmi,
        "labels": found.labels,
        "rerun_ari": found.rerun_ari,
        "steps": embedding.settings["steps"],
    }


def ari(a: Any, b: Any) -> float:
    """Adjusted Rand index over spots with a label in ``a``."""
    from napari_stomics.metrics.clustering import adjusted_rand_index

    return adjusted_rand_index(np.asarray(a, object), np.asarray(b, object))
