"""Readers: any file or folder of a section becomes SpatialData in micrometres."""

from __future__ import annotations

import inspect as _inspect
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_stomics.core.errors import UserError
from napari_stomics.data.readers._detect import KINDS, detect

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from napari_stomics.data.build import ImageSource
    from napari_stomics.data.single_cells import SingleCells

__all__ = [
    "KINDS",
    "detect",
    "inspect",
    "option_defaults",
    "options",
    "read_image",
    "read_reference",
    "read_section",
]

_MODULES = {
    "visium": "visium",
    "visium_hd": "visium_hd",
    "xenium": "xenium",
    "merscope": "merscope",
    "cosmx": "cosmx",
    "st": "st_text",
    "h5ad": "anndata_files",
    "h5mu": "anndata_files",
    "image": "images",
    "imc": "imc",
    "imzml": "imzml",
    "spatialdata": "stores",
}


def read_section(
    path: str | Path,
    *,
    name: str | None = None,
    um_per_px: float | None = None,
    modality: str | None = None,
    kind: str | None = None,
    **more: Any,
) -> SpatialData:
    """Read one section, or the several that a folder holds.

    Parameters
    ----------
    path
        File or folder.
    name
        Section name; by default that of the file or folder.
    um_per_px
        Micrometres per pixel of the section's finest image, or per unit of its
        positions; needed where the files do not tell.
    modality
        Name of the first table instead of ``rna``, ``protein`` ...
    kind
        One of :data:`KINDS`; by default found by :func:`detect`.
    **more
        Options of the kind, as listed by :func:`options`; for instance
        ``annotation``, ``image``, ``counts``, ``bin_um``, ``transcripts``.

    Returns
    -------
    SpatialData
        Made by :func:`napari_stomics.data.build.make_section`; each section is a
        coordinate system in micrometres, x to the right and y down.

    Raises
    ------
    UserError
        If the file is missing, broken, of unknown kind, lacks a companion, or
        does not tell its pixel size; or if an option does not exist.
    """
    from napari_stomics.data.readers._common import default_name, existing

    path = existing(path)
    module = _module(_kind(path, kind))
    known = _options(module)
    given = {k: v for k, v in more.items() if v is not None}
    unknown = [k for k in given if k not in known]
    if unknown:
        raise UserError(
            f"There is no option {', '.join(map(repr, unknown))} for {path.name}.",
            f"There are: {', '.join(known) or 'none'}.",
        )
    answer: SpatialData = module.read(
        path, name=name or default_name(path), um_per_px=um_per_px, modality=modality, **given
    )
    return answer


def inspect(path: str | Path, kind: str | None = None) -> dict[str, Any]:
    """Say what would be read, quickly: plain values for a form.

    Returns
    -------
    dict
        ``path``, ``kind``, ``label``, ``name``, ``modalities`` (number of features by
        name), ``n_spots``, ``images`` (name, width, height, channels, um_per_px),
        ``um_per_px``, ``needs`` (parameters that must be given), ``missing`` (files
        without which it cannot be read whole), ``choices`` (values of options),
        ``options`` and ``notes``.

    Raises
    ------
    UserError
        If the file is missing, broken or of unknown kind.
    """
    from napari_stomics.data.readers._common import existing

    path = existing(path)
    kind = _kind(path, kind)
    module = _module(kind)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        found: dict[str, Any] = module.inspect(path)
    said = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    found["notes"] = list(dict.fromkeys([*found["notes"], *said]))
    return {"kind": kind, "label": KINDS[kind], "choices": {}, "options": _options(module)} | found


def read_image(path: str | Path, *, um_per_px: float | None = None, **more: Any) -> ImageSource:
    """Open an image lazily as a pyramid; see :func:`.images.read_image`."""
    from napari_stomics.data.readers.images import read_image as read

    return read(path, um_per_px=um_per_px, **more)


def read_reference(path: str | Path, **more: Any) -> SingleCells:
    """Read single cells without positions; see :func:`.single_cells.read_reference`."""
    from napari_stomics.data.readers.single_cells import read_reference as read

    return read(path, **more)


def options(kind: str) -> list[str]:
    """Return the names of the options that a kind of file takes beyond the common ones."""
    return _options(_module(kind))


def option_defaults(kind: str) -> dict[str, Any]:
    """Return the options that a kind of file takes beyond the common ones, with their defaults."""
    parameters = _inspect.signature(_module(kind).read).parameters
    return {name: parameters[name].default for name in options(kind)}


def _options(module: Any) -> list[str]:
    common = {"path", "name", "um_per_px", "modality"}
    return [p for p in _inspect.signature(module.read).parameters if p not in common]


def _module(kind: str) -> Any:
    if kind not in _MODULES:
        raise UserError(f"There is no kind {kind!r}.", f"There are: {', '.join(KINDS)}.")
    return import_module(f"{__name__}.{_MODULES[kind]}")


def _kind(path: Path, given: str | None) -> str:
    found = given or detect(path)
    if found is None:
        from napari_stomics.data.readers._detect import why_unknown

        raise UserError(*why_unknown(path))
    return found
