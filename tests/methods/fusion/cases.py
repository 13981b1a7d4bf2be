"""Small fusion inputs with a known answer."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_stomics.core.fusion import Block, FusionInputs


def quadrants(
    kinds: tuple[str, ...] = ("rna", "protein"),
    side: int = 16,
    seed: int = 0,
    effect: float = 1.5,
    genes: int = 40,
) -> tuple[FusionInputs, Any]:
    """A square section of four quadrants: the first modality tells left from right, the second
    top from bottom."""
    rng = np.random.default_rng(seed)
    at = np.arange(side * side)
    xy = np.stack([at % side, at // side], 1).astype(float) * 100
    left, top = at % side < side // 2, at // side < side // 2
    blocks = []
    for i, kind in enumerate(kinds):
        profile = rng.normal(0, effect, genes)
        seen = left if i % 2 == 0 else top
        mean = np.exp(1.0 + np.where(seen[:, None], profile / 2, -profile / 2))
        names = np.array([f"{kind}{j}" for j in range(genes)], object)
        blocks.append(Block(kind, kind, rng.poisson(mean).astype(np.float32), names, at))
    inputs = FusionInputs(
        ("s",), np.zeros(len(at), np.intp), at.astype(str).astype(object), xy, (100.0,),
        tuple(blocks),
    )  # fmt: skip
    return inputs, np.array(
        ["AB"[int(a)] + "XY"[int(b)] for a, b in zip(left, top, strict=True)], object
    )


def kmeans_ari(values: Any, truth: Any, k: int = 4) -> float:
    """ARI of k-means on an embedding."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    found = KMeans(k, n_init=5, random_state=0).fit_predict(values)
    return float(adjusted_rand_score(truth, found))
