"""Keep landmarks, constraints and the session beside the store while they are not saved yet.

Each window writes a file of its own, ``<store>.autosave.json`` (or
``.autosave-2.json`` ... where that is taken); a study that was never saved has
its file in the user's state folder. The file names the process that wrote it,
so that the next start offers what a crash left behind, and nothing that
another window is working on.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from napari_stomics.core.errors import UserError
from napari_stomics.data.atomic import host_id, is_running, process_start, write_text
from napari_stomics.data.schema import ConstraintRecord, LandmarkRecord

VERSION = 1
_UNSAVED = "unsaved"
_WINDOWS = 99
_FOREIGN_SILENCE_S = 600.0
"""A file of another machine counts as left behind after this time without a heartbeat."""
_MAX_BYTES = 256 * 2**20


class _File(BaseModel):
    format: Literal["napari-stomics autosave"] = "napari-stomics autosave"
    version: int = VERSION
    store: str | None = None
    host: str
    pid: int
    started: int
    saved: str
    landmarks: list[LandmarkRecord] = Field(default_factory=list)
    constraints: list[ConstraintRecord] = Field(default_factory=list)
    session: dict[str, Any] = Field(default_factory=dict)

    def is_owned(self, heartbeat: float) -> bool:
        """Whether the process that wrote it still works on it."""
        if self.host != host_id():
            return time.time() - heartbeat < _FOREIGN_SILENCE_S
        return is_running(self.pid, self.started)


@dataclass(frozen=True)
class Unfinished:
    """What a crash left behind.

    Attributes
    ----------
    path
        The autosave file.
    store
        The store that it belongs to; None for a study that was never saved.
    saved
        When it was written (ISO 8601, UTC).
    landmarks
        Landmarks as they were.
    constraints
        Painted constraints as they were.
    session
        State of the session as it was handed to :meth:`Autosave.write`.
    """

    path: Path
    store: Path | None
    saved: str
    landmarks: list[LandmarkRecord] = field(default_factory=list)
    session: dict[str, Any] = field(default_factory=dict)
    constraints: list[ConstraintRecord] = field(default_factory=list)

    def discard(self) -> None:
        """Remove it: it was restored, or is not wanted."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


class Autosave:
    """One window's autosave file.

    Parameters
    ----------
    store
        Path of the study's store; None while it has none.
    folder
        State folder, used for studies without a store and where the store's
        own folder cannot be written to; by default the user's.
    """

    def __init__(self, store: str | Path | None = None, folder: Path | None = None) -> None:
        self._store = _resolved(store)
        self._folder = folder
        self.path: Path | None = None

    def write(
        self,
        landmarks: Sequence[LandmarkRecord],
        session: Mapping[str, Any] | None = None,
        constraints: Sequence[ConstraintRecord] = (),
    ) -> Path:
        """Write the file, whole or not at all; the one before it is replaced.

        Parameters
        ----------
        landmarks
            Positions (x, y) in micrometres by section.
        session
            Plain JSON types.
        constraints
            Regions in micrometres by section.

        Raises
        ------
        UserError
            If no place can be written to.
        """
        text = _File(
            store=None if self._store is None else str(self._store),
            host=host_id(),
            pid=os.getpid(),
            started=process_start(os.getpid()) or 0,
            saved=datetime.now(UTC).isoformat(timespec="seconds"),
            landmarks=list(landmarks),
            constraints=list(constraints),
            session=dict(session or {}),
        ).model_dump_json(indent=1)
        if self.path is not None and self.path.exists():
            try:
                write_text(self.path, text)
            except OSError as error:
                raise _not_written(self.path, error) from error
            return self.path
        self.path = self._claim(text)
        return self.path

    def beat(self) -> None:
        """Say that this window is still at work, for windows on other machines."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def discard(self) -> None:
        """Remove the file: the study was saved, or closed on purpose."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
            self.path = None

    def move_to(self, store: str | Path | None) -> None:
        """Belong to another store from now on; the file beside the former one is removed."""
        store = _resolved(store)
        if store != self._store:
            self.discard()
            self._store = store

    def _claim(self, text: str) -> Path:
        """Write to the first name that nobody has, not even a crash that was not looked at."""
        problem: OSError | None = None
        for stem in _stems(self._store, self._folder):
            for number in range(1, _WINDOWS + 1):
                path = _numbered(stem, number)
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_text(path, text, overwrite=False)
                except FileExistsError:
                    continue
                except OSError as error:
                    problem = error
                    break
                return path
        raise _not_written(_numbered(stem, 1), problem)


def find_unfinished(
    store: str | Path | None = None,
    *,
    folder: Path | None = None,
    notes: list[str] | None = None,
) -> list[Unfinished]:
    """Find what crashed windows have left of a study, the latest first.

    Files of windows that are still open are left alone. A file that cannot be
    read is renamed to ``*.corrupt``, kept, and mentioned in ``notes``; this
    function never raises on account of one.

    Parameters
    ----------
    store
        Path of the study's store; None for studies that were never saved.
    folder
        State folder, by default the user's.
    notes
        Receives what the user should know about unreadable files.
    """
    notes = [] if notes is None else notes
    found = []
    for path in _candidates(_resolved(store), folder):
        try:
            heartbeat = path.stat().st_mtime
            if path.stat().st_size > _MAX_BYTES:
                raise ValueError("it is far too large")
            content = _File.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            continue
        except OSError as error:
            notes.append(f"The autosave {path} cannot be read: {error.strerror or error}.")
            continue
        except (ValidationError, ValueError, RecursionError) as error:
            notes.append(_set_aside(path, error))
            continue
        if content.version > VERSION:
            notes.append(
                f"The autosave {path} comes from a newer version of napari-stomics; it was left "
                "where it is."
            )
        elif not content.is_owned(heartbeat):
            at = None if content.store is None else Path(content.store)
            found.append(
                Unfinished(
                    path,
                    at,
                    content.saved,
                    content.landmarks,
                    dict(content.session),
                    content.constraints,
                )
            )
    return sorted(found, key=lambda one: one.saved, reverse=True)


def _set_aside(path: Path, error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    aside, count = path.with_name(path.name + ".corrupt"), 2
    while aside.exists():
        aside, count = path.with_name(f"{path.name}.corrupt-{count}"), count + 1
    try:
        path.rename(aside)
    except OSError:
        aside = path
    return f"An autosave could not be read ({reason}). It is kept as {aside}."


def _resolved(store: str | Path | None) -> Path | None:
    return None if store is None else Path(store).expanduser().resolve()


def _state_folder(folder: Path | None) -> Path:
    if folder is not None:
        return folder
    import platformdirs

    return Path(platformdirs.user_state_path("napari-stomics", appauthor=False))


def _stems(store: Path | None, folder: Path | None) -> list[Path]:
    """Places of a study's autosaves, without their endings, the best first."""
    state = _state_folder(folder)
    if store is None:
        return [state / _UNSAVED]
    key = hashlib.sha256(str(store).encode()).hexdigest()[:12]
    return [store, state / f"{store.name}-{key}"]


def _numbered(stem: Path, number: int) -> Path:
    suffix = "" if number == 1 else f"-{number}"
    return stem.with_name(f"{stem.name}.autosave{suffix}.json")


def _candidates(store: Path | None, folder: Path | None) -> Iterator[Path]:
    for stem in _stems(store, folder):
        name = re.escape(stem.name)
        for path in sorted(stem.parent.glob(f"{glob.escape(stem.name)}.autosave*.json")):
            if re.fullmatch(rf"{name}\.autosave(-\d+)?\.json", path.name):
                yield path
        _remove_fragments(stem)


def _remove_fragments(stem: Path) -> None:
    """Remove half-written files of processes that were killed while they wrote."""
    for path in stem.parent.glob(f".{glob.escape(stem.name)}.autosave*"):
        owner = re.search(r"\.json\.(\d+)-[0-9a-f]{8}$", path.name)
        if owner is not None and process_start(int(owner[1])) is None:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _not_written(path: Path, error: OSError | None) -> UserError:
    reason = "every name is taken" if error is None else error.strerror or str(error)
    return UserError(
        f"The autosave {path} could not be written: {reason}.",
        "Save the study yourself, or free some space.",
    )
