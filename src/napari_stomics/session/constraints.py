"""What the user says about the match of two sections: regions that match, matches forbidden."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from psygnal import Signal

from napari_stomics.core.errors import UserError
from napari_stomics.data.schema import ConstraintRecord
from napari_stomics.session.undo import Action, UndoStack

Kind = Literal["match", "forbid"]
Polygon = tuple[tuple[float, float], ...]
Regions = Mapping[str, tuple[Polygon, ...]]

_STEMS: dict[Kind, str] = {"match": "Region", "forbid": "Forbidden"}


@dataclass(frozen=True)
class PaintedConstraint:
    """Regions of two or more sections that match, or that must not.

    Attributes
    ----------
    name
        Its name.
    kind
        ``match`` or ``forbid``; see :class:`~napari_stomics.core.inputs.Constraint`.
    regions
        Per section the polygons whose union is the region, vertices (x, y) in
        micrometres of the section's own frame.
    """

    name: str
    kind: Kind
    regions: Regions

    def record(self) -> ConstraintRecord:
        """As it is stored in the study."""
        return ConstraintRecord(
            name=self.name,
            kind=self.kind,
            regions={s: [list(polygon) for polygon in ps] for s, ps in self.regions.items()},
        )

    @staticmethod
    def of(record: ConstraintRecord) -> PaintedConstraint:
        """Read it from the study."""
        regions = {s: tuple(tuple(p) for p in ps) for s, ps in record.regions.items()}
        return PaintedConstraint(record.name, record.kind, regions)


State = tuple[PaintedConstraint, ...]


class ConstraintModel:
    """The constraints of a session; every change is one undoable action.

    Parameters
    ----------
    undo
        The session's stack.
    """

    changed = Signal()
    """Emitted after any change, by the user, by undo or by loading."""

    def __init__(self, undo: UndoStack | None = None) -> None:
        self.undo_stack = undo or UndoStack()
        self._state: State = ()

    @property
    def constraints(self) -> State:
        """All constraints, in the order they were added."""
        return self._state

    @property
    def names(self) -> list[str]:
        """Names in order."""
        return [rule.name for rule in self._state]

    def between(self, source: str, target: str) -> State:
        """Constraints with a region in both sections."""
        return tuple(r for r in self._state if source in r.regions and target in r.regions)

    def records(self) -> list[ConstraintRecord]:
        """All of them as they are stored in the study."""
        return [rule.record() for rule in self._state]

    def add(
        self, kind: Kind, regions: Mapping[str, Sequence[Polygon]], name: str | None = None
    ) -> str:
        """Add a constraint and return its name.

        Parameters
        ----------
        kind
            ``match`` or ``forbid``.
        regions
            Polygons (x, y) um by section, in two sections at least.
        name
            Its name; by default a free one.

        Raises
        ------
        UserError
            If the name is taken, a section is missing or a polygon encloses nothing.
        """
        name = self._checked_name(name) if name else self._free_name(kind)
        checked = {s: tuple(checked_polygon(p) for p in ps) for s, ps in regions.items()}
        if len(checked) < 2 or not all(checked.values()):
            raise UserError(
                "A constraint needs a region in two sections.",
                "Paint it in the moving section and then in the fixed one.",
            )
        text = "Match regions" if kind == "match" else "Forbid a match"
        self._set((*self._state, PaintedConstraint(name, kind, checked)), f"{text} ({name})")
        return name

    def rename(self, old: str, new: str) -> None:
        """Rename a constraint; a name that is taken or empty is refused."""
        rule = self._get(old)
        if new.strip() == old:
            return
        changed = replace(rule, name=self._checked_name(new))
        state = tuple(changed if r is rule else r for r in self._state)
        self._set(state, f"Rename {old} to {changed.name}")

    def remove(self, names: Iterable[str]) -> None:
        """Remove constraints as one action."""
        gone = set(names)
        left = tuple(r for r in self._state if r.name not in gone)
        if left != self._state:
            self._set(left, f"Delete {', '.join(sorted(gone & set(self.names)))}")

    def replace_all(self, constraints: Iterable[PaintedConstraint], text: str) -> None:
        """Replace all constraints as one action that can be undone."""
        state = tuple(constraints)
        if state != self._state:
            self._set(state, text)

    def reset(self, constraints: Iterable[PaintedConstraint]) -> None:
        """Replace everything without an undoable action: a study was opened."""
        self._state = tuple(constraints)
        self.changed.emit()

    def _get(self, name: str) -> PaintedConstraint:
        for rule in self._state:
            if rule.name == name:
                return rule
        raise UserError(f"There is no constraint {name!r}.", "It may have been deleted; try Undo.")

    def _checked_name(self, name: str) -> str:
        name = name.strip()
        if not name:
            raise UserError("A constraint needs a name.", "Type at least one character.")
        if name in self.names:
            raise UserError(f"There is a constraint {name!r} already.", "Choose another name.")
        return name

    def _free_name(self, kind: Kind) -> str:
        stem, number = _STEMS[kind], 1
        while f"{stem} {number}" in self.names:
            number += 1
        return f"{stem} {number}"

    def _set(self, state: State, text: str) -> None:
        before, self._state = self._state, state
        self.undo_stack.push(
            Action(text, lambda: self._restore(before), lambda: self._restore(state))
        )
        self.changed.emit()

    def _restore(self, state: State) -> None:
        self._state = state
        self.changed.emit()


def checked_polygon(polygon: Sequence[tuple[float, float]]) -> Polygon:
    """Vertices as plain numbers.

    Raises
    ------
    UserError
        If there are fewer than three, one is not finite, or they enclose nothing.
    """
    points = tuple((float(x), float(y)) for x, y in polygon)
    finite = all(math.isfinite(v) for point in points for v in point)
    if len(points) < 3 or not finite or _area(points) <= 0:
        raise UserError(
            "The outline encloses nothing.", "Draw round the region, or click on a single spot."
        )
    return points


def _area(points: Polygon) -> float:
    """Area of the bounding box: outlines that cross themselves enclose something too."""
    x, y = zip(*points, strict=True)
    return float((max(x) - min(x)) * (max(y) - min(y)))
