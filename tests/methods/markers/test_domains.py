"""Markers of domains: what scanpy says, with effects and autocorrelation that hold for the kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from napari_stomics.core.errors import UserError
from napari_stomics.core.fusion import Block
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.markers import MarkerInputs
from napari_stomics.methods.markers.domains import DomainMarkerParams, find_markers
from napari_stomics.methods.preprocess import centred_log_ratio, log_normalise
from napari_stomics.metrics.spatial import autocorrelation, neighbour_graph
from tests.small import hushed

N, GENES = 150, 20


def inputs(kind: str = "rna", thin: bool = True, **changes: Any) -> MarkerInputs:
    """Three bands; gene 0 is high in D1, genes 1 and 2 in D2, gene 19 is never seen."""
    rng = np.random.default_rng(1)
    xy = rng.uniform(0, 900, (N, 2))
    labels = np.array(["D1", "D2", "D3"], object)[(xy[:, 0] // 300).astype(int)]
    rate = np.full((N, GENES), 3.0)
    rate[labels == "D1", 0] = 20
    rate[np.ix_(labels == "D2", [1, 2])] = 12
    counts = rng.poisson(rate).astype(np.float32)
    counts[:, 19] = 0
    block = Block(
        kind,
        kind,
        sparse.csr_array(counts) if thin else counts,
        np.array([f"g{i}" for i in range(GENES)], object),
        np.arange(N),
    )
    made = MarkerInputs(
        ("A",),
        np.zeros(N, np.intp),
        np.array([f"s{i}" for i in range(N)], object),
        xy,
        "found",
        labels,
        block,
    )
    return replace(made, **changes)


def markers(given: MarkerInputs, **params: Any) -> Any:
    return find_markers(given, DomainMarkerParams(**params), hushed())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("test", ["t-test_overestim_var", "wilcoxon"])
def test_they_equal_scanpy(test: str) -> None:
    import pandas as pd
    import scanpy as sc
    from anndata import AnnData

    given = inputs()
    found = markers(given, test=test)
    x = log_normalise(given.block.x)
    table = AnnData(
        sparse.csr_matrix(x),
        obs=pd.DataFrame({"d": pd.Categorical(given.labels)}, index=given.ids),
        var=pd.DataFrame(index=given.block.features),
    )
    sc.tl.rank_genes_groups(table, "d", method=test, tie_correct=test == "wilcoxon")
    for domain in ("D1", "D2", "D3"):
        expected = sc.get.rank_genes_groups_df(table, domain).set_index("names")
        ours = found.of_domain(domain)
        assert len(ours) == (expected["scores"] > 0).sum()
        theirs = expected.loc[list(ours.features)]
        np.testing.assert_allclose(ours.score, theirs["scores"], rtol=1e-5)
        np.testing.assert_allclose(ours.p, theirs["pvals"], rtol=1e-6)
        np.testing.assert_allclose(ours.p_adjusted, theirs["pvals_adj"], rtol=1e-6)
        np.testing.assert_allclose(ours.effect, theirs["logfoldchanges"], rtol=1e-4, atol=1e-4)
    assert found.test == test


def test_the_planted_markers_come_first_and_lie_together() -> None:
    given = inputs()
    found = markers(given, n_markers=5)
    assert found.of_domain("D1").features[0] == "g0"
    assert set(found.of_domain("D2").features[:2]) == {"g1", "g2"}
    assert found.of_domain("D1").effect[0] > 1.5
    assert found.of_domain("D1").p_adjusted[0] < 1e-10
    assert max(len(t) for t in found.tables) <= 5
    assert all("g19" not in t.features for t in found.tables)
    x = log_normalise(given.block.x).toarray()
    expected = autocorrelation(neighbour_graph(given.coordinates, 6), x[:, [0]])
    assert found.of_domain("D1").morans_i[0] == pytest.approx(expected.morans_i[0], abs=1e-6)
    assert found.of_domain("D1").gearys_c[0] == pytest.approx(expected.gearys_c[0], abs=1e-6)
    assert found.of_domain("D1").morans_i[0] > 0.5
    assert found.top(1)[0] == "g0"
    assert found.summary()["markers"]["D1"][0] == "g0"
    assert found.summary()["median_morans_i_top5"] == found.median_autocorrelation()[0]


def test_dense_and_sparse_tables_give_the_same() -> None:
    thin, dense = (markers(inputs(thin=t)) for t in (True, False))
    for a, b in zip(thin.tables, dense.tables, strict=True):
        np.testing.assert_array_equal(a.features[:3], b.features[:3])
        np.testing.assert_allclose(a.effect[:3], b.effect[:3], atol=1e-4)


def test_the_effect_of_proteins_is_a_difference_of_log_ratios() -> None:
    given = inputs("protein", thin=False)
    found = markers(given)
    x = centred_log_ratio(given.block.x)
    inside = given.labels == "D1"
    first = found.of_domain("D1")
    assert first.features[0] == "g0"
    expected = x[inside, 0].mean() - x[~inside, 0].mean()
    assert first.effect[0] == pytest.approx(expected, abs=1e-5)
    assert "log-ratio" in found.effect
    assert np.isfinite(first.effect).all()


def test_small_domains_and_spots_without_a_label_are_not_tested() -> None:
    given = inputs()
    labels = given.labels.copy()
    labels[:2], labels[2:10] = "tiny", ""
    told: list[str] = []
    ctx = JobContext(on_warning=told.append)
    found = find_markers(replace(given, labels=labels), DomainMarkerParams(), ctx)
    assert [t.domain for t in found.tables] == ["D1", "D2", "D3"]
    assert "tiny" in told[0]
    assert sum(t.spots for t in found.tables) == N - 10


def test_spots_without_the_modality_are_left_out() -> None:
    given = inputs()
    rows = np.arange(40, N)
    block = replace(given.block, x=given.block.x[rows], rows=rows)
    found = markers(replace(given, block=block))
    assert sum(t.spots for t in found.tables) == N - 40
    assert found.of_domain("D1").features[0] == "g0"


def test_what_cannot_be_tested_is_refused_with_the_way_out() -> None:
    given = inputs(thin=False)
    with pytest.raises(UserError, match="two are needed"):
        markers(replace(given, labels=np.full(N, "D1", object)))
    for value, words in ((-1.0, "negative"), (np.nan, "not numbers")):
        x = given.block.x.copy()
        x[0, 0] = value
        with pytest.raises(UserError, match=words):
            markers(replace(given, block=replace(given.block, x=x)))


def test_a_constant_modality_has_no_markers_and_it_is_said() -> None:
    given = inputs(thin=False)
    told: list[str] = []
    flat = replace(given, block=replace(given.block, x=np.ones((N, GENES), np.float32)))
    found = find_markers(flat, DomainMarkerParams(), JobContext(on_warning=told.append))
    assert [len(t) for t in found.tables] == [0, 0, 0]
    assert "constant" in told[0]
    assert np.isnan(found.median_autocorrelation()[0])
