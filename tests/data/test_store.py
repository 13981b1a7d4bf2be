"""Saving and opening: whole or not at all, and nothing is lost on the way."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.data import atomic
from napari_stomics.data import store as store_module
from napari_stomics.data.store import read_store, save_store
from napari_stomics.data.study import Study, open_study

sys.path.insert(0, str(Path(__file__).parent))
import tiny


@pytest.fixture
def saved(tmp_path: Path) -> Study:
    save_store(tiny.study(), tmp_path / "s.zarr")
    return open_study(tmp_path / "s.zarr")


def plain(path: Path) -> object:
    """What someone without this package reads."""
    import spatialdata

    return spatialdata.read_zarr(path)


def chunk_inodes(path: Path) -> dict[str, int]:
    return {
        str(p.relative_to(path)): p.stat().st_ino
        for p in sorted(path.rglob("*"))
        if p.is_file() and p.name not in atomic.METADATA_NAMES
    }


def hidden(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]


# ---------------------------------------------------------------- round trip


def test_a_new_study_is_on_disk_whole_and_the_message_says_where(tmp_path: Path) -> None:
    study = tiny.study()
    image = np.asarray(study.section("one").image().levels[0])
    report = save_store(study, tmp_path / "s.zarr")
    assert str((tmp_path / "s.zarr").resolve()) in report.message
    assert report.path == tmp_path / "s.zarr" == study.path == study.sdata.path
    assert report.bytes == report.bytes_written == atomic.tree_size(report.path) > 0
    assert hidden(tmp_path) == []
    assert plain(report.path).has_consolidated_metadata()
    again = open_study(report.path)
    assert again.record == study.record
    np.testing.assert_array_equal(np.asarray(again.section("one").image().levels[0]), image)
    np.testing.assert_array_equal(again.section("one").ids, study.section("one").ids)
    np.testing.assert_array_equal(
        again.section("one").table("rna").X.toarray(), study.section("one").table("rna").X.toarray()
    )
    points = again.sdata.points["one_molecules"].compute()
    assert points["gene"].astype(str).tolist() == ["a", "b", "a"]


def test_unchanged_pixels_are_not_written_again(tmp_path: Path) -> None:
    study = tiny.study(size=2500)
    save_store(study, tmp_path / "s.zarr")
    first = chunk_inodes(tmp_path / "s.zarr")
    study.section("one").table("rna").obs["new"] = 1.0
    report = save_store(study)
    second = chunk_inodes(tmp_path / "s.zarr")
    pixels = [k for k in first if k.startswith(("images/", "labels/", "points/", "shapes/"))]
    assert len([k for k in pixels if k.startswith("images/")]) >= 9
    assert {k: first[k] for k in pixels} == {k: second[k] for k in pixels}
    assert report.written == ("one_rna",)
    assert report.bytes_written < report.bytes / 10
    assert "new" in plain(tmp_path / "s.zarr").tables["one_rna"].obs
    assert all(p.stat().st_nlink == 1 for p in (tmp_path / "s.zarr").rglob("*") if p.is_file())


def test_a_lazy_gigabyte_is_kept_also_after_opening_it_again(tmp_path: Path) -> None:
    import dask.array as da
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import Identity

    study = tiny.study(labels=False, points=False)
    big = da.zeros((1, 32768, 32768), chunks=(1, 8192, 8192), dtype=np.uint8) + np.uint8(3)
    study.sdata["big"] = Image2DModel.parse(
        big, dims=("c", "y", "x"), chunks=(1, 8192, 8192), transformations={"one": Identity()}
    )
    assert study.sdata["big"].nbytes == 2**30
    save_store(study, tmp_path / "s.zarr")
    study = open_study(tmp_path / "s.zarr")
    first = chunk_inodes(tmp_path / "s.zarr")
    study.sdata.attrs["mine"] = 1
    report = save_store(study)
    second = chunk_inodes(tmp_path / "s.zarr")
    kept = [k for k in first if k.startswith("images/big/")]
    assert len(kept) == 16
    assert {k: first[k] for k in kept} == {k: second[k] for k in kept}
    assert "big" in report.kept
    assert int(study.sdata["big"][0, 5, 5].compute()) == 3


def test_each_kind_of_change_is_really_on_disk(saved: Study) -> None:
    from spatialdata.transformations import Scale, get_transformation, set_transformation

    path = saved.path
    assert path is not None
    sdata = saved.sdata
    scale = Scale([3.0, 3.0], axes=("x", "y"))
    for name in ("one_he", "one_cells", "one_molecules", "one_spots"):
        set_transformation(sdata[name], scale, to_coordinate_system="other")
    sdata.tables["one_rna"].obs["domain"] = ["a"] * 12
    sdata.tables["one_rna"].obsm["embedding"] = np.ones((12, 2))
    sdata.attrs["note"] = {"deep": [1, 2]}
    saved.record.credit = "someone"
    save_store(saved)
    there = plain(path)
    for name in ("one_he", "one_cells", "one_molecules", "one_spots"):
        found = get_transformation(there[name], get_all=True)
        assert set(found) == {"one", "other"}, name
        np.testing.assert_allclose(
            found["other"].to_affine_matrix(("x", "y"), ("x", "y")), np.diag([3, 3, 1])
        )
    assert list(there.tables["one_rna"].obs["domain"]) == ["a"] * 12
    assert there.tables["one_rna"].obsm["embedding"].sum() == 24
    assert there.attrs["note"] == {"deep": [1, 2]}
    assert there.attrs["napari_stomics"]["credit"] == "someone"


def test_shapes_and_tables_changed_in_place_are_written(saved: Study) -> None:
    save_store(saved)  # now the fingerprints of shapes and tables are known
    assert saved.path is not None
    saved.sdata.shapes["one_spots"].loc["spot0", "radius"] = 9.0
    saved.sdata.tables["one_rna"].X[0, 0] = 77.0
    report = save_store(saved)
    assert set(report.written) == {"one_spots", "one_rna"}
    there = plain(saved.path)
    assert there.shapes["one_spots"].loc["spot0", "radius"] == 9.0
    assert there.tables["one_rna"].X[0, 0] == 77.0
    saved.sdata.shapes["one_spots"]["quality"] = range(12)
    saved.sdata.tables["one_rna"].uns["colours"] = np.array(["#ff0000", "#00ff00"])
    save_store(saved)
    there = plain(saved.path)
    assert list(there.shapes["one_spots"]["quality"]) == list(range(12))
    assert list(there.tables["one_rna"].uns["colours"]) == ["#ff0000", "#00ff00"]


def test_new_deleted_and_renamed_elements(saved: Study) -> None:
    assert saved.path is not None
    saved.sdata["again"] = saved.sdata["one_cells"].copy()
    saved.sdata["pixels"] = saved.sdata["one_he"]
    del saved.sdata["one_cells"], saved.sdata["one_molecules"]
    report = save_store(saved)
    there = plain(saved.path)
    assert set(there.labels) == {"again"}
    assert set(there.images) == {"one_he", "pixels"}
    assert list(there.points) == []
    assert not (saved.path / "labels" / "one_cells").exists()
    assert json.loads((saved.path / "labels" / "zarr.json").read_text())["attributes"]["ome"] == {
        "labels": ["again"]
    }
    assert {"again", "pixels"} <= set(report.written)
    np.testing.assert_array_equal(there["pixels"].data.compute(), there["one_he"].data.compute())


def test_channel_names_and_replaced_pixels(saved: Study) -> None:
    from spatialdata.models import get_channel_names

    assert saved.path is not None
    before = saved.sdata["one_he"].data.compute()
    saved.sdata.set_channel_names("one_he", ["a", "b", "c"])
    save_store(saved)
    assert get_channel_names(plain(saved.path)["one_he"]) == ["a", "b", "c"]
    saved.sdata["one_he"] = saved.sdata["one_he"].copy(data=255 - saved.sdata["one_he"].data)
    save_store(saved)
    np.testing.assert_array_equal(plain(saved.path)["one_he"].data.compute(), 255 - before)
    # The element was computed from its own old pixels: it must not be inverted twice.
    np.testing.assert_array_equal(saved.sdata["one_he"].data.compute(), 255 - before)
    save_store(saved)
    np.testing.assert_array_equal(plain(saved.path)["one_he"].data.compute(), 255 - before)


def test_pixels_painted_in_place_are_saved(saved: Study) -> None:
    assert saved.path is not None
    saved.sdata["one_cells"].data[0:2, 0:2] = 99
    save_store(saved)
    assert (plain(saved.path)["one_cells"].data[0:2, 0:2].compute() == 99).all()


def test_lazy_arrays_taken_before_a_save_still_read(saved: Study) -> None:
    image = saved.section("one").image().levels[0]
    points = saved.sdata.points["one_molecules"]
    expected = np.asarray(image)
    saved.sdata.attrs["note"] = 1
    save_store(saved)
    np.testing.assert_array_equal(np.asarray(image), expected)
    assert len(points.compute()) == 3


def test_save_as_is_a_copy_of_its_own(saved: Study, tmp_path: Path) -> None:
    old = saved.path
    assert old is not None
    report = save_store(saved, tmp_path / "t.zarr")
    assert report.bytes == report.bytes_written
    assert saved.path == tmp_path / "t.zarr"
    shutil.rmtree(old)
    assert saved.sdata["one_he"].data.compute().shape == (3, 64, 64)
    saved.sdata.attrs["x"] = 1
    assert "one_he" in save_store(saved).kept
    assert len(saved.sdata.points["one_molecules"].compute()) == 3


def test_save_as_on_another_device(saved: Study) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == saved.path.stat().st_dev:  # type: ignore[union-attr]
        pytest.skip("needs a second file system at /dev/shm")
    target = other / f"stomics-{os.getpid()}.zarr"
    try:
        save_store(saved, target)
        assert plain(target)["one_he"].shape == (3, 64, 64)
    finally:
        shutil.rmtree(target, ignore_errors=True)
    assert [p for p in other.iterdir() if f"stomics-{os.getpid()}" in p.name] == []


def test_an_old_store_is_written_in_the_current_format(tmp_path: Path) -> None:
    from spatialdata._io.format import SpatialDataContainerFormatV01

    study = tiny.study()
    study.sdata.write(tmp_path / "v1.zarr", sdata_formats=SpatialDataContainerFormatV01())
    assert (tmp_path / "v1.zarr" / ".zgroup").exists()
    opened = open_study(tmp_path / "v1.zarr")
    expected = opened.sdata["one_he"].data.compute()
    save_store(opened)
    assert (tmp_path / "v1.zarr" / "zarr.json").exists()
    np.testing.assert_array_equal(plain(tmp_path / "v1.zarr")["one_he"].data.compute(), expected)


def test_files_that_someone_put_beside_the_elements_are_kept(saved: Study) -> None:
    assert saved.path is not None
    (saved.path / "notes.txt").write_text("do not lose me")
    (saved.path / "mine").mkdir()
    (saved.path / "mine" / "a.bin").write_bytes(b"123")
    saved.sdata.attrs["x"] = 1
    save_store(saved)
    assert (saved.path / "notes.txt").read_text() == "do not lose me"
    assert (saved.path / "mine" / "a.bin").read_bytes() == b"123"


# ---------------------------------------------------------------- refusals


def test_a_store_that_is_not_ours_is_not_overwritten(saved: Study, tmp_path: Path) -> None:
    other = tiny.study("two")
    with pytest.raises(UserError, match="another store"):
        save_store(other, saved.path)
    assert list(plain(saved.path).images) == ["one_he"]  # type: ignore[arg-type]
    save_store(other, saved.path, overwrite=True)
    assert list(plain(saved.path).images) == ["two_he"]  # type: ignore[arg-type]
    with pytest.raises(UserError, match="not been saved yet"):
        save_store(tiny.study())


@pytest.mark.parametrize("what", ["folder", "empty", "file"])
def test_what_is_no_store_is_never_replaced(tmp_path: Path, what: str) -> None:
    target = tmp_path / "precious"
    if what == "file":
        target.write_text("precious")
    else:
        target.mkdir()
    if what == "folder":
        (target / "thesis.txt").write_text("precious")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="not a zarr store"):
        save_store(tiny.study(), target, overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(UserError, match="does not exist"):
        save_store(tiny.study(), tmp_path / "no" / "such.zarr")


def test_a_store_changed_by_someone_else_is_not_overwritten(saved: Study) -> None:
    assert saved.path is not None
    other = open_study(saved.path)
    other.sdata.attrs["theirs"] = 1
    del other.sdata["one_cells"]
    save_store(other)
    saved.sdata.attrs["mine"] = 1
    with pytest.raises(UserError, match="changed by another"):
        save_store(saved)
    assert plain(saved.path).attrs["theirs"] == 1
    with pytest.raises(UserError, match="inside the zarr store"):
        save_store(saved, saved.path / "images" / "x.zarr")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
def test_the_old_store_stays_when_the_disk_refuses(
    saved: Study, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    assert saved.path is not None
    before = chunk_inodes(saved.path)
    saved.sdata.tables["one_rna"].obs["new"] = 1
    calls = 0

    def refuse(*_: object) -> None:
        nonlocal calls
        calls += 1
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic, "sync_tree", refuse)
    with pytest.raises(UserError, match="not saved") as caught:
        save_store(saved)
    assert calls == 1
    assert str(saved.path) in caught.value.message
    assert "as it was" in caught.value.message
    assert chunk_inodes(saved.path) == before
    assert hidden(saved.path.parent) == []
    monkeypatch.undo()
    save_store(saved)
    assert "new" in plain(saved.path).tables["one_rna"].obs


def test_a_write_that_really_fails_half_way(tmp_path: Path) -> None:
    """A limit of the kernel on the size of files stops the writer in the middle of an image."""
    save_store(tiny.study(), tmp_path / "s.zarr")
    code = """
import resource, signal, sys
sys.path.insert(0, sys.argv[2])
import numpy as np, tiny
from napari_stomics.core.errors import UserError
from napari_stomics.data.store import save_store
from napari_stomics.data.study import open_study
study = open_study(sys.argv[1])
study.add(tiny.study("two", size=700).sdata)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    save_store(study)
except UserError as error:
    print("REFUSED", error)
"""
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s.zarr"), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert "REFUSED The study was not saved" in out.stdout, out.stderr[-2000:]
    assert list(plain(tmp_path / "s.zarr").images) == ["one_he"]
    assert hidden(tmp_path) == []


def test_an_unwritable_folder(saved: Study) -> None:
    target = Path("/proc/study.zarr")
    if not target.parent.is_dir():
        pytest.skip("needs /proc")
    with pytest.raises(UserError, match=r"not saved to /proc/study\.zarr"):
        save_store(saved, target)
    assert saved.path != target


def test_an_element_that_cannot_be_written_is_named(saved: Study) -> None:
    assert saved.path is not None
    before = chunk_inodes(saved.path)
    saved.sdata.tables["one_rna"].uns["handle"] = object()
    with pytest.raises(UserError, match="one_rna"):
        save_store(saved)
    assert chunk_inodes(saved.path) == before
    del saved.sdata.tables["one_rna"].uns["handle"]
    saved.sdata.attrs["handle"] = object()
    with pytest.raises(UserError, match="attributes"):
        save_store(saved)
    assert chunk_inodes(saved.path) == before
    assert hidden(saved.path.parent) == []


def test_cancelling_leaves_everything_as_it_was(tmp_path: Path) -> None:
    study = tiny.study(size=2500)
    save_store(study, tmp_path / "s.zarr")
    study.sdata["one_he"] = study.sdata["one_he"].map_over_datasets(lambda d: d + 1)
    seen: list[str] = []
    ctx = JobContext(
        on_progress=lambda _, message: seen.append(message),
        is_cancelled=lambda: seen.count("Writing one_he") > 5,
    )
    with pytest.raises(JobCancelled):
        save_store(study, ctx=ctx)
    assert hidden(tmp_path) == []
    assert plain(tmp_path / "s.zarr")["one_he"] is not None
    save_store(study)


# ---------------------------------------------------------------- reading


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    import zarr
    from anndata import AnnData

    with pytest.raises(UserError, match="no store at"):
        read_store(tmp_path / "none.zarr")
    (tmp_path / "file.zarr").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        read_store(tmp_path / "file.zarr")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="not a zarr store"):
        read_store(tmp_path / "folder")
    AnnData(np.ones((2, 2))).write_zarr(tmp_path / "a.zarr")
    with pytest.raises(UserError, match="single anndata object"):
        read_store(tmp_path / "a.zarr")
    zarr.create_group(tmp_path / "g.zarr", attributes={"ome": {"multiscales": []}})
    with pytest.raises(UserError, match="OME-Zarr image"):
        read_store(tmp_path / "g.zarr")
    zarr.create_array(tmp_path / "r.zarr", shape=(3,), dtype="u1")
    with pytest.raises(UserError, match="single zarr array"):
        read_store(tmp_path / "r.zarr")


def test_a_newer_format_is_named(saved: Study) -> None:
    assert saved.path is not None
    root = json.loads((saved.path / "zarr.json").read_text())
    root["attributes"]["spatialdata_attrs"]["version"] = "9.1"
    (saved.path / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(UserError, match=r"format version 9\.1") as caught:
        read_store(saved.path)
    assert "Update" in caught.value.hint


@pytest.mark.parametrize(
    "victim",
    [
        "images/one_he/zarr.json",
        "images/one_he/0/zarr.json",
        "points/one_molecules/points.parquet",
        "shapes/one_spots/shapes.parquet",
        "tables/one_rna/X/zarr.json",
        "zarr.json",
    ],
)
@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_truncated_store_is_called_damaged(saved: Study, victim: str, how: str) -> None:
    assert saved.path is not None
    path = saved.path / victim
    if not path.exists():
        candidates = sorted(path.parent.parent.rglob(path.name))
        assert candidates, path
        path = candidates[-1]
    if path.is_dir():
        path = sorted(path.glob("*.parquet"))[0]
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError) as caught:
        read_store(saved.path)
    expected = "not a zarr store" if (victim, how) == ("zarr.json", "gone") else "damaged"
    assert expected in caught.value.message
    if victim != "zarr.json":
        assert victim.split("/")[1] in caught.value.message


def test_pickles_are_never_opened(saved: Study, tmp_path: Path) -> None:
    import pickle

    assert saved.path is not None
    proof = tmp_path / "executed"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.system, (f"touch {proof}",))

    array = saved.path / "tables" / "one_rna" / "uns" / "evil"
    array.mkdir(parents=True)
    meta = {
        "zarr_format": 2,
        "shape": [1],
        "chunks": [1],
        "dtype": "|O",
        "compressor": None,
        "fill_value": None,
        "filters": [{"id": "pickle", "protocol": 5}],
        "order": "C",
    }
    (array / ".zarray").write_text(json.dumps(meta))
    (array / "0").write_bytes(pickle.dumps(np.array([Bomb()], dtype=object)))
    with pytest.raises(UserError, match="'pickle', which may run code"):
        read_store(saved.path)
    assert not proof.exists()


# ---------------------------------------------------------------- interrupted saves


def dead_owner() -> str:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = atomic.process_start(process.pid)
    process.communicate(b"\n")
    return f"{atomic.host_id()}-{process.pid}-{started}-00000000"


def test_leftovers_of_dead_processes_are_removed_and_those_of_living_ones_kept(
    saved: Study,
) -> None:
    assert saved.path is not None
    dead = saved.path.with_name(f".s.zarr.saving-{dead_owner()}")
    dead.mkdir()
    (dead / "zarr.json").write_text("{")
    living = atomic.new_sibling(saved.path)
    stranger = saved.path.with_name(".s.zarr.saving-notes")
    stranger.mkdir()
    read_store(saved.path)
    assert not dead.exists()
    assert living.exists()
    assert stranger.exists()


@pytest.mark.parametrize("stage", ["before", "between", "after"])
def test_the_two_step_replacement_is_finished_on_the_next_opening(saved: Study, stage: str) -> None:
    """Where folders cannot be exchanged: killed before, between and after the two renames."""
    path = saved.path
    assert path is not None
    new = path.with_name(f".s.zarr.saving-{dead_owner()}")
    old = path.with_name(new.name + "-old")
    shutil.copytree(path, new)
    root = json.loads((new / "zarr.json").read_text())
    root["attributes"]["generation"] = "new"
    (new / "zarr.json").write_text(json.dumps(root))
    path.with_name(".s.zarr.swap.json").write_text(json.dumps({"new": new.name, "old": old.name}))
    if stage != "before":
        path.rename(old)
    if stage == "after":
        new.rename(path)
    found = read_store(path)
    assert found.attrs.get("generation") == (None if stage == "before" else "new")
    assert hidden(path.parent) == []


def test_saving_works_where_folders_cannot_be_exchanged(
    saved: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert saved.path is not None
    monkeypatch.setattr(atomic, "exchange", lambda a, b: False)
    saved.sdata.attrs["x"] = 5
    save_store(saved)
    assert plain(saved.path).attrs["x"] == 5
    assert hidden(saved.path.parent) == []
    rename, calls = Path.rename, []

    def fail_second(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(errno.EIO, "no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_second)
    saved.sdata.attrs["x"] = 6
    with pytest.raises(UserError, match="not saved"):
        save_store(saved)
    monkeypatch.undo()
    assert plain(saved.path).attrs["x"] == 5
    assert hidden(saved.path.parent) == []


class Saver:
    """The process of ``_saver.py`` and what the store must hold after each kill."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("_saver.py")), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def start(self, order: str) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return int(self._line())

    def count(self) -> tuple[int, int]:
        """Calls of one save that change the disk, and the position of the exchange."""
        self.start("count")
        calls, exchange = map(int, self._line().split())
        return calls, exchange

    def check(self) -> int:
        """Read the store as anyone would and return its generation."""
        there = plain(self.path)
        from spatialdata.transformations import get_transformation

        generation = int(there.attrs["generation"])
        assert set(there.tables["one_rna"].obs["generation"]) == {generation}
        shift = get_transformation(there["one_he"], "generation")
        assert shift.to_affine_matrix(("x",), ("x",))[0, 1] == generation
        assert int(there["one_he"].data.sum().compute()) == self.total
        assert len(there["one_spots"]) == 12
        return generation


@pytest.fixture
def saver(tmp_path: Path) -> object:
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    sys.path.insert(0, str(Path(__file__).parent))
    import _saver

    memory = Path("/dev/shm")  # kill -9 is the same there, and a save takes a tenth of the time
    if os.access(memory, os.W_OK):
        tmp_path = memory / f"stomics-kill-{os.getpid()}"
        tmp_path.mkdir()
    study = tiny.study(labels=False, points=False)
    study.sdata.attrs["generation"] = 0
    _saver.advance(study)
    save_store(study, tmp_path / "s.zarr")
    made = Saver(tmp_path / "s.zarr")
    made.total = int(study.sdata["one_he"].data.sum().compute())  # type: ignore[attr-defined]
    yield made
    made.process.kill()
    made.process.wait()
    shutil.rmtree(tmp_path)


def wait_for(condition: object, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "the saving process did nothing"
        time.sleep(0.002)


@pytest.mark.slow
def test_killed_at_random_instants_the_store_is_the_old_or_the_new_one(saver: Saver) -> None:
    rng = random.Random(0)
    generation, seen = saver.check(), set()
    for _ in range(40):
        inode = saver.path.stat().st_ino
        pid = saver.start("random")
        wait_for(lambda inode=inode: saver.path.stat().st_ino != inode)  # the first save is through
        time.sleep(rng.uniform(0.0, 0.6))
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: atomic.process_start(pid) is None)
        now = saver.check()
        assert now > generation
        seen.add(now - generation)
        generation = now
    assert len(seen) > 1, "every child was killed after the same number of saves"
    read_store(saver.path)
    assert hidden(saver.path.parent) == []


@pytest.mark.slow
def test_killed_before_each_change_of_the_disk(saver: Saver) -> None:
    """Every system call that changes the disk, one after the other, through one whole save."""
    calls, exchange = saver.count()
    generation = saver.check()
    steps = {*range(0, calls, max(1, calls // 25)), *range(exchange - 2, exchange + 4), calls - 1}
    assert {exchange, exchange + 1} <= steps
    for step in sorted(steps):
        pid = saver.start(f"step {step}")
        wait_for(lambda pid=pid: atomic.process_start(pid) is None)
        now = saver.check()
        assert now == generation + (step > exchange), (step, exchange)
        generation = now
    read_store(saver.path)
    assert hidden(saver.path.parent) == []


def test_one_process_of_two_with_a_number_given_again_is_told_apart() -> None:
    started = atomic.process_start(os.getpid())
    assert started is not None
    assert atomic.is_running(os.getpid(), started)
    assert not atomic.is_running(os.getpid(), started - 5)
    assert store_module._readable(1234567) == "1.2 MB"
