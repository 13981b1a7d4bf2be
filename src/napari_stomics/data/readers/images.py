"""Images: whole slides, OME-TIFF, plain TIFF, PNG and JPEG, with colour or named channels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stomics.core.errors import UserError
from napari_stomics.data.build import ImageSource, make_section
from napari_stomics.data.readers import _common as common
from napari_stomics.data.readers._pyramid import BLOCK, with_overview
from napari_stomics.data.readers._tiff import RGB, TiffImage, check_complete, open_tiff, unique

if TYPE_CHECKING:
    from spatialdata import SpatialData

TIFF_SUFFIXES = (".tif", ".tiff", ".svs", ".btf", ".tf8", ".tf2", ".qptiff", ".ndpi", ".scn")
PLAIN_SUFFIXES = (".png", ".jpg", ".jpeg")
SUFFIXES = (*TIFF_SUFFIXES, *PLAIN_SUFFIXES)
_LIMIT_PX = 200_000_000
_CHANNEL_FILES = ("channelnames.txt", "channelNames.txt", "channel_names.txt", "markers.txt")
_CHANNEL_TABLES = ("panel.csv", "markers.csv")
_NAME_COLUMNS = ("name", "marker_name", "marker", "Target", "target", "clean_target", "channel")


def read(
    path: Path,
    *,
    name: str,
    um_per_px: float | None = None,
    modality: str | None = None,
    channels: Sequence[str] | str | Path | None = None,
    mask: str | Path | None = None,
) -> SpatialData:
    """Read an image as a section of its own.

    Parameters
    ----------
    path
        Image file.
    name
        Section name.
    um_per_px
        Micrometres per pixel; needed where the file does not tell.
    modality
        Name of the table made with a mask; ``protein`` by default.
    channels
        Channel names, or a file that lists them (one a line, or a panel table).
    mask
        Label image of cells on the same pixels. Its cells become spots, with the
        mean of each channel as their table.
    """
    source = read_image(path, um_per_px=um_per_px, channels=channels)
    short = "he" if tuple(source.channels) == RGB else "image"
    extra: dict[str, Any] = {}
    if mask is not None:
        from napari_stomics.data.readers._cells import cells_of_mask

        extra = cells_of_mask(source, common.existing(mask), modality or "protein")
    return make_section(name, images={short: source}, technology="Image", source=str(path), **extra)


def inspect(path: Path) -> dict[str, Any]:
    """Say what :func:`read` would find."""
    opened = _open(path)
    names = _names(path, None, opened.channels)
    size = None if opened.um is None else opened.um[0]
    return common.preview(
        path,
        images=[common.image_preview("image", opened.levels[0].shape, names, size)],
        um_per_px=size,
        needs=[] if size else ["um_per_px"],
        notes=opened.notes,
    )


def read_image(
    path: str | Path,
    *,
    um_per_px: float | None = None,
    channels: Sequence[str] | str | Path | None = None,
) -> ImageSource:
    """Open an image lazily as a pyramid; PNG and JPEG are read whole.

    Parameters
    ----------
    path
        Image file.
    um_per_px
        Micrometres per pixel; by default what the file says.
    channels
        Channel names, or a file that lists them.

    Raises
    ------
    UserError
        If the pixel size is neither given nor in the file, or the file is broken.
    """
    path = common.existing(path)
    given = common.checked_scale(um_per_px)
    opened = _open(path)
    for note in opened.notes:
        common.warn(f"{path.name}: {note}")
    um = opened.um if given is None else (given, given)
    if um is None:
        raise common.scale_unknown(path)
    return ImageSource(opened.levels, common.scaling(*um), _names(path, channels, opened.channels))


def open_image(path: Path, um_per_px: float) -> ImageSource:
    """Open an image whose pixel size is known from elsewhere."""
    return read_image(path, um_per_px=um_per_px)


def _open(path: Path) -> TiffImage:
    """Open any image that is known here; its pixel size may stay unknown."""
    suffix = path.suffix.lower()
    if suffix in PLAIN_SUFFIXES:
        return _read_plain(path)
    if suffix not in TIFF_SUFFIXES:
        raise UserError(
            f"{path.name} is no image that can be read here.",
            f"Convert it to OME-TIFF. Known are {', '.join(SUFFIXES)}.",
        )
    if suffix != ".ndpi":
        check_complete(path)
    return open_tiff(path)


def _read_plain(path: Path) -> TiffImage:
    """Read a PNG or JPEG whole, as (y, x, 3) or (y, x, 1); they tell no size to be trusted."""
    import warnings

    import dask.array as da
    from PIL import Image

    with common.reading(path, "an image"), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            opened = Image.open(path)
        except Image.DecompressionBombError as error:
            raise _too_large(path) from error
        picture: Any = opened
        with opened:
            if picture.width * picture.height > _LIMIT_PX:
                raise _too_large(path)
            grey = picture.mode in ("L", "I", "I;16", "F", "1")
            if picture.mode == "LA":
                picture, grey = picture.convert("L"), True
            elif picture.mode == "1":
                picture = picture.convert("L")
            elif not grey and picture.mode != "RGB":
                picture = picture.convert("RGB")  # palette, alpha, CMYK
            array = np.asarray(picture)
    if array.dtype == np.int32:  # 16-bit grey, as PIL holds it
        array = array.astype(np.uint16)
    array = array[..., None] if grey else array
    lazy = da.from_array(array, chunks=(BLOCK, BLOCK, -1), name=False)
    return TiffImage(with_overview(lazy), ["intensity"] if grey else list(RGB), None)


def _too_large(path: Path) -> UserError:
    return UserError(
        f"{path.name} is too large to be read whole, as PNG and JPEG have to be.",
        "Convert it to a tiled, pyramidal TIFF, for instance with vips or QuPath.",
    )


def _names(path: Path, given: Sequence[str] | str | Path | None, own: list[str]) -> list[str]:
    """Channel names: given, the file's own, or those of a list beside it that fits."""
    if tuple(own) == RGB:
        return own
    if given is not None:
        listed = (
            listed_channels(common.existing(given))
            if isinstance(given, (str, Path))
            else list(given)
        )
        if len(listed) != len(own):
            raise UserError(
                f"{len(listed)} channel names were given, {path.name} has {len(own)} channels.",
                "Give one name per channel, in their order.",
            )
        return unique([str(n) for n in listed])
    if len(own) > 1 and own == [f"channel_{i}" for i in range(len(own))]:
        for folder in (path.parent, path.parent.parent):
            for file in (*_CHANNEL_FILES, *_CHANNEL_TABLES):
                if (folder / file).is_file():
                    listed = listed_channels(folder / file)
                    if len(listed) == len(own):
                        return unique(listed)
    return own


def listed_channels(path: Path) -> list[str]:
    """Read channel names: a panel table with a column of names, or one name a line."""
    if path.suffix.lower() == ".csv":
        frame = common.read_table(path)
        column = next((c for c in _NAME_COLUMNS if c in frame), None)
        if column is not None:
            if "keep" in frame:
                frame = frame[frame["keep"].fillna(0).astype(float) > 0]
            return [str(v) for v in frame[column]]
    with common.reading(path, "a list of channel names"), common.open_text(path) as text:
        return [line.strip() for line in text if line.strip()]
