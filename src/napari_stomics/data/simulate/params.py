"""What a simulated study is made of."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from napari_stomics.core.params import Params, param

Sees = Literal["all", "pairs", "shifted pairs", "none"]
"""Which domains a modality tells apart: every one; domains 1+2, 3+4 ... look alike;
domains 2+3, 4+5 ... look alike (so that both together tell all apart); none."""


class SimulationParams(Params):
    """Parameters of :func:`~napari_stomics.data.simulate.simulate`.

    The defaults are as hard as two neighbouring DLPFC sections: the nearest
    spot of the other section in expression alone (30 PCs) has the same domain
    for .67 of the spots (mean of five seeds; DLPFC: .63 to .67).
    """

    seed: int = param(0, "Seed", "Same seed, same study, byte for byte.", ge=0)
    n_sections: int = param(
        2, "Sections", "Serial sections of one specimen, each registered to the one before.",
        ge=1, le=100,
    )  # fmt: skip
    n_spots: int = param(
        1500, "Spots", "Spots or cells that cover the whole tissue once.",
        ge=50, le=5_000_000, step=100,
    )  # fmt: skip
    layout: Literal["hex", "square", "cells"] = param(
        "hex", "Layout", "Spots on a hexagonal or square grid, or cells at irregular positions."
    )
    array: Literal["carried", "own"] = param(
        "carried",
        "Array of later sections",
        "carried: each spot of the tissue is found again in every section, so that partners are "
        "exact. own: every section lies on a regular array of its own, as in an experiment.",
    )
    pitch: float = param(
        100.0, "Pitch", "Distance between neighbouring spots.", unit="um", gt=0, le=1e5
    )
    spot_diameter: float | None = param(
        None, "Spot diameter", "By default .55 of the pitch, .8 for cells.", unit="um", gt=0
    )

    n_domains: int = param(7, "Domains", "Number of spatial domains.", ge=1, le=100)
    domain_shape: Literal["layers", "blobs"] = param(
        "layers", "Shape of domains", "Curved layers across the tissue, or irregular patches."
    )
    section_change: float = param(
        0.0,
        "Change between sections",
        "How far the tissue itself changes from one section to the next: distance along the "
        "stack in units of the length over which domains and gradients vary.",
        ge=0, le=3, step=0.05,
    )  # fmt: skip

    rotation: float = param(
        40.0, "Rotation", "Turn of each section against the one before.", unit="deg", step=5.0
    )
    scale: float = param(
        1.0, "Scale", "Size of each section over that of the one before.", gt=0.1, lt=10, step=0.05
    )
    mirror: bool = param(False, "Mirrored", "Whether every second section lies face down.")
    warp_rms: float = param(
        1.0,
        "Warp",
        "Root mean square of the smooth displacement between neighbouring sections beyond the "
        "best affine map; 0 leaves a similarity.",
        unit="pitches", ge=0, step=0.5,
    )  # fmt: skip
    warp_length: float = param(
        0.35, "Warp length", "Length over which the displacement varies, over the tissue's size.",
        gt=0.05, le=5, step=0.05, advanced=True,
    )  # fmt: skip
    jitter: float = param(
        0.1, "Jitter", "Standard deviation of each spot's position in later sections.",
        unit="pitches", ge=0, le=0.5, step=0.05,
    )  # fmt: skip
    missing: float = param(
        0.1, "Missing spots", "Share of the spots that each later section lacks.",
        ge=0, le=0.95, step=0.05,
    )  # fmt: skip
    crop: float = param(
        0.0, "Cropped", "Share of the tissue cut off every later section, on alternating sides.",
        ge=0, le=0.9, step=0.05,
    )  # fmt: skip
    crop_first: float = param(
        0.0, "Cropped, first section",
        "Share of the tissue cut off the first section, on the side that the second one keeps.",
        ge=0, le=0.9, step=0.05,
    )  # fmt: skip

    n_genes: int = param(600, "Genes", "Number of genes.", ge=10, le=50_000, step=100)
    rna_sees: Sees = param("all", "RNA tells apart", "Which domains differ in expression.")
    rna_depth: float = param(
        1500.0, "RNA depth", "Median transcripts per spot.", unit="UMI", gt=0, step=500.0
    )
    rna_effect: float = param(
        0.3, "RNA domain effect", "Standard deviation of a marker's log fold change.",
        ge=0, le=5, step=0.05,
    )  # fmt: skip
    rna_gradient: float = param(
        0.1, "RNA gradients", "Standard deviation of the smooth gradients, in log expression.",
        ge=0, le=5, step=0.05,
    )  # fmt: skip
    housekeeping: float = param(
        0.1, "Housekeeping genes", "Share of genes that are alike everywhere, and high.",
        ge=0, le=1, step=0.05, advanced=True,
    )  # fmt: skip
    rna_dispersion: float = param(
        2.0, "RNA dispersion", "Size r of the negative binomial: variance = mean + mean^2 / r.",
        gt=0, advanced=True,
    )  # fmt: skip
    depth_variation: float = param(
        0.35, "Depth variation", "Standard deviation of the log depth over spots.",
        ge=0, le=3, step=0.05, advanced=True,
    )  # fmt: skip
    rna_dropout: float = param(
        0.0, "Dropout", "Share of the counts of RNA set to zero at random.",
        ge=0, lt=1, step=0.05, advanced=True,
    )  # fmt: skip
    rna_noise: float = param(
        0.0, "RNA noise", "Share of each spot's transcripts that are ambient: the tissue's mean.",
        ge=0, le=1, step=0.05,
    )  # fmt: skip
    batch: float = param(
        0.1, "Batch effect", "Standard deviation per feature and section, in log expression.",
        ge=0, le=3, step=0.05, advanced=True,
    )  # fmt: skip

    n_proteins: int = param(30, "Proteins", "Number of proteins; 0 for none.", ge=0, le=10_000)
    protein_sees: Sees = param("pairs", "Protein tells apart", "Which domains differ in protein.")
    protein_depth: float = param(
        1500.0, "Protein depth", "Median protein counts per spot.", unit="counts", gt=0, step=500.0
    )
    protein_effect: float = param(
        0.6, "Protein domain effect", "Standard deviation of a marker's log fold change.",
        ge=0, le=5, step=0.05,
    )  # fmt: skip
    protein_dispersion: float = param(
        3.0, "Protein dispersion", "Size r of the negative binomial.", gt=0, advanced=True
    )
    protein_noise: float = param(
        0.3, "Protein noise", "Share of each spot's counts that are unspecific background.",
        ge=0, le=1, step=0.05,
    )  # fmt: skip

    um_per_px: float | None = param(
        4.0, "Pixel size", "Of the H&E-like images; none leaves the images away.",
        unit="um", gt=0, step=0.5,
    )  # fmt: skip
    image_sees: Sees = param(
        "shifted pairs", "Image tells apart", "Which domains differ in cell density and eosin."
    )
    image_noise: float = param(
        0.2, "Image noise", "Share of the domains' look that is lost, and strength of blotches.",
        ge=0, le=1, step=0.05,
    )  # fmt: skip
    stain_variation: float = param(
        0.15, "Stain variation", "How much the stains differ between sections.",
        ge=0, le=1, step=0.05, advanced=True,
    )  # fmt: skip

    n_landmarks: int = param(12, "Landmarks", "Named landmarks in every section.", ge=0, le=1000)
    landmark_error: float = param(
        0.0, "Landmark error",
        "Standard deviation of the landmarks stored in the study; the truth keeps the exact ones.",
        unit="pitches", ge=0, step=0.1, advanced=True,
    )  # fmt: skip

    @model_validator(mode="after")
    def _possible(self) -> Self:
        cropped = self.crop + max(self.crop_first, self.crop if self.n_sections > 2 else 0.0)
        if self.n_sections > 1 and cropped > 0.9:
            raise ValueError(
                "neighbouring sections would share less than a tenth of the tissue: "
                "lower crop or crop_first"
            )
        if self.spot_diameter is not None and self.spot_diameter > 2 * self.pitch:
            raise ValueError("spots would lie over each other: lower spot_diameter or raise pitch")
        if self.n_domains * 5 > self.n_spots:
            raise ValueError(
                f"{self.n_domains} domains need at least {5 * self.n_domains} spots: "
                "raise n_spots or lower n_domains"
            )
        return self

    @property
    def diameter(self) -> float:
        """Spot diameter in micrometres."""
        if self.spot_diameter is not None:
            return self.spot_diameter
        return self.pitch * (0.8 if self.layout == "cells" else 0.55)
