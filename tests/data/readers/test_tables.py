"""Tables with positions: h5ad, h5mu and the old text format; and telling files apart."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_stomics.core.errors import UserError
from napari_stomics.data.fusion import FusionRefs, collect_fusion
from napari_stomics.data.readers import KINDS, detect, inspect, options, read_section
from napari_stomics.data.study import Section, Study
from tests.data.readers import make


def only(path: Path, **options: object) -> Section:
    return next(iter(Study(read_section(path, **options)).sections.values()))


def test_h5ad_asks_for_its_unit(tmp_path: Path) -> None:
    table = make.h5ad(tmp_path / "a.h5ad")
    with pytest.raises(UserError, match="unit of the positions") as error:
        read_section(tmp_path / "a.h5ad")
    assert "um_per_px" in error.value.hint
    section = only(tmp_path / "a.h5ad", um_per_px=2.0, annotation="kind")
    np.testing.assert_allclose(section.coordinates, table.obsm["spatial"] * 2)
    assert abs(section.table("rna").X - table.X).max() == 0
    assert list(section.labels()) == list("abcabcabc")
    assert section.diameter == pytest.approx(10.0)
    assert inspect(tmp_path / "a.h5ad")["needs"] == ["um_per_px"]
    assert only(tmp_path / "a.h5ad", um_per_px=1, modality="protein").modalities == ("protein",)


@pytest.mark.parametrize(
    ("uns", "factor", "diameter"),
    [
        ({"um_per_px": 0.5, "spot_diameter_um": 4.0}, 0.5, 4.0),
        ({"spatial_units": "micrometre"}, 1.0, 5.0),
    ],
)
def test_h5ad_that_tells_its_unit(
    tmp_path: Path, uns: dict, factor: float, diameter: float
) -> None:
    table = make.h5ad(tmp_path / "a.h5ad", **uns)
    section = only(tmp_path / "a.h5ad")
    np.testing.assert_allclose(section.coordinates, table.obsm["spatial"] * factor)
    assert section.diameter == pytest.approx(diameter)
    assert inspect(tmp_path / "a.h5ad")["needs"] == []
    flipped = only(tmp_path / "a.h5ad", flip_y=True).coordinates
    np.testing.assert_allclose(flipped[:, 1], (20 - table.obsm["spatial"][:, 1]) * factor)


def test_h5ad_of_scanpy_brings_its_image(tmp_path: Path) -> None:
    positions = make.hexagon()
    table = anndata.AnnData(
        make.counts(len(positions), 2).astype(np.float32),
        obs=positions.set_index("barcode")[["array_row", "array_col"]],
    )
    table.obsm["spatial"] = positions[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy()
    picture = np.full((120, 150, 3), 0.5, np.float32)
    table.uns["spatial"] = {
        "lib": {
            "images": {"hires": picture, "lowres": picture[::4, ::4]},
            "scalefactors": {"tissue_hires_scalef": 0.05, "spot_diameter_fullres": 130.0},
        }
    }
    table.write_h5ad(tmp_path / "v.h5ad")
    section = only(tmp_path / "v.h5ad")
    assert section.pitch == pytest.approx(100.0)
    assert section.diameter == pytest.approx(55.0)
    image = section.image()
    assert image.levels[0].shape == (120, 150, 3)
    assert image.to_um.matrix[0, 0] == pytest.approx(0.5 / 0.05)
    assert int(np.asarray(image.levels[0])[0, 0, 0]) == 128


def test_h5ad_one_section_of_several(tmp_path: Path) -> None:
    make.h5ad(tmp_path / "a.h5ad", um_per_px=1.0)
    section = only(tmp_path / "a.h5ad", section="b", section_key="kind")
    assert list(section.ids) == ["B", "E", "H"]
    with pytest.raises(UserError, match="has no 'd'"):
        read_section(tmp_path / "a.h5ad", section="d", section_key="kind")


def test_h5ad_spots_without_a_position_are_left_out(tmp_path: Path) -> None:
    table = make.h5ad(tmp_path / "a.h5ad", um_per_px=1.0)
    table.obsm["spatial"][4] = np.nan
    table.write_h5ad(tmp_path / "a.h5ad")
    with pytest.warns(UserWarning, match="1 spots have no position"):
        section = only(tmp_path / "a.h5ad")
    assert len(section.ids) == 8


def test_wrong_things_named_h5ad(tmp_path: Path) -> None:
    path = tmp_path / "a.h5ad"
    path.write_text("not at all")
    for action in (read_section, inspect):
        with pytest.raises(UserError, match=r"a\.h5ad cannot be read"):
            action(path)
    make.write_h5(path, make.counts(3, 2), ["a", "b", "c"], ["x", "y"])
    with pytest.raises(UserError, match=r"a\.h5ad"):
        read_section(path)
    make.h5ad(tmp_path / "b.h5ad", um_per_px=1.0)
    with pytest.raises(UserError, match="no column 'layer'") as error:
        read_section(tmp_path / "b.h5ad", annotation="layer")
    assert "kind" in error.value.hint
    with pytest.raises(UserError, match="no option 'bin_um'"):
        read_section(tmp_path / "b.h5ad", bin_um=8)


def test_names_that_a_store_refuses_are_changed_and_told(tmp_path: Path) -> None:
    table = make.h5ad(tmp_path / "a.h5ad", um_per_px=1.0)
    table.obs["region"] = list("uvwuvwuvw")
    table.obs["cell type"] = list("xyzxyzxyz")
    table.obs["Kind"] = 1
    table.obsm["my map"] = np.ones((9, 2))
    table.write_h5ad(tmp_path / "a.h5ad")
    with pytest.warns(UserWarning, match="'region' is now 'region_label'"):
        sdata = read_section(tmp_path / "a.h5ad", annotation="cell type")
    section = Study(sdata).section("a")
    assert list(section.labels()) == list("xyzxyzxyz")
    assert list(section.labels("region_label")) == list("uvwuvwuvw")
    assert list(section.labels("kind")) == list("abcabcabc")
    sdata.write(tmp_path / "a.zarr")


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_spots_that_lack_a_modality_keep_their_place(tmp_path: Path) -> None:
    import mudata

    rna, protein = make.h5ad(tmp_path / "r.h5ad"), make.h5ad(tmp_path / "p.h5ad")
    protein = protein[::-1][:7].copy()
    protein.var_names = ["p1", "p2", "p3"]
    del protein.obsm["spatial"]
    mudata.MuData({"rna": rna, "protein": protein}).write(tmp_path / "m.h5mu")
    section = only(tmp_path / "m.h5mu", um_per_px=1.0)
    assert section.modalities == ("rna", "protein")
    assert list(section.ids) == list(rna.obs_names)
    measured = [i for i in rna.obs_names if i in set(protein.obs_names)]
    spots = section.spots("protein")
    assert list(spots.ids) == measured
    assert abs(spots.x - protein[measured].X).max() == 0
    rows = [list(section.ids).index(i) for i in measured]
    assert (spots.coordinates == section.coordinates[rows]).all()
    (block,) = collect_fusion(
        section.study, FusionRefs(section=section.name, modalities=("protein",), histology=False)
    ).blocks
    assert list(block.rows) == rows


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_modalities_that_each_lack_spots_are_read_whole(tmp_path: Path) -> None:
    import mudata

    rna, protein = make.h5ad(tmp_path / "r.h5ad"), make.h5ad(tmp_path / "p.h5ad")
    every, places = list(rna.obs_names), np.asarray(rna.obsm["spatial"], float)
    rna, protein = rna[:7].copy(), protein[2:].copy()
    protein.var_names = ["p1", "p2", "p3"]
    bundle = mudata.MuData({"rna": rna, "protein": protein})
    bundle.write(tmp_path / "own.h5mu")
    shared = np.array([places[every.index(spot)] for spot in bundle.obs_names])
    del bundle.mod["rna"].obsm["spatial"], bundle.mod["protein"].obsm["spatial"]
    bundle.obsm["spatial"] = shared
    bundle.write(tmp_path / "shared.h5mu")
    for name in ("own.h5mu", "shared.h5mu"):
        section = only(tmp_path / name, um_per_px=1.0)
        assert sorted(section.ids) == sorted(every)
        found = dict(zip(section.ids, section.coordinates, strict=True))
        np.testing.assert_allclose([found[spot] for spot in every], places)
        assert [section.table(m).n_obs for m in ("rna", "protein")] == [7, len(every) - 2]
        at = section.spots("protein")
        np.testing.assert_allclose(at.coordinates, [found[spot] for spot in at.ids])


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_spots_without_a_position_are_left_out(tmp_path: Path) -> None:
    import mudata

    rna, protein = make.h5ad(tmp_path / "r.h5ad"), make.h5ad(tmp_path / "p.h5ad")
    rna = rna[2:].copy()
    protein.var_names = ["p1", "p2", "p3"]
    del protein.obsm["spatial"]
    mudata.MuData({"rna": rna, "protein": protein}).write(tmp_path / "m.h5mu")
    with pytest.warns(UserWarning, match="2 spots of 'protein'"):
        section = only(tmp_path / "m.h5mu", um_per_px=1.0)
    assert list(section.ids) == list(rna.obs_names)
    assert list(section.spots("protein").ids) == list(rna.obs_names)


@pytest.mark.data
def test_h5mu_without_positions_says_so(stomics_data: Path) -> None:
    with pytest.raises(UserError, match="holds no positions"):
        read_section(stomics_data / "reader_fixtures" / "h5mu" / "mdata_axis0.h5mu")


@pytest.mark.data
def test_real_h5ad_files(stomics_data: Path) -> None:
    section = only(stomics_data / "mob_stahl2016" / "Rep11.h5ad", annotation="layer")
    assert section.table("rna").shape == (262, 14_641)
    assert section.image().levels[0].shape == (2478, 2319, 3)
    assert section.diameter == pytest.approx(100.0)
    px = section.image().to_um.inverse().apply(section.coordinates)
    np.testing.assert_allclose(px[:, 0].min(), 499.16475)
    assert section.labels() is not None
    masked = only(stomics_data / "her2st" / "A" / "A1.h5ad").image()
    assert masked.to_um.matrix[0, 0] == pytest.approx(0.917454 / 0.2876042, rel=1e-3)
    with pytest.warns(UserWarning, match="turned by -90"):
        turned = only(stomics_data / "dlpfc_visium_Br8325_ant/Br8325_ant_top5000genes.h5ad")
    assert turned.pitch == pytest.approx(100.0, rel=0.01)
    with pytest.raises(UserError, match="holds no positions"):
        read_section(stomics_data / "deconv_spacexr" / "visium_hippocampus_scref.h5ad")


def write_st(folder: Path, transposed: bool = False) -> pd.DataFrame:
    """Write six spots, five of them selected, and an image of 0.5 um a pixel."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{x}x{y}" for x in (3, 4, 5) for y in (7, 8)]
    frame = pd.DataFrame(make.counts(6, 4), index=names, columns=list("ABCD"))
    (frame.T if transposed else frame).to_csv(folder / "S1_stdata.tsv", sep="\t")
    rows = [
        (x, y, x * 400 + 10, y * 400 + 20, int((x, y) != (5, 8))) for x in (3, 4, 5) for y in (7, 8)
    ]
    columns = ["x", "y", "pixel_x", "pixel_y", "selected"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "S1_selection.tsv", sep="\t", index=False)
    return frame


@pytest.mark.parametrize("transposed", [False, True])
def test_st_text(tmp_path: Path, transposed: bool) -> None:
    frame = write_st(tmp_path, transposed)
    data = np.zeros((3400, 2200, 3), np.uint8)
    tifffile.imwrite(tmp_path / "S1_HE.tif", data, photometric="rgb", tile=(256, 256))
    assert detect(tmp_path) == detect(tmp_path / "S1_stdata.tsv") == "st"
    section = only(tmp_path / "S1_stdata.tsv")
    assert section.name == "S1_stdata"
    assert list(section.ids) == list(frame.index[:5])
    np.testing.assert_array_equal(section.table("rna").X.toarray(), frame.to_numpy()[:5])
    assert section.pitch == pytest.approx(200.0)
    assert section.diameter == pytest.approx(100.0)
    np.testing.assert_allclose(section.coordinates[0], (605.0, 1410.0))
    assert section.image().to_um.matrix[0, 0] == pytest.approx(0.5)
    assert inspect(tmp_path)["n_spots"] == 6


def test_st_text_without_selection_and_packed(tmp_path: Path) -> None:
    write_st(tmp_path)
    (tmp_path / "S1_selection.tsv").unlink()
    packed = tmp_path / "S1.tsv.gz"
    packed.write_bytes(gzip.compress((tmp_path / "S1_stdata.tsv").read_bytes()))
    with pytest.warns(UserWarning, match="No spot selection"):
        section = only(packed)
    assert section.name == "S1"
    np.testing.assert_allclose(section.coordinates[0], (600.0, 1400.0))
    with (
        pytest.raises(UserError, match=r"lacks S1_selection\.tsv"),
        pytest.warns(UserWarning, match="No spot selection"),
    ):
        read_section(packed, image=tmp_path / "x.png")


@pytest.mark.data
def test_real_st_text(stomics_data: Path) -> None:
    folder = stomics_data / "her2st"
    section = only(folder / "original_st_format/C2.tsv.gz", image=folder / "C" / "C2_HE.jpg")
    assert section.table("rna").shape == (187, 15_706)
    assert section.record.pixel_size_um == pytest.approx(0.6881, rel=2e-3)
    known = anndata.read_h5ad(folder / "C" / "C2.h5ad")
    shared = [g for g in known.var_names if g in section.table("rna").var_names]
    ours = section.table("rna")[list(known.obs_names), shared].X.toarray()
    np.testing.assert_array_equal(ours, known[:, shared].X.toarray())
    px = section.image().to_um.inverse().apply(section.coordinates)
    order = [list(section.ids).index(i) for i in known.obs_names]
    np.testing.assert_allclose(px[order], known.obsm["spatial"], atol=0.01)
    with pytest.raises(UserError, match="2 sections"):
        read_section(folder / "original_st_format")


def test_unknown_things_are_none_of_ours(tmp_path: Path) -> None:
    for name in ("a.csv", "b.txt", "c.mcd", "d.npz", "e.h5"):
        (tmp_path / name).write_text("x,y\n1,2\n")
        assert detect(tmp_path / name) is None
        with pytest.raises(UserError):
            read_section(tmp_path / name)
    assert detect(tmp_path) is None
    assert detect(tmp_path / "nothing") is None
    with pytest.raises(UserError, match="nothing at"):
        read_section(tmp_path / "nothing")
    with pytest.raises(UserError, match="no kind 'tape'"):
        read_section(tmp_path / "a.csv", kind="tape")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    make.h5ad(tmp_path / "a.h5ad")
    (tmp_path / "a.h5ad").chmod(0)
    with pytest.raises(UserError, match="may not read"):
        read_section(tmp_path / "a.h5ad")


def test_every_kind_has_a_reader_and_options_that_a_form_can_ask_for() -> None:
    for kind in KINDS:
        assert all(isinstance(name, str) for name in options(kind))
    assert {"annotation", "image", "bin_um", "cells"} <= set(options("visium_hd"))


def test_sections_survive_the_store(tmp_path: Path) -> None:
    from spatialdata import read_zarr

    make.xenium(tmp_path / "run")
    sdata = read_section(tmp_path / "run", name="x")
    sdata.write(tmp_path / "s.zarr")
    again = Study(read_zarr(tmp_path / "s.zarr")).section("x")
    before = Study(sdata).section("x")
    np.testing.assert_allclose(again.coordinates, before.coordinates)
    assert abs(again.table("rna").X - before.table("rna").X).max() == 0
    assert again.image().channels == before.image().channels
    assert detect(tmp_path / "s.zarr") == "spatialdata"
