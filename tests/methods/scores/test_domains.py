"""Scores of domains: each as its metric gives it, with its protocol, where it has a meaning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_score

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.fusion import Block
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.scores import ScoreInputs
from napari_stomics.methods.scores.domains import DomainScoreParams, score_domains
from napari_stomics.metrics.spatial import chaos, pas


def inputs(**changes: Any) -> ScoreInputs:
    """Two bands on a grid of 12 by 10, some spots in the wrong one, some not annotated."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(12.0), np.arange(10.0))
    xy = 100 * np.column_stack([x.ravel(), y.ravel()])
    n = len(xy)
    truth = np.where(xy[:, 0] < 600, "left", "right").astype(object)
    labels = np.where(rng.random(n) < 0.05, "D10", np.where(truth == "left", "D1", "D2"))
    annotated = truth.copy()
    annotated[:15] = ""
    embedding = (truth == "left")[:, None] * 3 + rng.normal(size=(n, 4))
    counts = rng.poisson(2 + 4 * (truth == "left")[:, None] * np.ones((n, 30)))
    names = np.array([f"g{i}" for i in range(30)], object)
    made = ScoreInputs(
        sections=("A",),
        of=np.zeros(n, np.intp),
        ids=np.array([f"s{i}" for i in range(n)], object),
        coordinates=xy,
        label_name="found",
        labels=labels.astype(object),
        truth_name="layer",
        truth=annotated,
        embedding_name="joint",
        embedding=embedding,
        blocks=(Block("rna", "rna", counts, names, np.arange(n)),),
        singles={"by rna": labels.astype(object)[::-1]},
    )
    return replace(made, **changes)


def score(given: ScoreInputs, **params: Any) -> Any:
    return score_domains(given, DomainScoreParams(**params), JobContext())


def test_every_score_is_that_of_its_metric_and_says_how() -> None:
    given = inputs()
    found = score(given)
    value = {row.name: row.value for row in found.rows}
    known = given.truth != ""
    assert value["ari"] == pytest.approx(
        adjusted_rand_score(given.truth[known], given.labels[known])
    )
    assert value["pas"] == pas(given.coordinates, given.labels)
    assert value["pas"] == np.nanmean(found.isolated)
    assert value["chaos"] == chaos(given.coordinates, given.labels)
    for name, space in (("coordinates", given.coordinates), ("embedding", given.embedding)):
        expected = silhouette_score(space, given.labels)
        assert value[f"silhouette_{name}"] == pytest.approx(expected)
    assert 0 < value["preservation_rna"] < 1
    assert value["morans_i_domains"] > 0.5
    alone = adjusted_rand_score(given.truth[known], given.labels[::-1][known])
    assert value["fusion_gain"] == pytest.approx(value["ari"] - alone)
    assert all(
        row.protocol and row.space and row.better in ("higher", "lower") for row in found.rows
    )
    assert found.score("pas").better == "lower"
    assert found.score("silhouette_embedding").space == "joint"
    assert found.score("nothing") is None
    assert found.summary()["ari"] == value["ari"]


def test_the_contingency_table_counts_what_the_labels_share() -> None:
    given = inputs()
    found = score(given)
    assert found.names == ("D1", "D2", "D10")
    assert found.truth_names == ("left", "right")
    assert found.counts[0, 0] == ((given.truth == "left") & (given.labels == "D1")).sum()
    assert found.counts.sum() == (given.truth != "").sum()
    assert found.sizes.sum() == len(given.ids)
    assert found.matches == {"D1": "left", "D2": "right"}


def test_a_domain_without_annotated_spots_keeps_its_column() -> None:
    given = inputs()
    truth = given.truth.copy()
    truth[given.labels == "D10"] = ""
    found = score(replace(given, truth=truth))
    assert found.names == ("D1", "D2", "D10")
    np.testing.assert_array_equal(found.counts[:, 2], 0)


def test_what_is_not_given_is_not_scored() -> None:
    bare = inputs(truth=None, embedding=None, blocks=(), singles={})
    names = {row.name for row in score(bare).rows}
    assert names == {
        "pas", "chaos", "silhouette_coordinates", "morans_i_domains", "geary_likeness_domains",
    }  # fmt: skip
    assert score(bare).counts.shape == (0, 3)
    assert score(bare).truth_name == ""


def test_one_domain_has_no_silhouette_and_no_autocorrelation() -> None:
    one = inputs(labels=np.full(120, "D1", object))
    found = score(one)
    assert found.score("pas").value == 0
    assert np.isnan(found.score("silhouette_coordinates").value)
    assert np.isnan(found.score("morans_i_domains").value)
    assert found.score("ari").value == 0


def test_labels_are_needed() -> None:
    with pytest.raises(UserError, match="No spot has a label in 'found'"):
        score(inputs(labels=np.full(120, "", object)))


def test_spots_without_the_modality_or_the_embedding_are_left_out() -> None:
    given = inputs()
    embedding = given.embedding.copy()
    embedding[:10] = np.nan
    rows = np.arange(30, 120)
    block = replace(given.blocks[0], x=given.blocks[0].x[rows], rows=rows)
    found = score(replace(given, embedding=embedding, blocks=(block,)))
    for name in ("silhouette_embedding", "morans_i_embedding", "preservation_rna"):
        assert np.isfinite(found.score(name).value)


def test_two_sections_are_never_each_others_neighbours() -> None:
    given = inputs()
    twice = replace(
        given,
        sections=("A", "B"),
        of=np.repeat([0, 1], 120),
        ids=np.tile(given.ids, 2),
        coordinates=np.vstack([given.coordinates, given.coordinates + 3]),
        labels=np.tile(given.labels, 2),
        truth=np.tile(given.truth, 2),
        embedding=None,
        blocks=(),
        singles={},
    )
    one = score(given)
    two = score(twice)
    for name in ("pas", "chaos", "silhouette_coordinates", "morans_i_domains"):
        assert two.score(name).value == pytest.approx(one.score(name).value, abs=1e-9), name
    assert two.summary()["sections"] == ["A", "B"]


def test_the_same_seed_gives_the_same_and_cancelling_stops() -> None:
    first, again = (score(inputs(), cap=60, seed=2) for _ in range(2))
    assert [r.value for r in first.rows] == [r.value for r in again.rows]
    with pytest.raises(JobCancelled):
        score_domains(inputs(), DomainScoreParams(), JobContext(is_cancelled=lambda: True))
