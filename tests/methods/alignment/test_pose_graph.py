import numpy as np
import pytest

from napari_stomics.core.transforms import Affine
from napari_stomics.methods.alignment.pose_graph import (
    GraphEdge,
    chain_poses,
    edge_residuals,
    loop_errors,
    rigid_between,
    robust_rigid,
    solve_pose_graph,
)

PITCH = 100.0


def rigid(degrees: float, shift, mirrored: bool = False) -> Affine:
    a = np.deg2rad(degrees)
    matrix = np.eye(3)
    matrix[:2, :2] = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    if mirrored:
        matrix[:2, :2] = matrix[:2, :2] @ np.diag([-1.0, 1.0])
    matrix[:2, 2] = shift
    return Affine(matrix)


def stack(count: int, seed: int = 0, noise: float = 0.0, reach: int = 2, mirrored=()):
    """Sections at known poses, and noisy maps between those that lie near each other."""
    rng = np.random.default_rng(seed)
    xy = PITCH * np.stack(np.meshgrid(np.arange(20.0), np.arange(15.0)), -1).reshape(-1, 2)
    poses = [
        rigid(rng.uniform(0, 360), rng.uniform(-2000, 2000, 2), s in mirrored) for s in range(count)
    ]
    points = [pose.inverse().apply(xy) for pose in poses]
    edges = []
    for a in range(count):
        for b in range(a + 1, min(a + reach, count - 1) + 1):
            true = poses[a].then(poses[b].inverse())
            middle = points[b].mean(axis=0)
            wobble = rigid(rng.normal(0, noise), rng.normal(0, 20 * noise, 2))
            about = rigid(0, -middle).then(wobble).then(rigid(0, middle))
            edges.append(GraphEdge(a, b, true.then(about), 1.0))
    return points, poses, edges


def error(points, poses, found, reference: int) -> np.ndarray:
    """(s,) root mean square distance of each section from its true place."""
    out = []
    for own, true, pose in zip(points, poses, found, strict=True):
        gap = true.then(poses[reference].inverse()).apply(own) - pose.apply(own)
        out.append(np.sqrt((gap**2).sum(1).mean()))
    return np.array(out)


@pytest.mark.parametrize("mirrored", [(), (1, 4)])
def test_maps_without_noise_are_solved_exactly(mirrored):
    points, poses, edges = stack(6, mirrored=mirrored)
    found = solve_pose_graph(points, edges, 2, PITCH)
    np.testing.assert_allclose(error(points, poses, found.poses, 2), 0, atol=1e-6)
    np.testing.assert_allclose(found.kept, 1)
    np.testing.assert_allclose(found.poses[2].matrix, np.eye(3))
    errors, loops = loop_errors(points, edges)
    assert len(loops) == 4
    np.testing.assert_allclose(errors, 0, atol=1e-6)


def test_the_joint_solution_drifts_less_than_the_chain():
    chain, joint = [], []
    for seed in range(20):
        points, poses, edges = stack(9, seed, noise=1.0, reach=3)
        found = solve_pose_graph(points, edges, 0, PITCH)
        joint.append(error(points, poses, found.poses, 0)[-1])
        chain.append(error(points, poses, chain_poses(9, edges, 0), 0)[-1])
    assert np.mean(joint) < 0.75 * np.mean(chain)


@pytest.mark.parametrize("wrong", [0, 3, 6])
def test_an_alignment_that_all_others_contradict_loses_its_weight(wrong):
    points, poses, edges = stack(7, 1, noise=0.1, reach=3)
    bad = edges[wrong]
    turned = bad.transform.then(rigid(180, [900.0, 400.0]))
    edges[wrong] = GraphEdge(bad.source, bad.target, turned, 1.0)
    found = solve_pose_graph(points, edges, 3, PITCH)
    assert found.kept[wrong] < 0.01
    assert np.delete(found.kept, wrong).min() > 0.5
    assert error(points, poses, found.poses, 3).max() < 0.2 * PITCH


def test_a_wrong_mirror_image_is_outvoted():
    points, poses, edges = stack(6, 2, reach=2, mirrored=(3,))
    bad = edges[0]
    flipped = rigid(0, [0, 0], mirrored=True).then(bad.transform)
    edges[0] = GraphEdge(bad.source, bad.target, flipped, 0.8)
    edges[1] = GraphEdge(edges[1].source, edges[1].target, edges[1].transform, 1.0)
    found = solve_pose_graph(points, edges, 2, PITCH)
    assert found.kept[0] == 0
    np.testing.assert_allclose(error(points, poses, found.poses, 2), 0, atol=1e-6)


def test_sections_that_nothing_joins_are_refused():
    points, _, edges = stack(4, reach=1)
    with pytest.raises(ValueError, match="join"):
        solve_pose_graph(points, [e for e in edges if e.source != 1], 0, PITCH)


def test_a_rigid_fit_is_found_through_false_matches():
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 2000, (200, 2))
    true = rigid(130, [50, -70], mirrored=True)
    target = true.apply(xy) + rng.normal(0, 10, xy.shape)
    target[:40] = rng.uniform(-2000, 2000, (40, 2))
    target[40] = np.nan
    plain = rigid_between(xy, target, np.ones(200))
    robust = robust_rigid(xy, target, np.ones(200), PITCH)
    gap = [np.linalg.norm(t.apply(xy) - true.apply(xy), axis=1).mean() for t in (plain, robust)]
    assert gap[1] < 5 < gap[0]
    assert np.linalg.det(robust.matrix[:2, :2]) == pytest.approx(-1)


def test_residuals_are_distances_over_the_spots():
    points, poses, edges = stack(3)
    moved = [p if s else p.then(rigid(0, [30, 40])) for s, p in enumerate(poses)]
    found = edge_residuals(points, edges, moved)
    np.testing.assert_allclose(found, [50, 50, 0], atol=1e-6)
