"""What was not saved is offered after a crash, and only then."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.data import atomic
from napari_stomics.data.autosave import Autosave, find_unfinished
from napari_stomics.data.schema import LandmarkRecord

MARKS = [LandmarkRecord(name="eye", positions={"a": (1.5, 2.0), "b": (3.0, 4.0)})]

WRITER = """
import sys
from napari_stomics.data.autosave import Autosave
from napari_stomics.data.schema import LandmarkRecord
from pathlib import Path
store = None if sys.argv[1] == "-" else sys.argv[1]
autosave, count = Autosave(store, Path(sys.argv[2])), 0
while True:
    count += 1
    marks = [LandmarkRecord(name=str(i), positions={"a": (count, i)}) for i in range(200)]
    path = autosave.write(marks, {"count": count})
    if count == 1:
        print(path, flush=True)
"""


def start(store: Path | str, folder: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(store), str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def crashed(path: Path) -> None:
    """Make a file look as if its window were gone."""
    content = json.loads(path.read_text())
    content["started"] -= 1000
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("saved", [True, False], ids=["beside the store", "never saved"])
def test_after_kill_9_the_last_state_is_offered_whole(tmp_path: Path, saved: bool) -> None:
    store = tmp_path / "s.zarr" if saved else None
    state = tmp_path / "state"
    for _ in range(3):
        process, path = start(store or "-", state)
        try:
            assert find_unfinished(store, folder=state) == []  # it is still at work
            time.sleep(0.15)
        finally:
            kill(process)
        notes: list[str] = []
        (found,) = find_unfinished(store, folder=state, notes=notes)
        assert notes == []
        assert found.path == path
        assert path.parent == (tmp_path if saved else state)
        assert found.store == (store.resolve() if store else None)
        count = found.session["count"]
        assert count >= 1
        assert [m.positions["a"] for m in found.landmarks] == [(count, i) for i in range(200)]
        found.discard()
        assert find_unfinished(store, folder=state) == []
        assert [p for p in path.parent.iterdir() if p.is_file()] == []


def test_two_windows_do_not_offer_or_overwrite_each_other(tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    process, theirs = start(store, tmp_path)
    try:
        mine = Autosave(store, tmp_path)
        path = mine.write(MARKS, {"who": "me"})
        assert theirs == tmp_path / "s.zarr.autosave.json"
        assert path == tmp_path / "s.zarr.autosave-2.json"
        assert find_unfinished(store, folder=tmp_path) == []
    finally:
        kill(process)
    assert [u.path for u in find_unfinished(store, folder=tmp_path)] == [theirs]
    third = Autosave(store, tmp_path)  # what nobody has looked at is not overwritten
    assert third.write(MARKS) == tmp_path / "s.zarr.autosave-3.json"
    mine.discard()
    third.discard()
    assert theirs.exists()


def test_a_process_number_given_again_is_not_taken_for_the_owner(tmp_path: Path) -> None:
    autosave = Autosave(tmp_path / "s.zarr", tmp_path)
    path = autosave.write(MARKS, {"dock": "open"})
    assert find_unfinished(tmp_path / "s.zarr", folder=tmp_path) == []
    crashed(path)
    (found,) = find_unfinished(tmp_path / "s.zarr", folder=tmp_path)
    assert found.landmarks == MARKS
    assert found.session == {"dock": "open"}


def test_another_machine_is_believed_while_its_heart_beats(tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    autosave = Autosave(store, tmp_path)
    path = autosave.write(MARKS)
    content = json.loads(path.read_text())
    content["host"] = "elsewhere"
    assert content["host"] != atomic.host_id() != socket.gethostname()
    path.write_text(json.dumps(content))
    assert find_unfinished(store, folder=tmp_path) == []
    os.utime(path, (time.time() - 3600,) * 2)
    assert len(find_unfinished(store, folder=tmp_path)) == 1
    autosave.beat()
    assert find_unfinished(store, folder=tmp_path) == []


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"format": "other"}', "\x00\xff", '{"format": "napari-stomics autosave"}'],
)
def test_a_corrupt_file_is_kept_aside_and_reported(tmp_path: Path, content: str) -> None:
    store = tmp_path / "s.zarr"
    path = tmp_path / "s.zarr.autosave.json"
    for count in (1, 2):
        path.write_text(content, encoding="latin-1")
        notes: list[str] = []
        assert find_unfinished(store, folder=tmp_path, notes=notes) == []
        assert len(notes) == 1
        assert not path.exists()
        kept = sorted(tmp_path.glob("*.corrupt*"))
        assert len(kept) == count
        assert str(kept[-1]) in notes[0]
        assert kept[-1].read_text(encoding="latin-1") == content
    assert find_unfinished(store, folder=tmp_path, notes=(notes := [])) == []
    assert notes == []


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = Autosave(tmp_path / "s.zarr", tmp_path).write(MARKS)
    content = json.loads(path.read_text())
    content["version"] = 99
    path.write_text(json.dumps(content))
    crashed(path)
    notes: list[str] = []
    assert find_unfinished(tmp_path / "s.zarr", folder=tmp_path, notes=notes) == []
    assert "newer version" in notes[0]
    assert path.exists()


def test_saving_discards_and_a_first_save_moves(tmp_path: Path) -> None:
    state = tmp_path / "state"
    autosave = Autosave(None, state)
    first = autosave.write(MARKS)
    assert first == state / "unsaved.autosave.json"
    autosave.move_to(tmp_path / "s.zarr")
    assert not first.exists()
    second = autosave.write(MARKS)
    assert second == tmp_path / "s.zarr.autosave.json"
    assert autosave.write([]) == second
    assert json.loads(second.read_text())["landmarks"] == []
    autosave.discard()
    assert not second.exists()
    autosave.discard()
    autosave.beat()


def test_other_stores_are_not_mixed_up(tmp_path: Path) -> None:
    for name in ("s.zarr", "s.zarr.autosave", "s[1].zarr"):
        crashed(Autosave(tmp_path / name, tmp_path).write(MARKS, {"store": name}))
    for name in ("s.zarr", "s[1].zarr"):
        found = find_unfinished(tmp_path / name, folder=tmp_path)
        assert [u.session["store"] for u in found] == [name]


def test_where_the_store_lies_in_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    if not Path("/proc").is_dir():
        pytest.skip("needs /proc")
    store, state = Path("/proc/s.zarr"), tmp_path / "state"
    path = Autosave(store, state).write(MARKS)
    assert path.parent == state
    crashed(path)
    assert len(find_unfinished(store, folder=state)) == 1
    with pytest.raises(UserError, match="could not be written"):
        Autosave(store, Path("/proc/state")).write(MARKS)
