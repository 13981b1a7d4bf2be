"""Images of every kind: shapes, channels, levels, pixel size, and none read whole at opening."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_stomics.core.errors import UserError
from napari_stomics.data.readers import detect, inspect, read_image, read_section
from napari_stomics.data.study import Study
from tests.data.readers import make


def um(source: Any) -> tuple[float, float]:
    return float(source.to_um.matrix[0, 0]), float(source.to_um.matrix[1, 1])


def ramp(*shape: int, dtype: Any = np.uint16) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)


def test_ome_channels_and_size_in_other_units(tmp_path: Path) -> None:
    path = tmp_path / "codex.ome.tif"
    data = ramp(3, 150, 200)
    metadata = {
        "axes": "CYX",
        "Channel": {"Name": ["DAPI", "CD3", "panCK"]},
        "PhysicalSizeX": 325.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.65,
        "PhysicalSizeYUnit": "µm",
    }
    make.write_pyramid(path, data, metadata, levels=2)
    source = read_image(path)
    assert um(source) == pytest.approx((0.325, 0.65))
    assert list(source.channels) == ["DAPI", "CD3", "panCK"]
    assert [level.shape for level in source.levels] == [(150, 200, 3), (75, 100, 3)]
    np.testing.assert_array_equal(np.asarray(source.levels[0]), np.moveaxis(data, 0, -1))
    assert source.levels[0].dtype == np.uint16


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((90, 120, 3), {"photometric": "rgb"}, (90, 120, 3)),
        ((3, 90, 120), {"photometric": "rgb", "planarconfig": "separate"}, (90, 120, 3)),
        ((90, 120, 4), {"photometric": "rgb", "extrasamples": ["unassalpha"]}, (90, 120, 3)),
        ((90, 120), {}, (90, 120, 1)),
        ((90, 120), {"bigtiff": True, "tile": (32, 32), "compression": "zlib"}, (90, 120, 1)),
        ((5, 90, 120), {"photometric": "minisblack"}, (90, 120, 5)),
    ],
)
def test_plain_tiffs(tmp_path: Path, shape: Any, options: Any, expected: Any) -> None:
    data = ramp(*shape, dtype=np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, metadata=None, **options)
    source = read_image(path, um_per_px=0.5)
    got = np.asarray(source.levels[0])
    assert got.shape == expected
    if data.ndim == 3 and data.shape[0] in (3, 5):
        data = np.moveaxis(data, 0, -1)
    np.testing.assert_array_equal(got, data.reshape(*data.shape[:2], -1)[..., : expected[2]])
    rgb = expected[2] == 3
    assert (tuple(source.channels) == ("r", "g", "b")) == rgb


def test_imagej_size_and_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    metadata = {"axes": "CYX", "unit": "um", "Labels": ["nuclei", "membrane"]}
    tifffile.imwrite(path, ramp(2, 64, 64), imagej=True, resolution=(4.0, 2.0), metadata=metadata)
    source = read_image(path)
    assert um(source) == pytest.approx((0.25, 0.5))
    assert list(source.channels) == ["nuclei", "membrane"]


@pytest.mark.parametrize(
    ("unit", "per_unit", "expected"),
    [
        ("CENTIMETER", 20_000.0, 0.5),
        ("INCH", 50_800.0, 0.5),
        ("INCH", 72.0, None),
        ("INCH", 600.0, None),
        ("CENTIMETER", 1.0, None),
        ("NONE", 20_000.0, None),
    ],
)
def test_resolution_tags_are_believed_only_where_plausible(
    tmp_path: Path, unit: str, per_unit: float, expected: float | None
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, ramp(64, 64), resolution=(per_unit, per_unit), resolutionunit=unit, metadata=None
    )
    assert inspect(path)["um_per_px"] == (None if expected is None else pytest.approx(expected))
    if expected is None:
        assert inspect(path)["needs"] == ["um_per_px"]
        with pytest.raises(UserError, match="pixel size") as error:
            read_section(path)
        assert "um_per_px" in error.value.hint
    assert um(read_image(path, um_per_px=0.7)) == pytest.approx((0.7, 0.7))


def test_pyramids_without_marks_are_recognised(tmp_path: Path) -> None:
    path = tmp_path / "vips.tif"
    full = ramp(512, 768, 3, dtype=np.uint8)
    with tifffile.TiffWriter(path) as writer:
        for step in (1, 2, 4):
            writer.write(full[::step, ::step], photometric="rgb", tile=(128, 128), metadata=None)
        writer.write(ramp(100, 100, 3, dtype=np.uint8), photometric="rgb", metadata=None)
    levels = read_image(path, um_per_px=1.0).levels
    assert [level.shape[:2] for level in levels] == [(512, 768), (256, 384), (128, 192)]


def test_a_stack_takes_its_middle_plane_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "stack.ome.tif"
    data = ramp(5, 2, 40, 50)
    tifffile.imwrite(path, data, metadata={"axes": "ZCYX"})
    with pytest.warns(UserWarning, match="plane 3 of 5 along axis Z"):
        source = read_image(path, um_per_px=1.0)
    np.testing.assert_array_equal(np.asarray(source.levels[0]), np.moveaxis(data[2], 0, -1))


def test_a_large_image_is_not_read_at_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.tif"
    data = np.random.default_rng(0).integers(0, 255, (5000, 6000), dtype=np.uint8)
    tifffile.imwrite(path, data, tile=(256, 256), compression="zlib", metadata=None)
    reads: list[int] = []
    original = tifffile.FileHandle.read

    def counted(self: Any, size: int = -1, *args: Any) -> Any:
        got = original(self, size, *args)
        reads.append(len(got))
        return got

    monkeypatch.setattr(tifffile.FileHandle, "read", counted)
    study = Study(read_section(path, name="s", um_per_px=1.0))
    assert sum(reads) < path.stat().st_size / 20
    image = study.section("s").image()
    assert image.levels[0].shape == (5000, 6000, 1)
    assert max(image.levels[-1].shape) <= 2048
    np.testing.assert_array_equal(np.asarray(image.levels[0][4990:, 5990:, 0]), data[4990:, 5990:])
    factor = 6000 // image.levels[-1].shape[1]
    ny, nx = image.levels[-1].shape[:2]
    blocks = data[: ny * factor, : nx * factor].reshape(ny, factor, nx, factor)
    np.testing.assert_allclose(
        np.asarray(image.levels[-1][..., 0]), blocks.mean(axis=(1, 3)), atol=0.51
    )


def test_png_grey_palette_and_alpha(tmp_path: Path) -> None:
    from PIL import Image

    colour = Image.fromarray(ramp(30, 40, 3, dtype=np.uint8))
    for mode, shape in (("L", 1), ("P", 3), ("RGBA", 3), ("LA", 1), ("I;16", 1), ("CMYK", 3)):
        suffix = "jpg" if mode == "CMYK" else "png"
        path = tmp_path / f"{mode.replace(';', '')}.{suffix}"
        if mode == "I;16":
            Image.fromarray(ramp(30, 40) * 200).save(path)
        else:
            colour.convert("L").convert(mode).save(path) if mode == "LA" else colour.convert(
                mode
            ).save(path)
        source = read_image(path, um_per_px=1.0)
        assert source.levels[0].shape == (30, 40, shape), mode
    sixteen = np.asarray(read_image(tmp_path / "I16.png", um_per_px=1.0).levels[0])
    np.testing.assert_array_equal(sixteen[..., 0], ramp(30, 40) * 200)


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg", ".svs"])
def test_broken_images_are_refused_by_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(b"this is no image at all" * 10)
    with pytest.raises(UserError, match="broken"):
        read_section(path, um_per_px=1.0)
    good = tmp_path / f"short{suffix}"
    if suffix in (".tif", ".svs"):
        tifffile.imwrite(good, ramp(300, 300), tile=(64, 64), metadata=None)
    else:
        make.write_picture(good, 300, 300)
    good.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    with pytest.raises(UserError, match="short"):
        read_section(good, um_per_px=1.0)


def test_channel_names_from_a_list_beside(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, ramp(3, 40, 40), photometric="minisblack", metadata=None)
    assert list(read_image(path, um_per_px=1.0).channels) == ["channel_0", "channel_1", "channel_2"]
    (tmp_path / "channelnames.txt").write_text("DAPI\nCD4\nCD4\n")
    assert list(read_image(path, um_per_px=1.0).channels) == ["DAPI", "CD4", "CD4_2"]
    named = read_image(path, um_per_px=1.0, channels=["a", "b", "c"])
    assert list(named.channels) == ["a", "b", "c"]
    with pytest.raises(UserError, match="2 channel names"):
        read_image(path, um_per_px=1.0, channels=["a", "b"])


def test_a_mask_gives_cells_with_their_mean_intensities(tmp_path: Path) -> None:
    data = np.zeros((2, 20, 20), np.float32)
    mask = np.zeros((20, 20), np.uint16)
    mask[2:6, 2:6], mask[10:12, 10:18] = 7, 9
    data[0, 2:6, 2:6], data[1, 10:12, 10:18] = 4.0, 3.0
    data[1, 10, 10] = 19.0
    tifffile.imwrite(tmp_path / "i.tif", data, photometric="minisblack", metadata=None)
    tifffile.imwrite(tmp_path / "m.tif", mask, metadata=None)
    sdata = read_section(
        tmp_path / "i.tif", name="s", um_per_px=2.0, mask=tmp_path / "m.tif", channels=["A", "B"]
    )
    section = Study(sdata).section("s")
    assert list(section.ids) == ["7", "9"]
    np.testing.assert_allclose(section.coordinates, [(8.0, 8.0), (28.0, 22.0)])
    np.testing.assert_allclose(section.table("protein").X, [[4.0, 0.0], [0.0, 4.0]])
    np.testing.assert_allclose(section.table("protein").obs["area_um2"], [64.0, 64.0])
    assert section.record.labels == ["s_cells"]


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_impossible_pixel_sizes_are_refused(tmp_path: Path, value: float) -> None:
    make.write_picture(tmp_path / "a.png", 10, 10)
    with pytest.raises(UserError, match="not possible"):
        read_section(tmp_path / "a.png", um_per_px=value)


@pytest.mark.data
def test_svs_tells_its_pixel_size(stomics_data: Path) -> None:
    path = stomics_data / "reader_fixtures" / "wsi_svs" / "CMU-1-Small-Region.svs"
    assert detect(path) == "image"
    source = read_image(path)
    assert um(source) == (0.499, 0.499)
    assert source.levels[0].shape == (2967, 2220, 3)
    assert tuple(source.channels) == ("r", "g", "b")
    np.testing.assert_array_equal(
        np.asarray(source.levels[0][1000:1100, 700:800]),
        tifffile.imread(path, key=0)[1000:1100, 700:800],
    )


@pytest.mark.data
def test_real_multichannel_tiffs(stomics_data: Path) -> None:
    folder = stomics_data / "reader_fixtures" / "imc_cytomapper_tiff"
    source = read_image(folder / "E34_imc.tiff", um_per_px=1.0)
    assert source.levels[0].shape == (100, 100, 5)
    section = Study(
        read_section(
            folder / "E34_imc.tiff", name="s", um_per_px=1.0, mask=folder / "E34_mask.tiff"
        )
    ).section("s")
    mask = tifffile.imread(folder / "E34_mask.tiff")
    assert len(section.ids) == len(np.unique(mask)) - 1
    first = tifffile.imread(folder / "E34_imc.tiff")[2][mask == int(section.ids[0])].mean()
    assert section.table("protein").X[0, 2] == pytest.approx(first, rel=1e-5)


def test_qptiff_names_its_markers_and_size(tmp_path: Path) -> None:
    path = tmp_path / "codex.qptiff"
    data = ramp(3, 600, 700, dtype=np.uint8)
    with tifffile.TiffWriter(path) as writer:
        for step in (1, 2):
            for plane, marker in zip(data, ("DAPI", "CD8", "Ki67"), strict=True):
                text = (
                    "<PerkinElmer-QPI-ImageDescription><ImageType>FullResolution</ImageType>"
                    f"<Biomarker>{marker}</Biomarker><PixelSizeMicrons>0.5077</PixelSizeMicrons>"
                    "</PerkinElmer-QPI-ImageDescription>"
                )
                writer.write(
                    plane[::step, ::step],
                    description=text,
                    software="PerkinElmer-QPI",
                    tile=(128, 128),
                    metadata=None,
                )
            if step == 1:  # a thumbnail stands between the full planes and the reduced ones
                small = ramp(60, 70, 3, dtype=np.uint8)
                writer.write(small, photometric="rgb", software="x", metadata=None)
    source = read_image(path)
    assert list(source.channels) == ["DAPI", "CD8", "Ki67"]
    assert um(source) == pytest.approx((0.5077, 0.5077))
    assert [level.shape for level in source.levels] == [(600, 700, 3), (300, 350, 3)]
