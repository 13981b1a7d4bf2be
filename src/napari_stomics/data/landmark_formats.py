"""The rows of landmark files, as they stand there; see :mod:`.landmark_files`."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from napari_stomics.core.errors import UserError

Unit = Literal["um", "px"]

_NAME_COLUMNS = ("landmark", "name", "label", "id", "")


@dataclass(frozen=True)
class Point:
    """One row's position in one section, as it stands in the file."""

    name: str
    section: str
    at: tuple[float, float]
    unit: Unit
    where: str


@dataclass(frozen=True)
class Source:
    """A landmark file and what the caller said about it."""

    path: Path
    text: str
    sections: tuple[str, ...]
    unit: Unit | None
    notes: list[str]

    def asked_unit(self) -> Unit:
        """The unit that the caller named, for files that do not."""
        if self.unit is None:
            raise UserError(
                f"{self.path.name} does not say whether its coordinates are pixels or micrometres.",
                "Say which: unit 'px' or 'um'.",
            )
        return self.unit

    def position(
        self, cells: tuple[str, str], where: int | str, columns: tuple[str, str] = ("x", "y")
    ) -> tuple[float, float]:
        """Read x and y."""
        x, y = cells
        return self._number(x, where, columns[0]), self._number(y, where, columns[1])

    def _number(self, cell: str, where: int | str, column: str) -> float:
        """Read one finite number; ``where`` is its line, or says where it stands."""
        where = f"line {where}" if isinstance(where, int) else where
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise UserError(
                f"{self.path.name}, {where}: {column} is {cell!r}, not a number.",
                "Mend it (decimals are written with a point), then read the file again.",
            )
        return value


def _parse(text: str) -> list[tuple[int, list[str]]]:
    """Rows with their line numbers; empty lines and comments are passed over."""
    sample = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=sample.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    rows = []
    for row in reader:
        if any(cell.strip() for cell in row) and not row[0].startswith("#"):
            rows.append((reader.line_num, row))
    return rows


def _table(source: Source) -> list[tuple[int, dict[str, str]]]:
    rows = _parse(source.text)
    header = [cell.strip().lower() for cell in rows[0][1]]
    out = []
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise UserError(
                f"{source.path.name}, line {line}: {len(row)} values under {len(header)} columns.",
                "Mend that line, then read the file again.",
            )
        out.append((line, dict(zip(header, (cell.strip() for cell in row), strict=True))))
    return out


def _read_section(source: Source) -> list[Point]:
    points = []
    for line, row in _table(source):
        x = next((c for c in ("x_um", "x_px", "x") if c in row), None)
        if x is None or f"y{x[1:]}" not in row:
            raise UserError(
                f"{source.path.name} has the columns {', '.join(row)}.",
                "Name them landmark,x_um,y_um or landmark,x_px,y_px.",
            )
        y = f"y{x[1:]}"
        unit: Unit = source.asked_unit() if x == "x" else ("um" if x == "x_um" else "px")
        key = next((c for c in _NAME_COLUMNS if c in row), None)
        name = row[key] if key is not None else ""
        at = source.position((row[x], row[y]), line, (x, y))
        points.append(_point(name or str(line - 1), source.sections[0], at, unit, line))
    return points


def _read_study(source: Source) -> list[Point]:
    points = []
    for line, row in _table(source):
        if not row.get("name") or not row["section"]:
            raise UserError(
                f"{source.path.name}, line {line}: the landmark or its section has no name.",
                "Mend that line, then read the file again.",
            )
        if source.sections and row["section"] not in source.sections:
            source.notes.append(f"Line {line}: section {row['section']!r} was not asked for.")
            continue
        at = source.position((row["x_um"], row["y_um"]), line, ("x_um", "y_um"))
        points.append(_point(row["name"], row["section"], at, "um", line))
    return points


def _read_bigwarp(source: Source) -> list[Point]:
    unit, points = source.asked_unit(), []
    for line, row in _parse(source.text):
        cells = [cell.strip() for cell in row]
        if len(cells) not in (6, 8):
            raise UserError(
                f"{source.path.name}, line {line}: {len(cells)} values, not 6 (or 8 in 3D).",
                "A row of BigWarp reads: name, active, moving x, y, fixed x, y.",
            )
        if cells[1].lower() != "true":
            source.notes.append(f"Line {line}: {cells[0]!r} is switched off in BigWarp; left out.")
            continue
        size = (len(cells) - 2) // 2
        for section, pair in zip(
            source.sections, (cells[2:4], cells[2 + size : 4 + size]), strict=True
        ):
            if any(cell.lstrip("+-").lower() in ("infinity", "inf", "") for cell in pair):
                source.notes.append(f"Line {line}: {cells[0]!r} is not placed in {section!r}.")
                continue
            at = source.position((pair[0], pair[1]), line)
            points.append(_point(cells[0], section, at, unit, line))
    return points


def _pairs(*columns: tuple[str, str], unit: Unit | None) -> Callable[[Source], list[Point]]:
    """Reader of a table with one pair of columns per section."""

    def read(source: Source) -> list[Point]:
        points = []
        used = unit or source.asked_unit()
        for number, (line, row) in enumerate(_table(source), start=1):
            name = next((row[c] for c in _NAME_COLUMNS[:4] if row.get(c)), f"Pt-{number}")
            for section, pair in zip(source.sections, columns, strict=True):
                if not any(row[c] for c in pair):
                    source.notes.append(f"Line {line}: {name!r} is not placed in {section!r}.")
                    continue
                at = source.position((row[pair[0]], row[pair[1]]), line, pair)
                points.append(_point(name, section, at, used, line))
        return points

    return read


def _read_qupath(source: Source) -> list[Point]:
    found: list[tuple[str, Any, Any, str]] = []
    if source.text.lstrip()[:1] in ("{", "["):
        found = _geojson_points(source)
    else:
        for line, row in _table(source):
            name = row.get("name") or row.get("class") or ""
            x, y = (
                next((row[k] for k in row if k == a or k.startswith(f"{a} ")), "") for a in "xy"
            )
            found.append((name, x, y, f"line {line}"))
    total: dict[str, int] = {}
    for name, *_ in found:
        total[name] = total.get(name, 0) + 1
    seen: dict[str, int] = {}
    points = []
    for name, x, y, where in found:
        seen[name] = seen.get(name, 0) + 1
        # Points of one annotation share its name: they are numbered.
        full = name if name and total[name] == 1 else f"{name}_{seen[name]}".lstrip("_")
        at = source.position((str(x), str(y)), where)
        points.append(Point(full, source.sections[0], at, "px", where))
    return points


def _geojson_points(source: Source) -> list[tuple[str, Any, Any, str]]:
    try:
        data = json.loads(source.text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise UserError(
            f"{source.path.name}, line {line}: this is not valid JSON ({error}).",
            "Export it again from QuPath (File > Export objects as GeoJSON).",
        ) from error
    features = data.get("features", [data]) if isinstance(data, dict) else data
    out = []
    for number, feature in enumerate(features, start=1):
        if not isinstance(feature, dict) or not isinstance(feature.get("geometry"), dict):
            continue
        shape, properties = feature["geometry"], feature.get("properties") or {}
        kind = (properties.get("classification") or {}).get("name")
        name = str(properties.get("name") or kind or "")
        positions = {"Point": [shape.get("coordinates")], "MultiPoint": shape.get("coordinates")}
        for position in positions.get(shape.get("type", ""), []) or []:
            if not isinstance(position, list) or len(position) < 2:
                raise UserError(
                    f"{source.path.name}: object {number} has a point without x and y.",
                    "Export it again from QuPath.",
                )
            out.append((name, position[0], position[1], f"object {number}"))
    return out


READERS: dict[str, Callable[[Source], list[Point]]] = {
    "section": _read_section,
    "study": _read_study,
    "bigwarp": _read_bigwarp,
    "magpie": _pairs(("x_left", "y_left"), ("x_right", "y_right"), unit=None),
    "xenium": _pairs(("fixedx", "fixedy"), ("alignmentx", "alignmenty"), unit="px"),
    "qupath": _read_qupath,
}


def _point(name: str, section: str, at: tuple[float, float], unit: Unit, line: int) -> Point:
    return Point(name, section, at, unit, f"line {line}")


def guess_format(text: str, path: Path) -> str:
    """Tell the format of a landmark file from its contents.

    Raises
    ------
    UserError
        If it is none that is known.
    """
    if text.lstrip()[:1] in ("{", "["):
        return "qupath"
    rows = _parse(text)
    first = [cell.strip() for cell in rows[0][1]] if rows else []
    columns = {cell.lower() for cell in first}
    if {"x_left", "y_left", "x_right", "y_right"} <= columns:
        return "magpie"
    if {"fixedx", "fixedy", "alignmentx", "alignmenty"} <= columns:
        return "xenium"
    if {"section", "x_um", "y_um"} <= columns:
        return "study"
    if len(first) in (6, 8) and first[1].lower() in ("true", "false"):
        return "bigwarp"
    if {"x", "y"} <= columns and columns & {
        "class",
        "color",
        "colour",
        "c",
        "z",
        "t",
        "object type",
    }:
        return "qupath"
    if any(c.startswith("x") for c in columns) and any(c.startswith("y") for c in columns):
        return "section"
    raise UserError(
        f"{path} is not a landmark file that is known: its first line reads "
        f"{', '.join(first)[:80]!r}.",
        "A table of one section needs the columns landmark,x_um,y_um or landmark,x_px,y_px.",
    )
