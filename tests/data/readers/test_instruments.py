"""Xenium, MERSCOPE, CosMx, imaging mass cytometry and mass spectrometry imaging."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.data.readers import detect, inspect, read_section
from napari_stomics.data.readers.imc import channel_name
from napari_stomics.data.study import Section, Study
from tests.data.readers import make


def only(path: Path, **options: object) -> Section:
    return next(iter(Study(read_section(path, **options)).sections.values()))


@pytest.mark.parametrize("version", ["xenium-1.0.1", "xenium-2.0.0.6", "xenium-3.1.0.4"])
def test_xenium(tmp_path: Path, version: str) -> None:
    counts = make.xenium(tmp_path / "run", version)
    assert detect(tmp_path / "run") == detect(tmp_path / "run/experiment.xenium") == "xenium"
    section = only(tmp_path / "run", transcripts=True)
    assert section.modalities == ("rna", "protein")
    rna = section.table("rna")
    np.testing.assert_array_equal(rna.X.toarray(), counts[:, :2])
    np.testing.assert_array_equal(rna.obsm["controls"].toarray(), counts[:, 2:4])
    assert list(rna.uns["controls"]) == ["NegControlProbe_1", "BLANK_1"]
    np.testing.assert_allclose(section.table("protein").X.toarray().ravel(), [1, 2, 3, 4])
    np.testing.assert_allclose(section.coordinates[2], (50.0, 40.0))
    circles = section.study.sdata.shapes[section.record.spots]
    np.testing.assert_allclose(circles["radius"], [1.0, 2.0, 3.0, 4.0])
    outlines = section.study.sdata.shapes[section.record.shapes[0]]
    assert list(outlines.index) == list(section.ids)
    assert outlines.geometry.area.to_numpy() == pytest.approx(16.0)
    points = section.study.sdata.points[section.record.points[0]].compute()
    assert list(points["gene"]) == ["GeneA", "GeneB", "GeneA"]
    assert points["x"].tolist() == [11.0, 12.0, 51.0]


def test_xenium_images_lie_on_the_cells(tmp_path: Path) -> None:
    make.xenium(tmp_path / "run")
    section = only(tmp_path / "run")
    he, morphology = (section.image(e) for e in section.record.images)
    assert morphology.channels == ("DAPI", "boundary")
    assert [level.shape for level in morphology.levels] == [(300, 400, 2), (150, 200, 2)]
    assert np.asarray(morphology.levels[0][0, :2]).tolist() == [[0, 1], [1, 2]]
    assert morphology.to_um.matrix[0, 0] == pytest.approx(0.2125)
    np.testing.assert_allclose(
        he.to_um.apply(np.array([[10.0, 5.0]])), [[48 * 0.2125, 32 * 0.2125]]
    )


def test_xenium_needs_only_counts_and_cells(tmp_path: Path) -> None:
    make.xenium(tmp_path / "run", images=False)
    for file in ("cell_boundaries.parquet", "transcripts.parquet", "experiment.xenium"):
        (tmp_path / "run" / file).unlink()
    with pytest.warns(UserWarning, match=r"0\.2125"):
        section = only(tmp_path / "run")
    assert len(section.ids) == 4
    (tmp_path / "run" / "experiment.xenium").write_text("{}")
    (tmp_path / "run" / "cells.parquet").unlink()
    with (
        pytest.raises(UserError, match=r"lacks cells\.parquet"),
        pytest.warns(UserWarning, match="assumed"),
    ):
        read_section(tmp_path / "run")
    assert inspect(tmp_path / "run")["missing"] == ["experiment.xenium", "cells.parquet"]


@pytest.mark.data
def test_merscope_with_outlines_alone(stomics_data: Path) -> None:
    section = only(stomics_data / "reader_fixtures" / "merscope_vizgen", transcripts=True)
    assert len(section.ids) == 94
    assert section.table("rna").X.sum() == 1478
    image = section.image()
    assert image.channels == ("DAPI", "Cellbound2")
    assert image.levels[0].shape == (512, 512, 2)
    assert image.to_um.matrix[0, 0] == pytest.approx(1 / 9.25959, rel=1e-5)
    px = image.to_um.inverse().apply(section.coordinates)
    assert ((px > 0) & (px < 512)).all()
    points = section.study.sdata.points[section.record.points[0]].compute()
    assert len(points) == 5936
    assert points["x"].iloc[0] == pytest.approx(27.855143642974326)


@pytest.mark.data
def test_merscope_with_metadata(stomics_data: Path) -> None:
    folder = stomics_data / "reader_fixtures" / "merscope_vizgen_smallset"
    section = only(folder)
    assert section.table("rna").shape == (997, 130)
    places = dict(zip(section.ids, section.coordinates, strict=True))
    np.testing.assert_allclose(places["2317032900000100002"], (70.38284005, 3.79316186))
    assert (
        section.table("rna").X.sum()
        == pd.read_csv(folder / "cell_by_gene.csv", index_col=0).sum().sum()
    )


def test_merscope_without_places_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "cell_by_gene.csv").write_text("cell,A,Blank-1\n100,1,2\n200,3,0\n")
    with pytest.raises(UserError, match=r"lacks cell_metadata\.csv"):
        read_section(tmp_path)
    (tmp_path / "cell_metadata.csv").write_text("EntityID,center_x,center_y\n200,5,6\n100,1,2\n")
    section = only(tmp_path)
    assert list(section.ids) == ["100", "200"]
    np.testing.assert_allclose(section.coordinates, [(1, 2), (5, 6)])
    assert list(section.table("rna").var_names) == ["A"]
    assert section.table("rna").obsm["controls"].toarray().ravel().tolist() == [2, 0]


def test_cosmx(tmp_path: Path) -> None:
    make.cosmx(tmp_path / "run")
    assert detect(tmp_path / "run") == "cosmx"
    section = only(tmp_path / "run", um_per_px=0.12)
    assert list(section.ids) == ["1_1", "1_2", "2_1"]
    table = section.table("rna")
    assert table.X.toarray().tolist() == [[1, 0], [2, 5], [3, 6]]
    assert table.obsm["controls"].toarray().ravel().tolist() == [1, 0, 0]
    np.testing.assert_allclose(
        section.coordinates, np.array([(100, 200), (300, 100), (1100, 0)]) * 0.12
    )
    outlines = section.study.sdata.shapes[section.record.shapes[0]]
    np.testing.assert_allclose(outlines.geometry.centroid.y, section.coordinates[:, 1])
    assert outlines.geometry.area.to_numpy() == pytest.approx((20 * 0.12) ** 2)
    up = only(tmp_path / "run", um_per_px=0.12, y_up=False)
    np.testing.assert_allclose(up.coordinates[:, 1], np.array([50, 150, 250]) * 0.12)
    assert list(only(tmp_path / "run", um_per_px=0.12, fov=2).ids) == ["2_1"]


def test_cosmx_scale_from_the_fields_of_view(tmp_path: Path) -> None:
    make.cosmx(tmp_path / "run")
    with pytest.warns(UserWarning, match=r"0\.12028"):
        read_section(tmp_path / "run")
    pd.DataFrame(
        {
            "fov": [1, 2],
            "x_global_px": [0.0, 1000.0],
            "y_global_px": [0.0, 0.0],
            "x_global_mm": [1.0, 1.18],
            "y_global_mm": [2.0, 2.0],
        }
    ).to_csv(tmp_path / "run" / "run_fov_positions_file.csv", index=False)
    section = only(tmp_path / "run")
    assert section.coordinates[2, 0] == pytest.approx(1100 * 0.18)
    (tmp_path / "run" / "run_metadata_file.csv").unlink()
    with pytest.raises(UserError, match="metadata_file"):
        read_section(tmp_path / "run")


def test_names_of_imc_channels() -> None:
    assert channel_name("107Ag(Ag107Di)") == "Ag107"
    assert channel_name("Laminin_681((851))Sm147(Sm147Di)") == "Laminin_681"
    assert channel_name("CD3-Er170(Er170Di)") == "CD3"


@pytest.mark.data
def test_imc_text_equals_the_tiff_made_of_it(stomics_data: Path) -> None:
    folder = stomics_data / "reader_fixtures" / "imc_imcRtools_mock"
    file = folder / "raw" / "20210305_NE_mockData2_ROI_001_1.txt"
    section = only(file, name="a")
    image = section.image()
    assert image.levels[0].shape == (87, 103, 5)
    assert image.channels[1] == "Cytoker_651"
    frame = pd.read_csv(file, sep="\t")
    row = frame.iloc[5000]
    got = np.asarray(image.levels[0])[int(row["Y"]), int(row["X"])]
    np.testing.assert_allclose(got, row.iloc[6:].to_numpy(dtype=float), rtol=1e-6)
    assert len(Study(read_section(folder / "raw")).sections) == 3


@pytest.mark.data
def test_steinbock_folder(stomics_data: Path) -> None:
    folder = stomics_data / "reader_fixtures" / "imc_imcRtools_mock" / "steinbock"
    assert len(Study(read_section(folder)).sections) == 15
    section = only(folder, name="s", acquisition="mockData1_001")
    table = section.table("protein")
    assert list(table.var_names) == ["Ag107", "Cytokeratin 5", "Laminin", "YBX1", "H3K27Ac"]
    assert table.X[0, 4] == pytest.approx(0.9383063533089377)
    np.testing.assert_allclose(section.coordinates[0], (34.36363636 + 0.5, 4.5))
    with pytest.raises(UserError, match="acquisitions are named like"):
        read_section(folder, acquisition="nothing")


@pytest.mark.data
def test_imzml_fixtures(stomics_data: Path) -> None:
    folder = stomics_data / "reader_fixtures"
    continuous = only(folder / "imzml_pyimzml" / "Example_Continuous.imzML")
    processed = only(folder / "imzml_pyimzml" / "Example_Processed.imzML")
    assert continuous.table("metabolite").shape == (9, 8399)
    assert abs(continuous.table("metabolite").X - processed.table("metabolite").X).max() == 0
    assert continuous.pitch == pytest.approx(100.0)
    assert continuous.diameter == pytest.approx(100.0)
    np.testing.assert_allclose(continuous.coordinates[0], (50.0, 50.0))
    assert only(folder / "imzml_m2aia" / "test.imzML").pitch == pytest.approx(20.0)


def test_imzml_with_own_axes_is_binned(tmp_path: Path) -> None:
    path = tmp_path / "p.imzML"
    spectra = [
        ([100.0, 500.0], [1.0, 4.0]),
        ([100.001, 500.001, 700.0], [2.0, 5.0, 7.0]),
        ([99.9995], [3.0]),
    ]
    make.imzml(path, spectra, [(1, 1, 1), (2, 1, 1), (2, 2, 1)], "processed")
    table = only(path, tolerance_ppm=30.0).table("metabolite")
    np.testing.assert_allclose(table.X.toarray(), [[1, 4, 0], [2, 5, 7], [3, 0, 0]])
    np.testing.assert_allclose(table.var["mz"], [100.0001, 500.0005, 700.0], atol=2e-4)
    assert table.uns["mz_axis"]["tolerance_ppm"] == 30.0
    narrow = only(path, tolerance_ppm=1.0).table("metabolite")
    assert narrow.X.shape == (3, 6)
    assert narrow.X.sum() == table.X.sum() == 22
    cut = only(path, tolerance_ppm=30.0, mz_range=(400.0, 600.0)).table("metabolite")
    np.testing.assert_allclose(cut.X.toarray().ravel(), [4, 5, 0])


def test_imzml_y_can_be_turned(tmp_path: Path) -> None:
    path = tmp_path / "c.imzML"
    spectra = [([100.0, 200.0], [1.0, 0.0])] * 2
    make.imzml(path, spectra, [(1, 1, 1), (1, 3, 1)], "continuous")
    np.testing.assert_allclose(only(path).coordinates, [(25, 25), (25, 125)])
    np.testing.assert_allclose(only(path, flip_y=True).coordinates, [(25, 125), (25, 25)])


def test_imzml_without_its_spectra(tmp_path: Path) -> None:
    path = tmp_path / "c.imzML"
    make.imzml(path, [([100.0], [1.0])] * 2, [(1, 1, 1), (2, 1, 1)], "continuous")
    ibd = tmp_path / "c.ibd"
    ibd.write_bytes(ibd.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"c\.ibd"):
        read_section(path)
    ibd.unlink()
    assert inspect(path)["missing"] == ["c.ibd"]
    with pytest.raises(UserError, match=r"lacks c\.ibd"):
        read_section(path)


def test_imzml_of_several_planes_asks_for_one(tmp_path: Path) -> None:
    path = tmp_path / "c.imzML"
    make.imzml(path, [([100.0], [1.0]), ([100.0], [2.0])], [(1, 1, 1), (1, 1, 2)], "continuous")
    with pytest.raises(UserError, match="2 planes"):
        read_section(path)
    assert only(path, z=2).table("metabolite").X.sum() == 2


def test_merscope_ids_survive_unnamed_columns_and_gaps(tmp_path: Path) -> None:
    cell = "2317032900000100002"
    (tmp_path / "cell_by_gene.csv").write_text(f",A\n{cell},1\n,7\n")
    (tmp_path / "cell_metadata.csv").write_text(f",center_x,center_y\n{cell},5,6\n,,\n")
    assert list(only(tmp_path).ids) == [cell]
