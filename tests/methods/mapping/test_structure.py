"""Distances in graphs and through landmarks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.mapping.structure import (
    Distances,
    distances_within,
    farthest_points,
    neighbour_graph,
)


def within(points: Any, kind: Any, **more: Any) -> Distances:
    options: dict[str, Any] = {"neighbours": 2, "exact_up_to": 1000, "landmarks": 40, "seed": 0}
    return distances_within(points, kind, ctx=JobContext(), **{**options, **more})


def full(found: Distances) -> Any:
    return found.dot(np.eye(len(found), dtype=np.float32))


def test_along_a_bent_line_the_graph_measures_the_way():
    angle = np.linspace(0, 1.8 * np.pi, 60)
    points = np.column_stack([np.cos(angle), np.sin(angle)])
    hops = full(within(points, "hops"))
    steps = np.abs(np.arange(60)[:, None] - np.arange(60)[None, :])
    # Two neighbours either side let a path take every second point at most.
    np.testing.assert_allclose(hops / hops[0, -1], steps / 59, atol=0.04)
    lengths = full(within(points, "lengths"))
    way = np.abs(angle[:, None] - angle[None, :])
    np.testing.assert_allclose(lengths / lengths[0, -1], way / way[0, -1], atol=0.01)
    straight = full(within(points, "euclidean"))
    assert straight[0, -1] / straight[0, 30] < 0.5


def test_scaled_to_root_mean_square_one():
    points = np.random.default_rng(0).normal(size=(80, 3)) * 1e4 + 1e6
    for kind in ("hops", "lengths", "euclidean"):
        found = within(points, kind, neighbours=6)
        assert np.mean(np.square(full(found))) == pytest.approx(1, rel=1e-4)


def test_pieces_are_joined_at_their_nearest_points():
    a = np.column_stack([np.arange(10.0), np.zeros(10)])
    b = np.column_stack([np.arange(4.0) + 14, np.zeros(4)])
    graph = neighbour_graph(np.vstack([a, b]), 2, "lengths")
    assert graph[9, 10] == pytest.approx(5)
    assert np.isfinite(full(within(np.vstack([a, b]), "lengths"))).all()


def test_coincident_points_are_neighbours_at_no_distance():
    points = np.repeat(np.arange(5.0)[:, None], 3, axis=0)
    found = full(within(points, "lengths", neighbours=5))
    assert np.isfinite(found).all()
    assert found[0, 1] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", ["euclidean", "lengths"])
def test_landmarks_stand_for_all_distances(kind):
    points = np.random.default_rng(1).uniform(size=(400, 2))
    exact = within(points, kind, neighbours=8)
    low = within(points, kind, neighbours=8, exact_up_to=100, landmarks=60)
    assert low.right is not None
    assert low.right.shape == (400, 60)
    error = np.sqrt(np.mean(np.square(full(low) / np.sqrt(np.mean(full(low) ** 2)) - full(exact))))
    assert error < 0.03
    weights = np.random.default_rng(2).uniform(size=400).astype(np.float32)
    np.testing.assert_allclose(low.squared_dot(weights), exact.squared_dot(weights), rtol=0.08)


def test_landmarks_lie_apart_and_follow_the_seed():
    points = np.random.default_rng(0).uniform(size=(500, 2))
    chosen = farthest_points(points, 20, 3)
    assert len(set(chosen)) == 20
    assert (chosen == farthest_points(points, 20, 3)).all()
    gaps = cdist(points[chosen], points[chosen]) + np.eye(20)
    drawn = np.random.default_rng(0).choice(500, 20, replace=False)
    others = cdist(points[drawn], points[drawn]) + np.eye(20)
    assert gaps.min() > 3 * others.min()


def test_between_two_matrices_the_order_of_products_does_not_matter():
    rng = np.random.default_rng(0)
    first, second = rng.uniform(size=(150, 2)), rng.uniform(size=(120, 2))
    x = rng.uniform(size=(150, 120)).astype(np.float32)
    for limit_a in (1000, 100):
        for limit_b in (1000, 100):
            a = within(first, "euclidean", exact_up_to=limit_a)
            b = within(second, "euclidean", exact_up_to=limit_b)
            np.testing.assert_allclose(a.across(x, b), full(a) @ x @ full(b), rtol=2e-3)
