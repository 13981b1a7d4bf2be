"""Distances between placed cells and labels, and signals between them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import Cells
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.mapping.communication import (
    cell_distances,
    label_distances,
    read_pairs,
    signals,
)
from napari_stomics.methods.mapping.ot import map_cells
from napari_stomics.methods.mapping.params import MappingParams
from napari_stomics.methods.mapping.places import expected_positions
from tests.methods.mapping.tissues import PITCH, case, names

CTX = JobContext()


def test_pairs_are_read_and_typing_errors_told():
    assert read_pairs(" Fgf8>Fgfr1, Wnt5a > Fzd5\nHLA-A>KIR;") == [
        ("Fgf8", "Fgfr1"), ("Wnt5a", "Fzd5"), ("HLA-A", "KIR"),
    ]  # fmt: skip
    assert read_pairs("") == []
    for wrong in ("Fgf8", "Fgf8>", "a>b>c"):
        with pytest.raises(UserError, match="no ligand-receptor pair"):
            read_pairs(wrong)


def test_cell_distances_are_a_lower_bound_and_exact_for_points_and_shifts():
    import ot
    from scipy.spatial.distance import cdist

    rng = np.random.default_rng(0)
    spots = rng.uniform(0, 100, (60, 2))
    plan = rng.gamma(0.1, size=(8, 60))
    mean, covariance = expected_positions(plan, spots)
    rows = np.arange(8)
    found = cell_distances(mean, covariance, rows, rows)
    squared = cdist(spots, spots, "sqeuclidean")
    share = plan / plan.sum(axis=1, keepdims=True)
    exact = np.array([[np.sqrt(ot.emd2(a, b, squared)) for b in share] for a in share])
    assert (found <= exact + 1e-6).all()
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.9
    np.testing.assert_allclose(np.diag(found), 0, atol=1e-4)
    points = np.zeros((8, 2, 2))
    straight = cell_distances(mean, points, rows, rows)
    np.testing.assert_allclose(straight, cdist(mean, mean))
    shifted = cell_distances(
        np.array([[0.0, 0], [30, 40]]), np.array([covariance[0]] * 2), np.array([0]), np.array([1])
    )
    assert shifted[0, 0] == pytest.approx(50)


def test_labels_that_lie_apart_are_far():
    inputs, _ = case()
    found = map_cells(inputs, MappingParams(label_distances=True, epsilon=0.02), CTX)
    gaps = found.label_distances
    np.testing.assert_allclose(gaps, gaps.T)
    assert gaps[0, 1] < gaps[0, 2] < gaps[0, 3]
    centres = [
        inputs.space.coordinates[inputs.space.labels == name].mean(axis=0)
        for name in found.categories
    ]
    truth = np.linalg.norm(centres[0] - centres[3])
    assert gaps[0, 3] == pytest.approx(truth, rel=0.15)


def test_very_many_spots_are_gathered_first():
    rng = np.random.default_rng(0)
    spots = np.sort(rng.uniform(0, 1000, (1500, 2)), axis=0)
    plan = np.zeros((2, 1500))
    plan[0, :500] = plan[1, -500:] = 1 / 1000
    labels = np.array(["a", "b"], object)
    gaps = label_distances(plan, labels, ("a", "b"), spots, CTX)
    truth = np.linalg.norm(spots[:500].mean(axis=0) - spots[-500:].mean(axis=0))
    assert gaps[0, 1] == pytest.approx(truth, rel=0.03)


def placed(seed: int = 0) -> tuple[Cells, tuple[np.ndarray, np.ndarray]]:
    """Senders on the left, one group of receivers near them and one far away."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.normal(0, 5, 60), rng.normal(15, 5, 60), rng.normal(400, 5, 60)])
    xy = np.column_stack([x, rng.normal(0, 5, 180)])
    label = np.repeat(np.array(["sender", "near", "far"], object), 60)
    counts = np.full((180, 3), 5.0, np.float32)
    counts[:, 0] = np.where(label == "sender", 20, 0)
    counts[:, 1] = np.where(label == "sender", 0, 20)
    features = np.array(["Lig", "Rec", "Other"], object)
    cells = Cells("cells", names("c", 180), counts, features, "rna", label)
    return cells, (xy, np.broadcast_to(np.eye(2), (180, 2, 2)))


def test_a_signal_reaches_receptors_nearby_and_not_those_far_away():
    cells, places = placed()
    names_ = ("far", "near", "sender")
    found = signals(cells, names_, places, [("Lig", "Rec")], 50.0, 0, CTX)
    flow = found.flows[0]
    assert flow[2, 1] > 20 * max(flow[2, 0], 1e-12)
    assert flow[[0, 1]].sum() == 0
    assert found.z[0, 2, 1] > 5
    assert 5 < found.reach[0] < 50
    far = signals(cells, names_, places, [("Lig", "Rec")], 1000.0, 0, CTX).flows[0]
    assert far[2, 0] > 10 * flow[2, 0]


def test_shuffled_expression_gives_no_signal_to_look_at():
    cells, places = placed()
    order = np.random.default_rng(1).permutation(180)
    mixed = replace(cells, x=cells.x[order])
    found = signals(mixed, ("far", "near", "sender"), places, [("Lig", "Rec")], 50.0, 0, CTX)
    assert np.nanmax(np.abs(found.z)) < 4.5


def test_signals_that_cannot_be_followed_are_told():
    cells, places = placed()
    with pytest.raises(UserError, match="no feature 'Absent'"):
        signals(cells, ("near",), places, [("Lig", "Absent")], 50.0, 0, CTX)
    with pytest.raises(UserError, match="cells have none"):
        signals(replace(cells, labels=None), (), places, [("Lig", "Rec")], 50.0, 0, CTX)
    silent = replace(cells, x=cells.x * np.array([0, 1, 1], np.float32))
    found = signals(silent, ("far", "near", "sender"), places, [("Lig", "Rec")], 50.0, 0, CTX)
    assert found.flows.sum() == 0
    assert np.isnan(found.z).all()


def test_the_range_is_three_pitches_by_default():
    inputs, _ = case(n=120)
    gene = [str(g) for g in inputs.cells.features[:2]]
    pair = f"{gene[0]}>{gene[1]}"
    found = map_cells(inputs, MappingParams(ligand_receptor=pair), CTX)
    same = map_cells(inputs, MappingParams(ligand_receptor=pair, signal_range=3 * PITCH), CTX)
    assert found.signals == (pair,)
    np.testing.assert_array_equal(found.flows, same.flows)
