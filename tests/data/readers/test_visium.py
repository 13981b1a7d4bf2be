"""Visium and Visium HD, every version that was found, and those that were made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_stomics.core.errors import UserError
from napari_stomics.data.readers import detect, inspect, read_section
from napari_stomics.data.study import Section, Study
from tests.data.readers import make


def only(path: Path, **options: object) -> Section:
    study = Study(read_section(path, **options))
    return next(iter(study.sections.values()))


@pytest.mark.parametrize("fmt", ["h5", "mtx", "old"])
@pytest.mark.parametrize("header", [True, False])
def test_every_form_of_counts_and_positions(tmp_path: Path, fmt: str, header: bool) -> None:
    positions, counts = make.visium(tmp_path / "outs", fmt=fmt, header=header)
    section = only(tmp_path, name="s")
    assert section.modalities == ("rna",)
    np.testing.assert_array_equal(section.table("rna").X.toarray(), counts)
    assert list(section.ids) == list(positions["barcode"])
    expected = positions[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy() / 2.0
    np.testing.assert_allclose(section.coordinates, expected, rtol=1e-6)
    assert section.diameter == pytest.approx(55.0)
    assert section.pitch == pytest.approx(100.0)
    image = section.image()
    assert image.levels[0].shape == (200, 190, 3)
    assert image.to_um.matrix[0, 0] == pytest.approx(0.5 / 0.05)


@pytest.mark.parametrize("turn", [90.0, 180.0, -37.0])
def test_a_turned_array_is_told_and_the_pixels_are_trusted(tmp_path: Path, turn: float) -> None:
    positions, _ = make.visium(tmp_path, turn=turn)
    with pytest.warns(UserWarning, match="turned by"):
        section = only(tmp_path)
    expected = positions[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy() / 2.0
    np.testing.assert_allclose(section.coordinates, expected, rtol=1e-6)


def test_exchanged_rows_and_columns_still_give_the_scale(tmp_path: Path) -> None:
    make.visium(tmp_path)
    file = tmp_path / "spatial" / "tissue_positions.csv"
    text = file.read_text().replace("array_row,array_col", "array_col,array_row", 1)
    file.write_text(text)
    with pytest.warns(UserWarning, match="exchanged"):
        section = only(tmp_path)
    assert section.pitch == pytest.approx(100.0)


def test_features_of_several_kinds_become_tables_of_one_section(tmp_path: Path) -> None:
    names = ["CD3E", "CD3E", "CD3E", "chr1:1-9", "B"]
    types = ["Gene Expression"] * 2 + ["Antibody Capture", "Peaks", "Gene Expression"]
    _, counts = make.visium(tmp_path, names=names, types=types)
    section = only(tmp_path)
    assert section.modalities == ("rna", "protein", "chromatin")
    rna = section.table("rna")
    assert list(rna.var_names) == ["CD3E", "CD3E-1", "B"]
    assert list(rna.var["symbol"]) == ["CD3E", "CD3E", "B"]
    np.testing.assert_array_equal(rna.X.toarray(), counts[:, [0, 1, 4]])
    np.testing.assert_array_equal(section.table("protein").X.toarray(), counts[:, [2]])
    assert inspect(tmp_path)["modalities"] == {"rna": 3, "protein": 1, "chromatin": 1}


def test_raw_counts_keep_the_tissue_unless_all_are_wanted(tmp_path: Path) -> None:
    make.visium(tmp_path)
    every = make.hexagon()
    raw = make.counts(len(every), 5, seed=7)
    names = [f"G{i}" for i in range(5)]
    make.write_h5(tmp_path / "raw_feature_bc_matrix.h5", raw, list(every["barcode"]), names)
    inside = (every["in_tissue"] == 1).to_numpy()
    kept = only(tmp_path, counts="raw").table("rna")
    np.testing.assert_array_equal(kept.X.toarray(), raw[inside])
    assert only(tmp_path, counts="raw", in_tissue=False).table("rna").n_obs == len(every)
    (tmp_path / "filtered_feature_bc_matrix.h5").unlink()
    assert only(tmp_path).table("rna").n_obs == inside.sum()


def test_only_a_low_resolution_image_is_used_and_told(tmp_path: Path) -> None:
    make.visium(tmp_path, hires=False)
    with pytest.warns(UserWarning, match="low-resolution"):
        section = only(tmp_path)
    assert section.image().to_um.matrix[0, 0] == pytest.approx(0.5 / 0.01)


def test_a_full_resolution_image_comes_first(tmp_path: Path) -> None:
    make.visium(tmp_path / "outs")
    slide = np.zeros((3200, 3100, 3), np.uint8)
    tifffile.imwrite(tmp_path / "slide.tif", slide, photometric="rgb", metadata=None)
    section = only(tmp_path / "outs", image=tmp_path / "slide.tif")
    assert len(section.record.images) == 2
    assert section.image().to_um.matrix[0, 0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("filtered_feature_bc_matrix.h5", "filtered_feature_bc_matrix.h5"),
        ("spatial/tissue_positions.csv", "tissue_positions"),
        ("spatial/scalefactors_json.json", "scalefactors_json.json"),
    ],
)
def test_a_missing_file_is_named(tmp_path: Path, lost: str, named: str) -> None:
    make.visium(tmp_path)
    (tmp_path / lost).unlink()
    with pytest.raises(UserError, match=named) as error:
        read_section(tmp_path)
    assert "Copy it" in error.value.hint
    assert any(named in name for name in inspect(tmp_path)["missing"])


def test_positions_alone_are_read_when_asked_for(tmp_path: Path) -> None:
    positions, _ = make.visium(tmp_path)
    (tmp_path / "filtered_feature_bc_matrix.h5").unlink()
    section = only(tmp_path, counts="none")
    assert section.modalities == ()
    assert list(section.ids) == list(positions["barcode"])


def test_two_samples_in_a_folder_are_not_guessed(tmp_path: Path) -> None:
    make.visium(tmp_path)
    first = tmp_path / "filtered_feature_bc_matrix.h5"
    data = first.read_bytes()
    first.unlink()
    for prefix in ("GSM1_a", "GSM2_b"):
        (tmp_path / f"{prefix}_filtered_feature_bc_matrix.h5").write_bytes(data)
    with pytest.raises(UserError, match=r"GSM1_a.*GSM2_b"):
        read_section(tmp_path)
    assert only(tmp_path / "GSM2_b_filtered_feature_bc_matrix.h5").table("rna").n_vars == 5


def test_files_of_an_archive_in_one_folder(tmp_path: Path) -> None:
    import gzip

    positions, counts = make.visium(tmp_path / "run", header=False)
    flat = tmp_path / "GSM1"
    flat.mkdir()
    for file in (tmp_path / "run").rglob("*.*"):
        packed = file.suffix in (".csv", ".json")
        data = gzip.compress(file.read_bytes()) if packed else file.read_bytes()
        (flat / f"GSM1_x_{file.name}{'.gz' if packed else ''}").write_bytes(data)
    assert detect(flat) == "visium"
    section = only(flat)
    assert list(section.ids) == list(positions["barcode"])
    np.testing.assert_array_equal(section.table("rna").X.toarray(), counts)
    assert section.image().levels[0].shape == (200, 190, 3)


def test_broken_counts_are_refused_by_name(tmp_path: Path) -> None:
    make.visium(tmp_path)
    file = tmp_path / "filtered_feature_bc_matrix.h5"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"filtered_feature_bc_matrix\.h5"):
        read_section(tmp_path)
    file.write_bytes(b"")
    with pytest.raises(UserError, match="empty"):
        read_section(tmp_path)


def test_lists_that_do_not_fit_the_matrix_are_refused(tmp_path: Path) -> None:
    make.visium(tmp_path, fmt="old")
    barcodes = tmp_path / "filtered_feature_bc_matrix" / "barcodes.tsv"
    barcodes.write_text("\n".join(barcodes.read_text().splitlines()[:-2]))
    with pytest.raises(UserError, match="does not fit together"):
        read_section(tmp_path)


def test_paths_with_spaces_and_other_letters(tmp_path: Path) -> None:
    folder = tmp_path / "Schnitt 1 größer" / "outs"
    make.visium(folder)
    section = only(folder)
    assert section.name == "Schnitt 1 größer"
    assert section.table("rna").n_vars == 5


def test_hd_bins(tmp_path: Path) -> None:
    counts = make.visium_hd(tmp_path, 8)
    make.visium_hd(tmp_path, 16, side=3)
    section = only(tmp_path, name="hd")
    np.testing.assert_array_equal(section.table("rna").X.toarray(), counts)
    assert section.pitch == pytest.approx(8.0)
    assert section.diameter == pytest.approx(8.0)
    np.testing.assert_allclose(section.coordinates[0], (15.0, 10.0))
    assert only(tmp_path, bin_um=16).pitch == pytest.approx(16.0)
    alone = only(tmp_path / "binned_outputs" / "square_016um")
    assert alone.diameter == pytest.approx(16.0)
    with pytest.raises(UserError, match="no bins of 2 um"):
        read_section(tmp_path, bin_um=2)
    assert inspect(tmp_path)["choices"]["bin_um"] == [8, 16]


def test_hd_cells(tmp_path: Path) -> None:
    counts = make.hd_cells(tmp_path)
    assert detect(tmp_path) == "visium_hd"
    section = only(tmp_path)
    assert list(section.ids) == ["cellid_000000003-1", "cellid_000000001-1", "cellid_000000002-1"]
    np.testing.assert_array_equal(section.table("rna").X.toarray(), counts)
    np.testing.assert_allclose(section.coordinates[1], (30.0, 17.5))
    assert section.diameter == pytest.approx(2 * np.sqrt(100 / np.pi))
    outlines = section.study.sdata.shapes[section.record.shapes[0]]
    assert outlines.geometry.area.to_numpy() == pytest.approx(100.0)


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "shape", "total"),
    [
        ("visium_scanpy_1.0.0", (100, 100), 932),
        ("visium_seurat", (2695, 100), 132_231),
        ("visium_sfe/sample01", (12, 5), 2951),
        ("visium_sfe/sample02", (13, 5), 2762),
        ("visium_VisiumIO/section1", (22, 49), 384),
    ],
)
@pytest.mark.filterwarnings("ignore:There is only the low:UserWarning")
@pytest.mark.filterwarnings("ignore:.*lie outside:UserWarning")
def test_fixtures(stomics_data: Path, folder: str, shape: tuple[int, int], total: int) -> None:
    section = only(stomics_data / "reader_fixtures" / folder)
    table = section.table("rna")
    assert table.shape == shape
    assert table.X.sum() == total
    assert section.diameter == pytest.approx(55.0)


@pytest.mark.data
def test_a_barcode_lies_where_its_file_says(stomics_data: Path) -> None:
    section = only(stomics_data / "reader_fixtures" / "visium_seurat")
    assert section.pitch == pytest.approx(100.0, rel=0.01)
    listed = stomics_data / "reader_fixtures/visium_seurat/spatial/tissue_positions_list.csv"
    row = next(r for r in listed.read_text().splitlines() if r.startswith(str(section.ids[5])))
    y, x = (float(v) for v in row.split(",")[4:6])
    scale = section.record.pixel_size_um
    np.testing.assert_allclose(section.coordinates[5], (x * scale, y * scale))


@pytest.mark.data
def test_text_and_hdf5_give_the_same_counts(stomics_data: Path) -> None:
    outs = stomics_data / "visium_cytassist_spaceranger3" / "outs"
    from_h5 = only(outs).table("rna")
    text = only(outs / "filtered_feature_bc_matrix").table("rna")
    assert from_h5.shape == (2898, 19465)
    assert from_h5.X.nnz == 1_069_459
    assert list(from_h5.obs_names) == list(text.obs_names)
    assert abs(from_h5.X - text.X).max() == 0


@pytest.mark.data
@pytest.mark.filterwarnings("ignore:There is only the low:UserWarning")
def test_real_folders_without_counts_name_the_file_and_the_way_out(stomics_data: Path) -> None:
    with pytest.raises(UserError, match=r"151507 lacks filtered_feature_bc_matrix\.h5") as error:
        read_section(stomics_data / "dlpfc_visium" / "151507")
    assert "151507.h5ad" in error.value.hint
    section = only(stomics_data / "magpie_msi_visium" / "visium", counts="none")
    assert len(section.ids) == 2913
    assert section.pitch == pytest.approx(100.0, rel=0.01)


@pytest.mark.data
@pytest.mark.filterwarnings("ignore:There is only the low:UserWarning")
@pytest.mark.filterwarnings("ignore:.*barcodes have no position:UserWarning")
def test_real_hd_bins_without_feature_slice(stomics_data: Path) -> None:
    fixtures = stomics_data / "reader_fixtures"
    section = only(fixtures / "visium_hd_seurat", bin_um=16)
    assert section.diameter == pytest.approx(16.0)
    assert section.record.pixel_size_um == pytest.approx(0.27376, abs=1e-5)
    assert only(fixtures / "visium_hd_seurat").table("rna").X.sum() == 65_660
    small = only(fixtures / "visium_hd_VisiumIO")
    assert small.diameter == pytest.approx(2.0)
    place = dict(zip(small.ids, small.coordinates, strict=True))["s_002um_00305_01021-1"]
    np.testing.assert_allclose(place, np.array([13608.742911, 2385.629488]) * 0.27382429508)
    text = only(fixtures / "visium_hd_VisiumIO/binned_outputs/square_002um")
    assert list(text.ids) == list(small.ids)


def test_a_folder_of_runs_names_them(stomics_data):
    folder = stomics_data / "reader_fixtures" / "visium_sfe"
    with pytest.raises(UserError, match="sample01, sample02") as caught:
        read_section(folder)
    assert "Open one" in caught.value.hint
