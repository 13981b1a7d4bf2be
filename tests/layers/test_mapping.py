"""How mappings of single cells are painted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from scipy.sparse import csr_matrix

from napari_stomics.core.mappings import CellMapping
from napari_stomics.data.study import Study
from napari_stomics.layers.mapping import certainty, mixed_colours
from napari_stomics.layers.results import paint, unpaint
from napari_stomics.layers.section import add_section
from napari_stomics.layers.tags import tag
from napari_stomics.metrics.uncertainty import normalised_entropy
from tests.layers.studies import grid, pair, section


def mapping(**changes: Any) -> CellMapping:
    xy = grid()
    n, m = 8, len(xy)
    rng = np.random.default_rng(0)
    share = rng.uniform(size=m)
    proportions = np.column_stack([share, 1 - share])
    proportions[0] = (1, 0)
    proportions[1] = np.nan
    fields: dict[str, Any] = {
        "reference": "pbmc",
        "section": "A",
        "modality": "rna",
        "cell_ids": np.array([f"c{i}" for i in range(n)], object),
        "spot_ids": np.array([f"s{i}" for i in range(m)], object),
        "plan": csr_matrix(rng.uniform(size=(n, m))),
        "kept": 1.0,
        "cell_mass": np.ones(n),
        "spot_mass": np.ones(m),
        "positions": xy[:n] + np.array([3.0, 7.0]),
        "spread": np.linspace(0, 80, n),
        "entropy": np.linspace(0, 1, n),
        "largest_match": np.linspace(1, 0.1, n),
        "labels": np.array(["B", "T"] * 3 + ["", "T"], object),
        "categories": ("B", "T"),
        "proportions": proportions,
        "proportion_entropy": normalised_entropy(proportions),
        "objective": np.array([1.0, 0.5]),
        "marginal_error": 0.0,
        "atlas_weight": 0.9,
        "marginals": "balanced",
        "converged": True,
    }
    return CellMapping(**{**fields, **changes})


@pytest.fixture
def study() -> Study:
    return Study(section("A"))


def painted(viewer: Any, study: Study, result: CellMapping) -> dict[str, Any]:
    add_section(viewer, study, "A")
    return {tag(q)["part"]: q for q in paint(viewer, study, result, "placed")}


def test_cells_lie_at_their_expected_positions_in_the_colour_of_their_label(study):
    found = painted(ViewerModel(), study, mapping())
    cells = found["cells"]
    # napari's points are (y, x).
    np.testing.assert_allclose(cells.data, mapping().positions[:, ::-1])
    assert list(cells.features["label"][:7]) == ["B", "T"] * 3 + ["(none)"]
    colours = cells.face_color[:, :3]
    np.testing.assert_allclose(colours[0], colours[2])
    assert not np.allclose(colours[0], colours[1])
    assert dict(tag(cells)["legend"]).keys() == {"B", "T", ""}


def test_the_surer_a_cell_the_larger_and_the_more_opaque(study):
    found = painted(ViewerModel(), study, mapping())
    cells = found["cells"]
    assert (np.diff(cells.size) < 0).all()
    assert (np.diff(cells.face_color[:, 3]) < 0).all()
    assert cells.face_color[0, 3] == pytest.approx(1)
    assert cells.face_color[-1, 3] > 0.2
    sure = certainty(mapping())
    assert sure[0] == 1
    assert ((sure >= 0) & (sure <= 1)).all()
    assert (certainty(replace(mapping(), positions=np.full((8, 2), np.nan))) == 0).all()


def test_uncertainty_is_there_but_hidden(study):
    found = painted(ViewerModel(), study, mapping())
    hidden = {part for part, layer in found.items() if not layer.visible}
    assert hidden == {"cell-spread", "cell-entropy", "proportions", "entropy", "mass"}
    assert found["cell-spread"].face_color.std() > 0


def test_spots_show_the_labels_that_they_receive(study):
    found = painted(ViewerModel(), study, mapping())
    result = mapping()
    labels = list(found["labels"].features["label"])
    assert labels[0] == "B"
    assert labels[1] == ""
    mixed = mixed_colours(
        np.array([[1, 0], [0.5, 0.5]]), ("B", "T"), {"B": "#ff0000", "T": "#0000ff"}
    )
    np.testing.assert_allclose(mixed, [[1, 0, 0], [0.5, 0, 0.5]])
    np.testing.assert_allclose(
        found["entropy"].features["entropy"], result.proportion_entropy, equal_nan=True
    )


def test_cells_without_mass_are_not_drawn_and_without_labels_are_grey(study):
    result = mapping()
    positions = result.positions.copy()
    positions[2] = np.nan
    bare = replace(
        result,
        positions=positions,
        labels=np.full(8, "", object),
        categories=(),
        proportions=np.zeros((36, 0)),
        proportion_entropy=np.full(36, np.nan),
    )
    found = painted(ViewerModel(), study, bare)
    assert len(found["cells"].data) == 7
    assert "labels" not in found
    colours = found["cells"].face_color[:, :3]
    np.testing.assert_allclose(colours, np.broadcast_to(colours[0], colours.shape))


def test_further_modalities_have_layers_of_their_own(study):
    more = replace(mapping(), modality="chromatin")
    found = painted(ViewerModel(), study, replace(mapping(), more=(more,)))
    assert {"cells", "cells-chromatin", "cell-spread-chromatin"} <= set(found)
    assert not found["cells-chromatin"].visible
    assert "chromatin" in found["cells-chromatin"].name


def test_painting_again_replaces_and_undo_removes(study):
    viewer = ViewerModel()
    painted(viewer, study, mapping())
    before = len(viewer.layers)
    paint(viewer, study, mapping(), "placed")
    assert len(viewer.layers) == before
    unpaint(viewer, study, mapping(), "placed")
    assert not [q for q in viewer.layers if tag(q).get("result") == "placed"]


def test_cells_follow_their_section():
    from napari_stomics.layers.results import move_section
    from tests.layers.studies import turned

    viewer, study = ViewerModel(), pair()
    found = painted(viewer, study, mapping())
    add_section(viewer, study, "B")
    move_section(viewer, "A", turned(), "B")
    world = np.array([found["cells"].data_to_world(p) for p in found["cells"].data])
    expected = turned().apply(mapping().positions)[:, ::-1]
    np.testing.assert_allclose(world, expected, atol=1e-6)
