"""What was carried is painted beside what was measured, on the same colours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from scipy import sparse

from napari_stomics.core.carried import HELD_OUT, SEEN, Aggregation, CarriedValues
from napari_stomics.core.errors import UserError
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


def carried(study: Study, measured: bool = True) -> CarriedValues:
    rng = np.random.default_rng(0)
    values = rng.normal(2, 1, (N, 2)).astype(np.float32)
    values[5] = np.nan
    truth = (values + rng.normal(1, 0.5, (N, 2))).astype(np.float32)
    return CarriedValues(
        source="B",
        target="A",
        target_ids=study.section("A").ids,
        names=np.array(["Penk", "Th"], object),
        values=values,
        sd=np.abs(values) / 3,
        partners=np.where(np.isnan(values[:, 0]), np.nan, 2.0),
        mass=np.ones(N),
        measured=truth if measured else None,
        scales=np.array(["log1p of counts per median depth"] * 2, object),
        status=np.array([SEEN, HELD_OUT], object),
        pearson=np.array([0.2, 0.7]) if measured else np.full(2, np.nan),
        spearman=np.array([0.2, 0.7]) if measured else np.full(2, np.nan),
    )


def aggregation(study: Study, mean: bool = True) -> Aggregation:
    values = sparse.csr_matrix(np.outer(np.arange(N), [1.0, 3.0]).astype(np.float32))
    contributors = np.full(N, 4.0)
    contributors[:3] = 0
    return Aggregation(
        source="B",
        target="A",
        target_ids=study.section("A").ids,
        features=np.array(["m1", "m2"], object),
        modality="metabolite",
        values=values,
        statistic="mean" if mean else "sum",
        sd=values / 10 if mean else None,
        covered=np.clip(contributors / 4, 0, 1),
        contributors=contributors,
        total=np.full(2, np.nan),
        outside=np.full(2, np.nan),
        outside_share=0.1,
        shapes=("square", "disc"),
        finer=mean,
    )


def parts(layers: list) -> dict[str, Any]:
    return {tag(layer)["part"]: layer for layer in layers}


def test_carried_measured_and_residual_can_be_compared(shown) -> None:
    viewer, study = shown
    result = carried(study)
    found = parts(paint(viewer, study, result, "moved"))
    assert list(found) == ["carried", "measured", "residual", "sd", "partners"]
    assert [layer.visible for layer in found.values()] == [True, False, False, False, False]
    assert found["carried"].face_contrast_limits == found["measured"].face_contrast_limits
    low, high = found["residual"].face_contrast_limits
    assert low == -high
    values = found["residual"].features["Th"].to_numpy()
    np.testing.assert_allclose(values, result.residual[:, 1])
    assert "coolwarm" in found["residual"].face_colormap.name
    assert "held out" in found["carried"].name
    assert "r = 0.70" in found["carried"].name
    np.testing.assert_allclose(found["carried"].face_color[5], [0.5, 0.5, 0.5, 1], atol=0.01)


def test_another_gene_is_shown_in_the_same_layers(shown) -> None:
    viewer, study = shown
    paint(viewer, study, carried(study), "moved")
    before = len(viewer.layers)
    found = parts(paint_gene(viewer, study, carried(study), "moved", "Penk"))
    assert len(viewer.layers) == before
    assert "seen by the plan" in found["carried"].name
    again = parts(paint(viewer, study, carried(study), "moved"))
    assert "Penk" in again["carried"].name
    with pytest.raises(UserError, match="does not cover"):
        paint_gene(viewer, study, carried(study), "moved", "Gad1")


def test_without_measurements_there_is_no_residual(shown) -> None:
    viewer, study = shown
    found = parts(paint(viewer, study, carried(study, measured=False), "moved"))
    assert list(found) == ["carried", "sd", "partners"]


def test_an_aggregation_shows_gaps_as_gaps(shown) -> None:
    viewer, study = shown
    found = parts(paint(viewer, study, aggregation(study), "pixels"))
    assert list(found) == ["aggregated", "sd", "covered", "contributors"]
    assert [layer.visible for layer in found.values()] == [True, False, False, False]
    assert "not finer" in found["aggregated"].name
    shown_values = found["aggregated"].features["m2"].to_numpy()
    assert np.isnan(shown_values[:3]).all()
    np.testing.assert_allclose(shown_values[3:], 3.0 * np.arange(3, N))
    other = parts(paint_gene(viewer, study, aggregation(study), "pixels", "m1"))
    np.testing.assert_allclose(other["aggregated"].features["m1"].to_numpy()[3:], np.arange(3, N))


def test_a_sum_has_no_spread(shown) -> None:
    viewer, study = shown
    found = parts(paint(viewer, study, aggregation(study, mean=False), "pixels"))
    assert "sd" not in found
