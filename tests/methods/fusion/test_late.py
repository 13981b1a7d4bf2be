from dataclasses import replace

import numpy as np
import pytest

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.fusion import FusionInputs
from napari_stomics.methods.fusion.late import (
    LateParams,
    averaged,
    consensus,
    fit_clusters,
    fuse_late,
    likely_count,
    spot_shares,
)
from tests.methods.fusion.planted import (
    block,
    cancelling_after,
    counts,
    inputs_of,
    quarters,
    quiet,
    same_groups,
)

LABELS = quarters(14)
ALL = np.ones((len(LABELS), 2), bool)


@pytest.fixture(scope="module")
def complementary() -> FusionInputs:
    """RNA tells above from below, protein left from right."""
    return inputs_of(
        block("rna", counts(LABELS // 2, 40, 1)),
        block("protein", counts(LABELS % 2, 12, 2), kind="protein"),
    )


def _soft(labels: np.ndarray, wrong: float, seed: int) -> np.ndarray:
    """Posteriors of labels of which a share is wrong."""
    rng = np.random.default_rng(seed)
    k = int(labels.max()) + 1
    seen = np.where(rng.random(len(labels)) < wrong, rng.integers(0, k, len(labels)), labels)
    return (0.9 * np.eye(k)[seen] + 0.1 / k).astype(np.float32)


def test_consensus_keeps_apart_what_either_modality_tells_apart(complementary):
    made = quiet(fuse_late, complementary, LateParams())
    assert made.settings["clusters"] == [2, 2]
    assert same_groups(made.values, LABELS) > 0.9
    for i in (0, 1):
        alone = replace(complementary, blocks=(complementary.blocks[i],))
        assert same_groups(quiet(fuse_late, alone, LateParams()).values, LABELS) < 0.7


def test_consensus_beats_the_worse_modality_and_noise_does_no_harm():
    poor = counts(LABELS, 12, 2, effect=1.5)
    inputs = inputs_of(block("rna", counts(LABELS, 40, 1)), block("protein", poor, kind="protein"))
    both = same_groups(quiet(fuse_late, inputs, LateParams(n_clusters=4)).values, LABELS)
    worse = replace(inputs, blocks=inputs.blocks[1:])
    assert both > same_groups(quiet(fuse_late, worse, LateParams(n_clusters=4)).values, LABELS)
    noise = block("protein", counts(np.zeros_like(LABELS), 12, 3), kind="protein")
    spoilt = replace(inputs, blocks=(inputs.blocks[0], noise))
    assert same_groups(quiet(fuse_late, spoilt, LateParams()).values, LABELS) > 0.9


def test_the_average_matches_clusters_whatever_their_names():
    first = _soft(LABELS, 0.3, 1)
    second = _soft(np.array([2, 0, 3, 1])[LABELS], 0.3, 2)
    third = _soft(np.array([1, 2, 3, 0])[LABELS], 0.3, 3)
    present = np.ones((len(LABELS), 3), bool)
    mean = averaged([first, second, third], present, np.full(3, 1 / 3))
    np.testing.assert_allclose(mean.sum(axis=1), 1, rtol=1e-5)
    right = (mean.argmax(axis=1) == LABELS).mean()
    assert right > (first.argmax(axis=1) == LABELS).mean() + 0.05


def test_the_average_of_modalities_that_see_the_same_is_a_posterior():
    inputs = inputs_of(
        block("rna", counts(LABELS, 40, 1)),
        block("protein", counts(LABELS, 12, 2), kind="protein"),
    )
    made = quiet(fuse_late, inputs, LateParams(rule="average", n_clusters=4))
    np.testing.assert_allclose(made.values.sum(axis=1), 1, rtol=1e-4)
    assert same_groups(made.values, LABELS) > 0.9


def test_products_of_the_consensus_are_shares_of_agreement():
    first, second = np.eye(4)[LABELS], np.eye(2)[LABELS // 2]
    values, explained = consensus([first, second], ALL, np.array([0.75, 0.25]))
    gaps = ((values[:, None] - values[None]) ** 2).sum(axis=2)
    same = [labels[:, None] == labels[None] for labels in (LABELS, LABELS // 2)]
    expected = 2 * (1 - 0.75 * same[0] - 0.25 * same[1])
    np.testing.assert_allclose(gaps, expected, atol=1e-4)
    assert explained.sum() == pytest.approx(1, abs=1e-5)


def test_spots_that_lack_a_modality_go_with_what_the_other_makes_likely():
    present = ALL.copy()
    present[:90, 1] = False
    second = np.where(present[:, [1]], np.eye(4)[LABELS], 0)
    values, _ = consensus([np.eye(4)[LABELS], second], present, np.array([0.5, 0.5]))
    full, _ = consensus([np.eye(4)[LABELS]] * 2, ALL, np.array([0.5, 0.5]))
    gaps = [((v[:, None] - v[None]) ** 2).sum(axis=2) for v in (values, full)]
    np.testing.assert_allclose(gaps[0], gaps[1], atol=1e-4)
    shares = spot_shares(present, np.array([0.5, 0.5]))
    np.testing.assert_allclose(shares[:90], [[1.0, 0.0]] * 90)


def test_missing_spots_and_several_sections():
    both = np.concatenate([LABELS, LABELS])
    rows = np.arange(100, 2 * len(LABELS))
    protein = block("protein", counts(both, 12, 4)[rows], rows, "protein")
    inputs = inputs_of(block("rna", counts(both, 40, 3)), protein, sections=2)
    for rule in ("consensus", "average"):
        made = quiet(fuse_late, inputs, LateParams(rule=rule, n_clusters=4))
        assert same_groups(made.values, both) > 0.9
        assert (made.spot_weights[:100, 1] == 0).all()


def test_the_number_of_clusters_is_found():
    rng = np.random.default_rng(0)
    x = 6 * np.eye(5)[rng.integers(0, 5, 400)] + rng.normal(size=(400, 5))
    assert likely_count(x) == 5
    posteriors, bic = fit_clusters(x, 5)
    np.testing.assert_allclose(posteriors.sum(axis=1), 1)
    assert bic < fit_clusters(x, 3)[1]


def test_weights_decide_between_modalities(complementary):
    made = quiet(fuse_late, complementary, LateParams(weights="rna=1, protein=0"))
    assert same_groups(made.values, LABELS // 2) > 0.95
    assert made.weights == {"rna": 1.0, "protein": 0.0}


def test_it_repeats_to_the_bit(complementary):
    first = quiet(fuse_late, complementary, LateParams())
    again = quiet(fuse_late, complementary, LateParams())
    np.testing.assert_array_equal(first.values, again.values)


def test_it_stops_when_cancelled(complementary):
    with pytest.raises(JobCancelled):
        fuse_late(complementary, LateParams(), cancelling_after(10))


def test_bad_input_is_refused_with_the_way_out(complementary):
    with pytest.raises(UserError, match="too few for 80 clusters"):
        quiet(fuse_late, complementary, LateParams(n_clusters=80))
