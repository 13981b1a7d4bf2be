"""Optima of the mixture: moves that lead out of a poor one, and runs that agree."""

from itertools import combinations

import numpy as np
import pytest

from napari_stomics.core.errors import JobCancelled
from napari_stomics.core.fusion import EmbeddingInputs
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.domains.gaussian import fit_spatial
from napari_stomics.methods.domains.gmm import DomainsParams, find_domains
from napari_stomics.methods.domains.members import likeliest_start, settings
from napari_stomics.methods.domains.split_merge import split_and_merge
from napari_stomics.metrics.clustering import adjusted_rand_index
from tests.small import hushed


def _groups(seed: int = 0, size: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Five groups: two pairs far apart whose members lie near each other, and one alone."""
    centres = np.array([[0, 0], [4, 0], [40, 0], [44, 0], [20, 30]], float)
    truth = np.repeat(np.arange(5), size)
    x = centres[truth] + np.random.default_rng(seed).normal(0, 0.7, (5 * size, 2))
    return x, truth


def _trap(x: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """One component over the first pair, and two over the lone group."""
    start = np.array([0, 0, 1, 2, 3])[truth]
    return np.where((truth == 4) & (x[:, 1] > 30), 4, start)


@pytest.mark.parametrize("spherical", [False, True])
def test_a_merge_and_a_split_lead_out_of_a_trap(spherical):
    x, truth = _groups()
    stuck, soft = fit_spatial(x, _trap(x, truth), spherical=spherical)
    assert adjusted_rand_index(truth.astype(str), soft.argmax(axis=1).astype(str)) < 0.9
    found = split_and_merge(x, _trap(x, truth), spherical=spherical)
    codes = found.posterior(x).argmax(axis=1)
    assert adjusted_rand_index(truth.astype(str), codes.astype(str)) > 0.99
    assert found.log_likelihood > stuck.log_likelihood + 0.1


def test_a_good_optimum_is_kept():
    x, truth = _groups()
    plain, _ = fit_spatial(x, truth, iterations=40)
    found = split_and_merge(x, truth)
    assert found.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-3)
    np.testing.assert_allclose(found.means, plain.means, atol=1e-6)


def test_the_likeliest_start_is_the_same_from_other_samples():
    x, truth = _groups(size=400)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        model = likeliest_start(x, 5, rng, JobContext())
        codes = model.posterior(x).argmax(axis=1)
        assert adjusted_rand_index(truth.astype(str), codes.astype(str)) > 0.99


def test_runs_go_round_components_and_smoothing_each_with_its_own_seed():
    runs = settings(5, 20, 12, 0)
    assert len({run.seed for run in runs}) == 12
    assert len({(run.dimensions, run.level) for run in runs}) == 8
    assert runs[:1] == settings(5, 20, 1, 0)
    assert settings(5, 4, 3, 0)[0].dimensions == 4


def test_other_seeds_find_the_same_domains():
    rng = np.random.default_rng(0)
    xy = np.stack(np.meshgrid(np.arange(30.0), np.arange(30.0)), -1).reshape(-1, 2)
    layer = np.minimum(xy[:, 1] // 6, 4).astype(int)
    centres = rng.normal(0, 1, (5, 12))
    values = centres[layer] + rng.normal(0, 1.0, (900, 12))
    ids = np.arange(900).astype(str).astype(object)
    inputs = EmbeddingInputs("s", ids, values, xy, layer.astype(str).astype(object))
    found = [
        find_domains(inputs, DomainsParams(n_domains=5, seed=seed), hushed()) for seed in range(3)
    ]
    for a, b in combinations(found, 2):
        assert adjusted_rand_index(a.labels, b.labels) > 0.95
    assert found[0].ari > 0.9


def test_it_stops_when_cancelled():
    x, truth = _groups()
    ctx = JobContext(is_cancelled=lambda: True)
    with pytest.raises(JobCancelled):
        split_and_merge(x, truth, ctx)
