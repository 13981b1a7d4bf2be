"""Registrations applied: aligned for every reader; warped elements land where they should."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.results import Registration
from napari_stomics.core.transforms import Affine, Composite, ThinPlateSpline, Transform
from napari_stomics.data.build import ImageSource, make_section
from napari_stomics.data.resample import TILE, Grid, output_grid, warp_array
from napari_stomics.data.store import save_store
from napari_stomics.data.study import Study, open_study
from napari_stomics.data.warp import remove_registration, store_registration, write_warped

sys.path.insert(0, str(Path(__file__).parent))
import tiny


def turn(degrees: float, scale: float = 1.0, shift: tuple[float, float] = (0, 0)) -> Affine:
    a = np.deg2rad(degrees)
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    matrix[:2, 2] = shift
    return Affine(matrix)


def bend(extent: float = 200.0, amount: float = 6.0, seed: int = 0) -> ThinPlateSpline:
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(0, extent, 4)] * 2), -1).reshape(-1, 2)
    moved = turn(20, 1.0, (30, -10)).apply(grid) + rng.normal(0, amount, grid.shape)
    return ThinPlateSpline.fit(grid, moved)


@pytest.fixture
def pair() -> Study:
    study = Study()
    study.add(tiny.study("one", size=100).sdata)
    study.add(tiny.study("two", size=100, seed=1).sdata)
    return study


def registered(transform: Transform, model: str = "affine") -> Registration:
    return Registration("one", "two", transform, model, "landmarks")


def own_matrix(study_or_sdata: Any, name: str, system: str) -> np.ndarray:
    from spatialdata.transformations import get_transformation

    sdata = getattr(study_or_sdata, "sdata", study_or_sdata)
    found = get_transformation(sdata[name], get_all=True)
    return found[system].to_affine_matrix(("x", "y"), ("x", "y")) if system in found else None


# ---------------------------------------------------------------- registrations


def test_another_reader_of_the_store_sees_the_sections_aligned(pair: Study, tmp_path: Path) -> None:
    import spatialdata
    from spatialdata import transform

    affine = turn(97, 1.1, (40, 15))
    store_registration(pair, registered(affine), run="r1")
    save_store(pair, tmp_path / "s.zarr")
    there = spatialdata.read_zarr(tmp_path / "s.zarr")
    expected = affine.apply(pair.section("one").coordinates)
    moved = transform(there["one_spots"], to_coordinate_system="two")
    np.testing.assert_allclose(np.column_stack([moved.geometry.x, moved.geometry.y]), expected)
    molecules = transform(there["one_molecules"], to_coordinate_system="two").compute()
    np.testing.assert_allclose(
        molecules[["x", "y"]], affine.apply(np.array([[1.0, 4], [2, 5], [3, 6]]))
    )
    pixels = own_matrix(there, "one_he", "two")
    np.testing.assert_allclose(pixels, affine.matrix @ np.diag([2, 2, 1]))
    np.testing.assert_allclose(own_matrix(there, "one_cells", "two"), pixels)
    both = there.filter_by_coordinate_system("two")
    assert {"one_he", "two_he", "one_spots", "two_spots"} <= {n for _, n, _ in both.gen_elements()}
    # The section itself stays where it was.
    again = open_study(tmp_path / "s.zarr")
    np.testing.assert_allclose(again.section("one").coordinates, pair.section("one").coordinates)
    found = again.registration("one", "two")
    np.testing.assert_allclose(found.matrix, affine.matrix)  # type: ignore[union-attr]
    assert again.record.registrations[0].run == "r1"
    assert again.record.registrations[0].summary["pairs"] == 0


def test_removing_and_replacing_leave_no_trace(pair: Study) -> None:
    before = {n: dict(own(pair, n)) for n in ("one_he", "one_spots", "two_he", "two_spots")}
    first = store_registration(pair, registered(turn(10)))
    second = store_registration(pair, registered(turn(50)))
    np.testing.assert_allclose(own_matrix(pair, "one_spots", "two"), turn(50).matrix)
    remove_registration(pair, second)
    np.testing.assert_allclose(own_matrix(pair, "one_spots", "two"), turn(10).matrix)
    warp = store_registration(pair, registered(bend(), "tps"))
    assert own_matrix(pair, "one_spots", "two") is None
    remove_registration(pair, warp)
    np.testing.assert_allclose(own_matrix(pair, "one_spots", "two"), turn(10).matrix)
    remove_registration(pair, first)
    assert {n: dict(own(pair, n)) for n in before} == before
    assert pair.record.registrations == []
    assert pair.sdata.attrs["napari_stomics"]["registrations"] == []
    with pytest.raises(UserError, match="no registration"):
        remove_registration(pair, first)
    with pytest.raises(UserError, match="to itself"):
        store_registration(pair, Registration("one", "one", turn(1), "rigid", "image"))
    with pytest.raises(UserError, match="no section"):
        store_registration(pair, Registration("one", "three", turn(1), "rigid", "image"))


def own(study: Study, name: str) -> dict[str, Any]:
    from spatialdata.transformations import get_transformation

    return get_transformation(study.sdata[name], get_all=True)


def test_a_non_rigid_map_survives_the_store(pair: Study, tmp_path: Path) -> None:
    warp = Composite((turn(5), bend()))
    store_registration(pair, registered(warp, "tps"))
    save_store(pair, tmp_path / "s.zarr")
    again = open_study(tmp_path / "s.zarr").registration("one", "two")
    points = np.random.default_rng(0).uniform(0, 200, (50, 2))
    np.testing.assert_allclose(again.apply(points), warp.apply(points), atol=1e-9)  # type: ignore[union-attr]


def test_a_chain_of_affine_maps_counts_as_linear(pair: Study) -> None:
    chain = Composite((turn(5), turn(10, 1.2, (3, 4))))
    store_registration(pair, registered(chain))
    expected = turn(5).then(turn(10, 1.2, (3, 4))).matrix
    np.testing.assert_allclose(own_matrix(pair, "one_spots", "two"), expected)


def test_elements_added_later_are_placed_when_the_study_is_saved(
    pair: Study, tmp_path: Path
) -> None:
    store_registration(pair, registered(turn(10)))
    late = make_section("late", coordinates=np.ones((2, 2)))["late_spots"]
    from spatialdata.transformations import Identity, set_transformation

    set_transformation(late, {"one": Identity()}, set_all=True)
    pair.sdata["region"] = late
    pair.record.sections["one"].shapes.append("region")
    save_store(pair, tmp_path / "s.zarr")
    np.testing.assert_allclose(own_matrix(pair, "region", "two"), turn(10).matrix)


# ---------------------------------------------------------------- images


def smooth(size: int, seed: int = 0) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).normal(size=(size, size))
    return gaussian_filter(noise, 4).astype(np.float32)


def test_the_identity_changes_nothing() -> None:
    source = da.from_array(smooth(150), chunks=64)
    grid = output_grid((150, 150), Affine.identity(), Affine.identity())
    assert grid == Grid((0.0, 0.0), (1.0, 1.0), (150, 150))
    np.testing.assert_allclose(
        warp_array(source, Affine.identity(), Affine.identity(), grid), source, atol=1e-6
    )


def test_an_affine_map_agrees_with_scikit_image() -> None:
    from skimage.transform import AffineTransform, warp

    image = smooth(200)
    affine = turn(33, 1.2, (20, 5))
    grid = output_grid(image.shape, Affine.identity(), affine)
    ours = np.asarray(warp_array(da.from_array(image), Affine.identity(), affine, grid))
    # Theirs maps indices of pixels, ours positions: half a pixel on either side.
    half = Affine(np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]]))
    pull = half.then(grid.to_um()).then(affine.inverse()).then(half.inverse())
    theirs = warp(
        image, AffineTransform(matrix=pull.matrix), output_shape=grid.shape, order=1, cval=np.nan
    )
    inner = np.isfinite(theirs) & (ours != 0)
    assert inner.mean() > 0.4
    np.testing.assert_allclose(ours[inner], theirs[inner], atol=1e-5)
    assert (ours[0, 0], ours[-1, -1]) == (0, 0)


def test_a_painted_dot_lands_where_its_landmark_lands(pair: Study) -> None:
    rng = np.random.default_rng(3)
    dots = rng.uniform(30, 370, (9, 2)).round() + 0.5  # pixel centres
    image = np.zeros((400, 400, 1), dtype=np.float32)
    yy, xx = np.mgrid[:400, :400] + 0.5
    for x, y in dots:
        image[..., 0] += np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * 2.0**2))
    to_um = Affine(np.diag([0.5, 0.5, 1.0]))
    pair.add(
        make_section("dots", images={"he": ImageSource([image], to_um, ["c"])}, coordinates=dots)
    )
    warp = bend(200, 4)
    store_registration(pair, Registration("dots", "two", warp, "tps", "landmarks"))
    assert write_warped(pair, "dots", "two", elements=["dots_he"]) == ["dots_he_warped"]
    warped = pair.section("two").image("dots_he_warped")
    picture = np.asarray(warped.levels[0])[..., 0]
    for expected in warped.to_um.inverse().apply(warp.apply(to_um.apply(dots))):
        x, y = expected
        top, left = max(int(y) - 9, 0), max(int(x) - 9, 0)
        window = picture[top : top + 19, left : left + 19]
        wy, wx = np.mgrid[: window.shape[0], : window.shape[1]] + 0.5
        found = np.array([(wx * window).sum(), (wy * window).sum()]) / window.sum()
        assert np.linalg.norm(found + np.array([left, top]) - expected) < 1


def test_the_interpolated_inverse_is_within_its_stated_error() -> None:
    from napari_stomics.data.resample import MAX_ERROR_PX, _Puller

    warp = bend(2000, 40)
    grid = output_grid((2000, 2000), Affine.identity(), warp)
    puller = _Puller(None, Affine.identity(), warp, grid, 1, 0)
    for top, left in ((0, 0), (600, 900)):
        fast = puller.positions(top, top + 300, left, left + 300)
        rng = np.random.default_rng(0)
        rows, columns = rng.integers(0, 300, (2, 400))
        pixels = np.column_stack([columns + left, rows + top]) + 0.5
        exact = warp.inverse().apply(grid.to_um().apply(pixels))
        error = np.linalg.norm(fast[rows, columns] - exact, axis=1)
        assert np.isfinite(error).mean() > 0.9
        assert np.nanmax(error) < MAX_ERROR_PX


def test_one_tile_of_a_large_image_reads_few_chunks() -> None:
    read: list[tuple[int, ...]] = []

    def chunk(block_info: Any = None) -> np.ndarray:
        read.append(tuple(block_info[None]["chunk-location"]))
        return np.ones(block_info[None]["chunk-shape"], np.uint8)

    size, edge = 20_000, 1000
    chunks = ((edge,) * 20, (edge,) * 20, (3,))
    source = da.map_blocks(chunk, chunks=chunks, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    section = make_section("big", images={"he": ImageSource([source], Affine.identity())})
    study = Study(section)
    study.add(tiny.study("two").sdata)
    warp = bend(size, 100)
    store_registration(study, Registration("big", "two", warp, "tps", "landmarks"))
    read.clear()
    write_warped(study, "big", "two", fill=0)
    assert read == []
    warped = study.section("two").image("big_he_warped").levels[0]
    assert warped.shape[0] > size
    tile = warped.blocks[9, 9, 0].compute()
    assert tile.shape == (TILE, TILE, 3)
    assert (tile == 1).all()
    assert 0 < len(set(read)) <= 9
    assert len(read) == len(set(read))


def test_pyramids_labels_and_channels(pair: Study, tmp_path: Path) -> None:
    label = np.zeros((300, 300), np.int32)
    label[100:200, 50:150] = 7
    fluorescence = np.zeros((2500, 2500, 2), np.uint16)
    fluorescence[1000:1100, 500:600, 1] = 500
    pair.add(
        make_section(
            "many",
            images={"if": ImageSource([fluorescence], Affine.identity(), ["dapi", "cd3"])},
            labels={"cells": (label, Affine.identity())},
            coordinates=np.array([[10.0, 10.0]]),
        )
    )
    affine = turn(90, 1.0, (300, 0))
    store_registration(pair, Registration("many", "two", affine, "rigid", "landmarks"))
    write_warped(pair, "many", "two", elements=["many_if", "many_cells"])
    image = pair.section("two").image("many_if_warped")
    assert image.channels == ("dapi", "cd3")
    assert len(image.levels) == 3
    for level in image.levels:
        at = np.argwhere(np.asarray(level)[..., 1] > 250) + 0.5
        scale = image.levels[0].shape[0] / level.shape[0]
        centre = image.to_um.apply((at.mean(axis=0)[::-1] * scale)[None])
        np.testing.assert_allclose(centre, affine.apply(np.array([[550.0, 1050]])), atol=2.5)
    warped = pair.sdata["many_cells_warped"].data.compute()
    assert set(np.unique(warped)) == {0, 7}
    assert int((warped == 7).sum()) == 10_000
    save_store(pair, tmp_path / "s.zarr")
    again = open_study(tmp_path / "s.zarr")
    assert "many_if_warped" in again.section("two").record.images


# ---------------------------------------------------------------- spots, points, shapes


@pytest.mark.parametrize("warp", [turn(30, 2.0, (5, 5)), bend()], ids=["affine", "tps"])
def test_warped_spots_keep_their_annotation(pair: Study, warp: Transform) -> None:
    table = pair.section("one").table("rna")
    table.obs["layer"] = ["a", "b"] * 6
    store_registration(pair, registered(warp))
    names = write_warped(pair, "one", "two")
    assert {"one_spots_warped", "one_rna_warped", "one_molecules_warped"} <= set(names)
    spots = pair.sdata["one_spots_warped"]
    moved = np.column_stack([spots.geometry.x, spots.geometry.y])
    np.testing.assert_allclose(moved, warp.apply(pair.section("one").coordinates))
    copy = pair.sdata.tables["one_rna_warped"]
    assert copy.obs["layer"].tolist() == ["a", "b"] * 6
    assert set(copy.obs["region"]) == {"one_spots_warped"}
    assert set(table.obs["region"]) == {"one_spots"}
    np.testing.assert_array_equal(copy.X.toarray(), table.X.toarray())
    from spatialdata import join_spatialelement_table

    _, joined = join_spatialelement_table(
        sdata=pair.sdata, spatial_element_names="one_spots_warped", table_name="one_rna_warped"
    )
    assert joined.n_obs == 12
    if isinstance(warp, Affine):
        np.testing.assert_allclose(spots["radius"], 6.0)
    molecules = pair.sdata["one_molecules_warped"].compute()
    np.testing.assert_allclose(
        molecules[["x", "y"]], warp.apply(np.array([[1.0, 4], [2, 5], [3, 6]]))
    )
    assert molecules["gene"].astype(str).tolist() == ["a", "b", "a"]
    assert set(own(pair, "one_molecules")) >= {"one"}
    assert "one_spots_warped" in pair.record.sections["two"].shapes
    count = len(list(pair.sdata.gen_elements()))
    assert write_warped(pair, "one", "two") == names  # again: replaced, not doubled
    assert len(list(pair.sdata.gen_elements())) == count
    assert pair.record.sections["two"].shapes.count("one_spots_warped") == 1


def test_long_edges_of_regions_bend(pair: Study) -> None:
    import geopandas as gpd
    import shapely
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity

    square = gpd.GeoDataFrame({"name": ["region"]}, geometry=[shapely.box(0, 0, 200, 200)])
    pair.sdata["one_region"] = ShapesModel.parse(square, transformations={"one": Identity()})
    pair.record.sections["one"].shapes.append("one_region")
    warp = bend(200, 15)
    store_registration(pair, registered(warp, "tps"))
    write_warped(pair, "one", "two", elements=["one_region"])
    edge = warp.apply(np.column_stack([np.linspace(0, 200, 300), np.zeros(300)]))
    outline = pair.sdata["one_region_warped"].geometry.iloc[0].exterior
    assert max(outline.distance(shapely.points(edge))) < 0.1


def test_what_cannot_be_warped_is_refused(pair: Study) -> None:
    with pytest.raises(UserError, match="not registered"):
        write_warped(pair, "one", "two")
    store_registration(pair, registered(turn(3)))
    with pytest.raises(UserError, match="no element 'nothing'"):
        write_warped(pair, "one", "two", elements=["nothing"])
    pair.sdata["one_he_warped"] = pair.sdata["one_he"]
    before = {n for _, n, _ in pair.sdata.gen_elements()}
    with pytest.raises(UserError, match="another suffix"):
        write_warped(pair, "one", "two")
    assert {n for _, n, _ in pair.sdata.gen_elements()} == before
    wild = Affine(np.diag([1e9, 1e-9, 1.0]))
    with pytest.raises(UserError, match="far more"):
        output_grid((100, 100), Affine.identity(), wild)
