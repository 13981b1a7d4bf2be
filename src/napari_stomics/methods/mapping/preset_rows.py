"""Published mappings as rows of parameters of ``mapping/ot``."""

from __future__ import annotations

from typing import Any

ROWS: tuple[dict[str, Any], ...] = (
    {
        "name": "novosparc",
        "method": "mapping/ot",
        "title": "novoSpaRc",
        "summary": "Places cells so that neighbours in expression are neighbours in space. De novo "
        "by default; raise the atlas weight where marker genes were measured in the section.",
        "reference": "Nitzan et al. 2019, Nature 576:132; Moriel et al. 2021, Nat Protoc 16:4177",
        "params": {
            "atlas_weight": 0.0,
            "cell_distances": "lengths",
            "spot_distances": "lengths",
            "epsilon": 0.01,
            "starts": 4,
            "genes": "all",
            "held_out": 0.0,
        },
    },
    {
        "name": "spaotsc",
        "method": "mapping/ot",
        "title": "SpaOTsc",
        "summary": "Structured, unbalanced transport of cells to space; distances between cells "
        "and signals of ligand-receptor pairs from where they may lie. Downstream genes are not "
        "used for the signals.",
        "reference": "Cang and Nie 2020, Nat Commun 11:2084",
        "params": {
            "atlas_weight": 0.9,
            "marginals": "unbalanced",
            "genes": "all",
            "spot_distances": "euclidean",
            "label_distances": True,
        },
    },
    {
        "name": "simo",
        "method": "mapping/ot",
        "title": "SIMO",
        "summary": "Places RNA by fused Gromov-Wasserstein transport over graphs of nearest "
        "neighbours, then cells of further modalities through it: groups by unbalanced transport "
        "of gene activity, cells by their graphs.",
        "reference": "SIMO 2025, Nat Commun 16, doi:10.1038/s41467-025-56523-4",
        "params": {
            "atlas_weight": 0.9,
            "cell_distances": "hops",
            "spot_distances": "hops",
            "genes": "variable",
        },
    },
)
"""Name, method, title, summary, reference and parameters that differ from the defaults."""
