from dataclasses import replace

import numpy as np
import pytest

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.fusion import Block, FusionInputs
from napari_stomics.core.jobs import JobContext, limited_threads
from napari_stomics.methods.fusion.blocks import (
    STEPS,
    automatic_weights,
    choose_steps,
    fuse_prepared,
    joint_components,
    read_weights,
)
from napari_stomics.methods.fusion.preparation import PreparationParams, prepare
from napari_stomics.methods.fusion.smooth import SmoothParams, fuse_smooth
from tests.methods.fusion.cases import kmeans_ari, quadrants


def _fuse(inputs, **params):
    return fuse_smooth(inputs, SmoothParams(**params), JobContext())


def test_two_modalities_tell_what_neither_does_alone():
    inputs, truth = quadrants()
    both = kmeans_ari(_fuse(inputs, n_output=4).values, truth)
    alone = [
        kmeans_ari(_fuse(replace(inputs, blocks=(block,)), n_output=4).values, truth)
        for block in inputs.blocks
    ]
    assert both > 0.8
    assert both > max(alone) + 0.3


def test_the_result_says_what_it_chose():
    inputs, _ = quadrants()
    found = _fuse(inputs)
    assert found.modalities == ("rna", "protein")
    assert sum(found.weights.values()) == pytest.approx(1)
    assert found.settings["steps"] in (0, *STEPS)
    assert found.spot_weights.shape == (256, 2)
    assert found.loadings["rna"].values.shape == (found.values.shape[1], 40)
    assert ((found.disagreement >= 0) & (found.disagreement <= 1)).all()
    assert 0.9 < found.explained_variance.sum() <= 1 + 1e-6 or found.values.shape[1] == 20


def test_noise_gets_next_to_no_weight():
    inputs, _ = quadrants(genes=100)
    noise = np.random.default_rng(1).poisson(5, (256, 100)).astype(np.float32)
    mixed = replace(inputs, blocks=(inputs.blocks[0], replace(inputs.blocks[1], x=noise)))
    weights = automatic_weights(prepare(mixed, PreparationParams()))
    assert weights["rna"] > 0.85


def test_larger_noisier_domains_take_more_steps():
    steps = {}
    for effect in (3.0, 0.15):
        inputs, _ = quadrants(side=30, effect=effect)
        steps[effect] = choose_steps(prepare(inputs, PreparationParams()))
    assert steps[0.15] > steps[3.0]


@pytest.mark.parametrize(("width", "smoothed"), [(1, False), (8, True)])
def test_layers_as_narrow_as_the_neighbourhood_are_not_smoothed(width, smoothed):
    rng = np.random.default_rng(0)
    at = np.arange(576)
    xy = np.stack([at % 24, at // 24], 1).astype(float)
    layer = (xy[:, 1] // width).astype(int) % 3
    x = rng.normal(0, 1, (3, 20))[layer] + rng.normal(0, 1, (576, 20))
    names = np.array([f"f{i}" for i in range(20)], object)
    block = Block("a", "embedding", x.astype(np.float32), names, at)
    inputs = FusionInputs(
        ("s",), np.zeros(576, np.intp), at.astype(str).astype(object), xy, (1.0,), (block,)
    )
    steps = choose_steps(prepare(inputs, PreparationParams()))
    assert (steps > 0) == smoothed


def test_no_steps_leave_the_scores_as_they_are():
    inputs, _ = quadrants()
    prepared = prepare(inputs, PreparationParams(n_components=6))
    found = fuse_prepared(prepared, 0, {"rna": 1.0, "protein": 0.0}, 6)
    gram = found.values @ found.values.T
    own = prepared.scores[0] - prepared.scores[0].mean(axis=0)
    expected = own @ own.T
    np.testing.assert_allclose(gram / np.abs(gram).max(), expected / np.abs(expected).max(),
                               atol=1e-4)  # fmt: skip


def test_scattered_missing_spots_take_what_their_neighbours_have():
    inputs, truth = quadrants()
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(256)[:180])
    block = inputs.blocks[1]
    fewer = replace(inputs, blocks=(inputs.blocks[0], replace(block, x=block.x[rows], rows=rows)))
    found = _fuse(fewer, steps=2, n_output=4)
    assert np.isfinite(found.values).all()
    missing = np.setdiff1d(np.arange(256), rows)
    np.testing.assert_array_equal(found.spot_weights[missing], [[1, 0]] * len(missing))
    assert kmeans_ari(found.values[missing], truth[missing]) > 0.6
    # They lie where spots of their quadrant lie, not in a cluster of their own.
    for name in np.unique(truth):
        here = truth == name
        own = found.values[missing][here[missing]].mean(axis=0)
        others = found.values[rows][here[rows]].mean(axis=0)
        assert np.linalg.norm(own - others) < 0.3 * np.linalg.norm(others)


def test_a_section_that_lacks_a_modality_takes_it_from_spots_alike_elsewhere():
    inputs, truth = quadrants()
    other, _ = quadrants(seed=0)
    a, b = inputs.blocks
    both = replace(
        inputs,
        sections=("a", "b"),
        of=np.repeat([0, 1], 256),
        ids=np.tile(inputs.ids, 2),
        coordinates=np.tile(inputs.coordinates, (2, 1)),
        pitches=(100.0, 100.0),
        blocks=(
            replace(a, x=np.concatenate([a.x, other.blocks[0].x]), rows=np.arange(512)),
            b,
        ),
    )
    found = _fuse(both, steps=2, n_output=4, weights="rna=1, protein=1")
    assert np.isfinite(found.values).all()
    left = np.array([name[0] for name in truth])
    centres = [found.values[:256][left == side].mean(axis=0) for side in "AB"]
    apart = np.stack([np.linalg.norm(found.values[256:] - c, axis=1) for c in centres])
    assert (np.array(["A", "B"])[apart.argmin(axis=0)] == left).mean() > 0.9


def test_a_batch_shift_between_two_simulated_sections_does_not_split_them():
    from napari_stomics.data.fusion import FusionRefs, collect_fusion
    from tests.small import small_simulation

    study = small_simulation(batch=0.5, n_domains=3).study
    refs = FusionRefs(
        section="section_1", others=("section_2",), modalities=("rna",), histology=False
    )
    inputs = collect_fusion(study, refs)
    found = _fuse(inputs, n_output=5).values
    truth = np.concatenate([study.section(s).labels() for s in ("section_1", "section_2")])
    assert kmeans_ari(found, inputs.of, 2) < 0.1
    assert kmeans_ari(found, truth, 3) > 0.3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("  ", None),
        ("equal", {"rna": 1.0, "protein": 1.0}),
        ("rna=2", {"rna": 2.0, "protein": 1.0}),
        ("rna=1, protein = 0.5", {"rna": 1.0, "protein": 0.5}),
        ("protein=0;", {"rna": 1.0, "protein": 0.0}),
    ],
)
def test_weights_are_read_as_written(text, expected):
    assert read_weights(text, ("rna", "protein")) == expected


@pytest.mark.parametrize("text", ["x=1", "rna", "rna=a", "rna=-1", "rna=nan", "rna=0, protein=0"])
def test_weights_that_cannot_be_meant_are_refused(text):
    with pytest.raises(UserError) as refused:
        read_weights(text, ("rna", "protein"))
    assert "rna=1" in refused.value.hint


def test_weights_by_hand_are_shares_of_the_energy():
    inputs, _ = quadrants()
    found = _fuse(inputs, weights="rna=3, protein=1")
    assert found.weights == pytest.approx({"rna": 0.75, "protein": 0.25})


def test_it_is_the_same_on_rerun_and_on_one_and_two_threads():
    inputs, _ = quadrants()
    first = _fuse(inputs).values
    for threads in (1, 2):
        with limited_threads(threads):
            np.testing.assert_array_equal(first, _fuse(inputs).values)


def test_concatenated_components_are_a_preset_without_space():
    from napari_stomics.core.registry import registry

    inputs, truth = quadrants()
    spec = registry().get("fusion/concat-pcs")
    found = spec.run(inputs, spec.params())
    assert found.settings["steps"] == 0
    assert found.weights == {"rna": 0.5, "protein": 0.5}
    assert kmeans_ari(found.values, truth) > 0.5
    mixed = np.random.default_rng(0).permutation(256)
    moved = replace(inputs, coordinates=inputs.coordinates[mixed])
    np.testing.assert_array_equal(found.values, spec.run(moved, spec.params()).values)


def test_the_image_becomes_a_block_of_its_own():
    from napari_stomics.data.fusion import FusionRefs, collect_fusion
    from tests.small import small_simulation

    study = small_simulation().study
    refs = FusionRefs(section="section_1", modalities=("rna",), histology=True)
    found = _fuse(collect_fusion(study, refs), weights="image=0.3")
    assert found.modalities == ("rna", "image")
    assert found.weights["image"] == pytest.approx(0.3 / 1.3)
    assert np.isfinite(found.values).all()


def test_joint_components_are_those_of_a_decomposition():
    x = np.random.default_rng(0).normal(size=(200, 7)).astype(np.float32) * np.arange(1, 8)
    scores, explained, axes = joint_components(x.astype(np.float32), 3)
    exact = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(scores, axis=0), exact[:3], rtol=1e-4)
    np.testing.assert_allclose(explained, exact[:3] ** 2 / (exact**2).sum(), rtol=1e-4)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-6)


def test_it_stops_when_cancelled():
    with pytest.raises(JobCancelled):
        fuse_smooth(quadrants()[0], SmoothParams(), JobContext(is_cancelled=lambda: True))
