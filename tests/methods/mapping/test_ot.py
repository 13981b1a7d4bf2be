"""Cells placed in space: by an atlas, de novo, unbalanced, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.inputs import MappingInputs
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.mappings import CellMapping
from napari_stomics.methods.mapping.ot import gigabytes, map_cells
from napari_stomics.methods.mapping.params import MappingParams
from napari_stomics.methods.mapping.preset_rows import ROWS
from tests.methods.mapping.tissues import case, error, error_up_to_motion

QUIET = JobContext(on_warning=lambda text: None)


def run(inputs: MappingInputs, **params: Any) -> CellMapping:
    return map_cells(inputs, MappingParams(**params), QUIET)


def preset(name: str) -> dict[str, Any]:
    return dict(next(row["params"] for row in ROWS if row["name"] == name))


def test_with_an_atlas_of_all_genes_cells_find_their_places():
    inputs, truth = case()
    found = run(inputs, epsilon=0.02)
    chance = error(np.random.default_rng(0).permutation(truth), truth)
    assert error(found.positions, truth) < 0.15 * chance
    assert found.converged
    assert found.kept > 0.9
    # Certainty means something: cells placed with little spread are placed better.
    off = np.linalg.norm(found.positions - truth, axis=1)
    sure = found.spread < np.median(found.spread)
    assert off[sure].mean() < off[~sure].mean()


def test_few_marker_genes_place_far_better_with_structure_than_alone():
    inputs, truth = case(markers=2)
    options = {**preset("novosparc"), "starts": 1}
    alone = error(run(inputs, **{**options, "atlas_weight": 1.0}).positions, truth)
    both = error(run(inputs, **{**options, "atlas_weight": 0.3}).positions, truth)
    assert both < 0.5 * alone
    assert both < 2.0


def test_de_novo_finds_the_tissue_up_to_its_symmetry():
    inputs, truth = case()
    warned: list[str] = []
    found = map_cells(
        inputs, MappingParams(**preset("novosparc")), JobContext(on_warning=warned.append)
    )
    chance = error_up_to_motion(np.random.default_rng(0).permutation(truth), truth)
    assert error_up_to_motion(found.positions, truth) < 0.25 * chance
    assert any("symmetry" in text for text in warned)
    assert len(found.features) == 0


def test_labels_arrive_where_they_belong():
    inputs, _ = case()
    found = run(inputs)
    assert found.categories == ("L1", "L2", "L3", "L4")
    np.testing.assert_allclose(found.proportions.sum(axis=1), 1, rtol=1e-6)
    best = np.array(found.categories)[found.proportions.argmax(axis=1)]
    assert np.mean(best == inputs.space.labels) > 0.85
    assert ((found.proportion_entropy >= 0) & (found.proportion_entropy <= 1)).all()
    edges = found.proportion_entropy[np.isin(inputs.space.coordinates[:, 0], (40.0, 50.0))]
    assert np.median(edges) > np.median(found.proportion_entropy)


def test_held_out_genes_are_not_seen_and_are_predicted():
    inputs, _ = case()
    found = run(inputs, held_out=0.25)
    assert len(found.held_out) == 30
    assert not set(found.held_out) & set(found.features)
    assert np.median(found.held_out_pearson) > 0.6
    # The measured values of these genes must not matter for the plan.
    other = inputs.space.x.toarray()
    hidden = np.isin(inputs.space.features, found.held_out)
    total = other[:, hidden].sum(axis=1)
    other[:, hidden] = 0
    other[:, np.flatnonzero(hidden)[0]] = total  # depth stays, so that normalising is the same
    blind = run(replace(inputs, space=replace(inputs.space, x=other)), held_out=0.25)
    np.testing.assert_allclose(blind.positions, found.positions, atol=1e-3)


def test_unbalanced_leaves_out_cells_that_have_no_place():
    inputs, truth = case()
    # A quarter of the cells become cells of another tissue: their genes change names.
    missing = inputs.cells.labels == "L4"
    x = inputs.cells.x.toarray()
    x[missing] = x[missing][:, np.random.default_rng(0).permutation(x.shape[1])]
    part = replace(inputs, cells=replace(inputs.cells, x=x))
    found = run(part, marginals="unbalanced", atlas_weight=1.0)
    assert found.cell_mass[missing].mean() < 0.6 * found.cell_mass[~missing].mean()
    assert found.unmatched[missing].mean() > 0.5
    forced = run(part, marginals="balanced", atlas_weight=1.0)
    np.testing.assert_allclose(forced.cell_mass, 1, atol=1e-2)
    strange = [found.cell_mass[missing].sum(), forced.cell_mass[missing].sum()]
    assert strange[0] < 0.5 * strange[1]
    rest = ~missing
    assert error(found.positions[rest], truth[rest]) < 2.5


def test_labels_of_the_section_can_hold_the_cells():
    inputs, truth = case(markers=2)
    free = run(inputs, atlas_weight=1.0, epsilon=0.02)
    held = run(inputs, atlas_weight=1.0, epsilon=0.02, label_weight=5.0)
    assert error(held.positions, truth) < error(free.positions, truth)
    best = np.array(held.categories)[held.proportions.argmax(axis=1)]
    assert np.mean(best == inputs.space.labels) > 0.98
    other = replace(inputs.space, labels=np.full(len(inputs.space.ids), "elsewhere", object))
    with pytest.raises(UserError, match="is a label of section"):
        run(replace(inputs, space=other), label_weight=1.0)


def test_spots_may_take_mass_by_their_counts():
    inputs, _ = case()
    x = inputs.space.x.toarray()
    x[:20] *= 4
    found = run(replace(inputs, space=replace(inputs.space, x=x)), spot_mass="counts")
    received = np.asarray(found.plan.sum(axis=0)).ravel()
    assert received[:20].mean() > 2.5 * received[20:].mean()
    np.testing.assert_allclose(found.spot_mass, 1, atol=1e-2)


def test_through_landmarks_it_is_nearly_the_same():
    inputs, truth = case(markers=4)
    options = {"atlas_weight": 0.5, "cell_distances": "lengths"}
    exact = run(inputs, **options)
    low = run(inputs, **options, exact_up_to=100, landmarks=80)
    assert abs(error(exact.positions, truth) - error(low.positions, truth)) < 0.3


def test_the_same_seed_gives_the_same_answer():
    inputs, _ = case(n=120)
    options = {**preset("novosparc"), "starts": 2}
    first, second = run(inputs, **options), run(inputs, **options)
    np.testing.assert_array_equal(first.positions, second.positions)
    other = run(inputs, **{**options, "seed": 7})
    assert not np.array_equal(first.positions, other.positions)


def test_what_cannot_be_mapped_is_refused_with_the_reason():
    inputs, _ = case(n=120)
    cells, space = inputs.cells, inputs.space
    strange = np.array([f"x{i}" for i in range(len(space.features))], object)
    with pytest.raises(UserError, match="share 0 features"):
        run(replace(inputs, space=replace(space, features=strange)))
    with pytest.raises(UserError, match="GB are allowed") as refused:
        run(inputs, max_gigabytes=1e-4)
    assert "sample" in refused.value.hint
    empty = cells.x.toarray()
    empty[5] = 0
    warned: list[str] = []
    found = map_cells(
        replace(inputs, cells=replace(cells, x=empty)),
        MappingParams(),
        JobContext(on_warning=warned.append),
    )
    assert warned == ["1 cells of 'cells' have no counts: nothing tells where they belong."]
    assert found.entropy[5] > np.median(found.entropy)
    few = replace(space, ids=space.ids[:2], coordinates=space.coordinates[:2], x=space.x[:2])
    with pytest.raises(UserError, match="At least three"):
        run(replace(inputs, space=few))
    broken = cells.x.toarray()
    broken[3, 2] = np.nan
    with pytest.raises(UserError, match="not numbers"):
        run(replace(inputs, cells=replace(cells, x=broken)))
    with pytest.raises(UserError, match="Marker genes need labels"):
        run(replace(inputs, cells=replace(cells, labels=None)), genes="markers")


def test_memory_is_told_for_what_is_asked():
    near = gigabytes(1000, 1000, MappingParams())
    assert 0.05 < near < 0.2
    assert gigabytes(1000, 1000, MappingParams(atlas_weight=1.0)) < near
    # Above the limit nothing grows with the square of the cells.
    small, large = (gigabytes(n, 10, MappingParams()) for n in (100_000, 200_000))
    assert large == pytest.approx(2 * small, rel=0.01)


def test_it_can_be_cancelled_at_any_step():
    inputs, _ = case(n=120)
    for stop in (1, 4, 12):
        seen: list[str] = []

        def reached(fraction: Any, message: str, seen: list[str] = seen) -> None:
            seen.append(message)

        def cancelled(seen: list[str] = seen, stop: int = stop) -> bool:
            return len(seen) >= stop

        with pytest.raises(JobCancelled):
            map_cells(inputs, MappingParams(), JobContext(reached, is_cancelled=cancelled))
        assert len(seen) == stop


def test_presets_are_parameters_of_the_method():
    assert [row["name"] for row in ROWS] == ["novosparc", "spaotsc", "simo"]
    for row in ROWS:
        params = MappingParams(**row["params"])
        assert row["method"] == "mapping/ot"
        assert params != MappingParams()
