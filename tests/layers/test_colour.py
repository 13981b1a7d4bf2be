"""Colour spots by what is found by a part of its name."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_stomics.core.errors import UserError
from napari_stomics.data.build import make_section
from napari_stomics.data.study import Study
from napari_stomics.layers.colour import colour_by, legend, search_features, set_limits
from napari_stomics.layers.palette import MISSING, PALETTE, hex_rgba, natural, palette
from napari_stomics.layers.section import add_section
from napari_stomics.layers.tags import tag
from tests.layers.studies import grid, pair, section, table


def keys(matches: list) -> list[str]:
    return [match.key for match in matches]


def test_search_puts_whole_names_then_beginnings_then_parts() -> None:
    study = pair()
    assert keys(search_features(study, "A", "PEN")) == ["Penk", "Spen"]
    assert keys(search_features(study, "A", "th"))[:2] == ["Th", "depth"]
    assert keys(search_features(study, "A", "x_pca")) == ["X_pca:0", "X_pca:1"]
    assert search_features(study, "A", "nothing") == []
    assert "region" not in keys(search_features(study, "A", ""))


def test_search_looks_in_every_modality_and_says_which() -> None:
    protein = table(36)
    protein.var_names = ["CD3", "Penk", "CD8", "CD20"]
    study = Study(section(tables={"rna": table(36), "protein": protein}))
    found = search_features(study, "A", "penk")
    assert [(m.key, m.modality) for m in found] == [("Penk", "rna"), ("Penk", "protein")]
    assert [m.modality for m in search_features(study, "A", "penk", modality="protein")] == [
        "protein"
    ]
    assert keys(search_features(study, "A", "cd", limit=2)) == ["CD3", "CD8"]


def test_numbers_get_percentiles_a_colour_bar_and_the_users_range() -> None:
    study = pair()
    spots = add_section(ViewerModel(), study, "A").spots
    found = colour_by(spots, study, "A", "Penk")
    values = np.arange(36) * 4.0
    np.testing.assert_allclose(found.values, values)
    assert found.limits == pytest.approx(tuple(np.percentile(values, (1, 99))))
    assert spots.face_contrast_limits == pytest.approx(found.limits)
    assert spots.face_colorbar.visible
    assert spots.name_overlay.visible
    np.testing.assert_allclose(spots.features["Penk"], values)
    set_limits(spots, (0, 50))
    assert spots.face_contrast_limits == (0, 50)
    assert tag(spots)["colour"]["limits"] == [0, 50]
    first = spots.face_color.copy()
    colour_by(spots, study, "A", "Penk", limits=(0, 500))
    assert not np.allclose(first, spots.face_color)


def test_the_name_goes_and_comes_with_the_bar() -> None:
    study = pair()
    spots = add_section(ViewerModel(), study, "A").spots
    colour_by(spots, study, "A", "Penk")
    spots.face_colorbar.visible = False
    assert not spots.name_overlay.visible
    spots.face_colorbar.visible = True
    spots.face_colorbar.position = "bottom_left"
    assert spots.name_overlay.visible
    assert spots.name_overlay.position == "bottom_left"


def test_a_sparse_gene_still_shows() -> None:
    study = pair()
    spots = add_section(ViewerModel(), study, "A").spots
    assert colour_by(spots, study, "A", "Rare", percentiles=(1, 95)).limits == (0, 7)


def test_missing_numbers_are_grey() -> None:
    study = pair()
    study.section("A").table("rna").obs.loc["s5", "depth"] = np.nan
    spots = add_section(ViewerModel(), study, "A").spots
    colour_by(spots, study, "A", "depth")
    np.testing.assert_allclose(spots.face_color[5], hex_rgba(MISSING))
    assert not np.allclose(spots.face_color[6], hex_rgba(MISSING))


def test_names_get_a_legend_and_missing_ones_are_grey() -> None:
    study = pair()
    spots = add_section(ViewerModel(), study, "A").spots
    colour_by(spots, study, "A", "Penk")
    colour_by(spots, study, "A", "layer")
    assert legend(spots) == [("inner", PALETTE[0]), ("outer", PALETTE[1]), ("", MISSING)]
    np.testing.assert_allclose(spots.face_color[0], hex_rgba(PALETTE[0]), atol=1e-6)
    np.testing.assert_allclose(spots.face_color[2], hex_rgba(MISSING), atol=1e-6)
    assert not spots.face_colorbar.visible
    assert not spots.name_overlay.visible


def test_a_columns_own_colours_win() -> None:
    study = pair()
    study.section("A").table("rna").uns["layer_colors"] = np.array(["#010203", "#ff0000"])
    spots = add_section(ViewerModel(), study, "A").spots
    colour_by(spots, study, "A", "layer")
    assert dict(legend(spots))["outer"] == "#ff0000"


def test_a_name_has_the_same_colour_in_every_section() -> None:
    other = table(36)
    other.obs["layer"] = other.obs["layer"].cat.remove_categories(["inner"])
    study = pair()
    study.add(section("C", tables={"rna": other}))
    spots = add_section(ViewerModel(), study, "C").spots
    colour_by(spots, study, "C", "layer")
    assert dict(legend(spots))["outer"] == PALETTE[1]


def test_components_can_be_coloured_by() -> None:
    study = pair()
    spots = add_section(ViewerModel(), study, "A").spots
    found = colour_by(spots, study, "A", "X_pca:1")
    np.testing.assert_allclose(found.values, -np.arange(36.0))


def test_an_unknown_name_is_refused_with_what_is_near() -> None:
    study = pair()
    spots = add_section(ViewerModel(), study, "A").spots
    with pytest.raises(UserError, match="Penk"):
        colour_by(spots, study, "A", "Penk2")
    with pytest.raises(UserError, match="interval"):
        colour_by(spots, study, "A", "Penk", limits=(3, 3))
    colour_by(spots, study, "A", "layer")
    with pytest.raises(UserError, match="not coloured by numbers"):
        set_limits(spots, (0, 1))


def test_values_follow_the_spots_where_a_table_lists_them_in_another_order() -> None:
    study = Study(make_section("A", coordinates=grid(), radius=10.0, tables={"rna": table(36)}))
    key = study.section("A").record.tables["rna"]
    shuffled = study.sdata.tables[key][::-1][:30].copy()
    del study.sdata.tables[key]
    study.sdata.tables[key] = shuffled
    spots = add_section(ViewerModel(), study, "A").spots
    found = colour_by(spots, study, "A", "depth")
    np.testing.assert_array_equal(np.isnan(found.values), np.arange(36) < 6)
    np.testing.assert_allclose(found.values[6:], np.arange(6, 36))


def test_the_palette_does_not_repeat() -> None:
    names = [f"L{i}" for i in range(60)]
    assert len(set(palette(names).values())) == 60
    assert sorted(["L10", "L9", "L1"], key=natural) == ["L1", "L9", "L10"]
