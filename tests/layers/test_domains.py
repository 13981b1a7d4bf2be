"""Domains on the canvas: colours of the study, repainted in place, found under the mouse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_stomics.core.fusion import Embedding, Loadings
from napari_stomics.data.changes import apply_all
from napari_stomics.data.domain_colours import domain_colours
from napari_stomics.data.embeddings import write_domains
from napari_stomics.layers import section as section_layers
from napari_stomics.layers import valued
from napari_stomics.layers.domains import (
    domain_at,
    labels_of,
    parts,
    show_part,
)
from napari_stomics.layers.factors import made_of, show_factor
from napari_stomics.layers.live_domains import LiveDomains
from napari_stomics.layers.palette import hex_rgba
from napari_stomics.layers.results import paint, unpaint
from napari_stomics.layers.section import add_section
from napari_stomics.layers.tags import tag, tagged
from tests.layers.halves import halves
from tests.layers.studies import grid, pair

PARTS = ("domains", "entropy", "stability")


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def study():
    return pair()


@pytest.fixture(params=["markers", "raster"])
def painted(request, viewer, study, monkeypatch):
    """Domains of two sections, as markers and as the raster of large sections."""
    if request.param == "raster":
        for module in (valued, section_layers):
            monkeypatch.setattr(module, "MANY_SPOTS", 10)
    for name in "AB":
        add_section(viewer, study, name)
    found = halves(study, ("A", "B"))
    apply_all(study, write_domains(study, found, "found", "run"))
    paint(viewer, study, found, "found")
    return found


def colours_of(layer):
    raster = tag(layer).get("raster")
    return np.asarray(layer.face_color) if raster is None else raster.colours / 255


def test_domains_are_painted_in_the_colours_of_the_study(painted, viewer, study):
    chosen = replace(painted, colours={"D1": "#ff0000", "D2": "#00ff00"})
    apply_all(study, write_domains(study, chosen, "found", "run"))
    paint(viewer, study, painted, "found")
    layers = parts(viewer, "found", "domains")
    assert len(layers) == 2
    for layer in layers:
        first = labels_of(layer) == "D1"
        assert np.allclose(colours_of(layer)[first], hex_rgba("#ff0000"), atol=0.01)
        assert np.allclose(colours_of(layer)[~first], hex_rgba("#00ff00"), atol=0.01)


def test_a_click_finds_the_domain_of_the_nearest_spot(painted, viewer, study):
    section = study.section("A")
    for row in (0, len(section.ids) - 1):
        x, y = section.coordinates[row]
        assert domain_at(viewer, "found", (y + 3, x - 3)) == painted.labels[row]
    assert domain_at(viewer, "found", (-500.0, -500.0)) == ""
    assert domain_at(viewer, "other", (y, x)) == ""


def test_one_part_is_shown_at_a_time_and_nothing_covers_it(painted, viewer, study):
    preview = LiveDomains(viewer, study)
    preview.show(painted)
    for part in PARTS:
        shown = show_part(viewer, "found", part, PARTS)
        assert len(shown) == 2
        visible = {tag(q)["part"].split("@")[0] for q in tagged(viewer, role="result") if q.visible}
        assert visible == {part}
        assert not any(layer.visible for layer in preview.layers)
    preview.show(painted)
    assert all(layer.visible for layer in preview.layers)
    assert sum(q.visible for q in tagged(viewer, role=("spots", "overview"))) == 2


def test_a_preview_is_repainted_in_place_and_leaves_nothing(viewer, study, monkeypatch):
    add_section(viewer, study, "A")
    before = list(viewer.layers)
    preview = LiveDomains(viewer, study)
    found = halves(study)
    preview.show(found)
    layer = preview.layers[0]
    colours = dict(preview.colours)
    swapped = np.where(found.labels == "D1", "D2", "D1").astype(object)
    preview.show(replace(found, labels=swapped))
    assert preview.layers == [layer]
    assert (labels_of(layer) == swapped).all()
    assert preview.colours == {"D1": colours["D2"], "D2": colours["D1"]}
    three = np.array(found.labels)
    three[:4] = "D3"
    preview.show(replace(found, labels=three, names=("D1", "D2", "D3")))
    assert len(set(preview.colours.values())) == 3
    assert preview.colours["D1"] == colours["D1"]
    viewer.layers.remove(layer)
    preview.show(found)
    assert len(preview.layers) == 1
    preview.close()
    assert list(viewer.layers) == before


def test_layers_of_a_preview_are_not_part_of_what_is_saved(viewer, study):
    from napari_stomics.layers.session_state import capture

    add_section(viewer, study, "A")
    before = len(capture(viewer)["layers"])
    preview = LiveDomains(viewer, study)
    preview.show(halves(study))
    assert len(capture(viewer)["layers"]) == before


def embedding(study):
    n = len(grid())
    values = np.random.default_rng(0).gamma(2.0, 1.0, (n, 3)).astype(np.float32)
    loadings = Loadings(np.array(["g1", "g2", "g3"], object), np.eye(3)[[1, 0, 2]])
    signed = Loadings(np.array(["p1", "p2"], object), np.array([[1.0, -3.0]] * 3))
    return Embedding(
        section="A",
        ids=study.section("A").ids,
        values=values,
        modalities=("rna", "protein"),
        disagreement=np.zeros(n),
        explained_variance=np.zeros(0),
        loadings={"rna": loadings, "protein": signed},
    )


def test_a_factor_is_shown_in_the_place_of_the_one_before_and_goes_with_its_result(viewer, study):
    add_section(viewer, study, "A")
    found = embedding(study)
    paint(viewer, study, found, "fused")
    count = len(viewer.layers)
    (first,) = show_factor(viewer, study, found, "fused", 0)
    (second,) = show_factor(viewer, study, found, "fused", 2)
    assert first not in viewer.layers
    assert len(viewer.layers) == count + 1
    assert np.allclose(second.features["factor"], found.values[:, 2])
    assert second.visible
    assert "Factor 3 of fused" in second.name
    unpaint(viewer, study, found, "fused")
    assert second not in viewer.layers


def test_what_a_factor_is_made_of_comes_strongest_first_with_its_sign(study):
    loadings = embedding(study).loadings
    assert made_of(loadings["rna"], 0) == [("g2", 1.0)]
    assert made_of(loadings["protein"], 0) == [("p2", -3.0), ("p1", 1.0)]
    assert made_of(loadings["protein"], 0, 1) == [("p2", -3.0)]


def test_domains_that_are_not_stored_have_the_colours_of_the_palette(study):
    from napari_stomics.core.palette import PALETTE

    assert domain_colours(study, halves(study), "none") == {"D1": PALETTE[0], "D2": PALETTE[1]}
