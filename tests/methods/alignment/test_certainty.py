"""Planted ambiguities and tears are found first; the suggested landmark helps most."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from napari_stomics.core.plans import TransportPlan
from napari_stomics.methods.alignment.certainty import (
    doubtful_regions,
    neighbour_pairs,
    row_moments,
    short,
    spot_doubt,
)
from napari_stomics.methods.alignment.next_landmark import (
    expected_reduction,
    next_landmark,
    observed,
    shift_field,
)

PITCH = 50.0
SIDE = 24


def hexagonal(side: int = SIDE) -> np.ndarray:
    row, column = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    x = column + 0.5 * (row % 2)
    return np.column_stack([x.ravel(), row.ravel() * np.sqrt(3) / 2]) * PITCH


def warp(points: np.ndarray) -> np.ndarray:
    """A smooth shift of about one pitch."""
    x, y = points.T / (SIDE * PITCH)
    return np.column_stack([np.sin(3 * y + 1), np.cos(2 * x + y)]) * PITCH


def entropy(matrix: Any, m: int) -> np.ndarray:
    share = matrix.toarray() / matrix.sum(axis=1).A.ravel()[:, None]
    logs = np.log(np.where(share > 0, share, 1.0))
    return -(share * logs).sum(axis=1) / np.log(m)


def plan_to(places: np.ndarray, more: Any = None, width: float = 0.5) -> TransportPlan:
    """Source spots on a lattice; row i lands round ``places[i]``, and half of it round ``more``."""
    source, target = hexagonal(), hexagonal()
    tree = cKDTree(target)
    dense = np.zeros((len(source), len(target)))
    for i in range(len(source)):
        for goal in [places[i]] + ([] if i not in (more or {}) else [more[i]]):
            near = tree.query(goal, k=7)[1]
            away = np.linalg.norm(target[near] - goal, axis=1) / PITCH
            weight = np.exp(-0.5 * ((away - away.min()) / width) ** 2)
            dense[i, near] += weight / weight.sum()
    dense /= dense.sum(axis=1, keepdims=True) * len(source)
    matrix = csr_matrix(dense)
    landed, _ = row_moments(matrix, target)
    return TransportPlan(
        source="A",
        target="B",
        source_ids=np.arange(len(source)).astype(str).astype(object),
        target_ids=np.arange(len(target)).astype(str).astype(object),
        plan=matrix,
        source_coordinates=source,
        barycentres=landed,
        entropy=entropy(matrix, len(target)),
        objective=np.array([1.0]),
        marginal_error=0.0,
        alpha=0.1,
        converged=True,
    )


def disc(centre: tuple[float, float], radius: float) -> np.ndarray:
    """Spots within a circle; centre and radius in pitches."""
    away = np.linalg.norm(hexagonal() / PITCH - centre, axis=1)
    return np.flatnonzero(away <= radius)


def ambiguous(spots: np.ndarray, shift: tuple[float, float]) -> TransportPlan:
    places = hexagonal() + warp(hexagonal())
    there = {int(i): places[i] + np.array(shift) * PITCH for i in spots}
    return plan_to(places, there)


def overlap(found: np.ndarray, planted: np.ndarray) -> float:
    return len(np.intersect1d(found, planted)) / len(np.union1d(found, planted))


def test_moments_of_a_row_are_those_of_its_targets() -> None:
    target = np.array([[1e5, 0], [1e5 + 4, 0], [1e5, 2.0]])
    plan = csr_matrix(np.array([[1, 1, 0], [0, 0, 3], [0, 0, 0.0]]))
    mean, covariance = row_moments(plan, target)
    np.testing.assert_allclose(mean[:2], [[1e5 + 2, 0], [1e5, 2]])
    np.testing.assert_allclose(covariance[0], [[4, 0], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(covariance[1], 0, atol=1e-6)
    assert np.isnan(mean[2]).all()
    assert np.isnan(covariance[2]).all()


def test_neighbours_are_the_six_of_a_lattice_and_none_across_a_gap() -> None:
    points = hexagonal(7)
    edges = neighbour_pairs(points, PITCH)
    away = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    degree = np.bincount(edges.ravel())
    assert degree[24] >= 6
    assert (away <= 2.5 * PITCH).all()
    apart = np.vstack([points, points + np.array([1000 * PITCH, 0])])
    crossing = neighbour_pairs(apart, PITCH)
    assert not ((crossing[:, 0] < 49) & (crossing[:, 1] >= 49)).any()


def test_nothing_stands_out_in_a_smooth_plan() -> None:
    plan = plan_to(hexagonal() + warp(hexagonal()))
    inner = spot_doubt(plan, hexagonal(), PITCH)
    assert np.nanmedian(inner.error) < 1.0
    regions = doubtful_regions(plan, inner)
    assert regions
    assert not any(region.stands_out for region in regions)
    assert sum(len(region.spots) for region in regions) <= SIDE**2 / 10
    certain = replace(plan, plan=csr_matrix(np.eye(SIDE**2)))
    assert doubtful_regions(certain, spot_doubt(certain, hexagonal(), PITCH)) == ()


@pytest.mark.parametrize("centre", [(7.0, 12.0), (16.0, 6.0)])
def test_a_planted_ambiguity_ranks_first(centre: tuple[float, float]) -> None:
    planted = disc(centre, 3.2)
    plan = ambiguous(planted, (0.0, 7.0))
    doubt = spot_doubt(plan, hexagonal(), PITCH)
    first = doubtful_regions(plan, doubt)[0]
    # Their neighbours contradict them, so the region may take in one ring more.
    assert set(planted) <= set(first.spots)
    assert overlap(first.spots, planted) > 0.55
    assert first.spread == pytest.approx(3.5, abs=0.5)
    assert first.stands_out
    assert "partners spread over 3." in first.text
    assert f"{len(first.spots)} spots, entropy ." in first.text


def test_a_torn_region_ranks_first_though_its_rows_are_sure() -> None:
    planted = disc((12.0, 10.0), 3.2)
    places = hexagonal() + warp(hexagonal())
    places[planted] += [5 * PITCH, 0]
    plan = plan_to(places)
    doubt = spot_doubt(plan, hexagonal(), PITCH)
    first = doubtful_regions(plan, doubt)[0]
    middle = hexagonal()[first.spots].mean(axis=0) / PITCH
    np.testing.assert_allclose(middle, (12, 10), atol=1)
    # Within the planted disc neighbours agree; the tear is its rim.
    from_rim = np.abs(np.linalg.norm(hexagonal() / PITCH - (12, 10), axis=1) - 3.2)
    assert from_rim[first.spots].max() < 1.5
    assert len(first.spots) > 0.6 * (from_rim < 1).sum()
    assert first.torn == pytest.approx(5, abs=1)
    assert "neighbours torn apart by 5." in first.text or "by 4." in first.text
    assert first.entropy == pytest.approx(np.nanmedian(plan.entropy), abs=0.1)
    # The partners are where the region was carried to, not where it lies.
    landed = hexagonal()[first.partners]
    assert landed[:, 0].max() / PITCH > 16


def test_disagreement_with_landmarks_left_out_is_a_reason() -> None:
    plan = plan_to(hexagonal() + warp(hexagonal()))
    off = np.full(len(plan.source_ids), 0.2 * PITCH)
    planted = disc((6.0, 6.0), 2.5)
    off[planted] = 4 * PITCH
    doubt = spot_doubt(replace(plan, disagreement=off), hexagonal(), PITCH)
    first = doubtful_regions(plan, doubt)[0]
    assert set(planted) <= set(first.spots)
    assert "4.0 pitches from where the landmarks say" in first.text


def test_spots_without_a_partner_are_left_out() -> None:
    plan = plan_to(hexagonal() + warp(hexagonal()))
    matrix = plan.plan.tolil()
    matrix[:40] = 0
    bare = replace(plan, plan=matrix.tocsr())
    doubt = spot_doubt(bare, hexagonal(), PITCH)
    assert np.isnan(doubt.error[:40]).all()
    assert all(region.spots.min() >= 40 for region in doubtful_regions(bare, doubt))
    nothing = replace(plan, plan=csr_matrix(plan.plan.shape))
    empty = spot_doubt(nothing, hexagonal(), PITCH)
    assert doubtful_regions(nothing, empty) == ()
    assert shift_field(nothing, empty, hexagonal(), hexagonal(), PITCH) is None


def test_numbers_in_words() -> None:
    assert short(0.614) == ".61"
    assert short(1.0) == "1.00"


def field_of(plan: TransportPlan, landmarks: Any = None) -> Any:
    source = hexagonal()
    doubt = spot_doubt(plan, source, PITCH)
    return shift_field(plan, doubt, source, source, PITCH, landmarks)


def test_the_field_is_the_planted_shift_where_the_plan_is_sure() -> None:
    field = field_of(plan_to(hexagonal() + warp(hexagonal())))
    truth = warp(field.places * PITCH) / PITCH
    inner = (field.places > 3).all(axis=1) & (field.places < 17).all(axis=1)
    error = np.linalg.norm(field.mean - truth, axis=1)[inner]
    assert np.sqrt(np.mean(error**2)) < 0.25
    assert field.weights.sum() == SIDE**2
    assert np.linalg.eigvalsh(field.covariance.reshape(2 * len(field.spots), -1)).min() > -1e-8


def test_the_suggestion_lies_in_the_ambiguity_and_its_ellipse_along_it() -> None:
    planted = disc((8.0, 12.0), 4.0)
    plan = ambiguous(planted, (0.0, 8.0))
    found = next_landmark(field_of(plan), plan, hexagonal(), PITCH)
    assert np.linalg.norm(np.array(found.source) / PITCH - (8, 12)) < 4
    assert found.covariance[1, 1] > 2 * found.covariance[0, 0]
    assert found.after < found.before
    outline = found.ellipse()
    np.testing.assert_allclose(outline.mean(axis=0), found.target, atol=1e-6)
    tall, wide = np.ptp(outline[:, 1]), np.ptp(outline[:, 0])
    assert tall == pytest.approx(4 * np.sqrt(found.covariance[1, 1]), rel=0.05)
    assert tall > wide


def test_a_landmark_takes_its_neighbourhood_off_the_list() -> None:
    planted = disc((8.0, 12.0), 4.0)
    plan = ambiguous(planted, (0.0, 8.0))
    source = hexagonal()
    first = next_landmark(field_of(plan), plan, source, PITCH)
    true = source[first.spot] + warp(source[[first.spot]])[0]
    # The source's own frame may be any: here it is turned and shifted.
    turned = source[:, ::-1] * [1, -1] + 300
    marks = (turned[[first.spot]], true[None])
    doubt = spot_doubt(plan, source, PITCH)
    after = shift_field(plan, doubt, turned, source, PITCH, marks)
    second = next_landmark(after, plan, turned, PITCH)
    assert second.before < first.before
    assert np.linalg.norm(source[second.spot] - source[first.spot]) > 1.5 * PITCH
    at = int(np.argmin(np.linalg.norm(after.places * PITCH - source[first.spot], axis=1)))
    np.testing.assert_allclose(after.mean[at], (true - source[first.spot]) / PITCH, atol=0.6)


def test_suggested_landmarks_help_more_than_random_ones() -> None:
    """Uncertainty and true error, with the landmark where it truly belongs; mean over seeds."""
    left: dict[str, list[tuple[float, float]]] = {"suggested": [], "random": []}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        centre = tuple(rng.uniform(5, 16, 2))
        angle = rng.uniform(0, 2 * np.pi)
        shift = (8 * np.cos(angle), 8 * np.sin(angle))
        plan, source = ambiguous(disc(centre, 4.0), shift), hexagonal()
        field = field_of(plan)
        choices = {
            "suggested": [next_landmark(field, plan, source, PITCH).spot],
            "random": list(rng.choice(len(source), 3, replace=False)),
        }
        for name, spots in choices.items():
            for spot in spots:
                marks = (source[[spot]], source[[spot]] + warp(source[[spot]]))
                after = field_of(plan, marks)
                truth = warp(after.places * PITCH) / PITCH
                error = np.linalg.norm(after.mean - truth, axis=1)
                mean = float(np.average(error, weights=after.weights))
                left[name].append((after.mean_uncertainty, mean))
    suggested, random = (np.mean(left[name], axis=0) for name in ("suggested", "random"))
    assert suggested[0] < 0.97 * random[0]
    assert suggested[1] < 0.97 * random[1]


def test_what_is_expected_of_a_landmark_is_what_it_does() -> None:
    field = field_of(ambiguous(disc((8.0, 12.0), 4.0), (0.0, 8.0)))
    gains = expected_reduction(field)
    best = int(np.argmax(gains))
    before, after = field.uncertainty**2, observed(field, best).uncertainty ** 2
    assert np.average(before - after, weights=field.weights) == pytest.approx(gains[best])
