"""Landmark files of this and other software, read into and written from micrometres.

================  =============================================================  ======
format            rows                                                           unit
================  =============================================================  ======
``section``       ``landmark,x_um,y_um`` or ``landmark,x_px,y_px``, one section  named
``study``         ``name,section,x_um,y_um``, any number of sections             um
``bigwarp``       name, active, moving x, y(, z), fixed x, y(, z); no header     asked
``magpie``        ``X_left,Y_left,X_right,Y_right``                              asked
``xenium``        ``fixedX,fixedY,alignmentX,alignmentY`` (Xenium Explorer)      px
``qupath``        GeoJSON of points, or a table with ``x`` and ``y``             px
================  =============================================================  ======
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_stomics.core.errors import UserError
from napari_stomics.core.transforms import Affine
from napari_stomics.data.atomic import write_text
from napari_stomics.data.landmark_formats import READERS, Point, Source, Unit, guess_format
from napari_stomics.data.schema import LandmarkRecord

Frame = float | Affine
"""Micrometres per pixel, or the whole map from pixels to the section's micrometres."""

FORMATS = ("section", "study", "bigwarp", "magpie", "xenium", "qupath")
WRITABLE = ("section", "study", "bigwarp", "magpie", "xenium")
_MAX_BYTES = 64 * 2**20


def read_landmarks(
    path: str | Path,
    sections: Sequence[str],
    *,
    unit: Unit | None = None,
    to_um: Mapping[str, Frame] | None = None,
    format: str | None = None,
    notes: list[str] | None = None,
) -> list[LandmarkRecord]:
    """Read landmarks from a file.

    Parameters
    ----------
    path
        The file; its format is told from its contents.
    sections
        Sections that the file's columns belong to: one for a file of one
        section; two for pairs, in the order of the file (BigWarp: moving,
        fixed; magpie: left, right; Xenium Explorer: fixed, alignment). For
        ``study`` files, those to be read; empty for all.
    unit
        Unit of the coordinates where the file does not say: BigWarp, magpie
        and plain ``x,y`` columns.
    to_um
        Micrometres per pixel, or the map from pixels, by section. Pixel
        positions count from the image's corner; BigWarp's, which count from
        the middle of the first pixel, are moved by half a pixel.
    format
        One of :data:`FORMATS` if it must not be guessed.
    notes
        Receives what was left out: inactive rows, missing partners.

    Returns
    -------
    list of LandmarkRecord
        In the order of the file, (x, y) in micrometres. Pairs share a name.

    Raises
    ------
    UserError
        With the line, if the file cannot be read as landmarks; or if a unit or a
        pixel size is missing.
    """
    path, notes = Path(path), [] if notes is None else notes
    text = _text(path)
    kind = format or guess_format(text, path)
    if kind not in FORMATS:
        raise UserError(
            f"There is no landmark format {kind!r}.", f"Choose one of {', '.join(FORMATS)}."
        )
    needed = {"section": 1, "qupath": 1, "bigwarp": 2, "magpie": 2, "xenium": 2}.get(kind)
    if needed is not None and len(sections) != needed:
        raise UserError(
            f"{path.name} holds landmarks of {needed} section{'s' * (needed > 1)} "
            f"({kind} format), but {len(sections)} were named.",
            "Say which section each of its columns belongs to.",
        )
    points = READERS[kind](Source(path, text, tuple(sections), unit, notes))
    if not points:
        raise UserError(f"There are no landmarks in {path}.", "Check that it is the right file.")
    half = 0.5 if kind == "bigwarp" else 0.0
    return _collect(points, to_um or {}, path, half)


def write_landmarks(
    path: str | Path,
    landmarks: Sequence[LandmarkRecord],
    sections: Sequence[str] = (),
    *,
    format: str = "study",
    unit: Unit = "um",
    to_um: Mapping[str, Frame] | None = None,
    overwrite: bool = False,
    notes: list[str] | None = None,
) -> Path:
    """Write landmarks to a file, whole or not at all.

    Parameters
    ----------
    sections
        Sections to write, in the order that the format wants (see
        :func:`read_landmarks`); for ``study``, all if empty.
    unit, to_um
        Unit of the coordinates; pixels need the pixel sizes.
    overwrite
        Whether an existing file may be replaced.
    notes
        Receives what the format has no place for: landmarks without a partner.

    Returns
    -------
    Path
        Absolute path of the file.

    Raises
    ------
    UserError
        If the file exists, the format cannot be written, there is nothing to
        write, or the disk refuses.
    """
    path = Path(path).expanduser().absolute()
    if format not in WRITABLE:
        raise UserError(
            f"Landmarks cannot be written as {format!r}.", f"Choose one of {', '.join(WRITABLE)}."
        )
    needed = {"section": 1, "study": None}.get(format, 2)
    if needed is not None and len(sections) != needed:
        raise UserError(
            f"The {format} format holds {needed} section{'s' * (needed > 1)}, "
            f"{len(sections)} were named.",
            "Name the sections in the order of its columns.",
        )
    unit = {"xenium": "px", "study": "um"}.get(format, unit)  # type: ignore[assignment]
    rows, left_out = _rows(format, landmarks, sections, unit, to_um or {})
    if left_out and notes is not None:
        notes.append(f"Not written, because they have no partner: {', '.join(left_out)}.")
    buffer = io.StringIO()
    if format == "bigwarp":  # as BigWarp writes it: every value in quotes
        csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    else:
        csv.writer(buffer, lineterminator="\n").writerows(rows)
    try:
        write_text(path, buffer.getvalue(), overwrite=overwrite)
    except FileExistsError as error:
        raise UserError(
            f"{path} exists already.", "Choose another name, or say that it may be overwritten."
        ) from error
    except OSError as error:
        raise UserError(
            f"The landmarks were not written to {path}: {error.strerror or error}.",
            "Save somewhere else.",
        ) from error
    return path


def merge_landmarks(*lists: Sequence[LandmarkRecord]) -> list[LandmarkRecord]:
    """Join landmarks of several files by name; later positions replace earlier ones."""
    merged: dict[str, LandmarkRecord] = {}
    for landmark in (one for many in lists for one in many):
        before = merged.get(landmark.name)
        positions = {**(before.positions if before else {}), **landmark.positions}
        merged[landmark.name] = LandmarkRecord(name=landmark.name, positions=positions)
    return list(merged.values())


# ------------------------------------------------------------------ positions


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UserError(f"{path} is far too large for a landmark file.", "Choose another file.")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(
            f"The landmark file {path} cannot be read: {error.strerror or error}.",
            "Check the path.",
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not a text file.", "Choose a CSV, TSV or GeoJSON file."
        ) from error


def _collect(
    points: list[Point], to_um: Mapping[str, Frame], path: Path, half: float
) -> list[LandmarkRecord]:
    placed: dict[str, dict[str, tuple[float, float]]] = {}
    first: dict[tuple[str, str], str] = {}
    for point in points:
        key = (point.name, point.section)
        if key in first:
            raise UserError(
                f"{path.name}, {point.where}: {point.name!r} was placed in {point.section!r} "
                f"already ({first[key]}).",
                "Give each landmark a name of its own.",
            )
        first[key] = point.where
        position = point.at
        if point.unit == "px":
            at = frame_of(point.section, to_um).apply(np.array([position]) + half)
            position = (float(at[0, 0]), float(at[0, 1]))
        placed.setdefault(point.name, {})[point.section] = position
    return [LandmarkRecord(name=name, positions=at) for name, at in placed.items()]


def frame_of(section: str, to_um: Mapping[str, Frame]) -> Affine:
    """Map from a section's pixels to its micrometres.

    Raises
    ------
    UserError
        If its pixel size is not known.
    """
    frame = to_um.get(section)
    if isinstance(frame, Affine):
        return frame
    if frame is None or not (math.isfinite(frame) and frame > 0):
        raise UserError(
            f"The landmarks of section {section!r} are in pixels, and its pixel size is not known.",
            "Give the micrometres per pixel of the image that they were placed on "
            "(Xenium morphology images: 0.2125).",
        )
    return Affine(np.diag([frame, frame, 1.0]))


# ------------------------------------------------------------------ writing


def _rows(
    format: str,
    landmarks: Sequence[LandmarkRecord],
    sections: Sequence[str],
    unit: Unit,
    to_um: Mapping[str, Frame],
) -> tuple[list[list[Any]], list[str]]:
    """Rows of the file, header included, and names of the landmarks without a place in it."""
    half = 0.5 if format == "bigwarp" else 0.0

    def at(landmark: LandmarkRecord, section: str) -> list[str] | None:
        position = landmark.positions.get(section)
        if position is None:
            return None
        xy: Any = np.array([position], dtype=np.float64)
        if unit == "px":
            xy = frame_of(section, to_um).inverse().apply(xy) - half
        return [repr(float(v)) for v in xy[0]]

    rows: list[list[Any]] = []
    left_out: list[str] = []
    if format == "study":
        for one in landmarks:
            for section in sections or one.positions:
                if (cells := at(one, section)) is not None:
                    rows.append([one.name, section, *cells])
        header = ["name", "section", "x_um", "y_um"]
    elif format == "section":
        header = ["landmark", f"x_{unit}", f"y_{unit}"]
        rows = [[o.name, *c] for o in landmarks if (c := at(o, sections[0])) is not None]
    elif format == "bigwarp":
        header = []
        missing = ["Infinity", "Infinity"]
        for one in landmarks:
            pair = [at(one, section) for section in sections]
            if any(pair):
                rows.append([one.name, "true", *(pair[0] or missing), *(pair[1] or missing)])
    else:
        columns = {
            "magpie": ["X_left", "Y_left", "X_right", "Y_right"],
            "xenium": ["fixedX", "fixedY", "alignmentX", "alignmentY"],
        }
        header = columns[format]
        for one in landmarks:
            pair = [at(one, section) for section in sections]
            if all(pair):
                rows.append([*(pair[0] or []), *(pair[1] or [])])
            elif any(pair):
                left_out.append(one.name)
    if not rows:
        raise UserError(
            "There are no landmarks to write for these sections.", "Place some, or choose others."
        )
    return ([header, *rows] if header else rows), left_out
