"""Published fusions as rows of parameters of our methods."""

from __future__ import annotations

from typing import Any

ROWS: tuple[dict[str, Any], ...] = (
    {
        "name": "concat-pcs",
        "method": "fusion/smooth",
        "title": "Concatenated PCs",
        "summary": "Early fusion without space: principal components of each modality, scaled to "
        "equal energy, side by side.",
        "reference": "Early fusion as defined by Isik et al. 2026",
        "params": {
            "steps": 0,
            "weights": "equal",
            "gene_choice": "variable",
            "n_features": 2000,
            "scale": False,
            "n_components": 20,
            "basis_steps": 0,
            "row_norm": "none",
        },
    },
    {
        "name": "spatialglue",
        "method": "fusion/attention",
        "title": "SpatialGlue",
        "summary": "Dual attention with the published graphs (3 neighbours in space, 20 in "
        "features) and width. Any number of modalities; a larger learning rate than published, "
        "the training stops once it has settled, and the ten leading axes of what it rebuilds are "
        "kept rather than the whole latent.",
        "reference": "Long et al. 2024, Nat Methods 21:1658",
        "params": {
            "neighbours": 3,
            "hops": 1,
            "n_latent": 64,
            "n_output": 10,
            "epochs": 600,
            "learning_rate": 2e-3,
        },
    },
    {
        "name": "graphst",
        "method": "fusion/contrastive",
        "title": "GraphST",
        "summary": "Contrastive graph encoder with the published graph (3 neighbours), width and "
        "weights of the losses, on components rather than on genes.",
        "reference": "Long et al. 2023, Nat Commun 14:1155",
        "params": {
            "neighbours": 3,
            "hops": 1,
            "n_latent": 64,
            "n_output": 20,
            "epochs": 600,
            "learning_rate": 1e-3,
        },
    },
    {
        "name": "stagate",
        "method": "fusion/attention-autoencoder",
        "title": "STAGATE",
        "summary": "Graph attention autoencoder with one round of attention, 30 latent "
        "dimensions and the published optimiser, on components rather than on genes, and with a "
        "hidden layer of 128 units rather than 512.",
        "reference": "Dong and Zhang 2022, Nat Commun 13:1739",
        "params": {
            "hops": 1,
            "n_latent": 30,
            "n_output": 30,
            "epochs": 1000,
            "learning_rate": 1e-3,
            "weight_decay": 1e-4,
        },
    },
    {
        "name": "spagcn",
        "method": "fusion/image-graph",
        "title": "SpaGCN",
        "summary": "Graph of space and image with one layer whose clusters are sharpened from the "
        "start; the image shapes the graph alone. Clusters start from k-means rather than from "
        "Louvain, and the graph is cut at the nearest spots.",
        "reference": "Hu et al. 2021, Nat Methods 18:1342",
        "params": {
            "hops": 1,
            "n_components": 50,
            "n_latent": 50,
            "image_block": False,
            "image_scale": 1.0,
            "neighbour_share": 0.5,
            "reconstruction": 0.0,
            "epochs": 2000,
        },
    },
    {
        "name": "spaomicsvae",
        "method": "fusion/graph-vae",
        "title": "SpaOmicsVAE",
        "summary": "Variational graph autoencoder of several modalities with one round of "
        "averaging per layer; the modalities meet in a product of experts.",
        "reference": "after SpaOmicsVAE; Wu and Goodman 2018, NeurIPS",
        "params": {"hops": 1},
    },
    {
        "name": "muse",
        "method": "fusion/image-expression",
        "title": "MUSE",
        "summary": "Self-supervised autoencoder of image features and expression. Unlike MUSE, "
        "which looks at each spot by itself, inputs are averaged over neighbours in space by the "
        "automatic number of steps, and pseudo-labels come from k-means rather than PhenoGraph.",
        "reference": "Bao et al. 2022, Nat Biotechnol 40:1200",
        "params": {"steps": None},
    },
    {
        "name": "cellpie",
        "method": "fusion/joint-nmf",
        "title": "CellPie",
        "summary": "CellPie's objective with its balance s and no smoothing. Unlike CellPie, "
        "any number of modalities enter, each over its mean energy and less its least value, and "
        "features of the image are those of this package.",
        "reference": "Georgaka et al. 2025, Nucleic Acids Res (CellPie)",
        "params": {"steps": 0, "gene_choice": "variable", "n_features": 3000},
    },
    {
        "name": "liger",
        "method": "fusion/integrative-nmf",
        "title": "LIGER",
        "summary": "Integrative NMF at LIGER's defaults (20 factors, lambda 5, features scaled "
        "but not centred), then the same distribution of factors in every section among spots "
        "with the same strongest factor. Unlike LIGER, that is told by the spot alone, without a "
        "neighbour graph of the factors.",
        "reference": "Welch et al. 2019, Cell 177:1873",
        "params": {
            "n_factors": 20,
            "penalty": 5.0,
            "steps": 0,
            "scale": True,
            "gene_choice": "variable",
        },
    },
    {
        "name": "banksy",
        "method": "fusion/neighbourhood",
        "title": "BANKSY (domains)",
        "summary": "BANKSY's features at its settings for domains: lambda 0.8, 15 neighbours, 30 "
        "for the gradient, 20 components. Several modalities are joined by their weights.",
        "reference": "Singhal et al. 2024, Nat Genet 56:431",
        "params": {
            "mixing": 0.8,
            "gene_choice": "variable",
            "n_features": 2000,
            "n_components": 20,
            "basis_steps": 0,
            "row_norm": "none",
        },
    },
    {
        "name": "banksy-cells",
        "method": "fusion/neighbourhood",
        "title": "BANKSY (cell types)",
        "summary": "BANKSY's features at its settings for cell types: lambda 0.2.",
        "reference": "Singhal et al. 2024, Nat Genet 56:431",
        "params": {
            "mixing": 0.2,
            "gene_choice": "variable",
            "n_features": 2000,
            "n_components": 20,
            "basis_steps": 0,
            "row_norm": "none",
        },
    },
    {
        "name": "seurat-wnn",
        "method": "fusion/wnn",
        "title": "Seurat (WNN)",
        "summary": "Weighted nearest neighbours at Seurat's defaults, blind to space: 20 "
        "neighbours among 200 candidates per modality. Unlike Seurat, which draws the joint graph "
        "by UMAP and clusters it, ours embeds it by its spectrum.",
        "reference": "Hao et al. 2021, Cell 184:3573",
        "params": {
            "steps": 0,
            "candidates": 200,
            "gene_choice": "variable",
            "n_features": 2000,
            "n_components": 30,
            "basis_steps": 0,
            "row_norm": "none",
        },
    },
    {
        "name": "averaged-posteriors",
        "method": "fusion/late",
        "title": "Averaged posteriors",
        "summary": "Late fusion for modalities that see the same domains: clusters of each are "
        "matched and their posteriors averaged.",
        "reference": "Late fusion as defined by Isik et al. 2026",
        "params": {"rule": "average"},
    },
    {
        "name": "mefisto",
        "method": "fusion/mofa",
        "title": "MEFISTO (library)",
        "summary": "Factors with a Gaussian process over the coordinates, sparse beyond 200 spots. "
        "Needs the extra 'mofa', and minutes. Sections that are not registered have patterns of "
        "their own.",
        "reference": "Velten et al. 2022, Nat Methods 19:179",
        "params": {"spatial": True, "steps": 0, "iterations": 50},
    },
)
