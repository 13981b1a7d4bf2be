"""The judgement of a transport plan by what it has not seen, beside the pose alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_stomics.core.errors import UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.quality import NAN, AlignmentQuality, QualityFigure, QualityInputs
from napari_stomics.core.registry import method
from napari_stomics.methods.alignment.quality_case import POSE, Case, QualityParams
from napari_stomics.methods.alignment.quality_genes import Expression, judge_expression
from napari_stomics.methods.alignment.quality_labels import label_figures
from napari_stomics.methods.alignment.verdict import verdict
from napari_stomics.metrics import alignment_quality as measure
from napari_stomics.metrics import label_transfer as labels_of
from napari_stomics.metrics import tissue_geometry as geometry

_MAPPED = 0.5
"""A spot counts as matched when it sends at least this share of its mass."""


@method(
    task="quality",
    name="alignment",
    title="Check an alignment",
    summary="Measures an alignment by landmarks, labels and genes that it has not seen, by what "
    "it leaves unmatched and by how it deforms the tissue, beside the pose alone.",
    params=QualityParams,
    inputs=QualityInputs,
    result=AlignmentQuality,
    reference="Label accuracy and spatial coherence: Zeira et al. 2022 (PASTE), Nat Methods "
    "19:567; edge inconsistency: Liu et al. 2023 (PASTE2), Genome Res 33:1124; type and region "
    "agreement: Xia et al. 2023 (SLAT), Nat Commun 14:7236",
)
def judge_alignment(
    inputs: QualityInputs, params: QualityParams, ctx: JobContext
) -> AlignmentQuality:
    """Judge a transport plan.

    Raises
    ------
    UserError
        If the plan does not belong to the spots, or has no mass at all.
    """
    plan = inputs.plan
    if plan.plan.shape != (len(inputs.source.ids), len(inputs.target.ids)):
        raise UserError(
            f"The plan {inputs.name!r} does not belong to these spots.",
            "Align the two sections again.",
        )
    if not plan.plan.nnz:
        raise UserError(
            f"The plan {inputs.name!r} is empty: nothing was matched.",
            "Align the two sections again, with a weaker penalty for unmatched mass or from "
            "landmarks.",
        )
    case = Case(inputs, params)
    ctx.step(0.05, "Landmarks")
    figures = _landmark_figures(case)
    ctx.step(0.1, "Labels")
    figures += label_figures(case)
    ctx.step(0.3, "Expression of features that the plan has not seen")
    expression = judge_expression(
        inputs, case.pose_plan_like, case.blocks, params.n_genes, params.permutations,
        params.seed, ctx.part(0.3, 0.7),
    )  # fmt: skip
    figures += expression.figures
    ctx.step(0.7, "Geometry")
    figures += _match_figures(case) + _geometry_figures(case) + _constraint_figures(case)
    return _result(case, tuple(figures), expression)


def _landmark_figures(case: Case) -> list[QualityFigure]:
    marks, plan = case.inputs.landmarks, case.plan
    if marks is None or not marks.names:
        return []
    source = case.inputs.source.coordinates
    left_out = np.isin(np.array(marks.names, object), np.array(plan.landmarks, object))
    held = bool(left_out.any())
    rows = left_out if held else np.ones(len(marks.names), bool)
    pose = geometry.linear_pose(source, plan.source_coordinates)
    points, target = marks.source_points[rows], marks.target_points[rows]
    by_pose = np.column_stack([points, np.ones(len(points))]) @ pose
    if plan.registration is not None:
        carried = plan.registration.transform.apply(points)
        how = "the map that the plan implies"
    else:
        carried = geometry.carry_points(points, source, plan.source_coordinates, plan.barycentres)
        how = "the mean displacement of the 12 nearest spots"
    errors = np.linalg.norm(carried - target, axis=1)
    baseline = float(np.median(np.linalg.norm(by_pose - target, axis=1)))
    common: dict[str, Any] = {
        "unit": "um",
        "better": "lower",
        "baseline": baseline,
        "noise": measure.median_error(errors, seed=case.params.seed),
    }
    value = float(np.median(errors)) if np.isfinite(errors).all() else NAN
    protocol = (
        f"Median over {len(errors)} landmarks, carried by {how}; one pitch is {case.pitch:.0f} µm."
    )
    if held:
        return [
            QualityFigure(
                "tre", "Target registration error", value, **common,
                meaning="Distance between where the alignment puts a landmark that it has not "
                "seen and where a person placed it.",
                protocol=f"{protocol} The plan left them out. {POSE}",
            )
        ]  # fmt: skip
    return [
        QualityFigure(
            "landmark_error", "Landmark error (not held out)", value, **common,
            meaning="Distance between where the alignment puts each landmark and where a person "
            "placed it. The alignment may have been made with these landmarks, so this is no "
            "target registration error.",
            protocol=f"{protocol} None was recorded as left out. {POSE}",
        )
    ]  # fmt: skip


def _match_figures(case: Case) -> list[QualityFigure]:
    plan, inputs = case.plan, case.inputs
    figures = [
        QualityFigure(
            "unmatched", "Mass without a partner", float(np.mean(plan.unmatched)),
            meaning="Share of the source's mass that was left behind: tissue that the other "
            "section does not hold, or matches that cost too much.",
            protocol=f"Marginals {plan.marginals}; mean over source spots.",
        ),
        QualityFigure(
            "partners", "Partners per spot", measure.effective_partners(plan.plan),
            meaning="Over how many spots the mass of a typical spot is spread: 1 is one to one.",
            protocol="Median over source spots of the exponential of the row's entropy.",
        ),
    ]  # fmt: skip
    mapped = [plan.unmatched < _MAPPED, plan.unmatched_target < _MAPPED]
    found = []
    for spots, flags in zip((inputs.source, inputs.target), mapped, strict=True):
        edges = geometry.neighbour_edges(spots.coordinates)
        found.append(
            (measure.edge_inconsistency(edges, flags), measure.scattered_inconsistency(flags))
        )
    if np.isfinite([f[0] for f in found]).all():
        figures.append(
            QualityFigure(
                "edge_inconsistency", "Edge inconsistency", float(np.mean([f[0] for f in found])),
                better="lower", chance=float(np.mean([f[1] for f in found])),
                meaning="Share of neighbouring spots of which one is matched and the other is "
                "not: low where what is unmatched lies together.",
                protocol="Mean of both sections; edges of the Delaunay triangulation within the "
                "tissue; a spot is matched when it passes on half of its mass. Chance: as many "
                "unmatched spots scattered at random.",
            )
        )  # fmt: skip
    return figures


def _geometry_figures(case: Case) -> list[QualityFigure]:
    plan, inputs = case.plan, case.inputs
    source, target = inputs.source.coordinates, inputs.target.coordinates
    corners = geometry.triangles(source)
    trip = measure.round_trip(plan.plan, source)
    pose_trip = measure.round_trip(case.pose_plan, source)
    transform = None if plan.registration is None else plan.registration.transform
    placed = plan.source_coordinates if transform is None else transform.apply(source)
    pitches = (inputs.source.pitch, inputs.target.pitch)
    figures = [
        QualityFigure(
            "dice", "Dice of the tissue", geometry.dice_of_tissue(placed, target, pitches),
            better="higher",
            baseline=geometry.dice_of_tissue(plan.source_coordinates, target, pitches),
            meaning="Overlap of the two footprints. It says nothing of the inside, and it is low "
            "by right where one section is cropped.",
            protocol="Footprint: within .75 pitch of a spot. Beside it: the linear pose alone.",
        ),
        QualityFigure(
            "round_trip", "Round trip along the plan", float(np.nanmedian(trip)), unit="um",
            better="lower", baseline=float(np.nanmedian(pose_trip)),
            meaning="Distance between a spot and where its mass comes back to when it is sent to "
            "the other section and back.",
            protocol=f"Median over source spots; one pitch is {case.pitch:.0f} µm. {POSE}",
        ),
        QualityFigure(
            "turned_over", "Neighbourhoods turned over",
            geometry.turned_over(corners, source, plan.barycentres, case.mirrored), better="lower",
            meaning="Share of triangles of neighbouring spots whose matches lie the other way "
            "round: broken topology, or the noise of single matches.",
            protocol="Delaunay triangles within the tissue, at the barycentres of the matches.",
        ),
    ]  # fmt: skip
    return figures + ([] if transform is None else _map_figures(case, transform))


def _map_figures(case: Case, transform: Any) -> list[QualityFigure]:
    points = geometry.tissue_points(case.inputs.source.coordinates, case.inputs.source.pitch)
    strain = geometry.principal_strain(transform, points)
    back = geometry.inverse_error(transform, points)
    return [
        QualityFigure(
            "folds", "Folds", geometry.fold_share(transform, points), better="lower",
            meaning="Share of the tissue where the map folds it over or tears it.",
            protocol="Determinant of the map at the spots and between them; 0 is right.",
        ),
        QualityFigure(
            "strain", "Largest strain", float(np.nanquantile(strain, 0.99)),
            meaning="How much the map stretches or squeezes the tissue at its worst; 0 is rigid.",
            protocol="99th percentile over the tissue of the larger |stretch - 1|.",
        ),
        QualityFigure(
            "inverse_consistency", "Inverse consistency",
            float(np.max(back)) if np.isfinite(back).all() else NAN, unit="um", better="lower",
            meaning="Largest distance between a place and where the map and its inverse bring it "
            "back to.",
            protocol="At the spots and between them; not known where the inverse has no answer.",
        ),
    ]  # fmt: skip


def _constraint_figures(case: Case) -> list[QualityFigure]:
    figures = []
    mass = case.plan.plan.tocsr()
    for rule in case.inputs.constraints:
        inside = np.asarray(mass @ rule.target.astype(float)).ravel()
        sent = float(case.plan.row_mass[rule.source].sum())
        if not sent > 0:
            continue
        share = float(inside[rule.source].sum()) / sent
        match = rule.kind == "match"
        figures.append(
            QualityFigure(
                f"constraint_{rule.name}", f"Constraint '{rule.name}' kept",
                share if match else 1 - share, better="higher", ceiling=1.0,
                meaning="Share of the region's mass that goes where it is meant to go."
                if match
                else "Share of the region's mass that stays out of where it must not go.",
                protocol="Over the mass that the region's spots send.",
            )
        )  # fmt: skip
    return figures


def _result(
    case: Case, figures: tuple[QualityFigure, ...], expression: Expression
) -> AlignmentQuality:
    inputs, plan = case.inputs, case.plan
    n = len(inputs.source.ids)
    agreement = [np.full(n, np.nan)] * 2
    if case.has_labels:
        agreement = [
            labels_of.label_agreement(p, inputs.source.labels, inputs.target.labels)  # type: ignore[arg-type]
            for p in (plan.plan, case.pose_plan)
        ]
    return AlignmentQuality(
        source=plan.source,
        target=plan.target,
        plan=inputs.name,
        source_ids=inputs.source.ids,
        figures=figures,
        remarks=verdict(plan, figures, case.pitch),
        label_agreement=agreement[0],
        label_agreement_pose=agreement[1],
        expression_agreement=expression.per_spot,
        round_trip=measure.round_trip(plan.plan, inputs.source.coordinates),
        label_name=inputs.label_name if case.has_labels else "",
        genes=expression.genes,
        gene_correlations=expression.per_gene,
        converged=plan.converged,
    )
