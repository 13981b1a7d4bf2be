"""Scores and markers, painted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_stomics.core.errors import UserError
from napari_stomics.core.markers import DomainMarkers, Markers
from napari_stomics.core.scores import ScoreTable
from napari_stomics.data.study import Study
from napari_stomics.layers.results import paint, paint_gene
from napari_stomics.layers.section import add_section
from napari_stomics.layers.tags import tag
from tests.layers.studies import pair

N = 36


@pytest.fixture
def shown() -> tuple[ViewerModel, Study]:
    viewer, study = ViewerModel(), pair()
    for name in ("A", "B"):
        add_section(viewer, study, name)
    return viewer, study


def scores(study: Study, flags: Any, sections: tuple[str, ...] = ("A",)) -> ScoreTable:
    none = np.zeros((0, 1), np.intp)
    ids = np.concatenate([study.section(name).ids for name in sections])
    of = np.repeat(np.arange(len(sections)), N)
    return ScoreTable(
        sections[0], ids, "found", "", (), ("D1",), np.array([N]), (), none, {}, flags, sections, of
    )


def markers(sections: tuple[str, ...] = ("A", "B")) -> Markers:
    numbers = [np.array([1.0, 0.5])] * 6
    tables = (
        DomainMarkers("D1", 20, np.array(["Spen", "Penk"], object), *numbers),
        DomainMarkers("D2", 16, np.array(["Penk", "Spen"], object), *numbers),
    )
    return Markers("A", "rna", "found", "wilcoxon", "log2 fold change", "", tables, sections)


def test_isolated_spots_are_told_apart_and_hidden_at_first(shown: Any) -> None:
    viewer, study = shown
    flags = np.zeros(2 * N)
    flags[[3, N + 5]] = 1
    flags[7] = np.nan
    layers = paint(viewer, study, scores(study, flags, ("A", "B")), "scores")
    assert [tag(q)["part"] for q in layers] == ["isolated", "isolated@B"]
    assert not any(q.visible for q in layers)
    first = layers[0].features["isolated"].to_numpy()
    assert first[3] == "isolated"
    assert first[7] == ""
    assert (first == "among its own").sum() == N - 2
    assert len(np.unique(layers[0].face_color, axis=0)) == 3
    assert layers[1].features["isolated"][5] == "isolated"


def test_one_marker_is_shown_at_a_time_in_every_section(shown: Any) -> None:
    viewer, study = shown
    layers = paint(viewer, study, markers(), "markers")
    assert [tag(q)["gene"] for q in layers] == ["Spen", "Spen"]
    assert not any(q.visible for q in layers)
    assert "marker of D1, D2" in layers[0].name
    chosen = paint_gene(viewer, study, markers(), "markers", "Penk")
    assert [tag(q)["part"] for q in chosen] == ["marker", "marker@B"]
    column = study.section("A").table("rna").X[:, 0].toarray().ravel()
    np.testing.assert_array_equal(chosen[0].features["Penk"], column)
    assert not any(q in viewer.layers for q in layers)
    again = paint(viewer, study, markers(), "markers")
    assert tag(again[0])["gene"] == "Penk"
    with pytest.raises(UserError, match="does not cover 'Th'"):
        paint_gene(viewer, study, markers(), "markers", "Th")


def test_without_markers_nothing_is_painted(shown: Any) -> None:
    viewer, study = shown
    none = Markers("A", "rna", "found", "wilcoxon", "", "", ())
    assert paint(viewer, study, none, "markers") == []
