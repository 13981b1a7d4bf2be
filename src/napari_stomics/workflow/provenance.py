"""What a number stands on: versions and a hash of the inputs."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from napari_stomics.core.inputs import SectionImage
from napari_stomics.core.transforms import Transform

_PACKAGES = (
    "napari-stomics",
    "numpy",
    "scipy",
    "scikit-learn",
    "scikit-image",
    "POT",
    "SimpleITK",
    "spatialdata",
    "torch",
)


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = [("python", platform.python_version())]
    for package in _PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return tuple(found)


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    return dict(_versions())


def plain(value: Any) -> Any:
    """Replace what JSON cannot say: numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def inputs_hash(inputs: Any) -> str:
    """Hash what a method was given (BLAKE2b, 32 hexadecimal digits).

    Of a lazy image its size, position and coarsest level count, so that a
    gigapixel slide is not read for its hash.
    """
    digest = hashlib.blake2b(digest_size=16)
    _feed(digest, inputs)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, SectionImage):
        _feed(digest, (value.section, value.levels[0].shape, value.channels))
        _feed(digest, value.to_um)
        _feed(digest, np.asarray(value.levels[-1]))
    elif isinstance(value, Transform):
        digest.update(repr(value.to_dict()).encode())
    elif is_dataclass(value) and not isinstance(value, type):
        for item in fields(value):
            digest.update(item.name.encode())
            _feed(digest, getattr(value, item.name))
    elif isinstance(value, Mapping):
        for key in sorted(value):
            digest.update(str(key).encode())
            _feed(digest, value[key])
    elif isinstance(value, (tuple, list)):
        for item in value:
            _feed(digest, item)
    elif hasattr(value, "indptr"):
        digest.update(str(value.shape).encode())
        for part in (value.data, value.indices, value.indptr):
            _feed(digest, np.asarray(part))
    elif isinstance(value, np.ndarray):
        digest.update(str((value.shape, value.dtype)).encode())
        if value.dtype == object:
            digest.update("\0".join(map(str, value.ravel())).encode())
        else:
            digest.update(np.ascontiguousarray(value).tobytes())
    elif hasattr(value, "__array__"):
        _feed(digest, np.asarray(value))
    else:
        digest.update(repr(value).encode())
