"""Files and folders that are replaced whole or not at all, and whose owner can be told.

A folder is built beside its place under a hidden name that tells who builds
it, then exchanged with the old one in one step of the kernel. Where the file
system has no such step a journal makes two renames recoverable.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import sys
import time
import uuid
from pathlib import Path
from typing import Any

METADATA_NAMES = frozenset(
    {"zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata", "_metadata", "_common_metadata"}
)
_NO_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM}
_FOREIGN_LEFTOVER_S = 24 * 3600.0
_MANY_FILES = 500


# ------------------------------------------------------------------ owners


def host_id() -> str:
    """Return eight letters that stand for this machine."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def process_start(pid: int) -> int | None:
    """Return when a process started, in units of the platform; None if it does not run.

    Together with the process id it names one process: ids are given again.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except OSError:
        pass
    else:
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in ("Z", "X") else int(fields[19])
    import psutil

    try:
        return round(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return 0


def is_running(pid: int, started: int) -> bool:
    """Whether the very process that was recorded still runs on this machine."""
    now = process_start(pid)
    return now is not None and abs(now - started) <= (0 if sys.platform == "linux" else 2)


# ------------------------------------------------------------------ files


def write_text(path: Path, text: str, *, overwrite: bool = True) -> None:
    """Write a text file whole or not at all.

    Raises
    ------
    FileExistsError
        If the file exists and ``overwrite`` is False.
    OSError
        If it cannot be written; what was there stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            _claim(temporary, path)
        sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _claim(temporary: Path, path: Path) -> None:
    """Give a file its name unless the name is taken, also by someone at the same moment."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # the file system has no hard links
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        temporary.rename(path)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; does nothing where folders cannot be opened."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_tree(folder: Path) -> None:
    """Make a folder and all in it durable.

    Many files are handed to the kernel in one call where it has one: syncing
    ten thousand chunks one by one takes many times longer.
    """
    folders, files = [], []
    for root, _, names in os.walk(folder):
        folders.append(Path(root))
        files += [Path(root, name) for name in names if os.stat(Path(root, name)).st_nlink == 1]
    if len(files) > _MANY_FILES and _sync_file_system(folder):
        return
    for path in files:
        handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    for path in reversed(folders):
        sync_folder(path)


def _sync_file_system(folder: Path) -> bool:
    if sys.platform != "linux":
        return False
    handle = os.open(folder, os.O_RDONLY)
    try:
        return bool(ctypes.CDLL(None, use_errno=True).syncfs(handle) == 0)
    except AttributeError:
        return False
    finally:
        os.close(handle)


def link_tree(source: Path, destination: Path, *, link: bool) -> None:
    """Copy a folder, sharing the files' contents by hard links where that is possible.

    Metadata files are always copied, because they may be changed in the copy.

    Raises
    ------
    OSError
        If something cannot be read or written, or ``source`` holds a symbolic link.
    """
    destination.mkdir(parents=True)
    for entry in os.scandir(source):
        to = destination / entry.name
        if entry.is_symlink():
            raise OSError(errno.ELOOP, "a symbolic link does not belong into a store", entry.path)
        if entry.is_dir():
            link_tree(Path(entry.path), to, link=link)
            continue
        if link and entry.name not in METADATA_NAMES:
            try:
                os.link(entry.path, to)
                continue
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOENT):
                    raise
                link = False  # no hard links here, or another device: copy from now on
        shutil.copyfile(entry.path, to)


def tree_size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(
        os.stat(Path(root, name)).st_size for root, _, names in os.walk(folder) for name in names
    )


# ------------------------------------------------------------------ folders


def new_sibling(path: Path) -> Path:
    """Make a hidden folder beside ``path`` that names this process as its owner."""
    owner = f"{host_id()}-{os.getpid()}-{process_start(os.getpid()) or 0}"
    folder = path.with_name(f".{path.name}.saving-{owner}-{uuid.uuid4().hex[:8]}")
    folder.mkdir()
    return folder


def remove_tree(folder: Path) -> None:
    """Remove a folder as far as the system allows.

    Threads of a cancelled writer may still be adding files; it is then tried again.
    """
    for _ in range(40):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)


def put_in_place(new: Path, path: Path) -> Path | None:
    """Put the folder ``new`` where ``path`` is, at once.

    Returns
    -------
    Path or None
        Where the old folder is now, for the caller to remove; None if there was none.
    """
    if not path.exists():
        new.rename(path)
        old = None
    elif exchange(new, path):
        old = new
    else:
        old = _journalled_replace(new, path)
    sync_folder(path.parent)
    return old


def exchange(a: Path, b: Path) -> bool:
    """Exchange two folders in one step; False where the system cannot."""
    if sys.platform not in ("linux", "darwin"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    here, swap = -100, 2  # AT_FDCWD; RENAME_EXCHANGE, and RENAME_SWAP on macOS
    try:
        if sys.platform == "linux":
            failed = libc.renameat2(here, os.fsencode(a), here, os.fsencode(b), swap)
        else:
            failed = libc.renamex_np(os.fsencode(a), os.fsencode(b), swap)
    except AttributeError:
        return False
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(b))


def _journalled_replace(new: Path, path: Path) -> Path:
    old = path.with_name(new.name + "-old")
    write_text(_journal(path), json.dumps({"new": new.name, "old": old.name}))
    try:
        path.rename(old)
        new.rename(path)
    except OSError:
        if not path.exists() and old.exists():
            old.rename(path)
        _journal(path).unlink()
        raise
    sync_folder(path.parent)
    _journal(path).unlink()
    return old


def recover(path: Path) -> None:
    """Clean up after saves of ``path`` that were interrupted.

    A two-step replacement that had begun is finished; folders that no running
    process owns any more are removed.
    """
    journal = _journal(path)
    leftovers = [p for p in _siblings(path) if _is_abandoned(p, path)]
    if not path.exists() and journal.exists():
        _roll_forward(journal, path)
    for folder in leftovers:
        if folder.name.endswith("-old") and not path.exists():
            folder.rename(path)
    for folder in leftovers:
        shutil.rmtree(folder, ignore_errors=True)
    if journal.exists() and not _siblings(path):
        with contextlib.suppress(OSError):
            journal.unlink()


def _roll_forward(journal: Path, path: Path) -> None:
    try:
        names: dict[str, Any] = json.loads(journal.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    for key in ("new", "old"):
        candidate = path.with_name(Path(str(names.get(key, ""))).name)
        if candidate in _siblings(path) and _is_abandoned(candidate, path):
            candidate.rename(path)
            return


def _journal(path: Path) -> Path:
    return path.with_name(f".{path.name}.swap.json")


def _siblings(path: Path) -> list[Path]:
    if not path.parent.is_dir():
        return []
    prefix = f".{path.name}.saving-"
    return [
        Path(entry.path)
        for entry in os.scandir(path.parent)
        if entry.name.startswith(prefix) and entry.is_dir(follow_symlinks=False)
    ]


def _is_abandoned(folder: Path, path: Path) -> bool:
    found = re.fullmatch(
        r"([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{8}(?:-old)?",
        folder.name.removeprefix(f".{path.name}.saving-"),
    )
    if found is None:
        return False
    host, pid, started = found[1], int(found[2]), int(found[3])
    if host != host_id():
        with contextlib.suppress(OSError):
            return time.time() - folder.stat().st_mtime > _FOREIGN_LEFTOVER_S
        return False
    return not is_running(pid, started)
