import sys
from dataclasses import replace

import numpy as np
import pytest

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.fusion import EmbeddingInputs
from napari_stomics.core.jobs import JobContext, limited_threads
from napari_stomics.methods.domains.gaussian import fit_mixture, fit_spatial, ward_cuts
from napari_stomics.methods.domains.gmm import DomainsParams, find_domains, repaint
from napari_stomics.methods.domains.members import consensus
from napari_stomics.methods.domains.spaces import join_smallest, majority, space_of
from tests.small import hushed


def _inputs(spread: float, labels: bool = True, seed: int = 0) -> EmbeddingInputs:
    """Three vertical bands of a square section, told apart by their embedding."""
    rng = np.random.default_rng(seed)
    xy = np.stack(np.meshgrid(np.arange(18.0), np.arange(12.0)), -1).reshape(-1, 2)
    band = (xy[:, 0] // 6).astype(int)
    values = np.eye(4)[band] * 5 + rng.normal(0, spread, (len(xy), 4))
    truth = np.array(["left", "middle", "right"], object)[band]
    ids = np.array([str(i) for i in range(len(xy))], object)
    return EmbeddingInputs("s", ids, values, xy, truth if labels else None)


def _run(inputs, **params):
    return find_domains(inputs, DomainsParams(**{"n_domains": 3, **params}), hushed())


@pytest.mark.parametrize("clustering", ["mixture", "kmeans"])
@pytest.mark.parametrize("refinement", ["prior", "majority", "none"])
def test_clear_domains_are_found(clustering, refinement):
    found = _run(_inputs(0.5), clustering=clustering, refinement=refinement)
    assert found.ari > 0.9
    assert found.converged


def test_neighbours_in_space_help_where_spots_are_noisy():
    noisy = _inputs(4.0)
    alone = _run(noisy, n_neighbours=0)
    assert _run(noisy).ari > alone.ari + 0.1
    assert _run(noisy, smoothing=2).ari > alone.ari + 0.1


def test_entropy_and_stability_say_where_it_is_unsure():
    clear, noisy = _run(_inputs(0.5)), _run(_inputs(9.0))
    assert clear.entropy.mean() < noisy.entropy.mean()
    assert clear.stability.mean() > noisy.stability.mean()
    assert clear.rerun_ari > noisy.rerun_ari
    for result in (clear, noisy):
        assert ((result.entropy >= 0) & (result.entropy <= 1)).all()
        assert ((result.stability >= 0) & (result.stability <= 1)).all()


def test_probabilities_sum_to_one_and_give_the_labels():
    found = _run(_inputs(3.0))
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    names = np.array(found.names, object)[found.probabilities.argmax(axis=1)]
    assert (names == found.labels).all()
    sizes = [(found.labels == name).sum() for name in found.names]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_answer_does_not_depend_on_threads_or_reruns(threads):
    first = _run(_inputs(3.0))
    with limited_threads(threads):
        again = _run(_inputs(3.0))
    np.testing.assert_array_equal(first.labels, again.labels)
    np.testing.assert_array_equal(first.stability, again.stability)


def test_the_number_is_proposed_and_its_curve_given():
    found = _run(_inputs(0.7), n_domains=0, most_domains=7)
    assert found.curve.proposed == len(found.names) == 3
    assert found.curve.counts.tolist() == [2, 3, 4, 5, 6, 7]
    assert np.isfinite(found.curve.bic).all()
    assert found.curve.stability[1] > 0.9


@pytest.mark.parametrize("known", [4, 6])
def test_the_number_of_a_simulation_is_proposed(known):
    rng = np.random.default_rng(known)
    at = np.arange(900)
    xy = np.stack([at % 30, at // 30], 1).astype(float)
    band = (xy[:, 0] * known // 30).astype(int)
    values = rng.normal(0, 2.0, (known, 8))[band] + rng.normal(0, 0.6, (900, 8))
    inputs = EmbeddingInputs("s", at.astype(str).astype(object), values, xy)
    assert _run(inputs, n_domains=0, most_domains=10, members=4).curve.proposed == known


def test_a_slider_starts_from_the_domains_painted_before_and_keeps_their_names():
    inputs = _inputs(1.0)
    before = _run(inputs)
    renamed = {name: f"band {name}" for name in before.names}
    before = replace(
        before,
        labels=np.array([renamed[name] for name in before.labels], object),
        names=tuple(renamed.values()),
    )
    params = DomainsParams(n_domains=3)
    moved = replace(inputs, values=inputs.values + 0.1)
    after = repaint(moved, params, before)
    assert (after.labels == before.labels).mean() > 0.95
    assert set(after.names) == set(before.names)
    more = repaint(moved, DomainsParams(n_domains=4), before)
    assert len(set(more.names)) == 4
    assert set(before.names) < set(more.names)
    assert repaint(inputs, params).ari > 0.9


def test_leiden_without_its_packages_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "igraph", None)
    with pytest.raises(UserError, match="leidenalg") as refused:
        _run(_inputs(0.5), clustering="leiden")
    assert "pip install" in refused.value.hint


def test_leiden_finds_clear_domains():
    pytest.importorskip("leidenalg")
    assert _run(_inputs(0.5), clustering="leiden").ari > 0.9


def test_small_groups_are_joined_with_the_one_they_touch():
    counts = np.array([[5, 1, 0], [5, 0, 1], [0, 6, 0], [0, 5, 0], [0, 2, 3.0]])
    joined = join_smallest(counts, 2)
    assert joined.shape == (5, 2)
    assert joined.argmax(axis=1).tolist() == [0, 0, 1, 1, 1]
    np.testing.assert_allclose(joined.sum(axis=1), 1)


def test_a_vote_removes_a_lone_spot_and_leaves_borders():
    inputs = _inputs(0.5)
    space = space_of(inputs, 4)
    codes = (inputs.coordinates[:, 0] // 6).astype(int)
    lone = codes.copy()
    lone[20] = 2
    np.testing.assert_array_equal(majority(lone, space.near, 3), majority(codes, space.near, 3))
    assert (majority(codes, space.near, 3) == codes).mean() > 0.97


def test_the_mixture_recovers_its_parameters():
    rng = np.random.default_rng(0)
    root = np.array([[1.0, 0], [0.8, 0.5]])
    truth = np.repeat([0, 1], [600, 200])
    x = rng.normal(size=(800, 2)) @ root.T + np.array([[0, 0], [4, -2.0]])[truth]
    start = ward_cuts(x, (2,))[2]
    model = fit_mixture(x, start)
    order = np.argsort(-model.weights)
    np.testing.assert_allclose(model.weights[order], [0.75, 0.25], atol=0.02)
    np.testing.assert_allclose(model.means[order], [[0, 0], [4, -2]], atol=0.2)
    np.testing.assert_allclose(model.covariance, root @ root.T, atol=0.12)
    assert model.converged
    assert model.bic(800) < fit_mixture(x, np.zeros(800, int)).bic(800)


def test_the_mixture_is_that_of_scikit_learn():
    from sklearn.mixture import GaussianMixture

    x = np.asarray(_inputs(2.0).values)
    start = ward_cuts(x, (3,))[3]
    ours = fit_mixture(x, start)
    means = np.stack([x[start == c].mean(axis=0) for c in range(3)])
    theirs = GaussianMixture(3, covariance_type="tied", means_init=means, tol=1e-7, max_iter=500)
    theirs.fit(x)
    assert ours.log_likelihood == pytest.approx(theirs.score(x), abs=0.02)


def test_without_a_prior_the_spatial_fit_is_the_plain_one():
    x = np.asarray(_inputs(2.0).values)
    start = ward_cuts(x, (3,))[3]
    _, soft = fit_spatial(x, start)
    np.testing.assert_allclose(soft, fit_mixture(x, start).posterior(x), atol=0.02)


def test_the_consensus_outvotes_a_run_that_differs():
    truth = np.repeat([0, 1, 2], 40)
    good = np.eye(3)[truth]
    bad = np.eye(3)[np.random.default_rng(0).permutation(truth)]
    probabilities, agree = consensus([good, good[:, [1, 2, 0]], good, bad], 3)
    found = probabilities.argmax(axis=1)
    assert len({(a, b) for a, b in zip(found, truth, strict=True)}) == 3
    assert agree.min() >= 0.75


def test_runs_that_all_see_one_domain_agree_on_it():
    one = np.tile([0.9, 0.05, 0.05], (50, 1))
    probabilities, agree = consensus([one, one], 3)
    assert (probabilities.argmax(axis=1) == 0).all()
    assert (agree == 1).all()


def test_a_strong_prior_wipes_no_domain_out():
    rng = np.random.default_rng(0)
    noise = _inputs(1.0)
    noise = replace(noise, values=rng.normal(0, 1, noise.values.shape))
    found = _run(noise, n_domains=6, prior=50.0, members=1)
    assert len(set(found.labels)) == 6


def test_without_annotation_there_is_no_score():
    assert np.isnan(_run(_inputs(0.5, labels=False)).ari)


def test_too_few_spots_are_refused():
    few = EmbeddingInputs(
        "s", np.arange(5).astype(object), np.arange(10.0).reshape(5, 2), np.zeros((5, 2))
    )
    with pytest.raises(UserError, match="too few"):
        _run(few)
    with pytest.raises(UserError, match="too few"):
        repaint(_inputs(1.0), DomainsParams(n_domains=100))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (lambda v: np.where(v > 4, np.nan, v), "NaN"),
        (lambda v: np.ones_like(v), "same for all"),
        (lambda v: v[:, :0], "empty"),
    ],
)
def test_an_embedding_that_cannot_be_clustered_is_refused(values, said):
    inputs = _inputs(0.5)
    with pytest.raises(UserError, match=said):
        _run(replace(inputs, values=values(inputs.values)))


def test_one_domain_is_no_answer():
    with pytest.raises(ValueError, match="2 or more"):
        DomainsParams(n_domains=1)


def test_it_stops_when_cancelled():
    with pytest.raises(JobCancelled):
        find_domains(_inputs(1.0), DomainsParams(), JobContext(is_cancelled=lambda: True))
