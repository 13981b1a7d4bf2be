"""Answers kept by the content of what they were computed from."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, TypeVar

import numpy as np

T = TypeVar("T")


def content_key(*parts: Any) -> str:
    """Digest of arrays, sparse matrices, plain values and tuples of these, by their content.

    Two arrays of equal bytes, shape and type have the same key, wherever they
    were made; costs about a second per gigabyte.
    """
    digest = hashlib.blake2b(digest_size=20)
    for part in parts:
        _feed(digest, part)
    return digest.hexdigest()


def _feed(digest: Any, part: Any) -> None:
    if hasattr(part, "indptr") and hasattr(part, "indices"):
        digest.update(f"sparse {type(part).__name__} {part.shape};".encode())
        for piece in (part.data, part.indices, part.indptr):
            _feed(digest, np.asarray(piece))
    elif isinstance(part, np.ndarray):
        digest.update(f"array {part.dtype} {part.shape};".encode())
        if part.dtype.hasobject:
            digest.update("\0".join(map(str, part.ravel())).encode())
        else:
            digest.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    elif isinstance(part, tuple | list):
        digest.update(f"tuple {len(part)};".encode())
        for piece in part:
            _feed(digest, piece)
    else:
        digest.update(f"{type(part).__name__} {part!r};".encode())


class ContentCache(Generic[T]):
    """The last few answers, by :func:`content_key`; safe to use from several threads.

    Parameters
    ----------
    size
        How many answers are kept; the one not asked for longest goes first.
    """

    def __init__(self, size: int = 4) -> None:
        self.size = size
        self._kept: OrderedDict[str, T] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Return the answer of that key, made now if it is not there.

        What ``make`` raises is passed on, and nothing is kept.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = make()
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > self.size:
                self._kept.popitem(last=False)
        return value

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
