import sys

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.methods.fusion.batch import correct_batches, match_quantiles, mutual_neighbours
from napari_stomics.methods.fusion.joint_nmf import JointNmfParams, fuse_joint_nmf
from tests.methods.fusion.planted import block, counts, inputs_of, quarters, quiet, same_groups


def _sections(seed: int = 0, lacking: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two sections of three groups in four dimensions, the second one shifted."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2] * 2, 40)
    of = np.repeat([0, 1], 120)
    if lacking:
        kept = ~((labels == 2) & (of == 1))
        labels, of = labels[kept], of[kept]
    centres = 5 * np.eye(4)[:3]
    values = centres[labels] + rng.normal(size=(len(labels), 4)) * 0.5
    values[of == 1] += np.array([1.0, 1.0, 1.0, 7.0])
    return values.astype(np.float32), of, labels


@pytest.mark.parametrize("method", ["centre", "neighbours"])
def test_sections_meet_and_groups_stay_apart(method):
    values, of, labels = _sections()
    assert same_groups(values, labels) < 0.8
    fixed = correct_batches(values, of, method)
    assert same_groups(fixed, labels) > 0.95


def test_neighbours_do_better_than_means_where_a_section_lacks_a_group():
    values, of, labels = _sections(lacking=True)
    gap = {}
    for method in ("centre", "neighbours"):
        fixed = correct_batches(values, of, method)
        means = [[fixed[(labels == g) & (of == s)].mean(axis=0) for s in (0, 1)] for g in (0, 1)]
        gap[method] = max(float(np.linalg.norm(a - b)) for a, b in means)
    assert gap["neighbours"] < 0.5 * gap["centre"]


def test_centring_gives_every_section_the_common_mean():
    values, of, _ = _sections()
    fixed = correct_batches(values, of, "centre")
    for section in (0, 1):
        np.testing.assert_allclose(
            fixed[of == section].mean(axis=0), values.mean(axis=0), atol=1e-5
        )


def test_one_section_or_no_method_changes_nothing():
    values, of, _ = _sections()
    assert correct_batches(values, of, "none") is values
    assert correct_batches(values, np.zeros_like(of), "harmony") is values


def test_mutual_neighbours_are_mutual():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(30, 3)), rng.normal(size=(20, 3))
    left, right = mutual_neighbours(a, b, k=3)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b)]
    distance = np.linalg.norm(unit[0][:, None] - unit[1][None], axis=2)
    rows = np.argsort(distance, axis=1)[:, :3]
    columns = np.argsort(distance, axis=0)[:3].T
    expected = {(i, j) for i in range(30) for j in rows[i] if i in columns[j]}
    assert set(zip(left.tolist(), right.tolist(), strict=True)) == expected


def test_quantiles_of_factors_become_the_same():
    rng = np.random.default_rng(1)
    of = np.repeat([0, 1], [150, 100])
    values = rng.random((250, 2)) + np.tile([[1.0, 0.0], [0.0, 1.0]], (125, 1)) * 2
    values[of == 1] = values[of == 1] ** 2 / 2
    fixed = match_quantiles(values, of)
    np.testing.assert_array_equal(fixed[of == 0], values[of == 0])
    strongest = values.argmax(axis=1)
    for cluster in (0, 1):
        mine = fixed[(of == 1) & (strongest == cluster)]
        goal = values[(of == 0) & (strongest == cluster)]
        np.testing.assert_allclose(
            np.quantile(mine, [0.1, 0.5, 0.9], axis=0),
            np.quantile(goal, [0.1, 0.5, 0.9], axis=0),
            atol=0.1,
        )


def test_without_the_library_the_way_out_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "harmonypy", None)
    values, of, _ = _sections()
    with pytest.raises(UserError, match=r"napari-stomics\[batch\]"):
        correct_batches(values, of, "harmony")


def test_harmony_itself():
    pytest.importorskip("harmonypy", reason="needs the extra 'batch'")
    values, of, labels = _sections()
    fixed = correct_batches(values, of, "harmony")
    assert fixed.shape == values.shape
    assert same_groups(fixed, labels) > 0.95
    np.testing.assert_array_equal(fixed, correct_batches(values, of, "harmony"))


def test_a_fusion_of_sections_takes_the_correction():
    labels = np.tile(quarters(12), 2)
    x = counts(labels, 40, 1)
    x[144:, 20:] = np.random.default_rng(3).poisson(x[144:, 20:] * 3 + 8)
    inputs = inputs_of(block("rna", x), side=12, sections=2)
    gaps = {}
    for batch in ("none", "centre", "neighbours"):
        params = JointNmfParams(n_factors=6, steps=0, batch=batch)
        made = quiet(fuse_joint_nmf, inputs, params)
        means = [made.values[inputs.of == s].mean(axis=0) for s in (0, 1)]
        gaps[batch] = float(np.linalg.norm(means[0] - means[1]))
        assert made.settings.get("batch", "none") == batch
        assert same_groups(made.values, labels) > 0.9
    assert gaps["centre"] < 1e-4
    assert gaps["neighbours"] < 0.5 * gaps["none"]
