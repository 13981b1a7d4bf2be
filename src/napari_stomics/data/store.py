"""Read and save a study's store; a save is whole or has not happened.

The new store is built in a hidden folder beside the old one. Files of elements
that have not changed are shared by hard links, so that a gigabyte of pixels is
not written again; the rest is written by SpatialData. Only when all of it is
durable are the two folders exchanged, in one step of the kernel.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari_stomics.core.errors import JobCancelled, StomicsError, UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.data import atomic
from napari_stomics.data.fingerprint import content_fingerprint, lazy_fingerprint
from napari_stomics.data.store_check import (
    CURRENT_VERSION,
    KINDS,
    check_store,
    is_store,
    is_zarr,
    quiet,
    read_quietly,
)
from napari_stomics.data.warp import apply_registrations

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from napari_stomics.data.study import Study

_LAZY_KINDS = ("images", "labels", "points")
_SAVING = threading.Lock()


@dataclass
class _Origin:
    """Where an object came from, and how its elements looked then."""

    path: Path
    stamp: tuple[int, int, int]
    version: str
    elements: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """Kind and fingerprint by element name; None: must be written."""


_ORIGINS: WeakKeyDictionary[SpatialData, _Origin] = WeakKeyDictionary()


@dataclass(frozen=True)
class SaveReport:
    """What a save did.

    Attributes
    ----------
    path
        Absolute path of the store.
    bytes
        Size of the store.
    bytes_written
        How much of that was written; the rest was on disk already.
    seconds
        How long it took.
    written, kept
        Elements that were written, and those whose files were kept.
    """

    path: Path
    bytes: int
    bytes_written: int
    seconds: float
    written: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """One line for the user: where it is and what was written."""
        return (
            f"Saved to {self.path} ({_readable(self.bytes_written)} written, "
            f"{_readable(self.bytes)} in all, {self.seconds:.1f} s)."
        )


def read_store(path: str | Path) -> SpatialData:
    """Read a SpatialData zarr store lazily.

    What an interrupted save has left behind is tidied away first. Nothing in
    the store is executed: stores that ask for pickles or unknown codecs are refused.

    Raises
    ------
    UserError
        If there is no store, it is damaged, newer than this software, written
        by another tool, or not safe to open.
    """
    path = Path(path).expanduser().resolve()
    with contextlib.suppress(OSError):
        atomic.recover(path)
    version = check_store(path)
    stamp = _stamp(path)
    sdata = read_quietly(path)
    sdata.path = path
    origin = _Origin(path, stamp, version)
    for kind, name, element in sdata.gen_elements():
        origin.elements[name] = (kind, lazy_fingerprint(element) if kind in _LAZY_KINDS else None)
    _ORIGINS[sdata] = origin
    return sdata


def save_store(
    study: Study,
    path: str | Path | None = None,
    ctx: JobContext | None = None,
    *,
    overwrite: bool = False,
) -> SaveReport:
    """Save a study; afterwards its images, labels and points are read from the new store.

    Killed at any instant, ``path`` holds the old store or the new one, whole
    (on Windows and on network file systems without an atomic exchange, after
    :func:`read_store` has finished what the journal says).

    Lazy objects of elements that were replaced or deleted since the last save
    (an undo step may hold one) read files that are then gone: drop them.

    Parameters
    ----------
    study
        The study; its record is written with it.
    path
        Where to save; by default where it was read or saved last.
    overwrite
        Whether a store that this study was not read from, or that another
        program has changed since, may be replaced. A folder that is no zarr
        store is never replaced.

    Raises
    ------
    UserError
        If there is no path, something else is at ``path``, an element cannot be
        written, or the disk refuses; the old store is then as it was.
    JobCancelled
        If the user cancelled; the old store is then as it was.
    """
    ctx = ctx or JobContext()
    started = time.monotonic()
    target = _target(study, path)
    apply_registrations(study)
    study.sync()
    with _SAVING, quiet(), _disk_errors(target):
        atomic.recover(target)
        origin = _check_target(study.sdata, target, overwrite, study.path)
        new = atomic.new_sibling(target)
        try:
            saved = _build(study.sdata, new, origin, target, ctx)
            ctx.step(0.95, "Making it durable")
            atomic.sync_tree(new)
            size, written = atomic.tree_size(new), _bytes_written(new)
            if origin is not None and origin.path == target and _stamp(target) != origin.stamp:
                raise _changed_meanwhile(target)
            old = atomic.put_in_place(new, target)
        except BaseException:
            atomic.remove_tree(new)
            raise
        _read_again(study.sdata, target, saved, moved=origin is None or origin.path != target)
        study.path = target
        if old is not None:
            atomic.remove_tree(old)
    changed = tuple(name for name, entry in saved.items() if entry.written)
    kept = tuple(name for name, entry in saved.items() if not entry.written)
    return SaveReport(target, size, written, time.monotonic() - started, changed, kept)


@dataclass(frozen=True)
class _Saved:
    kind: str
    element: Any
    fingerprint: str | None
    written: bool


def _build(
    sdata: SpatialData, new: Path, origin: _Origin | None, target: Path, ctx: JobContext
) -> dict[str, _Saved]:
    """Write the whole store into the folder ``new``."""
    import zarr
    from spatialdata import SpatialData

    elements = {name: (kind, element) for kind, name, element in sdata.gen_elements()}
    root = zarr.create_group(new, zarr_format=3)
    try:
        SpatialData(attrs=copy.deepcopy(dict(sdata.attrs))).write_attrs(zarr_group=root)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"The attributes of the study cannot be written: {error}.",
            "Keep only text, numbers, lists and dictionaries in sdata.attrs.",
        ) from error
    shell = SpatialData.init_from_elements({name: e for name, (_, e) in elements.items()})
    shell.path = new
    for kind in KINDS:
        root.require_group(kind)
    saved: dict[str, _Saved] = {}
    for i, (name, (kind, element)) in enumerate(elements.items()):
        part = ctx.part(0.9 * i / len(elements), 0.9 * (i + 1) / len(elements))
        part.step(0.0, f"Writing {name}")
        lazy = kind in _LAZY_KINDS
        mark = lazy_fingerprint(element) if lazy else content_fingerprint(element)
        keep = _is_kept(origin, kind, name, mark)
        if keep and origin is not None:
            source = origin.path / kind / name
            atomic.link_tree(source, new / kind / name, link=origin.path == target)
            if kind != "tables":
                shell.write_transformations(name)
            if kind == "images":
                shell.write_channel_names(name)
        else:
            _write_element(shell, name, part)
        saved[name] = _Saved(kind, element, mark, not keep)
    labels = [name for name, entry in saved.items() if entry.kind == "labels"]
    root["labels"].attrs["ome"] = {"labels": labels}
    if origin is not None and origin.path == target:
        _carry_foreign_files(target, new)
    shell.write_consolidated_metadata()
    return saved


def _is_kept(origin: _Origin | None, kind: str, name: str, mark: str | None) -> bool:
    """Whether the files of an element in the old store are what it would be written as."""
    known = origin is not None and mark is not None and origin.version == CURRENT_VERSION
    return known and origin.elements.get(name) == (kind, mark)  # type: ignore[union-attr]


def _write_element(shell: SpatialData, name: str, ctx: JobContext) -> None:
    from dask.callbacks import Callback

    thread = threading.get_ident()
    done = 0

    def after_task(*_: Any) -> None:
        # The callback is seen by computations in other threads too.
        nonlocal done
        if threading.get_ident() == thread:
            done += 1
            ctx.step(1 - 1 / (1 + done / 50), f"Writing {name}")

    try:
        with Callback(posttask=after_task):
            shell.write_element(name)
    except (OSError, JobCancelled, StomicsError):
        raise
    except Exception as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from error
        raise UserError(
            f"The element {name!r} cannot be written: {error}",
            "Change or remove what it names, then save again; the store on disk is as it was.",
        ) from error


def _carry_foreign_files(old: Path, new: Path) -> None:
    """Keep what someone has put into the store's folder beside our own elements."""
    for entry in os.scandir(old):
        if entry.name in KINDS or entry.name in atomic.METADATA_NAMES or entry.is_symlink():
            continue
        if entry.is_dir():
            atomic.link_tree(Path(entry.path), new / entry.name, link=True)
        else:
            shutil.copy2(entry.path, new / entry.name)


def _read_again(sdata: SpatialData, target: Path, saved: dict[str, _Saved], *, moved: bool) -> None:
    """Let lazy elements read from the new store, and remember how all of them look.

    An element that was computed from its own old version would otherwise be
    computed again, from the new one.
    """
    fresh = read_quietly(target, _LAZY_KINDS)
    origin = _Origin(target, _stamp(target), CURRENT_VERSION)
    for name, entry in saved.items():
        if entry.kind not in _LAZY_KINDS:
            origin.elements[name] = (entry.kind, entry.fingerprint)
            continue
        element = entry.element
        elements = getattr(sdata, entry.kind)
        if (entry.written or moved) and elements.get(name) is element:
            element = fresh[name]
            elements[name] = element
            origin.elements[name] = (entry.kind, lazy_fingerprint(element))
        elif not entry.written:
            origin.elements[name] = (entry.kind, entry.fingerprint)
    sdata.path = target
    _ORIGINS[sdata] = origin


def _target(study: Study, path: str | Path | None) -> Path:
    path = path or study.path
    if path is None:
        raise UserError("This study has not been saved yet.", "Choose where: File > Save study as.")
    target = Path(path).expanduser().resolve()
    if not target.parent.is_dir():
        raise UserError(
            f"The folder {target.parent} does not exist.", "Make it, or save elsewhere."
        )
    if inside := [parent for parent in target.parents if is_zarr(parent)]:
        raise UserError(f"{target} lies inside the zarr store {inside[0]}.", "Save beside it.")
    return target


def _check_target(
    sdata: SpatialData, target: Path, overwrite: bool, own: Path | None
) -> _Origin | None:
    """Make sure that the target may be replaced; return where elements can be shared from."""
    origin = _ORIGINS.get(sdata)
    if origin is not None and not origin.path.is_dir():
        origin = None
    if target.exists():
        if not target.is_dir() or not is_zarr(target):
            raise UserError(
                f"{target} exists and is not a zarr store; it was left alone.",
                "Save under another name.",
            )
        ours = own is not None and Path(own).resolve() == target
        if not overwrite and (not ours or not is_store(target)):
            raise UserError(
                f"There is another store at {target}.",
                "Save under another name, or say that it may be overwritten.",
            )
        if origin is not None and origin.path == target and _stamp(target) != origin.stamp:
            if not overwrite:
                raise _changed_meanwhile(target)
            return None
    if origin is not None and _stamp(origin.path) != origin.stamp:
        return None
    return origin


def _changed_meanwhile(target: Path) -> UserError:
    return UserError(
        f"The store {target} was changed by another window or program since it was opened here.",
        "Save under another name, or open it again to see what changed.",
    )


def _stamp(path: Path) -> tuple[int, int, int]:
    """What changes at the store's root whenever someone writes to it."""
    for name in ("zarr.json", ".zmetadata", ".zattrs", ".zgroup"):
        with contextlib.suppress(OSError):
            found = (path / name).stat()
            return (found.st_ino, found.st_mtime_ns, found.st_size)
    return (0, 0, 0)


def _bytes_written(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            found = os.stat(Path(root, name))
            total += found.st_size if found.st_nlink == 1 else 0
    return total


@contextlib.contextmanager
def _disk_errors(target: Path) -> Iterator[None]:
    """Say what the disk refused in words; what was there is untouched."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: ("the disk is full", "Free some space, or save on another disk."),
            errno.EDQUOT: ("your quota is used up", "Free some space, or save on another disk."),
            errno.EACCES: ("you may not write there", "Save in a folder of your own."),
            errno.EPERM: ("you may not write there", "Save in a folder of your own."),
            errno.EROFS: ("it is read-only there", "Save in a folder of your own."),
        }
        reason, hint = reasons.get(error.errno or 0, (str(error), "Save somewhere else."))
        kept = " The store that was there is as it was." if target.exists() else ""
        raise UserError(f"The study was not saved to {target}: {reason}.{kept}", hint) from error


def _readable(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"
