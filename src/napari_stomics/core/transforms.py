"""Maps of the plane, from one section's micrometres to another's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from napari_stomics.core._displacement import DisplacementField
from napari_stomics.core._thin_plate import ThinPlateSpline
from napari_stomics.core._transform import Affine, InverseTransform, Points, Transform
from napari_stomics.core.errors import UserError

__all__ = [
    "Affine",
    "Composite",
    "DisplacementField",
    "InverseTransform",
    "Points",
    "ThinPlateSpline",
    "Transform",
    "compose",
    "transform_from_dict",
]

_MAX_DEPTH = 16  # of nested maps in a file; deeper ones are not ours


@dataclass(frozen=True, eq=False)
class Composite(Transform):
    """Several maps, applied one after the other.

    Parameters
    ----------
    parts
        The maps, the first to be applied first; see :func:`compose`.
    """

    parts: tuple[Transform, ...]
    kind: ClassVar[str] = "composite"

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        if not self.parts:
            raise ValueError("a composite needs at least one map")

    def apply(self, points: Points) -> Points:
        """Map (n, 2) points (x, y)."""
        points = np.asarray(points, dtype=np.float64)
        for part in self.parts:
            points = part.apply(points)
        return points

    def jacobian(self, points: Points) -> Points:
        """(n, 2, 2) derivatives, by the chain rule."""
        points = np.asarray(points, dtype=np.float64)
        out = np.broadcast_to(np.eye(2), (len(points), 2, 2))
        for part in self.parts:
            out = part.jacobian(points) @ out
            points = part.apply(points)
        return np.asarray(out)

    def inverse(self) -> Transform:
        """Return the inverses of the parts in reverse order."""
        return Composite(tuple(part.inverse() for part in reversed(self.parts)))

    def linear_part(self) -> Affine:
        """Return the product of the affine parts."""
        out = Affine.identity()
        for part in self.parts:
            out = out.then(part.linear_part())
        return out

    def anchors(self) -> Points:
        """(m, 2) anchors of the first part that has any, carried back to the input."""
        before: list[Transform] = []
        for part in self.parts:
            points = part.anchors()
            if len(points):
                for earlier in reversed(before):
                    points = earlier.inverse().apply(points)
                return points
            before.append(part)
        return np.zeros((0, 2))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, read back by :func:`transform_from_dict`."""
        return {"kind": self.kind, "parts": [part.to_dict() for part in self.parts]}


def compose(first: Transform, second: Transform) -> Transform:
    """Return the map that applies ``first`` and then ``second``.

    Chains are flattened, neighbouring affine maps are multiplied, identities
    vanish, and a map followed by its own inverse cancels.
    """
    chain: list[Transform] = []
    for part in (*_flat(first), *_flat(second)):
        if isinstance(part, Affine) and np.array_equal(part.matrix, np.eye(3)):
            continue
        last = chain[-1] if chain else None
        if isinstance(part, Affine) and isinstance(last, Affine):
            chain[-1] = last.then(part)
        elif last is not None and _undoes(last, part):
            chain.pop()
        else:
            chain.append(part)
    if not chain:
        return Affine.identity()
    return chain[0] if len(chain) == 1 else Composite(tuple(chain))


def _flat(transform: Transform) -> tuple[Transform, ...]:
    if not isinstance(transform, Composite):
        return (transform,)
    return tuple(leaf for part in transform.parts for leaf in _flat(part))


def _undoes(first: Transform, second: Transform) -> bool:
    return (isinstance(second, InverseTransform) and second.forward is first) or (
        isinstance(first, InverseTransform) and first.forward is second
    )


def transform_from_dict(data: Any) -> Transform:
    """Read a map back from what :meth:`Transform.to_dict` wrote.

    Only numbers are read and only known kinds and keys are accepted, so that a
    file from a stranger can do no more than be refused.

    Raises
    ------
    UserError
        If anything is missing, unknown, of the wrong shape or not finite.
    """
    return _read(data, _MAX_DEPTH)


def _read(data: Any, depth: int) -> Transform:
    if depth == 0:
        raise _refused(f"it nests more than {_MAX_DEPTH} maps")
    if not isinstance(data, dict):
        raise _refused(f"a mapping was expected, not {type(data).__name__}")
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in _READERS:
        raise _refused(f"its kind {kind!r} is none of {', '.join(_READERS)}")
    keys, reader = _READERS[kind]
    found = {str(key) for key in data} - {"kind"}
    if found != keys:
        raise _refused(
            f"a map of kind {kind!r} has the keys {', '.join(sorted(keys))}, "
            f"not {', '.join(sorted(found)) or 'none'}"
        )
    try:
        return reader(data, depth)
    except (ValueError, OverflowError) as error:
        raise _refused(str(error)) from error


def _refused(reason: str) -> UserError:
    return UserError(
        f"This is not a transformation that can be read: {reason}.",
        "Use a file or element that was written by this program, or export it again.",
    )


def _numbers(data: dict[str, Any], key: str) -> Points:
    value = data[key]
    if not isinstance(value, list | tuple | np.ndarray):
        raise _refused(f"{key!r} must be a list of numbers")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise _refused(f"{key!r} is ragged") from error
    if array.dtype.kind not in "fiu":
        raise _refused(f"{key!r} holds something that is not a number")
    return array.astype(np.float64)


def _number(data: dict[str, Any], key: str) -> float:
    value = data[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(f"{key!r} must be a number")
    return float(value)


def _read_affine(data: dict[str, Any], depth: int) -> Transform:
    return Affine(_numbers(data, "matrix"))


def _read_spline(data: dict[str, Any], depth: int) -> Transform:
    stiffness = np.inf if data["stiffness"] is None else _number(data, "stiffness")
    return ThinPlateSpline(
        _numbers(data, "control"),
        _numbers(data, "weights"),
        _numbers(data, "matrix"),
        _number(data, "scale"),
        stiffness,
    )


def _read_field(data: dict[str, Any], depth: int) -> Transform:
    interpolation = data["interpolation"]
    if not isinstance(interpolation, str):
        raise _refused("'interpolation' must be a word")
    return DisplacementField(
        _numbers(data, "displacements"),
        _numbers(data, "origin"),
        _numbers(data, "spacing"),
        interpolation,  # type: ignore[arg-type]
    )


def _read_composite(data: dict[str, Any], depth: int) -> Transform:
    if not isinstance(data["parts"], list | tuple):
        raise _refused("'parts' must be a list")
    return Composite(tuple(_read(part, depth - 1) for part in data["parts"]))


def _read_inverse(data: dict[str, Any], depth: int) -> Transform:
    return InverseTransform(_read(data["forward"], depth - 1))


_Reader = Callable[[dict[str, Any], int], Transform]
_READERS: dict[str, tuple[set[str], _Reader]] = {
    Affine.kind: ({"matrix"}, _read_affine),
    ThinPlateSpline.kind: (
        {"control", "weights", "matrix", "scale", "stiffness"},
        _read_spline,
    ),
    DisplacementField.kind: (
        {"displacements", "origin", "spacing", "interpolation"},
        _read_field,
    ),
    Composite.kind: ({"parts"}, _read_composite),
    InverseTransform.kind: ({"forward"}, _read_inverse),
}
