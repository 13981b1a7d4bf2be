from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import SpotPair
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import Affine
from napari_stomics.methods.alignment.checks import check_pair, shared_columns
from napari_stomics.methods.alignment.features import FeatureOptions, compare_features
from tests.methods.alignment.pose_cases import counts, quiet, spots


def _compare(a, b):
    return compare_features(SpotPair(a, b), FeatureOptions(), quiet())


A, B = spots(counts()), spots(counts(seed=3), section="b")


def test_sound_sections_pass_without_a_word():
    said = []
    check_pair(SpotPair(A, B), JobContext(on_warning=said.append))
    assert not said


def test_names_without_anything_in_common_are_shown():
    other = replace(B, features=np.array([f"ENSG0000{i}" for i in range(20)], object))
    with pytest.raises(UserError) as refused:
        _compare(A, other)
    assert "20 and 20" in refused.value.message
    assert "g0, g1, g2" in refused.value.message
    assert "Ensembl" in refused.value.hint


def test_names_that_differ_in_case_or_version_only_are_recognised():
    other = replace(B, features=np.array([f"G{i}.2" for i in range(20)], object))
    with pytest.raises(UserError) as refused:
        _compare(A, other)
    assert "case" in refused.value.hint


def test_modalities_that_differ_are_refused_with_the_way_out():
    with pytest.raises(UserError) as refused:
        _compare(A, replace(B, modality="protein"))
    assert "embedding" in refused.value.hint


def test_a_feature_that_stands_twice_is_taken_once():
    twice = A.features.copy()
    twice[5] = "g4"
    left, right = shared_columns(replace(A, features=twice), B)
    assert len(left) == len(set(left)) == len(set(right)) == 19


def _with(values, **where):
    x = np.asarray(counts().todense(), float).copy()
    x[2, 3] = values
    return spots(x, **where)


@pytest.mark.parametrize(
    ("made", "word"),
    [
        (_with(np.nan), "missing"),
        (_with(np.inf), "missing or infinite"),
        (_with(-1.0), "negative"),
        (spots(np.zeros((64, 20))), "empty"),
        (spots(np.array([["a"] * 20] * 64, object)), "not numbers"),
    ],
    ids=["nan", "inf", "negative", "zero", "text"],
)
def test_values_that_cannot_be_compared_are_refused(made, word):
    with pytest.raises(UserError, match=word):
        _compare(made, B)


def test_features_that_do_not_vary_are_refused():
    flat = np.full((64, 20), 3.0)
    with pytest.raises(UserError, match="varies"):
        _compare(spots(flat), spots(flat, section="b"))


def test_negative_values_are_fine_in_an_embedding():
    x = np.random.default_rng(0).normal(size=(64, 5))
    made = spots(x, modality="embedding")
    assert _compare(made, replace(made, section="b")).searchable


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_spots_are_refused(n):
    with pytest.raises(UserError, match=f"{n} spot"):
        check_pair(SpotPair(spots(counts(n)), B), quiet())


def test_positions_that_are_no_numbers_are_refused_by_name():
    xy = A.coordinates.copy()
    xy[7, 1] = np.nan
    with pytest.raises(UserError, match="s7"):
        check_pair(SpotPair(replace(A, coordinates=xy), B), quiet())


def test_spots_at_one_place_are_refused_and_a_few_doubles_are_said():
    with pytest.raises(UserError, match="same places"):
        check_pair(SpotPair(replace(A, coordinates=np.ones((64, 2))), B), quiet())
    xy = A.coordinates.copy()
    xy[5] = xy[6]
    said = []
    check_pair(SpotPair(replace(A, coordinates=xy), B), JobContext(on_warning=said.append))
    assert len(said) == 1
    assert "s6" in said[0]


def test_pixels_beside_micrometres_are_refused_unless_a_map_joins_them():
    pixels = replace(B, coordinates=B.coordinates / 8, pitch=B.pitch / 8)
    with pytest.raises(UserError, match="same unit"):
        check_pair(SpotPair(A, pixels), quiet())
    check_pair(SpotPair(A, pixels, Affine(np.diag([1 / 8, 1 / 8, 1.0]))), quiet())


def test_a_finer_grid_of_the_same_size_is_no_other_unit():
    fine = spots(sparse.csr_array(np.ones((6400, 20))), section="b", pitch=10.0)
    check_pair(SpotPair(A, replace(fine, coordinates=fine.coordinates / 10)), quiet())
