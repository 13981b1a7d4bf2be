"""Parameters of the mapping of cells to space."""

from __future__ import annotations

from typing import Literal

from napari_stomics.core.params import Params, param
from napari_stomics.methods.mapping.features import Choice, Metric


class MappingParams(Params):
    """Parameters of the mapping of cells to space."""

    atlas_weight: float = param(
        0.9,
        "Atlas weight (alpha)",
        "Share of the features measured in the section: 1 compares expression alone (atlas), 0 "
        "compares distances alone (de novo: positions are then known up to the tissue's symmetry).",
        step=0.05,
        ge=0.0,
        le=1.0,
    )
    marginals: Literal["balanced", "unbalanced"] = param(
        "balanced",
        "Marginals",
        "'balanced': every cell finds a place and every spot is filled. 'unbalanced': cells may "
        "have no place in the section, and spots no cells, at a price.",
    )
    epsilon: float = param(
        0.05,
        "Entropic regularisation",
        "Larger values spread each cell over more spots. In units of the mean cost.",
        log=True,
        gt=0.0,
        le=10.0,
    )
    metric: Metric = param(
        "correlation", "Feature cost", "How the expression of a cell and a spot is compared."
    )
    genes: Choice = param(
        "variable",
        "Genes",
        "'variable': the most variable of the shared genes; 'markers': those that differ between "
        "the cells' labels; 'all'.",
    )
    n_genes: int = param(2000, "Number of genes", "At most.", ge=2, le=50_000)
    standardise: bool = param(
        True,
        "Standardise genes",
        "Each gene to variance 1 in cells and in spots: the two techniques need not be equally "
        "efficient for it.",
        advanced=True,
    )
    n_components: int = param(
        0,
        "Joint components",
        "Compare this many joint principal components instead of genes; 0: genes.",
        advanced=True,
        ge=0,
        le=200,
    )
    label_weight: float = param(
        0.0,
        "Label weight",
        "Price of putting a cell on a spot of another label, in mean costs; for sections whose "
        "annotation uses the cells' labels.",
        advanced=True,
        ge=0.0,
        le=100.0,
    )
    spot_mass: Literal["uniform", "counts"] = param(
        "uniform",
        "Cells per spot",
        "Mass that each spot may take: the same, or by its counts, as a measure of its cells.",
    )
    marginal_weight: float = param(
        0.3,
        "Marginal weight (rho)",
        "Price of mass that is not sent or not received, in mean costs; unbalanced only.",
        log=True,
        advanced=True,
        gt=0.0,
        le=1000.0,
    )
    cell_distances: Literal["lengths", "hops", "euclidean"] = param(
        "lengths",
        "Distances between cells",
        "In the graph of nearest neighbours in expression: length or number of edges of the "
        "shortest path; or straight.",
        advanced=True,
    )
    spot_distances: Literal["lengths", "hops", "euclidean"] = param(
        "euclidean",
        "Distances between spots",
        "Straight, or in the graph of nearest neighbours in space.",
        advanced=True,
    )
    neighbours: int = param(
        15, "Neighbours", "Nearest neighbours in both graphs.", advanced=True, ge=2, le=200
    )
    components: int = param(
        20,
        "Components of the cells",
        "Principal components in which cells are neighbours.",
        advanced=True,
        ge=2,
        le=200,
    )
    starts: int = param(
        1,
        "Starts",
        "Distances alone have many optima: the best of this many random starts is taken.",
        advanced=True,
        ge=1,
        le=100,
    )
    cooling: float = param(
        20.0,
        "Cooling",
        "The first iterations use this many times the regularisation; 1: none.",
        advanced=True,
        ge=1.0,
        le=1000.0,
    )
    max_iterations: int = param(
        200, "Iterations", "Outer iterations at most.", advanced=True, ge=1, le=10_000
    )
    tolerance: float = param(
        1e-3,
        "Tolerance",
        "Stops when less than this share of the mass moves in an iteration.",
        log=True,
        advanced=True,
        gt=0.0,
        lt=1.0,
    )
    held_out: float = param(
        0.1,
        "Genes held out",
        "Share of the shared genes that the mapping does not see, to judge it; only where there "
        "are 20 or more.",
        advanced=True,
        ge=0.0,
        le=0.9,
    )
    keep: int = param(
        50, "Matches kept", "Spots per cell that are stored.", advanced=True, ge=1, le=10_000
    )
    exact_up_to: int = param(
        3000,
        "Exact distances up to",
        "Larger sets of cells or spots get their distances through landmarks, not n x n.",
        advanced=True,
        ge=100,
        le=20_000,
    )
    landmarks: int = param(300, "Landmarks", "How many of them.", advanced=True, ge=10, le=5000)
    max_gigabytes: float = param(
        4.0,
        "Memory limit",
        "A larger problem is refused before it starts.",
        unit="GB",
        advanced=True,
        gt=0.0,
        le=1000.0,
    )
    label_distances: bool = param(
        False,
        "Distances between labels",
        "Wasserstein distance in space between the cells of every two labels.",
    )
    ligand_receptor: str = param(
        "",
        "Ligand>receptor pairs",
        "Signals to follow between the placed cells, for instance: Fgf8>Fgfr1, Wnt5a>Fzd5.",
    )
    signal_range: float | None = param(
        None,
        "Signal range",
        "How far a signal goes; three times the distance between spots where not set.",
        unit="um",
        gt=0.0,
    )
    n_groups: int = param(
        15,
        "Groups",
        "Groups of cells of a further modality, where these have no labels.",
        advanced=True,
        ge=2,
        le=500,
    )
    seed: int = param(0, "Seed", "Seed of every random choice.", advanced=True, ge=0)
