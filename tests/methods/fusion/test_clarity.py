"""How clearly spots fall into groups, and the weights that follow."""

from dataclasses import replace

import numpy as np
import pytest

from napari_stomics.core.errors import JobCancelled
from napari_stomics.core.fusion import Block, EmbeddingInputs, FusionInputs
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.domains.gmm import DomainsParams, find_domains
from napari_stomics.methods.fusion.blocks import automatic_weights
from napari_stomics.methods.fusion.clarity import clarity
from napari_stomics.methods.fusion.graph import coordinate_graph
from napari_stomics.methods.fusion.preparation import PreparationParams, prepare
from napari_stomics.methods.fusion.smooth import SmoothParams, fuse_smooth
from tests.small import hushed

_SIDE = 30
_XY = np.stack(np.meshgrid(np.arange(30.0), np.arange(30.0)), -1).reshape(-1, 2)
_OF = np.zeros(900, np.intp)
_LAYER = np.minimum(_XY[:, 1] // 6, 4).astype(int)


def _scores(what: str, seed: int = 0) -> np.ndarray:
    """(900, 10) scores of layers, of smooth gradients across them, or of noise."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 1, (900, 10))
    if what == "layers":
        return rng.normal(0, 1, (5, 10))[_LAYER] * 2 + noise
    if what == "gradients":
        phase = rng.uniform(0, 2 * np.pi, 4)
        waves = np.stack([np.sin(_XY[:, i % 2] / 5 + phase[i]) for i in range(4)], 1)
        return waves @ rng.normal(0, 1, (4, 10)) * 1.5 + noise
    return noise


@pytest.mark.parametrize("seed", range(4))
def test_layers_are_clearer_than_gradients_and_these_than_noise(seed):
    graph = coordinate_graph(_XY, _OF, 6)
    clear = {
        what: clarity(_scores(what, seed).astype(np.float32), graph)
        for what in ("layers", "gradients", "noise")
    }
    assert clear["layers"] > 0.95
    assert clear["layers"] > clear["gradients"] + 0.03
    assert clear["gradients"] > clear["noise"]
    assert clear == {what: clarity(_scores(what, seed).astype(np.float32), graph) for what in clear}


def test_an_outlier_makes_no_groups():
    graph = coordinate_graph(_XY, _OF, 6)
    scores = _scores("noise").astype(np.float32)
    plain = clarity(scores, graph)
    scores[450] *= 100
    assert clarity(scores, graph) < max(plain, 0.6) + 0.25


def test_what_does_not_vary_or_is_too_little_has_none():
    graph = coordinate_graph(_XY, _OF, 6)
    assert clarity(np.zeros((900, 3), np.float32), graph) == 0
    few = coordinate_graph(_XY[:6], _OF[:6], 3)
    assert clarity(_scores("noise")[:6].astype(np.float32), few) == 0


def test_it_stops_when_cancelled():
    ctx = JobContext(is_cancelled=lambda: True)
    with pytest.raises(JobCancelled):
        clarity(_scores("layers").astype(np.float32), coordinate_graph(_XY, _OF, 6), 0, ctx)


def _inputs(first: str, second: str, seed: int) -> FusionInputs:
    ids = np.arange(900).astype(str).astype(object)
    blocks = tuple(
        Block(
            name, "embedding", _scores(what, seed + i).astype(np.float32),
            np.array([f"{name}{j}" for j in range(10)], object), np.arange(900),
        )
        for i, (name, what) in enumerate((("a", first), ("b", second)))
    )  # fmt: skip
    return FusionInputs(("s",), _OF, ids, _XY, (1.0,), blocks)


def test_many_modalities_that_tell_alike_share_the_weight():
    inputs = _inputs("layers", "layers", 0)
    many = tuple(replace(inputs.blocks[i % 2], name=f"m{i}") for i in range(30))
    weights = automatic_weights(prepare(replace(inputs, blocks=many), PreparationParams()))
    assert sum(weights.values()) == pytest.approx(1)
    assert min(weights.values()) > 0


@pytest.mark.parametrize("other", ["gradients", "noise"])
def test_a_modality_that_follows_no_domain_does_no_harm(other):
    for seed in range(2):
        inputs = _inputs("layers", other, 10 * seed)
        weights = automatic_weights(prepare(inputs, PreparationParams()))
        assert weights["a"] == 1.0 if other == "noise" else weights["a"] > 0.8
        found = {}
        for key, blocks in {"a": inputs.blocks[:1], "both": inputs.blocks}.items():
            part = replace(inputs, blocks=blocks)
            values = fuse_smooth(part, SmoothParams(), hushed()).values
            taken = EmbeddingInputs(
                "s", part.ids, values, part.coordinates, _LAYER.astype(str).astype(object)
            )
            params = DomainsParams(n_domains=5, members=4)
            found[key] = find_domains(taken, params, hushed()).ari
        assert found["a"] > 0.8
        assert found["both"] > found["a"] - 0.02
