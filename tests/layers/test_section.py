"""Sections as layers: everything lies where it should, in micrometres."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_stomics.core.errors import UserError
from napari_stomics.core.transforms import Affine
from napari_stomics.data.build import ImageSource
from napari_stomics.data.study import Study
from napari_stomics.layers import section as section_module
from napari_stomics.layers.colour import colour_by
from napari_stomics.layers.section import add_section, clear_study, find_section
from napari_stomics.layers.tags import TAG, place_section, section_placement, tag
from tests.layers.studies import grid, pair, section, to_um, turned


def test_an_image_pixel_lies_where_its_transformation_puts_it() -> None:
    viewer = ViewerModel()
    layers = add_section(viewer, pair(), "A")
    (image,) = layers.images
    # Pixel (row 3, column 7) spans [7, 8] x [3, 4]: its centre is at (7.5, 3.5).
    expected = to_um().apply(np.array([[7.5, 3.5]]))[0]
    np.testing.assert_allclose(image.data_to_world((3, 7)), expected[::-1], atol=1e-9)
    assert image.rgb
    assert [str(u) for u in image.units] == ["micrometer", "micrometer"]


def test_spots_lie_above_the_image_in_true_size() -> None:
    viewer = ViewerModel()
    study = pair()
    layers = add_section(viewer, study, "A")
    assert layers.spots is not None
    world = np.array([layers.spots.data_to_world(p) for p in layers.spots.data])[:, ::-1]
    np.testing.assert_allclose(world, grid())
    np.testing.assert_allclose(layers.spots.size, 20.0)
    assert list(viewer.layers).index(layers.images[0]) < list(viewer.layers).index(layers.spots)
    assert np.all(layers.spots.border_width == 0)
    assert viewer.canvas.overlays.scale_bar.visible


def test_the_size_of_spots_follows_a_placement_that_enlarges() -> None:
    viewer = ViewerModel()
    add_section(viewer, pair(), "A")
    double = Affine(np.diag([2.0, 2.0, 1.0]))
    place_section(viewer, "A", double)
    found = find_section(viewer, "A")
    assert found is not None
    assert found.spots is not None
    np.testing.assert_allclose(found.spots.size, 40.0)
    place_section(viewer, "A", Affine.identity())
    np.testing.assert_allclose(found.spots.size, 20.0)


def test_image_and_spots_move_together() -> None:
    viewer = ViewerModel()
    layers = add_section(viewer, pair(), "A")
    placed = turned()
    place_section(viewer, "A", placed)
    there = placed.apply(to_um().apply(np.array([[10.0, 10.0]])))[0]
    np.testing.assert_allclose(layers.images[0].data_to_world((9.5, 9.5)), there[::-1])
    assert layers.spots is not None
    np.testing.assert_allclose(
        layers.spots.data_to_world(layers.spots.data[4])[::-1], placed.apply(grid()[4:5])[0]
    )
    np.testing.assert_allclose(section_placement(viewer, "A").matrix, placed.matrix)


def test_tags_survive_what_other_plugins_do_to_features_and_names() -> None:
    viewer = ViewerModel()
    layers = add_section(viewer, pair(), "A")
    assert layers.spots is not None
    layers.spots.features = {"other": np.arange(36)}
    layers.spots.name = "renamed"
    again = find_section(viewer, "A")
    assert again is not None
    assert again.spots is layers.spots
    assert tag(layers.spots)["element"] == "A_spots"


def test_showing_a_section_twice_shows_it_once() -> None:
    viewer = ViewerModel()
    study = pair()
    first = add_section(viewer, study, "A")
    count = len(viewer.layers)
    assert add_section(viewer, study, "A").spots is first.spots
    assert len(viewer.layers) == count
    viewer.add_points(np.zeros((1, 2)), name="mine")
    clear_study(viewer)
    assert [layer.name for layer in viewer.layers] == ["mine"]


def test_an_unknown_section_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UserError, match="A, B"):
        add_section(ViewerModel(), pair(), "C")


def test_channels_become_layers_that_add_up() -> None:
    values = np.zeros((40, 50, 5), np.uint16)
    values[..., 1] = np.arange(2000).reshape(40, 50)
    image = ImageSource([values], to_um(), ["DAPI", "CD3", "CD8", "CD20", "Ki67"])
    viewer = ViewerModel()
    layers = add_section(viewer, Study(section(images={"codex": image})), "A")
    assert [layer.name for layer in layers.images[::-1]][:2] == ["A_codex [DAPI]", "A_codex [CD3]"]
    assert [tag(layer)["channel"] for layer in layers.images[::-1]] == list(image.channels)
    assert sum(layer.visible for layer in layers.images) == 3
    cd3 = layers.images[-2]
    assert str(cd3.blending) == "additive"
    low, high = cd3.contrast_limits
    assert low == pytest.approx(np.percentile(values[..., 1], 0.5))
    assert high == pytest.approx(np.percentile(values[..., 1], 99.8))
    np.testing.assert_array_equal(np.asarray(cd3.data), values[..., 1])


def test_labels_points_and_shapes_are_shown_where_they_are() -> None:
    import geopandas as gpd
    import pandas as pd
    import shapely

    labels = np.zeros((30, 30), np.int32)
    labels[5, 9] = 3
    shapes = gpd.GeoDataFrame(
        geometry=[shapely.box(110, 50, 130, 90), shapely.box(150, 60, 170, 80)]
    )
    points = pd.DataFrame({"x": [101.0, 102.0], "y": [203.0, 204.0], "gene": ["Th", "Penk"]})
    study = Study(
        section(labels={"cells": (labels, to_um())}, points={"tx": points}, shapes={"roi": shapes})
    )
    layers = add_section(ViewerModel(), study, "A")
    expected = to_um().apply(np.array([[9.5, 5.5]]))[0][::-1]
    np.testing.assert_allclose(layers.labels[0].data_to_world((5, 9)), expected)
    np.testing.assert_allclose(layers.points[0].data, [[203, 101], [204, 102]])
    assert layers.points[0].metadata["_columns_df"]["gene"].tolist() == ["Th", "Penk"]
    corner = layers.shapes[0].data[0].min(axis=0)
    np.testing.assert_allclose(layers.shapes[0].data_to_world(corner), [50, 110])
    assert not any(q.visible for q in (*layers.labels, *layers.points, *layers.shapes))


def test_many_spots_are_painted_as_a_raster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(section_module, "MANY_SPOTS", 10)
    study = pair()
    layers = add_section(ViewerModel(), study, "A")
    assert layers.overview is not None
    assert layers.spots is not None
    assert layers.overview.visible
    assert not layers.spots.visible
    found = colour_by(layers.spots, study, "A", "layer")
    wanted = (found.rgba() * 255).astype(np.uint8)
    for i in (0, 17, 35):
        y, x = layers.overview.world_to_data(grid()[i][::-1])
        pixel = layers.overview.data[0][round(float(y)), round(float(x))].ravel()
        np.testing.assert_array_equal(pixel, wanted[i])
    # The hidden markers take the colours once they are looked at.
    layers.spots.visible = True
    np.testing.assert_allclose(layers.spots.face_color, found.rgba(), atol=1e-6)


def test_only_what_is_looked_at_is_read() -> None:
    import dask.array as da

    read = []

    def block(block_info: dict | None = None) -> np.ndarray:
        location = block_info[None]["chunk-location"]
        read.append(location)
        return np.zeros((1024, 1024, 3), np.uint8)

    finest = da.map_blocks(
        block,
        chunks=((1024,) * 40, (1024,) * 40, (3,)),
        dtype=np.uint8,
        meta=np.zeros((0, 0, 0), np.uint8),
    )
    sizes = [40960 // factor for factor in (4, 16, 64)]
    coarse = [da.zeros((n, n, 3), dtype=np.uint8, chunks=1024) for n in sizes]
    image = ImageSource([finest, *coarse], to_um(0.5))
    viewer = ViewerModel()
    read.clear()
    layers = add_section(viewer, Study(section(images={"he": image})), "A")
    assert layers.images[0].multiscale
    assert layers.images[0].data[0].shape == (40960, 40960, 3)
    assert len(read) < 8


def test_the_metadata_that_the_docks_of_napari_spatialdata_read_is_there() -> None:
    study = pair()
    layers = add_section(ViewerModel(), study, "A")
    assert layers.spots is not None
    metadata = layers.spots.metadata
    assert metadata["sdata"] is study.sdata
    assert metadata["adata"].n_obs == 36
    assert metadata["table_names"] == ["A_rna"]
    assert metadata["region_key"] == "region"
    assert metadata["instance_key"] == "instance_id"
    assert metadata["indices"] == [f"s{i}" for i in range(36)]
    assert metadata["_current_cs"] == "A"
    assert metadata[TAG]["section"] == "A"
