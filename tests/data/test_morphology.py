import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.data.fusion import FusionRefs, collect_fusion
from napari_stomics.data.morphology import PlaneRefs, collect_plane
from napari_stomics.data.results import load_result
from napari_stomics.data.store import save_store
from napari_stomics.data.study import open_study
from napari_stomics.workflow.steps import Step, run_step
from tests.small import hushed, small_simulation

FAST = {"scales": [1.0]}


@pytest.fixture(scope="module")
def judged():
    """A study with features of the image and a plane; not to be changed."""
    study = small_simulation(um_per_px=4.0).study
    section = next(iter(study.sections))
    feature_step = Step(method="morphology/features", inputs={"section": section}, params=FAST)
    features = run_step(study, feature_step, hushed())
    plane_step = Step(
        method="morphology/plane", inputs={"section": section}, params={"null_fields": 200}
    )
    return study, section, features, run_step(study, plane_step, hushed())


def _same(a, b):
    np.testing.assert_array_equal(a.values, b.values)
    np.testing.assert_array_equal(a.maps.values, b.maps.values)
    np.testing.assert_allclose(a.maps.to_um.matrix, b.maps.to_um.matrix)
    assert a.maps.names == b.maps.names
    assert a.summary() == b.summary()
    for name, flag in a.flags.items():
        np.testing.assert_array_equal(flag, b.flags[name])
        assert b.flags[name].dtype == bool


def test_features_and_planes_come_back_from_the_study_and_from_disk(judged, tmp_path):
    study, _, features, plane = judged
    path = tmp_path / "study.zarr"
    save_store(study, path)
    for one in (study, open_study(path)):
        runs = one.record.runs
        _same(load_result(one, runs[0]), features)
        back = load_result(one, runs[1])
        assert back.summary() == plane.summary()
        assert back.gain == plane.gain
        np.testing.assert_array_equal(back.quadrant, plane.quadrant)
        np.testing.assert_array_equal(back.gene, plane.gene)
        np.testing.assert_allclose(back.relevance_null, plane.relevance_null)


def test_the_features_are_a_modality_that_fusion_takes(judged):
    study, section, features, _ = judged
    assert "image" in study.section(section).modalities
    inputs = collect_fusion(
        study, FusionRefs(section=section, modalities=("rna", "image"), histology=False)
    )
    block = inputs.blocks[1]
    assert (block.name, block.kind) == ("image", "image")
    assert list(block.features) == list(features.features)
    np.testing.assert_array_equal(np.asarray(block.x), features.values)


def test_a_second_set_of_features_keeps_the_first():
    study = small_simulation(um_per_px=4.0).study
    section = next(iter(study.sections))
    first = Step(method="morphology/features", inputs={"section": section}, params=FAST)
    second = Step(
        method="morphology/features",
        inputs={"section": section},
        params={**FAST, "stains": "fixed", "maps": False},
        key="fixed",
    )
    made = [run_step(study, step, hushed()) for step in (first, second)]
    assert {"image", "image_features"} <= set(study.section(section).modalities)
    for run, result in zip(study.record.runs, made, strict=True):
        _same(load_result(study, run), result)
    block = collect_fusion(
        study, FusionRefs(section=section, modalities=("image_features",), histology=False)
    ).blocks[0]
    assert block.kind == "image"


def test_a_drawn_region_becomes_labels(judged):
    study, section, _, _ = judged
    xy = study.section(section).coordinates
    middle = float(np.median(xy[:, 0]))
    low, high = xy.min() - 1, xy.max() + 1
    ring = ((low, low), (middle, low), (middle, high), (low, high))
    inputs = collect_plane(study, PlaneRefs(section=section, region=(ring,)))
    np.testing.assert_array_equal(inputs.labels == "inside", xy[:, 0] < middle)
    assert inputs.label_name == "drawn region"
    assert inputs.kinds == ("image", "rna")
    with pytest.raises(UserError, match="no area"):
        collect_plane(study, PlaneRefs(section=section, region=(ring[:2],)))


def test_spots_with_a_flag_are_left_out_of_the_plane(judged):
    study, section, features, plane = judged
    assert plane.spots == int((features.usable & (study.section(section).labels() != "")).sum())


def test_what_is_missing_is_said(judged):
    study, section, _, _ = judged
    with pytest.raises(UserError, match="with itself"):
        collect_plane(study, PlaneRefs(section=section, modality="rna"))
    with pytest.raises(UserError, match="no annotation"):
        collect_plane(study, PlaneRefs(section=section, annotation="nothing"))
    with pytest.raises(UserError, match="no stored embedding"):
        collect_plane(study, PlaneRefs(section=section, embedding="X_nothing"))


def test_an_embedding_can_be_judged(judged):
    study, section, _, _ = judged
    table = study.section(section).table("rna")
    table.obsm["X_model"] = np.random.default_rng(0).standard_normal((table.n_obs, 4))
    inputs = collect_plane(study, PlaneRefs(section=section, embedding="X_model"))
    assert list(inputs.features) == [f"X_model_{i}" for i in (1, 2, 3, 4)]
    assert inputs.modality == "X_model"
    del table.obsm["X_model"]


def test_features_that_are_left_out_take_no_part_in_the_fusion(judged):
    study, section, features, _ = judged
    out = tuple(str(name) for name in features.features[:3])
    refs = FusionRefs(section=section, modalities=("rna", "image"), histology=False, leave_out=out)
    rna, image = collect_fusion(study, refs).blocks
    assert list(image.features) == list(features.features[3:])
    np.testing.assert_array_equal(np.asarray(image.x), features.values[:, 3:])
    assert len(rna.features) == study.section(section).table("rna").n_vars
    every = tuple(str(name) for name in features.features)
    with pytest.raises(UserError, match="Every feature"):
        collect_fusion(
            study,
            FusionRefs(section=section, modalities=("image",), histology=False, leave_out=every),
        )
