"""Landmark files: positions in micrometres, pairs by name, errors with their line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.core.transforms import Affine
from napari_stomics.data.landmark_files import (
    WRITABLE,
    merge_landmarks,
    read_landmarks,
    write_landmarks,
)
from napari_stomics.data.schema import LandmarkRecord

MARKS = [
    LandmarkRecord(name="eye", positions={"a": (1.5, 2.25), "b": (10.0, 20.0)}),
    LandmarkRecord(name="tail, left", positions={"a": (3.1, 4.7), "b": (-5.0, 1e-3)}),
]


def put(folder: Path, text: str, name: str = "marks.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def at(landmarks: list[LandmarkRecord], name: str, section: str) -> tuple[float, float]:
    return next(m for m in landmarks if m.name == name).positions[section]


@pytest.mark.parametrize("format", WRITABLE)
@pytest.mark.parametrize("unit", ["um", "px"])
def test_what_is_written_is_read_back(tmp_path: Path, format: str, unit: str) -> None:
    sections = ("a",) if format == "section" else ("a", "b")
    to_um = {"a": 0.5, "b": Affine(np.array([[0, 2.0, 5], [2.0, 0, 7], [0, 0, 1]]))}
    path = write_landmarks(
        tmp_path / "m.csv", MARKS, sections, format=format, unit=unit, to_um=to_um
    )
    assert path == tmp_path / "m.csv"
    asked = unit if format in ("bigwarp", "magpie") else None
    found = read_landmarks(path, sections, unit=asked, to_um=to_um)
    assert len(found) == 2
    for mark, read in zip(MARKS, found, strict=True):
        if format not in ("magpie", "xenium"):  # these have no names
            assert read.name == mark.name
        assert set(read.positions) == set(sections)
        for section in sections:
            np.testing.assert_allclose(read.positions[section], mark.positions[section], atol=1e-12)


def test_real_sections_of_the_olfactory_bulb(stomics_data: Path) -> None:
    folder = stomics_data / "mob_stahl2016"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    marks = merge_landmarks(
        *(
            read_landmarks(folder / f"{name}_landmarks.csv", [name], to_um={name: 2.76})
            for name in ("Rep11", "Rep12")
        )
    )
    assert len(marks) == 14
    assert all(set(m.positions) == {"Rep11", "Rep12"} for m in marks)
    assert at(marks, "Landmark_0", "Rep11") == pytest.approx((1191.99 * 2.76, 1289.39 * 2.76))


def test_other_real_files(stomics_data: Path) -> None:
    magpie = stomics_data / "magpie_msi_visium" / "landmarks_msi_to_visium_hires.csv"
    lung = stomics_data / "histology_landmarks" / "artificial" / "artificial_moving-affine.csv"
    if not (magpie.is_file() and lung.is_file()):
        pytest.skip(f"needs {magpie} and {lung}")
    marks = read_landmarks(magpie, ("msi", "visium"), unit="um")
    assert len(marks) == 10
    assert marks[0].positions["msi"] == pytest.approx((-43.392404913, 30.714144841))
    marks = read_landmarks(lung, ["lung"], unit="px", to_um={"lung": 2.0})
    assert at(marks, "1", "lung") == (458.0, 198.0)


def test_units_are_never_assumed(tmp_path: Path) -> None:
    pixels = put(tmp_path, "landmark,x_px,y_px\nm,10,20\n")
    with pytest.raises(UserError, match="pixel size is not known"):
        read_landmarks(pixels, ["a"])
    assert at(read_landmarks(pixels, ["a"], to_um={"a": 0.5}), "m", "a") == (5.0, 10.0)
    microns = put(tmp_path, "landmark,x_um,y_um\nm,10,20\n")
    assert at(read_landmarks(microns, ["a"], to_um={"a": 0.5}), "m", "a") == (10.0, 20.0)
    neither = put(tmp_path, "landmark,x,y\nm,10,20\n")
    with pytest.raises(UserError, match="pixels or micrometres"):
        read_landmarks(neither, ["a"])
    with pytest.raises(UserError, match="pixels or micrometres"):
        read_landmarks(put(tmp_path, '"Pt-0","true","1","2","3","4"\n'), ["a", "b"])


def test_bigwarp_in_two_and_three_dimensions(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        '"Pt-0","true","1.0","2.0","30.0","40.0"\n'
        '"Pt-1","false","5.0","6.0","50.0","60.0"\n'
        '"Pt-2","true","7.0","8.0","Infinity","Infinity"\n'
        '"Pt-3","true","-Infinity","-Infinity","9.0","9.5"\n',
    )
    notes: list[str] = []
    marks = read_landmarks(path, ("moving", "fixed"), unit="um", notes=notes)
    assert [m.name for m in marks] == ["Pt-0", "Pt-2", "Pt-3"]
    assert marks[0].positions == {"moving": (1.0, 2.0), "fixed": (30.0, 40.0)}
    assert marks[1].positions == {"moving": (7.0, 8.0)}
    assert marks[2].positions == {"fixed": (9.0, 9.5)}
    assert len(notes) == 3
    assert "Line 2" in notes[0]
    # BigWarp counts from the middle of the first pixel, sections from its corner.
    marks = read_landmarks(
        path, ("moving", "fixed"), unit="px", to_um={"moving": 2.0, "fixed": 1.0}
    )
    assert at(marks, "Pt-0", "moving") == (3.0, 5.0)
    deep = put(tmp_path, '"Pt-0","true","1","2","3","4","5","6"\n')
    marks = read_landmarks(deep, ("moving", "fixed"), unit="um")
    assert marks[0].positions == {"moving": (1.0, 2.0), "fixed": (4.0, 5.0)}


def test_bigwarp_files_of_unpaired_landmarks_are_written_as_bigwarp_does(tmp_path: Path) -> None:
    one = LandmarkRecord(name="x", positions={"a": (1.0, 2.0)})
    path = write_landmarks(tmp_path / "b.csv", [one], ("a", "b"), format="bigwarp")
    assert path.read_text() == '"x","true","1.0","2.0","Infinity","Infinity"\n'


def test_xenium_explorer_keypoints(tmp_path: Path) -> None:
    path = put(tmp_path, "fixedX,fixedY,alignmentX,alignmentY\n100,200,10,20\n300,400,30,40\n")
    marks = read_landmarks(path, ("xenium", "he"), to_um={"xenium": 0.2125, "he": 0.5})
    assert [m.name for m in marks] == ["Pt-1", "Pt-2"]
    assert marks[0].positions["xenium"] == pytest.approx((21.25, 42.5))
    assert marks[1].positions["he"] == (15.0, 20.0)
    with pytest.raises(UserError, match=r"0\.2125"):
        read_landmarks(path, ("xenium", "he"))


def test_qupath_geojson(tmp_path: Path) -> None:
    features = [
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [10, 20]},
         "properties": {"name": "eye"}},
        {"type": "Feature", "geometry": {"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]},
         "properties": {"classification": {"name": "Vessel"}}},
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": []}, "properties": {}},
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [5, 6]}},
    ]  # fmt: skip
    for data in ({"type": "FeatureCollection", "features": features}, features):
        path = put(tmp_path, json.dumps(data), "q.geojson")
        marks = read_landmarks(path, ["s"], to_um={"s": 2.0})
        assert {m.name: m.positions["s"] for m in marks} == {
            "eye": (20.0, 40.0),
            "Vessel_1": (2.0, 4.0),
            "Vessel_2": (6.0, 8.0),
            "1": (10.0, 12.0),
        }
    path = put(tmp_path, json.dumps(features)[:-20], "q.geojson")
    with pytest.raises(UserError, match="line 1: this is not valid JSON"):
        read_landmarks(path, ["s"], to_um={"s": 2.0})


def test_qupath_points_table(tmp_path: Path) -> None:
    path = put(
        tmp_path, "x\ty\tclass\tname\tcolor\n1.5\t2.5\tTumor\teye\t-65536\n3\t4\t\tear\t-1\n"
    )
    marks = read_landmarks(path, ["s"], to_um={"s": 2.0})
    assert {m.name: m.positions["s"] for m in marks} == {"eye": (3.0, 5.0), "ear": (6.0, 8.0)}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("landmark,x_um,y_um\na,1,2\nb,3,oops\n", "line 3: y_um is 'oops'"),
        ("landmark,x_um,y_um\na,1,2\n\nb,nan,3\n", "line 4: x_um is 'nan'"),
        ("landmark,x_um,y_um\na,1\n", "line 2: 2 values under 3 columns"),
        ("landmark,x_um,y_um\na,1,2\na,3,4\n", "line 3: 'a' was placed"),
        ("landmark;x_um;y_um\na;1,5;2\n", "line 2: x_um is '1,5'"),
        ("name,section,x_um,y_um\n,a,1,2\n", "line 2: the landmark or its section has no name"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(UserError) as caught:
        read_landmarks(put(tmp_path, text), ["a"])
    assert where in caught.value.message
    assert caught.value.hint


def test_files_that_are_no_landmarks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_landmarks(tmp_path / "none.csv", ["a"])
    with pytest.raises(UserError, match="not a landmark file"):
        read_landmarks(put(tmp_path, "gene,count\nMalat1,3\n"), ["a"])
    with pytest.raises(UserError, match="not a landmark file"):
        read_landmarks(put(tmp_path, ""), ["a"])
    with pytest.raises(UserError, match="no landmarks in"):
        read_landmarks(put(tmp_path, "landmark,x_um,y_um\n"), ["a"])
    (tmp_path / "image.csv").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(UserError, match="not a text file"):
        read_landmarks(tmp_path / "image.csv", ["a"])
    with pytest.raises(UserError, match="2 sections"):
        read_landmarks(put(tmp_path, "X_left,Y_left,X_right,Y_right\n1,2,3,4\n"), ["a"], unit="um")
    marks = put(tmp_path, "\ufefflandmark,x_um,y_um\r\na,1,2\r\n")
    assert at(read_landmarks(marks, ["s"]), "a", "s") == (1.0, 2.0)


def test_sections_and_missing_partners(tmp_path: Path) -> None:
    path = put(tmp_path, "name,section,x_um,y_um\nm,a,1,2\nm,b,3,4\nm,c,5,6\nn,a,7,8\n")
    assert set(read_landmarks(path, ())[0].positions) == {"a", "b", "c"}
    notes: list[str] = []
    assert set(read_landmarks(path, ("a", "b"), notes=notes)[0].positions) == {"a", "b"}
    assert notes == ["Line 4: section 'c' was not asked for."]
    lonely = [*MARKS, LandmarkRecord(name="alone", positions={"a": (1.0, 1.0)})]
    notes.clear()
    out = write_landmarks(tmp_path / "m.csv", lonely, ("a", "b"), format="magpie", notes=notes)
    assert len(out.read_text().splitlines()) == 3
    assert "alone" in notes[0]


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path = put(tmp_path, "precious")
    with pytest.raises(UserError, match="exists already"):
        write_landmarks(path, MARKS, ("a", "b"))
    assert path.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["marks.csv"]
    write_landmarks(path, MARKS, ("a", "b"), overwrite=True)
    assert len(read_landmarks(path, ())) == 2
    with pytest.raises(UserError, match="not written"):
        write_landmarks(tmp_path / "no" / "such" / "m.csv", MARKS)
    with pytest.raises(UserError, match="no landmarks to write"):
        write_landmarks(tmp_path / "e.csv", [], ("a", "b"))
    assert not (tmp_path / "e.csv").exists()


def test_merging_keeps_every_position() -> None:
    merged = merge_landmarks(
        [LandmarkRecord(name="m", positions={"a": (1, 1), "b": (2, 2)})],
        [LandmarkRecord(name="m", positions={"b": (3, 3)}), MARKS[0]],
    )
    assert merged[0].positions == {"a": (1, 1), "b": (3, 3)}
    assert merged[1] == MARKS[0]
    assert all(math.isfinite(v) for m in merged for xy in m.positions.values() for v in xy)
