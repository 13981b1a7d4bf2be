"""A cancelled fusion is asked to stop often enough, whatever it is doing."""

import numpy as np
import pytest

from napari_stomics.core.errors import JobCancelled
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.fusion import late, result
from napari_stomics.methods.fusion.nets import _clusters
from napari_stomics.methods.fusion.preparation import clear_cache
from tests.methods.fusion.nets.test_nets import METHODS, SHORT, inputs_for, spec_of
from tests.methods.fusion.planted import cancelling_after
from tests.small import hushed

OTHERS = ("fusion/joint-nmf", "fusion/integrative-nmf", "fusion/late", "fusion/wnn")


def _run(key, ctx):
    spec = spec_of(key)
    settings = {**SHORT, "epochs": 3} if key in METHODS else {}
    clear_cache()
    return spec.run(inputs_for(key), spec.params(**settings), ctx)


def _counting(said):
    def asked() -> bool:
        said.append("")
        return False

    def told(fraction, message):
        if message:
            said[-1] = message

    return JobContext(told, lambda text: None, asked)


@pytest.mark.parametrize("key", METHODS + OTHERS)
def test_a_fusion_ends_wherever_it_is_cancelled(key):
    said: list[str] = []
    _run(key, _counting(said))
    for step in np.unique(np.linspace(0, len(said) - 1, 8).astype(int)):
        with pytest.raises(JobCancelled):
            _run(key, cancelling_after(int(step)))


@pytest.mark.parametrize("key", METHODS + OTHERS)
def test_no_more_than_so_many_rows_are_compared_without_asking(key, monkeypatch):
    monkeypatch.setattr(result, "_ROWS_AT_A_TIME", 20)
    said: list[str] = []
    _run(key, _counting(said))
    compared = len(said) - 1 - said.index("Comparing the modalities")
    # Neighbours in each of two modalities, and what they share.
    assert compared >= 3 * inputs_for(key).n // 20


@pytest.mark.parametrize("key", METHODS)
def test_every_epoch_asks_more_than_once_where_it_averages(key):
    said: list[str] = []
    _run(key, _counting(said))
    starts = [i for i, text in enumerate(said) if text.startswith("Epoch")]
    assert len(starts) == 3
    least = 1 if key == "fusion/image-expression" else 3
    assert min(np.diff(starts)) >= least


def test_parts_give_the_neighbours_that_the_whole_gives(monkeypatch):
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=(90, 3)), rng.normal(size=(90, 3))]
    whole = result.disagreement(blocks, k=5)
    monkeypatch.setattr(result, "_ROWS_AT_A_TIME", 7)
    np.testing.assert_array_equal(result.disagreement(blocks, k=5), whole)


def test_equal_spots_are_neighbours_of_each_other_and_not_of_themselves():
    same = np.zeros((12, 2))
    near = result._nearest(same, 4, hushed())
    assert near.shape == (12, 4)
    assert not (near == np.arange(12)[:, None]).any()


def test_a_mixture_asks_every_few_iterations_and_ends_where_it_would(monkeypatch):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 3)) + rng.integers(0, 3, (300, 1))
    monkeypatch.setattr(late, "_ITERATIONS_AT_A_TIME", 300)
    whole, bic = late.fit_clusters(x, 3)
    said: list[str] = []
    monkeypatch.setattr(late, "_ITERATIONS_AT_A_TIME", 1)
    parts, again = late.fit_clusters(x, 3, ctx=_counting(said))
    np.testing.assert_allclose(parts, whole, atol=1e-6)
    assert again == pytest.approx(bic)
    assert len(said) > 3


def test_k_means_asks_before_every_start():
    x = np.random.default_rng(2).normal(size=(60, 4))
    said: list[str] = []
    labels, centres = _clusters.k_means(x, 3, 0, _counting(said))
    assert len(said) == _clusters._STARTS
    nearest = ((x[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(labels, nearest)
    assert len(_clusters.k_means(np.zeros((5, 2)), 3, 0, hushed())[1]) == 1
