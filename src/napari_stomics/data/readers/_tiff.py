"""TIFF in all its dialects through tifffile: levels, axes, channel names, pixel size."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_stomics.core.errors import UserError
from napari_stomics.data.readers import _common as common
from napari_stomics.data.readers._pyramid import BLOCK, with_overview

_UM = {"m": 1e6, "cm": 1e4, "mm": 1e3, "um": 1.0, "nm": 1e-3, "pm": 1e-6, "in": 25_400.0}
_UM |= {"\N{MICRO SIGN}m": 1.0, "\N{GREEK SMALL LETTER MU}m": 1.0, "micron": 1.0, "inch": 25_400.0}
_UM |= {
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "\\u00B5m": 1.0,
    "\N{ANGSTROM SIGN}": 1e-4,
}
_PLAUSIBLE_UM = (0.05, 50.0)
_PRINTING_DPI = (600.0, 720.0, 1200.0, 2400.0)
RGB = ("r", "g", "b")


@dataclass
class TiffImage:
    """An image as opened.

    Attributes
    ----------
    levels
        Dask arrays (y, x, channel), the finest first.
    channels
        Channel names; ``r``, ``g``, ``b`` for colour.
    um
        Pixel size (x, y) in micrometres; None if the file does not tell.
    notes
        What was left out or chosen.
    """

    levels: list[Any]
    channels: list[str]
    um: tuple[float, float] | None
    notes: list[str] = field(default_factory=list)


def open_tiff(path: Path, *, alone: bool = False) -> TiffImage:
    """Open a TIFF, reading headers alone.

    Parameters
    ----------
    path
        SVS, OME-TIFF, BigTIFF, ImageJ, QPTIFF, NDPI or plain TIFF.
    alone
        Take this file's own pages even if it is one of several of an OME set.
    """
    import tifffile

    with common.reading(path, "a TIFF image"):
        file = tifffile.TiffFile(path, is_ome=False if alone else None)
        try:
            series = _main_series(file)
            notes: list[str] = []
            levels = _levels(file, series, notes)
            colour = "S" in series.axes and levels[0].shape[-1] in (3, 4)
            if colour:
                levels = [level[..., :3] for level in levels]
            count = levels[0].shape[-1]
            channels = list(RGB) if colour else _channel_names(file, series, count)
            if [c.lower() for c in channels] in (["red", "green", "blue"], list(RGB)):
                channels = list(RGB)  # colour whose planes were written as channels
            image = TiffImage(levels, channels, _pixel_size(file, series), notes)
        except BaseException:
            file.close()
            raise
    if len(image.levels) == 1:
        image.levels = with_overview(image.levels[0])
    return image


def is_complete(path: Path) -> bool:
    """Whether the last tile or strip of the first page lies within the file."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        size = path.stat().st_size
        pairs = zip(page.dataoffsets, page.databytecounts, strict=False)
        return all(offset + count <= size for offset, count in pairs)


def _main_series(file: Any) -> Any:
    """The series with the most pixels in the plane: not the label, not the thumbnail."""
    if not file.series:
        raise ValueError("it holds no image")
    return max(file.series, key=lambda s: s.sizes.get("height", 0) * s.sizes.get("width", 0))


def _levels(file: Any, series: Any, notes: list[str]) -> list[Any]:
    import dask.array as da
    import zarr

    levels = [
        _plane(_lazy(series, i, zarr, da), series.axes, notes if i == 0 else [])
        for i in range(len(series.levels))
    ]
    if len(levels) == 1:  # a pyramid whose levels are not marked as such
        for other in sorted(file.series, key=lambda s: -int(np.prod(s.shape))):
            if other is series or other.axes != series.axes or other.dtype != series.dtype:
                continue
            plane = _plane(_lazy(other, 0, zarr, da), other.axes, [])
            if _is_reduction(levels[0].shape, levels[-1].shape, plane.shape):
                levels.append(plane)
    return levels


def _is_reduction(full: Any, last: Any, shape: Any) -> bool:
    """Whether a shape is the full one reduced by a power of two, and smaller than the last."""
    if shape[0] >= last[0] or shape[2] != full[2] or min(shape[:2]) < 1:
        return False
    ratios = full[0] / shape[0], full[1] / shape[1]
    power = 2 ** round(np.log2(ratios[0]))
    slack = 1.5 / min(shape[:2])
    return all(abs(r / power - 1) < slack + 1e-6 for r in ratios) and power >= 2


def _lazy(series: Any, level: int, zarr: Any, da: Any) -> Any:
    """A dask array over a level, in blocks of whole tiles."""
    store = series.aszarr(level=level)
    array = zarr.open(store, mode="r")
    if not hasattr(array, "chunks"):
        array = array["0"]
    axes = series.axes
    chunks = []
    for axis, size, chunk in zip(axes, array.shape, array.chunks, strict=True):
        if axis in "YX":
            block = max(chunk, BLOCK // chunk * chunk or chunk)
            chunks.append(min(size, block))
        else:
            chunks.append(size if axis == "S" else 1)
    return da.from_array(array, chunks=tuple(chunks), name=False)


def _plane(array: Any, axes: str, notes: list[str]) -> Any:
    """Bring any axes to (y, x, channel): one time, the middle of a stack, the rest channels."""
    import dask.array as da

    order = list(axes)
    has_channel = "C" in order
    kept: list[str] = []
    for axis in list(order):
        at = order.index(axis)
        size = array.shape[at]
        spare = axis not in "YXSC"
        may_be_channel = spare and axis in "IQ" and not has_channel and "S" not in order
        if may_be_channel and size > 1:
            order[at], has_channel = "C", True
        elif spare:
            if size > 1:
                notes.append(f"Took plane {size // 2 + 1} of {size} along axis {axis}.")
            array = da.take(array, size // 2, axis=at)
            order.pop(at)
    kept = [a for a in order if a not in "YX"]
    array = da.transpose(array, [order.index(a) for a in ("Y", "X", *kept)])
    height, width = array.shape[:2]
    if len(kept) == 0:
        return array[..., None]
    if len(kept) > 1:
        array = array.reshape((height, width, -1))
    return array


def _channel_names(file: Any, series: Any, count: int) -> list[str]:
    """Names of the channels from OME, ImageJ, the pages' names, or numbers."""
    for names in (_ome_names(file, series), _imagej_names(file), _page_names(series)):
        if len(names) == count and all(names) and len(set(names)) == count:
            return names
        if len(names) == count and any(names):
            return unique([n or f"channel_{i}" for i, n in enumerate(names)])
    return ["intensity"] if count == 1 else [f"channel_{i}" for i in range(count)]


def unique(names: list[str]) -> list[str]:
    """Tell equal names apart by a number."""
    seen: dict[str, int] = {}
    answer = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        answer.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return answer


def _ome_pixels(file: Any, series: Any) -> Any:
    """The Pixels element of OME-XML that belongs to the series."""
    if not file.is_ome or not file.ome_metadata:
        return None
    from xml.etree import ElementTree

    root = ElementTree.fromstring(file.ome_metadata.encode("utf-8", "replace"))
    found = [e for e in root.iter() if e.tag.rpartition("}")[2] == "Pixels"]
    index = next((i for i, s in enumerate(file.series) if s is series), 0)
    return found[index] if index < len(found) else (found[0] if found else None)


def _ome_names(file: Any, series: Any) -> list[str]:
    pixels = _ome_pixels(file, series)
    if pixels is None:
        return []
    channels = [e for e in pixels if e.tag.rpartition("}")[2] == "Channel"]
    return [(e.get("Name") or e.get("Fluor") or "").strip() for e in channels]


def _imagej_names(file: Any) -> list[str]:
    labels = (file.imagej_metadata or {}).get("Labels", []) if file.is_imagej else []
    return [str(label).strip() for label in labels]


def _page_names(series: Any) -> list[str]:
    names = []
    for frame in series.pages:
        if frame is None:
            return []
        page = frame.aspage()
        text = str(getattr(page, "description", "") or "")
        found = re.search(r"<Biomarker>([^<]+)</Biomarker>", text)
        found = found or re.search(r"<Name>([^<]+)</Name>", text)
        tag = page.tags.get(285)  # PageName
        names.append(found.group(1).strip() if found else str(tag.value).strip() if tag else "")
    return names


def _pixel_size(file: Any, series: Any) -> tuple[float, float] | None:
    """Micrometres per pixel (x, y), from the most explicit source there is."""
    for source in (_ome_size, _vendor_size, _imagej_size, _tag_size):
        found = source(file, series)
        if found is not None and all(np.isfinite(v) and v > 0 for v in found):
            return found
    return None


def _ome_size(file: Any, series: Any) -> tuple[float, float] | None:
    pixels = _ome_pixels(file, series)
    if pixels is None or not pixels.get("PhysicalSizeX"):
        return None
    found = []
    for axis in "XY":
        value = pixels.get(f"PhysicalSize{axis}") or pixels.get("PhysicalSizeX")
        unit = pixels.get(f"PhysicalSize{axis}Unit", "\N{MICRO SIGN}m")
        if unit not in _UM:
            return None
        found.append(float(value) * _UM[unit])
    # Writers that do not know the size put 1 um there, or 1 pixel; 1 is not refused.
    return found[0], found[1]


def _vendor_size(file: Any, series: Any) -> tuple[float, float] | None:
    page = series.keyframe
    text = str(page.description or "")
    for pattern in (
        r"\bMPP\s*=\s*([0-9.]+)",
        r"<PixelSizeMicrons>\s*([0-9.eE+-]+)",
        r"\bScanRes=\"([0-9.]+)\"",
        r"\bmicronsPerPixel\s*[=:]\s*\"?([0-9.]+)",
    ):
        found = re.search(pattern, text)
        if found:
            return float(found.group(1)), float(found.group(1))
    return None


def _imagej_size(file: Any, series: Any) -> tuple[float, float] | None:
    if not file.is_imagej:
        return None
    unit = str((file.imagej_metadata or {}).get("unit", "")).strip()
    per_unit = _resolution(series.keyframe)
    if unit not in _UM or per_unit is None:
        return None
    return _UM[unit] / per_unit[0], _UM[unit] / per_unit[1]


def _tag_size(file: Any, series: Any) -> tuple[float, float] | None:
    """From the resolution tags, only where the unit is one of length and the size plausible."""
    page = series.keyframe
    unit = page.tags.get("ResolutionUnit")
    length = {2: 25_400.0, 3: 10_000.0}.get(int(unit.value) if unit else 0)
    per_unit = _resolution(page)
    if length is None or per_unit is None or file.is_imagej:
        return None
    if length == 25_400.0 and per_unit[0] in _PRINTING_DPI:
        return None
    size = length / per_unit[0], length / per_unit[1]
    low, high = _PLAUSIBLE_UM
    return size if all(low <= s <= high for s in size) else None


def _resolution(page: Any) -> tuple[float, float] | None:
    values = []
    for name in ("XResolution", "YResolution"):
        tag = page.tags.get(name)
        if tag is None:
            return None
        value = tag.value
        number = value[0] / value[1] if isinstance(value, tuple) and value[1] else value
        if isinstance(number, tuple) or number <= 0:
            return None
        values.append(float(number))
    return values[0], values[1]


def check_complete(path: Path) -> None:
    """Raise a UserError if a TIFF is cut short, which reading its headers does not show."""
    with common.reading(path, "a TIFF image"):
        complete = is_complete(path)
    if not complete:
        raise UserError(
            f"{path} is cut short: its header points beyond its end.",
            "Copy or download it again.",
        )
