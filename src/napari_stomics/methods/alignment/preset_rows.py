"""Published systems as settings of our alignment methods; `methods.presets` offers them."""

from __future__ import annotations

from typing import Any

PRESET_ROWS: tuple[dict[str, Any], ...] = (
    {
        "name": "paste",
        "method": "alignment/fgw",
        "title": "PASTE",
        "summary": "PASTE's objective (alpha 0.1, divergence of the counts, every spot sends all "
        "its mass) at its own exact marginals. Unlike PASTE, it finds the pose first instead of "
        "starting from a uniform plan, and counts distances in spot pitches instead of pixels.",
        "reference": "Zeira et al. 2022, Nat Methods 19:567",
        "params": {
            "alpha": 0.1,
            "metric": "kl",
            "marginals": "balanced",
            "solver": "exact",
            "bend": False,
        },
    },
    {
        "name": "paste2",
        "method": "alignment/fgw",
        "title": "PASTE2",
        "summary": "PASTE2's model: only tissue that both sections hold is matched, at alpha 0.1, "
        "rigid. Unlike PASTE2, the overlap is estimated instead of asked for, features are "
        "compared by cosine of principal components instead of GLM-PCA, and distances count in "
        "spot pitches. Tick the H&E images to mix in their features at half the weight, as PASTE2 "
        "does.",
        "reference": "Liu et al. 2023, Genome Res 33:1124",
        "params": {
            "alpha": 0.1,
            "image_weight": 0.5,
            "metric": "cosine",
            "marginals": "partial",
            "solver": "exact",
            "bend": False,
        },
    },
    {
        "name": "moscot-objective",
        "method": "alignment/fgw-dense",
        "title": "moscot (objective)",
        "summary": "The objective of moscot's alignment at its defaults, without the library: "
        "squared distances and feature distances each over their mean, entropic, from a uniform "
        "plan, dense. Its alpha of 0.5 counts the structure half and is 1/3 here, its epsilon of "
        "0.01 accordingly 1/150. Features are compared by cosine instead of squared distances.",
        "reference": "Klein et al. 2025, Nature 638:1065",
        "params": {
            "alpha": 1 / 3,
            "epsilon": 0.01 * 2 / 3,
            "structure": "squared",
            "unit": "mean",
            "start": "uniform",
            "tolerance": 1e-5,
        },
    },
)
"""Rows of `core.presets.Preset`: name, method, title, summary, reference and params."""
