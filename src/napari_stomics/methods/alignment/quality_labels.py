"""How well a plan carries labels, beside the pose alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.quality import NAN, QualityFigure
from napari_stomics.methods.alignment.quality_case import POSE, Case
from napari_stomics.metrics import alignment_quality as measure
from napari_stomics.metrics import label_transfer as labels_of
from napari_stomics.metrics import tissue_geometry as geometry


def label_figures(case: Case) -> list[QualityFigure]:
    """Return the figures of label transfer; none where the two sections have no labels."""
    if not case.has_labels:
        return []
    a: NDArray[Any] = case.inputs.source.labels  # type: ignore[assignment]
    b: NDArray[Any] = case.inputs.target.labels  # type: ignore[assignment]
    plan, pose = case.plan.plan, case.pose_plan
    masses = labels_of.label_masses(plan, a, b)
    by_pose = labels_of.label_masses(pose, a, b)
    seed = case.params.seed
    name = case.inputs.label_name or "annotation"
    figures = [
        QualityFigure(
            "label_accuracy", "Label transfer: mass on the right label",
            labels_of.plan_accuracy(plan, a, b), better="higher",
            baseline=labels_of.plan_accuracy(pose, a, b),
            chance=labels_of.plan_accuracy(_independent(case), a, b),
            ceiling=labels_of.accuracy_ceiling(a, b),
            noise=measure.ratio_error(*masses, case.blocks, seed=seed),
            gain_noise=measure.ratio_error(*masses, case.blocks, by_pose, seed=seed),
            meaning="Share of the transported mass that joins spots of equal label.",
            protocol=f"Labels '{name}', mass between labelled spots only. Ceiling: overlap of the "
            "label proportions, which binds balanced plans only. Chance: all spots matched "
            f"alike. Noise: bootstrap over blocks of {case.params.block:g} pitches. {POSE}",
        )
    ]  # fmt: skip
    figures += _argmax_figures(case, a, b, name)
    here, there = case.inputs.source_regions, case.inputs.target_regions
    if here is not None and there is not None:
        figures.append(
            QualityFigure(
                "cri", "Type and region agreement (CRI)",
                labels_of.type_and_region_agreement(plan, a, b, here, there), better="higher",
                baseline=labels_of.type_and_region_agreement(pose, a, b, here, there),
                meaning="Share of spots whose best partner has the same type and lies in the same "
                "region.",
                protocol=f"Best partner of each source spot; labels '{name}' and the regions. "
                f"{POSE}",
            )
        )  # fmt: skip
    return figures


def _argmax_figures(case: Case, a: NDArray[Any], b: NDArray[Any], name: str) -> list[QualityFigure]:
    from napari_stomics.metrics.clustering import adjusted_rand_index

    carried = [labels_of.carried_labels(p, a) for p in (case.plan.plan, case.pose_plan)]
    # Both are scored on the same spots: where the plan gives an answer, and the truth is known.
    rows = (b != "") & (carried[0] != "")
    if not rows.any():
        return []
    protocol = (
        f"Most probable label '{name}' of the {int(rows.sum())} labelled target spots that "
        f"receive mass. {POSE}"
    )
    right = [(labels[rows] == b[rows]).astype(float) for labels in carried]
    ones = np.ones(len(right[0]))
    blocks = measure.spatial_blocks(
        case.inputs.target.coordinates[rows], case.params.block * case.inputs.target.pitch
    )
    edges = geometry.neighbour_edges(case.inputs.target.coordinates)
    scores = {
        "spot_accuracy": lambda found: float((found[rows] == b[rows]).mean()),
        "ari": lambda found: adjusted_rand_index(b[rows], found[rows]),
        "macro_f1": lambda found: labels_of.macro_f1(b[rows], found[rows]),
        "spatial_coherence": lambda found: measure.spatial_coherence(
            edges, found, seed=case.params.seed
        ),
    }
    words = {
        "spot_accuracy": ("Label transfer: spots right", "Share of spots whose carried label is "
                          "right."),
        "ari": ("Adjusted Rand index of carried labels", "Agreement of carried and true labels "
                "beyond chance: 0 is chance, 1 is equal."),
        "macro_f1": ("Macro F1 of carried labels", "Mean over labels of precision and recall "
                     "together: small labels count as much as large ones."),
        "spatial_coherence": ("Spatial coherence of carried labels", "How much more coherent the "
                              "carried labels lie than permuted ones, in standard deviations."),
    }  # fmt: skip
    figures = []
    for key, score in scores.items():
        title, meaning = words[key]
        spots = key == "spot_accuracy"
        coherent = key == "spatial_coherence"
        figures.append(
            QualityFigure(
                key, title, score(carried[0]), better="" if coherent else "higher",
                baseline=score(carried[1]), ceiling=score(b) if coherent else 1.0,
                noise=measure.ratio_error(right[0], ones, blocks) if spots else NAN,
                gain_noise=measure.ratio_error(right[0], ones, blocks, (right[1], ones))
                if spots
                else NAN,
                meaning=meaning,
                protocol=protocol + (" Ceiling: the target's own labels." if coherent else ""),
            )
        )  # fmt: skip
    return figures


def _independent(case: Case) -> Any:
    """The plan that matches all spots alike, with this plan's row masses, as an operator."""
    rows, columns = case.plan.row_mass, case.plan.column_mass

    class _Outer:
        def __matmul__(self, x: Any) -> Any:
            return np.outer(rows, columns @ x) / max(float(columns.sum()), 1e-300)

    return _Outer()
