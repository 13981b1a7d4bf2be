"""Look at a store before it is opened: what it is, and that opening it runs no code."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_stomics.core.errors import UserError

if TYPE_CHECKING:
    from spatialdata import SpatialData

KINDS = ("images", "labels", "points", "shapes", "tables")
KNOWN_VERSIONS = ("0.1", "0.2")
CURRENT_VERSION = "0.2"

# Codecs that only transform bytes. Others, pickle above all, may run code when
# a chunk is decoded, and any installed package can register more.
_SAFE_CODECS = frozenset(
    [
        "bytes",
        "blosc",
        "gzip",
        "zstd",
        "zlib",
        "lz4",
        "bz2",
        "lzma",
        "transpose",
        "crc32c",
        "crc32",
        "adler32",
        "fletcher32",
        "jenkins_lookup3",
        "sharding_indexed",
        "vlen-utf8",
        "vlen-bytes",
        "vlen-array",
        "delta",
        "fixedscaleoffset",
        "fixed-scale-offset",
        "scale_offset",
        "cast_value",
        "quantize",
        "bitround",
        "packbits",
        "astype",
        "shuffle",
        "pcodec",
        "zfpy",
        "json2",
        "msgpack2",
        "categorize",
        "endian",
        "n5_wrapper",
    ]
)
_MAX_METADATA_BYTES = 64 * 2**20


def check_store(path: Path) -> str:
    """Make sure that ``path`` is a SpatialData store that can be opened safely.

    Returns
    -------
    str
        The version of its container format.

    Raises
    ------
    UserError
        If it is missing, not a zarr store, damaged, of a newer version, written
        by another tool, or if it asks for a codec that may run code.
    """
    if not path.exists():
        raise UserError(f"There is no store at {path}.", "Check the path; it may have been moved.")
    if not path.is_dir():
        raise UserError(
            f"{path} is a file, not a SpatialData store.",
            "A store is a folder whose name usually ends in .zarr; choose that folder. "
            "Other files are opened with Add section.",
        )
    attrs = _root_attributes(path)
    version = _version(path, attrs)
    _check_complete(path)
    for folder, metadata in _nodes(path):
        for codec in _codecs(metadata):
            if codec.removeprefix("numcodecs.") not in _SAFE_CODECS:
                raise UserError(
                    f"The store {path} was not opened: {folder.relative_to(path)} is stored with "
                    f"the codec {codec!r}, which may run code when it is read.",
                    "If you trust its origin, convert it with the software that wrote it.",
                )
    return version


def is_store(path: Path) -> bool:
    """Whether a folder is a SpatialData store (whole or not)."""
    try:
        attrs = _root_attributes(path)
        _version(path, attrs)
    except UserError:
        return False
    return True


def is_zarr(path: Path) -> bool:
    """Whether a folder carries zarr metadata at its root."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


def _root_attributes(path: Path) -> dict[str, Any]:
    if (path / "zarr.json").is_file():
        root = _load(path / "zarr.json", path)
        if root.get("node_type") != "group":
            raise _other_tool(path, "It holds a single zarr array.")
        attributes = root.get("attributes", {})
    elif (path / ".zgroup").is_file():
        _load(path / ".zgroup", path)
        attributes = _load(path / ".zattrs", path) if (path / ".zattrs").is_file() else {}
    else:
        raise UserError(
            f"The folder {path} is not a zarr store: it has neither zarr.json nor .zgroup.",
            "Choose the folder that SpatialData wrote (often named .zarr). If it is that one, its "
            "root file is lost: take a backup.",
        )
    return attributes if isinstance(attributes, dict) else {}


def _version(path: Path, attrs: dict[str, Any]) -> str:
    own = attrs.get("spatialdata_attrs")
    if isinstance(own, dict):
        version = str(own.get("version", KNOWN_VERSIONS[0]))
        if version not in KNOWN_VERSIONS:
            import spatialdata

            raise UserError(
                f"The store {path} has format version {version}, newer than spatialdata "
                f"{spatialdata.__version__} can read (up to {KNOWN_VERSIONS[-1]}).",
                "Update spatialdata and napari-stomics, then open it again.",
            )
        return version
    if attrs.get("encoding-type") in ("anndata", "MuData"):
        raise _other_tool(path, f"It holds a single {attrs['encoding-type']} object.")
    if any(
        key in attrs for key in ("multiscales", "ome", "omero", "plate", "bioformats2raw.layout")
    ):
        raise _other_tool(path, "It holds an OME-Zarr image.")
    if not any((path / kind).is_dir() for kind in KINDS):
        raise _other_tool(path, "It has no images, labels, points, shapes or tables.")
    return KNOWN_VERSIONS[0]


def _check_complete(path: Path) -> None:
    """Compare the store with its own table of contents: zarr passes over what is missing."""
    if (path / "zarr.json").is_file():
        listed = (_load(path / "zarr.json", path).get("consolidated_metadata") or {}).get(
            "metadata", {}
        )
        missing = [name for name in listed if not (path / name / "zarr.json").is_file()]
    elif (path / ".zmetadata").is_file():
        listed = _load(path / ".zmetadata", path).get("metadata", {})
        missing = [name for name in listed if not (path / name).is_file()]
    else:
        return
    if missing:
        more = f" and {len(missing) - 1} more parts" if len(missing) > 1 else ""
        raise UserError(
            f"The store {path} is damaged: {missing[0]}{more} are listed but missing.",
            "It may be a copy that stopped half-way: copy or download it again, or take a backup.",
        )


def _other_tool(path: Path, what: str) -> UserError:
    return UserError(
        f"The zarr store {path} was not written by SpatialData. {what}",
        "Open it with Add section, or convert it with spatialdata-io.",
    )


def _load(path: Path, store: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_METADATA_BYTES:
            raise ValueError("it is far larger than metadata can be")
        loaded = json.loads(path.read_bytes())
        if not isinstance(loaded, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"The store {store} is damaged: {path.relative_to(store)} cannot be read ({error}).",
            "It may be a copy that stopped half-way: copy or download it again, or take a backup.",
        ) from error
    return loaded


def _nodes(store: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the metadata of every array; folders of chunks are not listed."""
    pending = [store]
    while pending:
        folder = pending.pop()
        is_array = False
        for name in ("zarr.json", ".zarray"):
            if (folder / name).is_file():
                metadata = _load(folder / name, store)
                if name == ".zarray" or metadata.get("node_type") == "array":
                    is_array = True
                    yield folder, metadata
        if not is_array:
            pending += [
                Path(entry.path)
                for entry in os.scandir(folder)
                if entry.is_dir() and not entry.name.endswith(".parquet")
            ]


def _codecs(metadata: dict[str, Any]) -> Iterator[str]:
    """Names of all codecs, filters and compressors of an array, nested ones included."""
    pending: list[Any] = [
        metadata.get(key) for key in ("codecs", "filters", "compressor", "storage_transformers")
    ]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending += item
        elif isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            yield str(item.get("name", item.get("id", "?")))
            inner = item.get("configuration")
            if isinstance(inner, dict):
                pending += [inner.get("codecs"), inner.get("index_codecs")]


def read_quietly(path: Path, kinds: tuple[str, ...] | None = None) -> SpatialData:
    """Read a store (or only some kinds of elements) and name what is damaged.

    Raises
    ------
    UserError
        If an element cannot be read.
    """
    import spatialdata

    try:
        with quiet():
            return spatialdata.read_zarr(path, selection=kinds)
    except Exception as error:
        raise UserError(
            f"The store {path} is damaged: {_damaged(path) or error}.",
            "It may be a copy that stopped half-way: copy or download it again, or take a backup.",
        ) from error


def _damaged(path: Path) -> str:
    """Name the elements that cannot be read."""
    import spatialdata

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            spatialdata.read_zarr(path, on_bad_files="warn")
        except Exception:
            return ""
    texts = [str(w.message).splitlines()[0] for w in caught]
    return "; ".join(t for t in texts if t.startswith(tuple(f"{kind}/" for kind in KINDS)))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide what the libraries say about formats and replaced keys: it is not for the user."""
    loggers = [logging.getLogger(name) for name in ("spatialdata._logging", "ome_zarr.reader")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
