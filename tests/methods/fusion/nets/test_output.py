"""Axes of what a network rebuilds, each by its share of signal."""

from dataclasses import replace

import numpy as np
import pytest

from napari_stomics.methods.fusion.graph import walk
from napari_stomics.methods.fusion.nets._output import kept_noise, least_squares, signal_axes
from napari_stomics.methods.fusion.nets._train import unit_energy
from napari_stomics.methods.fusion.preparation import PreparationParams, prepare
from tests.methods.fusion.nets.tissues import chosen, lacking, tissue


def _prepared(missing=None):
    inputs = chosen(tissue(effect=0.6)[0], "rna", "protein")
    inputs = inputs if missing is None else lacking(inputs, "protein", missing)
    return prepare(inputs, PreparationParams())


def _averaged(prepared, steps=3):
    step = walk(prepared.graph)
    parts = unit_energy(prepared)
    for _ in range(steps):
        parts = [step @ part for part in parts]
    return dict(enumerate(parts)), kept_noise(step, steps)


def test_axes_that_tell_domains_apart_stay_and_axes_of_noise_fade():
    prepared = _prepared()
    rebuilt, kept = _averaged(prepared)
    values, explained = signal_axes(prepared, rebuilt, 16, kept)
    spread = values.std(axis=0)
    # Each modality has one axis of signal.
    assert (spread[:2] > 0.8).all()
    assert np.median(spread[2:]) < 0.3
    assert (np.diff(explained) <= 1e-12).all()
    assert 0.5 < explained.sum() < 1.0


def test_an_embedding_does_not_depend_on_what_the_decoder_shrinks():
    prepared = _prepared()
    rebuilt, kept = _averaged(prepared)
    values, _ = signal_axes(prepared, rebuilt, 5, kept)
    shrunk, _ = signal_axes(prepared, {i: 0.1 * x for i, x in rebuilt.items()}, 5, kept)
    np.testing.assert_allclose(shrunk, values, atol=1e-4)


def test_what_was_not_measured_is_no_measure_of_noise():
    missing = np.arange(40, 90)
    whole, part = _prepared(), _prepared(missing)
    rebuilt, kept = _averaged(whole)
    there = replace(whole, present=part.present)
    first, _ = signal_axes(there, rebuilt, 4, kept)
    scores = whole.scores[1].copy()
    scores[missing] = 1e3
    # The same energy where it was measured, so only the missing rows differ.
    other, _ = signal_axes(replace(there, scores=(whole.scores[0], scores)), rebuilt, 4, kept)
    np.testing.assert_allclose(other, first, atol=1e-5)


def test_tissue_of_noise_does_not_shrink_to_a_point():
    rng = np.random.default_rng(0)
    prepared = _prepared()
    noise = tuple(rng.standard_normal(x.shape).astype(np.float32) for x in prepared.scores)
    prepared = replace(prepared, scores=noise)
    rebuilt, kept = _averaged(prepared)
    values, _ = signal_axes(prepared, rebuilt, 6, kept)
    assert np.isfinite(values).all()
    assert (values.std(axis=0) > 0.05).all()


def test_averaging_leaves_the_share_of_noise_that_it_leaves():
    step = walk(_prepared().graph)
    assert kept_noise(step, 0) == 1.0
    twice = (step @ step).toarray()
    assert kept_noise(step, 2) == pytest.approx((twice**2).sum() / len(twice), rel=0.15)


def test_least_squares_rebuild_what_the_latent_holds():
    prepared = _prepared(np.arange(40, 90))
    truth = unit_energy(prepared)
    rng = np.random.default_rng(1)
    latent = truth[0] @ rng.normal(size=(truth[0].shape[1], truth[0].shape[1]))
    guess = least_squares(latent, prepared, (0, 1))
    np.testing.assert_allclose(guess[0], truth[0], atol=1e-4)
    here = prepared.present[:, 1]
    missed = np.square(truth[1] - guess[1])[here].mean()
    assert 0.3 < missed < np.square(truth[1][here]).mean()
