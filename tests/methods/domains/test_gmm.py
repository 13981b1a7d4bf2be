import numpy as np
import pytest

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.fusion import EmbeddingInputs
from napari_stomics.core.jobs import JobContext, limited_threads
from napari_stomics.methods.domains.gmm import GaussianMixtureParams, find_domains, spatial_mean


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
    return find_domains(inputs, GaussianMixtureParams(n_domains=3, **params), JobContext())


def test_clear_domains_are_found():
    found = _run(_inputs(0.5), n_neighbours=0)
    assert found.ari > 0.99
    assert found.nmi > 0.99
    assert found.converged


def test_smoothing_over_neighbours_helps_where_spots_are_noisy():
    noisy = _inputs(5.0)
    assert _run(noisy, n_neighbours=8).ari > _run(noisy, n_neighbours=0).ari + 0.1


def test_entropy_and_stability_say_where_it_is_unsure():
    clear, noisy = _run(_inputs(0.5)), _run(_inputs(8.0))
    assert clear.entropy.mean() < noisy.entropy.mean()
    assert clear.stability.mean() > noisy.stability.mean()
    for result in (clear, noisy):
        assert ((result.entropy >= 0) & (result.entropy <= 1)).all()
        assert ((result.stability >= 0) & (result.stability <= 1)).all()


def test_probabilities_sum_to_one_and_give_the_labels():
    found = _run(_inputs(3.0))
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    names = np.array(found.names, object)[found.probabilities.argmax(axis=1)]
    assert (names == found.labels).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_answer_does_not_depend_on_threads_or_reruns(threads):
    first = _run(_inputs(3.0))
    with limited_threads(threads):
        again = _run(_inputs(3.0))
    np.testing.assert_array_equal(first.labels, again.labels)
    np.testing.assert_array_equal(first.stability, again.stability)


def test_without_annotation_there_is_no_score():
    assert np.isnan(_run(_inputs(0.5, labels=False)).ari)


def test_too_few_spots_are_refused():
    few = EmbeddingInputs("s", np.arange(5).astype(object), np.zeros((5, 2)), np.zeros((5, 2)))
    with pytest.raises(UserError, match="too few"):
        _run(few)


def test_it_stops_when_cancelled():
    with pytest.raises(JobCancelled):
        find_domains(_inputs(1.0), GaussianMixtureParams(), JobContext(is_cancelled=lambda: True))


def test_spatial_mean_of_a_line_is_the_running_mean():
    xy = np.stack([np.arange(5.0), np.zeros(5)], 1)
    out = spatial_mean(np.arange(5.0)[:, None] ** 2, xy, 2)
    np.testing.assert_allclose(out[1:4, 0], [5 / 3, 14 / 3, 29 / 3])
