"""What holds for every trained fusion."""

import time
from functools import cache
from importlib import import_module

import numpy as np
import pytest

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.jobs import JobContext, limited_threads
from napari_stomics.methods import TABLE
from tests.methods.fusion.nets.tissues import DOMAINS, chosen, lacking, tissue
from tests.small import hushed

METHODS = (
    "fusion/attention",
    "fusion/contrastive",
    "fusion/attention-autoencoder",
    "fusion/image-graph",
    "fusion/graph-vae",
    "fusion/image-expression",
)
SHORT = {"epochs": 30, "n_latent": 12, "n_output": 12, "n_components": 10}


def spec_of(key):
    module, function = TABLE[key].split(":")
    return getattr(import_module(module), function).spec


def inputs_for(key):
    names = ("rna", "image") if key == "fusion/image-graph" else ("rna", "protein")
    return chosen(tissue()[0], *names)


def run(key, inputs=None, ctx=None, **params):
    spec = spec_of(key)
    inputs = inputs_for(key) if inputs is None else inputs
    return spec.run(inputs, spec.params(**{**SHORT, **params}), ctx or hushed())


@cache
def short(key):
    return run(key)


def ari(values, labels):
    from sklearn.metrics import adjusted_rand_score
    from sklearn.mixture import GaussianMixture

    with limited_threads(1):
        mixture = GaussianMixture(DOMAINS, covariance_type="tied", n_init=5, random_state=0)
        return adjusted_rand_score(labels, mixture.fit_predict(values.astype(np.float64)))


@pytest.mark.parametrize("key", METHODS)
def test_every_spot_gets_a_finite_embedding_by_name(key):
    inputs, out = inputs_for(key), short(key)
    assert out.values.shape == (inputs.n, 12)
    assert np.isfinite(out.values).all()
    assert out.modalities == tuple(b.name for b in inputs.blocks)
    assert (np.diff(out.explained_variance) <= 1e-9).all()
    np.testing.assert_array_equal(out.ids, inputs.ids)


@pytest.mark.parametrize("key", METHODS)
def test_the_same_seed_gives_the_same_answer_on_one_and_two_threads(key):
    import torch

    with limited_threads(2):
        torch.set_num_threads(2)
        again = run(key)
    np.testing.assert_allclose(again.values, short(key).values, atol=1e-4)
    assert again.objective == pytest.approx(short(key).objective, rel=1e-4)


@pytest.mark.parametrize("key", METHODS)
def test_another_seed_gives_another_answer(key):
    assert not np.allclose(run(key, seed=1).values, short(key).values, atol=1e-3)


@pytest.mark.parametrize("key", METHODS)
def test_no_epochs_give_the_untrained_start(key):
    start = run(key, epochs=0)
    assert start.objective == ()
    assert not start.converged
    assert not np.allclose(start.values, short(key).values, atol=1e-3)


@pytest.mark.parametrize("key", METHODS)
def test_training_ends_at_once_when_cancelled(key):
    cancelled, when = [], []

    def progress(fraction, message):
        if message.startswith("Epoch 4") and not cancelled:
            cancelled.append(True)
            when.append(time.process_time())

    ctx = JobContext(on_progress=progress, is_cancelled=lambda: bool(cancelled))
    with pytest.raises(JobCancelled):
        run(key, ctx=ctx, epochs=5000, tolerance=0.0)
    # Processor time, since the machine may be busy with other things.
    assert time.process_time() - when[0] < 0.2


@pytest.mark.parametrize("key", METHODS)
def test_missing_spots_keep_their_place_and_use_what_they_have(key):
    inputs = inputs_for(key)
    other = inputs.blocks[1].name
    missing = np.arange(40, 90)
    out = run(key, lacking(inputs, other, missing))
    assert out.values.shape == (inputs.n, 12)
    assert np.isfinite(out.values).all()
    assert np.isnan(out.disagreement[missing]).all()
    if out.spot_weights.shape[1]:
        np.testing.assert_allclose(out.spot_weights.sum(axis=1), 1.0, atol=1e-5)
        np.testing.assert_allclose(out.spot_weights[missing], [[1.0, 0.0]] * 50, atol=1e-6)


@pytest.mark.parametrize("key", METHODS)
def test_the_training_beats_its_start(key):
    names = ("rna", "image") if key == "fusion/image-graph" else ("rna", "protein")
    spec = spec_of(key)
    gains = []
    for seed in (0, 1):
        inputs, labels = tissue(seed=seed, effect=0.2)
        reached = []
        for epochs in (0, spec.params().epochs):
            out = spec.run(chosen(inputs, *names), spec.params(epochs=epochs), hushed())
            reached.append(ari(out.values, labels))
        gains.append(reached[1] - reached[0])
        assert reached[1] > 0.5
    assert np.mean(gains) > 0.02


@pytest.mark.parametrize("key", METHODS)
def test_an_objective_is_kept_for_every_epoch(key):
    out = short(key)
    assert 0 < len(out.objective) <= SHORT["epochs"]
    assert np.isfinite(out.objective).all()


@pytest.mark.parametrize("key", [k for k in METHODS if k != "fusion/image-graph"])
def test_the_objective_falls(key):
    out = run(key, epochs=60, triplet_weight=0.0) if key.endswith("expression") else short(key)
    assert np.mean(out.objective[-5:]) < np.mean(out.objective[:5])


@pytest.mark.parametrize("key", METHODS[:2])
def test_a_modality_that_is_the_same_everywhere_is_refused(key):
    from dataclasses import replace

    inputs = inputs_for(key)
    flat = replace(inputs.blocks[1], x=np.ones_like(inputs.blocks[1].x))
    with pytest.raises(UserError, match="same on every spot"):
        run(key, replace(inputs, blocks=(inputs.blocks[0], flat)))


def test_attention_takes_three_modalities_and_weighs_them_at_every_spot():
    out = run("fusion/attention", tissue()[0])
    assert out.spot_weights.shape == (tissue()[0].n, 3)
    np.testing.assert_allclose(out.spot_weights.sum(axis=1), 1.0, atol=1e-5)
    assert sum(out.weights.values()) == pytest.approx(1.0, abs=1e-5)


def test_one_modality_cannot_be_joined_with_itself():
    with pytest.raises(UserError, match="only one"):
        run("fusion/image-expression", chosen(tissue()[0], "rna"))


def test_a_graph_of_the_image_alone_is_refused():
    with pytest.raises(UserError, match="Only the image"):
        run("fusion/image-graph", chosen(tissue()[0], "image"))


def test_without_an_image_the_graph_is_of_space_alone_and_that_is_said():
    said: list[str] = []
    run("fusion/image-graph", chosen(tissue()[0], "rna"), JobContext(on_warning=said.append))
    assert "space alone" in said[0]


def test_inputs_are_averaged_by_the_automatic_steps_where_none_are_given():
    from napari_stomics.methods.fusion.blocks import choose_steps
    from napari_stomics.methods.fusion.preparation import prepare

    key = "fusion/image-expression"
    out = run(key, steps=None)
    wanted = choose_steps(prepare(inputs_for(key), spec_of(key).params(**SHORT)))
    assert out.settings["steps"] == wanted > 0
    np.testing.assert_array_equal(out.values, run(key, steps=wanted).values)
    assert not np.allclose(out.values, run(key, steps=0).values, atol=1e-3)


def test_the_preset_of_a_method_blind_to_space_looks_at_neighbours():
    from napari_stomics.core.registry import registry

    spec = registry().get("fusion/muse")
    inputs, labels = tissue(effect=0.2)
    pair = chosen(inputs, "rna", "protein")
    blind = spec.run(pair, spec.params(steps=0), hushed())
    assert ari(spec.run(pair, spec.params(), hushed()).values, labels) > ari(blind.values, labels)
