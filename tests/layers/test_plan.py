"""What is shown of a transport plan: one value per spot, with limits that mean something."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from scipy.sparse import csr_matrix

from napari_stomics.core.errors import UserError
from napari_stomics.core.plans import TransportPlan
from napari_stomics.layers.plan import (
    PLAN_LAYERS,
    paint_part,
    part_layers,
    remove_part,
    restore_part,
    shown_parts,
)
from napari_stomics.layers.plan_values import (
    carried_over,
    from_zero,
    label_agreement,
    plan_values,
    shared_genes,
)
from napari_stomics.layers.results import paint
from napari_stomics.layers.section import add_section
from napari_stomics.layers.session_state import capture, restore
from napari_stomics.layers.tags import tag, tagged
from tests.layers.studies import grid, pair

N = 36
KEY = "fgw"
POSED = grid() + np.array([3.0, 4.0])


def plan_of(study: Any, **changes: Any) -> TransportPlan:
    """Half of each spot's mass to its own place, a quarter to the next; the first sends none."""
    shares = 0.5 * np.eye(N) + 0.25 * np.roll(np.eye(N), 1, axis=1)
    shares[0] = 0
    matrix = csr_matrix(shares / N)
    with np.errstate(invalid="ignore"):
        landed = (matrix @ grid()) / np.asarray(matrix.sum(axis=1))
    options: dict[str, Any] = {
        "source": "A",
        "target": "B",
        "source_ids": study.section("A").ids,
        "target_ids": study.section("B").ids,
        "plan": matrix,
        "source_coordinates": POSED,
        "barycentres": landed,
        "entropy": np.where(np.arange(N) > 0, 0.3, np.nan),
        "objective": np.array([1.0]),
        "marginal_error": 0.0,
        "alpha": 0.1,
        "converged": True,
    }
    return TransportPlan(**{**options, **changes})


@pytest.fixture
def shown() -> tuple[ViewerModel, Any, TransportPlan]:
    viewer, study = ViewerModel(), pair()
    add_section(viewer, study, "A")
    add_section(viewer, study, "B")
    plan = plan_of(study)
    paint(viewer, study, plan, KEY)
    return viewer, study, plan


def test_a_plan_comes_with_its_arrows_and_hidden_entropy(shown) -> None:
    viewer, _, _ = shown
    assert shown_parts(viewer, KEY) == {"arrows": True, "entropy": False}
    (arrows,) = part_layers(viewer, KEY, "arrows")
    np.testing.assert_allclose(arrows.data[:, 0, ::-1], POSED[1:])


@pytest.mark.parametrize(
    ("name", "limits"), [("confidence", (0, 1)), ("entropy", (0, 1)), ("unmatched", (0, 1))]
)
def test_shares_have_limits_of_zero_and_one(shown, name, limits) -> None:
    viewer, study, plan = shown
    layers = paint_part(viewer, study, KEY, plan_values(study, plan, name))
    assert all(layer.visible for layer in layers)
    for layer in layers:
        assert layer.face_contrast_limits == limits
        assert layer.face_colorbar.visible
    wanted = {"confidence": 2 / 3, "entropy": 0.3, "unmatched": 0.25}[name]
    values = layers[0].features[tag(layers[0])["part"]].to_numpy()
    np.testing.assert_allclose(values[1:], wanted)
    assert values[0] == 1 if name == "unmatched" else np.isnan(values[0])


def test_unmatched_mass_is_shown_in_both_sections(shown) -> None:
    viewer, study, plan = shown
    layers = paint_part(viewer, study, KEY, plan_values(study, plan, "unmatched"))
    assert [tag(layer)["section"] for layer in layers] == ["A", "B"]
    received = np.asarray(plan.plan.sum(axis=0)).ravel() * N
    np.testing.assert_allclose(layers[1].features["unmatched"], 1 - received)


def test_displacement_is_in_micrometres_beyond_the_pose(shown) -> None:
    viewer, study, plan = shown
    (layer,) = paint_part(viewer, study, KEY, plan_values(study, plan, "displacement"))
    length = np.linalg.norm(plan.barycentres - plan.source_coordinates, axis=1)
    np.testing.assert_allclose(layer.features["displacement"], length)
    assert layer.face_contrast_limits[0] == 0
    assert layer.face_contrast_limits[1] >= np.nanpercentile(length, 99)
    assert "(um)" in layer.name


def test_disagreement_needs_landmarks_that_were_left_out(shown) -> None:
    viewer, study, plan = shown
    with pytest.raises(UserError, match="left out"):
        plan_values(study, plan, "disagreement")
    judged = replace(plan, disagreement=np.arange(N, dtype=float), landmarks=("L1", "L2"))
    (layer,) = paint_part(viewer, study, KEY, plan_values(study, judged, "disagreement"))
    assert "2 landmarks" in layer.name
    assert layer.face_contrast_limits == (0, 35)


def test_label_agreement_is_the_share_of_labelled_mass(shown) -> None:
    viewer, study, plan = shown
    matrix = csr_matrix(np.array([[1, 2, 1], [0, 0, 0], [1, 1, 0.0]]))
    share = label_agreement(matrix, np.array(["a", "a", ""]), np.array(["a", "b", ""]))
    np.testing.assert_allclose(share, [1 / 3, np.nan, np.nan])
    (layer,) = paint_part(viewer, study, KEY, plan_values(study, plan, "agreement"))
    # Spots are inner, outer, none in turn: the neighbour never has the spot's label.
    values = layer.features["agreement"].to_numpy()
    np.testing.assert_allclose(values[3], 2 / 3)
    np.testing.assert_allclose(values[4], 1)
    assert np.isnan(values[5])
    study.record.sections["B"].annotation = None
    with pytest.raises(UserError, match="'B' has no annotation"):
        plan_values(study, plan, "agreement")


def test_a_gene_is_carried_beside_the_measured_one_with_their_residual(shown) -> None:
    viewer, study, plan = shown
    values = plan_values(study, plan, "gene", gene="Spen")
    layers = paint_part(viewer, study, KEY, values)
    carried, measured, residual = layers
    assert [layer.visible for layer in layers] == [True, False, False]
    assert {tag(layer)["section"] for layer in layers} == {"B"}
    counts = study.section("A").table("rna").X.toarray().astype(float)
    depth = counts.sum(axis=1)
    own = np.log1p(counts[:, 1] / depth * np.median(depth))
    np.testing.assert_allclose(measured.features["Spen"], own)
    weights = plan.plan.toarray()
    expected = (weights.T @ own)[1:] / weights.sum(axis=0)[1:]
    np.testing.assert_allclose(carried.features["Spen"][1:], expected)
    # The first spot of the target gets mass from the last one alone.
    np.testing.assert_allclose(carried.features["Spen"][0], own[-1])
    np.testing.assert_allclose(
        residual.features["Spen"], measured.features["Spen"] - carried.features["Spen"]
    )
    assert carried.face_contrast_limits == measured.face_contrast_limits
    low, high = residual.face_contrast_limits
    assert low == -high
    assert "log1p" in carried.name


def test_target_spots_that_receive_nothing_have_no_carried_value() -> None:
    plan = csr_matrix(np.array([[0, 1.0], [0, 3.0]]))
    np.testing.assert_allclose(carried_over(plan, np.array([1.0, 5.0])), [np.nan, 4.0])


def test_values_that_are_no_counts_are_carried_as_they_are(shown) -> None:
    _, study, plan = shown
    for name in ("A", "B"):
        table = study.section(name).table("rna")
        table.X = csr_matrix(table.X.toarray().astype(float) - 40)
    carried, measured, _ = plan_values(study, plan, "gene", gene="Penk")
    assert "as stored" in carried.title
    np.testing.assert_allclose(measured.shown.values, np.arange(0, 144, 4) - 40.0)
    assert carried.shown.limits[0] < 0


def test_genes_of_both_sections_come_first(shown) -> None:
    import pandas as pd

    _, study, plan = shown
    study.section("B").table("rna").var = pd.DataFrame(index=["Th", "x", "Penk", "y"])
    assert shared_genes(study, plan) == ["Penk", "Th", "Spen", "Rare"]
    (only,) = plan_values(study, plan, "gene", gene="Spen")
    assert only.part == "gene carried"
    with pytest.raises(UserError, match="'x' is not measured"):
        plan_values(study, plan, "gene", gene="x")


def test_painting_again_renews_what_was_shown(shown) -> None:
    viewer, study, plan = shown
    paint_part(viewer, study, KEY, plan_values(study, plan, "gene", gene="Spen"))
    (confidence,) = paint_part(viewer, study, KEY, plan_values(study, plan, "confidence"))
    confidence.visible = False
    doubled = csr_matrix(np.eye(N) / N)
    paint(viewer, study, replace(plan, plan=doubled), KEY)
    assert set(shown_parts(viewer, KEY)) == {"arrows", "entropy", "gene", "confidence"}
    (again,) = part_layers(viewer, KEY, "confidence")
    assert not again.visible
    np.testing.assert_allclose(again.features["confidence"], 1)
    carried, measured, _ = part_layers(viewer, KEY, "gene")
    np.testing.assert_allclose(carried.features["Spen"], measured.features["Spen"])


def test_what_glows_stays_above_what_is_painted_later(shown) -> None:
    from napari_stomics.layers.partners import PartnerGlow, PartnerTable

    viewer, study, plan = shown
    glow = PartnerGlow(viewer, study, PartnerTable(plan, grid()))
    glow.enable()
    paint_part(viewer, study, KEY, plan_values(study, plan, "confidence"))
    assert [tag(layer)["role"] for layer in list(viewer.layers)[-2:]] == ["glow", "glow"]
    glow.disable()


def test_two_answers_share_the_canvas_and_leave_it_as_it_was(shown) -> None:
    from napari_stomics.layers.compare import CompareController

    viewer, study, plan = shown
    paint(viewer, study, replace(plan, entropy=np.full(N, 0.9)), "other")
    layers = list(viewer.layers)
    seen = [layer.visible for layer in layers]
    view = CompareController(viewer, "A", "B")
    with pytest.raises(UserError, match="Two results"):
        view.set("results")
    with pytest.raises(UserError, match="no layer 'confidence'"):
        view.set("results", left=(KEY, "confidence"), right=("other", "entropy"))
    assert view.mode == "normal"
    assert [layer.visible for layer in layers] == seen
    view.set("results", left=(KEY, "entropy"), right=("other", "entropy"))
    grid_mode = viewer.canvas.grid
    assert grid_mode.enabled
    at = {
        tag(layer)["result"]: grid_mode.position(viewer.layers.index(layer), viewer.layers)
        for layer in viewer.layers
        if layer.visible and tag(layer)["role"] == "result"
    }
    assert at == {KEY: (0, 0), "other": (0, 1)}
    images = [q for q in viewer.layers if q.visible and tag(q)["role"] in ("image", "cut")]
    places = [grid_mode.position(viewer.layers.index(q), viewer.layers) for q in images]
    assert places == [(0, 0), (0, 1)]
    view.leave()
    assert list(viewer.layers) == layers
    assert [layer.visible for layer in layers] == seen
    assert not grid_mode.enabled


def test_a_part_goes_alone(shown) -> None:
    viewer, study, plan = shown
    paint_part(viewer, study, KEY, plan_values(study, plan, "gene", gene="Spen"))
    remove_part(viewer, KEY, "gene")
    assert shown_parts(viewer, KEY) == {"arrows": True, "entropy": False}
    stale = replace(plan, source_ids=np.array([f"x{i}" for i in range(N)], object))
    before = list(viewer.layers)
    with pytest.raises(UserError, match="does not have"):
        paint_part(viewer, study, KEY, plan_values(study, stale, "confidence"))
    assert list(viewer.layers) == before


def test_what_was_shown_comes_back_with_the_study() -> None:
    from napari_stomics.data.changes import apply_all
    from napari_stomics.data.plans import write_plan
    from napari_stomics.data.schema import RunRecord

    study = pair()
    plan = plan_of(study)
    apply_all(study, write_plan(study, plan, KEY, "r"))
    step = {"method": "alignment/fgw", "inputs": {"source": "A", "target": "B"}}
    study.record.runs.append(
        RunRecord(id="r", key=KEY, kind=plan.kind, step=step, started="", seconds=0)
    )
    looks = []
    for turn in range(2):
        viewer = ViewerModel()
        add_section(viewer, study, "A")
        add_section(viewer, study, "B")
        paint(viewer, study, plan, KEY)
        if turn == 0:
            paint_part(viewer, study, KEY, plan_values(study, plan, "gene", gene="Th"))
            paint_part(viewer, study, KEY, plan_values(study, plan, "confidence"))
        else:
            assert restore(viewer, study, looks[0]) == []
        looks.append(capture(viewer))
    assert looks[0]["layers"] == looks[1]["layers"]
    restore_part(viewer, study, "nothing", "confidence", None)


def test_every_layer_can_be_asked_for(shown) -> None:
    _, study, plan = shown
    judged = replace(plan, disagreement=np.ones(N))
    for layer in PLAN_LAYERS:
        if layer.name != "arrows":
            values = plan_values(study, judged, layer.name, gene="Penk")
            assert all(each.part.split(" ")[0] == layer.name for each in values)


def test_limits_are_round() -> None:
    assert from_zero(np.array([0, 12.34])) == (0.0, 13.0)
    assert from_zero(np.zeros(3)) == (0.0, 1.0)
    assert from_zero(np.array([np.nan])) == (0.0, 1.0)
    assert tagged(ViewerModel(), role="result") == []
