from dataclasses import replace

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import PredictionInputs
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.prediction.ridge import RidgeParams, predict_ridge
from tests.small import small_simulation


@pytest.fixture(scope="module")
def inputs() -> PredictionInputs:
    """Expression that follows what the image shows: both see all domains."""
    sections = small_simulation(image_sees="all", image_noise=0.0, rna_effect=1.5).study.sections
    first, second = sections.values()
    return PredictionInputs((first.histology("rna"),), second.histology("rna"))


def _run(inputs, **params):
    return predict_ridge(inputs, RidgeParams(n_genes=40, **params), JobContext())


def test_it_predicts_what_the_image_shows_better_than_the_controls(inputs):
    found = _run(inputs)
    assert np.nanmedian(found.pearson) > np.nanmedian(found.pearson_depth) + 0.1
    assert np.nanmedian(found.rmse) < np.nanmedian(found.rmse_mean)
    assert (found.pearson_mean[np.isfinite(found.pearson_mean)] == 0).all()


def test_an_image_without_information_predicts_nothing(inputs):
    rng = np.random.default_rng(0)
    test = inputs.test
    order = rng.permutation(len(test.spots.ids))
    shuffled = replace(test, spots=replace(test.spots, coordinates=test.spots.coordinates[order]))
    assert abs(np.nanmedian(_run(PredictionInputs(inputs.train, shuffled)).pearson)) < 0.15


def test_the_counts_of_the_predicted_section_change_only_the_scores(inputs):
    measured = _run(inputs)
    spots = inputs.test.spots
    blind = replace(
        inputs.test,
        spots=replace(spots, x=np.zeros((len(spots.ids), 0)), features=np.zeros(0, object)),
    )
    unmeasured = _run(PredictionInputs(inputs.train, blind))
    np.testing.assert_array_equal(measured.values, unmeasured.values)
    np.testing.assert_array_equal(measured.error, unmeasured.error)
    assert np.isnan(unmeasured.pearson).all()


def test_the_error_is_near_that_on_the_held_out_section(inputs):
    found = _run(inputs)
    assert 0.6 < np.median(found.error) / np.median(found.rmse) < 1.5


def test_spots_that_look_like_nothing_seen_are_novel(inputs):
    image = inputs.test.image
    odd = [np.array(level) for level in image.levels]
    for level in odd:
        level[: level.shape[0] // 2] = (20, 200, 20)
    test = replace(inputs.test, image=replace(image, levels=tuple(odd)))
    found = _run(PredictionInputs(inputs.train, test), standardise=False)
    pixel = image.to_um.inverse().apply(test.spots.coordinates)[:, 1]
    upper = pixel < 0.45 * image.levels[0].shape[0]
    lower = pixel > 0.55 * image.levels[0].shape[0]
    assert (found.novelty[upper] > 1).mean() > 0.9
    assert (found.novelty[lower] > 1).mean() < 0.3


def test_it_repeats_to_the_bit(inputs):
    np.testing.assert_array_equal(_run(inputs).values, _run(inputs).values)


def test_training_sections_without_shared_genes_are_refused(inputs):
    first = inputs.train[0]
    other = replace(
        first, spots=replace(first.spots, features=first.spots.features.astype(object) + "_x")
    )
    with pytest.raises(UserError, match="share no genes"):
        _run(PredictionInputs((first, other), inputs.test))
