"""What the figures of an alignment share: its parameters, the pose's coupling, the blocks."""

from __future__ import annotations

import numpy as np

from napari_stomics.core.params import Params, param
from napari_stomics.core.quality import QualityInputs
from napari_stomics.metrics import alignment_quality as measure
from napari_stomics.metrics import tissue_geometry as geometry

POSE = "Beside it: the linear pose alone, each spot matched to its nearest within one pitch."


class QualityParams(Params):
    """Parameters of the judgement."""

    n_genes: int = param(
        300, "Judging features", "Most variable features, of those that the plan has not seen, "
        "whose correlation is measured.", ge=2, le=20_000,
    )  # fmt: skip
    block: float = param(
        6.0, "Block", "Width of the blocks within which the null exchanges spots, and which the "
        "bootstrap draws.", unit="pitches", gt=0, le=1000, advanced=True,
    )  # fmt: skip
    permutations: int = param(
        20, "Permutations", "Draws of each null.", ge=2, le=10_000, advanced=True
    )
    seed: int = param(0, "Seed", "Seed of permutations and bootstrap.", advanced=True, ge=0)


class Case:
    """What several figures share."""

    def __init__(self, inputs: QualityInputs, params: QualityParams) -> None:
        self.inputs, self.params, self.plan = inputs, params, inputs.plan
        self.pitch = float(np.sqrt(inputs.source.pitch * inputs.target.pitch))
        self.blocks = measure.spatial_blocks(
            inputs.source.coordinates, params.block * inputs.source.pitch
        )
        placed = self.plan.source_coordinates
        self.pose_plan = measure.nearest_plan(placed, inputs.target.coordinates, self.pitch)
        count = measure.effective_partners(self.plan.plan)
        self.partners = max(1, round(count)) if np.isfinite(count) else 1
        # Averaging over partners raises a correlation by itself: the pose averages over as many.
        self.pose_plan_like = measure.nearest_plan(
            placed, inputs.target.coordinates, self.pitch, self.partners
        )
        self.has_labels = (
            inputs.source.labels is not None
            and inputs.target.labels is not None
            and bool((inputs.source.labels != "").any())
            and bool((inputs.target.labels != "").any())
        )

    @property
    def mirrored(self) -> bool:
        """Whether the linear pose mirrors the source."""
        pose = geometry.linear_pose(self.inputs.source.coordinates, self.plan.source_coordinates)
        return bool(np.linalg.det(pose[:2]) < 0)
